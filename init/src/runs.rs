//! The runs of the workload, the first one and each that follows, and the probes that ask how it is.
//!
//! When one is due is the supervisor's to say.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Pid, pipe2};

use crate::error::Error;
use crate::handoff::{Descriptors, Group, Probes, Workload};
use crate::notify::NotifySocket;
use crate::presets::Tell;
use crate::privileges;
use crate::signals::SignalQueue;
use crate::spawn::{self, Extra};
use crate::supervisor::{Policy, Probe, Readiness};
use crate::sys;

/// What a probe's command is for.
const SHELL: &str = "/bin/sh";

/// How long PID 1, which does nothing else meanwhile, waits for an exec once others are inside.
const EXECUTED_WITHIN: Duration = Duration::from_secs(5);

/// All that a run takes.
pub(crate) struct Runs<'a> {
    workload: Workload,
    probes: Probes,
    readiness: Readiness,
    signals: &'a SignalQueue,
    /// What is fixed for every run.
    with: With<'a>,
    /// /dev/null, opened as long as that was sure to be it.
    null: OwnedFd,
    notify: Option<NotifySocket>,
}

/// What every run is started with, besides the workload.
#[derive(Default)]
pub(crate) struct With<'a> {
    /// The launcher's channel.
    pub(crate) launcher: Option<BorrowedFd<'a>>,
    /// The sandbox's own terminal.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    /// A proc that nobody can have tampered with.
    pub(crate) proc: Option<BorrowedFd<'a>>,
    /// See [`Extra`].
    pub(crate) tell: Option<Tell<'a>>,
    /// See [`Extra`].
    pub(crate) exec_failure: Option<fn(i32) -> u8>,
    /// See [`Extra`].
    pub(crate) listen_pid: bool,
    /// See [`Extra`]; for the first run.
    pub(crate) stands_still: bool,
    /// Whether the first run begins on one processor.
    pub(crate) is_on_one_processor: bool,
}

/// A run that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The workload's pid.
    pub(crate) pid: Pid,
    /// Its pidfd.
    pub(crate) pidfd: OwnedFd,
    /// Where it says that it is ready, if by a descriptor of its own; non-blocking.
    pub(crate) ready: Option<OwnedFd>,
}

impl<'a> Runs<'a> {
    /// Makes what the runs have in common, such as who they are.
    ///
    /// # Errors
    /// [`Error::Own`]; [`Error::Workload`]: there is no such user.
    pub(crate) fn new(
        mut workload: Workload,
        probes: Probes,
        policy: &Policy,
        signals: &'a SignalQueue,
        with: With<'a>,
        null: OwnedFd,
    ) -> Result<Self, Error> {
        let notify = match (policy.readiness, policy.watchdog) {
            (Readiness::Notify, _) | (_, Some(_)) => {
                let failed = |errno| Error::Own("notify socket", errno);
                let notify = NotifySocket::new().map_err(failed)?;
                set(&mut workload.environment, notify.variable().map_err(failed)?);
                Some(notify)
            }
            _ => None,
        };
        workload.user = workload.user.as_ref().map(privileges::in_numbers).transpose()?;
        if let Some(time) = policy.watchdog {
            set(&mut workload.environment, format!("WATCHDOG_USEC={}", time.as_micros()).into());
            // Without it, every process of the workload is meant; sd_watchdog_enabled(3).
            workload.environment.retain(|variable| !variable.as_bytes().starts_with(b"WATCHDOG_PID="));
        }
        Ok(Self { workload, probes, readiness: policy.readiness, signals, with, null, notify })
    }

    /// CMD, for messages.
    pub(crate) fn command(&self) -> String {
        self.workload.command.first().map(|command| command.display().to_string()).unwrap_or_default()
    }

    /// /dev/null.
    pub(crate) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// Where the workload says how it is.
    pub(crate) fn notify(&self) -> Option<&NotifySocket> {
        self.notify.as_ref()
    }

