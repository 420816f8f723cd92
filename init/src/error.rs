//! What can go wrong in init, each with the step that failed and its reason.

#![forbid(unsafe_code)]

use std::ffi::OsString;

use nix::errno::Errno;

use crate::exit;
use crate::handoff::{Failure, Malformed, Step};
use crate::setup::Problem;

/// Why init starts no workload.
#[derive(Debug)]
pub enum Error {
    /// Its own command line makes no sense: which part, and why.
    Usage(String, String),
    /// The descriptor with the plan cannot be read.
    Channel(Errno),
    /// What came through it is no plan.
    Plan(Malformed),
    /// A step of the set-up failed.
    Setup(Box<Step>, Problem),
    /// Something that init needs for itself; the text names it.
    Own(&'static str, Errno),
    /// A string of the command line or environment has a NUL byte.
    NulByte(OsString),
    /// The workload's process failed before or at its exec, and told so.
    Workload(Box<Failure>),
    /// The launcher ended while the workload was being started.
    LauncherGone,
}

impl Error {
    /// As the launcher, or standalone the user, is told.
    pub fn into_failure(self) -> Failure {
        let failure = |step: &str, object: OsString, detail: String, errno: i32| Failure {
            code: exit::FAILED,
            step: step.into(),
            object,
            detail,
            errno,
        };
        match self {
            Self::Usage(what, why) => failure("command line", what.into(), why, 0),
            Self::Channel(errno) => failure("handoff", "plan".into(), String::new(), errno as i32),
            Self::Plan(malformed) => failure("handoff", "plan".into(), malformed.to_string(), 0),
            Self::Setup(step, Problem { errno, detail }) => {
                failure(step.name(), step.object().to_owned(), detail, errno as i32)
            }
            Self::Own(what, errno) => failure("init", what.into(), String::new(), errno as i32),
            Self::NulByte(string) => failure("command", string, "has a NUL byte".into(), 0),
            Self::Workload(failure) => *failure,
            Self::LauncherGone => failure("handoff", "launcher".into(), "is gone".into(), 0),
        }
    }
}
