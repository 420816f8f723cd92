//! The mounts that are made over the caller's own file system.

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// Nothing mounted here is seen outside, and nothing mounted outside appears here: what the workload sees is
/// settled now. See mount_namespaces(7).
pub(super) fn make_private() -> Result<(), Errno> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// EPERM: the caller's own /proc is partly covered, as in most containers, and the kernel allows no view of more
/// than it shows (mount_too_revealing in fs/namespace.c).
pub(super) fn mount_proc() -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
}

/// See tmpfs(5); `size` in bytes.
pub(super) fn mount_tmp(size: Option<u64>) -> Result<(), Errno> {
    let data = match size {
        Some(size) => format!("mode=1777,size={size}"),
        None => "mode=1777".into(),
    };
    mount(Some("tmp"), "/tmp", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(data.as_str()))
}
