//! What commands and the monitor say to each other through the socket `control` in a sandbox's folder, and those who bring
//! commands and the server of a pool through its socket: a JSON object a line, one reply to each request.
//!
//! Values only; client.rs and server.rs carry them.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::state::{State, Usage};
use crate::plan::ahead::Defaults;

/// No line is longer: arguments and environment of a joining command, as numbers.
pub const LONGEST_LINE: usize = 64 << 20;

/// What a command asks of the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// How it is: [`Reply::State`].
    State,
    /// The same, with what it uses.
    Usage,
    /// Its end: [`Reply::Ended`], when it has come.
    Wait,
    /// When it is ready, or runs where nothing says when it is: [`Reply::State`]; or its end.
    WaitReady,
    /// A signal for the workload: [`Reply::Done`].
    Signal {
        /// 1 to 64.
        signal: i32,
    },
    /// To stop: [`Reply::Ended`], when it has.
    Stop {
        /// In milliseconds; none: as it was launched.
        grace_ms: Option<u64>,
    },
    /// A new run: [`Reply::State`], when that has begun and, if readiness was asked for, is ready.
    Restart {
        /// As above.
        grace_ms: Option<u64>,
    },
    /// A command that joins it: [`Reply::Joined`]. With the message come four descriptors (unix(7), SCM_RIGHTS): stdin,
    /// stdout, stderr, and an end of a socket pair, through which the joining process speaks as init does.
    Join(Join),
    /// A sandbox of a pool: [`Reply::Given`].
    Give,
}

/// A command that joins a sandbox. Strings are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// CMD and its arguments; CMD is looked for in the PATH that it will have.
    pub command: Vec<Vec<u8>>,
    /// Variables that are set, in addition to those of the workload.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where it starts; none: where the workload did.
    pub directory: Option<Vec<u8>>,
    /// As `--user` takes it; none: who the workload runs as.
    pub user: Option<String>,
    /// Whether it gets a terminal of the sandbox's.
    pub tty: bool,
    /// How much of what the joining process does is reported, as `log::LevelFilter` counts.
    #[serde(default)]
    pub log_level: u8,
}

/// What the monitor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// How it is.
    State {
        /// All that is known.
        state: Box<State>,
        /// What it uses, if that was asked for.
        usage: Option<Usage>,
    },
    /// It has ended.
    Ended {
        /// All that is known.
        state: Box<State>,
        /// Whether the grace ran out, so that SIGKILL ended it.
        killed: bool,
    },
    /// It is done.
    Done,
    /// The joining process waits for this plan: a frame for the socket pair. With the message comes its pidfd.
    Joined {
        /// The frame.
        plan: Vec<u8>,
    },
    /// A sandbox that waits for its task, which is for whoever asks to send. With the message come its channel, through which init
    /// speaks, and its pidfd.
    Given {
        /// What the pool says of the task.
        defaults: Box<Defaults>,
        /// Whether it was made for who asks, since none waited. A server of before does not say.
        #[serde(default)]
        is_new: bool,
    },
    /// It cannot be done, and why, in words.
    Refused {
        /// The reason.
        reason: String,
    },
}
