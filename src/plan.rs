//! From what the caller asks for, and who the caller is, to what will be done: Options → Plan.
//!
//! Values only. sandbox.rs carries the plan out; the part that concerns the inside is init's (`handoff::Plan`).

#![forbid(unsafe_code)]

pub mod ahead;

use std::ffi::{OsStr, OsString};
use std::mem::discriminant;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use launch_init::handoff::{
    self, Account, CapabilitySets, Descriptors, FileSystem, Group, Limit, Name, Overlay, Probes, Root,
    SignalState, Source, Step, Upper, Workload,
};
use launch_init::parse::{variable_name, variable_of};
use launch_init::supervisor::{Health, LONGEST_DELAY, Policy, Readiness, Restart};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::seccomp;
use crate::subids::{self, Kind, Owner};
use crate::volatile::{self, Fresh, Kept, Layout, Manifest, Tree};

/// What PID 1 needs of a root's capabilities; the numbers of linux/capability.h. A workload that is root inside
/// gets its own by its exec, and any other has none.
const INIT_CAPABILITIES: [u32; 10] = [
    CAP_CHOWN,        // the terminal of the workload's user
    CAP_DAC_OVERRIDE, // mount points in directories of others
    CAP_KILL,
    CAP_SETGID, // the workload's user
    CAP_SETUID,
    CAP_SETPCAP,    // the workload's bounding set
    CAP_NET_ADMIN,  // lo
    CAP_SYS_CHROOT, // a root that cannot be pivoted to
    CAP_SYS_ADMIN,
    CAP_SYS_RESOURCE, // user.max_user_namespaces
];
const CAP_CHOWN: u32 = 0;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_FOWNER: u32 = 3;
const CAP_FSETID: u32 = 4;
const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SETPCAP: u32 = 8;
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_CHROOT: u32 = 18;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_SETFCAP: u32 = 31;

/// What a root inside needs to build, install and run software, and no more. CAP_SYS_ADMIN could undo the walls.
/// CAP_SYS_PTRACE would open PID 1 to it (ptrace(2), "Ptrace access mode checking"); debuggers do not need it for the
/// processes of their own user. CAP_SETFCAP is what maps root's id into a nested user namespace (user_namespaces(7)).
pub const DEFAULT_CAPABILITIES: u64 = 1 << CAP_CHOWN
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_FOWNER
    | 1 << CAP_FSETID
    | 1 << CAP_KILL
    | 1 << CAP_SETGID
    | 1 << CAP_SETUID
    | 1 << CAP_SETPCAP
    | 1 << CAP_NET_BIND_SERVICE
    | 1 << CAP_SYS_CHROOT
    | 1 << CAP_SETFCAP;

/// HOST_NAME_MAX of limits.h; the domain name's limit is the same (`__NEW_UTS_LEN`).
const LONGEST_NAME: usize = 64;

/// The variable that asks for logs. It is the launcher's, and not handed on.
pub const LOG_VARIABLE: &str = "LAUNCH_LOG";

/// What a service manager gives to those whom it starts, see sd_notify(3) and sd_watchdog_enabled(3).
const NOTIFY_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// What the caller asks for. Every field's default is what `launch -- CMD` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// CMD and its arguments.
    pub command: Vec<OsString>,
    /// The network.
    pub network: Network,
    /// A time namespace of its own.
    pub time_namespace: bool,
    /// The namespaces that stay the caller's.
    pub share: Vec<Share>,
    /// Who the caller appears as.
    pub identity: Identity,
    /// None: `container`, or the caller's where the UTS namespace is shared.
    pub host_name: Option<OsString>,
    /// None: the caller's.
    pub domain_name: Option<OsString>,
    /// Whom the workload runs as; none: root inside, or who the caller appears as.
    pub user: Option<Account>,
    /// Whether no further user namespace can be made inside.
    pub no_user_namespaces: bool,
    /// None: the caller's `/`.
    pub root: Option<RootDirectory>,
    /// Whether all of `/` is read-only, but what is mounted for the sandbox.
    pub read_only: bool,
    /// Whether all of `/` is writable, on layers above it.
    pub volatile: Option<Volatile>,
    /// What is on /tmp.
    pub tmp: Tmp,
    /// How /proc is mounted.
    pub proc: Proc,
    /// Mounts, directories, links and masks, in the order in which they are made. A relative source is one of the
    /// caller's directory.
    pub files: Vec<Step>,
    /// None: the caller's.
    pub directory: Option<PathBuf>,
    /// The workload's capabilities.
    pub capabilities: Capabilities,
    /// The seccomp profile.
    pub seccomp: Seccomp,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// oom_score_adj, -1000 to 1000; none: the caller's.
    pub oom_score: Option<i32>,
    /// The nice value, -20 to 19; none: the caller's.
    pub niceness: Option<i32>,
    /// None: the caller's.
    pub umask: Option<u32>,
    /// Whether the workload starts without the caller's environment.
    pub clear_environment: bool,
    /// Removed from the environment.
    pub unset: Vec<OsString>,
    /// Set in the environment, after that.
    pub set: Vec<(OsString, OsString)>,
    /// The numbers of the descriptors that the workload gets besides 0, 1 and 2.
    pub keep: Vec<i32>,
    /// How long those left over have between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long the workload may run.
    pub timeout: Option<Duration>,
    /// How long everybody has after the first signal that asks to stop, until SIGKILL.
    pub kill_after: Option<Duration>,
    /// What the workload gets when it is asked to stop, 1 to 64.
    pub stop_signal: i32,
    /// Whether a SIGTERM to the launcher, instead of being forwarded, stops the workload as an order to stop does: the stop
    /// signal, the grace, SIGKILL. Where runs follow each other it always does.
    pub is_service: bool,
    /// Whether a new run of the workload follows when one has ended.
    pub restart: Restart,
    /// The most that it waits for; the first one after an end waits for 100 ms, each further one twice as long.
    pub longest_delay: Duration,
    /// When a run counts as ready.
    pub ready: Ready,
    /// How long a run may take until it is ready.
    pub ready_timeout: Option<Duration>,
    /// How often the workload has to say that it is alive; sd_watchdog_enabled(3).
    pub watchdog: Option<Duration>,
    /// Whether and how its health is checked.
    pub health: Option<HealthCheck>,
    /// Whether what happens is told ([`Event::Happened`](crate::sandbox::Event)). Where one of the above asks for it, it
    /// is.
    pub tells: bool,
    /// Whether the thread that launches lives as long as the sandbox is wanted.
    pub dies_with_launcher: bool,
    /// The workload's process group.
    pub group: Group,
    /// Whether the namespaces' inode numbers are wanted.
    pub report_namespaces: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            network: Network::Host,
            time_namespace: false,
            share: Vec::new(),
            identity: Identity::Root,
            host_name: None,
            domain_name: None,
            user: None,
            no_user_namespaces: false,
            root: None,
            read_only: false,
            volatile: None,
            tmp: Tmp::Fresh { size: None },
            proc: Proc::default(),
            files: Vec::new(),
            directory: None,
            capabilities: Capabilities::default(),
            seccomp: Seccomp::Default,
            limits: Vec::new(),
            oom_score: None,
            niceness: None,
            umask: None,
            clear_environment: false,
            unset: Vec::new(),
            set: Vec::new(),
            keep: Vec::new(),
            grace: Duration::from_secs(2),
            timeout: None,
            kill_after: None,
            stop_signal: libc::SIGTERM,
            is_service: false,
            restart: Restart::No,
            longest_delay: LONGEST_DELAY,
            ready: Ready::Started,
            ready_timeout: None,
            watchdog: None,
            health: None,
            tells: false,
            dies_with_launcher: false,
            group: Group::Own { foreground: false },
            report_namespaces: false,
        }
    }
}

