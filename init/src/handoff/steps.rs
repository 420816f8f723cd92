//! The steps of the set-up, and what they mount.
//!
//! In which order they come, the launcher decides; how each is done, setup/ knows.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};

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
