//! What can be asked for: [`Options`], and the types of its fields.
//!
//! Values only, and any of them; checks.rs says which make no sense.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use launch_init::handoff::{Account, Group, Limit, Step};
use launch_init::supervisor::{LONGEST_DELAY, Readiness, Restart};

use super::IdMap;

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
    pub(super) fn split(&self) -> (Readiness, Option<OsString>) {
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