impl Options {
    /// The numbers of the caller's descriptors that have to be open.
    pub fn descriptors(&self) -> Vec<i32> {
        self.keep.iter().copied().chain(self.files.iter().filter_map(Step::descriptor)).collect()
    }
}

/// When a run of the workload counts as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// When it has been executed.
    Started,
    /// When it says so; sd_notify(3).
    Notify,
    /// When it has written a newline to this descriptor of its own, above 2.
    Descriptor(i32),
    /// When this command, for `/bin/sh -c`, succeeds. It runs as the workload does.
    Command(OsString),
}

impl Ready {
    /// With the command where there is one.
    fn split(&self) -> (Readiness, Option<OsString>) {
        match self {
            Self::Started => (Readiness::Started, None),
            Self::Notify => (Readiness::Notify, None),
            Self::Descriptor(fd) => (Readiness::Descriptor(*fd), None),
            Self::Command(command) => (Readiness::Command, Some(command.clone())),
        }
    }
}

/// How the workload's health is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// For `/bin/sh -c`; it runs as the workload does.
    pub command: OsString,
    /// The time between one check's end and the next one's start.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How many that fail in a row make it unhealthy; at least 1.
    pub retries: u32,
    /// Whether it is restarted then.
    pub restarts: bool,
}

/// A root file system of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDirectory {
    /// Where the caller has it.
    pub path: PathBuf,
    /// Whether the workload may change it.
    pub writable: bool,
}

/// What becomes of what is written to a `/` that is all writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Volatile {
    /// It is gone with the sandbox.
    Discard,
    /// It is kept in this directory of the caller's, which is made if it is missing.
    Keep(PathBuf),
}

/// How /proc is mounted; see proc(5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proc {
    /// hidepid=, 0 to 4.
    pub hide_pids: Option<u8>,
    /// subset=pid.
    pub only_pids: bool,
}

/// What is added to and taken from the capabilities that a workload has by default: bit n stands for capability n. What
/// is in both is added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Added.
    pub add: u64,
    /// Taken.
    pub drop: u64,
}

/// Which system calls are refused; see seccomp(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seccomp {
    /// Those of the built-in profile.
    Default,
    /// None.
    Off,
    /// Those of this file's profile, in the JSON format of the OCI runtime specification or of Docker.
    File(PathBuf),
}

/// The network that the workload sees; see network_namespaces(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// The caller's
    #[default]
    Host,
    /// A new one that has only a loopback interface, up
    None,
}

/// A namespace that can stay the caller's; see namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Share {
    /// Host and domain name
    Uts,
    /// System V IPC and POSIX message queues
    Ipc,
    /// The view of the cgroup hierarchy
    Cgroup,
    /// User and group ids and capabilities; only for a caller with CAP_SYS_ADMIN
    User,
}

/// Who the caller appears as inside, and which other ids exist there; see user_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Uid 0 and gid 0.
    Root,
    /// These numbers; none is 0.
    Ids {
        /// 0 to 4294967294.
        uid: Option<u32>,
        /// 0 to 4294967294.
        gid: Option<u32>,
    },
    /// The caller's own numbers.
    Keep,
    /// Uid 0 and gid 0; from 1 on the ids that subuid(5) and subgid(5) give the caller.
    Auto,
    /// These maps, for which an ordinary user needs newuidmap(1) and newgidmap(1). Who does not have the caller's own id
    /// in it has 0, which PID 1 then takes. An empty one is that of [`Self::Root`].
    Maps {
        /// The uid map.
        users: Vec<IdMap>,
        /// The gid map.
        groups: Vec<IdMap>,
    },
}

/// What is on /tmp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tmp {
    /// A new tmpfs.
    Fresh {
        /// In bytes; none is the kernel's default, half of the memory.
        size: Option<u64>,
    },
    /// The caller's.
    Callers,
}

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

/// The ids that init takes; none keeps the caller's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InitIds {
    /// The uid inside.
    pub user: Option<u32>,
    /// The gid inside.
    pub group: Option<u32>,
    /// Whether it leaves the caller's supplementary groups, which are somebody else's then.
    pub leaves_groups: bool,
}

/// Who writes an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The launcher: its caller may map any ids, or maps nothing but its own.
    Launcher,
    /// newuidmap(1) or newgidmap(1).
    Helper,
}

/// What is written for a new user namespace; see user_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// The uid map.
    pub users: Vec<IdMap>,
    /// Who writes it.
    pub users_by: Writer,
    /// The gid map.
    pub groups: Vec<IdMap>,
    /// Who writes it.
    pub groups_by: Writer,
    /// Whether setgroups(2) has to be given up: a caller without CAP_SETGID may not write a gid map before
    /// (user_namespaces(7)); newgidmap(1) may.
    pub deny_setgroups: bool,
}

/// One line of a map: ids inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The first in the new user namespace.
    pub inside: u32,
    /// The first in the caller's.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Every namespace kind with its flag, in the order in which errors name them.
///
/// Time is not among them: init makes that one, since only the children of whoever makes it enter it.
const KINDS: [(&str, u64); 7] = [
    ("user", libc::CLONE_NEWUSER as u64),
    ("mount", libc::CLONE_NEWNS as u64),
    ("uts", libc::CLONE_NEWUTS as u64),
    ("ipc", libc::CLONE_NEWIPC as u64),
    ("pid", libc::CLONE_NEWPID as u64),
    ("cgroup", libc::CLONE_NEWCGROUP as u64),
    ("net", libc::CLONE_NEWNET as u64),
];

/// The kinds of the namespaces in these clone flags.
pub fn kinds_of(namespaces: u64) -> Vec<&'static str> {
    KINDS.iter().filter(|(_, flag)| namespaces & flag != 0).map(|(name, _)| *name).collect()
}

