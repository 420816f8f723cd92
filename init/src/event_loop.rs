//! PID 1's life while the workload runs: waits for signals, children, the launcher's end and deadlines, asks
//! supervisor.rs what to do, and does it.
//!
//! Nothing here ends init by an error: what fails is logged, and the loop goes on.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use crate::error::Error;
use crate::exit::Outcome;
use crate::handoff::{HEADER, Happening, Order, Report, first_body};
use crate::notify::{Note, NotifySocket};
use crate::presets::{Moment, Tell};
use crate::report::Channel;
use crate::runs::{Begun, Runs};
use crate::signals::{self, Received, SignalQueue};
use crate::supervisor::{Action, Actions, Event, Probe, Said, Supervisor};
use crate::sys::{self, Waited};
use crate::terminal::{self, Stopped, Terminal};
use crate::{everyone, shield};

/// How many children are reaped before signals are looked at again, so that a flood of orphans delays none.
const REAPED_AT_ONCE: usize = 256;

/// How often those are looked for who entered from outside, while everybody is being ended.
const LOOK_FOR_GUESTS: Duration = Duration::from_millis(10);

/// How many reports are kept for a launcher that reads none, the newest ones.
const MOST_UNREAD: usize = 256;

/// How soon it is tried again to send them; and how often a zombie of somebody else's is looked at.
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

