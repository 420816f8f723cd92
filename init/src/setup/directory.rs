//! The directory in which the workload starts.

#![forbid(unsafe_code)]

use std::ffi::OsStr;

use nix::errno::Errno;
use nix::sys::stat::{fstat, stat};
use nix::unistd::{chdir, fchdir};

use super::problem::Problem;
use super::tree::{directory_inside, too_many_links};

/// Goes to the directory that `path` leads to inside.
pub(super) fn change(path: &OsStr) -> Result<(), Problem> {
    match directory_inside(path) {
        Err(Errno::ELOOP) => Err(too_many_links()),
        directory => Ok(fchdir(&directory?)?),
    }
}

/// Goes to the directory that `path` leads to inside, or else to `/`.
pub(super) fn find(path: &OsStr) -> Result<(), Problem> {
    match change(path) {
        Ok(()) => Ok(()),
        Err(Problem { errno, .. }) => {
            log::warn!(
                "working directory: {}: not to be had inside ({}), starting in /",
                path.display(),
                errno.desc()
            );
            Ok(chdir("/")?)
        }
    }
}

/// Stays in the caller's directory if `path` still leads to it. If not, a fresh mount hides it, and the workload
/// would work in a directory that nothing else inside can name: then it starts in `/`.
pub(super) fn keep(path: &OsStr) -> Result<(), Errno> {
    let here = match stat(".") {
        Ok(here) => here,
        // One that we may not search, as root's of somebody else's home; so may not the workload.
        Err(Errno::EACCES) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    match stat(path) {
        Ok(there) if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) => Ok(()),
        // The caller may be in a directory whose parents it may not search; so may the workload.
        Err(Errno::EACCES) => Ok(()),
        Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => start_in_root(path),
        Err(errno) => Err(errno),
    }
}

/// [`keep`] for who is not in the caller's directory, which is the inode `here` of its device: goes there, if `path` still
/// leads to it.
pub(super) fn go_back(path: &OsStr, here: (u64, u64)) -> Result<(), Problem> {
    match directory_inside(path) {
        Ok(directory) => {
            let there = fstat(&directory)?;
            if (there.st_dev, there.st_ino) == here {
                Ok(fchdir(&directory)?)
            } else {
                Ok(start_in_root(path)?)
            }
        }
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(start_in_root(path)?),
        // Unlike the caller, nobody is in it already.
        Err(_) => find(path),
    }
}

fn start_in_root(path: &OsStr) -> Result<(), Errno> {
    log::warn!("working directory: {}: hidden by a fresh mount, starting in /", path.display());
    chdir("/")
}
