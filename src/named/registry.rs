//! The folders of named sandboxes: which there are, who holds one, and taking one over.
//!
//! All goes through descriptors of directories, and no symbolic link is followed, so that nobody can put another folder in
//! the place of one that has been looked at. What is said to a monitor is client.rs's.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, open, openat, renameat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{Pid, UnlinkatFlags, geteuid, unlinkat};

use super::control::LONGEST_LINE;
use super::name::{Name, nearest};
use super::state::{FORM, State};
use crate::error::Error;

/// The folder of all the sandboxes' folders, in the caller's runtime directory.
pub const FOLDER: &str = "launch";
/// The runtime directory of root.
const ROOTS: &str = "/run";
/// The variable that names that of everybody else.
const VARIABLE: &str = "XDG_RUNTIME_DIR";

/// In a sandbox's folder: what its monitor holds as long as it lives.
pub const LOCK: &str = "lock";
/// In a sandbox's folder: what is known of it.
pub const STATE: &str = "state.json";
/// What that is called while it is written.
const NEW_STATE: &str = "state.json.new";
/// In a sandbox's folder: where its monitor listens.
pub const CONTROL: &str = "control";

/// How long a claim waits for somebody who is about to let go: one who clears the folder, or a monitor whose sandbox has
/// ended. Both take a moment, unless they are stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// The caller's sandboxes.
#[derive(Debug)]
pub struct Registry {
    /// The runtime directory.
    base: OwnedFd,
    /// Its path.
    path: PathBuf,
}

/// A sandbox's folder, open, and how it was found.
#[derive(Debug)]
pub struct Found {
    folder: Folder,
    /// How it was found.
    pub standing: Standing,
}

/// What a folder says of its sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its monitor, this process, holds the lock.
    Running(Pid),
    /// It has ended.
    Over(Box<State>),
    /// Nobody holds the lock, but it has not ended: its monitor was killed.
    Stale,
    /// The folder is gone.
    Removed,
}

/// A sandbox's folder that this process holds, as its monitor. It must not open the file `lock` again: closing that would
/// let go of the lock; see fcntl_locking(2), "Advisory record locking".
#[derive(Debug)]
pub struct Claimed {
    folder: Folder,
    _lock: OwnedFd,
}

#[derive(Debug)]
struct Folder {
    name: Name,
    path: PathBuf,
    /// The folder of all of them.
    parent: Arc<OwnedFd>,
    dir: OwnedFd,
}

/// What of the file `lock` is held. The two exclude each other; F_GETLK tells which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// All of it: a monitor.
    Monitor,
    /// A byte of it: somebody who clears the folder.
    Clearing,
}

impl Hold {
    fn range(self) -> libc::flock {
        let (start, length) = match self {
            Self::Monitor => (0, 0),
            Self::Clearing => (1, 1),
        };
        libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: start,
            l_len: length,
            l_pid: 0,
        }
    }
}

impl Registry {
    /// That of the caller: below /run for root, else below $XDG_RUNTIME_DIR. Nothing is made yet.
    ///
    /// # Errors
    /// [`Error::RuntimeDirectory`]: it is missing, or not fit to keep anything in.
    pub fn of_caller() -> Result<Self, Error> {
        let path = base_path(geteuid().is_root(), std::env::var_os(VARIABLE))?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let base = open(&path, flags, Mode::empty()).map_err(|errno| {
            let help = "make it, with mode 0700, or set XDG_RUNTIME_DIR to one that there is";
            match errno {
                Errno::ENOENT => unfit(&path, format!("does not exist; {help}")),
                Errno::ENOTDIR => unfit(&path, format!("is no directory; {help}")),
                errno => unfit(&path, errno.desc().into()),
            }
        })?;
        let registry = Self { base, path };
        check(registry.base.as_fd()).map_err(|reason| unfit(&registry.path, reason))?;
        Ok(registry)
    }

    /// The path of the folder of all of them.
    pub fn path(&self) -> PathBuf {
        self.path.join(FOLDER)
    }

