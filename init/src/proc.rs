//! A proc that is mounted nowhere, so that nobody can cover a part of it or lead a path of it elsewhere: what init
//! reads there and writes there is the kernel's (CVE-2025-52881). See fsmount(2) and proc(5).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::sys;

/// The root of a proc of this PID namespace.
///
/// # Errors
/// EPERM: every proc that this mount namespace has is partly covered (mount_too_revealing in fs/namespace.c).
pub(crate) fn detached() -> Result<OwnedFd, Errno> {
    let context = sys::fsopen(c"proc")?;
    sys::fsconfig_create(context.as_fd())?;
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    sys::fsmount(context.as_fd(), attributes)
}

/// What a file of it says, by its path from the root, without links.
///
/// # Errors
/// As open(2) and read(2).
pub(crate) fn read(proc: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let mut text = String::new();
    open(proc, path, OFlag::O_RDONLY)?.read_to_string(&mut text).map_err(errno)?;
    Ok(text)
}

/// Writes to a file of it, at once.
///
/// # Errors
/// As open(2) and write(2); each file has its own reasons.
pub(crate) fn write(proc: BorrowedFd<'_>, path: &str, text: &str) -> Result<(), Errno> {
    open(proc, path, OFlag::O_WRONLY)?.write_all(text.as_bytes()).map_err(errno)
}

/// Lets nobody make a user namespace in this one, nor below it: the limit of an outer one holds for the inner ones
/// (namespaces(7), /proc/sys/user). Who would raise it again needs CAP_SYS_RESOURCE in here.
///
/// # Errors
/// As [`detached`] and [`write`].
pub(crate) fn forbid_user_namespaces() -> Result<(), Errno> {
    write(detached()?.as_fd(), "sys/user/max_user_namespaces", "0")
}

fn open(proc: BorrowedFd<'_>, path: &str, access: OFlag) -> Result<File, Errno> {
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(access | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(resolve);
    openat2(proc, path, how).map(File::from)
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
