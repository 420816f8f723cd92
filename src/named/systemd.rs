//! Passes on to the service manager that started the launcher (systemd with Type=notify, or one that speaks as it does)
//! what the workload says of itself; see sd_notify(3).
//!
//! Who the workload is to the launcher is init's business: it has a socket of its own inside.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use launch_init::handoff::{Happening, Why};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getpid};

/// The variable that names the manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often the manager wants to hear that we are alive, in microseconds, and who is meant; sd_watchdog_enabled(3).
const WATCHDOG: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// So many messages are kept for a manager that does not read at present.
const MOST: usize = 16;
/// When it is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// The manager.
#[derive(Debug)]
pub struct Manager {
    socket: OwnedFd,
    address: UnixAddr,
    watches: bool,
    /// Whether it has to be told who we are, since it did not start this process itself.
    introduces: bool,
    is_ready: bool,
    is_stopping: bool,
    kept: VecDeque<String>,
    retry_at: Option<Instant>,
}

impl Manager {
    /// That of a launcher, if it has one. It is known there as the process `started_as`, where that is another one. What cannot be used is warned of: the launch
    /// does not depend on it.
    pub fn of(started_as: Option<Pid>) -> Option<Self> {
        let name = std::env::var_os(SOCKET).filter(|name| !name.is_empty())?;
        let found = address(&name).and_then(|address| {
            let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
                .map_err(|errno| errno.desc().to_owned())?;
            Ok((address, socket))
        });
        let (address, socket) = match found {
            Ok(found) => found,
            Err(reason) => {
                log::warn!("{SOCKET}: {}: {reason}; the service manager is told nothing", name.display());
                return None;
            }
        };
        let [interval, pid] = WATCHDOG.map(|name| std::env::var(name).ok());
        let is_meant = pid.is_none_or(|pid| pid == started_as.unwrap_or_else(getpid).to_string());
        Some(Self {
            socket,
            address,
            watches: interval.is_some() && is_meant,
            introduces: started_as.is_some(),
            is_ready: false,
            is_stopping: false,
            kept: VecDeque::new(),
            retry_at: None,
        })
    }

    /// The workload has been executed, for the first time or again.
    pub fn started(&mut self) {
        self.keep_watch();
    }

    /// Something happened in its life.
    pub fn happened(&mut self, happening: &Happening) {
        match happening {
            Happening::Ready if !self.is_ready => {
                self.is_ready = true;
                let who = if self.introduces { format!("\nMAINPID={}", getpid()) } else { String::new() };
                self.tell(format!("READY=1{who}"));
            }
            Happening::Status(status) => self.tell(format!("STATUS={status}")),
            Happening::Reloading => {
                self.is_ready = false;
                self.tell(format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_microseconds()));
            }
            Happening::Ending(Why::Stop) | Happening::RunEnded { again: false, .. } => self.stopping(),
            _ => {}
        }
        self.keep_watch();
    }

    /// That the workload is alive, or that its next run is on the way: in either case nothing hangs.
    fn keep_watch(&mut self) {
        if self.watches && self.kept.is_empty() {
            self.tell("WATCHDOG=1".into());
        }
    }

    fn stopping(&mut self) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            self.tell("STOPPING=1".into());
        }
    }

    /// When [`Self::tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries again what could not be said.
    pub fn tick(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.send();
        }
    }

    fn tell(&mut self, message: String) {
        if self.kept.len() == MOST {
            // The older say less of how it is now.
            self.kept.pop_front();
        }
        self.kept.push_back(message);
        self.send();
    }

    fn send(&mut self) {
        while let Some(message) = self.kept.front() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match sendto(self.socket.as_raw_fd(), message.as_bytes(), &self.address, flags) {
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    self.retry_at.get_or_insert(Instant::now() + PAUSE);
                    return;
                }
                Err(Errno::EINTR) => continue,
                Ok(_) => {}
                // It is being started anew, or gone.
                Err(errno) => log::debug!("{SOCKET}: {}", errno.desc()),
            }
            self.kept.pop_front();
        }
    }
}

/// A path, or with an @ a name in the abstract namespace.
fn address(name: &OsStr) -> Result<UnixAddr, String> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name),
        [b'/', ..] => UnixAddr::new(name),
        _ => return Err("is neither an absolute path nor an abstract name".into()),
    };
    address.map_err(|errno| errno.desc().into())
}

fn monotonic_microseconds() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_managers_socket_is_a_path_or_an_abstract_name() {
        assert!(address(OsStr::new("/run/systemd/notify")).unwrap().path().is_some());
        assert_eq!(address(OsStr::new("@a")).unwrap().as_abstract(), Some(&b"a"[..]));
        for wrong in ["run/notify", "vsock:2:9999"] {
            assert_eq!(
                address(OsStr::new(wrong)),
                Err("is neither an absolute path nor an abstract name".into())
            );
        }
    }
}
