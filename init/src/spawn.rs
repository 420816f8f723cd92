//! Starts the workload: fork, the signal state and descriptors it shall have, its process group, exec.
//!
//! Which rights it loses is privileges.rs's to know; what becomes of it afterwards, event_loop/ sees.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{
    ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid, pipe2, setpgid, setsid, tcsetpgrp,
};

use crate::error::Error;
use crate::exit;
use crate::handoff::{Descriptors, Failure, Group, Report, Workload, first_body};
use crate::join::has_ended;
use crate::presets::{Moment, Tell};
use crate::privileges::{Privileges, failed};
use crate::signals::{self, Received, SignalQueue};
use crate::sys::{self, CStringArray};

/// Where programs are looked for when the environment has no PATH; execvp(3)'s default.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";
/// What runs a file that is executable but has no format that the kernel knows; see execvp(3), ENOEXEC.
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// Starts the workload and returns its pid and pidfd when it has been executed. Every signal must be blocked;
/// `signals` has those that came in.
///
/// While the exec takes its time, the end of `launcher`, if given, is looked out for, unless [`Extra::stands_still`]. Anything
/// else that it says is left for later.
///
/// # Errors
/// [`Error::Workload`] names what failed in the new process; [`Error::NulByte`], [`Error::Own`] and
/// [`Error::LauncherGone`] come from here.
pub(crate) fn spawn(
    workload: &Workload,
    signals: &SignalQueue,
    launcher: Option<BorrowedFd<'_>>,
    extra: &Extra<'_>,
) -> Result<(Pid, OwnedFd), Error> {
    let program = Program::new(workload)?;
    let privileges = Privileges::prepare(workload, extra.is_root, extra.proc)?;
    // In the caller's group it is held until this process has done its part. A change of user decides by fs.suid_dumpable
    // who may read the memory that would be ours.
    let may_share = workload.group != Group::Callers && workload.user.is_none();
    if extra.stands_still && may_share {
        spawn_standing_still(workload, program, &privileges, extra)
    } else {
        spawn_watching(workload, program, &privileges, signals, launcher, extra)
    }
}

/// Without a page table of its own for the new process, nor a pipe: it says in memory why it could not be executed.
fn spawn_standing_still(
    workload: &Workload,
    program: Program,
    privileges: &Privileges<'_>,
    extra: &Extra<'_>,
) -> Result<(Pid, OwnedFd), Error> {
    let mut failure = None;
    let spawned =
        sys::fork_sharing_memory(|| match run_workload(workload, program, privileges, None, extra) {
            Ended::With(code) => code,
            Ended::Failed(reason) => {
                let code = reason.code;
                failure = Some(reason);
                code
            }
        });
    let (pid, pidfd) = spawned.map_err(|errno| Error::Own("fork", errno))?;
    match failure {
        None => Ok((pid, pidfd)),
        Some(failure) => {
            let _ = nix::sys::wait::waitpid(pid, None);
            Err(Error::Workload(Box::new(failure)))
        }
    }
}