    /// The folder of all of them, made if it is missing: to be told when something changes in it.
    ///
    /// # Errors
    /// [`Error::RuntimeDirectory`]
    pub fn make_folder(&self) -> Result<OwnedFd, Error> {
        // Somebody may remove it at once.
        self.folder(true)?.ok_or_else(|| unfit(&self.path(), Errno::ENOENT.desc().into()))
    }

    /// The names that there are, sorted; whoever looks at one may find that it is gone by now.
    ///
    /// # Errors
    /// [`Error::RuntimeDirectory`]: the folder is somebody else's, or cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        let Some(folder) = self.folder(false)? else { return Ok(vec![]) };
        let entries = entries(folder.as_fd()).map_err(|errno| unfit(&self.path(), errno.desc().into()))?;
        // What is no name has been made by nobody of ours.
        let mut names: Vec<_> = entries.iter().filter_map(|entry| Name::read(entry).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Opens a sandbox's folder and sees how it is.
    ///
    /// # Errors
    /// [`Error::Sandbox`]: there is none of this name, or its folder is not to be trusted.
    pub fn look(&self, name: &Name) -> Result<Found, Error> {
        let parent = self.folder(false)?.map(Arc::new);
        self.look_in(parent.as_ref(), name)
    }

    /// The same for several, which share the descriptor of the folder of all.
    pub fn look_at_all(&self, names: &[Name]) -> Vec<Result<Found, Error>> {
        match self.folder(false).map(|parent| parent.map(Arc::new)) {
            Ok(parent) => names.iter().map(|name| self.look_in(parent.as_ref(), name)).collect(),
            Err(error) => names.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn look_in(&self, parent: Option<&Arc<OwnedFd>>, name: &Name) -> Result<Found, Error> {
        let folder = parent.map(|parent| self.open(parent.clone(), name)).transpose()?.flatten();
        let Some(folder) = folder else { return Err(self.unknown(name)) };
        let standing = folder.standing().map_err(|errno| wrong(name, errno.desc()))?;
        Ok(Found { folder, standing })
    }

    /// That there is no sandbox of this name, with the one that was probably meant.
    pub fn unknown(&self, name: &Name) -> Error {
        // That there is no other to be suggested is no second error.
        let known = self.names().unwrap_or_default();
        match nearest(name.as_str(), &known) {
            Some(meant) if meant != name => wrong(name, format!("no such sandbox; did you mean {meant}?")),
            _ => wrong(name, "no such sandbox"),
        }
    }

    /// Takes the folder of this name for a new sandbox; clears what an earlier one, which has ended, has left there.
    ///
    /// # Errors
    /// [`Error::Sandbox`]: one of this name is running, or its folder is not to be trusted or cannot be made.
    pub fn claim(&self, name: &Name) -> Result<Claimed, Error> {
        let failed = |errno: Errno| wrong(name, format!("its folder cannot be made: {}", errno.desc()));
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let Some(parent) = self.folder(true)?.map(Arc::new) else { continue };
            match mkdirat(&*parent, name.as_str(), Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                // The folder of all was removed.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(failed(errno)),
            }
            // One who clears it may have been faster: then it is made again.
            let Some(folder) = self.open(parent, name)? else { continue };
            match folder.hold(Hold::Monitor).map_err(failed)? {
                Held::Ours(lock) => {
                    if folder.was_killed() {
                        log::warn!("{name}: its monitor was killed; cleared");
                    }
                    folder.empty().map_err(failed)?;
                    return Ok(Claimed { folder, _lock: lock });
                }
                Held::Gone => {}
                Held::By(pid, hold) => {
                    let leaves =
                        hold == Hold::Clearing || folder.state().is_ok_and(|state| state.phase.is_over());
                    if !leaves || Instant::now() >= give_up_at {
                        return Err(wrong(
                            name,
                            match hold {
                                Hold::Monitor => format!("is already running (pid {pid})"),
                                Hold::Clearing => format!("its folder is being cleared (by pid {pid})"),
                            },
                        ));
                    }
                    wait_a_moment(pid, hold);
                }
            }
        }
    }

    /// The folder of all, made if it is missing and is to be there.
    fn folder(&self, make: bool) -> Result<Option<OwnedFd>, Error> {
        let failed = |errno: Errno| unfit(&self.path(), errno.desc().into());
        if make {
            match mkdirat(&self.base, FOLDER, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        match open_trusted(self.base.as_fd(), FOLDER) {
            Ok(folder) => Ok(Some(folder)),
            Err(Distrust::System(Errno::ENOENT)) => Ok(None),
            Err(distrust) => Err(unfit(&self.path(), distrust.reason())),
        }
    }

    fn open(&self, parent: Arc<OwnedFd>, name: &Name) -> Result<Option<Folder>, Error> {
        match open_trusted((*parent).as_fd(), name.as_str()) {
            Ok(dir) => {
                Ok(Some(Folder { path: self.path().join(name.as_str()), name: name.clone(), parent, dir }))
            }
            Err(Distrust::System(Errno::ENOENT)) => Ok(None),
            Err(distrust) => Err(wrong(name, format!("its folder {}", distrust.reason()))),
        }
    }
}

impl Found {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.folder.name
    }

    /// The path of its folder.
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Its folder.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.folder.dir.as_fd()
    }

    /// What the file of its state says.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub fn state(&self) -> Result<State, String> {
        self.folder.state()
    }

    /// Who holds the lock by now, if anybody.
    ///
    /// # Errors
    /// As open(2) and fcntl(2).
    pub fn holder(&self) -> Result<Option<Pid>, Errno> {
        self.folder.holder()
    }

    /// How it is by now.
    ///
    /// # Errors
    /// As open(2) and fcntl(2).
    pub fn look_again(&mut self) -> Result<&Standing, Errno> {
        self.standing = self.folder.standing()?;
        Ok(&self.standing)
    }

    /// Removes the folder of a sandbox that has ended, or whose monitor was killed, and says whether it was the latter. One
    /// that is gone by now, or that a new sandbox has taken over since it was looked at, needs nothing.
    ///
    /// # Errors
    /// [`Error::Sandbox`]: it is running, or cannot be removed.
    pub fn remove(self) -> Result<Removed, Error> {
        let name = &self.folder.name;
        let failed = |errno: Errno| wrong(name, format!("its folder cannot be removed: {}", errno.desc()));
        match self.folder.hold(Hold::Clearing).map_err(failed)? {
            Held::Ours(_lock) => {
                let removed = if self.folder.was_killed() { Removed::Stale } else { Removed::Over };
                self.folder.remove().map_err(failed)?;
                Ok(removed)
            }
            Held::Gone | Held::By(_, Hold::Clearing) => Ok(Removed::ByOthers),
            Held::By(pid, Hold::Monitor) => Err(wrong(name, format!("is running (pid {pid})"))),
        }
    }

    /// [`remove`](Self::remove) for a folder that is stale, and says so.
    ///
    /// # Errors
    /// As above. That a new sandbox has taken it over is none.
    pub fn clear(self) -> Result<(), Error> {
        let name = self.folder.name.clone();
        match self.remove() {
            Ok(Removed::Stale) => {
                log::warn!("{name}: its monitor was killed; cleared");
                Ok(())
            }
            Ok(Removed::Over | Removed::ByOthers) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What became of a folder that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It was that of a sandbox that had ended.
    Over,
    /// It was that of one whose monitor was killed.
    Stale,
    /// Somebody else has removed it, or does.
    ByOthers,
}

impl Claimed {
    /// The sandbox's name.
    pub fn name(&self) -> &Name {
        &self.folder.name
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// The folder.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.folder.dir.as_fd()
    }

    /// Writes the file of the state: whoever reads it reads the old one or this one, and never a part.
    ///
    /// # Errors
    /// As open(2), write(2) and rename(2). The old one is there still.
    pub fn write_state(&self, state: &State) -> Result<(), Errno> {
        let dir = self.dir();
        let bytes = serde_json::to_vec(state).map_err(|_| Errno::EINVAL)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let written = openat(dir, NEW_STATE, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .and_then(|file| File::from(file).write_all(&bytes).map_err(|error| errno_of(&error)))
            .and_then(|()| renameat(dir, NEW_STATE, dir, STATE));
        if written.is_err() {
            // On a full disk every byte counts; if it cannot be removed either, the next one overwrites it.
            let _ = unlinkat(dir, NEW_STATE, UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Writes the last one. On a full disk it takes the place of the one that is there, so that what has ended is not taken
    /// for what was killed: nobody reads it while we live, unless it is for want of an answer.
    ///
    /// # Errors
    /// As above; of the old one, nothing may be left.
    pub fn write_last_state(&self, state: &State) -> Result<(), Errno> {
        match self.write_state(state) {
            Err(Errno::ENOSPC | Errno::EDQUOT) => {
                let bytes = serde_json::to_vec(state).map_err(|_| Errno::EINVAL)?;
                let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                // Not even made shorter before: its place could be somebody else's then.
                let mut file = File::from(openat(self.dir(), STATE, flags, Mode::empty())?);
                let written = file.write_all(&bytes).and_then(|()| file.set_len(bytes.len() as u64));
                written.map_err(|error| errno_of(&error))
            }
            written => written,
        }
    }

    /// The socket that commands connect to. It does not block, and nobody but its owner can connect.
    ///
    /// # Errors
    /// As socket(2), bind(2) and listen(2).
    pub fn bind_control(&self) -> Result<UnixListener, Errno> {
        match unlinkat(self.dir(), CONTROL, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        bind(listener.as_raw_fd(), &control_address(self.dir())?)?;
        fchmodat(self.dir(), CONTROL, Mode::S_IRUSR | Mode::S_IWUSR, FchmodatFlags::FollowSymlink)?;
        listen(&listener, Backlog::MAXCONN)?;
        Ok(listener.into())
    }

    /// Removes the folder. The lock is let go of last.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn remove(self) -> Result<(), Errno> {
        self.folder.remove()
    }
}

/// The address of the socket in a sandbox's folder. The folder's own path may be longer than an address; see unix(7).
///
/// # Errors
/// As unix(7).
pub fn control_address(dir: BorrowedFd<'_>) -> Result<UnixAddr, Errno> {
    UnixAddr::new(format!("/proc/self/fd/{}/{CONTROL}", dir.as_raw_fd()).as_str())
}

/// Whether a lock was got.
#[derive(Debug)]
enum Held {
    Ours(OwnedFd),
    By(Pid, Hold),
    /// The folder, or the lock in it, has been removed.
    Gone,
}

impl Folder {
    /// Takes the lock, which is made if it is missing, unless somebody has it.
    fn hold(&self, hold: Hold) -> Result<Held, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let lock = match openat(&self.dir, LOCK, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(lock) => lock,
            Err(Errno::ENOENT) => return Ok(Held::Gone),
            Err(errno) => return Err(errno),
        };
        match fcntl(&lock, FcntlArg::F_SETLK(&hold.range())) {
            Ok(_) => {}
            // Who had it may be gone already.
            Err(Errno::EAGAIN | Errno::EACCES) => {
                return Ok(holder(&lock)?.map_or(Held::Gone, |(pid, hold)| Held::By(pid, hold)));
            }
            Err(errno) => return Err(errno),
        }
        // Only who has the lock removes it, or the folder; but that may have been before.
        let is_still_there = is_at(&lock, self.dir.as_fd(), LOCK)?
            && is_at(&self.dir, (*self.parent).as_fd(), self.name.as_str())?;
        Ok(if is_still_there { Held::Ours(lock) } else { Held::Gone })
    }

    /// The monitor.
    fn holder(&self) -> Result<Option<Pid>, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match openat(&self.dir, LOCK, flags, Mode::empty()) {
            Ok(lock) => Ok(holder(&lock)?.filter(|(_, hold)| *hold == Hold::Monitor).map(|(pid, _)| pid)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn standing(&self) -> Result<Standing, Errno> {
        if let Some(pid) = self.holder()? {
            return Ok(Standing::Running(pid));
        }
        Ok(match self.state() {
            Ok(state) if state.phase.is_over() => Standing::Over(Box::new(state)),
            // What it was may have been read before its end was written, and that before it let go.
            _ => match self.holder()? {
                Some(pid) => Standing::Running(pid),
                None if fstat(&self.dir)?.st_nlink == 0 => Standing::Removed,
                None => Standing::Stale,
            },
        })
    }

    fn state(&self) -> Result<State, String> {
        let failed = |errno: Errno| format!("{STATE}: {}", errno.desc());
        // Of a FIFO, nobody waits for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, STATE, flags, Mode::empty()).map_err(failed)?;
        if kind(&fstat(&file).map_err(failed)?) != SFlag::S_IFREG {
            return Err(format!("{STATE}: is no regular file"));
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(LONGEST_LINE as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(errno_of(&error)))?;
        read_state(&bytes).map_err(|reason| format!("{STATE}: {reason}"))
    }

    /// Whether a sandbox was here and has not ended, though nobody holds the lock. A folder with nothing in it is one that
    /// is being made.
    fn was_killed(&self) -> bool {
        let has_more_than_the_lock =
            entries(self.dir.as_fd()).is_ok_and(|entries| entries.iter().any(|entry| entry != LOCK));
        has_more_than_the_lock && !self.state().is_ok_and(|state| state.phase.is_over())
    }

    /// Removes all but the lock.
    fn empty(&self) -> Result<(), Errno> {
        for entry in entries(self.dir.as_fd())?.iter().filter(|entry| *entry != LOCK) {
            remove_entry(self.dir.as_fd(), entry)?;
        }
        Ok(())
    }

    /// Removes it, when the lock is held.
    fn remove(&self) -> Result<(), Errno> {
        self.empty()?;
        unlinkat(&self.dir, LOCK, UnlinkatFlags::NoRemoveDir)?;
        match unlinkat(&*self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir) {
            // From here on somebody may claim it, and then it stays.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// Reads a state. What is not whole, or has been written by nobody of ours, is none.
fn read_state(bytes: &[u8]) -> Result<State, String> {
    let state: State = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if state.form == FORM {
        Ok(state)
    } else {
        Err(format!("is of form {}, and this launch knows form {FORM}", state.form))
    }
}

/// Who holds the lock, and what of it.
fn holder(lock: &OwnedFd) -> Result<Option<(Pid, Hold)>, Errno> {
    let mut found = Hold::Monitor.range();
    fcntl(lock, FcntlArg::F_GETLK(&mut found))?;
    if found.l_type == libc::F_UNLCK as libc::c_short {
        return Ok(None);
    }
    let clearing = Hold::Clearing.range();
    let is_clearing = (found.l_start, found.l_len) == (clearing.l_start, clearing.l_len);
    Ok(Some((Pid::from_raw(found.l_pid), if is_clearing { Hold::Clearing } else { Hold::Monitor })))
}

/// A monitor's end is waited for, one who clears is looked after again: it may live on.
fn wait_a_moment(pid: Pid, hold: Hold) {
    let limit = if hold == Hold::Monitor { 100_u16 } else { 1 };
    // Whoever is gone by now need not be waited for.
    if let Ok(pidfd) = launch_init::sys::open_pidfd(pid) {
        let _ = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(limit));
    }
}

/// Where the caller's runtime directory is.
fn base_path(is_root: bool, variable: Option<OsString>) -> Result<PathBuf, Error> {
    if is_root {
        return Ok(ROOTS.into());
    }
    let object = OsString::from(format!("${VARIABLE}"));
    let wrong = |reason: String| Err(Error::RuntimeDirectory(object, reason));
    match variable {
        None => wrong("is not set; log in anew, or set it to a directory of your own with mode 0700".into()),
        Some(path) if path.is_empty() => {
            wrong("is empty; log in anew, or set it to a directory of your own with mode 0700".into())
        }
        Some(path) if !path.as_bytes().starts_with(b"/") => {
            wrong(format!("{path:?} is relative; set it to an absolute path"))
        }
        Some(path) => Ok(path.into()),
    }
}

/// Why a directory is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Distrust {
    System(Errno),
    Wrong(String),
}

impl Distrust {
    fn reason(self) -> String {
        match self {
            Self::System(errno) => errno.desc().into(),
            Self::Wrong(reason) => reason,
        }
    }
}

/// A directory that is the caller's own.
fn open_trusted(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Distrust> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let dir = openat(parent, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOTDIR | Errno::ELOOP => {
            let is_link = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|status| kind(&status) == SFlag::S_IFLNK);
            Distrust::Wrong(if is_link { "is a symbolic link" } else { "is no directory" }.into())
        }
        // Who it belongs to says more than that it cannot be opened.
        Errno::EACCES => match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => Distrust::Wrong(judge(&status).err().unwrap_or_else(|| errno.desc().into())),
            Err(errno) => Distrust::System(errno),
        },
        errno => Distrust::System(errno),
    })?;
    check(dir.as_fd()).map_err(Distrust::Wrong)?;
    Ok(dir)
}

fn check(dir: BorrowedFd<'_>) -> Result<(), String> {
    judge(&fstat(dir).map_err(|errno| errno.desc().to_owned())?)
}

/// Whether nobody else can put anything there.
fn judge(status: &FileStat) -> Result<(), String> {
    let ours = geteuid().as_raw();
    if status.st_uid != ours {
        return Err(format!("belongs to somebody else (uid {}, not {ours})", status.st_uid));
    }
    if status.st_mode & 0o022 != 0 {
        return Err(format!(
            "can be written to by others (mode {:04o}); chmod go-w it",
            status.st_mode & 0o7777
        ));
    }
    Ok(())
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

fn is_at(file: &OwnedFd, dir: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let ours = fstat(file)?;
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The names in a directory.
fn entries(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    // With a position of its own.
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut dir = Dir::openat(dir, ".", flags, Mode::empty())?;
    let mut entries = Vec::new();
    for entry in dir.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            entries.push(OsStr::from_bytes(&name).to_owned());
        }
    }
    Ok(entries)
}

/// With what is in it, if it is a directory. One that is gone is removed.
fn remove_entry(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let gone = |result: Result<(), Errno>| if result == Err(Errno::ENOENT) { Ok(()) } else { result };
    let path = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    match unlinkat(dir, path.as_c_str(), UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let inner = openat(dir, path.as_c_str(), flags, Mode::empty())?;
            for entry in entries(inner.as_fd())? {
                remove_entry(inner.as_fd(), &entry)?;
            }
            gone(unlinkat(dir, path.as_c_str(), UnlinkatFlags::RemoveDir))
        }
        result => gone(result),
    }
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn wrong(name: &Name, reason: impl Into<String>) -> Error {
    Error::Sandbox(name.into(), reason.into())
}

fn unfit(path: &Path, reason: String) -> Error {
    Error::RuntimeDirectory(path.into(), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_directory_is_fixed_and_everybody_elses_is_the_variables() {
        assert_eq!(base_path(true, Some("/x".into())), Ok("/run".into()));
        assert_eq!(base_path(false, Some("/x".into())), Ok("/x".into()));
        for (variable, reason) in
            [(None, "is not set"), (Some(""), "is empty"), (Some("a/b"), "\"a/b\" is relative")]
        {
            let refused = base_path(false, variable.map(Into::into)).expect_err("none").to_string();
            let expected = format!("runtime directory: $XDG_RUNTIME_DIR: {reason}");
            assert!(refused.starts_with(&expected), "{refused}");
        }
    }

    #[test]
    fn a_state_that_is_not_whole_is_none() {
        for bytes in [&b""[..], b"{", b"{}", b"[1]", b"\xff", b"{\"form\":1,\"name\":"] {
            assert!(read_state(bytes).is_err(), "{bytes:?}");
        }
    }
}