/// Who is told of a workload that stopped.
#[derive(Debug)]
pub(crate) enum Above<'a> {
    /// The launcher.
    Launcher(&'a Channel),
    /// The shell on the terminal, if there is one.
    Terminal(Terminal),
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

    /// Whether children are waited for although no SIGCHLD has come.
    fn looks_at_children(&self, has_slept_for_signals: bool) -> bool {
        // Where everything is told, SIGCHLD is told of first; it is always behind them. Elsewhere they were waited for before
        // it fell asleep, so that there is news only with a SIGCHLD, as long as it does not matter that there are none.
        self.tell.is_none() && !(has_slept_for_signals && self.supervisor.main_process().is_some())
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

    /// Reaps, and says whether there may be more. SIGCHLD coalesces, so one of them stands for any number.
    fn reap(&mut self) -> (Option<End>, bool) {
        let was_alone = self.is_alone;
        for _ in 0..REAPED_AT_ONCE {
            let orphan = self.name_orphans.and_then(|_| self.next_orphan());
            // A signal to everybody has just found nobody: a zombie is somebody, too.
            let is_empty = self.is_alone && !was_alone && everyone::is_pid_one();
            let event = match if is_empty { Ok(Waited::NoChildren) } else { sys::wait_any() } {
                Ok(Waited::Changed { pid, status }) => {
                    log::trace!("child {pid}: wait status {status:#x}");
                    if let (Some(name_orphan), Some((orphan, command))) = (self.name_orphans, orphan)
                        && orphan == pid
                    {
                        name_orphan(pid, &command, status);
                    }
                    let is_main = self.workload.as_ref().is_some_and(|workload| workload.pid == pid);
                    self.tell(Moment::Child { pid: pid.as_raw(), status, is_main });
                    // What it has said before its end counts: a daemon's parent names its child and goes.
                    if is_main && let Some(end) = self.listen() {
                        return (Some(end), false);
                    }
                    // Most are orphans, of whom nothing follows: a flood of them is reaped without asking what the time is.
                    if !self.supervisor.awaits(pid.as_raw()) {
                        continue;
                    }
                    Event::Child { pid: pid.as_raw(), status }
                }
                Ok(Waited::Nothing) => return (None, false),
                Ok(Waited::NoChildren) => {
                    self.tell(Moment::NoChildren);
                    if let Above::Terminal(terminal) = &self.above {
                        terminal.take_back();
                    }
                    self.has_guests =
                        self.supervisor.waits_for_others() && !self.is_alone && everyone::has_guests();
                    if self.has_guests {
                        return (None, false);
                    }
                    return (self.happened(Event::NoChildren), false);
                }
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

    /// Those who ended with the workload are told of too, where nobody is waited for.
    fn reap_the_rest(&self) {
        while let Ok(waited) = sys::wait_any() {
            match waited {
                Waited::Changed { pid, status } => {
                    self.tell(Moment::Child { pid: pid.as_raw(), status, is_main: false });
                }
                Waited::NoChildren => return self.tell(Moment::NoChildren),
                Waited::Nothing => return,
            }
        }
    }

    /// The orphan that is reaped next, and its command: /proc knows it only while it is a zombie.
    fn next_orphan(&self) -> Option<(Pid, String)> {
        let pid = sys::peek_any().ok().flatten()?;
        if self.workload.as_ref().is_some_and(|workload| workload.pid == pid) {
            return None;
        }
        let command = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some((pid, String::from_utf8_lossy(command.trim_ascii_end()).into_owned()))
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

    /// What the workload says through NOTIFY_SOCKET.
    fn listen(&mut self) -> Option<End> {
        self.runs.and_then(Runs::notify).and_then(|notify| self.listen_to(notify))
    }

    /// Not inlined: it takes a page of the stack, which a start without such a socket need not touch.
    #[inline(never)]
    fn listen_to(&mut self, notify: &NotifySocket) -> Option<End> {
        let main = self.workload.as_ref()?.pid.as_raw();
        let mut end = None;
        notify.drain(main, |note| {
            let ended = match note {
                Note::Said(Said::MainPid(pid)) => self.main_is(Pid::from_raw(pid)),
                Note::Said(said) => self.happened(Event::Said(said)),
                Note::Status(text) => {
                    self.report(Happening::Status(text));
                    None
                }
            };
            end = end.or(ended);
        });
        end
    }

    /// Another process is the main one from now on.
    fn main_is(&mut self, pid: Pid) -> Option<End> {
        let workload = self.workload.as_mut().filter(|workload| workload.pid != pid)?;
        match sys::open_pidfd(pid) {
            Ok(pidfd) => {
                (workload.pid, workload.pidfd, workload.naming) = (pid, pidfd, Naming::Named);
                self.happened(Event::Said(Said::MainPid(pid.as_raw())))
            }
            Err(errno) => {
                log::warn!("notify socket: MAINPID={pid}: {}", errno.desc());
                None
            }
        }
    }

    /// A main process that was named has ended. If its end is for us to wait for, that tells of it: its parent may be
    /// about to end, so that it comes to us. If somebody else has waited for it, nobody tells.
    fn main_has_ended(&mut self) -> Option<End> {
        let workload = self.workload.as_mut()?;
        workload.naming = Naming::Zombie;
        let is_known = self.supervisor.main_process() != Some(workload.pid.as_raw());
        let is_gone = sys::signal_process(workload.pidfd(), 0, None) == Err(Errno::ESRCH);
        if is_known || is_gone {
            workload.naming = Naming::Ours;
        }
        if is_gone && !is_known { self.happened(Event::MainVanished) } else { None }
    }

    /// The newline by which the workload says that it is ready, or the end of file that says it never will.
    fn read_readiness(&mut self) -> Option<End> {
        let workload = self.workload.as_mut()?;
        let mut bytes = [0; 64];
        match nix::unistd::read(workload.ready.as_ref()?, &mut bytes) {
            Ok(count) if bytes[..count].contains(&b'\n') => {
                workload.ready = None;
                self.happened(Event::Said(Said::Ready))
            }
            Ok(0) => {
                workload.ready = None;
                None
            }
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => None,
            Err(errno) => {
                log::warn!("descriptor of --ready: {}", errno.desc());
                workload.ready = None;
                None
            }
        }
    }

    /// What the launcher says after the plan. Its end of file means that it is gone.
    fn take_orders(&mut self) -> Option<End> {
        let Above::Launcher(launcher) = self.above else { return None };
        match launcher.receive(&mut self.orders) {
            Ok(()) => {}
            Err(Errno::EAGAIN) => return None,
            // It says nothing that makes sense any more: nothing can be relied on.
            Err(_) => return self.happened(Event::LauncherGone),
        }
        self.obey()
    }

    /// Does what the launcher has said.
    fn obey(&mut self) -> Option<End> {
        loop {
            let (order, length) = match first_body(&self.orders) {
                Ok(Some(body)) => (Order::decode(body), HEADER + body.len()),
                Ok(None) => return None,
                Err(malformed) => (Err(malformed), 0),
            };
            self.orders.drain(..length);
            let end = match order {
                Ok(order) => self.happened(Event::Order(order)),
                Err(malformed) => {
                    log::error!("order: {malformed}");
                    self.happened(Event::LauncherGone)
                }
            };
            if end.is_some() {
                return end;
            }
        }
    }

    fn settle(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle();
        }
    }

    fn happened(&mut self, event: Event) -> Option<End> {
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

    fn report(&mut self, happening: Happening) {
        if let Some(listener) = self.listener {
            listener(&happening);
        }
        self.tell_launcher(Report::Happened(happening));
    }

    /// Never waits: what a launcher that is stopped does not read is kept for it, as far as it is not too much.
    fn tell_launcher(&mut self, report: Report) {
        if matches!(self.above, Above::Launcher(_)) {
            // Only the last one counts of those that somebody inside may send without end; they push nothing else out.
            if let Report::Happened(new @ (Happening::Status(_) | Happening::Alive)) = &report {
                let is_like_it =
                    |other: &Happening| std::mem::discriminant(other) == std::mem::discriminant(new);
                self.unread.retain(|other| !matches!(other, Report::Happened(other) if is_like_it(other)));
            }
            if self.unread.len() >= MOST_UNREAD {
                self.unread.pop_front();
            }
            self.unread.push_back(report);
            self.send_unread();
        }
    }

    fn send_unread(&mut self) {
        let Above::Launcher(launcher) = self.above else { return };
        while let Some(report) = self.unread.front() {
            match launcher.tell(report) {
                Err(Errno::EAGAIN) => return,
                // EPIPE: its end is the next event.
                Ok(()) | Err(_) => drop(self.unread.pop_front()),
            }
        }
    }

    fn tell(&self, moment: Moment<'_>) {
        if let Some(tell) = self.tell {
            (tell.0)(moment);
        }
    }

    fn stop_with_workload(&mut self, signal: i32) {
        let workload = self.workload.as_ref().map(|workload| workload.pid);
        let Above::Terminal(terminal) = &mut self.above else { return };
        if terminal.stop_too(signal, workload) == Stopped::NeedNot {
            self.forward(Received { number: libc::SIGCONT, code: libc::SI_USER, sender: 0, value: None });
        }
    }

    fn forward(&self, signal: Received) {
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

impl Running {
    fn would_die_of(&self, signal: i32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        status.is_ok_and(|status| shield::would_kill(signal, &status))
    }

    fn send(&self, signal: Received) -> Result<(), Errno> {
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

    fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
