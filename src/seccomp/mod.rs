//! Seccomp: from what was asked for to the filters that the workload runs under, as BPF instructions. Pure; reading
//! a profile's file and installing the filters are others' work.
//!
//! The built-in list is builtin.rs, profiles are read by oci.rs, both become tables that compile.rs makes programs of.

#![forbid(unsafe_code)]

mod abi;
mod builtin;
mod compile;
mod compile_ahead;
mod oci;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};

pub use builtin::{DENIED, Denied, table};
use launch_init::handoff::Instruction;

/// One program for seccomp(2), SECCOMP_SET_MODE_FILTER.
pub type Filter = Vec<Instruction>;

/// Which system calls are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Those of [`DENIED`].
    Default,
    /// None, but for what protects a shared terminal.
    Off,
    /// What this text says: a profile in JSON, in the form of the OCI runtime specification or of Docker and Podman.
    Profile(String),
}

/// What the filters depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The capabilities that the workload gets: bit n stands for capability n. Rules of a profile can depend on them.
    pub capabilities: u64,
    /// The kernel's version: major, minor. Rules of a profile can depend on it.
    pub kernel: (u32, u32),
    /// Whether the workload has a terminal in common with its caller, which it must not type into.
    pub shares_terminal: bool,
}

/// What is wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where: `syscalls[3].action`, say. Empty if it is no single place.
    pub place: String,
    /// What.
    pub reason: String,
}

impl Wrong {
    fn at(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.place, self.reason)
        }
    }
}

impl std::error::Error for Wrong {}

/// The filters, to be installed in this order. Of the results of several the kernel takes the most restrictive, and
/// of several errnos the one of the filter that was installed last; see seccomp(2).
///
/// A profile's filter is the last, since it may refuse seccomp(2) itself. After it the kernel must still let the
/// process do what is left to do before its exec.
///
/// # Errors
/// [`Wrong`]: only a profile can be.
pub fn filters(choice: &Choice, facts: &Facts) -> Result<Vec<Filter>, Wrong> {
    filters_for(&abi::MACHINE, choice, facts)
}

/// What keeps a process from typing into a terminal that it shares with others.
pub fn terminal_filter() -> Filter {
    abi::MACHINE.terminal.to_filter()
}

fn filters_for(machine: &abi::Machine, choice: &Choice, facts: &Facts) -> Result<Vec<Filter>, Wrong> {
    let terminal = || machine.terminal.to_filter();
    Ok(match choice {
        Choice::Default if facts.shares_terminal => vec![machine.denied_and_terminal.to_filter()],
        Choice::Default => vec![machine.denied.to_filter()],
        Choice::Off if facts.shares_terminal => vec![terminal()],
        Choice::Off => Vec::new(),
        Choice::Profile(text) => {
            let profile = oci::filter(machine, text, facts)?;
            if facts.shares_terminal { vec![terminal(), profile] } else { vec![profile] }
        }
    })
}
