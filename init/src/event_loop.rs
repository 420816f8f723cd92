//! PID 1's life while the workload runs: waits for signals, children, the launcher's end and deadlines, asks
//! supervisor.rs what to do, and does it.
//!
//! Nothing here ends init by an error: what fails is logged, and the loop goes on.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use crate::exit::Outcome;
use crate::handoff::{Group, Report};
use crate::report::Channel;
use crate::signals::{self, SignalQueue};
use crate::supervisor::{Action, Actions, Event, Supervisor};
use crate::sys::{self, Waited};

/// How many children are reaped before signals are looked at again, so that a flood of orphans delays none.
const REAPED_AT_ONCE: usize = 256;

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The workload has ended, and those who were left as far as the policy asks for it.
    Workload(Outcome),
    /// The launcher is gone.
    Abandoned,
}

/// The loop and what it acts on.
#[derive(Debug)]
pub struct EventLoop<'a> {
    /// Who decides.
    pub supervisor: Supervisor,
    /// Every signal, blocked.
    pub signals: &'a SignalQueue,
    /// The way to the launcher, if there is one.
    pub launcher: Option<&'a Channel>,
    /// The workload's pid.
    pub workload: Pid,
    /// Whom signals are forwarded to.
    pub group: Group,
}

impl EventLoop<'_> {
    /// Runs until the end.
    pub fn run(mut self) -> End {
        loop {
            if let Some(end) = self.handle_signals() {
                return end;
            }
            let (end, more) = self.reap();
            if let Some(end) = end {
                return end;
            }
            if let Some(end) = self.happened(Event::Tick) {
                return end;
            }
            if self.wait(more)
                && let Some(end) = self.happened(Event::LauncherGone)
            {
                return end;
            }
        }
    }

    fn handle_signals(&mut self) -> Option<End> {
        let mut end = None;
        let signals = self.signals;
        let drained = signals.drain(|signal| {
            end = end.or(self.happened(Event::Signal(signal)));
        });
        if let Err(errno) = drained {
            log::error!("signals: read: {}", errno.desc());
        }
        end
    }

    /// Reaps, and says whether there may be more. SIGCHLD coalesces, so one of them stands for any number.
    fn reap(&mut self) -> (Option<End>, bool) {
        for _ in 0..REAPED_AT_ONCE {
            let event = match sys::wait_any() {
                Ok(Waited::Changed { pid, status }) => {
                    log::trace!("child {pid}: wait status {status:#x}");
                    Event::Child { pid: pid.as_raw(), status }
                }
                Ok(Waited::Nothing) => return (None, false),
                Ok(Waited::NoChildren) => return (self.happened(Event::NoChildren), false),
                Err(errno) => {
                    log::error!("children: wait: {}", errno.desc());
                    return (None, false);
                }
            };
            let end = self.happened(event);
            if end.is_some() {
                return (end, false);
            }
        }
        (None, true)
    }

    /// Sleeps until something happens, or not at all if there is `more` to do; returns whether the launcher has
    /// gone. It says nothing after the plan, so whatever can be read from it is its end.
    fn wait(&self, more: bool) -> bool {
        let timeout = if more {
            Some(TimeSpec::new(0, 0))
        } else {
            let next = self.supervisor.next_tick();
            next.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())))
        };
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let result = match self.launcher {
            None => ppoll(&mut [signals], timeout, None).map(|_| false),
            Some(launcher) => {
                let mut polled = [signals, PollFd::new(launcher.as_fd(), PollFlags::POLLIN)];
                ppoll(&mut polled, timeout, None).map(|_| polled[1].any() == Some(true))
            }
        };
        match result {
            Ok(gone) => gone,
            Err(Errno::EINTR) => false,
            Err(errno) => {
                log::error!("poll: {}", errno.desc());
                false
            }
        }
    }

    fn happened(&mut self, event: Event) -> Option<End> {
        let actions: Actions = self.supervisor.handle(event, Instant::now());
        actions.into_iter().flatten().find_map(|action| self.perform(action))
    }

    fn perform(&self, action: Action) -> Option<End> {
        match action {
            Action::Forward(signal) => self.forward(signal.number),
            Action::SignalEveryone(signal) => signal_everyone(signal),
            Action::ReportStopped(signal) => {
                if let Some(launcher) = self.launcher {
                    // EPIPE: the launcher's end is the next event.
                    let _ = launcher.send(&Report::Stopped { signal });
                }
            }
            Action::Finish(outcome) => return Some(End::Workload(outcome)),
            Action::Abandon => return Some(End::Abandoned),
        }
        None
    }

    /// To the workload's group; to the workload alone when that is not in a group of its own (any more).
    fn forward(&self, signal: i32) {
        let pid = self.workload.as_raw();
        let sent = match self.group {
            Group::Own { .. } => match sys::kill(-pid, signal) {
                Err(Errno::ESRCH) => sys::kill(pid, signal),
                sent => sent,
            },
            Group::Callers => sys::kill(pid, signal),
        };
        match sent {
            Ok(()) => log::debug!("forwarded {}", signals::name(signal)),
            Err(errno) => log::warn!("{}: not forwarded: {}", signals::name(signal), errno.desc()),
        }
    }
}

/// Every process in this PID namespace but ourselves; see kill(2), pid -1. Only asked for by a policy that says
/// that the namespace is ours.
fn signal_everyone(signal: i32) {
    match sys::kill(-1, signal) {
        // ESRCH: nobody is left.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => log::warn!("{}: to those left over: {}", signals::name(signal), errno.desc()),
    }
}
