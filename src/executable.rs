//! The file that becomes init, and how those inside are kept from writing to it.
//!
//! A root inside is the caller outside, and the caller may own this very file: a workload that had it executed (a script
//! that begins with `#!/proc/self/exe`) could open it through /proc/PID/exe, and what it wrote there would run outside
//! the next time (CVE-2019-5736). So init is executed from a mount of the file alone that is read-only, and no
//! descriptor that comes from it can be written to. Where those inside can reach the file by its path just as well, which
//! they can unless the sandbox hides something, that would keep them from nothing.

#![forbid(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use launch_init::sys::{MOUNT_ATTR_RDONLY, clone_tree, mount_setattr};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, readlink};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, stat};
use nix::unistd::geteuid;

use crate::sandbox::above_stdio;
use crate::sys::InitFile;

/// By its owner, its group and everybody else.
const EXECUTABLE: u32 = 0o111;

/// The file that this process executes. Its child executes the same until its exec, and finds it here too.
pub(crate) const OWN: &CStr = match CStr::from_bytes_with_nul(&OWN_BYTES) {
    Ok(path) => path,
    Err(_) => unreachable!(),
};
/// It has a name, so that the linker can lay it where a start reads (scripts/order): all literals of C are in a place of their own.
static OWN_BYTES: [u8; 15] = *b"/proc/self/exe\0";

/// A file to be executed in the cloned child.
#[derive(Debug)]
pub struct Executable {
    /// None: [`OWN`].
    file: Option<OwnedFd>,
    /// Where the child finds it, since only it has the right to mount: a caller without CAP_SYS_ADMIN has none.
    path: Option<CString>,
}

impl Executable {
    /// The file that this process executes, if those inside could write to it by its path too; see [`Self::for_sandbox`]. It is
    /// not even opened.
    pub(crate) fn own(hidden: &[&OsStr]) -> Option<Self> {
        let link = OsStr::from_bytes(OWN.to_bytes());
        is_reachable(Path::new(link), hidden).then_some(Self { file: None, path: None })
    }

    /// The file, with what protects it where those inside could not write to it by its path either. They can reach any file
    /// that the caller's user can but those below the directories `hidden`; none: there may be others that they cannot reach.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_sandbox(file: OwnedFd, hidden: Option<&[&OsStr]>) -> Result<Self, Errno> {
        match hidden {
            Some(hidden) if is_reachable(&link_to(file.as_fd()), hidden) => Ok(Self::open(file)),
            _ => Self::new(file),
        }
    }

    /// `file` may be one of O_PATH.
    ///
    /// # Errors
    /// ESTALE: the file is somewhere, but its path leads to another.
    pub fn new(file: OwnedFd) -> Result<Self, Errno> {
        let errno = match read_only(clone_tree(Some(file.as_fd()), c"")) {
            // Its number shall be in nobody's way either.
            Ok(file) => return Ok(Self::open(above_stdio(file)?)),
            Err(errno) => errno,
        };
        let status = fstat(&file)?;
        // No path leads to it (any more), as after an upgrade or where it is in memory alone (memfd_create(2)), of which no
        // mount can be made (EINVAL); and while we run nobody can write to it (ETXTBSY).
        if status.st_nlink == 0 {
            return Ok(Self::open(file));
        }
        if errno != Errno::EPERM {
            return Err(errno);
        }
        let path = readlink(&link_to(file.as_fd()))?;
        match stat(path.as_os_str()) {
            Ok(there) if is_same(&there, &status) => {
                let path = CString::new(OsStr::as_bytes(&path)).map_err(|_| Errno::EINVAL)?;
                Ok(Self { file: Some(file), path: Some(path) })
            }
            _ => Err(Errno::ESTALE),
        }
    }

    /// The same for a process that others are inside with before it is executed: an ordinary caller's, which cannot make a
    /// mount of its own there, is executed from a copy in memory that nobody can change (memfd_create(2), F_SEAL_WRITE).
    ///
    /// # Errors
    /// EACCES: the file cannot be read.
    pub fn for_joining(file: OwnedFd) -> Result<Self, Errno> {
        let file = match read_only(clone_tree(Some(file.as_fd()), c"")) {
            Err(Errno::EPERM) => sealed_copy(file.as_fd())?,
            file => file?,
        };
        Ok(Self::open(file))
    }

    fn open(file: OwnedFd) -> Self {
        Self { file: Some(file), path: None }
    }

    /// Whether its owner may execute it still: a root inside may have said otherwise of a copy in memory.
    pub(crate) fn is_executable(&self) -> bool {
        let status = self.file.as_ref().map(fstat);
        status.is_none_or(|status| status.is_ok_and(|it| it.st_mode & EXECUTABLE == EXECUTABLE))
    }

    /// The file itself, if it had to be opened.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// The file, for who is to keep it open.
    pub(crate) fn into_file(self) -> Option<OwnedFd> {
        self.file
    }

    /// What the child executes.
    pub(crate) fn in_image(&self) -> InitFile {
        match (&self.file, &self.path) {
            (None, _) => InitFile::Own,
            (Some(file), None) => InitFile::Open(file.as_raw_fd()),
            (Some(file), Some(path)) => InitFile::Protected(file.as_raw_fd(), path.clone()),
        }
    }
}

