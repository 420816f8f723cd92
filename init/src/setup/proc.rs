//! /proc, and what of it is hidden or read-only in a root of the sandbox's own: the lists of the OCI runtimes.
//!
//! Those parts are found from the descriptor of the mount itself, never by a path of the tree: nothing that somebody
//! puts in the way can lead a mask or the reader of a sysctl elsewhere (CVE-2025-31133, CVE-2025-52881).

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use super::filesystems;
use super::problem::Problem;
use super::staging::Staging;
use super::tree::{Kind, Tree, child, is_directory};
use crate::sys::{self, MOUNT_ATTR_RDONLY};

const MASKED: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Mounts it.
pub(super) fn mount(
    tree: &Tree,
    at: &OsStr,
    masked: bool,
    (hide_pids, only_pids): (Option<u8>, bool),
    staging: &mut Staging,
) -> Result<(), Problem> {
    let proc = filesystems::proc(hide_pids, only_pids)?;
    let point = tree.find_or_make(at, Kind::Directory(Mode::from_bits_truncate(0o555)))?;
    tree.attach(proc.as_fd(), point.as_fd())?;
    if masked {
        mask(proc.as_fd(), staging)?;
    }
    Ok(())
}

fn mask(proc: BorrowedFd<'_>, staging: &mut Staging) -> Result<(), Problem> {
    for name in MASKED {
        // What this kernel does not have needs no mask.
        let Some(entry) = existing(child(proc, name, OFlag::O_PATH))? else { continue };
        let mask = staging.mask(is_directory(&fstat(&entry)?))?;
        sys::move_mount(mask.as_fd(), entry.as_fd()).map_err(Problem::about(name))?;
    }
    for name in READ_ONLY {
        let Some(entry) = existing(child(proc, name, OFlag::O_PATH))? else { continue };
        let copy = sys::clone_tree(Some(entry.as_fd()), c"").map_err(Problem::about(name))?;
        sys::mount_setattr(copy.as_fd(), true, MOUNT_ATTR_RDONLY)?;
        sys::move_mount(copy.as_fd(), entry.as_fd()).map_err(Problem::about(name))?;
    }
    Ok(())
}

fn existing<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::ENOENT) => Ok(None),
        found => found.map(Some),
    }
}
