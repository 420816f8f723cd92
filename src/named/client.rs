//! How a command talks to monitors, to many at once and to none that is not the one that holds the lock; and to the server of a
//! pool.
//!
//! What is asked, and what is done with the answers, is the commands'.

#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use launch_init::sys::{adopt_descriptor, open_pidfd};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect,
    getsockopt, recvmsg, sendmsg, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, geteuid};

use super::control::{LONGEST_LINE, Reply, Request};
use super::name::Name;
use super::progress::Progress;
use super::registry::{Found, Standing, control_address};
use super::state::State;
use crate::error::Error;

/// How long a monitor may take for what it answers at once. It takes a millisecond, unless it is stopped.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// When a socket that is not there yet is looked for again.
const AGAIN: Duration = Duration::from_millis(5);

/// What is asked, and how long the answer may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What.
    pub request: Request,
    /// None: as long as it takes.
    pub patience: Option<Duration>,
}

impl Question {
    /// One that is answered at once.
    pub fn quick(request: Request) -> Self {
        Self { request, patience: Some(PATIENCE) }
    }

    /// One whose answer takes as long as it takes.
    pub fn slow(request: Request) -> Self {
        Self { request, patience: None }
    }
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The monitor's; never [`Reply::Refused`].
    Reply(Reply),
    /// There is no monitor to ask: the sandbox has ended.
    Over(Box<State>),
    /// There is none, but it has not ended: its monitor was killed.
    Stale,
    /// Its folder is gone.
    Removed,
    /// The monitor, this process, has not answered in time.
    Silent(Pid),
}

/// Whom a connection leads to.
#[derive(Debug, Clone)]
enum Listener {
    /// The monitor of this sandbox.
    Monitor(Name),
    /// The server of a pool that listens there.
    Pool(PathBuf),
}

impl Listener {
    fn failed(&self, errno: Errno) -> Error {
        match self {
            Self::Monitor(name) => failed(name, errno),
            Self::Pool(_) => self.wrong(errno.desc()),
        }
    }

    fn wrong(&self, reason: impl Into<String>) -> Error {
        match self {
            Self::Monitor(name) => wrong(name, reason),
            Self::Pool(path) => Error::Server(path.into(), reason.into()),
        }
    }

    fn says(&self, what: &str) -> Error {
        match self {
            Self::Monitor(name) => wrong(name, format!("control socket: its monitor says {what}")),
            Self::Pool(_) => self.wrong(format!("says {what}")),
        }
    }
}

/// A connection to a monitor, or to the server of a pool.
#[derive(Debug)]
pub struct Connection {
    listener: Listener,
    process: Pid,
    socket: OwnedFd,
    pidfd: OwnedFd,
    unsent: Vec<u8>,
    received: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

enum Opened {
    Connected(Connection),
    /// The monitor does not listen yet.
    NotYet,
    /// There is no monitor any more.
    Gone,
}

enum Heard {
    Nothing,
    Reply(Reply),
    End,
}

impl Connection {
    /// A connection to the monitor of this sandbox; none if that is gone.
    ///
    /// # Errors
    /// [`Error::Sandbox`]: its socket is not to be trusted, or nobody listens there for [`PATIENCE`].
    pub fn open(found: &Found) -> Result<Option<Self>, Error> {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            match Self::try_open(found)? {
                Opened::Connected(connection) => return Ok(Some(connection)),
                Opened::Gone => return Ok(None),
                Opened::NotYet if Instant::now() >= give_up_at => {
                    return Err(wrong(found.name(), "control socket: nobody listens there"));
                }
                Opened::NotYet => {
                    sleep(&mut [], Some(AGAIN)).map_err(|errno| failed(found.name(), errno))?;
                }
            }
        }
    }