/// In the child: the file, which `path` leads to, through a read-only mount. Allocates nothing.
///
/// # Errors
/// ESTALE: another file has taken its place.
pub(crate) fn protected(path: &CStr, file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mount = read_only(clone_tree(None, path))?;
    if is_same(&fstat(&mount)?, &fstat(file)?) { Ok(mount) } else { Err(Errno::ESTALE) }
}

/// Whether the path of the file behind `link`, one of /proc, leads to it for the caller's user, also without capabilities: a
/// root inside has none over what is another user's.
fn is_reachable(link: &Path, hidden: &[&OsStr]) -> bool {
    let Ok(path) = std::fs::read_link(link) else { return false };
    let is_there = || stat(&path).is_ok_and(|there| stat(link).is_ok_and(|own| is_same(&own, &there)));
    if hidden.iter().any(|directory| path.starts_with(directory)) || !is_there() {
        return false;
    }
    // A mount goes where links lead to. /proc is that of the link, in which lie no programs.
    let hidden = hidden.iter().filter(|directory| **directory != "/proc");
    let hidden: Vec<_> = hidden.filter_map(|directory| stat(*directory).ok()).collect();
    path.ancestors().skip(1).all(|directory| {
        stat(directory).is_ok_and(|status| {
            let is_hidden = hidden.iter().any(|hidden| is_same(hidden, &status));
            !is_hidden
                && (status.st_mode & EXECUTABLE == EXECUTABLE || may_search(&status, geteuid().as_raw()))
        })
    })
}

/// Whether a user may search a directory by its owner's bits, or is sure to by those of its group and of others.
fn may_search(directory: &FileStat, user: u32) -> bool {
    let needed = if directory.st_uid == user { 0o100 } else { 0o011 };
    directory.st_mode & needed == needed
}

fn link_to(file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn sealed_copy(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let open = |fd: BorrowedFd<'_>| {
        nix::fcntl::open(&link_to(fd), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
    };
    let mut original = File::from(open(file)?);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Linux 6.3 wants to be told, and may be set to refuse (vm.memfd_noexec); one before knows of nothing else.
    let copy = match memfd_create(c"launch", flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(c"launch", flags)?,
        copy => copy?,
    };
    let mut copy = File::from(copy);
    std::io::copy(&mut original, &mut copy)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    // For everybody inside, whoever that is.
    fchmod(&copy, Mode::from_bits_truncate(0o555))?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    // What is open for writing is not executed (ETXTBSY).
    above_stdio(open(copy.as_fd())?)
}

fn read_only(mount: Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    let mount = mount?;
    mount_setattr(mount.as_fd(), false, MOUNT_ATTR_RDONLY)?;
    Ok(mount)
}

fn is_same(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_reachable_where_its_path_leads_to_it_and_is_not_below_what_is_hidden() {
        // Whose temporary folder may not be searched by others is its owner, as we are.
        let folder = tempfile::tempdir_in("/tmp").expect("folder");
        let (path, link) = (folder.path().join("real/file"), folder.path().join("link"));
        std::fs::create_dir(folder.path().join("real")).expect("directory");
        std::os::unix::fs::symlink("real", &link).expect("link");
        std::fs::write(&path, "").expect("file");
        let file = File::open(&path).expect("file");
        let is_reachable = |hidden: &[&OsStr]| is_reachable(&link_to(file.as_fd()), hidden);
        assert!(is_reachable(&[]));
        assert!(is_reachable(&["/proc".as_ref(), "/tmp/none".as_ref()]));
        assert!(!is_reachable(&["/tmp".as_ref()]));
        assert!(!is_reachable(&[link.as_os_str()]), "a mount goes to where the link leads to");
        std::fs::write(folder.path().join("other"), "").expect("file");
        std::fs::hard_link(&path, folder.path().join("kept")).expect("link");
        std::fs::rename(folder.path().join("other"), &path).expect("rename");
        std::fs::remove_file(folder.path().join("kept")).expect("remove");
        assert!(!is_reachable(&[]), "another file has its name");
    }

    #[test]
    fn a_directory_may_be_searched_by_its_owner_or_by_group_and_others() {
        for (owner, mode, user, expected) in [
            (0, 0o755, 0, true),
            (0, 0o700, 0, true),
            (0, 0o677, 0, false),
            (1000, 0o700, 0, false),
            (1000, 0o750, 0, false),
            (1000, 0o701, 0, false),
            (1000, 0o711, 0, true),
            (1000, 0o700, 1000, true),
        ] {
            let mut status = stat("/").expect("/");
            (status.st_uid, status.st_mode) = (owner, mode);
            assert_eq!(may_search(&status, user), expected, "{owner} {mode:o} {user}");
        }
    }
}
