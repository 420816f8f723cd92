//! A /dev with what every program expects and no other device. Nodes cannot be made in a user namespace: they are the
//! caller's, each bound by itself.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::symlinkat;

use super::filesystems;
use super::problem::Problem;
use super::tree::{Kind, Tree};
use crate::sys;

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Mounts it; returns the devpts instance in it. No name in it is looked up anywhere else: nobody but us has it yet.
pub(super) fn mount(tree: &Tree, at: &OsStr, devices: &[(&str, OwnedFd)]) -> Result<OwnedFd, Problem> {
    let dev = filesystems::tmpfs(None, 0o755)?;
    let point = tree.find_or_make(at, Kind::Directory(Mode::from_bits_truncate(0o755)))?;
    tree.attach(dev.as_fd(), point.as_fd())?;
    for (name, target) in LINKS {
        symlinkat(target, &dev, name)?;
    }
    for (name, device) in devices {
        mknodat(&dev, *name, SFlag::S_IFREG, Mode::from_bits_truncate(0o666), 0)?;
        let node = openat(&dev, *name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        sys::move_mount(device.as_fd(), node.as_fd())?;
    }
    mkdirat(&dev, "shm", Mode::from_bits_truncate(0o1777))?;
    mkdirat(&dev, "pts", Mode::from_bits_truncate(0o755))?;
    let pts = openat(&dev, "pts", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let devpts = filesystems::devpts()?;
    sys::move_mount(devpts.as_fd(), pts.as_fd())?;
    Ok(devpts)
}
