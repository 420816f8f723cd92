//! What can go wrong in the launcher: one variant for each step, with what it was done to and the reason.
//!
//! An error is printed once, by main, as `launch: STEP: OBJECT: REASON`, and below it a hint where hints.rs knows
//! the cause.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;

use launch_init::exit;
use launch_init::handoff::{Failure, Malformed};
use nix::errno::Errno;

/// Why there is no workload, or why nothing is known of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An option or argument makes no sense: which, and why.
    Option(OsString, String),
    /// A file of options, or a profile, makes no sense: which, and the key and why.
    Config(OsString, String),
    /// A file of options cannot be read.
    ConfigFile(OsString, Errno),
    /// The caller's working directory cannot be handed on.
    WorkingDirectory(Errno),
    /// The file that would be init cannot be opened or named.
    InitFile(OsString, Errno),
    /// No channel to init could be made.
    Channel(Errno),
    /// A caller's descriptor cannot be used: its number, and why.
    Descriptor(i32, Errno),
    /// What `/` is to be put together from cannot be read: which file.
    Tree(OsString, Errno),
    /// A directory of `--keep` cannot be used: which, and why.
    Kept(OsString, String),
    /// The caller's signals cannot be blocked or received.
    Signals(Errno),
    /// The namespaces could not be made; which were asked for.
    Clone(String, Errno),
    /// An id map could not be written; the file.
    IdMap(OsString, Errno),
    /// The ids that were asked for cannot be mapped: what stands against it, and why.
    Ids(OsString, String),
    /// The program that writes an id map for an ordinary user did not; which, and what it said.
    IdHelper(OsString, String),
    /// /proc is not that of the launcher's PID namespace.
    ForeignProc,
    /// The plan could not be handed to init.
    Handoff(Errno),
    /// What init says makes no sense.
    Report(Malformed),
    /// Init or the workload's process failed.
    Inside(Box<Failure>),
    /// Init ended before the workload ran, and left nothing but its wait status.
    InitDied(Option<i32>),
    /// The sandbox's terminal cannot be used.
    Terminal(Errno),
    /// A signal could not be sent on.
    Signal(i32, Errno),
    /// The end of init could not be waited for.
    Wait(Errno),
    /// The file that is to have what the workload writes cannot be used: which, and why.
    Log(OsString, Errno),
    /// It can be opened and is nothing to log into, or there is none to read: which, and why.
    LogFile(OsString, String),
    /// No pipe could be made for what the workload writes.
    Pipe(Errno),
    /// What was asked for could not be printed.
    Output(Errno),
    /// There are no random numbers to be had.
    Random(Errno),
    /// Something that a pool of sandboxes needs for itself; the text names it.
    Pool(&'static str, Errno),
    /// No second process could be made, or waited for, that lives on when the first one has returned.
    Detach(Errno),
    /// The monitor of a sandbox was killed before that ran or was ready: which, and the signal.
    Monitor(OsString, i32),
    /// A sandbox has ended before it was ready: which, and how.
    NotReady(OsString, String),
    /// No pid can be written to this file.
    PidFile(OsString, Errno),
    /// No id can be written to this file.
    IdFile(OsString, Errno),
    /// The folder of named sandboxes cannot be used: which directory, and why.
    RuntimeDirectory(OsString, String),
    /// The socket of a pool's server cannot be used, or it refuses: which, and why.
    Server(OsString, String),
    /// A named sandbox is not there, or cannot be asked or made: which, and why.
    Sandbox(OsString, String),
}

