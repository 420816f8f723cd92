//! What init is told before anything runs, and likewise a process that joins a sandbox.
//!
//! Its steps are in steps.rs, what is started in workload.rs, and how it is looked after is supervisor/policy.rs.

#![forbid(unsafe_code)]

use std::ffi::OsString;

use super::{Descriptors, Step, Workload};
use crate::supervisor::Policy;

/// All that init is told: what to set up, what to start, and how to look after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How much of what init does is reported: 0 (nothing) to 5 (trace), as `log::LevelFilter` counts.
    pub log_level: u8,
    /// The set-up, carried out in this order.
    pub steps: Vec<Step>,
    /// What is started then.
    pub workload: Workload,
    /// How it is looked after.
    pub policy: Policy,
    /// What is asked to learn how it is.
    pub probes: Probes,
    /// Whether [`Report::Started`](super::Report::Started) names the namespaces.
    pub report_namespaces: bool,
    /// Whether init is kept on one processor, until the workload has been executed.
    pub is_on_one_processor: bool,
    /// Whether the sandbox is made ahead: what is started comes later, as a [`Task`](super::Task), and `workload` has what does not
    /// depend on it.
    pub ahead: bool,
}

impl Plan {
    /// The numbers of the caller's descriptors above 2 that init has to inherit: for the workload, and for the steps.
    pub fn descriptors(&self) -> Vec<i32> {
        let kept: &[i32] = match &self.workload.descriptors {
            Descriptors::Only(kept) => kept,
            Descriptors::Inherited => &[],
        };
        let mut all: Vec<i32> =
            self.steps.iter().filter_map(Step::descriptor).chain(kept.iter().copied()).collect();
        all.retain(|fd| *fd > libc::STDERR_FILENO);
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// All that a process is told that joins a sandbox, to start a command in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The sandbox's name, for errors.
    pub sandbox: OsString,
    /// The number of the descriptor that is the pidfd of the sandbox's PID 1.
    pub init: i32,
    /// The namespaces of PID 1's that it enters, as setns(2) takes them.
    pub namespaces: u64,
    /// Whether PID 1's children are in a time namespace of their own.
    pub time_namespace: bool,
    /// Whether the sandbox has a root of its own.
    pub own_root: bool,
    /// The uid inside that it takes, where the maps leave out the caller's.
    pub user: Option<u32>,
    /// The gid inside, likewise.
    pub group: Option<u32>,
    /// Whether it leaves the caller's supplementary groups, which are somebody else's then.
    pub leaves_groups: bool,
    /// The command, and as the only steps where it starts; there are no policy and no probes. Its group is one of its own,
    /// or with a terminal of the sandbox's a session of its own.
    pub plan: Plan,
}

/// The commands by which init learns how the workload is, for `/bin/sh -c`. They run as the workload does, in the same
/// environment and without a stdin; what they write goes nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    /// Whether it is ready ([`Readiness::Command`](crate::supervisor::Readiness)).
    pub ready: Option<OsString>,
    /// Whether it is healthy ([`Policy::health`]).
    pub health: Option<OsString>,
}
