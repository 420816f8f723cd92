//! What `launch logs` and `launch events` share: printing to whoever reads, and waiting for more.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;
use crate::named::follow::Watcher;
use crate::named::records::Stream;
use crate::named::registry::Found;

/// So much is printed at once.
const CHUNK: usize = 64 << 10;

/// Our stdout and stderr. What is printed to both stays in its order.
#[derive(Debug)]
pub(super) struct Printer {
    outside: [File; 2],
    waiting: Vec<u8>,
    stream: Stream,
}

impl Printer {
    pub(super) fn new() -> Result<Self, Error> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from).map_err(failed);
        let outside = [copy(std::io::stdout().as_fd())?, copy(std::io::stderr().as_fd())?];
        Ok(Self { outside, waiting: Vec::new(), stream: Stream::Stdout })
    }

    /// Prints it, at the latest with the next [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::Output`]; see [`unless_closed`].
    pub(super) fn print(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Error> {
        if stream != self.stream {
            self.flush()?;
            self.stream = stream;
        }
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    /// Prints what is left.
    ///
    /// # Errors
    /// As above.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let file = &mut self.outside[self.stream as usize];
        let mut bytes = self.waiting.as_slice();
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut polled, PollTimeout::NONE).map_err(Error::Output)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        self.waiting.clear();
        Ok(())
    }

    fn stdout(&self) -> BorrowedFd<'_> {
        self.outside[Stream::Stdout as usize].as_fd()
    }
}

/// Whoever reads it has read enough: `launch logs NAME | head`.
pub(super) fn unless_closed(result: Result<(), Error>) -> Result<(), Error> {
    if result == Err(Error::Output(Errno::EPIPE)) { Ok(()) } else { result }
}

/// What happened while we waited.
#[derive(Debug, Default)]
pub(super) struct Woken {
    /// The monitor has ended.
    pub(super) has_ended: bool,
    /// Nobody reads what we print, or the time is over.
    pub(super) is_enough: bool,
}

/// Waits until something has happened in the directories that are watched, or ends what is being followed.
pub(super) fn wait(
    watcher: &Watcher,
    monitor: Option<BorrowedFd<'_>>,
    printer: &Printer,
    until: Option<SystemTime>,
) -> Result<Woken, Error> {
    let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO));
    // Rounded up: not to turn around in the last millisecond.
    let timeout = left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    });
    // Of stdout, nothing but that it was closed.
    let mut polled = vec![
        PollFd::new(watcher.as_fd(), PollFlags::POLLIN),
        PollFd::new(printer.stdout(), PollFlags::empty()),
    ];
    polled.extend(monitor.map(|monitor| PollFd::new(monitor, PollFlags::POLLIN)));
    match poll(&mut polled, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Woken::default()),
        Err(errno) => return Err(Error::Wait(errno)),
    }
    let is_ready = |i: usize| polled.get(i).and_then(PollFd::any).unwrap_or(false);
    let is_late = until.is_some_and(|until| until <= SystemTime::now());
    Ok(Woken { has_ended: is_ready(2), is_enough: is_ready(1) || is_late })
}

/// The monitor of a sandbox, by which its end is seen; none if it has ended.
pub(super) fn monitor_of(found: &Found) -> Result<Option<OwnedFd>, Error> {
    let failed = |errno: Errno| Error::Sandbox(found.name().into(), errno.desc().into());
    while let Some(pid) = found.holder().map_err(failed)? {
        match launch_init::sys::open_pidfd(pid) {
            // A pid alone may be another process's by now.
            Ok(monitor) if found.holder().map_err(failed)? == Some(pid) => return Ok(Some(monitor)),
            Ok(_) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(None)
}

/// Why something cannot be followed, in words.
pub(super) fn cannot_follow(errno: Errno) -> String {
    let limit = match errno {
        Errno::EMFILE => "; the limits are RLIMIT_NOFILE and fs.inotify.max_user_instances",
        Errno::ENOSPC => "; the limit is fs.inotify.max_user_watches",
        _ => "",
    };
    format!("cannot be followed: {}{limit}", errno.desc())
}

fn failed(error: std::io::Error) -> Error {
    Error::Output(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
