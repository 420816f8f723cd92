//! A pseudo-terminal of the sandbox's own, out of a devpts instance of its own, so that no other terminal has a name
//! inside; see pty(7) and the kernel's Documentation/filesystems/devpts.rst.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::getpid;

use super::filesystems;
use super::problem::Problem;
use super::tree::{Kind, Tree, child, directory_inside};
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
    with_terminal(master, flags)
}

/// Makes one in a sandbox that runs, for who has entered it: in the devpts that the inside has at /dev/pts or goes with its
/// /dev/ptmx, or else in one that nobody has mounted. Somebody inside may have put anything there, so that nothing is
/// opened before it is known what it is. `proc` is the outside's.
pub(crate) fn of_sandbox(proc: BorrowedFd<'_>) -> Result<Pty, Problem> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = match master_by_devpts().or_else(|_| master_by_device(proc)) {
        Ok(master) => master,
        Err(_) => child(filesystems::devpts()?.as_fd(), "ptmx", flags | OFlag::O_NONBLOCK)?,
    };
    with_terminal(master, flags)
}

/// The other end too. It has the size of the caller's terminal, if stdin is one, before anybody can ask for it; that of a window
/// which changes is the launcher's to pass on.
fn with_terminal(master: OwnedFd, flags: OFlag) -> Result<Pty, Problem> {
    sys::unlock_pty(master.as_fd())?;
    if let Ok(size) = sys::window_size(std::io::stdin().as_fd()) {
        sys::set_window_size(master.as_fd(), size)?;
    }
    let terminal = sys::open_pty_peer(master.as_fd(), flags.bits())?;
    Ok(Pty { master, terminal })
}

/// In a devpts nobody can make a file, and nothing that is mounted there is opened ([`child`]).
fn master_by_devpts() -> Result<OwnedFd, Errno> {
    let directory = directory_inside(OsStr::new("/dev/pts"))?;
    if fstatfs(&directory)?.filesystem_type() != FsType(libc::DEVPTS_SUPER_MAGIC as _) {
        return Err(Errno::ENODEV);
    }
    child(directory.as_fd(), "ptmx", OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
}

/// The device, or the link to one in a devpts, as Debian has it: that of the devpts is not for everybody there.
fn master_by_device(proc: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let how =
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let named = openat2(AT_FDCWD, "/dev/ptmx", how)?;
    let status = fstat(&named)?;
    let is_device = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    // devices.txt of the kernel: 5 char, 2 = /dev/ptmx.
    if !is_device || status.st_rdev != makedev(5, 2) {
        return Err(Errno::ENODEV);
    }
    // By our own number: /proc/self is not in a proc that is no mount of this namespace.
    let path = format!("{}/fd/{}", getpid(), named.as_raw_fd());
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    openat(proc, path.as_str(), flags, Mode::empty())
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
    // Or a link to this one, which shall not be covered: it could not be opened any more without crossing a mount.
    if sys::mount_and_inode(point.as_fd())? == sys::mount_and_inode(ptmx.as_fd())? {
        return Ok(devpts);
    }
    sys::move_mount(copy.as_fd(), point.as_fd())?;
    Ok(devpts)
}
