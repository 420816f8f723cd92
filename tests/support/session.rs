//! A program on a terminal, and who sits there: types keys and reads the screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::{Caller, DEADLINE, Running, marker, processes_with, text};

/// A program that leads a session on a terminal of its own.
pub struct Session {
    /// Who leads it.
    pub running: Running,
    /// Our side of the terminal: the keyboard and the screen.
    pub terminal: File,
    /// The other side's name.
    pub name: String,
    /// What was written and not yet looked at.
    unseen: String,
    /// In the environment of everybody in it.
    pub marker: String,
}

impl Session {
    /// `PROGRAM ARGUMENTS…` as this caller, on a terminal of 40 lines by 100 columns that does not echo.
    #[track_caller]
    pub fn start(caller: Caller, words: &[impl AsRef<str>]) -> Self {
        Self::start_with("-echo", caller, words)
    }

    #[track_caller]
    pub fn start_with(echo: &str, caller: Caller, words: &[impl AsRef<str>]) -> Self {
        let (terminal, other, name) = terminal();
        // Not by the terminal's name: that is another session's as soon as our side of this one is closed.
        static SESSIONS: AtomicU32 = AtomicU32::new(0);
        let marker = marker(&format!("session-{}", SESSIONS.fetch_add(1, Ordering::Relaxed)));
        let words = words.iter().map(AsRef::as_ref);
        let script = "stty $0 rows 40 cols 100; exec \"$@\"";
        let mut command = caller.command("setsid");
        command.args(["--ctty", "sh", "-c", script, echo]).args(words).current_dir("/");
        let copy = || other.try_clone().expect("dup");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        command.env("PS1", "inside> ").env("TERM", "dumb").env("INPUTRC", "/dev/null").env("TEST", &marker);
        command.env_remove("LAUNCH_LOG").env_remove("HISTFILE").env("HOME", "/");
        let running = Running::start(&mut command);
        // The end is seen when nobody has it open.
        drop((command, other));
        Self { running, terminal, name, unseen: String::new(), marker }
    }

    #[track_caller]
    pub fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("write to the terminal");
    }

    /// What is written next; none at the end.
    #[track_caller]
    pub fn reads(&mut self) -> Option<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).expect("a timeout");
            match poll(&mut [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => panic!("nothing more on the screen before the deadline, but {:?}", self.unseen),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => panic!("poll: {errno}"),
            }
        }
        let mut buffer = [0; 4096];
        match self.terminal.read(&mut buffer) {
            Ok(length @ 1..) => Some(text(&buffer[..length])),
            // EIO, once nobody has the other side open.
            Ok(0) | Err(_) => None,
        }
    }

    /// Waits until this is on the screen; returns what stood before it.
    #[track_caller]
    pub fn shows(&mut self, expected: &str) -> String {
        loop {
            if let Some((before, rest)) = self.unseen.split_once(expected) {
                let (before, rest) = (before.to_owned(), rest.to_owned());
                self.unseen = rest;
                return before;
            }
            match self.reads() {
                Some(chunk) => self.unseen.push_str(&chunk),
                None => panic!("ended without showing {expected:?}, but {:?}", self.unseen),
            }
        }
    }

    /// Waits for the end; returns what was still written, and the status. Nobody is left.
    #[track_caller]
    pub fn ends(mut self) -> (String, ExitStatus) {
        while let Some(chunk) = self.reads() {
            self.unseen.push_str(&chunk);
        }
        let status = self.running.wait();
        assert_eq!(processes_with(&self.marker), [0; 0]);
        (std::mem::take(&mut self.unseen), status)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for pid in processes_with(&self.marker) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// Both sides of a new terminal, and the name of the other. No other program that this one starts meanwhile inherits
/// them, as with openpty(3). It is not /dev/pts/0: that is the name of a first terminal inside.
fn terminal() -> (File, File, String) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let new = || {
        let ours = posix_openpt(flags).expect("posix_openpt");
        grantpt(&ours).expect("grantpt");
        unlockpt(&ours).expect("unlockpt");
        let name = ptsname_r(&ours).expect("ptsname");
        (ours, name)
    };
    let (mut ours, mut name) = new();
    while name == "/dev/pts/0" {
        let (another, its_name) = new();
        // The first one keeps its number until here.
        (ours, name) = (another, its_name);
    }
    let other: OwnedFd = open(name.as_str(), flags, Mode::empty()).expect("open the terminal");
    (OwnedFd::from(ours).into(), other.into(), name)
}