    /// That the socket is the monitor's is seen by two facts of the kernel's: who listens there, and who holds the lock. The
    /// lock is asked for last: the process that has the pid then has had it since before the pidfd.
    fn try_open(found: &Found) -> Result<Opened, Error> {
        let failed = |errno| failed(found.name(), errno);
        let Standing::Running(monitor) = found.standing else { return Ok(Opened::Gone) };
        if monitor.as_raw() <= 0 {
            return Err(wrong(found.name(), "its monitor is in another PID namespace"));
        }
        let pidfd = match open_pidfd(monitor) {
            Ok(pidfd) => pidfd,
            Err(Errno::ESRCH) => return Ok(Opened::Gone),
            Err(errno) => return Err(failed(errno)),
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
        match connect(socket.as_raw_fd(), &control_address(found.dir()).map_err(failed)?) {
            Ok(()) => {}
            // Also if more are waiting there than the kernel lets.
            Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EAGAIN) => {
                return Ok(match found.holder().map_err(failed)? {
                    Some(holder) if holder == monitor => Opened::NotYet,
                    _ => Opened::Gone,
                });
            }
            Err(errno) => return Err(failed(errno)),
        }
        let peer = getsockopt(&socket, sockopt::PeerCredentials).map_err(failed)?;
        if found.holder().map_err(failed)? != Some(monitor) {
            return Ok(Opened::Gone);
        }
        let is_trusted = peer.uid() == geteuid().as_raw() || peer.uid() == 0;
        if peer.pid() != monitor.as_raw() || !is_trusted {
            let reason = format!(
                "control socket: is somebody else's (pid {}, uid {}), not that of its monitor (pid {monitor})",
                peer.pid(),
                peer.uid()
            );
            return Err(wrong(found.name(), reason));
        }
        Ok(Opened::Connected(Self::through(socket, Listener::Monitor(found.name().clone()), monitor, pidfd)))
    }

