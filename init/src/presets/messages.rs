//! What each program says while it runs, for those who look for it. Pure.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::Program;
use crate::exit::Outcome;
use crate::supervisor::Rewrites;

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment<'a> {
    /// Orphans come to init.
    Adopts,
    /// Orphans don't come to init.
    AdoptsNot,
    /// This was noticed at the start.
    Opening(&'static str),
    /// The terminal was given up, by its session's leader or not.
    TerminalGivenUp { by_leader: bool },
    /// It could not be, for this errno.
    TerminalKept(i32),
    /// In the new process: it has been started for this command.
    Started(&'a OsStr),
    /// In the new process: it has no terminal, for this errno.
    NoTerminal(i32),
    /// In the new process: it has a session of its own.
    SessionStarted,
    /// In the new process: this command was not executed, for this errno.
    NotExecuted(&'a OsStr, i32),
    /// A signal came in.
    Signal(i32),
    /// A signal came in that comes of giving up the terminal.
    HandOff(i32),
    /// A signal of this number was sent on.
    Forwarded(i32),
    /// Init is about to stop itself.
    StopsSelf,
    /// A child was waited for.
    Child { pid: i32, status: i32, is_main: bool },
    /// There is nobody to wait for.
    NoChildren,
    /// Init is about to end.
    Ends(Outcome),
}

/// Who is told of it.
#[derive(Clone, Copy)]
pub(crate) struct Tell<'a>(pub(crate) &'a dyn Fn(Moment<'_>));

impl std::fmt::Debug for Tell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tell")
    }
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A line, with its end.
pub(crate) type Line = (Stream, Vec<u8>);

/// How much is said, of whose signals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice {
    pub(crate) program: Program,
    pub(crate) verbosity: u8,
    /// Init's own pid.
    pub(crate) init: u32,
    /// tini's -w.
    pub(crate) names_orphans: bool,
    pub(crate) rewrites: Rewrites,
}

/// What is said of `moment` by the process `pid`.
pub(crate) fn lines(voice: &Voice, pid: u32, moment: Moment<'_>) -> Vec<Line> {
    match voice.program {
        Program::Tini => of_tini(voice, pid, moment),
        Program::DumbInit => of_dumb_init(voice, pid, moment),
        Program::Catatonit => of_catatonit(voice, pid, moment),
    }
}

/// Its tests look for the middle of it.
const NOT_A_REAPER: &str = "\
Tini is not running as PID 1 and isn't registered as a child subreaper.
Zombie processes will not be re-parented to Tini, so zombie reaping won't work.
To fix the problem, use the -s option or set the environment variable TINI_SUBREAPER to register Tini as a child \
subreaper, or run Tini as PID 1.";

fn of_tini(voice: &Voice, pid: u32, moment: Moment<'_>) -> Vec<Line> {
    const LEVELS: [&str; 5] = ["FATAL", "WARN ", "INFO ", "DEBUG", "TRACE"];
    // Init says of its child that it has been started; here the child does, so that the order is certain.
    let speaker = if matches!(moment, Moment::Started(_)) { voice.init } else { pid };
    let mut lines = Vec::new();
    let mut say = |level: u8, text: &[u8]| {
        if voice.verbosity >= level {
            let stream = if level < 2 { Stream::Stderr } else { Stream::Stdout };
            let prefix = format!("[{} tini ({speaker})] ", LEVELS[usize::from(level)]);
            lines.push((stream, [prefix.as_bytes(), text, b"\n"].concat()));
        }
    };
    match moment {
        Moment::Adopts => say(4, b"Registered as child subreaper"),
        Moment::AdoptsNot => say(1, NOT_A_REAPER.as_bytes()),
        Moment::Started(command) => {
            let end = format!("' with pid '{pid}'");
            say(2, &[b"Spawned child process '", command.as_bytes(), end.as_bytes()].concat());
        }
        Moment::NotExecuted(command, errno) => {
            say(0, &[b"exec ", command.as_bytes(), b" failed: ", reason(errno).as_bytes()].concat());
        }
        Moment::Signal(libc::SIGCHLD) => say(3, b"Received SIGCHLD"),
        Moment::Signal(signal) => say(3, format!("Passing signal: '{}'", description(signal)).as_bytes()),
        Moment::Child { pid, status, is_main } => {
            let outcome = Outcome::from_wait_status(status);
            if outcome.is_some() {
                say(3, format!("Reaped child with pid: '{pid}'").as_bytes());
            }
            match (is_main, outcome) {
                (true, Some(Outcome::Exited(code))) => {
                    say(2, format!("Main child exited normally (with status '{code}')").as_bytes());
                }
                (true, Some(Outcome::Killed(signal))) => {
                    let signal = description(signal);
                    say(2, format!("Main child exited with signal (with signal '{signal}')").as_bytes());
                }
                (false, Some(_)) if voice.names_orphans => {
                    say(1, format!("Reaped zombie process with pid={pid}").as_bytes());
                }
                _ => {}
            }
        }
        Moment::NoChildren => say(4, b"No child to wait"),
        Moment::Ends(_) => say(4, b"Exiting: child has exited"),
        _ => {}
    }
    lines
}

fn of_dumb_init(voice: &Voice, pid: u32, moment: Moment<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |text: &[u8]| lines.push((Stream::Stderr, [b"[dumb-init] ", text, b"\n"].concat()));
    if let Moment::NotExecuted(command, errno) = moment {
        line(&[command.as_bytes(), b": ", reason(errno).as_bytes()].concat());
    }
    let mut say = |text: String| {
        if voice.verbosity > 0 {
            line(text.as_bytes());
        }
    };
    match moment {
        Moment::Opening(text) => say(text.into()),
        Moment::TerminalGivenUp { by_leader: true } => {
            say("Detached from controlling tty, ignoring the first SIGHUP and SIGCONT we receive.".into());
        }
        Moment::TerminalGivenUp { by_leader: false } => {
            say("Detached from controlling tty, but was not session leader.".into());
        }
        Moment::TerminalKept(errno) => {
            say(format!("Unable to detach from controlling tty (errno={errno} {}).", reason(errno)));
        }
        Moment::NoTerminal(errno) => {
            say(format!("Unable to attach to controlling tty (errno={errno} {}).", reason(errno)));
        }
        Moment::Started(_) => say(format!("Child spawned with PID {pid}.")),
        Moment::SessionStarted => say("setsid complete.".into()),
        Moment::HandOff(signal) => {
            say(format!("Received signal {signal}."));
            say(format!("Ignoring tty hand-off signal {signal}."));
        }
        Moment::Signal(signal) => {
            say(format!("Received signal {signal}."));
            if signal != libc::SIGCHLD {
                translation(voice, signal).into_iter().for_each(say);
            }
        }
        Moment::Forwarded(signal) => say(format!("Forwarded signal {signal} to children.")),
        Moment::StopsSelf => say("Suspending self due to TTY signal.".into()),
        Moment::Child { pid, status, is_main } => {
            match Outcome::from_wait_status(status) {
                Some(Outcome::Exited(code)) => {
                    say(format!("A child with PID {pid} exited with exit status {code}."));
                }
                Some(Outcome::Killed(signal)) => {
                    say(format!("A child with PID {pid} was terminated by signal {signal}."));
                }
                _ => return lines,
            }
            if is_main {
                // It is sent on like any other.
                translation(voice, libc::SIGTERM).into_iter().for_each(say);
            }
        }
        Moment::Ends(outcome) => say(format!("Child exited with status {}. Goodbye.", outcome.code())),
        _ => {}
    }
    lines
}

/// What dumb-init says of a signal's rewriting.
fn translation(voice: &Voice, signal: i32) -> Vec<String> {
    let to = voice.rewrites.of(signal).unwrap_or(0);
    let translating = (to != signal).then(|| format!("Translating signal {signal} to {to}."));
    let ignored = (to == 0).then(|| "Not forwarding signal 0 to children (ignored).".to_owned());
    translating.into_iter().chain(ignored).collect()
}

fn of_catatonit(voice: &Voice, pid: u32, moment: Moment<'_>) -> Vec<Line> {
    // As tini's.
    let speaker = if matches!(moment, Moment::Started(_)) { voice.init } else { pid };
    let line = |level: &str, text: String| {
        vec![(Stream::Stderr, format!("{level} (catatonit:{speaker}): {text}\n").into_bytes())]
    };
    let debug = |text| if voice.verbosity > 0 { line("DEBUG", text) } else { Vec::new() };
    match moment {
        Moment::Started(command) => debug(format!("pid1 ({pid}) spawned: {}", command.display())),
        Moment::NotExecuted(_, errno) => line("ERROR", format!("failed to exec pid1: {}", reason(errno))),
        Moment::Child { pid, status, is_main: false } => match Outcome::from_wait_status(status) {
            Some(Outcome::Exited(code)) => debug(format!("child process {pid} exited with code {code}")),
            Some(Outcome::Killed(signal)) => {
                debug(format!("child process {pid} exited due to signal {signal}"))
            }
            _ => Vec::new(),
        },
        Moment::NoChildren => debug("got ECHILD: no children left to monitor".into()),
        _ => Vec::new(),
    }
}

/// What glibc's strerror(3) says, whatever the C library is.
fn reason(errno: i32) -> String {
    let known = match errno {
        libc::EPERM => "Operation not permitted",
        libc::ENOENT => "No such file or directory",
        libc::EIO => "Input/output error",
        libc::E2BIG => "Argument list too long",
        libc::ENOEXEC => "Exec format error",
        libc::ENOMEM => "Cannot allocate memory",
        libc::EACCES => "Permission denied",
        libc::ENOTDIR => "Not a directory",
        libc::EISDIR => "Is a directory",
        libc::ENOTTY => "Inappropriate ioctl for device",
        libc::ETXTBSY => "Text file busy",
        libc::ENAMETOOLONG => "File name too long",
        libc::ELOOP => "Too many levels of symbolic links",
        _ => nix::errno::Errno::from_raw(errno).desc(),
    };
    known.into()
}

/// What glibc's strsignal(3) says, whatever the C library is.
fn description(signal: i32) -> String {
    const DESCRIPTIONS: [&str; 31] = [
        "Hangup",
        "Interrupt",
        "Quit",
        "Illegal instruction",
        "Trace/breakpoint trap",
        "Aborted",
        "Bus error",
        "Floating point exception",
        "Killed",
        "User defined signal 1",
        "Segmentation fault",
        "User defined signal 2",
        "Broken pipe",
        "Alarm clock",
        "Terminated",
        "Stack fault",
        "Child exited",
        "Continued",
        "Stopped (signal)",
        "Stopped",
        "Stopped (tty input)",
        "Stopped (tty output)",
        "Urgent I/O condition",
        "CPU time limit exceeded",
        "File size limit exceeded",
        "Virtual timer expired",
        "Profiling timer expired",
        "Window changed",
        "I/O possible",
        "Power failure",
        "Bad system call",
    ];
    match usize::try_from(signal - 1).ok().and_then(|index| DESCRIPTIONS.get(index)) {
        Some(text) => (*text).into(),
        // The first two are glibc's own.
        None if (34..=64).contains(&signal) => format!("Real-time signal {}", signal - 34),
        None => format!("Unknown signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(program: Program, verbosity: u8, moment: Moment<'_>) -> Vec<(Stream, String)> {
        let mut rewrites = Rewrites::default();
        rewrites.set(1, 2);
        rewrites.set(3, 0);
        let voice = Voice { program, verbosity, init: 1, names_orphans: true, rewrites };
        lines(&voice, 7, moment).into_iter().map(|(s, line)| (s, String::from_utf8(line).unwrap())).collect()
    }

    fn texts(program: Program, moment: Moment<'_>) -> Vec<String> {
        said(program, 9, moment).into_iter().map(|(_, text)| text).collect()
    }

    const MAIN: Moment<'_> = Moment::Child { pid: 8, status: 3 << 8, is_main: true };
    const ORPHAN: Moment<'_> = Moment::Child { pid: 9, status: libc::SIGTERM, is_main: false };
    const STOPPED: Moment<'_> = Moment::Child { pid: 8, status: libc::SIGTSTP << 8 | 0x7f, is_main: true };

    #[test]
    fn tini_says_errors_and_warnings_on_stderr_and_the_rest_on_stdout() {
        let missing = Moment::NotExecuted(OsStr::new("x"), libc::ENOENT);
        let fatal = "[FATAL tini (7)] exec x failed: No such file or directory\n";
        assert_eq!(said(Program::Tini, 0, missing), [(Stream::Stderr, fatal.into())]);
        assert_eq!(said(Program::Tini, 0, Moment::AdoptsNot), []);
        assert_eq!(said(Program::Tini, 1, Moment::AdoptsNot)[0].0, Stream::Stderr);
        assert_eq!(said(Program::Tini, 1, MAIN), []);
        let exited = "[INFO  tini (7)] Main child exited normally (with status '3')\n";
        assert_eq!(said(Program::Tini, 2, MAIN), [(Stream::Stdout, exited.into())]);
        let reaped = "[WARN  tini (7)] Reaped zombie process with pid=9\n";
        assert_eq!(said(Program::Tini, 1, ORPHAN), [(Stream::Stderr, reaped.into())]);
        assert_eq!(
            texts(Program::Tini, Moment::Signal(15)),
            ["[DEBUG tini (7)] Passing signal: 'Terminated'\n"]
        );
        assert_eq!(texts(Program::Tini, Moment::Signal(17)), ["[DEBUG tini (7)] Received SIGCHLD\n"]);
        assert_eq!(texts(Program::Tini, STOPPED), [""; 0]);
        let started = "[INFO  tini (1)] Spawned child process 'x' with pid '7'\n";
        assert_eq!(texts(Program::Tini, Moment::Started(OsStr::new("x"))), [started]);
    }

    #[test]
    fn dumb_init_says_how_signals_are_rewritten() {
        let of = |moment| texts(Program::DumbInit, moment).concat().replace("[dumb-init] ", "");
        assert_eq!(of(Moment::Signal(15)), "Received signal 15.\n");
        assert_eq!(of(Moment::Signal(1)), "Received signal 1.\nTranslating signal 1 to 2.\n");
        let ignored = "Received signal 3.\nTranslating signal 3 to 0.\nNot forwarding signal 0 to children (ignored).\n";
        assert_eq!(of(Moment::Signal(3)), ignored);
        assert_eq!(of(MAIN), "A child with PID 8 exited with exit status 3.\n");
        assert_eq!(of(ORPHAN), "A child with PID 9 was terminated by signal 15.\n");
        assert_eq!(of(STOPPED), "");
        assert_eq!(said(Program::DumbInit, 0, MAIN), []);
        let missing = Moment::NotExecuted(OsStr::new("x"), libc::EACCES);
        assert_eq!(said(Program::DumbInit, 0, missing)[0].1, "[dumb-init] x: Permission denied\n");
    }

    #[test]
    fn catatonit_says_why_nothing_was_executed_and_more_when_asked() {
        let missing = Moment::NotExecuted(OsStr::new("x"), libc::ENOENT);
        let error = "ERROR (catatonit:7): failed to exec pid1: No such file or directory\n";
        assert_eq!(said(Program::Catatonit, 0, missing), [(Stream::Stderr, error.into())]);
        assert_eq!(said(Program::Catatonit, 0, ORPHAN), []);
        let orphan = "DEBUG (catatonit:7): child process 9 exited due to signal 15\n";
        assert_eq!(texts(Program::Catatonit, ORPHAN), [orphan]);
    }

    #[test]
    fn every_signal_has_a_description() {
        for (signal, text) in [(1, "Hangup"), (9, "Killed"), (15, "Terminated"), (31, "Bad system call")] {
            assert_eq!(description(signal), text);
        }
        assert_eq!(description(34), "Real-time signal 0");
        assert_eq!(description(64), "Real-time signal 30");
        assert_eq!(description(32), "Unknown signal 32");
    }
}
