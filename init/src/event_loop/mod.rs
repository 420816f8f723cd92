//! PID 1's life while the workload runs: waits for signals, children, the launcher's end and deadlines, asks
//! supervisor/ what to do, and does it.
//!
//! Nothing here ends init by an error: what fails is logged, and the loop goes on. This file has the loop, and what it
//! sleeps for; children.rs reaps, launcher.rs and said.rs listen, actions.rs acts, and running.rs is what is acted on.

#![forbid(unsafe_code)]

mod actions;
mod children;
mod launcher;
mod running;
mod said;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use crate::everyone;
use crate::exit::Outcome;
use crate::handoff::{Happening, Report};
use crate::presets::{Moment, Tell};
use crate::report::Channel;
use crate::runs::Runs;
use crate::signals::{Received, SignalQueue};
use crate::supervisor::{Event, Supervisor};
use crate::terminal::Terminal;
pub(crate) use running::{Naming, Running, Target};

/// How often those are looked for who entered from outside, while everybody is being ended.
const LOOK_FOR_GUESTS: Duration = Duration::from_millis(10);

/// How soon it is tried again to send reports that were not read; and how often a zombie of somebody else's is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long the workload's stdio and directory are held for nothing, at most.
const SETTLES_AFTER: Duration = Duration::from_millis(1);

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The workload has ended, and those who were left as far as the policy asks for it.
    Workload(Outcome),
    /// The launcher is gone.
    Abandoned,
}

/// Who is told of a workload that stopped.
#[derive(Debug)]
pub(crate) enum Above<'a> {
    /// The launcher.
    Launcher(&'a Channel),
    /// The shell on the terminal, if there is one.
    Terminal(Terminal),
}

/// Who hears of what happens in the life of the workload, besides the launcher.
pub(crate) type Listener<'a> = &'a dyn Fn(&Happening);

/// The loop and what it acts on.
pub(crate) struct EventLoop<'a> {
    /// Who decides.
    pub(crate) supervisor: Supervisor,
    /// Every signal, blocked.
    pub(crate) signals: &'a SignalQueue,
    /// Launcher or terminal.
    pub(crate) above: Above<'a>,
    /// The workload; none is there when init only pauses.
    pub(crate) workload: Option<Running>,
    /// Whether somebody from outside was seen inside. False at first.
    pub(crate) has_guests: bool,
    /// Whether the last signal to everybody found nobody. False at first.
    pub(crate) is_alone: bool,
    /// Whether the orphans that are reaped are named.
    pub(crate) name_orphans: Option<fn(Pid, &str, i32)>,
    /// Who is told what happens when init stands in for another program.
    pub(crate) tell: Option<Tell<'a>>,
    /// What starts further runs, and probes; none where there are none.
    pub(crate) runs: Option<&'a Runs<'a>>,
    /// Who hears of the workload's life where there is no launcher.
    pub(crate) listener: Option<Listener<'a>>,
    /// What the launcher has not read yet. Empty at first.
    pub(crate) unread: VecDeque<Report>,
    /// Orders of the launcher's that nobody has carried out yet, the last one perhaps not as a whole.
    pub(crate) orders: Vec<u8>,
    /// What is done once the workload has lived for a moment ([`SETTLES_AFTER`]), or before something else is started, and else
    /// never: one that ends at once is not kept waiting for it.
    pub(crate) settle: Option<Box<dyn FnOnce() + 'a>>,
}

/// What `wait` woke up for, besides signals and the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Woken {
    /// The launcher has said something, or is gone.
    by_launcher: bool,
    /// The workload has written to the descriptor by which it says that it is ready.
    by_readiness: bool,
    /// A main process that was named has ended.
    by_main: bool,
}