    /// A connection to the server of a pool.
    ///
    /// # Errors
    /// [`Error::Server`]: nobody listens there, or somebody who is not to be trusted.
    pub fn to_server(path: &Path) -> Result<Self, Error> {
        let listener = Listener::Pool(path.into());
        let failed = |errno| listener.failed(errno);
        let address = UnixAddr::new(path).map_err(failed)?;
        let socket =
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
        // One that has many waiting is waited for.
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => {
                return Err(listener.wrong("nobody listens there; launch serve does"));
            }
            Err(errno) => return Err(failed(errno)),
        }
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
        // It gets our descriptors, and what it gives us is what we wait for.
        let credentials = getsockopt(&socket, sockopt::PeerCredentials).map_err(failed)?;
        if credentials.uid() != geteuid().as_raw() && credentials.uid() != 0 {
            return Err(listener.wrong(format!("is another user's (uid {})", credentials.uid())));
        }
        let process = Pid::from_raw(credentials.pid());
        // So it could not be forwarded signals, either.
        if process.as_raw() <= 0 {
            return Err(listener.wrong("is in another PID namespace"));
        }
        let pidfd = open_pidfd(process).map_err(failed)?;
        Ok(Self::through(socket, listener, process, pidfd))
    }

    fn through(socket: OwnedFd, listener: Listener, process: Pid, pidfd: OwnedFd) -> Self {
        Self { listener, process, socket, pidfd, unsent: vec![], received: vec![], descriptors: vec![] }
    }

    /// The monitor's pidfd: by it, its end is seen.
    pub fn monitor(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The socket: to be waited for beside others.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a request, and descriptors with it. What the socket does not take at once follows when the answer is waited for.
    ///
    /// # Errors
    /// [`Error::Sandbox`]
    pub fn ask(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let failed = |errno| self.listener.failed(errno);
        let mut line = serde_json::to_vec(request).map_err(|_| failed(Errno::EINVAL))?;
        line.push(b'\n');
        if line.len() > LONGEST_LINE {
            return Err(failed(Errno::E2BIG));
        }
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let sent = sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&line)],
            if raw.is_empty() { &[] } else { &rights },
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        let sent = match sent {
            Ok(sent) => sent,
            // That it is gone is seen when the answer does not come.
            Err(Errno::EPIPE | Errno::ECONNRESET) => line.len(),
            Err(Errno::EAGAIN) if raw.is_empty() => 0,
            Err(errno) => return Err(failed(errno)),
        };
        self.unsent = line.split_off(sent);
        Ok(())
    }

    /// The answer, and the descriptors that came with it; none if the monitor has ended, or has closed the connection.
    ///
    /// # Errors
    /// [`Error::Sandbox`]: it was refused, it cannot be read, or it does not come in time.
    pub fn answer(&mut self, patience: Option<Duration>) -> Result<Option<(Reply, Vec<OwnedFd>)>, Error> {
        let give_up_at = patience.map(|patience| Instant::now() + patience);
        loop {
            match self.go_on()? {
                Heard::Reply(reply) => return Ok(Some((reply, std::mem::take(&mut self.descriptors)))),
                Heard::End => return Ok(None),
                Heard::Nothing => {}
            }
            let left = give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(self.silent());
            }
            let events = self.events();
            sleep(&mut [PollFd::new(self.socket.as_fd(), events)], left)
                .map_err(|errno| self.listener.failed(errno))?;
        }
    }

    fn silent(&self) -> Error {
        match &self.listener {
            Listener::Monitor(name) => silent(name, self.process),
            Listener::Pool(_) => self.listener.wrong(does_not_answer("", self.process)),
        }
    }

    fn events(&self) -> PollFlags {
        if self.unsent.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT }
    }

    /// Sends what is left and reads what is there.
    fn go_on(&mut self) -> Result<Heard, Error> {
        if !self.unsent.is_empty() {
            match nix::sys::socket::send(self.socket.as_raw_fd(), &self.unsent, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => self.unsent.clear(),
                Err(errno) => return Err(self.listener.failed(errno)),
            }
        }
        let mut looked_at = 0;
        loop {
            if let Some(end) = self.received[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=looked_at + end).collect();
                let reply = serde_json::from_slice(&line)
                    .map_err(|error| self.listener.says(&format!("what makes no sense: {error}")))?;
                return match reply {
                    Reply::Refused { reason } => Err(self.listener.wrong(reason)),
                    reply => Ok(Heard::Reply(reply)),
                };
            }
            looked_at = self.received.len();
            if looked_at > LONGEST_LINE {
                return Err(self.listener.says("too much"));
            }
            match self.receive() {
                Ok(0) | Err(Errno::ECONNRESET) => return Ok(Heard::End),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Heard::Nothing),
                Err(errno) => return Err(self.listener.failed(errno)),
            }
        }
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        let mut buffer = [0; 16384];
        let mut control = cmsg_space!([RawFd; 4]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                for descriptor in descriptors {
                    self.descriptors.push(adopt_descriptor(descriptor)?);
                }
            }
        }
        let length = message.bytes;
        self.received.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

/// One of those that are asked.
struct Peer {
    found: Found,
    stage: Stage,
}

enum Stage {
    /// Its socket is not there yet, and is looked for again.
    Opening {
        again_at: Instant,
        give_up_at: Instant,
    },
    /// Question of this number has been asked.
    Asked {
        connection: Connection,
        number: usize,
        give_up_at: Option<Instant>,
    },
    /// It has said all, and ends, or has not, and does: what it leaves behind is complete when it has.
    Ending {
        connection: Connection,
        number: usize,
        reply: Option<Reply>,
        give_up_at: Instant,
    },
    Done,
}

