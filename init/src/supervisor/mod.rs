//! How PID 1 looks after the workload: (state, event, now) → (state, actions).
//!
//! Values only, so that a whole life can be tested as a table of events; event_loop/ waits for the events
//! and performs the actions. policy.rs is what was asked for, run.rs what is awaited of one run, backoff.rs how long
//! the next one waits.

#![forbid(unsafe_code)]

mod backoff;
mod policy;
mod run;

use std::time::{Duration, Instant};

use crate::exit::{self, Outcome};
use crate::handoff::{Happening, Order, Why};
use crate::signals::Received;
use backoff::Backoff;
pub use policy::{Health, LONGEST_DELAY, Leftovers, Policy, Readiness, Restart, Rewrites};
use run::{Due, Run};

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A signal came in.
    Signal(Received),
    /// Child `pid` changed its state; `status` is waitpid(2)'s.
    Child {
        /// The child.
        pid: i32,
        /// The raw wait status.
        status: i32,
    },
    /// waitpid(2) has nobody left to wait for.
    NoChildren,
    /// The launcher is gone.
    LauncherGone,
    /// The launcher orders this.
    Order(Order),
    /// The next run was executed.
    Started {
        /// Its pid.
        pid: i32,
    },
    /// The next run could not be started, for which an exit code stands.
    NotStarted {
        /// 125 to 127.
        code: u8,
    },
    /// The workload says this of itself.
    Said(Said),
    /// The main process has ended, and was not ours to wait for.
    MainVanished,
    /// A probe was executed.
    ProbeStarted {
        /// Its pid.
        pid: i32,
    },
    /// A probe could not be started.
    ProbeFailed,
    /// Time has passed.
    Tick,
}

/// What the workload says of itself; see sd_notify(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It is ready.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It is about to end.
    Stopping,
    /// It is alive.
    Alive,
    /// It has noticed a fault of its own, and wants the watchdog to bite.
    Trigger,
    /// This process is the main one from now on.
    MainPid(i32),
}

/// What a probe is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Whether the workload is ready.
    Ready,
    /// Whether it is healthy.
    Health,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this on to the workload.
    Forward(Received),
    /// Send this signal to every process but init.
    SignalEveryone(i32),
    /// Stop, until somebody sends SIGCONT.
    StopSelf,
    /// Tell the launcher that this signal stopped the workload.
    ReportStopped(i32),
    /// Tell whoever is interested.
    Tell(Happening),
    /// Start the next run. [`Event::Started`] or [`Event::NotStarted`] answers.
    Start,
    /// Start this probe. [`Event::ProbeStarted`] or [`Event::ProbeFailed`] answers.
    Probe(Probe),
    /// Kill the process group of the probe with this pid: it has had its time.
    EndProbe(i32),
    /// End with this outcome.
    Finish(Outcome),
    /// End at once; the kernel ends everything else inside.
    Abandon,
}

/// At most five actions, in their order; no allocation.
pub type Actions = [Option<Action>; 5];

const NOTHING: Actions = [const { None }; 5];

fn actions<const N: usize>(some: [Option<Action>; N]) -> Actions {
    let mut all = NOTHING;
    for (slot, action) in all.iter_mut().zip(some.into_iter().flatten()) {
        *slot = Some(action);
    }
    all
}

/// The state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    workload: i32,
    policy: Policy,
    phase: Phase,
    /// A signal that is held back, and until when.
    held: Option<(Received, Instant)>,
    /// When the workload has run too long.
    timeout_at: Option<Instant>,
    /// When those who are asked to end have had their time.
    kill_at: Option<Instant>,
    /// Why the present run is being ended.
    why: Option<Why>,
    /// Somebody wants no further run.
    is_last: bool,
    /// What is awaited of the present run.
    run: Run,
    backoff: Backoff,
    /// Signals whose next one is not forwarded: bit n-1 stands for signal n.
    ignored_once: u64,
    /// Whether a stop signal stops init too.
    stops_too: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// There is no workload.
    Pausing,
    /// A run has ended, others may be left.
    Ending {
        outcome: Outcome,
        then: Then,
    },
    /// The next run starts at this time; the last one ended so.
    Waiting {
        outcome: Outcome,
        until: Instant,
    },
}

