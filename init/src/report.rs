//! The way from init to the launcher: reports, and log lines as reports.

#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recv, recvmsg, sendmsg,
};
use nix::unistd::Pid;

use crate::error::Error;
use crate::handoff::{HEADER, Happening, Join, Plan, Report, Task, body_length};
use crate::sys;

/// So much of a socket's buffer (some 200 KB, socket(7), wmem_default) may be full of what can be dropped.
const LEAVES_ROOM: usize = 64 << 10;

/// The channel to the launcher. End of file on it means that the launcher is gone.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    /// The pid of a workload that runs, which has not been said yet: it goes before whatever is said next.
    held: AtomicI32,
}

/// Nothing is held.
const NOBODY: i32 = 0;

impl Channel {
    /// Speaks through this end of a socket pair.
    pub fn new(end: OwnedFd) -> Self {
        Self { stream: end.into(), held: AtomicI32::new(NOBODY) }
    }

    /// The plan, and what has been received after it: the beginning of orders. `received` is what has come already, the
    /// plan's beginning at least.
    ///
    /// # Errors
    /// [`Error::LauncherGone`], [`Error::Channel`], [`Error::Plan`]
    pub(crate) fn receive_plan(&self, mut received: Vec<u8>) -> Result<(Plan, Vec<u8>), Error> {
        self.fill(&mut received, HEADER)?;
        let header = received.first_chunk().copied().unwrap_or_default();
        let length = HEADER + body_length(header).map_err(Error::Plan)?;
        self.fill(&mut received, length)?;
        let plan = Plan::decode(&received[HEADER..length]).map_err(Error::Plan)?;
        Ok((plan, received.split_off(length)))
    }

    /// Waits until there are so many bytes.
    fn fill(&self, received: &mut Vec<u8>, length: usize) -> Result<(), Error> {
        let have = received.len();
        if have < length {
            received.resize(length, 0);
            self.read_exact(&mut received[have..])?;
        }
        Ok(())
    }

    /// Waits for what a process that joins a sandbox has to do.
    ///
    /// # Errors
    /// As [`Self::receive_plan`].
    pub fn receive_join(&self) -> Result<Join, Error> {
        Join::decode(&self.receive_frame()?).map_err(Error::Plan)
    }

    /// Waits for what a sandbox that was made ahead is to run, and takes the descriptors that come with it.
    ///
    /// # Errors
    /// As [`Self::receive_plan`].
    pub(crate) fn receive_task(&self) -> Result<(Task, Vec<OwnedFd>), Error> {
        let mut header = [0; HEADER];
        // They come with the first byte.
        let (length, descriptors) =
            self.receive_with_descriptors(&mut header).map_err(|errno| match errno {
                Errno::ECONNRESET => Error::LauncherGone,
                errno => Error::Channel(errno),
            })?;
        if length == 0 {
            return Err(Error::LauncherGone);
        }
        self.read_exact(&mut header[length..])?;
        let task = Task::decode(&self.receive_body(header)?).map_err(Error::Plan)?;
        // The kernel leaves out those for which there is no number left.
        let expected = task.stdio.iter().filter(|comes| **comes).count();
        if descriptors.len() == expected {
            Ok((task, descriptors))
        } else {
            Err(Error::Channel(Errno::EMFILE))
        }
    }

