//! What becomes of the state of a named sandbox when something happens in its life, and the event that tells of it.
//!
//! Values only.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::SystemTime;

use launch_init::exit::Outcome;
use launch_init::handoff::{Happening, Why};
use launch_init::signals;
use launch_init::supervisor::{Policy, Readiness, Restart};
use serde_json::{Value, json};

use super::state::{FORM, Health, Phase, RunEnd, State};
use crate::error::Error;
use crate::plan::Plan;
use crate::sandbox::{Event, Started};

/// The state, and what is to be known beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The state.
    pub state: State,
    /// How many runs there have been.
    pub runs: u64,
    /// Whether the grace of the run has run out, or of the last one if there is none.
    pub killed: bool,
}

/// Who launches what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its log.
    pub log: Option<String>,
    /// The monitor's pid, and when that was started.
    pub monitor: (i32, u64),
}

impl Life {
    /// Begins so.
    pub fn new(state: State) -> Self {
        Self { state, runs: 0, killed: false }
    }

    /// A run has begun.
    pub fn started(&mut self, started: &Started, now: &str) {
        self.runs += 1;
        self.killed = false;
        let state = &mut self.state;
        if state.phase != Phase::Stopping {
            state.phase = Phase::Running;
        }
        state.pid = Some(started.pid);
        state.started = Some(now.into());
        state.restarts = self.runs - 1;
        state.next_start = None;
        state.failure = None;
        state.status = None;
        state.ready = state.ready.map(|_| false);
        state.health = state.health.map(|_| Health::Starting);
        if !started.namespaces.is_empty() {
            state.namespaces = started.namespaces.iter().cloned().collect();
        }
    }

    /// Something else has happened.
    pub fn happened(&mut self, happening: &Happening, now: SystemTime) {
        let again = self.state.restart_policy != policy_in_words(Restart::No);
        let state = &mut self.state;
        match happening {
            Happening::Ready => {
                state.ready = state.ready.map(|_| true);
                if state.phase == Phase::Reloading {
                    state.phase = Phase::Running;
                }
            }
            Happening::Status(status) => state.status = Some(status.clone()),
            Happening::Reloading if state.phase == Phase::Running => state.phase = Phase::Reloading,
            Happening::Stopping => state.ready = state.ready.map(|_| false),
            Happening::Healthy => state.health = Some(Health::Healthy),
            Happening::Unhealthy { .. } => state.health = Some(Health::Unhealthy),
            Happening::Ending(why) => {
                state.phase = match why {
                    _ if state.phase == Phase::Stopping => Phase::Stopping,
                    Why::Stop => Phase::Stopping,
                    Why::Restart | Why::Unhealthy => Phase::Restarting,
                    _ if again => Phase::Restarting,
                    _ => Phase::Stopping,
                };
            }
            Happening::GraceOver => self.killed = true,
            Happening::RunEnded { outcome, why, again } => {
                state.phase = if *again { Phase::Restarting } else { Phase::Stopping };
                state.pid = None;
                state.ready = state.ready.map(|_| false);
                state.last_run = Some(RunEnd::new(*outcome, why.map(why_in_words), text(now)));
            }
            Happening::StartsIn(pause) => state.next_start = Some(text(now + *pause)),
            Happening::NotStarted(failure) => {
                state.next_start = None;
                state.failure = Some(Error::Inside(Box::new(failure.clone())).to_string());
            }
            Happening::Reloading | Happening::Alive | Happening::MainPid(_) => {}
        }
    }

    /// Somebody has asked it to stop.
    pub fn is_stopped(&mut self) {
        self.state.phase = Phase::Stopping;
        self.state.next_start = None;
    }

    /// It has ended for good.
    pub fn ended(&mut self, outcome: Result<Outcome, &Error>, now: &str) {
        let state = &mut self.state;
        (state.phase, state.exit_status) = match outcome {
            Ok(outcome) => (Phase::Exited, Some(outcome.code())),
            Err(error) => (Phase::Failed, Some(error.exit_code())),
        };
        match outcome {
            Ok(outcome) if state.pid.is_some() || state.last_run.is_none() => {
                state.last_run = Some(RunEnd::new(outcome, None, now.into()));
            }
            Ok(_) => {}
            Err(error) => state.failure = Some(error.to_string()),
        }
        (state.pid, state.init_pid, state.next_start) = (None, None, None);
        state.ready = state.ready.map(|_| false);
        state.finished = Some(now.into());
    }

    /// Whether who waits for that need not wait any longer.
    pub fn is_ready(&self) -> bool {
        let runs = matches!(self.state.phase, Phase::Running | Phase::Reloading);
        runs && self.state.ready != Some(false)
    }
}

