//! The monitor's side of the socket `control`, and the server's of a pool: takes in commands, their requests, and the replies to
//! them, and never waits for any of them.
//!
//! What a request means is monitor.rs's and serve/'s to say.

#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use launch_init::sys::{adopt_descriptor, open_null};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt,
};
use nix::unistd::geteuid;

use super::control::{LONGEST_LINE, Reply, Request};

/// At most so many commands are connected.
const MOST_CLIENTS: usize = 64;
/// At most so much is read from one at a time, so that the others get their turn.
const CHUNK: usize = 64 << 10;
/// The most that all of them together may have begun to say.
const MOST_BYTES: usize = 2 * LONGEST_LINE;
/// More descriptors come with no request.
const MOST_DESCRIPTORS: usize = 4;
/// How long a command may take to say a request, or to take a reply.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long who connects has to say something before he makes room for another who waits.
const HURRY: Duration = Duration::from_secs(1);
/// Between [`Server::interests`] and [`Server::deadline`] less time passes.
const A_MOMENT: Duration = Duration::from_millis(10);
/// How long nobody is taken in when that failed for want of something.
const PAUSE: Duration = Duration::from_millis(100);

/// What the server waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Those who connect.
    Listener,
    /// A command.
    Client(u64),
}

/// A request, and what came with it.
#[derive(Debug)]
pub struct Asked {
    /// Who asks.
    pub client: u64,
    /// For what.
    pub request: Request,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// The socket and those who are connected.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    clients: Vec<Client>,
    next: u64,
    /// Is let go of where no descriptor is free, so that whoever connects then can be sent away.
    reserve: Option<OwnedFd>,
    /// Until when nobody is taken in.
    paused: Option<Instant>,
    /// Whether who comes waits, where there is no place, and is not sent away.
    who_comes_waits: bool,
}

#[derive(Debug)]
struct Client {
    number: u64,
    stream: UnixStream,
    /// What it has said and has not been read yet.
    received: Vec<u8>,
    /// How much of that has no line feed in it.
    searched: usize,
    descriptors: Vec<OwnedFd>,
    /// What it has not taken yet.
    to_send: Vec<u8>,
    /// The descriptors that go with its first byte.
    to_pass: Vec<OwnedFd>,
    /// Whether it waits for a reply; until then it says nothing more.
    waits: bool,
    /// Whether it is let go of when it has taken all.
    is_last: bool,
    connected: Instant,
    /// When it has had its time to go on.
    give_up_at: Option<Instant>,
}

impl Server {
    /// Serves those who connect to this socket, which does not block.
    pub fn new(listener: UnixListener) -> Self {
        let reserve = open_null().ok();
        Self { listener, clients: Vec::new(), next: 0, reserve, paused: None, who_comes_waits: false }
    }

    /// The same, for requests that take their time: who comes when there is no place waits until there is one.
    pub fn where_who_comes_waits(listener: UnixListener) -> Self {
        Self { who_comes_waits: true, ..Self::new(listener) }
    }

