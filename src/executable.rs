//! The file that becomes init, and how those inside are kept from writing to it.
//!
//! A root inside is the caller outside, and the caller may own this very file: a workload that had it executed (a script
//! that begins with `#!/proc/self/exe`) could open it through /proc/PID/exe, and what it wrote there would run outside
//! the next time (CVE-2019-5736). So init is executed from a mount of the file alone that is read-only, and no
//! descriptor that comes from it can be written to.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use launch_init::sys::{MOUNT_ATTR_RDONLY, clone_tree, mount_setattr};
use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::sys::stat::{FileStat, fstat, stat};

/// A file to be executed in the cloned child.
#[derive(Debug)]
pub struct Executable {
    file: OwnedFd,
    /// Where the child finds it, since only it has the right to mount: a caller without CAP_SYS_ADMIN has none.
    path: Option<CString>,
}

impl Executable {
    /// `file` may be one of O_PATH.
    ///
    /// # Errors
    /// ESTALE: the file is somewhere, but its path leads to another.
    pub fn new(file: OwnedFd) -> Result<Self, Errno> {
        match read_only(clone_tree(Some(file.as_fd()), c"")) {
            Ok(file) => return Ok(Self { file, path: None }),
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
        let status = fstat(&file)?;
        // No path leads to it any more, as after an upgrade, and while we run nobody can write to it (ETXTBSY).
        if status.st_nlink == 0 {
            return Ok(Self { file, path: None });
        }
        let path = readlink(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
        match stat(path.as_os_str()) {
            Ok(there) if is_same(&there, &status) => {
                let path = CString::new(OsStr::as_bytes(&path)).map_err(|_| Errno::EINVAL)?;
                Ok(Self { file, path: Some(path) })
            }
            _ => Err(Errno::ESTALE),
        }
    }

    /// What the child opens, besides what [`Self::protected`] does.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// In the child: the file through a read-only mount, if it isn't that already. Allocates nothing.
    ///
    /// # Errors
    /// ESTALE: another file has taken its place.
    pub(crate) fn protected(&self) -> Result<Option<OwnedFd>, Errno> {
        let Some(path) = &self.path else { return Ok(None) };
        let mount = read_only(clone_tree(None, path))?;
        if is_same(&fstat(&mount)?, &fstat(&self.file)?) { Ok(Some(mount)) } else { Err(Errno::ESTALE) }
    }
}

fn read_only(mount: Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    let mount = mount?;
    mount_setattr(mount.as_fd(), false, MOUNT_ATTR_RDONLY)?;
    Ok(mount)
}

fn is_same(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
