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
    /// Whether init is the PID 1 of its namespace, so that ending "everybody" ends the sandbox and nobody else.
    pub end_the_others: bool,
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
    /// When the workload has run too long.
    timeout_at: Option<Instant>,
    /// When SIGTERM has had its time.
    kill_at: Option<Instant>,
    timed_out: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The workload has ended, others may be left.
    Ending(Outcome),
}

impl Supervisor {
    /// Looks after a workload of this pid that starts `now`.
    pub fn new(workload: i32, policy: Policy, now: Instant) -> Self {
        let timeout_at = policy.timeout.and_then(|timeout| now.checked_add(timeout));
        Self { workload, policy, phase: Phase::Running, timeout_at, kill_at: None, timed_out: false }
    }

    /// When the next [`Event::Tick`] is wanted, if nothing else happens before.
    pub fn next_tick(&self) -> Option<Instant> {
        match (self.timeout_at, self.kill_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Takes an event and says what is to be done about it.
    pub fn handle(&mut self, event: Event, now: Instant) -> Actions {
        match (event, self.phase) {
            (Event::LauncherGone, _) => [Some(Action::Abandon), None, None],
            // SIGCHLD is our own.
            (Event::Signal(signal), Phase::Running) if signal.number != libc::SIGCHLD => {
                [Some(Action::Forward(signal)), None, None]
            }
            // The workload can't be told any more; whoever asks to stop now has waited long enough.
            (Event::Signal(signal), Phase::Ending(_)) if asks_to_stop(signal) => self.kill(),
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

    fn workload_ended(&mut self, outcome: Outcome, now: Instant) -> Actions {
        let outcome = if self.timed_out { Outcome::TimedOut } else { outcome };
        self.timeout_at = None;
        if !self.policy.end_the_others {
            return [Some(Action::Finish(outcome)), None, None];
        }
        self.phase = Phase::Ending(outcome);
        self.terminate(now)
    }

    fn tick(&mut self, now: Instant) -> Actions {
        if self.kill_at.is_some_and(|at| at <= now) {
            return self.kill();
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

fn asks_to_stop(signal: Received) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT].contains(&signal.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKLOAD: i32 = 2;
    const POLICY: Policy = Policy { grace: Duration::from_secs(2), timeout: None, end_the_others: true };

    fn sent(number: i32) -> Received {
        Received { number, code: libc::SI_USER, sender: 0 }
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
            assert_eq!(life(POLICY, &[Event::Signal(signal)]), [[Action::Forward(signal)]]);
        }
        assert_eq!(life(POLICY, &[Event::Signal(sent(libc::SIGCHLD))]), [vec![]]);
    }

    #[test]
    fn an_orphans_death_changes_nothing() {
        assert_eq!(life(POLICY, &[exited(77, 9), Event::NoChildren]), [vec![], vec![]]);
    }

    #[test]
    fn when_the_workload_ends_the_others_are_ended_and_its_status_is_returned() {
        let events = [exited(WORKLOAD, 7), exited(5, 0), Event::NoChildren];
        let finish = vec![Action::Finish(Outcome::Exited(7))];
        assert_eq!(life(POLICY, &events), [TERMINATE.to_vec(), vec![], finish]);
    }

    #[test]
    fn those_who_ignore_sigterm_are_killed_when_the_grace_is_over() {
        let events = [exited(WORKLOAD, 7), Event::Tick, Event::Tick, Event::Tick];
        let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
        assert_eq!(life(POLICY, &events), [TERMINATE.to_vec(), vec![], kill, vec![]]);
    }

    #[test]
    fn a_stop_signal_during_the_grace_ends_it() {
        let events =
            [exited(WORKLOAD, 7), Event::Signal(sent(libc::SIGUSR1)), Event::Signal(sent(libc::SIGINT))];
        let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
        assert_eq!(life(POLICY, &events), [TERMINATE.to_vec(), vec![], kill]);
    }

    #[test]
    fn a_timeout_terminates_then_kills_and_is_the_outcome() {
        let policy = Policy { timeout: Some(Duration::from_secs(2)), ..POLICY };
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
        assert_eq!(life(policy, &events), expected);
    }

    #[test]
    fn a_tick_is_wanted_exactly_while_something_is_due() {
        let start = Instant::now();
        let policy = Policy { timeout: Some(Duration::from_secs(9)), ..POLICY };
        let mut supervisor = Supervisor::new(WORKLOAD, policy, start);
        assert_eq!(supervisor.next_tick(), Some(start + Duration::from_secs(9)));
        let _ = supervisor.handle(exited(WORKLOAD, 0), start);
        assert_eq!(supervisor.next_tick(), Some(start + POLICY.grace));
        let _ = supervisor.handle(Event::Tick, start + POLICY.grace);
        assert_eq!(supervisor.next_tick(), None);
        assert_eq!(Supervisor::new(WORKLOAD, POLICY, start).next_tick(), None);
    }

    #[test]
    fn a_stop_is_reported_and_the_workload_goes_on() {
        let stopped = Event::Child { pid: WORKLOAD, status: libc::SIGTSTP << 8 | 0x7f };
        let continued = Event::Child { pid: WORKLOAD, status: 0xffff };
        assert_eq!(life(POLICY, &[stopped, continued]), [vec![Action::ReportStopped(libc::SIGTSTP)], vec![]]);
    }

    #[test]
    fn without_a_namespace_of_its_own_it_ends_with_the_workload_and_touches_nobody() {
        let policy = Policy { end_the_others: false, ..POLICY };
        assert_eq!(life(policy, &[exited(WORKLOAD, 3)]), [[Action::Finish(Outcome::Exited(3))]]);
    }

    #[test]
    fn without_its_launcher_it_ends_at_once_in_every_phase() {
        let gone = Event::LauncherGone;
        assert_eq!(life(POLICY, &[gone]), [[Action::Abandon]]);
        assert_eq!(life(POLICY, &[exited(WORKLOAD, 0), gone]), [TERMINATE.to_vec(), vec![Action::Abandon]]);
    }
}