/// Their names in a sentence, as in `user, mount and pid`.
pub fn names_of(namespaces: u64) -> String {
    match kinds_of(namespaces).split_last() {
        Some((last, [])) => (*last).into(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "no namespaces".into(),
    }
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

/// Init's own, and those that it hands on.
fn init_capabilities(asked: Capabilities) -> Vec<u32> {
    (0..u64::BITS).filter(|n| INIT_CAPABILITIES.contains(n) || asked.add & 1 << n != 0).collect()
}

/// The last of each resource: to raise a hard limit that was just lowered takes a right.
fn limits(asked: &[Limit]) -> Vec<Limit> {
    let is_last = |i: &usize| !asked[i + 1..].iter().any(|later| later.resource == asked[*i].resource);
    (0..asked.len()).filter(is_last).map(|i| asked[i]).collect()
}

fn check(options: &Options, caller: &Caller) -> Result<(), Error> {
    let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
    if options.command.is_empty() {
        return wrong("CMD", "no command; say launch [OPTIONS] -- CMD [ARG...]");
    }
    check_name("--hostname", options.host_name.as_deref())?;
    check_name("--domainname", options.domain_name.as_deref())?;
    if options.share.contains(&Share::Uts) && (options.host_name.is_some() || options.domain_name.is_some()) {
        return wrong("--share uts", "a host or domain name would change the caller's own");
    }
    if options.share.contains(&Share::User) {
        if caller.capabilities & 1 << CAP_SYS_ADMIN == 0 {
            return wrong(
                "--share user",
                "only a caller with CAP_SYS_ADMIN can make namespaces without a new user one",
            );
        }
        // To keep the caller's ids is what it comes to.
        if !matches!(options.identity, Identity::Root | Identity::Keep) {
            return wrong("--share user", "ids can only be chosen in a user namespace of its own");
        }
    }
    let ids = match options.identity {
        Identity::Ids { uid, gid } => [uid, gid],
        _ => [None, None],
    };
    for (option, id) in ["--uid", "--gid"].into_iter().zip(ids) {
        if id == Some(u32::MAX) {
            return wrong(option, "is no id: they go from 0 to 4294967294");
        }
    }
    if let Identity::Maps { users, groups } = &options.identity {
        check_map(Kind::Users, users)?;
        check_map(Kind::Groups, groups)?;
    }
    check_privileges(options)?;
    check_long_life(options)?;
    let has_queues = |step: &Step| matches!(step, Step::Mount { what: FileSystem::MessageQueue, .. });
    if options.share.contains(&Share::Ipc)
        && !options.share.contains(&Share::User)
        && options.files.iter().any(has_queues)
    {
        return wrong("--mqueue", "shows the queues of an IPC namespace of its own: leave out --share ipc");
    }
    if let Some(volatile) = &options.volatile {
        let option = if *volatile == Volatile::Discard { "--volatile" } else { "--keep" };
        if options.read_only {
            return wrong(option, "makes all of / writable, and --read-only nothing: leave one out");
        }
        if options.root.as_ref().is_some_and(|root| root.writable) {
            return wrong(option, "writes to layers above the --rootfs, never to it: leave :rw out");
        }
    }
    if options.tmp == (Tmp::Fresh { size: Some(0) }) {
        return wrong("--tmp-size", "must be more than nothing");
    }
    check_variables(&options.set)
}

fn check_variables(set: &[(OsString, OsString)]) -> Result<(), Error> {
    for (key, _) in set {
        if key.is_empty() || key.as_bytes().contains(&b'=') {
            return Err(Error::Option(
                "--env".into(),
                format!("{:?} is no name of a variable", key.display().to_string()),
            ));
        }
    }
    Ok(())
}

fn check_privileges(options: &Options) -> Result<(), Error> {
    let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
    if options.no_user_namespaces && options.share.contains(&Share::User) {
        return wrong("--disable-userns", "would hold for the whole machine with --share user");
    }
    if options.no_user_namespaces && options.capabilities.add & 1 << CAP_SYS_RESOURCE != 0 {
        return wrong(
            "--disable-userns",
            "could be undone with CAP_SYS_RESOURCE; --cap-add must not have it, nor ALL",
        );
    }
    let account = options.user.iter();
    let mut names = account.flat_map(|user| [&user.user].into_iter().chain(&user.group).chain(&user.groups));
    if names.any(|name| *name == Name::Id(u32::MAX)) {
        return wrong("--user", "4294967295 is no id: they go from 0 to 4294967294");
    }
    if options.limits.iter().any(|limit| limit.soft > limit.hard) {
        return wrong("--rlimit", "a soft limit is above its hard one");
    }
    if options.oom_score.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return wrong("--oom-score-adj", "goes from -1000 to 1000");
    }
    if options.niceness.is_some_and(|value| !(-20..=19).contains(&value)) {
        return wrong("--nice", "goes from -20 to 19");
    }
    if options.umask.is_some_and(|mask| mask > 0o777) {
        return wrong("--umask", "goes from 0 to 777");
    }
    Ok(())
}

fn check_long_life(options: &Options) -> Result<(), Error> {
    let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
    let no_time = |option, time: Option<Duration>| match time {
        Some(Duration::ZERO) => wrong(option, "must be more than no time"),
        _ => Ok(()),
    };
    if options.restart != Restart::No && options.group == Group::Session {
        return wrong("--restart", "the terminal of --tty is one run's: leave one of the two out");
    }
    if options.health.as_ref().is_some_and(|health| health.restarts) && options.group == Group::Session {
        return wrong("--health-restart", "the terminal of --tty is one run's: leave one of the two out");
    }
    if !(1..=64).contains(&options.stop_signal) {
        return wrong("--stop-signal", "signals go from 1 to 64");
    }
    match &options.ready {
        Ready::Descriptor(fd @ ..=2) => {
            return wrong("--ready", &format!("descriptor {fd} is the workload's stdin, stdout or stderr"));
        }
        Ready::Descriptor(fd) if options.descriptors().contains(fd) => {
            let reason =
                format!("descriptor {fd} is one of the caller's that is handed on; choose another number");
            return wrong("--ready", &reason);
        }
        Ready::Command(command) if command.is_empty() => return wrong("--ready", "exec: names no command"),
        _ => {}
    }
    no_time("--ready-timeout", options.ready_timeout)?;
    if options.ready_timeout.is_some() && options.ready == Ready::Started {
        return wrong("--ready-timeout", "says nothing without --ready");
    }
    no_time("--watchdog", options.watchdog)?;
    let Some(health) = &options.health else { return Ok(()) };
    if health.command.is_empty() {
        return wrong("--health-cmd", "is empty");
    }
    no_time("--health-interval", Some(health.interval))?;
    no_time("--health-timeout", Some(health.timeout))?;
    if health.retries == 0 {
        return wrong("--health-retries", "must be at least 1");
    }
    Ok(())
}

fn check_name(option: &str, name: Option<&OsStr>) -> Result<(), Error> {
    let Some(name) = name else { return Ok(()) };
    let reason = match name.len() {
        0 => "is empty".into(),
        length if length > LONGEST_NAME => {
            format!("{length} bytes are more than the {LONGEST_NAME} a name may have")
        }
        _ if name.as_bytes().contains(&0) => "has a NUL byte".into(),
        _ => return Ok(()),
    };
    Err(Error::Option(option.into(), reason))
}

fn namespaces(options: &Options) -> u64 {
    let is_new = |kind: &str| match kind {
        "user" => !options.share.contains(&Share::User),
        "uts" => !options.share.contains(&Share::Uts),
        "ipc" => !options.share.contains(&Share::Ipc),
        "cgroup" => !options.share.contains(&Share::Cgroup),
        "net" => options.network == Network::None,
        _ => true,
    };
    KINDS.iter().filter(|(kind, _)| is_new(kind)).fold(0, |flags, (_, flag)| flags | flag)
}

fn id_maps(identity: &Identity, caller: &Caller) -> Result<IdMaps, Error> {
    let alone = |inside, outside| vec![IdMap { inside, outside, count: 1 }];
    let or_alone = |map: &[IdMap], own| if map.is_empty() { alone(0, own) } else { map.to_vec() };
    let (files, owner) = (&caller.subordinate_ids, owner(caller));
    let (users, groups) = match identity {
        Identity::Root => (alone(0, caller.uid), alone(0, caller.gid)),
        Identity::Ids { uid, gid } => {
            (alone(uid.unwrap_or(0), caller.uid), alone(gid.unwrap_or(0), caller.gid))
        }
        Identity::Keep => (alone(caller.uid, caller.uid), alone(caller.gid, caller.gid)),
        Identity::Auto => (
            subids::map_all(Kind::Users, files, owner, caller.uid)?,
            subids::map_all(Kind::Groups, files, owner, caller.gid)?,
        ),
        Identity::Maps { users, groups } => (or_alone(users, caller.uid), or_alone(groups, caller.gid)),
    };
    let is_alone = |map: &[IdMap], own| matches!(map, [only] if only.count == 1 && only.outside == own);
    let writer = |map: &[IdMap], own, capability: u32| match caller.capabilities & 1 << capability {
        0 if !is_alone(map, own) => Writer::Helper,
        _ => Writer::Launcher,
    };
    let maps = IdMaps {
        users_by: writer(&users, caller.uid, CAP_SETUID),
        groups_by: writer(&groups, caller.gid, CAP_SETGID),
        deny_setgroups: caller.capabilities & 1 << CAP_SETGID == 0 && is_alone(&groups, caller.gid),
        users,
        groups,
    };
    if maps.users_by == Writer::Helper {
        subids::check(Kind::Users, files, owner, caller.uid, &maps.users)?;
    }
    if maps.groups_by == Writer::Helper {
        subids::check(Kind::Groups, files, owner, caller.gid, &maps.groups)?;
    }
    Ok(maps)
}

/// Somebody who is not in /etc/passwd, but in a directory service, is whom USER names: newuidmap, which knows, has the
/// last word. For a caller whose maps it does not write, nobody would have it.
fn owner(caller: &Caller) -> Owner<'_> {
    let user = || {
        let name = caller.environment.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"USER="));
        str::from_utf8(name?).ok()
    };
    let may_map_all = caller.capabilities & (1 << CAP_SETUID | 1 << CAP_SETGID) != 0;
    let name = caller.subordinate_ids.user_name.as_deref();
    Owner { name: name.or_else(|| user().filter(|_| !may_map_all)), uid: caller.uid }
}