/// That of a sandbox that is about to be launched by this plan.
pub fn first(identity: Identity, plan: &Plan, now: &str) -> State {
    let Identity { name, id, labels, log, monitor } = identity;
    let Policy { restart, readiness, health, stop_signal, grace, .. } = plan.init.policy;
    State {
        form: FORM,
        name,
        id,
        phase: Phase::Starting,
        ready: (readiness != Readiness::Started).then_some(false),
        health: health.map(|_| Health::Starting),
        status: None,
        monitor_pid: monitor.0,
        monitor_start: monitor.1,
        init_pid: None,
        pid: None,
        command: plan.init.workload.command.iter().map(|word| word.display().to_string()).collect(),
        labels,
        restart_policy: policy_in_words(restart),
        created: now.into(),
        started: None,
        finished: None,
        restarts: 0,
        next_start: None,
        last_run: None,
        exit_status: None,
        failure: None,
        log,
        stop_signal: signals::name(stop_signal),
        grace_ms: grace.as_millis().try_into().unwrap_or(u64::MAX),
        namespaces: BTreeMap::new(),
    }
}

/// How an event that init told of is written down, if it is: its name and its details. `state` is that after it.
pub fn event(event: &Event, state: &State) -> Option<(&'static str, Value)> {
    let happening = match event {
        Event::Started(started) => {
            return Some((
                "started",
                json!({ "pid": started.pid, "init_pid": state.init_pid, "restarts": state.restarts }),
            ));
        }
        Event::MainPid(pid) => return Some(("main-pid", json!({ "pid": pid }))),
        Event::Happened(happening) => happening,
        Event::Terminal(_) | Event::SetUp | Event::Stopped(_) | Event::Ended(_) => return None,
    };
    Some(match happening {
        Happening::Ready => ("ready", json!({})),
        Happening::Status(status) => ("status", json!({ "status": status })),
        Happening::Reloading => ("reloading", json!({})),
        Happening::Stopping => ("stopping", json!({})),
        Happening::Healthy => ("healthy", json!({})),
        Happening::Unhealthy { failures } => ("unhealthy", json!({ "failures": failures })),
        Happening::Ending(why) => ("ending", json!({ "why": why_in_words(*why) })),
        Happening::GraceOver => ("grace-over", json!({})),
        Happening::RunEnded { again, .. } => ("run-ended", json!({ "run": state.last_run, "again": again })),
        Happening::StartsIn(pause) => {
            ("starts-in", json!({ "ms": u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) }))
        }
        Happening::NotStarted(_) => ("not-started", json!({ "failure": state.failure })),
        // The first comes too often, and the second comes as an event of its own.
        Happening::Alive | Happening::MainPid(_) => return None,
    })
}

/// The last event of one that has ended so.
pub fn end_event(state: &State) -> (&'static str, Value) {
    match state.phase {
        Phase::Failed => ("failed", json!({ "exit_status": state.exit_status, "failure": state.failure })),
        _ => ("exited", json!({ "exit_status": state.exit_status, "restarts": state.restarts })),
    }
}

/// Now, as the state has it.
pub fn now() -> String {
    text(SystemTime::now())
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// As `--restart` has it.
fn policy_in_words(restart: Restart) -> String {
    match restart {
        Restart::No => "no".into(),
        Restart::OnFailure { most: None } => "on-failure".into(),
        Restart::OnFailure { most: Some(most) } => format!("on-failure:{most}"),
        Restart::Always => "always".into(),
        Restart::UnlessStopped => "unless-stopped".into(),
    }
}

fn why_in_words(why: Why) -> &'static str {
    match why {
        Why::Stop => "stop",
        Why::Restart => "restart",
        Why::Timeout => "timeout",
        Why::NotReady => "not-ready",
        Why::Watchdog => "watchdog",
        Why::Unhealthy => "unhealthy",
    }
}