    fn receive_with_descriptors(&self, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
        let mut control = nix::cmsg_space!([RawFd; 3]);
        let mut descriptors = Vec::new();
        loop {
            let mut parts = [IoSliceMut::new(&mut *buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.stream.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => {
                    for part in message.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(numbers) = part {
                            for number in numbers {
                                descriptors.push(sys::adopt_descriptor(number)?);
                            }
                        }
                    }
                    return Ok((message.bytes, descriptors));
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The body of the next frame.
    fn receive_frame(&self) -> Result<Vec<u8>, Error> {
        let mut header = [0; HEADER];
        self.read_exact(&mut header)?;
        self.receive_body(header)
    }

    fn receive_body(&self, header: [u8; HEADER]) -> Result<Vec<u8>, Error> {
        let mut body = vec![0; body_length(header).map_err(Error::Plan)?];
        self.read_exact(&mut body)?;
        Ok(body)
    }

    fn read_exact(&self, buffer: &mut [u8]) -> Result<(), Error> {
        std::io::Read::read_exact(&mut &self.stream, buffer).map_err(|error| match error.raw_os_error() {
            None | Some(libc::ECONNRESET) => Error::LauncherGone,
            Some(errno) => Error::Channel(Errno::from_raw(errno)),
        })
    }

    /// Sends a report, waiting until there is room for it.
    ///
    /// # Errors
    /// EPIPE: the launcher is gone, which the event loop learns too.
    pub fn send(&self, report: &Report) -> Result<(), Errno> {
        self.send_frame(report, &[], MsgFlags::empty())
    }

    /// Sends a report if there is room for it now: a launcher that is stopped, or does not read, must not hold PID 1 up.
    ///
    /// # Errors
    /// EAGAIN: there is none. EPIPE, as [`Self::send`].
    pub fn send_if_room(&self, report: &Report) -> Result<(), Errno> {
        // The last report, which waits for room, shall never have to.
        if sys::unread_bytes(self.stream.as_fd())? > LEAVES_ROOM {
            return Err(Errno::EAGAIN);
        }
        self.send_frame(report, &[], MsgFlags::MSG_DONTWAIT)
    }

    /// Sends a report of the workload's life if there is room for it now, with its pid in the launcher's terms where it has
    /// one.
    ///
    /// # Errors
    /// As [`Self::send_if_room`].
    pub(crate) fn tell(&self, report: &Report) -> Result<(), Errno> {
        let pid = match report {
            Report::Started { pid, .. } | Report::Happened(Happening::MainPid(pid)) => *pid,
            _ => return self.send_if_room(report),
        };
        if sys::unread_bytes(self.stream.as_fd())? > LEAVES_ROOM {
            return Err(Errno::EAGAIN);
        }
        match self.send_with_pid(report, pid, MsgFlags::MSG_DONTWAIT) {
            // It has ended and been reaped meanwhile; its end is told of next.
            Err(Errno::ESRCH) => self.send_frame(report, &[], MsgFlags::MSG_DONTWAIT),
            sent => sent,
        }
    }

    /// Appends to `bytes` what the launcher has said, as far as it has come.
    ///
    /// # Errors
    /// EAGAIN: nothing. EPIPE: it is gone.
    pub(crate) fn receive(&self, bytes: &mut Vec<u8>) -> Result<(), Errno> {
        let mut buffer = [0; 256];
        match recv(self.stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)? {
            0 => Err(Errno::EPIPE),
            length => {
                bytes.extend_from_slice(&buffer[..length]);
                Ok(())
            }
        }
    }

    /// Gives up its number, if it is this one.
    ///
    /// # Errors
    /// EMFILE
    pub(crate) fn away_from(&mut self, number: i32) -> Result<(), Errno> {
        if self.stream.as_raw_fd() == number {
            self.stream = sys::duplicate(number)?.into();
        }
        Ok(())
    }

    /// Says that the workload runs. Its pid goes as the sender's credentials, which the kernel translates into
    /// the launcher's PID namespace (unix(7), SCM_CREDENTIALS); nobody has to search /proc for it.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_started(&self, workload: Pid, namespaces: Vec<(String, u64)>) -> Result<(), Errno> {
        let pid = workload.as_raw();
        self.send_with_pid(&Report::Started { pid, namespaces }, pid, MsgFlags::empty())
    }

    /// The same, but with what is said next, or by [`Self::say_what_is_held`]: a launcher for whom nobody waits is woken up
    /// once by a workload that ends at once, and not twice.
    pub(crate) fn hold_started(&self, workload: Pid) {
        self.held.store(workload.as_raw(), Ordering::Relaxed);
    }

    /// Says what is held, if anything is.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) fn say_what_is_held(&self) -> Result<(), Errno> {
        match self.held.swap(NOBODY, Ordering::Relaxed) {
            NOBODY => Ok(()),
            pid => match self.send_with_pid(&started(pid), pid, MsgFlags::empty()) {
                // It has ended and been reaped meanwhile, and others are left.
                Err(Errno::ESRCH) => self.send(&started(pid)),
                sent => sent,
            },
        }
    }

    fn send_with_pid(&self, report: &Report, pid: i32, flags: MsgFlags) -> Result<(), Errno> {
        // PID 1 stays who it is.
        let (uid, gid) = sys::executed_by();
        let credentials = UnixCredentials::from(libc::ucred { pid, uid, gid });
        self.send_frame(report, &[ControlMessage::ScmCredentials(&credentials)], flags)
    }

    /// Hands the launcher the master of the sandbox's own terminal.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_terminal(&self, master: BorrowedFd<'_>) -> Result<(), Errno> {
        let descriptors = [master.as_raw_fd()];
        self.send_frame(&Report::Terminal, &[ControlMessage::ScmRights(&descriptors)], MsgFlags::empty())
    }

    fn send_frame(
        &self,
        report: &Report,
        control: &[ControlMessage<'_>],
        flags: MsgFlags,
    ) -> Result<(), Errno> {
        let mut frame = report.encode().map_err(|_| Errno::EMSGSIZE)?;
        if let Report::Ended(_) = report {
            // In one message, without the pid, since it has been reaped: nobody can do anything with that any more.
            match self.held.swap(NOBODY, Ordering::Relaxed) {
                NOBODY => {}
                pid => frame = [started(pid).encode().map_err(|_| Errno::EMSGSIZE)?, frame].concat(),
            }
        } else {
            self.say_what_is_held()?;
        }
        let mut rest = frame.as_slice();
        let mut control = control;
        while !rest.is_empty() {
            let flags = flags | MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<()>(self.stream.as_raw_fd(), &[IoSlice::new(rest)], control, flags, None) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            }
            control = &[];
        }
        Ok(())
    }
}

fn started(pid: i32) -> Report {
    Report::Started { pid, namespaces: Vec::new() }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Makes `log`'s lines reports. PID 1 keeps no terminal and no file open for them, and the launcher writes its
/// own lines and these one after another.
pub fn log_through(channel: &'static Channel, level: u8) {
    let level = LevelFilter::iter().nth(level.into()).unwrap_or(LevelFilter::Trace);
    if level != LevelFilter::Off && log::set_logger(Box::leak(Box::new(ChannelLog(channel)))).is_ok() {
        log::set_max_level(level);
    }
}

struct ChannelLog(&'static Channel);

/// Longer lines are cut: a frame of this size is sent whole or not at all.
const LONGEST_LINE: usize = 4096;

impl Log for ChannelLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let mut message = record.args().to_string();
        message.truncate(message.floor_char_boundary(LONGEST_LINE));
        let report = Report::Log { level: record.level() as u8, message };
        // A line for which there is no room is dropped.
        let _ = self.0.send_if_room(&report);
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Outcome;
    use crate::handoff::first_body;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    /// What comes with the first message, and how many messages there are.
    fn said(say: impl FnOnce(&Channel)) -> (Vec<Report>, usize) {
        let kind = (AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = socketpair(kind.0, kind.1, None, kind.2).expect("socketpair");
        let channel = Channel::new(theirs);
        channel.hold_started(Pid::this());
        say(&channel);
        drop(channel);
        let mut buffer = [0; 4096];
        let mut messages = Vec::new();
        loop {
            match recv(ours.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("recv") {
                0 => break,
                length => messages.push(buffer[..length].to_vec()),
            }
        }
        let mut bytes: &[u8] = &messages.concat();
        let mut reports = Vec::new();
        while let Some(body) = first_body(bytes).expect("frame") {
            reports.push(Report::decode(body).expect("report"));
            bytes = &bytes[HEADER + body.len()..];
        }
        (reports, messages.len())
    }

    #[test]
    fn a_start_that_is_held_is_said_once_and_before_all_that_follows() {
        let started = started(Pid::this().as_raw());
        let ended = Report::Ended(Outcome::Exited(3));
        let stopped = Report::Stopped { signal: libc::SIGTSTP };
        let each = [
            (said(|_| ()), vec![], 0),
            (said(|channel| channel.send(&ended).expect("send")), vec![started.clone(), ended.clone()], 1),
            (
                said(|channel| {
                    channel.send_if_room(&stopped).expect("send");
                    channel.say_what_is_held().expect("nothing is held");
                    channel.send(&ended).expect("send");
                }),
                vec![started.clone(), stopped, ended.clone()],
                3,
            ),
            (said(|channel| channel.say_what_is_held().expect("send")), vec![started.clone()], 1),
            (
                said(|channel| {
                    // Nobody has this pid any more.
                    channel.hold_started(Pid::from_raw(i32::MAX - 1));
                    channel.say_what_is_held().expect("send");
                }),
                vec![super::started(i32::MAX - 1)],
                1,
            ),
        ];
        for ((reports, messages), expected, count) in each {
            assert_eq!((reports, messages), (expected, count));
        }
    }
}