    /// Starts the first one, when nobody else is inside.
    ///
    /// # Errors
    /// As [`spawn::spawn`]; [`Error::Own`]
    pub(crate) fn begin(&self) -> Result<Begun, Error> {
        self.begin_within(None)
    }

    /// Starts a further one. What the last one has said and nobody has heard yet is not said of this one.
    ///
    /// # Errors
    /// As [`Self::begin`], and if it takes too long.
    pub(crate) fn begin_again(&self) -> Result<Begun, Error> {
        if let Some(notify) = &self.notify {
            notify.forget();
        }
        self.begin_within(Some(EXECUTED_WITHIN))
    }

    fn begin_within(&self, patience: Option<Duration>) -> Result<Begun, Error> {
        let (ready, told) = match self.readiness {
            Readiness::Descriptor(number) => {
                let failed = |errno| Error::Own("pipe", errno);
                let (ready, told) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
                // Of our end alone: the workload may be surprised by one that is not blocking.
                fcntl(&ready, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
                (Some(ready), Some((told, number)))
            }
            _ => (None, None),
        };
        let ready_by = told.as_ref().map(|(told, number)| (told.as_fd(), *number));
        let stands_still = self.with.stands_still && patience.is_none();
        let leaves_processor = self.with.is_on_one_processor && patience.is_none();
        let extra = Extra { ready: ready_by, patience, stands_still, leaves_processor, ..self.extra() };
        let (pid, pidfd) = spawn::spawn(&self.workload, self.signals, self.with.launcher, &extra)?;
        Ok(Begun { pid, pidfd, ready })
    }

    /// Starts a probe, in a session of its own that has no terminal, and returns its pid, which is also its group's.
    ///
    /// # Errors
    /// As [`spawn::spawn`]
    pub(crate) fn probe(&self, probe: Probe) -> Result<Pid, Error> {
        let command = match probe {
            Probe::Ready => self.probes.ready.clone(),
            Probe::Health => self.probes.health.clone(),
        };
        let workload = Workload {
            command: [SHELL.into(), "-c".into()].into_iter().chain(command).collect(),
            group: Group::Session,
            descriptors: Descriptors::Only(Vec::new()),
            ..self.workload.clone()
        };
        let extra = Extra {
            terminal: None,
            apart: Some(self.null()),
            tell: None,
            patience: Some(EXECUTED_WITHIN),
            ..self.extra()
        };
        spawn::spawn(&workload, self.signals, self.with.launcher, &extra).map(|(pid, _)| pid)
    }

    fn extra(&self) -> Extra<'_> {
        let With { terminal, proc, tell, exec_failure, listen_pid, .. } = self.with;
        let is_root = sys::was_executed_as_root();
        Extra { is_root, terminal, proc, tell, exec_failure, listen_pid, ..Extra::default() }
    }
}

/// Keeps everything that is opened from here on away from this number, which the workload gets. It stays open, and is
/// closed by any exec.
///
/// # Errors
/// [`Error::Own`]
pub(crate) fn reserve(number: i32) -> Result<(), Error> {
    let null = sys::open_null().map_err(|errno| Error::Own("/dev/null", errno))?;
    if null.as_raw_fd() == number {
        // Nobody is its owner: it is the workload's.
        let _ = null.into_raw_fd();
        return Ok(());
    }
    sys::place(null.as_fd(), number).map_err(|errno| Error::Own("descriptor of --ready", errno))
}

/// Sets a variable, `KEY=VALUE`.
fn set(environment: &mut Vec<OsString>, variable: OsString) {
    let key = variable.as_bytes().split_inclusive(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
    environment.retain(|other| !other.as_bytes().starts_with(&key));
    environment.push(variable);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_takes_the_place_of_the_one_of_its_name() {
        let mut environment: Vec<OsString> = vec!["A=1".into(), "AB=2".into(), "A=3".into()];
        set(&mut environment, "A=x=y".into());
        assert_eq!(environment, ["AB=2", "A=x=y"]);
    }
}