impl EventLoop<'_> {
    /// Runs until the end.
    pub(crate) fn run(mut self) -> End {
        let (mut more, mut sleeps_for_signals, mut has_waited) = (false, false, false);
        let came_with_plan = self.obey();
        let end = loop {
            if let Some(end) = came_with_plan {
                break end;
            }
            let (end, has_news) = self.handle_signals(sleeps_for_signals);
            if let Some(end) = end {
                break end;
            }
            if let Some(end) = self.listen() {
                break end;
            }
            let (end, is_more) = if more || has_news || self.looks_at_children(sleeps_for_signals) {
                self.reap()
            } else {
                (None, false)
            };
            more = is_more;
            if let Some(end) = end {
                break end;
            }
            if self.supervisor.next_tick().is_some()
                && let Some(end) = self.happened(Event::Tick)
            {
                break end;
            }
            self.send_unread();
            if has_waited {
                self.settle();
            }
            // Where there may be more children, nothing sleeps: the signals are read without a poll before.
            let only_signals = self.waits_for_signals_alone();
            sleeps_for_signals = only_signals && !more;
            if only_signals {
                continue;
            }
            let woken = self.wait(more);
            has_waited = true;
            if woken.by_launcher
                && let Some(end) = self.take_orders()
            {
                break end;
            }
            if woken.by_readiness
                && let Some(end) = self.read_readiness()
            {
                break end;
            }
            let is_zombie = self.workload.as_ref().is_some_and(|workload| workload.naming == Naming::Zombie);
            if (woken.by_main || is_zombie)
                && let Some(end) = self.main_has_ended()
            {
                break end;
            }
        };
        if self.supervisor.leaves_everybody() {
            self.reap_the_rest();
        }
        if let End::Workload(outcome) = end {
            self.tell(Moment::Ends(outcome));
        }
        if let Above::Terminal(terminal) = &self.above {
            terminal.take_back();
        }
        // This process ends, and with it what it has.
        std::mem::forget(self);
        end
    }

    /// Sleeps until there is one, if `sleeps`. Returns also whether a SIGCHLD was among them.
    fn handle_signals(&mut self, sleeps: bool) -> (Option<End>, bool) {
        let mut end = None;
        let mut has_news = false;
        let signals = self.signals;
        let each = |signal: Received| {
            has_news |= signal.number == libc::SIGCHLD;
            // What has been said before it was sent counts for it: who is to get it, for one.
            end = end.or_else(|| self.listen());
            if self.is_for_the_workload(signal) {
                self.tell(if self.supervisor.ignores_once(signal.number) {
                    Moment::HandOff(signal.number)
                } else {
                    Moment::Signal(signal.number)
                });
                match self.supervisor.merely_forwards(signal) {
                    Some(signal) => self.forward(signal),
                    None => end = end.or(self.happened(Event::Signal(signal))),
                }
            }
        };
        let read = if sleeps { signals.wait(each) } else { signals.drain(each) };
        if let Err(errno) = read {
            log::error!("signals: read: {}", errno.desc());
        }
        (end, has_news)
    }

    fn is_for_the_workload(&mut self, signal: Received) -> bool {
        let Above::Terminal(terminal) = &mut self.above else { return true };
        if signal.number == libc::SIGCONT
            && let Some(workload) = &self.workload
        {
            terminal.hand_over(workload.pid);
        }
        // What we cause ourselves is SIGPIPE, by a line to a closed stderr; and, which the supervisor waits for, what
        // comes of giving up a terminal.
        let is_our_own = signal.sender == everyone::own_pid().as_raw().unsigned_abs();
        if terminal.has_told(signal) {
            terminal.stop_with_group(signal.number);
            return false;
        }
        !is_our_own || self.supervisor.ignores_once(signal.number)
    }

    /// How long to sleep at most.
    fn time_to_sleep(&self) -> Option<Duration> {
        let next = self.supervisor.next_tick().map(|at| at.saturating_duration_since(Instant::now()));
        let guests = self.has_guests.then_some(LOOK_FOR_GUESTS);
        let unread = (!self.unread.is_empty()).then_some(LOOK_AGAIN);
        let settles = self.settle.is_some().then_some(SETTLES_AFTER);
        let zombie = self.workload.as_ref().filter(|workload| workload.naming == Naming::Zombie);
        next.into_iter().chain(guests).chain(unread).chain(settles).chain(zombie.map(|_| LOOK_AGAIN)).min()
    }

    /// What there is to wait for besides signals: the launcher, the workload's readiness, the end of a main process that was
    /// named, the notify socket.
    fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 4] {
        let launcher = match &self.above {
            Above::Launcher(launcher) => Some(launcher.as_fd()),
            Above::Terminal(_) => None,
        };
        let workload = self.workload.as_ref();
        let ready = workload.and_then(|workload| workload.ready.as_ref()).map(AsFd::as_fd);
        let main = workload.filter(|workload| workload.naming == Naming::Named).map(Running::pidfd);
        let notify = self.runs.and_then(Runs::notify).map(AsFd::as_fd);
        [launcher, ready, main, notify]
    }

    /// Whether neither the time nor anything else than a signal ends the sleep: most of the time in an image.
    fn waits_for_signals_alone(&self) -> bool {
        self.descriptors().iter().all(Option::is_none) && self.time_to_sleep().is_none()
    }

    /// Sleeps until something happens, or not at all if there is `more` to do; returns what did, besides signals and
    /// the time.
    fn wait(&self, more: bool) -> Woken {
        let timeout = if more { Some(Duration::ZERO) } else { self.time_to_sleep() };
        let wanted = self.descriptors();
        // PID 1 allocates nothing.
        let mut polled = [(); 5].map(|()| PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        let mut count = 1;
        for fd in wanted.into_iter().flatten() {
            polled[count] = PollFd::new(fd, PollFlags::POLLIN);
            count += 1;
        }
        match ppoll(&mut polled[..count], timeout.map(TimeSpec::from_duration), None) {
            Ok(_) => {
                let mut polled = polled[1..count].iter();
                let [by_launcher, by_readiness, by_main, _] =
                    wanted.map(|fd| fd.is_some() && polled.next().and_then(PollFd::any) == Some(true));
                Woken { by_launcher, by_readiness, by_main }
            }
            Err(Errno::EINTR) => Woken::default(),
            Err(errno) => {
                log::error!("poll: {}", errno.desc());
                Woken::default()
            }
        }
    }

    fn settle(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle();
        }
    }

    fn tell(&self, moment: Moment<'_>) {
        if let Some(tell) = self.tell {
            (tell.0)(moment);
        }
    }
}