impl Error {
    /// The exit code for it: 125, but 126 and 127 where only the command is at fault. See docs/exit-codes.md.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Inside(failure) => failure.code,
            _ => exit::FAILED,
        }
    }

    /// What was being done.
    pub fn step(&self) -> &str {
        match self {
            Self::Option(..) => "command line",
            Self::Config(..) | Self::ConfigFile(..) => "config",
            Self::WorkingDirectory(_) => "working directory",
            Self::InitFile(..) => "init",
            Self::Channel(_) | Self::Handoff(_) | Self::Report(_) => "handoff",
            Self::Descriptor(..) => "descriptor",
            Self::Tree(..) => "file tree",
            Self::Kept(..) => "kept layers",
            Self::Signals(_) => "signals",
            Self::Clone(..) => "clone",
            Self::IdMap(..) | Self::Ids(..) | Self::IdHelper(..) | Self::ForeignProc => "id map",
            Self::Inside(failure) => &failure.step,
            Self::InitDied(_) => "init",
            Self::Terminal(_) => "terminal",
            Self::Signal(..) => "signal",
            Self::Wait(_) => "wait",
            Self::Random(_) => "random numbers",
            Self::Pool(..) => "pool",
            Self::Detach(_) => "detach",
            Self::Monitor(..) => "monitor",
            Self::NotReady(..) => "ready",
            Self::PidFile(..) => "pid file",
            Self::IdFile(..) => "id file",
            Self::Log(..) | Self::LogFile(..) => "log",
            Self::Pipe(_) | Self::Output(_) => "output",
            Self::RuntimeDirectory(..) => "runtime directory",
            Self::Server(..) => "server",
            Self::Sandbox(..) => "sandbox",
        }
    }

    /// What it was done to.
    pub fn object(&self) -> OsString {
        match self {
            Self::Option(object, _)
            | Self::Config(object, _)
            | Self::ConfigFile(object, _)
            | Self::InitFile(object, _)
            | Self::Ids(object, _)
            | Self::IdHelper(object, _)
            | Self::IdMap(object, _)
            | Self::Tree(object, _)
            | Self::Log(object, _)
            | Self::LogFile(object, _)
            | Self::RuntimeDirectory(object, _)
            | Self::Server(object, _)
            | Self::Sandbox(object, _)
            | Self::Monitor(object, _)
            | Self::NotReady(object, _)
            | Self::PidFile(object, _)
            | Self::IdFile(object, _)
            | Self::Kept(object, _) => object.clone(),
            Self::WorkingDirectory(_) => "the caller's".into(),
            Self::Channel(_) => "socket pair".into(),
            Self::Descriptor(number, _) => number.to_string().into(),
            Self::Signals(_) => "the launcher's".into(),
            Self::Clone(namespaces, _) => namespaces.into(),
            Self::ForeignProc => "/proc".into(),
            Self::Handoff(_) => "plan".into(),
            Self::Report(_) => "report".into(),
            Self::Inside(failure) => failure.object.clone(),
            Self::InitDied(_) => "PID 1".into(),
            Self::Terminal(_) => "the sandbox's".into(),
            Self::Signal(number, _) => launch_init::signals::name(*number).into(),
            Self::Wait(_) => "PID 1".into(),
            Self::Pipe(_) => "pipe".into(),
            Self::Output(_) => "stdout".into(),
            Self::Random(_) => "/dev/urandom".into(),
            Self::Pool(what, _) => (*what).into(),
            Self::Detach(_) => "process".into(),
        }
    }

    /// The system's reason, where it is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::ConfigFile(_, errno)
            | Self::WorkingDirectory(errno)
            | Self::InitFile(_, errno)
            | Self::Channel(errno)
            | Self::Descriptor(_, errno)
            | Self::Signals(errno)
            | Self::Clone(_, errno)
            | Self::IdMap(_, errno)
            | Self::Tree(_, errno)
            | Self::Handoff(errno)
            | Self::Terminal(errno)
            | Self::Signal(_, errno)
            | Self::Wait(errno)
            | Self::Random(errno)
            | Self::Pool(_, errno)
            | Self::Detach(errno)
            | Self::PidFile(_, errno)
            | Self::IdFile(_, errno)
            | Self::Log(_, errno)
            | Self::Pipe(errno)
            | Self::Output(errno) => Some(*errno),
            Self::Inside(failure) if failure.errno != 0 => Some(Errno::from_raw(failure.errno)),
            _ => None,
        }
    }

    /// The reason in words.
    pub fn reason(&self) -> String {
        match self {
            Self::Option(_, reason)
            | Self::Config(_, reason)
            | Self::Kept(_, reason)
            | Self::RuntimeDirectory(_, reason)
            | Self::Server(_, reason)
            | Self::Sandbox(_, reason)
            | Self::Ids(_, reason)
            | Self::NotReady(_, reason)
            | Self::LogFile(_, reason)
            | Self::IdHelper(_, reason) => reason.clone(),
            Self::IdFile(_, Errno::EEXIST) => "exists already: another launch's id may stand there".into(),
            Self::Monitor(_, signal) => {
                format!("was killed by {} before the command ran", launch_init::signals::name(*signal))
            }
            Self::WorkingDirectory(Errno::ENOENT) => "it has been deleted; name another with --chdir".into(),
            Self::Descriptor(_, Errno::EBADF) => "is not open".into(),
            Self::ForeignProc => {
                "does not show this process; mount the proc of this PID namespace there".into()
            }
            Self::Report(malformed) => malformed.to_string(),
            Self::Inside(failure) => failure.reason(),
            Self::InitDied(None) => "ended before the workload ran".into(),
            Self::InitDied(Some(status)) => match exit::Outcome::from_wait_status(*status) {
                Some(exit::Outcome::Killed(signal)) => {
                    format!("was killed by {} before the workload ran", launch_init::signals::name(signal))
                }
                _ => "ended before the workload ran".into(),
            },
            _ => self.errno().map_or_else(String::new, |errno| errno.desc().into()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object();
        // An empty command is something to see.
        let object = if object.is_empty() { "''".into() } else { object };
        f.write_str(&printable(&format!("{}: {}: {}", self.step(), object.display(), self.reason())))
    }
}

/// The text in one line, and nothing in it that a terminal would obey: a command's name may be any bytes.
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() { line.extend(char.escape_default()) } else { line.push(char) }
    }
    line
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Report(malformed) => Some(malformed),
            Self::ConfigFile(_, errno)
            | Self::WorkingDirectory(errno)
            | Self::InitFile(_, errno)
            | Self::Channel(errno)
            | Self::Descriptor(_, errno)
            | Self::Signals(errno)
            | Self::Clone(_, errno)
            | Self::IdMap(_, errno)
            | Self::Tree(_, errno)
            | Self::Handoff(errno)
            | Self::Terminal(errno)
            | Self::Signal(_, errno)
            | Self::Wait(errno)
            | Self::Random(errno)
            | Self::Detach(errno)
            | Self::PidFile(_, errno)
            | Self::IdFile(_, errno)
            | Self::Log(_, errno)
            | Self::Pipe(errno)
            | Self::Output(errno) => Some(errno),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_its_object() {
        let error = Error::Option("a\nb\x1b[2J\u{7f}é".into(), "no".into());
        assert_eq!(error.to_string(), "command line: a\\nb\\u{1b}[2J\\u{7f}é: no");
        assert_eq!(Error::Option("".into(), "no".into()).to_string(), "command line: '': no");
    }
}