fn spawn_watching(
    workload: &Workload,
    program: Program,
    privileges: &Privileges<'_>,
    signals: &SignalQueue,
    launcher: Option<BorrowedFd<'_>>,
    extra: &Extra<'_>,
) -> Result<(Pid, OwnedFd), Error> {
    let (told, tell) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::Own("pipe", errno))?;
    let (hold, go) = match workload.group {
        Group::Callers => pipe2(OFlag::O_CLOEXEC).map(|(hold, go)| (Some(hold), Some(go))),
        Group::Own { .. } | Group::Session => Ok((None, None)),
    }
    .map_err(|errno| Error::Own("pipe", errno))?;
    let name = program.name.clone();
    match sys::fork().map_err(|errno| Error::Own("fork", errno))? {
        ForkResult::Child => {
            drop(go);
            let code = match run_workload(workload, program, privileges, hold, extra) {
                Ended::With(code) => code,
                Ended::Failed(failure) => {
                    let code = failure.code;
                    if let Ok(frame) = Report::Failed(failure).encode() {
                        // Nobody is left to tell if this fails; the exit code says it once more.
                        let _ = std::fs::File::from(tell).write_all(&frame);
                    }
                    code
                }
            };
            sys::exit_now(code)
        }
        ForkResult::Parent { child } => {
            drop(tell);
            let pidfd = match sys::open_pidfd(child) {
                Ok(pidfd) => pidfd,
                Err(errno) => {
                    // It must not run without us knowing it for sure. ESRCH: it has ended already.
                    let _ = sys::kill(child.as_raw(), libc::SIGKILL);
                    return Err(Error::Own("pidfd", errno));
                }
            };
            if matches!(workload.group, Group::Own { .. }) {
                // The child does the same. Whoever comes first, a signal to the group finds it. EACCES: it has
                // executed already, ESRCH: it has ended already.
                let _ = setpgid(child, child);
            }
            if let Some(go) = go {
                if launcher.is_some() {
                    // What is sent to the caller's group reaches us from the launcher.
                    setpgid(Pid::from_raw(0), Pid::from_raw(0))
                        .map_err(|errno| Error::Own("process group", errno))?;
                }
                forward_pending(child, signals)?;
                drop(go);
            }
            let until = extra.patience.and_then(|time| Instant::now().checked_add(time));
            let told = what_is_told(told, launcher, until).inspect_err(|_| {
                // It must not run without anybody who wants it. ESRCH: it has ended already.
                let _ = sys::kill(child.as_raw(), libc::SIGKILL);
            });
            match told? {
                Told::Executed => Ok((child, pidfd)),
                Told::Failed(failure) => {
                    // It is about to end, unless somebody inside has stopped it; nobody is left over. Its status says no
                    // more than the failure.
                    let _ = sys::kill(child.as_raw(), libc::SIGKILL);
                    let _ = nix::sys::wait::waitpid(child, None);
                    Err(Error::Workload(Box::new(failure)))
                }
                Told::NothingYet => {
                    // The loop reaps it. To wait for its end here could take as long.
                    let _ = sys::kill(child.as_raw(), libc::SIGKILL);
                    Err(Error::Workload(Box::new(took_too_long(&name))))
                }
            }
        }
    }
}

/// How the new process ends that could not be executed.
enum Ended {
    /// As a failure.
    Failed(Failure),
    /// With this code, as a workload that ended.
    With(u8),
}

/// The new process, from its fork on.
fn run_workload(
    workload: &Workload,
    mut program: Program,
    privileges: &Privileges<'_>,
    hold: Option<OwnedFd>,
    extra: &Extra<'_>,
) -> Ended {
    extra.tell(Moment::Started(&program.name));
    if extra.listen_pid {
        program.environment = c_strings(&listen_pid(&workload.environment)).unwrap_or(program.environment);
    }
    let Err(failure) = become_workload(workload, &program, privileges, hold, extra);
    match extra.exec_failure {
        Some(exit_code) if failure.step == "exec" => {
            extra.tell(Moment::NotExecuted(&failure.object, failure.errno));
            Ended::With(exit_code(failure.errno))
        }
        _ => Ended::Failed(failure),
    }
}

/// A workload in our caller's group gets the terminal's signals itself from its fork on, and those that came before
/// from us. One that came in between is pending with both of us, and with the workload, which holds and has every signal
/// blocked, once.
fn forward_pending(workload: Pid, signals: &SignalQueue) -> Result<(), Error> {
    let forward = |signal: Received| {
        if signal.number != libc::SIGCHLD {
            // ESRCH: it has ended already.
            let _ = sys::kill(workload.as_raw(), signal.number);
        }
    };
    signals.drain(forward).map_err(|errno| Error::Own("signalfd", errno))
}

/// What became of the exec.
enum Told {
    Executed,
    Failed(Failure),
    /// It has had its time.
    NothingYet,
}

/// Waits for what the new process says, or its end of file: an exec closes its end.
fn what_is_told(
    told: OwnedFd,
    launcher: Option<BorrowedFd<'_>>,
    until: Option<Instant>,
) -> Result<Told, Error> {
    let mut frame = Vec::new();
    loop {
        let mut polled = [
            PollFd::new(told.as_fd(), PollFlags::POLLIN),
            // An order waits there until the loop reads it: only the launcher's end, which is always told of, counts here.
            PollFd::new(launcher.unwrap_or(told.as_fd()), PollFlags::empty()),
        ];
        let timeout = until.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
        match ppoll(&mut polled, timeout, None) {
            Ok(0) => return Ok(Told::NothingYet),
            Ok(_) if polled[0].any() == Some(true) => {}
            Ok(_) => return Err(Error::LauncherGone),
            // Every signal is blocked, but a debugger interrupts too.
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Error::Own("poll", errno)),
        }
        let mut buffer = [0; 256];
        match nix::unistd::read(&told, &mut buffer) {
            Ok(0) => return Ok(Told::Executed),
            Ok(length) => frame.extend_from_slice(&buffer[..length]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Own("pipe", errno)),
        }
        // It may never come to its end of file.
        if let Some(Ok(Report::Failed(failure))) = first_body(&frame).ok().flatten().map(Report::decode) {
            return Ok(Told::Failed(failure));
        }
    }
}

