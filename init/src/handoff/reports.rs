//! What init says: what happens in the life of the workload, how it ends, and why there is none.
//!
//! How it is put for people or programs, those who get it decide.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::time::Duration;

use crate::exit::Outcome;

/// Something in the life of the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// It is ready; once a run, and again after a reload.
    Ready,
    /// It says so of itself (sd_notify(3), STATUS=).
    Status(String),
    /// It reads its configuration again (RELOADING=1).
    Reloading,
    /// It has begun to end by itself (STOPPING=1).
    Stopping,
    /// It is alive (WATCHDOG=1).
    Alive,
    /// Another process is the main one now (MAINPID=). Its pid inside; outside it comes as the message's credentials.
    MainPid(i32),
    /// A health check went well, and the one before did not, or there was none.
    Healthy,
    /// So many health checks in a row have failed.
    Unhealthy {
        /// How many.
        failures: u32,
    },
    /// This run is being ended, and why.
    Ending(Why),
    /// Whoever is left of it has had the grace, and gets SIGKILL.
    GraceOver,
    /// This run has ended. What it left over is ended before the next one.
    RunEnded {
        /// How.
        outcome: Outcome,
        /// Why it was ended, if it did not end by itself.
        why: Option<Why>,
        /// Whether a next one follows.
        again: bool,
    },
    /// Nothing is left of the run; the next one starts after this time.
    StartsIn(Duration),
    /// The next run could not be started; that is an end like any other.
    NotStarted(Failure),
}

/// Why a run is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody asked to stop.
    Stop,
    /// Somebody asked for a restart.
    Restart,
    /// Its time is up.
    Timeout,
    /// It has not been ready in time.
    NotReady,
    /// It has not said in time that it is alive.
    Watchdog,
    /// Too many health checks have failed.
    Unhealthy,
}

/// What init says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A line for the log, with its level as `log::Level` counts.
    Log {
        /// 1 (error) to 5 (trace).
        level: u8,
        /// The line.
        message: String,
    },
    /// The sandbox has a terminal; its master comes with the message (unix(7), SCM_RIGHTS).
    Terminal,
    /// Everything is set up in a sandbox that was made ahead: init waits for the [`Task`](super::Task).
    SetUp,
    /// The workload was executed, for the first time or again. Its pid inside; outside it comes as the message's
    /// credentials.
    Started {
        /// In the new PID namespace.
        pid: i32,
        /// The kind (as in /proc/PID/ns) and inode number of each namespace that the workload is in, if asked for.
        namespaces: Vec<(String, u64)>,
    },
    /// A signal of this number stopped the workload.
    Stopped {
        /// SIGTSTP, SIGSTOP, SIGTTIN or SIGTTOU.
        signal: i32,
    },
    /// Something else in its life.
    Happened(Happening),
    /// The workload has ended for good, and so has everything else inside.
    Ended(Outcome),
    /// There will be no workload.
    Failed(Failure),
}

/// Why no workload runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// 125, 126 or 127; see docs/exit-codes.md.
    pub code: u8,
    /// What was being done.
    pub step: String,
    /// What it was done to.
    pub object: OsString,
    /// What the errno alone doesn't say; empty where it says enough.
    pub detail: String,
    /// The system's reason; 0 where there is none.
    pub errno: i32,
}

impl Failure {
    /// The reason in words: the detail, or else what the errno means.
    pub fn reason(&self) -> String {
        match (self.detail.is_empty(), self.errno) {
            (false, _) => self.detail.clone(),
            (true, 0) => "unknown reason".into(),
            (true, errno) => nix::errno::Errno::from_raw(errno).desc().into(),
        }
    }
}
