//! A pseudo-terminal of the sandbox's own, out of a devpts instance of its own, so that no other terminal has a name
//! inside; see pty(7) and the kernel's Documentation/filesystems/devpts.rst.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use crate::sys;

/// Both ends.
#[derive(Debug)]
pub(crate) struct Pty {
    /// The launcher's: what is typed, and what is shown.
    pub(crate) master: OwnedFd,
    /// The workload's terminal.
    pub(crate) terminal: OwnedFd,
}

/// Makes it, and covers the caller's own terminal where that has a name outside of /dev/pts.
pub(super) fn make(callers: Option<&OsStr>) -> Result<Pty, Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=0620"))?;
    bind(OsStr::new("/dev/pts/ptmx"), OsStr::new("/dev/ptmx"))?;
    if let Some(callers) = callers.filter(|path| !std::path::Path::new(path).starts_with("/dev/pts")) {
        bind(OsStr::new("/dev/null"), callers)?;
    }
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open("/dev/pts/ptmx", flags | OFlag::O_NONBLOCK, Mode::empty())?;
    sys::unlock_pty(master.as_fd())?;
    let terminal = sys::open_pty_peer(master.as_fd(), flags.bits())?;
    Ok(Pty { master, terminal })
}

fn bind(source: &OsStr, target: &OsStr) -> Result<(), Errno> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}
