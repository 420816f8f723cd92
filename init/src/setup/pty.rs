//! A pseudo-terminal of the sandbox's own, out of a devpts instance of its own, so that no other terminal has a name
//! inside; see pty(7) and the kernel's Documentation/filesystems/devpts.rst.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::filesystems;
use super::problem::Problem;
use super::tree::{Kind, Tree, child};
use crate::sys;

/// Both ends.
#[derive(Debug)]
pub(crate) struct Pty {
    /// The launcher's: what is typed, and what is shown.
    pub(crate) master: OwnedFd,
    /// The workload's terminal.
    pub(crate) terminal: OwnedFd,
}

/// Makes it in the `devpts` of a fresh /dev, or else in one that is mounted now; and covers the caller's own terminal, a
/// path and what to cover it with, where that has a name outside of /dev/pts.
pub(super) fn make(
    tree: &Tree,
    devpts: Option<OwnedFd>,
    callers: Option<(&OsStr, OwnedFd)>,
) -> Result<Pty, Problem> {
    let devpts = match devpts {
        Some(devpts) => devpts,
        None => mount_devpts(tree)?,
    };
    if let Some((path, null)) = callers
        && !Path::new(path).starts_with("/dev/pts")
        && let Ok(point) = tree.find(path)
    {
        sys::move_mount(null.as_fd(), point.as_fd())?;
    }
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = child(devpts.as_fd(), "ptmx", flags | OFlag::O_NONBLOCK)?;
    sys::unlock_pty(master.as_fd())?;
    let terminal = sys::open_pty_peer(master.as_fd(), flags.bits())?;
    Ok(Pty { master, terminal })
}

fn mount_devpts(tree: &Tree) -> Result<OwnedFd, Problem> {
    let devpts = filesystems::devpts()?;
    let point =
        tree.find_or_make(OsStr::new("/dev/pts"), Kind::Directory(Mode::from_bits_truncate(0o755)))?;
    sys::move_mount(devpts.as_fd(), point.as_fd())?;
    // /dev/ptmx may be a device, which would make terminals of the caller's instance.
    let ptmx = child(devpts.as_fd(), "ptmx", OFlag::O_PATH)?;
    let copy = sys::clone_tree(Some(ptmx.as_fd()), c"")?;
    let point = tree.find_or_make(OsStr::new("/dev/ptmx"), Kind::File(Mode::from_bits_truncate(0o666)))?;
    sys::move_mount(copy.as_fd(), point.as_fd())?;
    Ok(devpts)
}
