//! What launcher and init say to each other: the plan one way, reports the other.
//!
//! Values only: no descriptor is read or written here. codec/ has their form on the channel. Both ends are usually
//! the same file, but `launch-init` is a program of its own too, so every frame names the version of its format.

#![forbid(unsafe_code)]

mod codec;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

pub use codec::{HEADER, Malformed, VERSION, body_length, first_body};

use crate::exit::Outcome;
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
    /// Whether [`Report::Started`] names the namespaces.
    pub report_namespaces: bool,
    /// Whether init is kept on one processor, until the workload has been executed.
    pub is_on_one_processor: bool,
    /// Whether the sandbox is made ahead: what is started comes later, as a [`Task`], and `workload` has what does not
    /// depend on it.
    pub ahead: bool,
}

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

/// One step of the set-up inside the new namespaces. Every path but a source's is one of the inside: it is resolved in
/// the root of the sandbox, out of which no symbolic link leads (openat2(2), RESOLVE_IN_ROOT).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// sethostname(2).
    HostName(OsString),
    /// setdomainname(2).
    DomainName(OsString),
    /// Set `lo` up in a network namespace of one's own.
    LoopbackUp,
    /// A time namespace for the workload and all that it starts; see time_namespaces(7).
    TimeNamespace,
    /// From here on no mount is propagated, in or out; see mount_namespaces(7).
    PrivateMounts,
    /// No further user namespaces inside: user.max_user_namespaces is 0 in this one. See namespaces(7).
    NoUserNamespaces,
    /// A root of the sandbox's own: the steps below are carried out in it. Without it, `/` is the caller's.
    Root(Root),
    /// The whole root, with all that is mounted below it, is read-only; see mount_setattr(2).
    ReadOnly,
    /// A mount; a missing mount point is made.
    Mount {
        /// What is mounted.
        what: FileSystem,
        /// The mount point.
        at: OsString,
    },
    /// A directory, with those above it that are missing. One that exists stays as it is.
    Directory {
        /// Where.
        path: OsString,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads; any text.
        target: OsString,
        /// Where it is.
        path: OsString,
    },
    /// A regular file like one of the caller's: with its content, time, permissions and, as far as possible, owner. One
    /// that is missing is none.
    Copy {
        /// In the caller's tree; not a symbolic link.
        source: OsString,
        /// Where it is; nothing is there yet.
        path: OsString,
    },
    /// Hides a file or directory behind an empty one that nobody but root may open. One that does not exist needs none.
    Mask(OsString),
    /// What is mounted on this path, or else the path itself, is read-only; what is mounted below stays as it is.
    RemountReadOnly(OsString),
    /// The sandbox's root becomes `/`, and the caller's is gone; see pivot_root(2).
    EnterRoot,
    /// A pseudo-terminal of the sandbox's own.
    Pty {
        /// The name of the caller's terminal, which is hidden.
        callers: Option<OsString>,
    },
    /// Start in this directory.
    ChangeDirectory(OsString),
    /// Start in the caller's directory, whose path was this, unless a mount has hidden it.
    KeepDirectory(OsString),
    /// Start in the directory that this path leads to inside, or else in `/`.
    FindDirectory(OsString),
}

/// The root of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// This directory of the caller's, with all that is mounted below it.
    Directory {
        /// Where the caller has it.
        path: OsString,
        /// Whether the workload may change it.
        writable: bool,
    },
    /// Layers.
    Overlay(Overlay),
    /// An empty tmpfs.
    Empty,
}

/// What a [`Step::Mount`] mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSystem {
    /// A file or directory of the caller's, with all that is mounted below it. Setuid bits have no effect there.
    Bind {
        /// What.
        source: Source,
        /// Whether nobody inside may write to it.
        read_only: bool,
        /// Whether device files work there.
        devices: bool,
        /// Whether a missing source is no error: nothing is mounted then.
        optional: bool,
    },
    /// An empty tmpfs(5).
    Tmpfs {
        /// The most that it holds, in bytes; none: the kernel's default, half of the memory.
        size: Option<u64>,
        /// The permissions of its root.
        mode: u32,
    },
    /// Layers; see the kernel's Documentation/filesystems/overlayfs.rst.
    Overlay(Overlay),
    /// The processes of the new PID namespace; see proc(5).
    Proc {
        /// Whether the parts that show or change the whole machine are hidden or read-only.
        masked: bool,
        /// hidepid=, 0 to 4, where it was asked for.
        hide_pids: Option<u8>,
        /// subset=pid: nothing but the processes.
        only_pids: bool,
    },
    /// A tmpfs with the devices that every program expects, a devpts instance of its own, and shm.
    Dev,
    /// The POSIX message queues of the IPC namespace; see mq_overview(7).
    MessageQueue,
    /// A regular file with the bytes that this descriptor of the caller's gives until its end.
    File {
        /// Its number.
        descriptor: i32,
    },
}

