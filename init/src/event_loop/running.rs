//! A workload that runs, and how a signal gets to it.
//!
//! Which signal it gets, and when, others decide.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::signals::Received;
use crate::{everyone, shield, sys};

/// Whom a signal is forwarded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The workload's own process.
    Main,
    /// Its process group.
    Group,
    /// Every process but init.
    All,
}

/// Who is told of the main process's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Init, which has started it.
    Ours,
    /// Perhaps somebody else, who has started it: it was named as the main one (MAINPID), and runs.
    Named,
    /// The same, and it has ended. Until its parent has waited for it, or has ended too, it is a zombie.
    Zombie,
}

/// A workload that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its pid.
    pub(crate) pid: Pid,
    /// Its pidfd.
    pub(crate) pidfd: OwnedFd,
    /// Where it says that it is ready, if by a descriptor of its own.
    pub(crate) ready: Option<OwnedFd>,
    /// Whether it is a process that was named (MAINPID).
    pub(crate) naming: Naming,
    /// Whom signals are forwarded to.
    pub(crate) target: Target,
    /// Whether a signal that would kill it is held off.
    pub(crate) shield: bool,
}

impl Running {
    pub(super) fn would_die_of(&self, signal: i32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        status.is_ok_and(|status| shield::would_kill(signal, &status))
    }

    pub(super) fn send(&self, signal: Received) -> Result<(), Errno> {
        match self.target {
            Target::Main => self.send_to_main(signal),
            Target::Group => match self.send_to_group(signal) {
                // It is not in a group of its own any more, or that is empty.
                Err(Errno::ESRCH) => self.send_to_main(signal),
                sent => sent,
            },
            Target::All => {
                match signal.value {
                    Some(_) => everyone::queue(signal),
                    None => {
                        everyone::signal(signal.number);
                    }
                }
                Ok(())
            }
        }
    }

    fn send_to_main(&self, signal: Received) -> Result<(), Errno> {
        sys::signal_process(self.pidfd(), signal.number, signal.value)
    }

    /// A value reaches a whole group only through its leader's pidfd, and that with Linux 6.9.
    fn send_to_group(&self, signal: Received) -> Result<(), Errno> {
        let by_pidfd = signal.value.map(|_| sys::signal_group(self.pidfd(), signal.number, signal.value));
        match by_pidfd {
            Some(Err(Errno::EINVAL)) | None => sys::kill(-self.pid.as_raw(), signal.number),
            Some(sent) => sent,
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