    /// What to wait for.
    pub fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::with_capacity(1 + self.clients.len());
        for client in &self.clients {
            // Of one who waits, only that it has gone is of interest, which is told in any case.
            let flags = match (client.to_send.is_empty(), client.waits) {
                (false, _) => PollFlags::POLLOUT,
                (true, true) => PollFlags::empty(),
                (true, false) => PollFlags::POLLIN,
            };
            interests.push((Source::Client(client.number), client.stream.as_fd(), flags));
        }
        // Last: nobody has to make room whose request has come.
        if self.paused.is_none() && self.has_place(Instant::now()) {
            interests.push((Source::Listener, self.listener.as_fd(), PollFlags::POLLIN));
        }
        interests
    }

    /// When [`Self::tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        // Whoever has to make room from then on.
        let idle = self.clients.iter().filter(|it| self.who_comes_waits && self.is_full() && it.is_idle());
        let idle = idle.map(|client| client.connected + HURRY + A_MOMENT).filter(|at| *at > now);
        self.clients.iter().filter_map(|client| client.give_up_at).chain(self.paused).chain(idle).min()
    }

    /// Lets go of those who have had their time.
    pub fn tick(&mut self, now: Instant) {
        self.clients.retain(|client| client.give_up_at.is_none_or(|at| at > now));
        self.paused.take_if(|until| *until <= now);
    }

    /// Does what can be done now.
    pub fn is_ready(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Listener => self.take_in(),
            Source::Client(number) => {
                let budget = MOST_BYTES - self.clients.iter().map(|it| it.received.len()).sum::<usize>();
                let Some(at) = self.clients.iter().position(|client| client.number == number) else { return };
                let client = &mut self.clients[at];
                let goes_on = if client.waits || !client.to_send.is_empty() {
                    let has_gone = flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
                    client.send() && !has_gone
                } else {
                    client.receive(budget)
                };
                if !goes_on {
                    self.clients.swap_remove(at);
                }
            }
        }
    }

    /// Takes in all who have connected, and reads what they have said.
    pub fn take_all_in(&mut self) {
        for _ in 0..MOST_CLIENTS {
            self.take_in();
        }
        let numbers: Vec<u64> = self.clients.iter().map(|client| client.number).collect();
        numbers.into_iter().for_each(|number| self.is_ready(Source::Client(number), PollFlags::empty()));
    }

    /// The next request, of whomever. It has to be replied to.
    pub fn next_request(&mut self) -> Option<Asked> {
        for client in &mut self.clients {
            if client.waits || client.is_last || !client.to_send.is_empty() {
                continue;
            }
            match client.next_line().map(|line| serde_json::from_slice::<Request>(&line)) {
                None => {}
                Some(Ok(request)) => {
                    client.waits = true;
                    let descriptors = std::mem::take(&mut client.descriptors);
                    return Some(Asked { client: client.number, request, descriptors });
                }
                Some(Err(error)) => {
                    client.is_last = true;
                    let _ =
                        client.say(&Reply::Refused { reason: format!("no request: {error}") }, Vec::new());
                }
            }
        }
        self.clients.retain(|client| !client.is_last || !client.to_send.is_empty());
        None
    }

    /// Replies to a request. One who has gone is replied to in vain.
    pub fn reply(&mut self, client: u64, reply: &Reply, descriptors: Vec<OwnedFd>) {
        let Some(at) = self.clients.iter().position(|it| it.number == client) else { return };
        if !self.clients[at].say(reply, descriptors) {
            self.clients.swap_remove(at);
        }
    }

    /// The same, and lets go of who has asked when the reply has been taken.
    pub fn reply_last(&mut self, client: u64, reply: &Reply, descriptors: Vec<OwnedFd>) {
        self.clients.iter_mut().filter(|it| it.number == client).for_each(|it| it.is_last = true);
        self.reply(client, reply, descriptors);
    }

    /// Whether this one is still there.
    pub fn has(&self, client: u64) -> bool {
        self.clients.iter().any(|it| it.number == client)
    }

    /// Waits until all have taken what was said to them, at most so long.
    pub fn flush(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        loop {
            self.clients.retain(|client| !client.to_send.is_empty());
            let left = end.saturating_duration_since(Instant::now());
            if self.clients.is_empty() || left.is_zero() {
                return;
            }
            let mut polled: Vec<_> = self
                .clients
                .iter()
                .map(|client| PollFd::new(client.stream.as_fd(), PollFlags::POLLOUT))
                .collect();
            // Whatever it says, the time is bounded.
            let _ = poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
            let ready: Vec<_> = polled.iter().map(|it| it.any() == Some(true)).collect();
            let mut ready = ready.into_iter();
            self.clients.retain_mut(|client| !ready.next().unwrap_or(false) || client.send());
        }
    }

    fn take_in(&mut self) {
        // Who was idle may have said something since that was asked.
        if !self.has_place(Instant::now()) {
            return;
        }
        match self.listener.accept() {
            Ok((stream, _)) => self.welcome(stream),
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => {}
                Some(Errno::EMFILE | Errno::ENFILE) if self.reserve.take().is_some() => {
                    // Sent away, which is better than to be left waiting.
                    drop(self.listener.accept());
                    self.reserve = open_null().ok();
                }
                _ => self.paused = Some(Instant::now() + PAUSE),
            },
        }
        if self.reserve.is_none() {
            self.reserve = open_null().ok();
        }
    }

    fn is_full(&self) -> bool {
        self.clients.len() >= MOST_CLIENTS
    }

    /// Who is let go of for another: the one who has said nothing for the longest time has the least to lose.
    fn idle(&self, now: Instant) -> Option<u64> {
        let had_time = |client: &&Client| !self.who_comes_waits || client.connected + HURRY <= now;
        self.clients.iter().filter(|it| it.is_idle()).filter(had_time).map(|client| client.number).min()
    }

    /// Whether who comes is taken in now.
    fn has_place(&self, now: Instant) -> bool {
        !self.who_comes_waits || !self.is_full() || self.idle(now).is_some()
    }

    fn welcome(&mut self, stream: UnixStream) {
        // See unix(7), SO_PEERCRED: who it was when it connected.
        let is_ours = getsockopt(&stream, sockopt::PeerCredentials)
            .is_ok_and(|peer| peer.uid() == geteuid().as_raw() || peer.uid() == 0);
        if !is_ours || stream.set_nonblocking(true).is_err() {
            return;
        }
        self.next += 1;
        let mut client = Client {
            number: self.next,
            stream,
            received: Vec::new(),
            searched: 0,
            descriptors: Vec::new(),
            to_send: Vec::new(),
            to_pass: Vec::new(),
            waits: false,
            is_last: false,
            connected: Instant::now(),
            give_up_at: Some(Instant::now() + PATIENCE),
        };
        if self.is_full() {
            match self.idle(Instant::now()) {
                Some(number) => self.clients.retain(|client| client.number != number),
                None => {
                    let reason = format!("{MOST_CLIENTS} commands wait for it already");
                    let _ = client.say(&Reply::Refused { reason }, Vec::new());
                    return;
                }
            }
        }
        self.clients.push(client);
    }
}

