//! A tmpfs that no path leads to, for what is made rather than taken from the caller: the contents of files, masks, and
//! the upper layers that are thrown away. What is mounted of it stays when it is gone.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, chdir, fchdir, fchown};

use super::filesystems;
use super::problem::{LAUNCHER_GONE, Problem};
use crate::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};

/// What a mask and an empty layer are called in it.
const MASK_FILE: &str = "mask";
const MASK_DIRECTORY: &str = "masked";
const EMPTY: &str = "empty";

/// Where it is attached, the first that there is: in the caller's /proc, which a fresh one covers, or which the sandbox's
/// own root has not. Not on `/`: a lookup of `..` there goes on in what is mounted on top, in whatever root it is confined
/// to (follow_dotdot in fs/namei.c), and a hostile link would lead mounts and masks astray.
const PLACES: [&str; 2] = ["/proc/sys", "/proc/self/task"];

/// Attached when it is first needed: the kernel copies only mounts that are.
pub(super) struct Staging {
    place: Option<OwnedFd>,
    root: Option<OwnedFd>,
    /// How many entries were made.
    entries: usize,
}

impl Staging {
    /// Finds its place, before anything is mounted.
    pub(super) fn new() -> Self {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let place = PLACES.iter().find_map(|path| open(*path, flags, Mode::empty()).ok());
        Self { place, root: None, entries: 0 }
    }

    /// Detaches it. The working directory is `/` then, if there was one.
    pub(super) fn end(&mut self) -> Result<(), Errno> {
        let Some(root) = self.root.take() else { return Ok(()) };
        fchdir(&root)?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")
    }

    /// The root in which it has its place is about to be detached, and takes it along; so it does with `mount`, which has none.
    pub(super) fn goes_with_the_old_root(&mut self, mount: Option<BorrowedFd<'_>>) {
        if let (Some(mount), Some(place)) = (mount, self.place.take())
            && let Err(errno) = sys::move_mount(mount, place.as_fd())
        {
            // It only takes longer to close it then.
            log::debug!("a mount that was of use: to be detached with the old root: {}", errno.desc());
        }
        self.root = None;
    }

    /// A detached mount of a regular file with what `content` gives until its end.
    pub(super) fn file(
        &mut self,
        content: OwnedFd,
        launcher: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, Problem> {
        let (root, name) = (self.root()?, self.next());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&root, name.as_str(), flags, Mode::from_bits_truncate(0o644))?);
        copy(&mut File::from(content), &mut file, launcher)?;
        self.mount_of(&root, &name, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    }

    /// A detached mount of an empty file or directory that only root can read, and nobody write.
    pub(super) fn mask(&mut self, directory: bool) -> Result<OwnedFd, Problem> {
        let root = self.root()?;
        let name = if directory { MASK_DIRECTORY } else { MASK_FILE };
        let made = if directory {
            mkdirat(&root, name, Mode::empty())
        } else {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            openat(&root, name, flags, Mode::empty()).map(drop)
        };
        match made {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        self.mount_of(&root, name, attributes)
    }

    /// Two directories for an overlay: the upper one, with this mode and, as far as possible, owner; and work.
    pub(super) fn layers(&mut self, like: Option<&FileStat>) -> Result<(OwnedFd, OwnedFd), Problem> {
        let root = self.root()?;
        let upper = self.directory(&root)?;
        if let Some(like) = like {
            // EINVAL, EPERM: an owner that has no id inside stays root.
            let _ = fchown(&upper, Some(Uid::from_raw(like.st_uid)), Some(Gid::from_raw(like.st_gid)));
            fchmod(&upper, Mode::from_bits_truncate(like.st_mode & 0o7777))?;
        }
        Ok((upper, self.directory(&root)?))
    }

    /// An empty directory.
    pub(super) fn empty_directory(&mut self) -> Result<OwnedFd, Problem> {
        let root = self.root()?;
        match mkdirat(&root, EMPTY, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(openat(&root, EMPTY, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    fn directory(&mut self, root: &OwnedFd) -> Result<OwnedFd, Problem> {
        let name = self.next();
        mkdirat(root, name.as_str(), Mode::from_bits_truncate(0o755))?;
        Ok(openat(root, name.as_str(), OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    fn next(&mut self) -> String {
        self.entries += 1;
        self.entries.to_string()
    }

    fn root(&mut self) -> Result<OwnedFd, Problem> {
        if self.root.is_none() {
            let Some(place) = &self.place else {
                return Err(Problem::new("/proc must be mounted"));
            };
            let root = filesystems::tmpfs(None, 0o700)?;
            sys::move_mount(root.as_fd(), place.as_fd())
                .map_err(Problem::about("a place for what is made"))?;
            self.root = Some(root);
        }
        // A descriptor of its own, so that the counter can be changed meanwhile.
        self.root.as_ref().ok_or(Errno::EBADF)?.try_clone().map_err(|_| Errno::EMFILE.into())
    }

    fn mount_of(&self, root: &OwnedFd, name: &str, attributes: u64) -> Result<OwnedFd, Problem> {
        let entry = openat(root, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let tree = sys::clone_tree(Some(entry.as_fd()), c"")?;
        sys::mount_setattr(tree.as_fd(), false, attributes)?;
        Ok(tree)
    }
}

/// A pipe gives its end of file when everybody has closed it.
pub(super) fn copy(from: &mut File, to: &mut File, launcher: Option<BorrowedFd<'_>>) -> Result<(), Problem> {
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(launcher) = launcher {
            wait_for(from.as_fd(), launcher)?;
        }
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    }
}

/// Returns when `source` has something, or its end of file.
fn wait_for(source: BorrowedFd<'_>, launcher: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut polled = [PollFd::new(source, PollFlags::POLLIN), PollFd::new(launcher, PollFlags::POLLIN)];
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) if polled[1].any() == Some(true) => return Err(LAUNCHER_GONE),
            Ok(_) => return Ok(()),
            // Every signal is blocked, but a debugger interrupts too.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