/// What follows when nobody is left of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Finish,
    /// The next run, after the back-off.
    Again,
    /// The next run, now.
    AtOnce,
}

impl Supervisor {
    /// Looks after a workload of this pid that starts `now`.
    pub fn new(workload: i32, policy: Policy, now: Instant) -> Self {
        let timeout_at = policy.timeout.and_then(|timeout| now.checked_add(timeout));
        Self {
            workload,
            policy,
            phase: Phase::Running,
            held: None,
            timeout_at,
            kill_at: None,
            why: None,
            is_last: false,
            run: Run::started(&policy, now),
            backoff: Backoff::new(workload, policy.longest_delay, now),
            ignored_once: 0,
            stops_too: false,
        }
    }

    /// The same, but the next of each of these signals (bit n-1 stands for signal n) is ignored.
    pub fn ignoring_once(self, signals: u64) -> Self {
        Self { ignored_once: signals, ..self }
    }

    /// The same, but a stop signal stops init too when it has been forwarded.
    pub fn stopping_too(self, stops_too: bool) -> Self {
        Self { stops_too, ..self }
    }

    /// Whether this is a signal that is ignored once.
    pub fn ignores_once(&self, number: i32) -> bool {
        self.ignored_once & bit(number) != 0
    }

    /// What is sent on for a signal from which nothing else follows, as [`Self::handle`] would say. These are most, and the
    /// workload waits for them: nobody has to ask what the time is.
    pub fn merely_forwards(&self, signal: Received) -> Option<Received> {
        let follows = self.phase != Phase::Running
            || self.ignores_once(signal.number)
            || signal.number == libc::SIGCHLD
            || asks_to_stop(signal)
            || self.stops_too && STOPS.contains(&signal.number);
        let number = if follows { None } else { self.policy.rewrites.of(signal.number) };
        // One may be held back.
        number.filter(|number| *number != libc::SIGTERM).map(|number| Received { number, ..signal })
    }

    /// Looks after nobody, until it is asked to stop.
    pub fn pausing(policy: Policy) -> Self {
        let start = Self::new(0, policy, Instant::now());
        Self { phase: Phase::Pausing, timeout_at: None, ..start }
    }

    /// Whether it ends without a look at those whom the workload leaves over.
    pub fn leaves_everybody(&self) -> bool {
        self.policy.leftovers == Leftovers::Leave
    }

