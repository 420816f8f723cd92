//! From what the caller asks for, and who the caller is, to what will be done: Options → Plan.
//!
//! Values only. sandbox.rs carries the plan out; the part that concerns the inside is init's (`handoff::Plan`).
//! options.rs is what can be asked for, checks.rs what of it is refused; the others decide a part of the plan each.

#![forbid(unsafe_code)]

pub mod ahead;
mod capabilities;
mod checks;
mod environment;
mod ids;
mod namespaces;
mod options;
mod steps;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use launch_init::handoff::{
    self, CapabilitySets, Descriptors, FileSystem, Group, Limit, Probes, SignalState, Step, Workload,
};
use launch_init::supervisor::{Health, Policy, Restart};
use nix::errno::Errno;

pub use self::capabilities::DEFAULT_CAPABILITIES;
use self::checks::check;
pub use self::environment::LOG_VARIABLE;
use self::environment::{Variables, environment};
pub use self::ids::{IdMap, IdMaps, InitIds, Writer};
use self::ids::{has_root, id_maps, init_within};
use self::namespaces::namespaces;
pub use self::namespaces::{kinds_of, names_of};
pub use self::options::{
    Capabilities, HealthCheck, Identity, Network, Options, Proc, Ready, RootDirectory, Seccomp, Share, Tmp,
    Volatile,
};
use self::steps::steps;
use crate::error::Error;
use crate::seccomp;
use crate::subids;
use crate::volatile::{self, Fresh, Kept, Layout, Manifest, Tree};

/// What a plan depends on besides the options.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Effective capabilities: bit n stands for capability n.
    pub capabilities: u64,
    /// The ids that it may map besides its own.
    pub subordinate_ids: subids::Files,
    /// The working directory; none where it has no name, and is simply stayed in. Or why there is none.
    pub directory: Result<Option<PathBuf>, Errno>,
    /// The environment, NAME=VALUE each.
    pub environment: Vec<OsString>,
    /// The name of the terminal that stdin is; asked for where the sandbox gets one of its own.
    pub terminal: Option<PathBuf>,
    /// The signal state that the workload gets.
    pub signals: SignalState,
    /// The kernel's version: major, minor; asked for where a seccomp profile is.
    pub kernel: (u32, u32),
    /// The seccomp profile that was asked for, read.
    pub seccomp: seccomp::Choice,
    /// How much is to be logged, as `log::LevelFilter` counts.
    pub log_level: u8,
    /// What a `/` that is all writable is put together from; none without one.
    pub tree: Option<Tree>,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The flags for clone(2).
    pub namespaces: u64,
    /// The id maps; none without a new user namespace.
    pub maps: Option<IdMaps>,
    /// What is made before, for what is to be kept.
    pub kept: Option<KeptLayers>,
    /// What the workload will find different from what was asked for, a line each.
    pub warnings: Vec<String>,
    /// The capabilities that init keeps across its exec, where it isn't root inside: root gets them by the exec. Those
    /// that the kernel does not have count for nothing.
    pub init_capabilities: Vec<u32>,
    /// The ids inside that init takes before its exec, where the maps leave out the caller's.
    pub init_ids: InitIds,
    /// What init is told.
    pub init: handoff::Plan,
}

impl Plan {
    /// Whether those inside can reach all files outside by their paths, with the same rights as the caller, but those below
    /// these directories.
    pub fn hides_only(&self) -> Option<Vec<&OsStr>> {
        // Another user may have rights to a file in a directory that it cannot search.
        if self.init_ids != InitIds::default() || self.init.workload.user.is_some() {
            return None;
        }
        let mut hidden = Vec::new();
        for step in &self.init.steps {
            match step {
                Step::HostName(_)
                | Step::DomainName(_)
                | Step::LoopbackUp
                | Step::TimeNamespace
                | Step::PrivateMounts
                | Step::NoUserNamespaces
                | Step::ChangeDirectory(_)
                | Step::KeepDirectory(_)
                | Step::FindDirectory(_) => {}
                Step::Mount { what: FileSystem::Proc { .. } | FileSystem::Tmpfs { .. }, at } => {
                    hidden.push(at.as_os_str());
                }
                _ => return None,
            }
        }
        Some(hidden)
    }
}

/// What a directory of `--keep` has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLayers {
    /// Which, and what it holds.
    pub kept: Kept,
    /// What it will hold.
    pub manifest: Manifest,
    /// What it is for.
    pub layout: Layout,
}

