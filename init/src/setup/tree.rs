//! The tree in which a sandbox's files are set up: its root, and how a path in it is found or made.
//!
//! Whoever filled the tree may be hostile, and may change it meanwhile. So a path is resolved by the kernel inside the
//! root (openat2(2), RESOLVE_IN_ROOT), once, and what is found is only used by its descriptor.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, futimens, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, symlinkat};

use super::problem::Problem;
use super::staging::copy;
use crate::sys;

/// As many symbolic links as the kernel follows in one path; path_resolution(7).
const MOST_LINKS: usize = 40;
/// Of directories on the way to what is wanted.
const DIRECTORY: Mode = Mode::from_bits_truncate(0o755);

/// What is to be made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory(Mode),
    File(Mode),
}

impl Kind {
    /// A mount point for something of this status. Nobody but its owner may ever write to the mount point itself.
    pub(super) fn of(status: &FileStat) -> Self {
        let mode = Mode::from_bits_truncate(status.st_mode) & DIRECTORY;
        if is_directory(status) { Self::Directory(mode) } else { Self::File(mode) }
    }
}

pub(super) fn is_directory(status: &FileStat) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// A root with all that is mounted in it.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// The same files through a mount that is still writable, where the root is read-only: a missing mount point is
    /// made through it.
    maker: Option<OwnedFd>,
}

impl Tree {
    /// The caller's own.
    pub(super) fn callers() -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self::new(open("/", flags, Mode::empty())?))
    }

    /// The one with this root.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, maker: None }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Its files through a mount that is still writable, if there is one.
    pub(super) fn maker(&self) -> Option<BorrowedFd<'_>> {
        self.maker.as_ref().map(AsFd::as_fd)
    }

    /// Nobody can write to it from now on, nor to anything that is mounted in it now. No device in it works either: a
    /// read-only mount keeps nobody from writing to one.
    pub(super) fn make_read_only(&mut self) -> Result<(), Errno> {
        if self.maker.is_none() {
            self.maker = Some(sys::clone_tree(Some(self.root()), c"")?);
        }
        sys::mount_setattr(self.root(), true, sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NODEV)
    }

    /// Attaches a mount that nobody has yet at `point`, which was found in the tree. Nothing can be attached to its root: no
    /// lookup from there would go through it. Of a mount of the wrong kind move_mount(2) says no more than EINVAL.
    pub(super) fn attach(&self, mount: BorrowedFd<'_>, point: BorrowedFd<'_>) -> Result<(), Problem> {
        if sys::mount_and_inode(point)? == sys::mount_and_inode(self.root())? {
            return Err(Problem::new("this is the root directory, which nothing can be mounted on any more"));
        }
        match (is_directory(&fstat(mount)?), is_directory(&fstat(point)?)) {
            (true, false) => Err(Problem::new("a directory cannot be mounted on a file")),
            (false, true) => Err(Problem::new("a file cannot be mounted on a directory")),
            _ => Ok(sys::move_mount(mount, point)?),
        }
    }

    /// What is at `path`, links followed.
    pub(super) fn find(&self, path: &OsStr) -> Result<OwnedFd, Errno> {
        open_in(self.root(), path, OFlag::O_PATH)
    }

    /// What is at `path`, links followed; if nothing is, it is made, with the directories above it.
    pub(super) fn find_or_make(&self, path: &OsStr, kind: Kind) -> Result<OwnedFd, Problem> {
        let mut path = PathBuf::from(path);
        for _ in 0..MOST_LINKS {
            match self.find(path.as_os_str()) {
                Err(Errno::ENOENT) => {}
                Err(Errno::ELOOP) => return Err(too_many_links()),
                found => return found.map_err(Problem::from),
            }
            match self.make(&path, kind)? {
                Made::Whole => {}
                Made::LinkLeadsTo(other) => path = other,
            }
        }
        Err(too_many_links())
    }

    /// Makes a symbolic link; one that is there already and leads to the same is fine.
    pub(super) fn make_link(&self, target: &OsStr, path: &OsStr) -> Result<(), Problem> {
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EEXIST.into());
        };
        let directory = self.find_or_make(parent.as_os_str(), Kind::Directory(DIRECTORY))?;
        match self.writable(directory.as_fd(), parent, |parent| symlinkat(target, parent, name)) {
            Err(Errno::EEXIST) if readlinkat(&directory, name).is_ok_and(|there| there == target) => Ok(()),
            other => other.map_err(Problem::from),
        }
    }

    /// Makes a regular file like another one, which must not be there.
    pub(super) fn make_copy(&self, original: OwnedFd, path: &OsStr) -> Result<(), Problem> {
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EEXIST.into());
        };
        let directory = self.find_or_make(parent.as_os_str(), Kind::Directory(DIRECTORY))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut new = File::from(openat(&directory, name, flags, Mode::from_bits_truncate(0o600))?);
        let like = fstat(&original)?;
        copy(&mut File::from(original), &mut new, None)?;
        // EINVAL, EPERM: an owner that has no id inside stays root.
        let _ = fchown(&new, Some(Uid::from_raw(like.st_uid)), Some(Gid::from_raw(like.st_gid)));
        fchmod(&new, Mode::from_bits_truncate(like.st_mode & 0o1777))?;
        let moment = |seconds, nanoseconds| TimeSpec::new(seconds, nanoseconds);
        futimens(
            &new,
            &moment(like.st_atime, like.st_atime_nsec),
            &moment(like.st_mtime, like.st_mtime_nsec),
        )?;
        Ok(())
    }

    /// Makes what is missing of a path, from its first missing part on.
    fn make(&self, path: &Path, kind: Kind) -> Result<Made, Problem> {
        let mut parent = PathBuf::from("/");
        let parts: Vec<_> = path.components().filter(|part| *part != Component::RootDir).collect();
        for (i, part) in parts.iter().enumerate() {
            let here = parent.join(part);
            match self.find(here.as_os_str()) {
                Ok(_) => {}
                Err(Errno::ENOENT) => {
                    let directory = self.find(parent.as_os_str())?;
                    if let Ok(target) = readlinkat(&directory, part.as_os_str()) {
                        let rest: PathBuf = parts[i + 1..].iter().collect();
                        return Ok(Made::LinkLeadsTo(parent.join(target).join(rest)));
                    }
                    let kind = if i + 1 == parts.len() { kind } else { Kind::Directory(DIRECTORY) };
                    self.make_one(directory.as_fd(), &parent, part.as_os_str(), kind)
                        .map_err(Problem::about(format_args!("{} cannot be made", here.display())))?;
                }
                Err(errno) => return Err(errno.into()),
            }
            parent = here;
        }
        Ok(Made::Whole)
    }

    fn make_one(
        &self,
        directory: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        kind: Kind,
    ) -> Result<(), Errno> {
        let made = self.writable(directory, path, |parent| match kind {
            Kind::Directory(mode) => mkdirat(parent, name, mode),
            Kind::File(mode) => mknodat(parent, name, SFlag::S_IFREG, mode, 0),
        });
        match made {
            // Somebody else was first; what it is will be seen.
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Does `change` to a directory, whose path this is, even where only the sandbox's view of it is read-only.
    fn writable(
        &self,
        directory: BorrowedFd<'_>,
        path: &Path,
        change: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match (change(directory), &self.maker) {
            (Err(Errno::EROFS), Some(maker)) => {
                let same = open_in(maker.as_fd(), path.as_os_str(), OFlag::O_PATH)?;
                let (here, there) = (fstat(directory)?, fstat(&same)?);
                if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) {
                    return Err(Errno::EROFS);
                }
                change(same.as_fd())
            }
            (result, _) => result,
        }
    }
}

