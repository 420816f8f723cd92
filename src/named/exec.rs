//! A command that joins a running sandbox, on the client's side (`launch exec`): what is asked of the monitor, and what is
//! done with the process that it then starts.
//!
//! How the request gets to the monitor is client.rs's; what the monitor does is join.rs's.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use launch_init::exit::Outcome;
use launch_init::sys::{let_go_of, open_null, pid_of};
use launch_init::terminal::Terminal;
use nix::errno::Errno;
use nix::unistd::Pid;

use super::control::Join;
use crate::cli::sandboxes::Exec;
use crate::error::Error;
use crate::sandbox::{Sandbox, channel};
use crate::status::StatusLines;
use crate::watch;

/// What is asked for, in the form for the monitor. `terminal` is the caller's TERM: what the sandbox's terminal shows is shown
/// by the caller's.
pub fn request(options: &Exec, terminal: Option<OsString>) -> Join {
    let bytes = |text: &OsString| text.as_bytes().to_vec();
    let terminal = terminal.filter(|_| options.tty).map(|value| (b"TERM".to_vec(), bytes(&value)));
    let set = options.env.iter().map(|(key, value)| (bytes(key), bytes(value)));
    Join {
        command: options.command.iter().map(bytes).collect(),
        environment: terminal.into_iter().chain(set).collect(),
        directory: options.chdir.as_ref().map(bytes),
        user: options.user.clone(),
        tty: options.tty,
        log_level: log::max_level() as u8,
    }
}

/// What goes to the monitor, and stays here until it has answered.
#[derive(Debug)]
pub struct Offer {
    channel: OwnedFd,
    theirs: [OwnedFd; 4],
}

impl Offer {
    /// Of this process's stdin, stdout and stderr.
    ///
    /// # Errors
    /// [`Error::Channel`]
    pub fn new() -> Result<Self, Error> {
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE)))
                .map_err(Error::Channel)
        };
        let (channel, end) = channel().map_err(Error::Channel)?;
        let theirs = [
            copy(std::io::stdin().as_fd())?,
            copy(std::io::stdout().as_fd())?,
            copy(std::io::stderr().as_fd())?,
            end,
        ];
        Ok(Self { channel, theirs })
    }

    /// What goes with the request, in this order.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 4] {
        self.theirs.each_ref().map(AsFd::as_fd)
    }

    /// The process that joins, by what the monitor has answered: the plan for it, and its pidfd. Dropping it kills the
    /// command.
    pub fn joined(self, plan: Vec<u8>, pidfd: OwnedFd) -> Sandbox {
        // Of one that has ended, and for messages only.
        let pid = pid_of(pidfd.as_fd()).ok().flatten().unwrap_or(Pid::from_raw(0));
        Sandbox::joined(pid, pidfd, self.channel, plan)
    }
}

/// Has the process that joins start its command, and stays with that until its end. Every signal must be blocked.
///
/// # Errors
/// There was no command, or its end cannot be known.
pub fn follow(sandbox: Sandbox, tty: bool) -> Result<Outcome, Error> {
    // In a session of its own, it gets from the caller's terminal what we send on.
    let terminal = Terminal::of_launcher();
    watch::watch(sandbox, terminal, &mut StatusLines::to(None)?, || let_go(tty))
}

/// Whoever reads what the command writes shall see its end when the command closes it.
fn let_go(tty: bool) {
    let ours: &[i32] = if tty { &[] } else { &[libc::STDIN_FILENO, libc::STDOUT_FILENO] };
    if let Err(errno) = open_null().and_then(|null| let_go_of(ours, null.as_fd())) {
        log::warn!("stdin and stdout: still open: {}", errno.desc());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::name::Name;

    #[test]
    fn the_terminal_is_named_where_there_is_one_and_the_caller_has_the_last_word() {
        let options = |tty| Exec {
            tty,
            env: vec![("TERM".into(), "1".into())],
            chdir: None,
            user: None,
            name: Name::read("a".as_ref()).expect("a name"),
            command: vec!["true".into()],
        };
        let values = |tty, terminal: Option<&str>| {
            let variables = request(&options(tty), terminal.map(Into::into)).environment;
            variables
                .into_iter()
                .map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(values(false, Some("xterm")), ["1"]);
        // The last one of a name counts.
        assert_eq!(values(true, Some("xterm")), ["xterm", "1"]);
        assert_eq!(values(true, None), ["1"]);
    }
}
