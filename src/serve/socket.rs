//! The socket that a pool is served at, from its making to its end.

#![forbid(unsafe_code)]

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{Error as IoError, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, umask};

use crate::error::Error;

/// It is removed when this is dropped.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// The device and inode number of its file.
    file: (u64, u64),
}

impl Socket {
    /// Makes it, for the caller's user alone, and listens. One that was left behind, where nobody listens, is replaced. This process
    /// must have one thread.
    ///
    /// # Errors
    /// [`Error::Server`]
    pub(super) fn bind(path: &Path) -> Result<Self, Error> {
        // Between bind(2) and listen(2) the file is there and refuses everybody. So it gets its name when it listens: whoever waits
        // for the file may connect at once, and another server does not take it for one that was left behind.
        let mut elsewhere = OsString::from(path);
        elsewhere.push(format!(".{:08x}", RandomState::new().build_hasher().finish() as u32));
        let elsewhere = PathBuf::from(elsewhere);
        let bound = bind(&elsewhere).and_then(|listener| Ok((listener, file_of(&elsewhere)?)));
        let (listener, file) = bound.map_err(|error| failed(path, &error))?;
        let mut socket = Self { listener, path: elsewhere, file };
        socket.listener.set_nonblocking(true).map_err(|error| failed(path, &error))?;
        socket.appear(path)?;
        Ok(socket)
    }

    fn appear(&mut self, path: &Path) -> Result<(), Error> {
        // Not rename(2), which would replace what is there.
        let linked = match fs::hard_link(&self.path, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Who removes one has looked at that one: another server may replace it at the same time.
                let _directory = lock_directory_of(path).map_err(|error| failed(path, &error))?;
                look_whether_it_is_abandoned(path)?;
                fs::remove_file(path).and_then(|()| fs::hard_link(&self.path, path))
            }
            linked => linked,
        };
        linked.map_err(|error| failed(path, &error))?;
        let elsewhere = std::mem::replace(&mut self.path, path.into());
        fs::remove_file(elsewhere).map_err(|error| self.failed(&error))
    }

    /// What went wrong with it.
    pub(super) fn failed(&self, error: &IoError) -> Error {
        failed(&self.path, error)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another server may have taken its place.
        if file_of(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// From the first moment on, nobody else may connect; see unix(7).
fn bind(path: &Path) -> Result<UnixListener, IoError> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

fn look_whether_it_is_abandoned(path: &Path) -> Result<(), Error> {
    let wrong = |reason: &str| Err(Error::Server(path.into(), reason.into()));
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => wrong("is there already, and is no socket"),
        _ => match connect_at_once(path) {
            Err(Errno::ECONNREFUSED) => Ok(()),
            // EAGAIN: so many are waiting there that there is no place for more.
            Ok(()) | Err(Errno::EAGAIN) => wrong("somebody listens there already"),
            Err(errno) => Err(failed(path, &errno.into())),
        },
    }
}

/// Until the file is closed; see flock(2).
fn lock_directory_of(path: &Path) -> Result<File, IoError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(directory)?;
    directory.lock()?;
    Ok(directory)
}

fn connect_at_once(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

fn file_of(path: &Path) -> Result<(u64, u64), IoError> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn failed(path: &Path, error: &IoError) -> Error {
    let reason = match error.raw_os_error() {
        Some(errno) => Errno::from_raw(errno).desc().into(),
        None => error.to_string(),
    };
    Error::Server(path.into(), reason)
}
