//! A pool for others: `launch serve` makes sandboxes ahead, and gives one to each `launch run` that comes to its socket.
//!
//! Who comes is given the sandbox itself, init's channel and its pidfd, and is its launcher from then on: it says what is to be
//! run, forwards signals, hears how it ends, and takes it along when it dies. The server has nothing more to do with it than to
//! reap it. It waits for nobody: neither for who was given one, nor for who asks, nor for one that is being made, which the pool's
//! thread does.

#![forbid(unsafe_code)]

pub mod client;
mod socket;

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use launch_init::handoff::{Happening, Why};
use launch_init::signals::SignalQueue;
use launch_init::sys::{duplicate, set_ignored};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use self::socket::Socket;
use crate::command::Command;
use crate::error::Error;
use crate::named::client::allow_many_descriptors;
use crate::named::control::{Reply, Request};
use crate::named::server::{Asked, Server, Source};
use crate::named::systemd::Manager;
use crate::pool::{Filling, Pool, limits};
use crate::sandbox::Sandbox;

/// Serves sandboxes of this kind, of which `size` wait at any time, at the socket `path`, until a signal asks for the end. The
/// sandboxes that were given away are their owners', and go on. Every signal must be blocked.
///
/// # Errors
/// [`Error::Server`]; as [`Pool::new`].
pub fn serve(path: &Path, template: &Command, size: usize) -> Result<(), Error> {
    // Who comes from now on waits until a sandbox is there.
    let socket = Socket::bind(path)?;
    forget_ignored_signals();
    // Each that waits takes two descriptors. Those inside get the limits of before.
    let limits = limits()?;
    allow_many_descriptors();
    let queue = SignalQueue::new().map_err(Error::Signals)?;
    let pool = Pool::for_others(template, size, limits)?;
    let listener = socket.listener.try_clone().map_err(|error| socket.failed(&error))?;
    let mut serving = Serving {
        server: Server::where_who_comes_waits(listener),
        pool,
        asking: VecDeque::new(),
        given: Vec::new(),
        traced: Vec::new(),
        manager: Manager::of(None),
        is_ready: false,
    };
    let ended = serving.go_on_until_asked_to_end(&queue);
    // Who comes from now on is told that nobody listens, and does not wait for an answer while the pool ends.
    drop(socket);
    serving.tell(Happening::Ending(Why::Stop));
    ended
}

/// `&` in a script, and nohup(1), start a program that ignores some, and what it starts would ignore them too. Here they are
/// blocked, and read.
fn forget_ignored_signals() {
    for signal in (1..=64).filter(|signal| ![libc::SIGPIPE, libc::SIGCHLD].contains(signal)) {
        // EINVAL: one that nobody may ignore, or that the C library keeps to itself.
        let _ = set_ignored(signal, false);
    }
}

struct Serving {
    server: Server,
    pool: Pool,
    /// Those who wait for one.
    asking: VecDeque<Asking>,
    /// The pidfds of the sandboxes that were given away.
    given: Vec<OwnedFd>,
    /// Of those that have ended and cannot be reaped yet, since somebody traces them (ptrace(2)).
    traced: Vec<OwnedFd>,
    manager: Option<Manager>,
    /// Whether the pool has been full.
    is_ready: bool,
}

/// A client that waits for a sandbox.
struct Asking {
    client: u64,
    since: Instant,
}

impl Serving {
    fn tell(&mut self, happening: Happening) {
        self.manager.iter_mut().for_each(|manager| manager.happened(&happening));
    }

