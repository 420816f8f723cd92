//! What the launcher says after the plan: a task for a sandbox that was made ahead, and orders.
//!
//! What follows of an order, the supervisor decides.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::time::Duration;

use super::{SignalState, Step};

/// What a sandbox that was made ahead gets to run, in place of what the plan's workload has of it. Descriptors come with
/// the message (unix(7), SCM_RIGHTS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// CMD and its arguments; never empty.
    pub command: Vec<OsString>,
    /// `KEY=VALUE`, each.
    pub environment: Vec<OsString>,
    /// Its signal state.
    pub signals: SignalState,
    /// Where it starts: a step about the working directory; none: in `/`.
    pub directory: Option<Step>,
    /// What the caller's directory is, for [`Step::KeepDirectory`], since init is not in it: device and inode number.
    pub here: Option<(u64, u64)>,
    /// How long it may run, in place of what the policy has.
    pub timeout: Option<Duration>,
    /// Which of stdin, stdout and stderr come with it, in their order. One that does not is /dev/null.
    pub stdio: [bool; 3],
}

/// What the launcher says after the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// End the workload and then everything: the stop signal, the grace, SIGKILL. No new run follows.
    Stop {
        /// How long those inside have; none: the policy's grace.
        grace: Option<Duration>,
    },
    /// End this run in the same way, and start the next one at once, whatever the policy says of restarts.
    Restart {
        /// As above.
        grace: Option<Duration>,
    },
    /// Send this signal to the workload as it is: not rewritten, not held back, and no wish to stop. SIGKILL and SIGSTOP
    /// too.
    Signal {
        /// 1 to 64.
        signal: i32,
    },
}
