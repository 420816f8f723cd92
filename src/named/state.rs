//! What is known of a named sandbox, as the file `state.json` in its folder has it and `launch inspect` prints it.
//!
//! Values only.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use launch_init::exit::Outcome;
use serde::{Deserialize, Serialize};

/// The form of the file. It changes when a field changes its meaning or goes; a new field changes nothing.
pub const FORM: u32 = 1;

/// All of it. Times are RFC 3339 in UTC; a command and paths are shown as text, whatever bytes they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`FORM`].
    pub form: u32,
    /// 1 to 64 bytes.
    pub name: String,
    /// 32 hexadecimal digits, another one for each launch.
    pub id: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether the run has said that it is ready; none where `--ready` was not asked for.
    pub ready: Option<bool>,
    /// What its health checks say; none where there are none.
    pub health: Option<Health>,
    /// What the workload says of itself (sd_notify(3), STATUS=).
    pub status: Option<String>,
    /// The monitor's pid, and when it was started, in ticks since the machine's start (proc_pid_stat(5), field 22). A pid
    /// alone may be another process's by now.
    pub monitor_pid: i32,
    /// As above.
    pub monitor_start: u64,
    /// PID 1's pid in the caller's PID namespace.
    pub init_pid: Option<i32>,
    /// The workload's pid there, while it runs.
    pub pid: Option<i32>,
    /// CMD and its arguments.
    pub command: Vec<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `no`, `on-failure`, `on-failure:5`, `always` or `unless-stopped`.
    pub restart_policy: String,
    /// When it was launched.
    pub created: String,
    /// When the present run, or the last one, began.
    pub started: Option<String>,
    /// When it ended for good.
    pub finished: Option<String>,
    /// How many runs followed the first one.
    pub restarts: u64,
    /// When the next run begins, while it is waited for.
    pub next_start: Option<String>,
    /// How the last run ended.
    pub last_run: Option<RunEnd>,
    /// The exit status of `launch`, when it has ended for good.
    pub exit_status: Option<u8>,
    /// Why there was no workload, as `launch` says it.
    pub failure: Option<String>,
    /// The log file, if what the workload writes is logged.
    pub log: Option<String>,
    /// The signal that asks it to stop.
    pub stop_signal: String,
    /// How long it has then, in milliseconds.
    pub grace_ms: u64,
    /// The kind and inode number of each namespace of the workload.
    pub namespaces: BTreeMap<String, u64>,
}

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The workload does not run yet.
    Starting,
    /// It runs.
    Running,
    /// It has been asked to read its configuration again, and does.
    Reloading,
    /// A run has ended or is being ended, and another one follows.
    Restarting,
    /// It is being ended for good.
    Stopping,
    /// It has ended for good.
    Exited,
    /// There was no workload.
    Failed,
}

impl Phase {
    /// Whether it has ended: its monitor is gone, or about to be.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Exited | Self::Failed)
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reloading => "reloading",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Failed => "failed",
        }
    }
}

/// What health checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// None has ended yet, or too few have failed.
    Starting,
    /// The last one went well.
    Healthy,
    /// Too many in a row have failed.
    Unhealthy,
}

impl Health {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How a run ended; the names are those of `--status-fd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// `exited`, `killed` or `timed-out`.
    pub row: String,
    /// Its exit code, if it exited.
    pub code: Option<u8>,
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// As an exit status of `launch`.
    pub exit_status: u8,
    /// Why it was ended: `stop`, `restart`, `timeout`, `not-ready`, `watchdog` or `unhealthy`; none if it ended by itself.
    pub why: Option<String>,
    /// When.
    pub at: String,
}

impl RunEnd {
    /// Of a run that ended so at this time.
    pub fn new(outcome: Outcome, why: Option<&str>, at: String) -> Self {
        let (row, code, signal) = crate::status::parts(outcome);
        let exit_status = outcome.code();
        Self { row: row.into(), code, signal, exit_status, why: why.map(Into::into), at }
    }
}

/// What a sandbox uses now: the sum over all who are inside, PID 1 and those joined included; see proc(5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time since its start, those who have ended included, in milliseconds.
    pub cpu_ms: u64,
    /// Memory, each page divided by how many share it (PSS) where that can be read, else resident, in bytes.
    pub memory: u64,
    /// How many processes.
    pub pids: u64,
}

/// One of a sandbox that runs.
#[cfg(test)]
pub(crate) fn some_state() -> State {
    State {
        form: FORM,
        name: "web".into(),
        id: "0".repeat(32),
        phase: Phase::Running,
        ready: None,
        health: None,
        status: None,
        monitor_pid: 1,
        monitor_start: 1,
        init_pid: Some(2),
        pid: Some(3),
        command: vec!["sleep".into(), "1".into()],
        labels: BTreeMap::from([("tier".into(), "front".into())]),
        restart_policy: "no".into(),
        created: String::new(),
        started: None,
        finished: None,
        restarts: 0,
        next_start: None,
        last_run: None,
        exit_status: None,
        failure: None,
        log: None,
        stop_signal: "SIGTERM".into(),
        grace_ms: 10_000,
        namespaces: BTreeMap::new(),
    }
}