/// What the kernel would refuse without a word (user_namespaces(7)): at most this many lines.
const MOST_LINES: usize = 340;
/// And fewer bytes than a page, the smallest of which has these.
const PAGE: usize = 4096;

fn check_map(kind: Kind, map: &[IdMap]) -> Result<(), Error> {
    let words = |line: &IdMap| format!("{}:{}:{}", line.inside, line.outside, line.count);
    let wrong = |line: &IdMap, reason: &str| {
        Err(Error::Option(format!("{} {}", kind.option(), words(line)).into(), reason.into()))
    };
    let overlap = |a: u32, b: u32, line: &IdMap, other: &IdMap| {
        u64::from(a) < u64::from(b) + u64::from(other.count)
            && u64::from(b) < u64::from(a) + u64::from(line.count)
    };
    for (i, line) in map.iter().enumerate() {
        if line.count == 0 {
            return wrong(line, "a map has at least one id");
        }
        for (first, side) in [(line.inside, "inside"), (line.outside, "outside")] {
            if first.checked_add(line.count).is_none() {
                return wrong(line, &format!("the last id {side} would be more than 4294967294"));
            }
        }
        for other in &map[..i] {
            for (a, b, side) in
                [(line.inside, other.inside, "inside"), (line.outside, other.outside, "outside")]
            {
                if overlap(a, b, line, other) {
                    return wrong(line, &format!("has ids {side} that {} has too", words(other)));
                }
            }
        }
    }
    // Each line is written as it is spelled here, and with a line feed.
    let bytes: usize = map.iter().map(|line| words(line).len() + 1).sum();
    if map.len() > MOST_LINES || bytes >= PAGE {
        let reason = format!(
            "{} lines of {bytes} bytes are more than the {MOST_LINES} lines, or {} bytes, that the kernel takes",
            map.len(),
            PAGE - 1
        );
        return Err(Error::Option(kind.option().into(), reason));
    }
    Ok(())
}

/// Who init is inside: whom the map makes of the caller, or else root. And the capabilities that it must keep.
fn init_within(maps: &IdMaps, caller: &Caller, asked: Capabilities) -> Result<(InitIds, Vec<u32>), Error> {
    let is_mapped = |map: &[IdMap], own: u32| {
        map.iter()
            .find(|line| (line.outside..line.outside + line.count).contains(&own))
            .map(|line| line.inside + (own - line.outside))
    };
    let taken = |kind: Kind, map: &[IdMap], own| match is_mapped(map, own) {
        Some(_) => Ok(None),
        None if map.iter().any(|line| line.inside == 0) => Ok(Some(0)),
        None => Err(Error::Option(
            kind.option().into(),
            format!("PID 1 would be nobody: map 0 inside, or your own id ({own}) outside"),
        )),
    };
    let user = taken(Kind::Users, &maps.users, caller.uid)?;
    let group = taken(Kind::Groups, &maps.groups, caller.gid)?;
    let is_changed = user.is_some() || group.is_some();
    let uid = user.or_else(|| is_mapped(&maps.users, caller.uid));
    let capabilities = if uid == Some(0) { Vec::new() } else { init_capabilities(asked) };
    Ok((InitIds { user, group, leaves_groups: is_changed && !maps.deny_setgroups }, capabilities))
}

fn steps(
    options: &Options,
    caller: &Caller,
    layers: Option<&Layers>,
    has_root: bool,
) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::with_capacity(8);
    if !options.share.contains(&Share::Uts) {
        steps.push(Step::HostName(options.host_name.clone().unwrap_or_else(|| "container".into())));
    }
    steps.extend(options.domain_name.clone().map(Step::DomainName));
    if options.network == Network::None {
        steps.push(Step::LoopbackUp);
    }
    if options.time_namespace {
        steps.push(Step::TimeNamespace);
    }
    steps.push(Step::PrivateMounts);
    if options.no_user_namespaces {
        steps.push(Step::NoUserNamespaces);
    }
    steps.extend(files(options, caller, layers, has_root)?);
    if options.group == Group::Session {
        steps.push(Step::Pty { callers: caller.terminal.clone().map(PathBuf::into_os_string) });
    }
    // After the mounts, so that it is looked for where the workload will find it.
    steps.extend(Start::of(options).step(&caller.directory)?);
    Ok(steps)
}

