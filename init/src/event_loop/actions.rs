//! Asks the supervisor what to do, and does it.
//!
//! How a further run or a probe is started, runs.rs knows.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::{Above, End, EventLoop, Naming, Running};
use crate::error::Error;
use crate::handoff::{Happening, Report};
use crate::presets::Moment;
use crate::runs::Begun;
use crate::signals::{self, Received};
use crate::supervisor::{Action, Actions, Event, Probe};
use crate::terminal::{self, Stopped};
use crate::{everyone, sys};

impl EventLoop<'_> {
    pub(super) fn happened(&mut self, event: Event) -> Option<End> {
        let actions: Actions = self.supervisor.handle(event, Instant::now());
        actions.into_iter().flatten().find_map(|action| self.perform(action))
    }

    fn perform(&mut self, action: Action) -> Option<End> {
        match action {
            Action::Forward(signal) => self.forward(signal),
            // SIGTERM has found nobody to be woken up for it, or killed.
            Action::SignalEveryone(libc::SIGCONT | libc::SIGKILL) if self.is_alone => {}
            Action::SignalEveryone(signal) => {
                self.is_alone = everyone::is_nobody() || !everyone::signal(signal);
            }
            Action::StopSelf => {
                self.tell(Moment::StopsSelf);
                terminal::stop();
            }
            Action::Tell(happening) => self.report(happening),
            Action::Start => return self.start(),
            Action::Probe(probe) => return self.probe(probe),
            // ESRCH: it has ended meanwhile.
            Action::EndProbe(pid) => drop(sys::kill(-pid, libc::SIGKILL)),
            Action::ReportStopped(signal) => match &self.above {
                // EAGAIN: the launcher does not listen, and has heard of other stops. EPIPE: its end is the next event.
                Above::Launcher(launcher) => drop(launcher.send_if_room(&Report::Stopped { signal })),
                Above::Terminal(_) => self.stop_with_workload(signal),
            },
            Action::Finish(outcome) => return Some(End::Workload(outcome)),
            Action::Abandon => return Some(End::Abandoned),
        }
        None
    }

    /// The next run of the workload. Apart, with what it has on the stack.
    #[cold]
    #[inline(never)]
    fn start(&mut self) -> Option<End> {
        let runs = self.runs?;
        self.settle();
        self.is_alone = false;
        match runs.begin_again() {
            Ok(begun) => {
                log::debug!("workload: {}: started again as pid {}", runs.command(), begun.pid);
                if let Some(workload) = &mut self.workload {
                    let Begun { pid, pidfd, ready } = begun;
                    *workload = Running { pid, pidfd, ready, naming: Naming::Ours, ..*workload };
                }
                self.tell_launcher(Report::Started { pid: begun.pid.as_raw(), namespaces: Vec::new() });
                self.happened(Event::Started { pid: begun.pid.as_raw() })
            }
            Err(Error::LauncherGone) => self.happened(Event::LauncherGone),
            Err(error) => {
                let failure = error.into_failure();
                let code = failure.code;
                self.report(Happening::NotStarted(failure));
                self.happened(Event::NotStarted { code })
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn probe(&mut self, probe: Probe) -> Option<End> {
        let runs = self.runs?;
        self.settle();
        match runs.probe(probe) {
            Ok(pid) => self.happened(Event::ProbeStarted { pid: pid.as_raw() }),
            Err(Error::LauncherGone) => self.happened(Event::LauncherGone),
            Err(error) => {
                let failure = error.into_failure();
                log::warn!("probe: {}: {}: {}", failure.step, failure.object.display(), failure.reason());
                self.happened(Event::ProbeFailed)
            }
        }
    }

    fn stop_with_workload(&mut self, signal: i32) {
        let workload = self.workload.as_ref().map(|workload| workload.pid);
        let Above::Terminal(terminal) = &mut self.above else { return };
        if terminal.stop_too(signal, workload) == Stopped::NeedNot {
            self.forward(Received { number: libc::SIGCONT, code: libc::SI_USER, sender: 0, value: None });
        }
    }

    pub(super) fn forward(&self, signal: Received) {
        let Some(workload) = &self.workload else { return };
        let name = || signals::name(signal.number);
        if workload.shield && workload.would_die_of(signal.number) {
            log::debug!("{}: held off, the workload has no handler for it", name());
            return;
        }
        match workload.send(signal) {
            Ok(()) => log::debug!("forwarded {}", name()),
            Err(errno) => log::warn!("{}: not forwarded: {}", name(), errno.desc()),
        }
        self.tell(Moment::Forwarded(signal.number));
    }
}