    /// Whether others have time to end by themselves, now that the workload has.
    pub fn waits_for_others(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. })
            && (self.kill_at.is_some() || self.policy.leftovers == Leftovers::WaitFor)
    }

    /// The main process, while there is one.
    pub fn main_process(&self) -> Option<i32> {
        (self.phase == Phase::Running).then_some(self.workload)
    }

    /// Whether anything may follow from a change of this child's state ([`Event::Child`]); nothing does of an orphan's.
    pub fn awaits(&self, pid: i32) -> bool {
        self.phase == Phase::Running && (pid == self.workload || self.run.probe_is(pid))
    }

    /// When the next [`Event::Tick`] is wanted, if nothing else happens before.
    pub fn next_tick(&self) -> Option<Instant> {
        let (start_at, run) = match self.phase {
            Phase::Waiting { until, .. } => (Some(until), None),
            // Of a run that is being ended, nothing is awaited but its end.
            Phase::Running if self.why.is_none() => (None, self.run.next_tick()),
            _ => (None, None),
        };
        [self.timeout_at, self.kill_at, self.held.map(|(_, at)| at), start_at, run]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes an event and says what is to be done about it.
    pub fn handle(&mut self, event: Event, now: Instant) -> Actions {
        match (event, self.phase) {
            (Event::LauncherGone, _) => actions([Some(Action::Abandon)]),
            (Event::Signal(signal), Phase::Running) if self.ignores_once(signal.number) => {
                self.ignored_once &= !bit(signal.number);
                NOTHING
            }
            // SIGCHLD is our own.
            (Event::Signal(signal), Phase::Running) if signal.number != libc::SIGCHLD => {
                self.signal(signal, now)
            }
            // The workload can't be told any more. Whoever asks to stop now has waited long enough.
            (Event::Signal(signal), Phase::Ending { outcome, then }) if asks_to_stop(signal) => {
                match (then, self.policy.leftovers) {
                    // Those who are left are being ended for another reason. A SIGHUP asks a server to reload.
                    (Then::Again | Then::AtOnce, _) => {
                        if [libc::SIGTERM, libc::SIGINT].contains(&signal.number) {
                            self.is_last = true;
                            self.phase = Phase::Ending { outcome, then: Then::Finish };
                        }
                        NOTHING
                    }
                    (Then::Finish, Leftovers::WaitFor) if self.kill_at.is_none() => self.terminate(now),
                    (Then::Finish, _) => self.kill(),
                }
            }
            (Event::Signal(signal), Phase::Waiting { outcome, .. })
                if [libc::SIGTERM, libc::SIGINT].contains(&signal.number) =>
            {
                actions([Some(Action::Finish(outcome))])
            }
            (Event::Signal(signal), Phase::Pausing)
                if [libc::SIGTERM, libc::SIGINT].contains(&signal.number) =>
            {
                self.run_ended(Outcome::Exited(0), now)
            }
            (Event::Child { pid, .. }, _) if !self.awaits(pid) => NOTHING,
            (Event::Child { pid, status }, _) if pid == self.workload => {
                match (Outcome::from_wait_status(status), exit::stopped_by(status)) {
                    (Some(outcome), _) => self.run_ended(outcome, now),
                    (None, Some(signal)) => actions([Some(Action::ReportStopped(signal))]),
                    (None, None) => NOTHING,
                }
            }
            // A probe.
            (Event::Child { status, .. }, _) => match Outcome::from_wait_status(status) {
                Some(outcome) => self.probed(outcome == Outcome::Exited(0), now),
                None => NOTHING,
            },
            (Event::NoChildren, Phase::Ending { outcome, then: Then::Finish }) => {
                actions([Some(Action::Finish(outcome))])
            }
            (Event::NoChildren, Phase::Ending { outcome, then }) => self.prepare_next(outcome, then, now),
            (Event::Order(order), _) => self.order(order, now),
            (Event::Started { pid }, Phase::Waiting { .. }) => {
                self.workload = pid;
                self.phase = Phase::Running;
                self.run = Run::started(&self.policy, now);
                NOTHING
            }
            (Event::NotStarted { code }, Phase::Waiting { .. }) => self.not_started(code, now),
            (Event::Said(said), Phase::Running) => self.said(said, now),
            // Whoever reaped it knows its status, and nobody else.
            (Event::MainVanished, Phase::Running) => self.run_ended(Outcome::Exited(0), now),
            (Event::ProbeStarted { pid }, Phase::Running) => {
                self.run.probe_started(pid);
                NOTHING
            }
            (Event::ProbeFailed, Phase::Running) => self.probed(false, now),
            (Event::Tick, _) => self.tick(now),
            _ => NOTHING,
        }
    }

    fn signal(&mut self, signal: Received, now: Instant) -> Actions {
        let is_term = signal.number == libc::SIGTERM;
        if is_term && self.policy.term_stops {
            self.is_last = true;
            return self.end_run(Why::Stop, None, now);
        }
        if is_term || signal.number == libc::SIGINT {
            // Who restarts for ever could not be stopped by Ctrl-C otherwise.
            self.is_last = true;
        }
        let forward = self.forward(signal, now);
        let stop = (self.stops_too && STOPS.contains(&signal.number)).then_some(Action::StopSelf);
        actions([forward, stop])
    }

    /// What is sent on for `signal` now, if anything.
    fn forward(&mut self, signal: Received, now: Instant) -> Option<Action> {
        if let (true, None, Some(patience)) = (asks_to_stop(signal), self.kill_at, self.policy.kill_after) {
            self.kill_at = now.checked_add(patience);
        }
        let number = self.policy.rewrites.of(signal.number)?;
        let signal = Received { number, ..signal };
        let is_first_term = number == libc::SIGTERM && self.held.is_none();
        if is_first_term && !self.policy.forward_delay.is_zero() {
            self.held = now.checked_add(self.policy.forward_delay).map(|at| (signal, at));
            return None;
        }
        if number == libc::SIGTERM {
            // A second one does not wait.
            self.held = None;
        }
        Some(Action::Forward(signal))
    }

    fn order(&mut self, order: Order, now: Instant) -> Actions {
        match (order, self.phase) {
            (Order::Stop { grace }, Phase::Running) => {
                self.is_last = true;
                self.end_run(Why::Stop, grace, now)
            }
            (Order::Stop { grace }, Phase::Ending { outcome, .. }) => {
                self.is_last = true;
                self.phase = Phase::Ending { outcome, then: Then::Finish };
                self.hurry(grace.unwrap_or(self.policy.grace), now);
                NOTHING
            }
            (Order::Stop { .. }, Phase::Waiting { outcome, .. }) => actions([Some(Action::Finish(outcome))]),
            (Order::Restart { grace }, Phase::Running) => self.end_run(Why::Restart, grace, now),
            (Order::Restart { .. }, Phase::Ending { outcome, .. }) if !self.is_last => {
                self.phase = Phase::Ending { outcome, then: Then::AtOnce };
                NOTHING
            }
            (Order::Restart { .. }, Phase::Waiting { outcome, .. }) => {
                self.phase = Phase::Waiting { outcome, until: now };
                actions([Some(Action::Start)])
            }
            (Order::Signal { signal }, Phase::Running) => {
                self.is_last |= self.policy.restart == Restart::UnlessStopped && self.ends(signal);
                actions([Some(Action::Forward(of_ours(signal)))])
            }
            (Order::Signal { signal }, Phase::Waiting { outcome, .. })
                if self.policy.restart == Restart::UnlessStopped && self.ends(signal) =>
            {
                actions([Some(Action::Finish(outcome))])
            }
            (Order::Signal { signal: libc::SIGKILL }, Phase::Ending { .. }) => self.kill(),
            _ => NOTHING,
        }
    }

    /// Whether this is a signal by which somebody ends a workload.
    fn ends(&self, signal: i32) -> bool {
        [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGKILL, self.policy.stop_signal].contains(&signal)
    }

    /// Asks the workload to end, and sees to it that it does when the grace is over.
    fn end_run(&mut self, why: Why, grace: Option<Duration>, now: Instant) -> Actions {
        let is_news = match (self.why, why) {
            (None, _) => true,
            // What somebody asks for counts for more than what was noticed.
            (Some(before), Why::Stop) => before != Why::Stop,
            (Some(before), Why::Restart) => [Why::NotReady, Why::Watchdog, Why::Unhealthy].contains(&before),
            _ => false,
        };
        if is_news {
            self.why = Some(why);
        }
        // Of the watchdog's bite a core dump is wanted, as under systemd.
        let signal = if why == Why::Watchdog { libc::SIGABRT } else { self.policy.stop_signal };
        let forward = self.forward(of_ours(signal), now);
        self.hurry(grace.unwrap_or(self.policy.grace).saturating_add(self.policy.forward_delay), now);
        let tell = if is_news { self.tell(Happening::Ending(why)) } else { None };
        // A stopped one shall see it.
        actions([tell, forward, Some(Action::Forward(of_ours(libc::SIGCONT)))])
    }

    /// SIGKILL follows after this time, or earlier if it was to.
    fn hurry(&mut self, grace: Duration, now: Instant) {
        let at = now.checked_add(grace);
        self.kill_at = [self.kill_at, at].into_iter().flatten().min();
    }

    fn run_ended(&mut self, outcome: Outcome, now: Instant) -> Actions {
        let outcome = if self.why == Some(Why::Timeout) { Outcome::TimedOut } else { outcome };
        let then = self.what_follows(outcome, now);
        if then == Then::Finish {
            self.timeout_at = None;
        }
        self.held = None;
        self.phase = Phase::Ending { outcome, then };
        let tell = self.tell(Happening::RunEnded { outcome, why: self.why, again: then != Then::Finish });
        let and = match self.policy.leftovers {
            // Nobody of the last run disturbs the next one.
            _ if then != Then::Finish => self.terminate(now),
            Leftovers::End => self.terminate(now),
            Leftovers::WaitFor => NOTHING,
            Leftovers::Leave => actions([Some(Action::Finish(outcome))]),
            Leftovers::Tell => {
                let term = of_ours(libc::SIGTERM);
                let term = self.policy.rewrites.of(term.number).map(|number| Received { number, ..term });
                actions([term.map(Action::Forward), Some(Action::Finish(outcome))])
            }
        };
        let [first, second, ..] = and;
        actions([tell, first, second])
    }

    fn what_follows(&mut self, outcome: Outcome, now: Instant) -> Then {
        if self.phase == Phase::Pausing || self.is_last || self.why == Some(Why::Timeout) {
            return Then::Finish;
        }
        if self.why == Some(Why::Restart) {
            return Then::AtOnce;
        }
        self.backoff.run_ended(self.run.began(), now);
        let is_failure = outcome != Outcome::Exited(0) || self.why.is_some();
        let again = match self.policy.restart {
            Restart::No => self.why == Some(Why::Unhealthy),
            Restart::OnFailure { most } => {
                is_failure && most.is_none_or(|most| self.backoff.in_a_row() < most)
            }
            Restart::Always | Restart::UnlessStopped => true,
        };
        if again { Then::Again } else { Then::Finish }
    }

    /// Nobody is left of the run.
    fn prepare_next(&mut self, outcome: Outcome, then: Then, now: Instant) -> Actions {
        self.kill_at = None;
        self.why = None;
        if then == Then::AtOnce {
            self.backoff.reset();
            self.phase = Phase::Waiting { outcome, until: now };
            return actions([Some(Action::Start)]);
        }
        let delay = self.backoff.next_delay();
        self.phase = Phase::Waiting { outcome, until: now.checked_add(delay).unwrap_or(now) };
        actions([self.tell(Happening::StartsIn(delay))])
    }

    fn not_started(&mut self, code: u8, now: Instant) -> Actions {
        let outcome = Outcome::Exited(code);
        self.run = Run::started(&self.policy, now);
        match self.what_follows(outcome, now) {
            Then::Finish => actions([Some(Action::Finish(outcome))]),
            then => self.prepare_next(outcome, then, now),
        }
    }

    fn said(&mut self, said: Said, now: Instant) -> Actions {
        match said {
            Said::Ready => self.ready(now),
            Said::Reloading => {
                self.run.reloads();
                actions([self.tell(Happening::Reloading)])
            }
            Said::Stopping => actions([self.tell(Happening::Stopping)]),
            Said::Alive => {
                self.run.is_alive(&self.policy, now);
                actions([self.tell(Happening::Alive)])
            }
            Said::Trigger if self.policy.watchdog.is_some() && self.why.is_none() => {
                self.end_run(Why::Watchdog, None, now)
            }
            Said::Trigger => NOTHING,
            Said::MainPid(pid) => {
                self.workload = pid;
                actions([self.tell(Happening::MainPid(pid))])
            }
        }
    }

    fn ready(&mut self, now: Instant) -> Actions {
        if self.run.is_ready(&self.policy, now) { actions([self.tell(Happening::Ready)]) } else { NOTHING }
    }

    /// A probe has ended, well or not.
    fn probed(&mut self, well: bool, now: Instant) -> Actions {
        match self.run.probed(well, &self.policy, now) {
            Some(Happening::Ready) => self.ready(now),
            Some(Happening::Unhealthy { failures }) => {
                let tell = self.tell(Happening::Unhealthy { failures });
                let restarts = self.policy.health.is_some_and(|health| health.restarts);
                if !restarts || self.why.is_some() {
                    return actions([tell]);
                }
                let [first, second, third, ..] = self.end_run(Why::Unhealthy, None, now);
                actions([tell, first, second, third])
            }
            Some(happening) => actions([self.tell(happening)]),
            None => NOTHING,
        }
    }

    fn tick(&mut self, now: Instant) -> Actions {
        if self.kill_at.is_some_and(|at| at <= now) {
            return self.kill();
        }
        if let Some((signal, at)) = self.held
            && at <= now
        {
            self.held = None;
            return actions([Some(Action::Forward(signal))]);
        }
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.timeout_at = None;
            return self.time_is_up(now);
        }
        match self.phase {
            Phase::Waiting { until, .. } if until <= now => actions([Some(Action::Start)]),
            Phase::Running if self.why.is_none() => match self.run.due(now) {
                Some(Due::NotReady) => self.end_run(Why::NotReady, None, now),
                Some(Due::NotAlive) => self.end_run(Why::Watchdog, None, now),
                Some(Due::Probe(probe)) => {
                    self.run.probe_begins(probe, &self.policy, now);
                    actions([Some(Action::Probe(probe))])
                }
                Some(Due::ProbeTooLong(pid)) => {
                    let [first, second, third, fourth, _] = self.probed(false, now);
                    actions([Some(Action::EndProbe(pid)), first, second, third, fourth])
                }
                None => NOTHING,
            },
            _ => NOTHING,
        }
    }

    fn time_is_up(&mut self, now: Instant) -> Actions {
        self.is_last = true;
        match self.phase {
            Phase::Waiting { .. } => actions([Some(Action::Finish(Outcome::TimedOut))]),
            Phase::Ending { .. } => {
                self.phase = Phase::Ending { outcome: Outcome::TimedOut, then: Then::Finish };
                NOTHING
            }
            Phase::Running | Phase::Pausing => {
                self.why = Some(Why::Timeout);
                let [term, cont, ..] = self.terminate(now);
                actions([self.tell(Happening::Ending(Why::Timeout)), term, cont])
            }
        }
    }

    /// SIGTERM for everybody; SIGCONT lets the stopped ones see it.
    fn terminate(&mut self, now: Instant) -> Actions {
        if self.kill_at.is_none() {
            self.kill_at = now.checked_add(self.policy.grace);
        }
        actions([libc::SIGTERM, libc::SIGCONT].map(|signal| Some(Action::SignalEveryone(signal))))
    }

    fn kill(&mut self) -> Actions {
        self.kill_at = None;
        actions([Some(Action::SignalEveryone(libc::SIGKILL)), self.tell(Happening::GraceOver)])
    }

    fn tell(&self, happening: Happening) -> Option<Action> {
        self.policy.tells.then_some(Action::Tell(happening))
    }
}

/// What a terminal stops a process with.
const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

fn bit(number: i32) -> u64 {
    u32::try_from(number - 1).ok().and_then(|n| 1_u64.checked_shl(n)).unwrap_or(0)
}

fn asks_to_stop(signal: Received) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT].contains(&signal.number)
}

/// A signal that nobody sent to init.
fn of_ours(number: i32) -> Received {
    Received { number, code: libc::SI_USER, sender: 0, value: None }
}

#[cfg(test)]
mod tests;