/// The file system: first what it all stands on, then what every sandbox has, then what was asked for, in that order.
fn files(
    options: &Options,
    caller: &Caller,
    layers: Option<&Layers>,
    has_root: bool,
) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut rest = options.files.iter();
    if let Some(Layers { layout, kept }) = layers {
        steps.extend(volatile::steps(layout, kept.as_ref().map(|(kept, manifest)| (kept, manifest))));
    } else if let Some(root) = &options.root {
        let path = absolute(root.path.as_os_str(), caller)?;
        steps.push(Step::Root(Root::Directory { path, writable: root.writable }));
    } else if let Some(root) = options.files.first().and_then(root_of) {
        steps.push(Step::Root(match root {
            Root::Directory { path, writable } => {
                Root::Directory { path: absolute(&path, caller)?, writable }
            }
            Root::Overlay(overlay) => Root::Overlay(with_absolute_layers(overlay, caller)?),
            Root::Empty => Root::Empty,
        }));
        rest.next();
    }
    // What is on layers above the caller's `/` is the caller's still.
    let is_new = if layers.is_some() { options.root.is_some() } else { !steps.is_empty() };
    if options.read_only {
        steps.push(Step::ReadOnly);
    }
    // What a root outside does there is done to the whole machine, whatever else is read-only.
    let has_walls = options.read_only || options.volatile.is_some();
    let proc = FileSystem::Proc {
        masked: is_new || has_walls && has_root,
        hide_pids: options.proc.hide_pids,
        only_pids: options.proc.only_pids,
    };
    let everybodys = [
        Some((proc.clone(), "/proc")),
        (is_new || has_walls).then_some((FileSystem::Dev, "/dev")),
        match options.tmp {
            Tmp::Fresh { size } => Some((FileSystem::Tmpfs { size, mode: 0o1777 }, "/tmp")),
            Tmp::Callers => None,
        },
    ];
    for (what, at) in
        everybodys.into_iter().flatten().filter(|(what, at)| !comes_anyway(what, at, rest.as_slice()))
    {
        steps.push(Step::Mount { what, at: at.into() });
    }
    for step in rest {
        steps.push(match with_absolute_paths(step.clone(), caller)? {
            Step::Mount { at, .. } if at == "/" => {
                let reason = "only a directory, layers, or a tmpfs without a size can be mounted here, before all \
                              other mounts and without --rootfs; --bind . in / would be such a mount, too";
                return Err(Error::Option("/".into(), reason.into()));
            }
            Step::Mount { what: FileSystem::Proc { .. }, at } => Step::Mount { what: proc.clone(), at },
            Step::Mask(path) | Step::RemountReadOnly(path) if is_of_one_process(Path::new(&path)) => {
                let reason = "is another file for each process, and this would hold for PID 1's alone; for all, say \
                              --proc-mode";
                return Err(Error::Option(path, reason.into()));
            }
            step => step,
        });
    }
    if is_new || options.volatile.is_some() {
        steps.push(Step::EnterRoot);
    }
    Ok(steps)
}

/// Whether the first of these steps that has to do with this place mounts the same kind there, which would only cover it.
fn comes_anyway(what: &FileSystem, at: &str, steps: &[Step]) -> bool {
    let place = Path::new(at);
    let first = steps.iter().find(|step| Path::new(step.object()).starts_with(place));
    first.is_some_and(|step| match step {
        Step::Mount { what: other, at } => {
            Path::new(at) == place && discriminant(what) == discriminant(other)
        }
        _ => false,
    })
}

/// /proc/self and its like lead every process to its own directory.
fn is_of_one_process(path: &Path) -> bool {
    ["/proc/self", "/proc/thread-self"].iter().any(|own| path.starts_with(own))
}

/// A mount on `/` that comes before all others is a root of the sandbox's own.
fn root_of(first: &Step) -> Option<Root> {
    match first {
        Step::Mount { what, at } if at == "/" => match what {
            FileSystem::Bind { source: Source::Path(path), read_only, .. } => {
                Some(Root::Directory { path: path.clone(), writable: !read_only })
            }
            FileSystem::Overlay(overlay) => Some(Root::Overlay(overlay.clone())),
            FileSystem::Tmpfs { size: None, .. } => Some(Root::Empty),
            _ => None,
        },
        _ => None,
    }
}

/// Whether somebody inside can be the uid that is 0 outside.
fn has_root(maps: Option<&IdMaps>, caller: &Caller) -> bool {
    maps.map_or(caller.uid == 0, |maps| maps.users.iter().any(|map| map.outside == 0))
}

fn has_root_of_its_own(options: &Options) -> bool {
    options.root.is_some() || options.files.first().and_then(root_of).is_some()
}

/// Where the workload starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Start {
    /// In this directory; a relative one is one of the caller's.
    In(OsString),
    /// At the top of a root of its own.
    Top,
    /// In the caller's, which is to be found behind walls.
    Found,
    /// In the caller's.
    Kept,
}

impl Start {
    fn of(options: &Options) -> Self {
        let has_walls = options.volatile.is_some() || options.read_only || !options.files.is_empty();
        match &options.directory {
            Some(directory) => Self::In(directory.into()),
            None if has_root_of_its_own(options) => Self::Top,
            None if has_walls => Self::Found,
            None => Self::Kept,
        }
    }

    /// The step to it, from the caller's.
    fn step(&self, callers: &Result<Option<PathBuf>, Errno>) -> Result<Option<Step>, Error> {
        let here = || Ok(callers.clone().map_err(Error::WorkingDirectory)?.map(PathBuf::into_os_string));
        Ok(match self {
            Self::In(directory) => Some(Step::ChangeDirectory(absolute_from(callers, directory)?)),
            Self::Top => Some(Step::ChangeDirectory("/".into())),
            Self::Found => Some(match here()? {
                Some(path) => Step::FindDirectory(path),
                // Where it has no name, nothing tells that it lies inside the walls.
                None => Step::ChangeDirectory("/".into()),
            }),
            Self::Kept => here()?.map(Step::KeepDirectory),
        })
    }
}

fn with_absolute_paths(step: Step, caller: &Caller) -> Result<Step, Error> {
    let absolute = |path: OsString| absolute(&path, caller);
    Ok(match step {
        Step::Mount { what, at } => Step::Mount {
            what: match what {
                FileSystem::Bind { source: Source::Path(path), read_only, devices, optional } => {
                    FileSystem::Bind { source: Source::Path(absolute(path)?), read_only, devices, optional }
                }
                FileSystem::Overlay(overlay) => FileSystem::Overlay(with_absolute_layers(overlay, caller)?),
                what => what,
            },
            at: absolute(at)?,
        },
        Step::Directory { path, mode } => Step::Directory { path: absolute(path)?, mode },
        Step::Symlink { target, path } => Step::Symlink { target, path: absolute(path)? },
        Step::Mask(path) => Step::Mask(absolute(path)?),
        Step::RemountReadOnly(path) => Step::RemountReadOnly(absolute(path)?),
        step => step,
    })
}

fn with_absolute_layers(overlay: Overlay, caller: &Caller) -> Result<Overlay, Error> {
    let absolute = |path: OsString| absolute(&path, caller);
    Ok(Overlay {
        optional: overlay.optional,
        lower: overlay.lower.into_iter().map(absolute).collect::<Result<_, _>>()?,
        upper: match overlay.upper {
            Upper::Kept { upper, work } => Upper::Kept { upper: absolute(upper)?, work: absolute(work)? },
            upper => upper,
        },
    })
}

/// A relative path is one from the caller's directory, by its name: the directory itself may be hidden by a mount.
fn absolute(path: &OsStr, caller: &Caller) -> Result<OsString, Error> {
    absolute_from(&caller.directory, path)
}

fn absolute_from(directory: &Result<Option<PathBuf>, Errno>, path: &OsStr) -> Result<OsString, Error> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(path.into());
    }
    let directory = directory.clone().map_err(Error::WorkingDirectory)?.unwrap_or_else(|| "/".into());
    // Without the dots that stand for nothing; those that stand for a parent are the kernel's to follow.
    Ok(directory.join(path).components().collect::<PathBuf>().into())
}

/// What becomes of the caller's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Variables {
    clear: bool,
    unset: Vec<OsString>,
    set: Vec<(OsString, OsString)>,
    /// Whether init sets those of [`NOTIFY_VARIABLES`]; the caller's are its manager's.
    notifies: bool,
}

impl Variables {
    fn of(options: &Options) -> Self {
        Self {
            clear: options.clear_environment,
            unset: options.unset.clone(),
            set: options.set.clone(),
            notifies: options.ready == Ready::Notify || options.watchdog.is_some(),
        }
    }
}