/// Decides what will be done.
///
/// # Errors
/// [`Error::Option`] for options that make no sense, alone, together, or for this caller;
/// [`Error::WorkingDirectory`].
pub fn plan(options: &Options, caller: &Caller) -> Result<Plan, Error> {
    check(options, caller)?;
    let layers = layers(options, caller)?;
    let new_user = !options.share.contains(&Share::User);
    let maps = if new_user { Some(id_maps(&options.identity, caller)?) } else { None };
    let (init_ids, init_capabilities) = match &maps {
        Some(maps) => init_within(maps, caller, options.capabilities)?,
        None => (InitIds::default(), Vec::new()),
    };
    let capabilities = CapabilitySets {
        allowed: DEFAULT_CAPABILITIES & !options.capabilities.drop | options.capabilities.add,
        ambient: options.capabilities.add,
    };
    let facts = seccomp::Facts {
        capabilities: capabilities.allowed,
        kernel: caller.kernel,
        // One of its own it may do with as it likes.
        shares_terminal: options.group != Group::Session,
    };
    let filters = seccomp::filters(&caller.seccomp, &facts)
        .map_err(|wrong| Error::Option("--seccomp".into(), wrong.to_string()))?;
    let steps = steps(options, caller, layers.as_ref(), has_root(maps.as_ref(), caller))?;
    Ok(Plan {
        namespaces: namespaces(options),
        maps,
        init_capabilities,
        init_ids,
        init: handoff::Plan {
            log_level: caller.log_level,
            steps,
            workload: Workload {
                command: options.command.clone(),
                environment: environment(&Variables::of(options), &caller.environment),
                signals: caller.signals,
                descriptors: Descriptors::Only(options.keep.clone()),
                group: options.group,
                user: options.user.clone(),
                parent_death_signal: None,
                capabilities: Some(capabilities),
                no_new_privileges: true,
                filters,
                limits: limits(&options.limits),
                oom_score: options.oom_score,
                niceness: options.niceness,
                umask: options.umask,
            },
            policy: policy(options),
            probes: Probes {
                ready: options.ready.split().1,
                health: options.health.as_ref().map(|health| health.command.clone()),
            },
            report_namespaces: options.report_namespaces,
            // If that can be and is of use, which is seen when it starts.
            is_on_one_processor: true,
            ahead: false,
        },
        warnings: layers.as_ref().map(|layers| layers.layout.warnings.clone()).unwrap_or_default(),
        kept: layers.and_then(|Layers { layout, kept }| {
            kept.map(|(kept, manifest)| KeptLayers { kept, manifest, layout })
        }),
    })
}

fn policy(options: &Options) -> Policy {
    let restarts = options.restart != Restart::No;
    let is_watched = options.ready != Ready::Started || options.watchdog.is_some();
    Policy {
        grace: options.grace,
        timeout: options.timeout,
        kill_after: options.kill_after,
        stop_signal: options.stop_signal,
        term_stops: options.is_service || restarts,
        restart: options.restart,
        longest_delay: options.longest_delay,
        readiness: options.ready.split().0,
        ready_timeout: options.ready_timeout,
        watchdog: options.watchdog,
        health: options.health.as_ref().map(|health| Health {
            interval: health.interval,
            timeout: health.timeout,
            retries: health.retries,
            restarts: health.restarts,
        }),
        // Between runs the terminal is the launcher's, which has to know of them.
        tells: options.tells || is_watched || restarts,
        dies_with_launcher: options.dies_with_launcher,
        ..Policy::default()
    }
}

/// What a `/` that is all writable consists of.
struct Layers {
    layout: Layout,
    kept: Option<(Kept, Manifest)>,
}

fn layers(options: &Options, caller: &Caller) -> Result<Option<Layers>, Error> {
    let option = match options.volatile {
        None => return Ok(None),
        Some(Volatile::Discard) => "--volatile",
        Some(Volatile::Keep(_)) => "--keep",
    };
    let Some(tree) = &caller.tree else {
        return Err(Error::Option(option.into(), "the caller's mounts have not been read".into()));
    };
    let layout = volatile::assemble(tree, fresh(options));
    let kept = match &tree.kept {
        Some(kept) => {
            let manifest = Manifest::of(&layout, kept)
                .map_err(|reason| Error::Kept(kept.directory.clone().into(), reason))?;
            Some((kept.clone(), manifest))
        }
        None => None,
    };
    Ok(Some(Layers { layout, kept }))
}

/// Where a sandbox has file systems of its own.
pub(crate) fn fresh(options: &Options) -> Fresh {
    Fresh { tmp: options.tmp != Tmp::Callers }
}

/// The last of each resource: to raise a hard limit that was just lowered takes a right.
fn limits(asked: &[Limit]) -> Vec<Limit> {
    let is_last = |i: &usize| !asked[i + 1..].iter().any(|later| later.resource == asked[*i].resource);
    (0..asked.len()).filter(is_last).map(|i| asked[i]).collect()
}