/// When a process was started, in ticks since the machine's start: field 22 of proc_pid_stat(5). The second field may have
/// anything in it, parentheses too.
pub fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::plan::Options;

    const NOW: SystemTime = UNIX_EPOCH;

    fn life(ready: Option<bool>, restart: Restart) -> Life {
        let options = Options { command: vec!["x".into()], restart, ..Options::default() };
        let caller = crate::plan::Caller {
            uid: 1000,
            gid: 100,
            capabilities: 0,
            subordinate_ids: crate::subids::Files::default(),
            directory: Ok(None),
            environment: Vec::new(),
            terminal: None,
            signals: launch_init::handoff::SignalState::default(),
            kernel: (6, 1),
            seccomp: crate::seccomp::Choice::Default,
            log_level: 0,
            tree: None,
        };
        let plan = crate::plan::plan(&options, &caller).unwrap();
        let identity = Identity {
            name: "web".into(),
            id: "ab".into(),
            labels: BTreeMap::new(),
            log: None,
            monitor: (7, 8),
        };
        Life::new(State { ready, ..first(identity, &plan, "then") })
    }

    fn started() -> Started {
        Started { pid: 9, pid_inside: 2, namespaces: vec![("pid".into(), 5)] }
    }

    fn ended(code: u8, why: Option<Why>, again: bool) -> Happening {
        Happening::RunEnded { outcome: Outcome::Exited(code), why, again }
    }

    #[test]
    fn a_life_without_readiness_is_ready_when_it_runs() {
        let mut life = life(None, Restart::No);
        assert_eq!((life.state.phase, life.is_ready()), (Phase::Starting, false));
        life.started(&started(), "now");
        assert_eq!((life.state.phase, life.is_ready(), life.state.pid), (Phase::Running, true, Some(9)));
        assert_eq!(life.state.namespaces["pid"], 5);
        life.happened(&ended(3, None, false), NOW);
        assert_eq!((life.state.phase, life.is_ready(), life.state.pid), (Phase::Stopping, false, None));
        life.ended(Ok(Outcome::Exited(3)), "end");
        assert_eq!((life.state.phase, life.state.exit_status), (Phase::Exited, Some(3)));
        assert_eq!(life.state.last_run.as_ref().map(|run| &*run.at), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(life.state.finished.as_deref(), Some("end"));
    }

    #[test]
    fn each_run_becomes_ready_anew() {
        let mut life = life(Some(false), Restart::Always);
        life.started(&started(), "now");
        assert!(!life.is_ready());
        life.happened(&Happening::Ready, NOW);
        assert!(life.is_ready());
        life.happened(&Happening::Reloading, NOW);
        assert_eq!((life.state.phase, life.is_ready()), (Phase::Reloading, true));
        life.happened(&Happening::Ready, NOW);
        assert_eq!(life.state.phase, Phase::Running);
        life.happened(&ended(1, None, true), NOW);
        life.happened(&Happening::StartsIn(Duration::from_millis(100)), NOW);
        assert_eq!((life.state.phase, life.state.ready), (Phase::Restarting, Some(false)));
        assert_eq!(life.state.next_start.as_deref(), Some("1970-01-01T00:00:00.100Z"));
        life.started(&started(), "now");
        assert_eq!((life.state.restarts, life.runs, life.is_ready()), (1, 2, false));
        assert_eq!(life.state.next_start, None);
    }

    #[test]
    fn why_a_run_is_ended_says_what_follows() {
        let phase = |restart, why| {
            let mut life = life(None, restart);
            life.started(&started(), "now");
            life.happened(&Happening::Ending(why), NOW);
            life.state.phase
        };
        assert_eq!(phase(Restart::Always, Why::Stop), Phase::Stopping);
        assert_eq!(phase(Restart::No, Why::Restart), Phase::Restarting);
        assert_eq!(phase(Restart::Always, Why::Watchdog), Phase::Restarting);
        assert_eq!(phase(Restart::No, Why::Timeout), Phase::Stopping);
    }

    #[test]
    fn who_was_asked_to_stop_stays_so() {
        let mut life = life(None, Restart::Always);
        life.is_stopped();
        life.started(&started(), "now");
        assert_eq!((life.state.phase, life.is_ready()), (Phase::Stopping, false));
        life.happened(&Happening::Ending(Why::Timeout), NOW);
        life.happened(&Happening::GraceOver, NOW);
        assert_eq!((life.state.phase, life.killed), (Phase::Stopping, true));
    }

    #[test]
    fn a_failure_is_an_end_too() {
        let mut life = life(Some(false), Restart::No);
        life.ended(Err(&Error::InitDied(None)), "end");
        assert_eq!((life.state.phase, life.state.exit_status), (Phase::Failed, Some(125)));
        assert_eq!(life.state.failure.as_deref(), Some("init: PID 1: ended before the workload ran"));
        assert_eq!(end_event(&life.state).0, "failed");
    }

    #[test]
    fn an_end_that_nobody_told_of_is_that_of_the_last_run() {
        let mut life = life(None, Restart::No);
        life.started(&started(), "now");
        life.ended(Ok(Outcome::Killed(9)), "end");
        let run = life.state.last_run.unwrap();
        assert_eq!((&*run.row, run.signal, run.exit_status), ("killed", Some(9), 137));
    }

    #[test]
    fn a_start_time_is_found_behind_any_name() {
        let numbers: Vec<String> = (3..30).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) ( b) S {}", numbers[1..].join(" "));
        assert_eq!(start_time(&stat), Some(22));
        assert_eq!(start_time("7 (a) S 1"), None);
    }
}