fn took_too_long(name: &OsStr) -> Failure {
    Failure {
        code: exit::FAILED,
        step: "exec".into(),
        object: name.into(),
        detail: "took too long".into(),
        errno: Errno::ETIMEDOUT as i32,
    }
}

/// What is done for a workload besides what every one gets.
#[derive(Default)]
pub(crate) struct Extra<'a> {
    /// Whether this process is root.
    pub(crate) is_root: bool,
    /// The sandbox's own terminal, for a workload that leads a session on it.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    /// A proc that nobody can have tampered with, where the workload's privileges need one.
    pub(crate) proc: Option<BorrowedFd<'a>>,
    /// Who is told what happens when init stands in for another program; in the new process too.
    pub(crate) tell: Option<Tell<'a>>,
    /// The exit code of the new process when the exec fails with this errno. With it, a workload that could not be
    /// executed is one that ended.
    pub(crate) exec_failure: Option<fn(i32) -> u8>,
    /// Whether a LISTEN_PID that names init shall name the workload.
    pub(crate) listen_pid: bool,
    /// The pidfd of this process, where the workload shall not outlive it and cannot know its number.
    pub(crate) parent: Option<BorrowedFd<'a>>,
    /// What is closed in the new process before anything else: others are inside already, who may be able to look.
    pub(crate) close: &'a [RawFd],
    /// What the workload gets under this number above 2, by which it says that it is ready.
    pub(crate) ready: Option<(BorrowedFd<'a>, i32)>,
    /// Whether it is apart from whatever terminal there is: in a session of its own without one, and with this as stdin,
    /// stdout and stderr.
    pub(crate) apart: Option<BorrowedFd<'a>>,
    /// Whether this process may stand still until the workload is executed, however long that takes: something else ends it
    /// then, if the launcher ends.
    pub(crate) stands_still: bool,
    /// Whether the new process was kept on one processor, and shall not be any more.
    pub(crate) leaves_processor: bool,
    /// How long the new process may take until it is executed, where others are inside already, who could stop it.
    pub(crate) patience: Option<Duration>,
}

impl Extra<'_> {
    fn tell(&self, moment: Moment<'_>) {
        if let Some(tell) = self.tell {
            (tell.0)(moment);
        }
    }
}

/// The command in the form that execve(2) takes, ready before the fork.
struct Program {
    candidates: Vec<CString>,
    /// Whether those are folders of the PATH with the name, and not the name itself.
    is_searched: bool,
    arguments: CStringArray,
    environment: CStringArray,
    name: OsString,
}

impl Program {
    fn new(workload: &Workload) -> Result<Self, Error> {
        let name = workload.command.first().cloned().unwrap_or_default();
        Ok(Self {
            candidates: candidates(&name, &workload.environment)
                .iter()
                .map(|candidate| c_string(candidate))
                .collect::<Result<_, _>>()?,
            arguments: c_strings(&workload.command)?,
            environment: c_strings(&workload.environment)?,
            is_searched: is_searched(&name),
            name,
        })
    }
}

fn c_strings(strings: &[OsString]) -> Result<CStringArray, Error> {
    strings.iter().map(|string| c_string(string)).collect::<Result<_, _>>().map(CStringArray::new)
}

fn c_string(string: &OsStr) -> Result<CString, Error> {
    CString::new(string.as_bytes()).map_err(|_| Error::NulByte(string.into()))
}

fn is_searched(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().contains(&b'/')
}

/// The paths to try for a command of this name, in their order; see execvp(3).
fn candidates(name: &OsStr, environment: &[OsString]) -> Vec<OsString> {
    if !is_searched(name) {
        return vec![name.to_owned()];
    }
    let path = environment.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(DEFAULT_PATH)
        .split(|byte| *byte == b':')
        .map(|folder| match folder {
            // An empty entry is the working directory.
            b"" => name.to_owned(),
            folder => Path::new(OsStr::from_bytes(folder)).join(name).into_os_string(),
        })
        .collect()
}