/// Layers of directories that appear as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Directories of the caller's; the first is the uppermost. Never empty.
    pub lower: Vec<OsString>,
    /// Whether a missing one of these is no error: nothing is mounted then.
    pub optional: bool,
    /// Where changes go.
    pub upper: Upper,
}

/// Where changes to an [`Overlay`] go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// Nowhere: it is read-only.
    None,
    /// To a tmpfs, and are gone with the sandbox.
    Discarded,
    /// To the first of two directories of the caller's on one file system.
    Kept {
        /// What was changed.
        upper: OsString,
        /// The kernel's own, empty.
        work: OsString,
    },
}

/// What is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path in the caller's tree.
    Path(OsString),
    /// What an open descriptor of the caller's stands for: its number.
    Descriptor(i32),
}

impl Step {
    /// What is done, as errors and logs name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::HostName(_) => "host name",
            Self::DomainName(_) => "domain name",
            Self::LoopbackUp => "network",
            Self::TimeNamespace => "time namespace",
            Self::NoUserNamespaces => "user namespaces",
            Self::PrivateMounts | Self::Mount { .. } => "mount",
            Self::Root(_) | Self::EnterRoot => "root",
            Self::ReadOnly | Self::RemountReadOnly(_) => "read-only",
            Self::Directory { .. } => "directory",
            Self::Symlink { .. } => "symbolic link",
            Self::Copy { .. } => "copy",
            Self::Mask(_) => "mask",
            Self::Pty { .. } => "terminal",
            Self::ChangeDirectory(_) | Self::KeepDirectory(_) | Self::FindDirectory(_) => "working directory",
        }
    }

    /// The number of the caller's descriptor that it is done with, if there is one.
    pub fn descriptor(&self) -> Option<i32> {
        match self {
            Self::Mount {
                what:
                    FileSystem::File { descriptor }
                    | FileSystem::Bind { source: Source::Descriptor(descriptor), .. },
                ..
            } => Some(*descriptor),
            _ => None,
        }
    }

    /// What it is done to, as errors and logs name it.
    pub fn object(&self) -> &OsStr {
        match self {
            Self::HostName(name) | Self::DomainName(name) => name,
            Self::LoopbackUp => OsStr::new("lo"),
            Self::TimeNamespace => OsStr::new("unshare"),
            Self::NoUserNamespaces => OsStr::new("user.max_user_namespaces"),
            Self::Root(Root::Directory { path, .. }) => path,
            Self::Root(Root::Overlay(_)) => OsStr::new("overlay"),
            Self::Root(Root::Empty) => OsStr::new("tmpfs"),
            Self::PrivateMounts | Self::ReadOnly | Self::EnterRoot => OsStr::new("/"),
            Self::Mount { at, .. } => at,
            Self::Pty { .. } => OsStr::new("/dev/pts"),
            Self::Directory { path, .. }
            | Self::Symlink { path, .. }
            | Self::Copy { path, .. }
            | Self::Mask(path)
            | Self::RemountReadOnly(path)
            | Self::ChangeDirectory(path)
            | Self::KeepDirectory(path)
            | Self::FindDirectory(path) => path,
        }
    }
}

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

/// The commands by which init learns how the workload is, for `/bin/sh -c`. They run as the workload does, in the same
/// environment and without a stdin; what they write goes nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    /// Whether it is ready ([`Readiness::Command`](crate::supervisor::Readiness)).
    pub ready: Option<OsString>,
    /// Whether it is healthy ([`Policy::health`]).
    pub health: Option<OsString>,
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
    /// ([`Step::Pty`]), or else of the one that stdin is, if that is free.
    Session,
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
    /// Everything is set up in a sandbox that was made ahead: init waits for the [`Task`].
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
