//! `launch --detach`: from one process two. The one that the caller has started waits until the sandbox runs, or is ready,
//! and returns; the other one is its monitor.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use launch_init::exit::Outcome;
use launch_init::signals::{self, SignalQueue};
use launch_init::sys::{let_go_of, open_null, open_pidfd, signal_process};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{ForkResult, Pid, chdir, getpid, pipe2, setsid};

use super::name::Name;
use super::progress::Progress;
use crate::error::Error;
use crate::sandbox::above_stdio;
use crate::sys;

/// How long the caller's process has to take its line away, in milliseconds.
const LINE_PATIENCE: u16 = 500;

/// Which of the two this process is.
#[derive(Debug)]
pub enum Detached {
    /// The one that the caller waits for.
    Caller(Waiting),
    /// The monitor to be.
    Monitor(Launching),
}

/// What the caller's process has of the monitor.
#[derive(Debug)]
pub struct Waiting {
    pidfd: OwnedFd,
    /// A `1` comes when all is well, and anything else, or the end of file, when it isn't.
    news: OwnedFd,
}

/// What the monitor has of the caller's process, and of its stderr, until all is well.
#[derive(Debug)]
pub struct Launching {
    news: OwnedFd,
    caller: Pid,
}

/// Splits in two. Of the caller's descriptors the monitor keeps those of these numbers alone, and stderr for a while; it is
/// in a session of its own. Every signal must be blocked, and there must be no other thread.
///
/// # Errors
/// [`Error::Detach`]
#[cold]
pub fn detach(keep: &[RawFd]) -> Result<Detached, Error> {
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC).map_err(Error::Detach)?;
    // Where the caller closed a standard descriptor, one of them may have got its number.
    let theirs = above_stdio(theirs).map_err(Error::Detach)?;
    let ours = above_stdio(ours).map_err(Error::Detach)?;
    let caller = getpid();
    match launch_init::sys::fork().map_err(Error::Detach)? {
        ForkResult::Parent { child } => {
            drop(ours);
            let pidfd = open_pidfd(child).map_err(Error::Detach)?;
            Ok(Detached::Caller(Waiting { pidfd, news: theirs }))
        }
        ForkResult::Child => {
            drop(theirs);
            become_monitor(&ours, keep).map_err(Error::Detach)?;
            Ok(Detached::Monitor(Launching { news: ours, caller }))
        }
    }
}

fn become_monitor(news: &OwnedFd, keep: &[RawFd]) -> Result<(), Errno> {
    setsid()?;
    let mut open: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > libc::STDERR_FILENO).collect();
    open.push(news.as_raw_fd());
    open.sort_unstable();
    sys::close_all_but(&open)?;
    let null = open_null()?;
    let_go_of(&[libc::STDIN_FILENO, libc::STDOUT_FILENO], null.as_fd())
}

impl Launching {
    /// The caller's process, which the caller knows the launcher as.
    pub fn caller(&self) -> Pid {
        self.caller
    }

    /// All is well: the caller's process returns, and nothing of the caller's stays with us.
    pub fn succeed(self) {
        let let_go = open_null().and_then(|null| let_go_of(&[libc::STDERR_FILENO], null.as_fd()));
        if let Err(errno) = let_go.and_then(|()| chdir("/")) {
            log::warn!("detach: still holds what it inherited: {}", errno.desc());
        }
        // EPIPE: it has been killed. The sandbox lives on.
        let _ = File::from(self.news).write_all(b"1");
    }

    /// There will be nothing to return for. Then what is said about it stands on a line of its own, since the caller's process
    /// shows that it waits no more.
    pub fn fail(self) {
        let mut news = File::from(self.news);
        // EPIPE: it has been killed.
        if news.write_all(b"0").is_ok() {
            // That nobody reads any more is told in any case. If it takes too long, the line may not look nice.
            let _ = poll(&mut [PollFd::new(news.as_fd(), PollFlags::empty())], LINE_PATIENCE);
        }
    }
}

impl Waiting {
    /// Waits until all is well, and returns 0, or until the monitor has ended, and returns its exit code. Whoever asks this
    /// process to stop stops the launch; who asks twice kills it.
    ///
    /// # Errors
    /// [`Error::Detach`], [`Error::Signals`]; [`Error::Monitor`]: it was killed.
    pub fn wait(self, name: &Name) -> Result<u8, Error> {
        let queue = SignalQueue::new().map_err(Error::Signals)?;
        let mut stop_with = libc::SIGTERM;
        let mut progress = Progress::new(&format!("waiting for {name}"), "", 1);
        loop {
            let left = progress.tick().map(|at| at.saturating_duration_since(Instant::now()));
            let mut polled = [
                PollFd::new(queue.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.news.as_fd(), PollFlags::POLLIN),
            ];
            match ppoll(&mut polled, left.map(TimeSpec::from_duration), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::Detach(errno)),
            }
            let [is_signalled, has_news] = polled.map(|it| it.any() == Some(true));
            if is_signalled {
                let mut asks = false;
                let mut stops = false;
                queue
                    .drain(|signal| {
                        asks |= ASKS_TO_STOP.contains(&signal.number);
                        stops |= STOPS.contains(&signal.number);
                    })
                    .map_err(Error::Signals)?;
                if asks {
                    match signal_process(self.pidfd.as_fd(), stop_with, None) {
                        Ok(()) | Err(Errno::ESRCH) => stop_with = libc::SIGKILL,
                        Err(errno) => return Err(Error::Signal(stop_with, errno)),
                    }
                }
                if stops && let Err(errno) = signals::stop_by_terminal() {
                    log::warn!("terminal: not stopped: {}", errno.desc());
                }
            }
            if has_news {
                progress.clear();
                return self.end(name);
            }
        }
    }

    fn end(self, name: &Name) -> Result<u8, Error> {
        let mut news = [0];
        if File::from(self.news).read(&mut news).is_ok_and(|length| length == 1) && news == *b"1" {
            return Ok(0);
        }
        let status = sys::wait_for(self.pidfd.as_fd()).map_err(Error::Detach)?;
        match Outcome::from_wait_status(status) {
            Some(Outcome::Exited(code)) => Ok(code),
            Some(Outcome::Killed(signal)) => Err(Error::Monitor(name.as_str().into(), signal)),
            _ => Err(Error::Monitor(name.as_str().into(), libc::SIGKILL)),
        }
    }
}

const ASKS_TO_STOP: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
/// What a terminal stops a process with.
const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