/// Runs in the new process; returns only when something failed.
fn become_workload(
    workload: &Workload,
    program: &Program,
    privileges: &Privileges<'_>,
    hold: Option<OwnedFd>,
    extra: &Extra<'_>,
) -> Result<Infallible, Failure> {
    extra.close.iter().for_each(|fd| sys::close_inherited(*fd));
    match (workload.group, extra.terminal) {
        (Group::Session, _) if extra.apart.is_some() => drop(setsid().map_err(failed("session"))?),
        (Group::Session, Some(terminal)) => lead_session(terminal).map_err(failed("session"))?,
        (Group::Session, None) => start_session(extra).map_err(failed("session"))?,
        (Group::Own { foreground }, _) => lead_group(foreground).map_err(failed("process group"))?,
        (Group::Callers, _) => {}
    }
    if let Some(null) = extra.apart {
        dup2_stdin(null)
            .and_then(|()| dup2_stdout(null))
            .and_then(|()| dup2_stderr(null))
            .map_err(failed("descriptors"))?;
    }
    sys::set_ignored(libc::SIGPIPE, workload.signals.ignore_pipe).map_err(failed("SIGPIPE"))?;
    if workload.signals.ignore_child {
        // Else it is what this process has made of it for itself.
        sys::set_ignored(libc::SIGCHLD, true).map_err(failed("SIGCHLD"))?;
    }
    if let Descriptors::Only(keep) = &workload.descriptors {
        keep_only(keep).map_err(failed("descriptors"))?;
    }
    if let Some((ready, number)) = extra.ready {
        sys::place(ready, number)
            .and_then(|()| sys::keep_on_exec(number))
            .map_err(failed("descriptor of --ready"))?;
    }
    privileges.fall(extra.terminal)?;
    if let Some(signal) = workload.parent_death_signal {
        // After the change of user, which clears it.
        sys::prctl(libc::PR_SET_PDEATHSIG, signal.into()).map_err(failed("PR_SET_PDEATHSIG"))?;
        if extra.parent.is_some_and(has_ended) {
            // It ended before that; nobody is left to be told.
            sys::exit_now(exit::FAILED);
        }
    }
    if extra.leaves_processor {
        sys::use_all_processors().map_err(failed("processors"))?;
        // Those who sleep by now, init and the launcher, may count as running here until somebody else is chosen
        // (DELAY_DEQUEUE in kernel/sched/features.h): the exec would move to a processor that has less to do, and wake it up.
        std::thread::yield_now();
    }
    if let Some(hold) = hold {
        // Its end of file says that we may go on.
        std::fs::File::from(hold).read_to_end(&mut Vec::new()).map_err(|_| failed("pipe")(Errno::EIO))?;
    }
    // Last: from here on a signal does to this process what it will do to the workload.
    signals::set_mask(workload.signals.mask).map_err(failed("signal mask"))?;
    privileges.install_filters()?;
    let failure = execute(program);
    Err(privileges.refusal_to_execute().unwrap_or(failure))
}

/// A session of its own, with the sandbox's terminal as stdin, stdout and stderr; the caller's is not reachable any
/// more, by /dev/tty neither.
fn lead_session(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    setsid()?;
    sys::take_as_controlling(terminal)?;
    dup2_stdin(terminal)?;
    dup2_stdout(terminal)?;
    dup2_stderr(terminal)
}

fn lead_group(foreground: bool) -> Result<(), Errno> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    if foreground {
        // SIGTTOU is blocked, else this would stop us. A terminal that has been hung up or has changed hands
        // since the launcher looked is no reason not to run.
        if let Err(errno) = tcsetpgrp(std::io::stdin(), getpid()) {
            log::debug!("terminal: not taken: {}", errno.desc());
        }
    }
    Ok(())
}

/// A terminal that is still somebody else's is left to them.
fn start_session(extra: &Extra<'_>) -> Result<(), Errno> {
    setsid()?;
    if let Err(errno) = sys::take_terminal() {
        extra.tell(Moment::NoTerminal(errno as i32));
    }
    extra.tell(Moment::SessionStarted);
    Ok(())
}

/// The environment, with LISTEN_PID being this process where it was its parent: whoever started init for a socket
/// meant the workload; see sd_listen_fds(3).
fn listen_pid(environment: &[OsString]) -> Vec<OsString> {
    let meant = format!("LISTEN_PID={}", getppid());
    let is_meant = |variable: &OsString| variable.as_bytes() == meant.as_bytes();
    let ours = OsString::from(format!("LISTEN_PID={}", getpid()));
    environment.iter().map(|v| if is_meant(v) { ours.clone() } else { v.clone() }).collect()
}

