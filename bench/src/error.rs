//! What can go wrong while measuring. One variant each; `main` prints it.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::Path;

use nix::errno::Errno;

/// Why there are no figures.
#[derive(Debug)]
pub enum Error {
    /// The command line cannot be read.
    Usage(String),
    /// A system call failed: what was done, with what, why.
    System(&'static str, String, io::Error),
    /// Somebody who is measured did not do what was asked of it.
    Peer(String, String),
    /// The figures of a file cannot be read.
    Figures(String, String),
    /// SIGINT or SIGTERM came.
    Interrupted,
    /// The figures are worse than the committed ones by more than the margin; a line each.
    Worse(Vec<String>),
}

impl Error {
    /// For `map_err`: a failure of doing something with something.
    pub fn of<T: Into<io::Error>>(step: &'static str, object: impl fmt::Display) -> impl FnOnce(T) -> Self {
        let object = object.to_string();
        move |error| Self::System(step, object, error.into())
    }

    /// The same, with a path.
    pub fn at<T: Into<io::Error>>(step: &'static str, path: &Path) -> impl FnOnce(T) -> Self {
        Self::of(step, path.display())
    }

    /// Somebody did not do what was asked of it.
    pub fn peer(who: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Peer(who.into(), what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "command line: {what}"),
            Self::System(step, object, error) => match error.raw_os_error() {
                Some(number) => write!(f, "{step}: {object}: {}", Errno::from_raw(number).desc()),
                None => write!(f, "{step}: {object}: {error}"),
            },
            Self::Peer(who, what) => write!(f, "{who}: {what}"),
            Self::Figures(file, what) => write!(f, "figures: {file}: {what}"),
            Self::Interrupted => write!(f, "interrupted"),
            Self::Worse(losses) => write!(f, "{}", losses.join("\n")),
        }
    }
}

impl std::error::Error for Error {}