    fn go_on_until_asked_to_end(&mut self, queue: &SignalQueue) -> Result<(), Error> {
        loop {
            let sources = self.server.interests();
            let mut polled = vec![PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
            polled.extend(self.pool.news().map(|news| PollFd::new(news, PollFlags::POLLIN)));
            let of_given = polled.len();
            polled.extend(self.given.iter().map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)));
            polled.extend(sources.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)));
            let left = self.server.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            match ppoll(&mut polled, left.map(TimeSpec::from_duration), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::Signals(errno)),
            }
            let flags: Vec<_> =
                polled.iter().map(|polled| polled.revents().unwrap_or(PollFlags::empty())).collect();
            let (own, of_sources) = flags.split_at(of_given + self.given.len());
            let ready: Vec<(Source, PollFlags)> = sources
                .iter()
                .zip(of_sources)
                .filter(|(_, flags)| !flags.is_empty())
                .map(|((source, ..), flags)| (*source, *flags))
                .collect();
            if !own[0].is_empty() && asks_to_end(queue)? {
                return Ok(());
            }
            self.traced.retain(|pidfd| !reap(pidfd.as_fd()));
            let mut has_ended = own[of_given..].iter().map(|flags| !flags.is_empty());
            let ended = self.given.extract_if(.., |_| has_ended.next().unwrap_or(false));
            self.traced.extend(ended.filter(|pidfd| !reap(pidfd.as_fd())));
            ready.into_iter().for_each(|(source, flags)| self.server.is_ready(source, flags));
            self.server.tick(Instant::now());
            let mut was_refused = true;
            while was_refused {
                while let Some(asked) = self.server.next_request() {
                    self.answer(asked);
                }
                // Who was may have asked for another already.
                was_refused = self.hear_of_the_pool()?;
            }
        }
    }

    fn answer(&mut self, asked: Asked) {
        let Asked { client, request, .. } = asked;
        match request {
            Request::Give => self.asking.push_back(Asking { client, since: Instant::now() }),
            _ => self.refuse(
                client,
                "is the server of a pool: it gives sandboxes to launch run, and nothing else",
            ),
        }
    }

    fn refuse(&mut self, client: u64, reason: &str) {
        self.server.reply(client, &Reply::Refused { reason: reason.into() }, Vec::new());
    }

    /// Gives the sandboxes that wait to the clients that do. Whether somebody was refused.
    ///
    /// # Errors
    /// Why the pool could not be filled for the first time.
    fn hear_of_the_pool(&mut self) -> Result<bool, Error> {
        let mut in_vain = Vec::new();
        // Before the sandboxes are looked at: what is told afterwards wakes us up again.
        let filling = self.pool.last_filling();
        self.asking.retain(|asking| self.server.has(asking.client));
        while let Some(asking) = self.asking.pop_front() {
            let Some((sandbox, begun)) = self.pool.take() else {
                self.asking.push_front(asking);
                break;
            };
            match self.hand_over(sandbox) {
                Ok(sandbox) => {
                    let (defaults, is_new) = (Box::new(self.pool.defaults().clone()), begun >= asking.since);
                    self.server.reply_last(asking.client, &Reply::Given { defaults, is_new }, sandbox);
                }
                Err(error) => in_vain.push((asking.client, error.to_string())),
            }
        }
        match filling {
            Some(Filling { outcome: Ok(()), .. }) if !self.is_ready => {
                self.is_ready = true;
                self.tell(Happening::Ready);
            }
            Some(Filling { outcome: Err(error), .. }) if !self.is_ready => return Err(error),
            Some(Filling { outcome: Err(error), begun, unmade }) => {
                log::warn!("pool: not filled: {error}");
                // Those for whom it was. For who has come since then it is tried once more.
                let came_before = self.asking.partition_point(|asking| asking.since <= begun);
                // What took too long once does so for all of them.
                let is_late = matches!(error, Error::Pool(_, Errno::ETIMEDOUT));
                let told = self.asking.drain(..if is_late { came_before } else { came_before.min(unmade) });
                in_vain.extend(told.map(|asking| (asking.client, error.to_string())));
            }
            Some(Filling { outcome: Ok(()), .. }) | None => {}
        }
        self.pool.are_asked_for(self.asking.len());
        let is_refused = !in_vain.is_empty();
        in_vain.into_iter().for_each(|(client, reason)| self.refuse(client, &reason));
        Ok(is_refused)
    }

    /// Its channel and its pidfd.
    fn hand_over(&mut self, sandbox: Sandbox) -> Result<Vec<OwnedFd>, Error> {
        let (channel, pidfd) = sandbox.hand_over()?;
        match duplicate(pidfd.as_raw_fd()) {
            Ok(copy) => {
                self.given.push(copy);
                Ok(vec![channel, pidfd])
            }
            Err(errno) => {
                // It ends with its channel.
                self.given.push(pidfd);
                Err(Error::Channel(errno))
            }
        }
    }
}

/// Whether a signal asks for the end. All others mean nothing here.
fn asks_to_end(queue: &SignalQueue) -> Result<bool, Error> {
    let mut asks = false;
    queue
        .drain(|signal| {
            asks |= [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT].contains(&signal.number);
        })
        .map_err(Error::Signals)?;
    Ok(asks)
}

/// Whether it is gone. How it ended, it has told who has it.
fn reap(pidfd: BorrowedFd<'_>) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    !matches!(waitid(Id::PIDFd(pidfd), flags), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
}