/// Every descriptor above 2 but these closes at exec, and these stay.
fn keep_only(keep: &[i32]) -> Result<(), Errno> {
    sys::close_range_on_exec(3, u32::MAX)?;
    keep.iter().try_for_each(|fd| sys::keep_on_exec(*fd))
}

/// Tries each candidate as execvp(3) does, and says why none could be executed.
fn execute(program: &Program) -> Failure {
    let mut reason = (Errno::ENOENT, String::new());
    for candidate in &program.candidates {
        let mut errno = sys::execute(candidate, &program.arguments, &program.environment);
        let path = Path::new(OsStr::from_bytes(candidate.as_bytes()));
        if errno == Errno::ENOEXEC && could_be_a_script(path) {
            // Without a shell the file itself is still what cannot be executed.
            errno = match execute_by_shell(candidate, program) {
                Errno::ENOENT => Errno::ENOEXEC,
                other => other,
            };
        }
        match errno {
            // execve says ENOENT of a missing interpreter too.
            Errno::ENOENT if path.exists() => reason = (errno, missing_interpreter(path)),
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG if program.is_searched => {}
            // A folder of the PATH that may not be searched, or a folder of the command's name, is not the command.
            Errno::EACCES if program.is_searched && !path.is_file() => {}
            Errno::EACCES => reason = (errno, String::new()),
            _ => {
                reason = (errno, String::new());
                break;
            }
        }
    }
    let (errno, detail) = reason;
    let code = match errno {
        Errno::ENOENT | Errno::ENOTDIR => exit::NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    };
    let is_nowhere = program.is_searched && errno == Errno::ENOENT && detail.is_empty();
    let detail = if is_nowhere { "not found in PATH".into() } else { detail };
    Failure { code, step: "exec".into(), object: program.name.clone(), detail, errno: errno as i32 }
}

fn execute_by_shell(script: &CString, program: &Program) -> Errno {
    let rest = program.arguments.strings().iter().skip(1).cloned();
    let arguments = [SHELL.to_owned(), script.clone()].into_iter().chain(rest).collect();
    sys::execute(&SHELL.to_owned(), &CStringArray::new(arguments), &program.environment)
}

/// Whether a file that the kernel knows no format of is text, and no program for another machine, say.
fn could_be_a_script(path: &Path) -> bool {
    let start = start_of(path);
    !start.starts_with(b"\x7fELF") && !start.contains(&0)
}

/// What a file that exists lacks when it cannot be executed for ENOENT.
fn missing_interpreter(path: &Path) -> String {
    let mut path = path.to_owned();
    // An interpreter may have one itself; the kernel follows no more than this (exec_binprm in fs/exec.c).
    for _ in 0..5 {
        let start = start_of(&path);
        let Some(line) = start.strip_prefix(b"#!") else { break };
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // A carriage return is part of the name, as it is for the kernel.
        let mut words = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
        path = PathBuf::from(OsStr::from_bytes(words.next().unwrap_or_default()));
        if !path.exists() {
            return format!("its interpreter {} does not exist", path.display());
        }
    }
    "the dynamic loader that it names as its interpreter does not exist".into()
}

/// As much of a file as the kernel looks at to know what it is (BINPRM_BUF_SIZE); nothing if it cannot be read.
fn start_of(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(256).read_to_end(&mut start));
    if read.is_ok() { start } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(name: &str, environment: &[&str]) -> Vec<OsString> {
        let environment: Vec<_> = environment.iter().map(OsString::from).collect();
        candidates(OsStr::new(name), &environment)
    }

    #[test]
    fn a_name_is_looked_for_in_each_folder_of_the_path_in_order() {
        assert_eq!(paths("ls", &["HOME=/", "PATH=/a:/b"]), ["/a/ls", "/b/ls"]);
    }

    #[test]
    fn an_empty_entry_of_the_path_is_the_working_directory() {
        assert_eq!(paths("ls", &["PATH=/a::"]), ["/a/ls", "ls", "ls"]);
        assert_eq!(paths("ls", &["PATH="]), ["ls"]);
    }

    #[test]
    fn without_a_path_the_default_of_execvp_is_searched() {
        assert_eq!(paths("ls", &["XPATH=/a"]), ["/bin/ls", "/usr/bin/ls"]);
    }

    #[test]
    fn a_name_with_a_slash_and_an_empty_one_are_not_looked_for() {
        assert_eq!(paths("./ls", &["PATH=/a"]), ["./ls"]);
        assert_eq!(paths("", &["PATH=/a"]), [""]);
    }
}