impl Client {
    fn is_idle(&self) -> bool {
        !self.waits && self.to_send.is_empty() && !self.received.contains(&b'\n')
    }

    /// Reads what it says; returns whether it goes on.
    fn receive(&mut self, budget: usize) -> bool {
        if budget == 0 || self.received.len() > LONGEST_LINE {
            return false;
        }
        let mut buffer = vec![0; CHUNK.min(budget)];
        let mut control = cmsg_space!([RawFd; MOST_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(self.stream.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return true,
            Err(_) => return false,
        };
        for part in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                self.descriptors.extend(descriptors.into_iter().filter_map(|fd| adopt_descriptor(fd).ok()));
            }
        }
        let length = message.bytes;
        self.received.extend_from_slice(&buffer[..length]);
        self.give_up_at.get_or_insert_with(|| Instant::now() + PATIENCE);
        // Who goes on sending descriptors would have all of ours.
        length > 0 && self.descriptors.len() <= MOST_DESCRIPTORS
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let Some(length) = self.received[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.received.len();
            return None;
        };
        let rest = self.received.split_off(self.searched + length + 1);
        let mut line = std::mem::replace(&mut self.received, rest);
        line.pop();
        self.searched = 0;
        self.give_up_at = None;
        Some(line)
    }

    /// Returns whether it goes on.
    fn say(&mut self, reply: &Reply, descriptors: Vec<OwnedFd>) -> bool {
        self.waits = false;
        // Nothing of a reply cannot be written.
        self.to_send = serde_json::to_vec(reply).unwrap_or_default();
        self.to_send.push(b'\n');
        self.to_pass = descriptors;
        self.give_up_at = Some(Instant::now() + PATIENCE);
        self.send()
    }

    /// Sends what it takes; returns whether it goes on.
    fn send(&mut self) -> bool {
        while !self.to_send.is_empty() {
            let passed: Vec<RawFd> = self.to_pass.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&passed)];
            let control = if passed.is_empty() { &[][..] } else { &rights[..] };
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let parts = [IoSlice::new(&self.to_send)];
            match sendmsg::<()>(self.stream.as_raw_fd(), &parts, control, flags, None) {
                Ok(length) => {
                    self.to_send.drain(..length);
                    self.to_pass.clear();
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
        if !self.waits {
            // It may take its time now until it says the next one.
            self.give_up_at = None;
        }
        !self.is_last
    }
}
