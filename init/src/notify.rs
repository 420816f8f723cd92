//! What the workload says of itself through NOTIFY_SOCKET; see sd_notify(3).
//!
//! The socket has an abstract address of the kernel's choice, in the network namespace that the workload sees: there is no
//! path that a read-only root could lack, or somebody could put something else at. Everybody in that namespace can send to
//! it, so what is not sent from inside is thrown away: the kernel tells the sender's pid as init sees it (unix(7),
//! SCM_CREDENTIALS), and none of those outside has one.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::IoSliceMut;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind, getsockname, recv, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::unistd::getpid;

use crate::descendants;
use crate::supervisor::Said;

/// A message is no longer; what systemd takes, too (NOTIFY_BUFFER_MAX).
const LONGEST: usize = 4096;
/// Messages that are read before something else is done.
const AT_ONCE: usize = 64;
/// Messages that are thrown away at once; no queue is longer (net.unix.max_dgram_qlen), by default.
const MOST_FORGOTTEN: usize = 1024;

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// What the supervisor wants to know.
    Said(Said),
    /// STATUS=
    Status(String),
}

/// Where it comes in.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: OwnedFd,
}

impl NotifySocket {
    /// Listens.
    ///
    /// # Errors
    /// As socket(2), setsockopt(2) and bind(2).
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        // Without a name, the kernel gives one; unix(7), "Autobind feature".
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        Ok(Self { socket })
    }

    /// `NOTIFY_SOCKET=@name`.
    ///
    /// # Errors
    /// As getsockname(2).
    pub(crate) fn variable(&self) -> Result<OsString, Errno> {
        let address: UnixAddr = getsockname(self.socket.as_raw_fd())?;
        let name = address.as_abstract().ok_or(Errno::EADDRNOTAVAIL)?;
        Ok(format!("NOTIFY_SOCKET=@{}", String::from_utf8_lossy(name)).into())
    }

    /// Calls `each` with what has been said from inside; what comes meanwhile may be left for the next time. `main` is
    /// inside, even if it has just been reaped.
    pub(crate) fn drain(&self, main: i32, mut each: impl FnMut(Note)) {
        for _ in 0..AT_ONCE {
            match self.receive(main) {
                Ok(Some(text)) => notes(&text).into_iter().for_each(&mut each),
                Ok(None) => {}
                Err(Errno::EAGAIN) => return,
                Err(errno) => return log::warn!("notify socket: {}", errno.desc()),
            }
        }
    }

    /// Throws away what has been said until now.
    pub(crate) fn forget(&self) {
        let mut byte = [0];
        // Whoever is inside now goes on saying things; then nothing is lost by an end.
        for _ in 0..MOST_FORGOTTEN {
            match recv(self.socket.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(errno) => {
                    if errno != Errno::EAGAIN {
                        log::warn!("notify socket: {}", errno.desc());
                    }
                    return;
                }
            }
        }
    }

    /// None: a message from outside, or one that is too long. Descriptors that come with one are closed by the kernel,
    /// which finds no room for them; that is what ends sd_notify_barrier(3).
    fn receive(&self, main: i32) -> Result<Option<String>, Errno> {
        let mut buffer = [0; LONGEST];
        let mut control = vec![0; cmsg_space!(UnixCredentials).capacity()];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let (length, flags) = (message.bytes, message.flags);
        let sender = sender_in(&control);
        let is_whole = !flags.contains(MsgFlags::MSG_TRUNC);
        if !is_whole || !sender.is_some_and(|sender| sender == main || is_inside(sender)) {
            log::debug!("notify socket: a message from outside, or too long, is not heard");
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&buffer[..length]).into_owned()))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The sender's pid in the control messages, the first of which the kernel has it in (cmsg(3), unix(7)). nix shows none of them
/// where one did not fit, as the descriptors do not.
fn sender_in(control: &[u8]) -> Option<i32> {
    let number = |at: usize| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let level = number(offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = number(offset_of!(libc::cmsghdr, cmsg_type))?;
    let pid = number(size_of::<libc::cmsghdr>() + offset_of!(libc::ucred, pid))?;
    ((level, kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)).then_some(pid)
}

/// Whoever has no pid here is outside. Without a PID namespace of its own, only those below init are inside.
fn is_inside(sender: i32) -> bool {
    match getpid().as_raw() {
        1 => sender > 0,
        _ => descendants::of_this_process().contains(&sender),
    }
}

/// What a message says; what is unknown says nothing.
fn notes(text: &str) -> Vec<Note> {
    let note = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some(Note::Said(match (key, value) {
            ("READY", "1") => Said::Ready,
            ("RELOADING", "1") => Said::Reloading,
            ("STOPPING", "1") => Said::Stopping,
            ("WATCHDOG", "1") => Said::Alive,
            ("WATCHDOG", "trigger") => Said::Trigger,
            ("MAINPID", pid) => Said::MainPid(pid.parse().ok().filter(|pid| *pid > 1)?),
            ("STATUS", status) => return Some(Note::Status(status.into())),
            _ => return None,
        }))
    };
    text.lines().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_one_thing_and_unknown_ones_nothing() {
        let said = |said| Note::Said(said);
        assert_eq!(
            notes("READY=1\nSTATUS=3 of 7 = fine\nMAINPID=77\nWATCHDOG=1\nFDSTORE=1\n\nX"),
            [
                said(Said::Ready),
                Note::Status("3 of 7 = fine".into()),
                said(Said::MainPid(77)),
                said(Said::Alive)
            ]
        );
        assert_eq!(
            notes("RELOADING=1\nMONOTONIC_USEC=5\nSTOPPING=1\nWATCHDOG=trigger"),
            [said(Said::Reloading), said(Said::Stopping), said(Said::Trigger)]
        );
        for nothing in ["", "READY=0", "READY", "MAINPID=x", "MAINPID=1", "MAINPID=-1", "MAINPID=0"] {
            assert_eq!(notes(nothing), [], "{nothing}");
        }
    }
}
