//! Why a step failed: the system's reason, and what it alone doesn't say.

#![forbid(unsafe_code)]

use std::fmt::Display;

use nix::errno::Errno;

/// The errno of a step that was given up since the launcher is gone. No system call of a step has it.
pub(super) const LAUNCHER_GONE: Errno = Errno::EOWNERDEAD;

/// What went wrong in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The system's reason; 0 (`UnknownErrno`) where there is none.
    pub(crate) errno: Errno,
    /// The reason in words; empty where the errno says enough.
    pub(crate) detail: String,
}

impl Problem {
    /// A reason that is not the system's.
    pub(super) fn new(detail: impl Into<String>) -> Self {
        Self { errno: Errno::UnknownErrno, detail: detail.into() }
    }

    /// The system's reason, and what it is about.
    pub(super) fn about(what: impl Display) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { errno, detail: format!("{what}: {}", errno.desc()) }
    }
}

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Self {
        Self { errno, detail: String::new() }
    }
}
