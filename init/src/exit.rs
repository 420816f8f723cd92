//! From a wait status to an outcome, and from an outcome to an exit code. docs/exit-codes.md is its table.

#![forbid(unsafe_code)]

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// `--timeout` ran out.
pub const TIMED_OUT: u8 = 124;
/// Launcher or init failed before the workload ran.
pub const FAILED: u8 = 125;
/// CMD was found but could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// CMD was not found.
pub const NOT_FOUND: u8 = 127;

/// How a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It exited by itself with this code.
    Exited(u8),
    /// A signal of this number killed it.
    Killed(i32),
    /// Its time ran out, and it was ended for that.
    TimedOut,
}

impl Outcome {
    /// Reads waitpid(2)'s status; none for a child that only stopped or went on.
    pub fn from_wait_status(status: i32) -> Option<Self> {
        let status = ExitStatus::from_raw(status);
        match (status.code(), status.signal()) {
            (Some(code), _) => Some(Self::Exited(code as u8)),
            (None, Some(signal)) => Some(Self::Killed(signal)),
            (None, None) => None,
        }
    }

    /// The exit code that `launch` and `launch-init` return for it: the workload's own, 128 + n for signal n,
    /// or 124.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128_u8.saturating_add(signal.clamp(0, 127) as u8),
            Self::TimedOut => TIMED_OUT,
        }
    }
}

/// The signal that stopped a child, of waitpid(2)'s status.
pub fn stopped_by(status: i32) -> Option<i32> {
    ExitStatus::from_raw(status).stopped_signal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_returned_as_it_is() {
        for code in 0..=255_u8 {
            let outcome = Outcome::from_wait_status(i32::from(code) << 8);
            assert_eq!(outcome, Some(Outcome::Exited(code)));
            assert_eq!(outcome.unwrap().code(), code);
        }
    }

    #[test]
    fn every_signal_is_128_more_with_and_without_a_core_dump() {
        for signal in 1..=64 {
            for core in [0, 0x80] {
                let outcome = Outcome::from_wait_status(signal | core).unwrap();
                assert_eq!(outcome, Outcome::Killed(signal));
                assert_eq!(i32::from(outcome.code()), 128 + signal);
            }
        }
    }

    #[test]
    fn a_stopped_child_has_not_ended() {
        let stopped = libc::SIGTSTP << 8 | 0x7f;
        assert_eq!(Outcome::from_wait_status(stopped), None);
        assert_eq!(stopped_by(stopped), Some(libc::SIGTSTP));
        assert_eq!(Outcome::from_wait_status(0xffff), None, "continued");
    }
}
