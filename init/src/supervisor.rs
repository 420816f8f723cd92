//! How PID 1 looks after the workload: (state, event, now) → (state, actions).
//!
//! Values only, so that a whole life can be tested as a table of events; event_loop.rs waits for the events
//! and performs the actions.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::exit::{self, Outcome};
use crate::signals::Received;

/// What the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long those left over have after SIGTERM, until SIGKILL.
    pub grace: Duration,
    /// How long the workload may run.
    pub timeout: Option<Duration>,
    /// How long everybody has after the first signal that asks to stop, until SIGKILL.
    pub kill_after: Option<Duration>,
    /// How long a SIGTERM is held back, for what still comes in to be served.
    pub forward_delay: Duration,
    /// What becomes of those whom the workload leaves over.
    pub leftovers: Leftovers,
    /// What is sent on for each signal.
    pub rewrites: Rewrites,
    /// What the workload gets when it is asked to stop, 1 to 64.
    pub stop_signal: i32,
    /// Whether a SIGTERM asks to stop, instead of being forwarded: the stop signal, the grace, SIGKILL, and no new run.
    pub term_stops: bool,
    /// Whether a new run follows when one has ended.
    pub restart: Restart,
    /// When a run counts as ready.
    pub readiness: Readiness,
    /// How long a run may take until it is ready.
    pub ready_timeout: Option<Duration>,
    /// How often the workload has to say that it is alive; sd_watchdog_enabled(3).
    pub watchdog: Option<Duration>,
    /// Whether and how its health is checked.
    pub health: Option<Health>,
    /// Whether what happens is told ([`Happening`](crate::handoff::Happening)).
    pub tells: bool,
}

impl Default for Policy {
    /// No deadlines, no grace, no rewrites; leftovers are ended.
    fn default() -> Self {
        Self {
            grace: Duration::ZERO,
            timeout: None,
            kill_after: None,
            forward_delay: Duration::ZERO,
            leftovers: Leftovers::End,
            rewrites: Rewrites::default(),
            stop_signal: libc::SIGTERM,
            term_stops: false,
            restart: Restart::No,
            readiness: Readiness::Started,
            ready_timeout: None,
            watchdog: None,
            health: None,
            tells: false,
        }
    }
}

/// Whether a new run of the workload follows when one has ended. None does once somebody has asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// None.
    No,
    /// If it ended with another status than 0, or was ended for a failure.
    OnFailure {
        /// How often in a row, at most; none: as often as it takes.
        most: Option<u32>,
    },
    /// Always, also when a signal that was sent to it by name ended it.
    Always,
    /// Always, unless such a signal ended it.
    UnlessStopped,
}

/// When a run of the workload counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// When it has been executed.
    Started,
    /// When it says so; sd_notify(3).
    Notify,
    /// When it has written a newline to this descriptor of its own.
    Descriptor(i32),
    /// When a command succeeds.
    Command,
}

/// How the workload's health is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The time between one check's end and the next one's start.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How many that fail in a row make it unhealthy; at least 1.
    pub retries: u32,
    /// Whether it is restarted then.
    pub restarts: bool,
}

/// What becomes of those whom the workload leaves over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// They get SIGTERM, the grace, SIGKILL, and are waited for.
    End,
    /// They are waited for until they end by themselves, or somebody asks to stop.
    WaitFor,
    /// They are left as they are.
    Leave,
    /// The workload's process group gets SIGTERM, and they are left.
    Tell,
}

/// What is sent on for each signal: another one, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrites([u8; 65]);

impl Default for Rewrites {
    fn default() -> Self {
        Self(std::array::from_fn(|number| number as u8))
    }
}

impl Rewrites {
    /// Sends `to` on for `from`, both 1 to 64; 0 sends nothing.
    pub fn set(&mut self, from: i32, to: i32) {
        if let (Some(entry), Ok(to @ 0..=64)) = (self.0.get_mut(from as usize), u8::try_from(to)) {
            *entry = to;
        }
    }

    /// What is sent on for `number`, if anything.
    pub fn of(&self, number: i32) -> Option<i32> {
        self.0.get(number as usize).filter(|to| **to != 0).map(|to| i32::from(*to))
    }