enum Made {
    Whole,
    /// A part of the path is a link that leads to nothing yet: what is wanted is here.
    LinkLeadsTo(PathBuf),
}

/// RESOLVE_NO_MAGICLINKS has the errno of too many links.
pub(super) fn too_many_links() -> Problem {
    let detail = "too many links, or one of /proc, which would lead out of the sandbox";
    Problem { errno: Errno::ELOOP, detail: detail.into() }
}

/// The directory that `path` leads to from our own root, whatever links there are on the way but those of /proc that
/// lead out of every root (CVE-2024-21626).
pub(super) fn directory_inside(path: &OsStr) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how)
}

/// See openat2(2).
fn open_in(root: BorrowedFd<'_>, path: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(root, path, how) {
            // Something was renamed meanwhile; the kernel could not be sure that it stayed inside.
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
}

/// The name of `path` as a child, for somebody who has its parent's descriptor.
pub(super) fn child(directory: BorrowedFd<'_>, name: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).mode(Mode::empty()).resolve(
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
    );
    openat2(directory, OsStr::from_bytes(name.as_bytes()), how)
}

/// The path that the kernel has for a descriptor; see proc_pid_fd(5).
pub(super) fn path_of(number: i32) -> Result<OsString, Errno> {
    nix::fcntl::readlink(format!("/proc/self/fd/{number}").as_str())
}
