//! What of the caller's environment the workload gets, and what is set in it.
//!
//! Where its own socket for notifications is, init adds itself.

#![forbid(unsafe_code)]

use std::ffi::OsString;

use launch_init::parse::{variable_name, variable_of};
use serde::{Deserialize, Serialize};

use super::{Options, Ready};

/// The variable that asks for logs. It is the launcher's, and not handed on.
pub const LOG_VARIABLE: &str = "LAUNCH_LOG";

/// What a service manager gives to those whom it starts, see sd_notify(3) and sd_watchdog_enabled(3).
const NOTIFY_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// What becomes of the caller's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Variables {
    pub(super) clear: bool,
    pub(super) unset: Vec<OsString>,
    pub(super) set: Vec<(OsString, OsString)>,
    /// Whether init sets those of [`NOTIFY_VARIABLES`]; the caller's are its manager's.
    pub(super) notifies: bool,
}

impl Variables {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            clear: options.clear_environment,
            unset: options.unset.clone(),
            set: options.set.clone(),
            notifies: options.ready == Ready::Notify || options.watchdog.is_some(),
        }
    }
}

/// Cleared, then unset, then set, as env(1) does.
pub(super) fn environment(variables: &Variables, inherited: &[OsString]) -> Vec<OsString> {
    let Variables { clear, unset, set, notifies } = variables;
    let inherited = if *clear { &[][..] } else { inherited };
    let gone = |variable: &OsString| {
        let key = variable_name(variable);
        key == LOG_VARIABLE
            || *notifies && NOTIFY_VARIABLES.iter().any(|name| key == *name)
            || unset.iter().any(|unset| unset == key)
            || set.iter().any(|(set, _)| set == key)
    };
    // A variable that is set twice has its last value.
    let last = |i: &usize| {
        let (key, _) = &set[*i];
        !set[i + 1..].iter().any(|(later, _)| later == key)
    };
    let set = (0..set.len()).filter(last).map(|i| variable_of(&set[i].0, &set[i].1));
    let mut environment = Vec::with_capacity(inherited.len() + variables.set.len());
    environment.extend(inherited.iter().filter(|variable| !gone(variable)).cloned().chain(set));
    environment
}