    /// Those that differ from their signal.
    pub fn changed(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        (0..).zip(self.0).filter(|(from, to)| from != to)
    }
}

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
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send this on to the workload.
    Forward(Received),
    /// Send this signal to every process but init.
    SignalEveryone(i32),
    /// Stop, until somebody sends SIGCONT.
    StopSelf,
    /// Tell the launcher that this signal stopped the workload.
    ReportStopped(i32),
    /// End with this outcome.
    Finish(Outcome),
    /// End at once; the kernel ends everything else inside.
    Abandon,
}

/// At most three actions, in their order; no allocation.
pub type Actions = [Option<Action>; 3];

const NOTHING: Actions = [None; 3];

/// The state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    workload: i32,
    policy: Policy,
    phase: Phase,
    /// A SIGTERM that is held back, and until when.
    held: Option<(Received, Instant)>,
    /// When the workload has run too long.
    timeout_at: Option<Instant>,
    /// When SIGTERM has had its time.
    kill_at: Option<Instant>,
    timed_out: bool,
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
    /// The workload has ended, others may be left.
    Ending(Outcome),
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
            timed_out: false,
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
        matches!(self.phase, Phase::Ending(_))
            && (self.kill_at.is_some() || self.policy.leftovers == Leftovers::WaitFor)
    }

    /// When the next [`Event::Tick`] is wanted, if nothing else happens before.
    pub fn next_tick(&self) -> Option<Instant> {
        [self.timeout_at, self.kill_at, self.held.map(|(_, at)| at)].into_iter().flatten().min()
    }

    /// Takes an event and says what is to be done about it.
    pub fn handle(&mut self, event: Event, now: Instant) -> Actions {
        match (event, self.phase) {
            (Event::LauncherGone, _) => [Some(Action::Abandon), None, None],
            (Event::Signal(signal), Phase::Running) if self.ignores_once(signal.number) => {
                self.ignored_once &= !bit(signal.number);
                NOTHING
            }
            // SIGCHLD is our own.
            (Event::Signal(signal), Phase::Running) if signal.number != libc::SIGCHLD => {
                let [forward, ..] = self.forward(signal, now);
                let stop = (self.stops_too && STOPS.contains(&signal.number)).then_some(Action::StopSelf);
                [forward, stop, None]
            }
            // The workload can't be told any more. Whoever asks to stop now has waited long enough.
            (Event::Signal(signal), Phase::Ending(_)) if asks_to_stop(signal) => {
                match self.policy.leftovers {
                    Leftovers::WaitFor if self.kill_at.is_none() => self.terminate(now),
                    _ => self.kill(),
                }
            }
            (Event::Signal(signal), Phase::Pausing)
                if [libc::SIGTERM, libc::SIGINT].contains(&signal.number) =>
            {
                self.workload_ended(Outcome::Exited(0), now)
            }
            (Event::Child { pid, status }, Phase::Running) if pid == self.workload => {
                match (Outcome::from_wait_status(status), exit::stopped_by(status)) {
                    (Some(outcome), _) => self.workload_ended(outcome, now),
                    (None, Some(signal)) => [Some(Action::ReportStopped(signal)), None, None],
                    (None, None) => NOTHING,
                }
            }
            (Event::NoChildren, Phase::Ending(outcome)) => [Some(Action::Finish(outcome)), None, None],
            (Event::Tick, _) => self.tick(now),
            _ => NOTHING,
        }
    }

    fn forward(&mut self, signal: Received, now: Instant) -> Actions {
        if let (true, None, Some(patience)) = (asks_to_stop(signal), self.kill_at, self.policy.kill_after) {
            self.kill_at = now.checked_add(patience);
        }
        let Some(number) = self.policy.rewrites.of(signal.number) else { return NOTHING };
        let signal = Received { number, ..signal };
        let is_first_term = number == libc::SIGTERM && self.held.is_none();
        if is_first_term && !self.policy.forward_delay.is_zero() {
            self.held = now.checked_add(self.policy.forward_delay).map(|at| (signal, at));
            return NOTHING;
        }
        if number == libc::SIGTERM {
            // A second one does not wait.
            self.held = None;
        }
        [Some(Action::Forward(signal)), None, None]
    }

    fn workload_ended(&mut self, outcome: Outcome, now: Instant) -> Actions {
        let outcome = if self.timed_out { Outcome::TimedOut } else { outcome };
        self.timeout_at = None;
        self.held = None;
        self.phase = Phase::Ending(outcome);
        match self.policy.leftovers {
            Leftovers::End => self.terminate(now),
            Leftovers::WaitFor => NOTHING,
            Leftovers::Leave => [Some(Action::Finish(outcome)), None, None],
            Leftovers::Tell => {
                let term = Received { number: libc::SIGTERM, code: libc::SI_USER, sender: 0, value: None };
                let term = self.policy.rewrites.of(term.number).map(|number| Received { number, ..term });
                [term.map(Action::Forward), Some(Action::Finish(outcome)), None]
            }
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
            return [Some(Action::Forward(signal)), None, None];
        }
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.timeout_at = None;
            self.timed_out = true;
            return self.terminate(now);
        }
        NOTHING
    }

    /// SIGTERM for everybody; SIGCONT lets the stopped ones see it.
    fn terminate(&mut self, now: Instant) -> Actions {
        if self.kill_at.is_none() {
            self.kill_at = now.checked_add(self.policy.grace);
        }
        let both = [libc::SIGTERM, libc::SIGCONT].map(|signal| Some(Action::SignalEveryone(signal)));
        [both[0], both[1], None]
    }

    fn kill(&mut self) -> Actions {
        self.kill_at = None;
        [Some(Action::SignalEveryone(libc::SIGKILL)), None, None]
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

#[cfg(test)]
mod tests {
    use super::*;

    const WORKLOAD: i32 = 2;
    const GRACE: Duration = Duration::from_secs(2);

    fn policy() -> Policy {
        Policy { grace: GRACE, ..Policy::default() }
    }

    fn sent(number: i32) -> Received {
        Received { number, code: libc::SI_USER, sender: 0, value: None }
    }

    fn exited(pid: i32, code: i32) -> Event {
        Event::Child { pid, status: code << 8 }
    }

    /// What is done about each of these events, which come one second after another.
    fn life(policy: Policy, events: &[Event]) -> Vec<Vec<Action>> {
        let start = Instant::now();
        let mut supervisor = Supervisor::new(WORKLOAD, policy, start);
        let times = (1..).map(|second| start + Duration::from_secs(second));
        events
            .iter()
            .zip(times)
            .map(|(e, t)| supervisor.handle(*e, t).into_iter().flatten().collect())
            .collect()
    }

    const TERMINATE: [Action; 2] =
        [Action::SignalEveryone(libc::SIGTERM), Action::SignalEveryone(libc::SIGCONT)];

    #[test]
    fn signals_are_forwarded_while_the_workload_runs_but_not_sigchld() {
        for number in (1..=64).filter(|n| *n != libc::SIGCHLD) {
            let signal = sent(number);
            assert_eq!(life(policy(), &[Event::Signal(signal)]), [[Action::Forward(signal)]]);
        }
        assert_eq!(life(policy(), &[Event::Signal(sent(libc::SIGCHLD))]), [vec![]]);
    }

    #[test]
    fn an_orphans_death_changes_nothing() {
        assert_eq!(life(policy(), &[exited(77, 9), Event::NoChildren]), [vec![], vec![]]);
    }

    #[test]
    fn when_the_workload_ends_the_others_are_ended_and_its_status_is_returned() {
        let events = [exited(WORKLOAD, 7), exited(5, 0), Event::NoChildren];
        let finish = vec![Action::Finish(Outcome::Exited(7))];
        assert_eq!(life(policy(), &events), [TERMINATE.to_vec(), vec![], finish]);
    }

    #[test]
    fn those_who_ignore_sigterm_are_killed_when_the_grace_is_over() {
        let events = [exited(WORKLOAD, 7), Event::Tick, Event::Tick, Event::Tick];
        let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
        assert_eq!(life(policy(), &events), [TERMINATE.to_vec(), vec![], kill, vec![]]);
    }

    #[test]
    fn a_stop_signal_during_the_grace_ends_it() {
        let events =
            [exited(WORKLOAD, 7), Event::Signal(sent(libc::SIGUSR1)), Event::Signal(sent(libc::SIGINT))];
        let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
        assert_eq!(life(policy(), &events), [TERMINATE.to_vec(), vec![], kill]);
    }

    #[test]
    fn a_timeout_terminates_then_kills_and_is_the_outcome() {
        let with = Policy { timeout: Some(Duration::from_secs(2)), ..policy() };
        let killed = Event::Child { pid: WORKLOAD, status: libc::SIGKILL };
        let events = [Event::Tick, Event::Tick, Event::Tick, Event::Tick, killed, Event::NoChildren];
        let expected = [
            vec![],
            TERMINATE.to_vec(),
            vec![],
            vec![Action::SignalEveryone(libc::SIGKILL)],
            TERMINATE.to_vec(),
            vec![Action::Finish(Outcome::TimedOut)],
        ];
        assert_eq!(life(with, &events), expected);
    }

    #[test]
    fn a_tick_is_wanted_exactly_while_something_is_due() {
        let start = Instant::now();
        let with = Policy { timeout: Some(Duration::from_secs(9)), ..policy() };
        let mut supervisor = Supervisor::new(WORKLOAD, with, start);
        assert_eq!(supervisor.next_tick(), Some(start + Duration::from_secs(9)));
        let _ = supervisor.handle(exited(WORKLOAD, 0), start);
        assert_eq!(supervisor.next_tick(), Some(start + GRACE));
        let _ = supervisor.handle(Event::Tick, start + GRACE);
        assert_eq!(supervisor.next_tick(), None);
        assert_eq!(Supervisor::new(WORKLOAD, policy(), start).next_tick(), None);
    }

    #[test]
    fn a_stop_is_reported_and_the_workload_goes_on() {
        let stopped = Event::Child { pid: WORKLOAD, status: libc::SIGTSTP << 8 | 0x7f };
        let continued = Event::Child { pid: WORKLOAD, status: 0xffff };
        assert_eq!(
            life(policy(), &[stopped, continued]),
            [vec![Action::ReportStopped(libc::SIGTSTP)], vec![]]
        );
    }

    #[test]
    fn those_who_are_waited_for_are_ended_only_when_somebody_asks() {
        let with = Policy { leftovers: Leftovers::WaitFor, ..policy() };
        let finish = vec![Action::Finish(Outcome::Exited(7))];
        assert_eq!(life(with, &[exited(WORKLOAD, 7), Event::NoChildren]), [vec![], finish]);
        let stop = Event::Signal(sent(libc::SIGTERM));
        let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
        assert_eq!(life(with, &[exited(WORKLOAD, 7), stop, stop]), [vec![], TERMINATE.to_vec(), kill]);
    }

    #[test]
    fn silence_after_a_stop_signal_ends_in_sigkill() {
        let with = Policy { kill_after: Some(Duration::from_secs(2)), ..policy() };
        for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            let stop = sent(number);
            let events = [Event::Signal(stop), Event::Signal(stop), Event::Tick];
            let forward = vec![Action::Forward(stop)];
            let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
            assert_eq!(life(with, &events), [forward.clone(), forward, kill], "{number}");
        }
        assert_eq!(life(with, &[Event::Signal(sent(libc::SIGUSR1)), Event::Tick, Event::Tick])[2], []);
    }

    #[test]
    fn a_sigterm_is_held_back_for_the_delay_and_a_second_one_is_not() {
        let with = Policy { forward_delay: Duration::from_secs(2), ..policy() };
        let (term, other) = (sent(libc::SIGTERM), sent(libc::SIGINT));
        let forward = |signal| vec![Action::Forward(signal)];
        let events = [Event::Signal(term), Event::Signal(other), Event::Tick, Event::Tick];
        assert_eq!(life(with, &events), [vec![], forward(other), forward(term), vec![]]);
        let events = [Event::Signal(term), Event::Signal(term), Event::Tick];
        assert_eq!(life(with, &events), [vec![], forward(term), vec![]]);
    }

    #[test]
    fn a_signal_is_rewritten_or_dropped() {
        let mut rewrites = Rewrites::default();
        rewrites.set(libc::SIGTERM, libc::SIGQUIT);
        rewrites.set(libc::SIGHUP, 0);
        let with = Policy { rewrites, ..policy() };
        let events = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT].map(|n| Event::Signal(sent(n)));
        let forward = |number| vec![Action::Forward(sent(number))];
        assert_eq!(life(with, &events), [forward(libc::SIGQUIT), vec![], forward(libc::SIGINT)]);
    }

    #[test]
    fn a_pause_ends_when_asked_to_and_not_before() {
        let mut supervisor = Supervisor::pausing(policy());
        let mut after = |event| -> Vec<Action> {
            supervisor.handle(event, Instant::now()).into_iter().flatten().collect()
        };
        assert_eq!(after(exited(5, 1)), []);
        assert_eq!(after(Event::NoChildren), []);
        assert_eq!(after(Event::Signal(sent(libc::SIGHUP))), []);
        assert_eq!(after(Event::Signal(sent(libc::SIGINT))), TERMINATE);
        assert_eq!(after(Event::NoChildren), [Action::Finish(Outcome::Exited(0))]);
    }

    #[test]
    fn those_who_are_left_are_not_touched() {
        let with = Policy { leftovers: Leftovers::Leave, ..policy() };
        assert_eq!(life(with, &[exited(WORKLOAD, 3)]), [[Action::Finish(Outcome::Exited(3))]]);
    }

    #[test]
    fn the_group_is_told_of_the_end_with_what_sigterm_is_rewritten_to() {
        let finish = Action::Finish(Outcome::Exited(3));
        let with = Policy { leftovers: Leftovers::Tell, ..policy() };
        let told = vec![Action::Forward(sent(libc::SIGTERM)), finish];
        assert_eq!(life(with, &[exited(WORKLOAD, 3)]), [told]);
        let mut rewrites = Rewrites::default();
        rewrites.set(libc::SIGTERM, 0);
        assert_eq!(life(Policy { rewrites, ..with }, &[exited(WORKLOAD, 3)]), [[finish]]);
    }

    #[test]
    fn the_first_of_a_signal_can_be_ignored() {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(WORKLOAD, policy(), now).ignoring_once(bit(libc::SIGHUP));
        let hup = sent(libc::SIGHUP);
        assert!(supervisor.ignores_once(libc::SIGHUP) && !supervisor.ignores_once(libc::SIGCONT));
        assert_eq!(supervisor.handle(Event::Signal(hup), now), NOTHING);
        assert_eq!(supervisor.handle(Event::Signal(hup), now)[0], Some(Action::Forward(hup)));
    }

    #[test]
    fn a_stop_signal_stops_init_too_where_it_is_asked_for() {
        let now = Instant::now();
        let mut rewrites = Rewrites::default();
        rewrites.set(libc::SIGTSTP, libc::SIGSTOP);
        let with = Policy { rewrites, ..policy() };
        let mut supervisor = Supervisor::new(WORKLOAD, with, now).stopping_too(true);
        let mut after = |number| supervisor.handle(Event::Signal(sent(number)), now);
        let forward = |number| Some(Action::Forward(sent(number)));
        let stop = Some(Action::StopSelf);
        assert_eq!(after(libc::SIGTSTP), [forward(libc::SIGSTOP), stop, None]);
        assert_eq!(after(libc::SIGTTIN), [forward(libc::SIGTTIN), stop, None]);
        assert_eq!(after(libc::SIGTERM), [forward(libc::SIGTERM), None, None]);
    }

    #[test]
    fn without_its_launcher_it_ends_at_once_in_every_phase() {
        let gone = Event::LauncherGone;
        assert_eq!(life(policy(), &[gone]), [[Action::Abandon]]);
        assert_eq!(life(policy(), &[exited(WORKLOAD, 0), gone]), [TERMINATE.to_vec(), vec![Action::Abandon]]);
    }
}
