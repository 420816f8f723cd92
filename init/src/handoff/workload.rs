//! The program that init starts, and with which identity, rights and limits.
//!
//! What falls of these in which order, privileges.rs knows.

#![forbid(unsafe_code)]

use std::ffi::OsString;

/// The program that init starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// CMD and its arguments; never empty. CMD is looked for in the PATH of `environment`.
    pub command: Vec<OsString>,
    /// `KEY=VALUE`, each.
    pub environment: Vec<OsString>,
    /// Its signal state.
    pub signals: SignalState,
    /// The descriptors above 2 that it gets.
    pub descriptors: Descriptors,
    /// Which process group it is in.
    pub group: Group,
    /// Whom it runs as, if not as init.
    pub user: Option<Account>,
    /// The signal that it gets when init ends; prctl(2), PR_SET_PDEATHSIG.
    pub parent_death_signal: Option<i32>,
    /// Its capabilities; none: those that init has.
    pub capabilities: Option<CapabilitySets>,
    /// Whether no exec gives it more rights than it has; prctl(2), PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// The seccomp filters, in the order in which they are installed.
    pub filters: Vec<Vec<Instruction>>,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// oom_score_adj, -1000 to 1000; see proc_pid_oom_score_adj(5).
    pub oom_score: Option<i32>,
    /// The nice value, -20 to 19; see setpriority(2).
    pub niceness: Option<i32>,
    /// See umask(2).
    pub umask: Option<u32>,
}

impl Workload {
    /// Takes a capability from it, whoever asked for it.
    pub(crate) fn forbid(&mut self, capability: u32) {
        if let Some(sets) = &mut self.capabilities {
            sets.allowed &= !(1 << capability);
        }
    }

    /// Whether somebody of it may ever have this capability.
    pub(crate) fn may_have(&self, capability: u32) -> bool {
        self.capabilities.as_ref().is_none_or(|sets| sets.allowed & 1 << capability != 0)
    }
}

/// A user as it is asked for. Names are looked up in the inside's own passwd(5) and group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: Name,
    /// The group; none: the user's own in passwd(5), or for an unknown uid the same number.
    pub group: Option<Name>,
    /// The supplementary groups.
    pub groups: Vec<Name>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// By number.
    Id(u32),
    /// By name.
    Named(String),
}

/// Capabilities as bits: bit n stands for capability n of linux/capability.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitySets {
    /// The most that the workload can ever have: its bounding set, and what a root inside gets by its exec.
    pub allowed: u64,
    /// What a workload that is not root keeps (inheritable and ambient); see capabilities(7).
    pub ambient: u64,
}

/// A resource limit; see setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The number of the resource.
    pub resource: u32,
    /// In the resource's own unit; `u64::MAX` is none.
    pub soft: u64,
    /// As far as the soft one may be raised.
    pub hard: u64,
}

/// One instruction of a classic BPF program; see seccomp(2), struct sock_filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// How many instructions are skipped if it is true.
    pub jump_true: u8,
    /// How many are skipped if it is false.
    pub jump_false: u8,
    /// What it is done with.
    pub operand: u32,
}

/// Which descriptors above 2 the workload gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descriptors {
    /// Every one that init inherited, as by an exec.
    Inherited,
    /// Those of these numbers.
    Only(Vec<i32>),
}

/// What a program inherits of signals through an exec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignalState {
    /// The blocked ones: bit n-1 stands for signal n.
    pub mask: u64,
    /// Whether SIGPIPE is ignored. Rust's runtime changes it, so it is carried along.
    pub ignore_pipe: bool,
    /// Whether SIGCHLD is ignored. PID 1 has to change it, so it is carried along. Every other disposition is
    /// handed down by the kernel, since neither launcher nor init touches it.
    pub ignore_child: bool,
}

/// The process group of the workload; see credentials(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One of its own, which signals are forwarded to.
    Own {
        /// Whether it is put into the foreground of the terminal that stdin is.
        foreground: bool,
    },
    /// The caller's own, since others (of the same pipeline) may be in it: taking the foreground would stop
    /// them at their next read. The terminal's signals reach the workload directly.
    Callers,
    /// The leading one of a session of its own (setsid(2)), in the foreground of the sandbox's own terminal
    /// ([`Step::Pty`](super::Step::Pty)), or else of the one that stdin is, if that is free.
    Session,
}
