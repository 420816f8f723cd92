//! What init does from the workload's start to the end: signals, readiness, health, restarts, times, who is left over.
//!
//! What it tells the launcher meanwhile is said of the handoff, in mod.rs.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::time::Duration;

use launch_init::handoff::Probes;
use launch_init::signals;
use launch_init::supervisor::{Health, Leftovers, Policy, Readiness, Restart};
use serde_json::{Value, json};

use super::spelling::spelled;
use super::{By, Explained};

/// What init does until the end. None of this has an error.
pub(super) fn look_after(policy: &Policy, probes: &Probes) -> Vec<Explained> {
    let Policy {
        grace,
        timeout,
        kill_after,
        forward_delay,
        leftovers,
        rewrites,
        stop_signal,
        term_stops,
        restart,
        longest_delay,
        readiness,
        ready_timeout,
        watchdog,
        health,
        // Said of the handoff.
        tells: _,
        dies_with_launcher: _,
    } = policy;
    let stop = signals::name(*stop_signal);
    let mut steps = Vec::new();
    let mut step = |object: &str, words: String, details: Value| {
        steps.push(Explained::new(By::Init, "look after", object, words, details));
    };
    let mut words = String::from("every one that the launcher gets is forwarded to the workload");
    if *term_stops {
        words.push_str("; SIGTERM asks it to stop");
    }
    let mut changed = Vec::new();
    for (from, to) in rewrites.changed() {
        let name = signals::name(from.into());
        match to {
            0 => _ = write!(words, "; {name} is not"),
            to => _ = write!(words, "; {name} as {}", signals::name(to.into())),
        }
        changed.push(json!({ "from": from, "to": to }));
    }
    if !forward_delay.is_zero() {
        let _ = write!(words, "; SIGTERM after {forward_delay:?}");
    }
    step("signals", words, json!({ "rewrites": changed, "forward_delay_seconds": seconds(*forward_delay) }));
    if *term_stops || *stop_signal != libc::SIGTERM {
        step(
            "stop",
            format!("the workload is asked to stop by {stop}; {grace:?} later all get SIGKILL"),
            json!({ "signal": stop, "by_sigterm": term_stops, "grace_seconds": seconds(*grace) }),
        );
    }
    let ready = match readiness {
        Readiness::Started => None,
        Readiness::Notify => Some(("notify", "it says READY=1 to its NOTIFY_SOCKET".into())),
        Readiness::Descriptor(fd) => {
            Some(("descriptor", format!("it has written a newline to its descriptor {fd}")))
        }
        Readiness::Command => Some(("command", "this command succeeds".into())),
    };
    if let Some((kind, mut words)) = ready {
        words.insert_str(0, "the workload is ready when ");
        if let Some(command) = &probes.ready {
            let _ = write!(words, ": {}", command.display());
        }
        if let Some(timeout) = ready_timeout {
            let _ = write!(words, "; a run that isn't after {timeout:?} is ended, as a failure");
        }
        let descriptor = if let Readiness::Descriptor(fd) = readiness { Some(fd) } else { None };
        let command = probes.ready.as_deref().map(spelled);
        step(
            "ready",
            words,
            json!({
                "by": kind, "descriptor": descriptor, "command": command,
                "timeout_seconds": ready_timeout.map(seconds),
            }),
        );
    }
    if let Some(interval) = watchdog {
        step(
            "watchdog",
            format!("a run that doesn't say WATCHDOG=1 for {interval:?} is ended by SIGABRT, as a failure"),
            json!({ "seconds": seconds(*interval) }),
        );
    }
    if let Some(Health { interval, timeout, retries, restarts }) = health {
        let command = probes.health.as_deref().unwrap_or_default();
        let then = if *restarts { "and started again" } else { "and left to run" };
        step(
            "health",
            format!(
                "{interval:?} after one check the next one, for {timeout:?} at most; after {retries} failures in a row \
                 it counts as unhealthy, {then}: {}",
                command.display()
            ),
            json!({
                "command": spelled(command), "interval_seconds": seconds(*interval),
                "timeout_seconds": seconds(*timeout), "retries": retries, "restarts": restarts,
            }),
        );
    }
    if *restart != Restart::No {
        let (kind, when, most) = match restart {
            Restart::No => ("no", "never", None),
            Restart::OnFailure { most } => ("on-failure", "after a failure", *most),
            Restart::Always => ("always", "always", None),
            Restart::UnlessStopped => ("unless-stopped", "unless a signal sent to it by name ended it", None),
        };
        let at_most = most.map_or_else(String::new, |most| format!(", {most} times in a row at most"));
        step(
            "restart",
            format!(
                "a new run follows {when}{at_most}, once nobody is left of the last one, after 100 ms and twice as \
                 long each time up to {longest_delay:?}"
            ),
            json!({ "policy": kind, "most": most, "longest_delay_seconds": seconds(*longest_delay) }),
        );
    }
    if let Some(after) = kill_after {
        step(
            "kill",
            format!("SIGKILL to all, {after:?} after the first signal that asks to stop"),
            json!({ "seconds": seconds(*after) }),
        );
    }
    if let Some(timeout) = timeout {
        step(
            "timeout",
            format!("after {timeout:?} all get {stop}, and {grace:?} later SIGKILL; launch exits with 124"),
            json!({ "seconds": seconds(*timeout) }),
        );
    }
    let (kind, words) = match leftovers {
        Leftovers::End => (
            "end",
            format!("whom the workload leaves over get SIGTERM and SIGCONT, and {grace:?} later SIGKILL"),
        ),
        Leftovers::WaitFor => ("wait_for", "whom the workload leaves over are waited for".into()),
        Leftovers::Leave => ("leave", "whom the workload leaves over are left as they are".into()),
        Leftovers::Tell => (
            "tell",
            "the workload's process group gets SIGTERM when the workload has ended, and is left".into(),
        ),
    };
    step("leftovers", words, json!({ "leftovers": kind, "grace_seconds": seconds(*grace) }));
    step(
        "end",
        "init exits with the workload's status, and at once if the launcher ends; the kernel then kills all that is \
         left inside"
            .into(),
        json!({}),
    );
    steps
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
