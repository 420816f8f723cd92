//! New file systems, each a mount that is attached nowhere yet; see fsopen(2).
//!
//! Where they go is tree.rs's to find.

#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::problem::Problem;
use crate::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID};

/// A file system that is being configured.
struct New {
    context: OwnedFd,
}

impl New {
    fn open(kind: &CStr) -> Result<Self, Problem> {
        let context = sys::fsopen(kind).map_err(|errno| match errno {
            Errno::ENODEV => Problem {
                errno,
                detail: format!("this kernel has no file system {}", kind.to_string_lossy()),
            },
            errno => errno.into(),
        })?;
        Ok(Self { context })
    }

    fn set(&self, key: &CStr, value: &str) -> Result<(), Problem> {
        let value = CString::new(value).map_err(|_| Errno::EINVAL)?;
        sys::fsconfig_string(self.context.as_fd(), key, &value).map_err(|errno| self.explained(errno))
    }

    fn flag(&self, key: &CStr) -> Result<(), Problem> {
        sys::fsconfig_flag(self.context.as_fd(), key).map_err(|errno| self.explained(errno))
    }

    fn mount(self, attributes: u64) -> Result<OwnedFd, Problem> {
        let context = self.context.as_fd();
        sys::fsconfig_create(context)
            .and_then(|()| sys::fsmount(context, attributes))
            .map_err(|errno| self.explained(errno))
    }

    /// With what the file system has to say about it: fsopen(2), "the message retrieval interface".
    fn explained(&self, errno: Errno) -> Problem {
        let mut line = [0; 512];
        let mut said = Vec::new();
        while let Ok(length @ 1..) = nix::unistd::read(&self.context, &mut line) {
            let text = String::from_utf8_lossy(&line[..length]);
            if let Some(text) = text.strip_prefix("e ") {
                said.push(text.trim_end().to_owned());
            }
        }
        if said.is_empty() {
            return errno.into();
        }
        Problem { errno, detail: format!("{}: {}", said.join("; "), errno.desc()) }
    }
}

/// See tmpfs(5); `size` in bytes.
pub(super) fn tmpfs(size: Option<u64>, mode: u32) -> Result<OwnedFd, Problem> {
    let new = New::open(c"tmpfs")?;
    new.set(c"source", "tmpfs")?;
    new.set(c"mode", &format!("{mode:o}"))?;
    if let Some(size) = size {
        new.set(c"size", &size.to_string())?;
    }
    new.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
}

/// See proc(5).
///
/// EPERM: the caller's own /proc is partly covered, as in most containers, and the kernel allows no view of more than it
/// shows (mount_too_revealing in fs/namespace.c).
pub(crate) fn proc(hide_pids: Option<u8>, only_pids: bool) -> Result<OwnedFd, Problem> {
    let new = New::open(c"proc")?;
    new.set(c"source", "proc")?;
    if let Some(mode) = hide_pids {
        new.set(c"hidepid", &mode.to_string())?;
    }
    if only_pids {
        new.set(c"subset", "pid")?;
    }
    let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    // What the kernel has to say of it ("Mount too revealing") is the launcher's hint's to explain.
    new.mount(attributes).map_err(|problem| problem.errno.into())
}

/// An instance that shares no terminal with any other; see the kernel's Documentation/filesystems/devpts.rst.
pub(super) fn devpts() -> Result<OwnedFd, Problem> {
    let new = New::open(c"devpts")?;
    new.set(c"source", "devpts")?;
    new.flag(c"newinstance")?;
    new.set(c"ptmxmode", "0666")?;
    new.set(c"mode", "0620")?;
    new.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
}

/// See mq_overview(7).
pub(super) fn message_queues() -> Result<OwnedFd, Problem> {
    let new = New::open(c"mqueue")?;
    new.set(c"source", "mqueue")?;
    new.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
}

/// The directories of an overlay, opened; see the kernel's Documentation/filesystems/overlayfs.rst.
pub(super) struct Layers<'a> {
    /// The uppermost first.
    pub(super) lower: &'a [OwnedFd],
    /// Upper and work; without, it is read-only.
    pub(super) upper: Option<(&'a OwnedFd, &'a OwnedFd)>,
}

/// The layers are named by their descriptors, so that no byte of a path means anything to the parser of options.
pub(super) fn overlay(layers: &Layers<'_>) -> Result<OwnedFd, Problem> {
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let new = New::open(c"overlay")?;
    new.set(c"source", "overlay")?;
    new.set(c"lowerdir", &layers.lower.iter().map(name).collect::<Vec<_>>().join(":"))?;
    if let Some((upper, work)) = layers.upper {
        new.set(c"upperdir", &name(upper))?;
        new.set(c"workdir", &name(work))?;
        // What would be in trusted.* needs CAP_SYS_ADMIN outside of every user namespace.
        new.flag(c"userxattr")?;
    }
    new.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV).map_err(|problem| match problem {
        Problem { errno, detail } if detail.is_empty() => {
            let detail = format!("{} (overlayfs says why in the kernel's log alone: dmesg)", errno.desc());
            Problem { errno, detail }
        }
        problem => problem,
    })
}