/// Asks all of these the questions, one after the other, and hands each its answer to the last one, or the first that is
/// no reply, as it comes. A sandbox that is said to have ended has let go of its folder by then.
pub fn ask_all(
    found: Vec<Found>,
    questions: &[Question],
    progress: &mut Progress,
    mut each: impl FnMut(Found, Result<Answer, Error>, &mut Progress),
) {
    allow_many_descriptors();
    let now = Instant::now();
    let stage = || Stage::Opening { again_at: now, give_up_at: now + PATIENCE };
    let mut peers: Vec<_> = found.into_iter().map(|found| Peer { found, stage: stage() }).collect();
    let mut ready: Vec<bool> = vec![true; peers.len()];
    while !peers.is_empty() {
        let mut left = Vec::with_capacity(peers.len());
        for (mut peer, ready) in peers.into_iter().zip(ready) {
            let answer = if ready || peer.deadline().is_some_and(|at| at <= Instant::now()) {
                peer.go_on(questions)
            } else {
                Ok(None)
            };
            match answer {
                Ok(None) => left.push(peer),
                Ok(Some(answer)) => each(peer.found, Ok(answer), progress),
                Err(error) => each(peer.found, Err(error), progress),
            }
        }
        peers = left;
        if peers.is_empty() {
            return;
        }
        let tick_at = progress.tick();
        let until = peers.iter().filter_map(Peer::deadline).chain(tick_at).min();
        let mut polled: Vec<_> = peers.iter().map(Peer::polled).collect();
        let awaited: Vec<_> = polled.iter().map(Option::is_some).collect();
        let mut waiting: Vec<_> = polled.iter_mut().filter_map(Option::take).collect();
        let limit = until.map(|at| at.saturating_duration_since(Instant::now()));
        // If it fails, nothing is known of them, and nothing is lost by looking.
        let waited = sleep(&mut waiting, limit);
        let mut results = waiting.iter().map(|polled| waited.is_err() || polled.any() != Some(false));
        ready = awaited.into_iter().map(|is_awaited| is_awaited && results.next().unwrap_or(true)).collect();
    }
}

