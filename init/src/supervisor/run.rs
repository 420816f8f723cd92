//! What is awaited of one run of the workload: that it is ready in time, says that it is alive, and answers its probes.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{Policy, Probe, Readiness};
use crate::handoff::Happening;

/// Between one question whether it is ready and the next; twice as long each time, up to a second.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const ASK_AT_LEAST: Duration = Duration::from_secs(1);
/// How long such a question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    began: Instant,
    is_ready: bool,
    /// When it has to be ready.
    ready_by: Option<Instant>,
    /// When it has to have said that it is alive.
    alive_by: Option<Instant>,
    /// The probe that runs: which, its pid once it is known, and when it has had its time.
    probe: Option<(Probe, Option<i32>, Option<Instant>)>,
    /// When the next one is due.
    next_probe: Option<(Probe, Instant)>,
    /// Between questions whether it is ready.
    pause: Duration,
    /// How many health checks in a row have failed.
    failures: u32,
    is_healthy: Option<bool>,
}

/// What cannot wait any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    NotReady,
    NotAlive,
    Probe(Probe),
    ProbeTooLong(i32),
}

impl Run {
    /// One that begins now.
    pub(super) fn started(policy: &Policy, now: Instant) -> Self {
        let mut run = Self {
            began: now,
            is_ready: false,
            ready_by: policy.ready_timeout.and_then(|time| now.checked_add(time)),
            alive_by: None,
            probe: None,
            next_probe: None,
            pause: ASK_AGAIN,
            failures: 0,
            is_healthy: None,
        };
        match policy.readiness {
            // There is nothing to be told of.
            Readiness::Started => _ = run.is_ready(policy, now),
            Readiness::Command => run.next_probe = Some((Probe::Ready, now)),
            Readiness::Notify | Readiness::Descriptor(_) => {}
        }
        run
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn next_tick(&self) -> Option<Instant> {
        let probe = self.probe.and_then(|(_, _, until)| until);
        let next = self.next_probe.map(|(_, at)| at);
        [self.ready_by, self.alive_by, probe, next].into_iter().flatten().min()
    }

    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_past(self.ready_by) {
            return Some(Due::NotReady);
        }
        if is_past(self.alive_by) {
            return Some(Due::NotAlive);
        }
        match (self.probe, self.next_probe) {
            (Some((_, Some(pid), until)), _) if is_past(until) => Some(Due::ProbeTooLong(pid)),
            (None, Some((probe, at))) if at <= now => Some(Due::Probe(probe)),
            _ => None,
        }
    }

    /// It says that it is ready; whether that is news.
    pub(super) fn is_ready(&mut self, policy: &Policy, now: Instant) -> bool {
        if self.is_ready {
            return false;
        }
        self.is_ready = true;
        self.ready_by = None;
        self.is_alive(policy, now);
        // After a reload its health is looked at as before.
        if !matches!(
            (self.probe, self.next_probe),
            (Some((Probe::Health, ..)), _) | (_, Some((Probe::Health, _)))
        ) {
            self.next_probe = next_health_check(policy, now);
        }
        true
    }

    /// It will say again when it is ready.
    pub(super) fn reloads(&mut self) {
        self.is_ready = false;
    }

    pub(super) fn is_alive(&mut self, policy: &Policy, now: Instant) {
        self.alive_by = policy.watchdog.and_then(|time| now.checked_add(time));
    }

    pub(super) fn probe_begins(&mut self, probe: Probe, policy: &Policy, now: Instant) {
        let time = match probe {
            Probe::Ready => ANSWER_WITHIN,
            Probe::Health => policy.health.map_or(ANSWER_WITHIN, |health| health.timeout),
        };
        self.next_probe = None;
        self.probe = Some((probe, None, now.checked_add(time)));
    }

    pub(super) fn probe_started(&mut self, pid: i32) {
        if let Some((_, of, _)) = &mut self.probe {
            *of = Some(pid);
        }
    }

    pub(super) fn probe_is(&self, pid: i32) -> bool {
        self.probe.is_some_and(|(_, of, _)| of == Some(pid))
    }

    /// The probe has ended, well or not; what that means.
    pub(super) fn probed(&mut self, well: bool, policy: &Policy, now: Instant) -> Option<Happening> {
        let (probe, ..) = self.probe.take()?;
        match (probe, well) {
            (Probe::Ready, true) => Some(Happening::Ready),
            (Probe::Ready, false) => {
                self.next_probe = now.checked_add(self.pause).map(|at| (Probe::Ready, at));
                self.pause = (self.pause * 2).min(ASK_AT_LEAST);
                None
            }
            (Probe::Health, true) => {
                self.next_probe = next_health_check(policy, now);
                self.failures = 0;
                (self.is_healthy.replace(true) != Some(true)).then_some(Happening::Healthy)
            }
            (Probe::Health, false) => {
                self.next_probe = next_health_check(policy, now);
                self.failures = self.failures.saturating_add(1);
                let is_too_many = policy.health.is_some_and(|health| self.failures >= health.retries);
                if !is_too_many || self.is_healthy == Some(false) {
                    return None;
                }
                self.is_healthy = Some(false);
                Some(Happening::Unhealthy { failures: self.failures })
            }
        }
    }
}

fn next_health_check(policy: &Policy, now: Instant) -> Option<(Probe, Instant)> {
    policy.health.and_then(|health| now.checked_add(health.interval)).map(|at| (Probe::Health, at))
}