/// Cleared, then unset, then set, as env(1) does.
fn environment(variables: &Variables, inherited: &[OsString]) -> Vec<OsString> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            uid: 1000,
            gid: 100,
            capabilities: 0,
            subordinate_ids: subids::Files::default(),
            directory: Ok(Some("/home/me".into())),
            environment: ["PATH=/bin", "A=1", "LAUNCH_LOG=debug"].map(Into::into).into(),
            terminal: Some("/dev/tty1".into()),
            signals: SignalState::default(),
            kernel: (6, 1),
            seccomp: seccomp::Choice::Default,
            log_level: 0,
            tree: None,
        }
    }

    fn root() -> Caller {
        Caller { uid: 0, gid: 0, capabilities: u64::MAX, ..caller() }
    }

    fn options() -> Options {
        Options { command: vec!["true".into()], ..Options::default() }
    }

    fn refused(options: &Options, caller: &Caller) -> String {
        plan(options, caller).unwrap_err().to_string()
    }

    fn health() -> HealthCheck {
        let second = Duration::from_secs(1);
        HealthCheck { command: "true".into(), interval: second, timeout: second, retries: 1, restarts: false }
    }

    #[test]
    fn whoever_is_the_caller_inside_can_reach_what_the_caller_can() {
        let user = Some(Account { user: Name::Id(0), group: None, groups: Vec::new() });
        for (options, caller, expected) in [
            (options(), caller(), Some(&["/proc", "/tmp"][..])),
            (options(), root(), Some(&["/proc", "/tmp"])),
            (Options { tmp: Tmp::Callers, ..options() }, caller(), Some(&["/proc"])),
            (Options { user, ..options() }, root(), None),
            (Options { read_only: true, ..options() }, caller(), None),
        ] {
            let plan = plan(&options, &caller).unwrap();
            let expected = expected.map(|paths| paths.iter().map(OsStr::new).collect());
            assert_eq!(plan.hides_only(), expected, "{options:?}");
        }
    }

    #[test]
    fn what_everybody_has_is_not_mounted_below_the_same_that_was_asked_for() {
        let mount = |what, at: &str| Step::Mount { what, at: at.into() };
        let tmpfs = |size| FileSystem::Tmpfs { size, mode: 0o755 };
        let mounted = |root: bool, files: Vec<Step>| -> Vec<String> {
            let root = root.then(|| RootDirectory { path: "/r".into(), writable: false });
            let plan = plan(&Options { root, files, ..options() }, &caller()).unwrap();
            let mounts = plan.init.steps.iter().filter(|step| matches!(step, Step::Mount { .. }));
            mounts.map(|step| step.object().display().to_string()).collect()
        };
        assert_eq!(mounted(true, vec![]), ["/proc", "/dev", "/tmp"]);
        assert_eq!(mounted(true, vec![mount(FileSystem::Dev, "/dev/")]), ["/proc", "/tmp", "/dev/"]);
        assert_eq!(mounted(false, vec![mount(tmpfs(Some(9)), "/tmp")]), ["/proc", "/tmp"]);
        assert_eq!(mounted(false, vec![mount(tmpfs(None), "/tmp/a")]), ["/proc", "/tmp", "/tmp/a"]);
        let below_first = vec![mount(tmpfs(None), "/tmp/a"), mount(tmpfs(None), "/tmp")];
        assert_eq!(mounted(false, below_first), ["/proc", "/tmp", "/tmp/a", "/tmp"]);
        assert_eq!(mounted(true, vec![mount(tmpfs(None), "/dev")]), ["/proc", "/dev", "/tmp", "/dev"]);
    }

    #[test]
    fn a_long_life_is_init_s_to_look_after() {
        let minute = Duration::from_secs(60);
        let options = Options {
            restart: Restart::Always,
            ready: Ready::Command("test -e /r".into()),
            ready_timeout: Some(minute),
            stop_signal: libc::SIGQUIT,
            kill_after: Some(minute),
            health: Some(health()),
            ..options()
        };
        let handoff::Plan { policy, probes, .. } = plan(&options, &caller()).unwrap().init;
        assert_eq!((policy.restart, policy.readiness), (Restart::Always, Readiness::Command));
        assert_eq!((policy.ready_timeout, policy.kill_after), (Some(minute), Some(minute)));
        assert_eq!(policy.health.map(|health| (health.retries, health.restarts)), Some((1, false)));
        assert_eq!(probes, Probes { ready: Some("test -e /r".into()), health: Some("true".into()) });
        assert!(policy.term_stops && policy.tells && policy.stop_signal == libc::SIGQUIT);
    }

    #[test]
    fn a_plain_launch_forwards_sigterm_and_is_told_nothing() {
        let policy = |options| plan(&options, &caller()).unwrap().init.policy;
        assert!(!policy(options()).term_stops && !policy(options()).tells);
        assert!(policy(Options { is_service: true, ..options() }).term_stops);
        assert!(policy(Options { tells: true, ..options() }).tells);
    }

    #[test]
    fn what_a_service_manager_tells_the_launcher_is_not_for_a_workload_that_has_a_socket_of_its_own() {
        let names = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
        let caller = Caller { environment: names.map(|name| format!("{name}=1").into()).into(), ..caller() };
        let environment = |options| plan(&options, &caller).unwrap().init.workload.environment;
        assert_eq!(environment(options()).len(), 3);
        assert!(environment(Options { ready: Ready::Notify, ..options() }).is_empty());
        assert!(environment(Options { watchdog: Some(Duration::from_secs(1)), ..options() }).is_empty());
        assert_eq!(environment(Options { ready: Ready::Descriptor(3), ..options() }).len(), 3);
    }

    #[test]
    fn what_makes_no_sense_of_a_long_life_is_refused() {
        let zero = Some(Duration::ZERO);
        let with = |change: fn(&mut HealthCheck)| {
            let mut health = health();
            change(&mut health);
            Options { health: Some(health), ..options() }
        };
        let on = |fd| Options { ready: Ready::Descriptor(fd), ..options() };
        let cases = [
            (
                Options { restart: Restart::Always, group: Group::Session, ..options() },
                "--restart: the terminal of --tty is one run's: leave one of the two out",
            ),
            (Options { stop_signal: 65, ..options() }, "--stop-signal: signals go from 1 to 64"),
            (on(2), "--ready: descriptor 2 is the workload's stdin, stdout or stderr"),
            (
                Options { keep: vec![5], ..on(5) },
                "--ready: descriptor 5 is one of the caller's that is handed on; choose another number",
            ),
            (Options { ready: Ready::Command("".into()), ..options() }, "--ready: exec: names no command"),
            (Options { ready_timeout: zero, ..on(3) }, "--ready-timeout: must be more than no time"),
            (
                Options { ready_timeout: Some(Duration::from_secs(1)), ..options() },
                "--ready-timeout: says nothing without --ready",
            ),
            (Options { watchdog: zero, ..options() }, "--watchdog: must be more than no time"),
            (with(|health| health.command.clear()), "--health-cmd: is empty"),
            (with(|health| health.interval = Duration::ZERO), "--health-interval: must be more than no time"),
            (with(|health| health.timeout = Duration::ZERO), "--health-timeout: must be more than no time"),
            (with(|health| health.retries = 0), "--health-retries: must be at least 1"),
        ];
        for (options, reason) in cases {
            assert_eq!(refused(&options, &caller()), format!("command line: {reason}"));
        }
    }

    #[test]
    fn the_default_is_the_tutorials_namespaces_and_steps() {
        let plan = plan(&options(), &caller()).unwrap();
        assert_eq!(names_of(plan.namespaces), "user, mount, uts, ipc, pid and cgroup");
        let steps: Vec<_> =
            plan.init.steps.iter().map(|step| (step.name(), step.object().to_str().unwrap())).collect();
        let expected = [
            ("host name", "container"),
            ("mount", "/"),
            ("mount", "/proc"),
            ("mount", "/tmp"),
            ("working directory", "/home/me"),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn every_namespace_but_mount_and_pid_can_be_shared_and_net_can_be_new() {
        let share = vec![Share::Uts, Share::Ipc, Share::Cgroup, Share::User];
        let shared = plan(&Options { share, ..options() }, &root()).unwrap();
        assert_eq!(names_of(shared.namespaces), "mount and pid");
        assert_eq!(shared.maps, None);
        assert!(shared.init_capabilities.is_empty());
        let net = plan(&Options { network: Network::None, ..options() }, &caller()).unwrap();
        assert_eq!(names_of(net.namespaces), "user, mount, uts, ipc, pid, cgroup and net");
        assert!(net.init.steps.contains(&Step::LoopbackUp));
    }

    #[test]
    fn the_caller_is_root_inside_or_who_it_asks_to_be() {
        let map = |identity| {
            let maps = plan(&Options { identity, ..options() }, &caller()).unwrap().maps.unwrap();
            let pair = |maps: &[IdMap]| (maps[0].inside, maps[0].outside);
            (pair(&maps.users), pair(&maps.groups))
        };
        assert_eq!(map(Identity::Root), ((0, 1000), (0, 100)));
        assert_eq!(map(Identity::Ids { uid: Some(7), gid: None }), ((7, 1000), (0, 100)));
        assert_eq!(map(Identity::Keep), ((1000, 1000), (100, 100)));
    }

    #[test]
    fn init_keeps_capabilities_of_its_own_only_where_its_exec_gives_it_none() {
        let kept = |identity| plan(&Options { identity, ..options() }, &caller()).unwrap().init_capabilities;
        assert!(kept(Identity::Root).is_empty());
        assert!(kept(Identity::Ids { uid: None, gid: Some(7) }).is_empty());
        assert_eq!(kept(Identity::Keep), INIT_CAPABILITIES);
        let asked = Capabilities { add: 1 << CAP_SETFCAP | 1 << CAP_KILL, drop: u64::MAX };
        let with = Options { identity: Identity::Keep, capabilities: asked, ..options() };
        let expected: Vec<_> = INIT_CAPABILITIES.into_iter().chain([CAP_SETFCAP]).collect();
        assert_eq!(plan(&with, &caller()).unwrap().init_capabilities, expected);
    }

    #[test]
    fn what_is_added_is_had_even_if_it_is_dropped_too() {
        let sets = |add, drop| {
            let options = Options { capabilities: Capabilities { add, drop }, ..options() };
            plan(&options, &caller()).unwrap().init.workload.capabilities.unwrap()
        };
        let own = |allowed, ambient| CapabilitySets { allowed, ambient };
        assert_eq!(sets(0, 0), own(DEFAULT_CAPABILITIES, 0));
        assert_eq!(sets(0, 1 << CAP_CHOWN), own(DEFAULT_CAPABILITIES & !1, 0));
        assert_eq!(sets(0, u64::MAX), own(0, 0));
        assert_eq!(sets(1 << CAP_SYS_ADMIN, u64::MAX), own(1 << CAP_SYS_ADMIN, 1 << CAP_SYS_ADMIN));
        assert_eq!(sets(1, 1), own(DEFAULT_CAPABILITIES, 1));
        assert_eq!(sets(u64::MAX, 1), own(u64::MAX, u64::MAX));
    }

    #[test]
    fn user_namespaces_are_forbidden_only_where_that_reaches_nobody_else_and_cannot_be_undone() {
        let none = Options { no_user_namespaces: true, ..options() };
        assert!(plan(&none, &caller()).unwrap().init.steps.contains(&Step::NoUserNamespaces));
        let shared = Options { share: vec![Share::User], ..none.clone() };
        assert!(refused(&shared, &root()).contains("the whole machine"));
        for add in [1 << CAP_SYS_RESOURCE, u64::MAX] {
            let undone = Options { capabilities: Capabilities { add, drop: 0 }, ..none.clone() };
            assert!(refused(&undone, &root()).contains("CAP_SYS_RESOURCE"));
        }
    }

    #[test]
    fn privileges_out_of_range_are_refused_and_the_last_limit_counts() {
        let user = |user, group, groups| Options { user: Some(Account { user, group, groups }), ..options() };
        let (own, none) = (Name::Id(1), Name::Id(u32::MAX));
        let limit = |soft, hard| Limit { resource: 7, soft, hard };
        for wrong in [
            user(none.clone(), None, vec![]),
            user(own.clone(), Some(none.clone()), vec![]),
            user(own.clone(), Some(own.clone()), vec![own, none]),
            Options { limits: vec![limit(2, 1)], ..options() },
            Options { oom_score: Some(1001), ..options() },
            Options { niceness: Some(-21), ..options() },
            Options { umask: Some(0o1000), ..options() },
        ] {
            assert!(plan(&wrong, &root()).is_err(), "{wrong:?}");
        }
        let twice = Options {
            limits: vec![limit(1, 1), Limit { resource: 4, ..limit(3, 3) }, limit(2, 2)],
            ..options()
        };
        let limits = plan(&twice, &caller()).unwrap().init.workload.limits;
        assert_eq!(limits, [Limit { resource: 4, ..limit(3, 3) }, limit(2, 2)]);
    }

    fn line(inside: u32, outside: u32, count: u32) -> IdMap {
        IdMap { inside, outside, count }
    }

    fn mapped(users: &[IdMap], groups: &[IdMap]) -> Options {
        Options { identity: Identity::Maps { users: users.into(), groups: groups.into() }, ..options() }
    }

    /// One with subordinate ids.
    fn trusted() -> Caller {
        let text = || Ok("me:100000:65536\n".into());
        let subordinate_ids = subids::Files {
            user_name: Some("me".into()),
            users: text(),
            groups: text(),
            ..subids::Files::default()
        };
        Caller { subordinate_ids, ..caller() }
    }

    #[test]
    fn maps_of_more_than_the_caller_are_written_by_helpers_but_for_root() {
        let maps = |options: &Options, caller: &Caller| plan(options, caller).unwrap().maps.unwrap();
        let auto = Options { identity: Identity::Auto, ..options() };
        let by_user = maps(&auto, &trusted());
        assert_eq!(by_user.users, [line(0, 1000, 1), line(1, 100000, 65536)]);
        assert_eq!(by_user.groups, [line(0, 100, 1), line(1, 100000, 65536)]);
        assert_eq!((by_user.users_by, by_user.groups_by), (Writer::Helper, Writer::Helper));
        assert!(!by_user.deny_setgroups);
        let users_only = mapped(&[line(0, 100000, 65536)], &[]);
        let by_user = maps(&users_only, &trusted());
        assert_eq!((by_user.users_by, by_user.groups_by), (Writer::Helper, Writer::Launcher));
        assert_eq!((by_user.groups.as_slice(), by_user.deny_setgroups), (&[line(0, 100, 1)][..], true));
        let by_root = maps(&mapped(&[line(0, 5, 10)], &[line(0, 7, 10)]), &root());
        assert_eq!((by_root.users_by, by_root.groups_by), (Writer::Launcher, Writer::Launcher));
        assert!(!by_root.deny_setgroups);
    }

    #[test]
    fn init_is_whom_the_map_makes_of_the_caller_or_else_root() {
        let init = |users: &[IdMap], groups: &[IdMap]| {
            let plan = plan(&mapped(users, groups), &root()).unwrap();
            let InitIds { user, group, leaves_groups } = plan.init_ids;
            ((user, group, leaves_groups), plan.init_capabilities.is_empty())
        };
        let far = line(0, 100000, 65536);
        assert_eq!(init(&[far], &[far]), ((Some(0), Some(0), true), true));
        assert_eq!(init(&[far], &[]), ((Some(0), None, true), true));
        assert_eq!(init(&[line(70000, 0, 1), far], &[]), ((None, None, false), false));
        assert_eq!(init(&[], &[far]), ((None, Some(0), true), true));
        assert!(
            refused(&mapped(&[line(1, 100000, 5)], &[]), &root())
                .starts_with("command line: --map-users: PID 1 would be nobody")
        );
        assert!(refused(&mapped(&[], &[line(1, 100000, 5)]), &root()).contains("--map-groups: PID 1"));
        let denied = plan(&mapped(&[line(0, 100000, 5)], &[]), &trusted()).unwrap();
        assert!(!denied.init_ids.leaves_groups);
    }

    #[test]
    fn what_the_kernel_would_refuse_of_a_map_is_named() {
        let refused = |users: &[IdMap]| refused(&mapped(users, &[]), &root());
        let last = u32::MAX - 1;
        assert!(
            plan(&mapped(&[line(0, 0, u32::MAX)], &[line(last, last, 1), line(0, 0, 1)]), &root()).is_ok()
        );
        assert_eq!(refused(&[line(0, 0, 0)]), "command line: --map-users 0:0:0: a map has at least one id");
        assert_eq!(
            refused(&[line(last, 0, 2)]),
            "command line: --map-users 4294967294:0:2: the last id inside would be more than 4294967294"
        );
        assert!(refused(&[line(0, last, 2)]).contains("the last id outside"));
        assert_eq!(
            refused(&[line(0, 0, 10), line(9, 20, 1)]),
            "command line: --map-users 9:20:1: has ids inside that 0:0:10 has too"
        );
        assert!(refused(&[line(10, 5, 10), line(0, 0, 6)]).contains("has ids outside that 10:5:10 has too"));
        let short: Vec<_> = (0..341).map(|i| line(i, i, 1)).collect();
        assert!(plan(&mapped(&short[..340], &[]), &root()).is_ok());
        assert!(refused(&short).starts_with("command line: --map-users: 341 lines of"));
        let long: Vec<_> =
            (0..200).map(|i| line(1_000_000_000 + i, i, 1)).chain([line(0, 1000, 1)]).collect();
        assert!(plan(&mapped(&long, &[]), &root()).is_ok());
        let longer: Vec<_> = (0..200)
            .map(|i| line(1_000_000_000 + i, 2_000_000_000 + i, 1))
            .chain([line(0, 1000, 1)])
            .collect();
        assert!(refused(&longer).contains("4095 bytes"));
    }

    #[test]
    fn a_user_of_no_passwd_file_is_known_by_user_unless_nothing_would_check_that() {
        let nameless = |capabilities| {
            let mut caller = Caller { capabilities, ..trusted() };
            caller.subordinate_ids.user_name = None;
            caller.environment.push("USER=me".into());
            caller
        };
        let auto = Options { identity: Identity::Auto, ..options() };
        assert!(plan(&auto, &nameless(0)).is_ok());
        assert!(refused(&auto, &nameless(u64::MAX)).contains("gives 1000 no ids"));
    }

    #[test]
    fn setgroups_is_given_up_only_by_those_who_have_no_right_to_it() {
        assert!(plan(&options(), &caller()).unwrap().maps.unwrap().deny_setgroups);
        assert!(!plan(&options(), &root()).unwrap().maps.unwrap().deny_setgroups);
    }

    #[test]
    fn names_of_wrong_length_or_with_nul_are_refused() {
        let with = |name: &str| Options { host_name: Some(name.into()), ..options() };
        assert!(plan(&with(&"x".repeat(64)), &caller()).is_ok());
        assert_eq!(
            refused(&with(&"x".repeat(65)), &caller()),
            "command line: --hostname: 65 bytes are more than the 64 a name may have"
        );
        assert_eq!(refused(&with(""), &caller()), "command line: --hostname: is empty");
        assert_eq!(refused(&with("a\0b"), &caller()), "command line: --hostname: has a NUL byte");
    }

    #[test]
    fn what_would_reach_outside_is_refused() {
        let share = |share| Options { share: vec![share], ..options() };
        assert!(refused(&share(Share::User), &caller()).contains("CAP_SYS_ADMIN"));
        let named = Options { host_name: Some("x".into()), ..share(Share::Uts) };
        assert!(refused(&named, &root()).contains("the caller's own"));
        let ids = Identity::Ids { uid: Some(7), gid: None };
        for identity in [ids, Identity::Auto, Identity::Maps { users: vec![], groups: vec![] }] {
            let chosen = Options { identity, ..share(Share::User) };
            assert!(refused(&chosen, &root()).contains("user namespace"));
        }
    }

    #[test]
    fn who_shares_the_callers_user_namespace_keeps_its_ids() {
        let share = Options { share: vec![Share::User], ..options() };
        let keep = Options { identity: Identity::Keep, ..share.clone() };
        assert_eq!(plan(&keep, &root()), plan(&share, &root()));
    }

    #[test]
    fn a_deleted_working_directory_matters_only_without_another() {
        let caller = Caller { directory: Err(Errno::ENOENT), ..caller() };
        assert_eq!(
            refused(&options(), &caller),
            "working directory: the caller's: it has been deleted; name another with --chdir"
        );
        assert!(plan(&Options { directory: Some("/".into()), ..options() }, &caller).is_ok());
    }

    #[test]
    fn the_environment_is_cleared_then_unset_then_set() {
        let variables = |options: &Options| environment(&Variables::of(options), &caller().environment);
        assert_eq!(variables(&options()), ["PATH=/bin", "A=1"]);
        let set = vec![("A".into(), "2".into()), ("B".into(), "".into()), ("A".into(), "3".into())];
        let options = Options { unset: vec!["PATH".into(), "B".into()], set, ..options() };
        assert_eq!(variables(&options), ["B=", "A=3"]);
        assert_eq!(variables(&Options { clear_environment: true, ..options }), ["B=", "A=3"]);
    }

    #[test]
    fn what_of_the_environment_has_no_name_or_no_value_is_handed_on_too() {
        let caller = Caller { environment: ["A", "=", "A=2", "B"].map(Into::into).into(), ..caller() };
        let variables = |options: &Options| environment(&Variables::of(options), &caller.environment);
        assert_eq!(variables(&options()), ["A", "=", "A=2", "B"]);
        assert_eq!(variables(&Options { unset: vec!["A".into()], ..options() }), ["=", "B"]);
    }
}