impl Peer {
    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Opening { again_at, .. } => Some(*again_at),
            Stage::Asked { give_up_at, .. } => *give_up_at,
            Stage::Ending { give_up_at, .. } => Some(*give_up_at),
            Stage::Done => None,
        }
    }

    fn polled(&self) -> Option<PollFd<'_>> {
        match &self.stage {
            Stage::Opening { .. } | Stage::Done => None,
            Stage::Asked { connection, .. } => Some(PollFd::new(connection.socket(), connection.events())),
            Stage::Ending { connection, .. } => Some(PollFd::new(connection.monitor(), PollFlags::POLLIN)),
        }
    }

    /// Does what can be done without waiting; the answer, if it is there.
    fn go_on(&mut self, questions: &[Question]) -> Result<Option<Answer>, Error> {
        loop {
            let now = Instant::now();
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Opening { give_up_at, .. } => match Connection::try_open(&self.found)? {
                    Opened::Connected(connection) => self.ask(connection, questions, 0)?,
                    Opened::Gone => match self.settled()? {
                        Some(answer) => return Ok(Some(answer)),
                        // A new one has it by now.
                        None if now < give_up_at => self.stage = Stage::Opening { again_at: now, give_up_at },
                        None => {
                            return Err(wrong(
                                self.found.name(),
                                "has another monitor each time it is looked at",
                            ));
                        }
                    },
                    Opened::NotYet if now >= give_up_at => return Ok(self.silent()),
                    Opened::NotYet => {
                        self.stage = Stage::Opening { again_at: now + AGAIN, give_up_at };
                        return Ok(None);
                    }
                },
                Stage::Asked { mut connection, number, give_up_at } => match connection.go_on()? {
                    Heard::Nothing if give_up_at.is_some_and(|at| at <= now) => return Ok(self.silent()),
                    Heard::Nothing => {
                        self.stage = Stage::Asked { connection, number, give_up_at };
                        return Ok(None);
                    }
                    Heard::Reply(reply @ Reply::Ended { .. }) => {
                        self.stage = Stage::Ending {
                            connection,
                            number,
                            reply: Some(reply),
                            give_up_at: now + PATIENCE,
                        };
                    }
                    Heard::Reply(_) if number + 1 < questions.len() => {
                        self.ask(connection, questions, number + 1)?;
                    }
                    Heard::Reply(reply) => return Ok(Some(Answer::Reply(reply))),
                    Heard::End => {
                        self.stage =
                            Stage::Ending { connection, number, reply: None, give_up_at: now + PATIENCE };
                    }
                },
                Stage::Ending { connection, number, reply, give_up_at } => {
                    let mut polled = [PollFd::new(connection.monitor(), PollFlags::POLLIN)];
                    let has_ended =
                        sleep(&mut polled, Some(Duration::ZERO)).is_err() || polled[0].any() != Some(false);
                    if !has_ended && now < give_up_at {
                        self.stage = Stage::Ending { connection, number, reply, give_up_at };
                        return Ok(None);
                    }
                    if let Some(reply) = reply {
                        return Ok(Some(Answer::Reply(reply)));
                    }
                    if let Some(answer) = self.settled()? {
                        return Ok(Some(answer));
                    }
                    if self.found.standing == Standing::Running(connection.process) {
                        return Err(wrong(self.found.name(), "control socket: closed without an answer"));
                    }
                    // Another sandbox has the name by now. It can be looked at as well, but is not what was to be ended.
                    match questions.get(number).map(|question| &question.request) {
                        Some(Request::State | Request::Usage) => {
                            self.stage = Stage::Opening { again_at: now, give_up_at: now + PATIENCE };
                        }
                        _ => {
                            return Err(wrong(
                                self.found.name(),
                                "has ended, and another one has its name now",
                            ));
                        }
                    }
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    fn ask(
        &mut self,
        mut connection: Connection,
        questions: &[Question],
        number: usize,
    ) -> Result<(), Error> {
        let Some(question) = questions.get(number) else { return Ok(()) };
        connection.ask(&question.request, &[])?;
        let give_up_at = question.patience.map(|patience| Instant::now() + patience);
        self.stage = Stage::Asked { connection, number, give_up_at };
        Ok(())
    }

    /// What the folder says when there is no monitor to be asked; none if there is one.
    fn settled(&mut self) -> Result<Option<Answer>, Error> {
        let name = self.found.name().clone();
        let standing = self.found.look_again().map_err(|errno| wrong(&name, errno.desc()))?;
        Ok(match standing {
            Standing::Running(_) => None,
            Standing::Over(state) => Some(Answer::Over(state.clone())),
            Standing::Stale => Some(Answer::Stale),
            Standing::Removed => Some(Answer::Removed),
        })
    }

    fn silent(&self) -> Option<Answer> {
        match self.found.standing {
            Standing::Running(pid) => Some(Answer::Silent(pid)),
            _ => None,
        }
    }
}

/// Each sandbox takes three.
pub(crate) fn allow_many_descriptors() {
    // Where that fails, those are asked for whom they suffice, and an error tells of the others.
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
}

/// Sleeps until one of these is ready, or the time is over.
fn sleep(polled: &mut [PollFd<'_>], limit: Option<Duration>) -> Result<(), Errno> {
    ppoll(polled, limit.map(TimeSpec::from_duration), None).map(drop)
}

/// That a monitor does not answer, and what can be done.
pub fn silent(name: &Name, monitor: Pid) -> Error {
    wrong(name, does_not_answer("its monitor ", monitor))
}

fn does_not_answer(who: &str, process: Pid) -> String {
    format!("{who}(pid {process}) does not answer; if it is stopped, kill -CONT {process}")
}

fn failed(name: &Name, errno: Errno) -> Error {
    wrong(name, format!("control socket: {}", errno.desc()))
}

fn wrong(name: &Name, reason: impl Into<String>) -> Error {
    Error::Sandbox(name.as_str().into(), reason.into())
}
