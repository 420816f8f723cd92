//! The launcher as the monitor of a named sandbox: keeps its state, writes down what happens, and does what commands ask
//! for.
//!
//! The state's changes are life.rs's, bytes and connections server.rs's. watch.rs waits and calls.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use launch_init::exit::Outcome;
use launch_init::handoff::{Group, Happening, Order};
use launch_init::signals;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::unistd::{Pid, UnlinkatFlags, getpid, unlinkat};
use serde_json::json;

use super::control::{Join, Reply, Request};
use super::events::Events;
use super::join::{self, JoinContext, Joiner};
use super::life::{self, Life};
use super::registry::{CONTROL, Claimed};
use super::server::{Asked, Server, Source};
use super::state::{Phase, State};
use super::usage::usage;
use crate::error::Error;
use crate::plan::Plan;
use crate::sandbox::{Event, Sandbox};

/// The state is written at most so often, but for its end.
const WRITE_EVERY: Duration = Duration::from_millis(50);
/// Who joins may have heard from the workload before we have heard from PID 1 that it runs.
const STARTS_WITHIN: Duration = Duration::from_secs(1);
/// How long commands have at the end to take what is said to them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The monitor.
#[derive(Debug)]
pub struct Monitor {
    claimed: Claimed,
    life: Life,
    events: Events,
    server: Server,
    waiting: Vec<(u64, Waits)>,
    /// Who would join before the command is known to run, and until when that is waited for.
    early: Vec<(EarlyJoin, Instant)>,
    join_context: JoinContext,
    joiners: Vec<Joiner>,
    /// Orders that the channel has no room for yet, and who is to hear when it has. Each is of a client that waits.
    held: VecDeque<(Order, Option<u64>)>,
    removes: bool,
    /// Whether the workload has one of the sandbox's own.
    has_terminal: bool,
    /// What has changed since the state was written is written then.
    write_at: Option<Instant>,
    may_write_at: Instant,
    has_warned: bool,
    asked_to_stop: Option<Duration>,
}

/// Who asked to join, for what, and with which descriptors.
type EarlyJoin = (u64, Join, Vec<OwnedFd>);

/// What a command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The end.
    End,
    /// That it is ready.
    Ready,
    /// That another run is ready than this one.
    Restart(u64),
}

impl Monitor {
    /// Begins to serve the sandbox that has this folder and for which this plan is carried out. `removes`: the folder goes
    /// with it.
    ///
    /// # Errors
    /// [`Error::Sandbox`]: nobody could ever speak with it.
    #[cold]
    pub fn begin(claimed: Claimed, state: State, removes: bool, plan: &Plan) -> Result<Self, Error> {
        let failed = |what: &str, errno: Errno| {
            Error::Sandbox(claimed.name().as_str().into(), format!("{what}: {}", errno.desc()))
        };
        let dir = claimed.dir().try_clone_to_owned().map_err(|error| {
            failed("folder", Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE)))
        })?;
        let join_context = JoinContext::new(&state.name, plan);
        let events = Events::new(&state.name, &state.id, dir);
        // Before anybody can connect, there is something to read.
        let first = claimed.write_state(&state);
        let listener = claimed.bind_control().map_err(|errno| failed(CONTROL, errno))?;
        let mut monitor = Self {
            claimed,
            life: Life::new(state),
            events,
            server: Server::new(listener),
            waiting: Vec::new(),
            early: Vec::new(),
            join_context,
            joiners: Vec::new(),
            held: VecDeque::new(),
            removes,
            has_terminal: plan.init.workload.group == Group::Session,
            write_at: None,
            may_write_at: Instant::now(),
            has_warned: false,
            asked_to_stop: None,
        };
        monitor.wrote(first);
        let state = &monitor.life.state;
        let details = json!({ "command": state.command, "labels": state.labels });
        monitor.events.write("created", details);
        Ok(monitor)
    }

    /// How it is.
    pub fn state(&self) -> &State {
        &self.life.state
    }

    /// PID 1 is there.
    pub fn cloned(&mut self, sandbox: &Sandbox) {
        self.life.state.init_pid = Some(sandbox.pid().as_raw());
        self.changed();
    }

    /// Init said this.
    #[cold]
    pub fn happened(&mut self, event: &Event) {
        match event {
            Event::Started(started) => self.life.started(started, &life::now()),
            Event::Happened(happening) => self.life.happened(happening, SystemTime::now()),
            Event::MainPid(pid) => self.life.state.pid = Some(*pid),
            Event::Terminal(_) | Event::SetUp | Event::Stopped(_) | Event::Ended(_) => {}
        }
        if let Event::Happened(Happening::RunEnded { .. }) = event {
            self.joiners.iter().for_each(Joiner::tell_of_the_end);
        }
        if let Some((name, details)) = life::event(event, &self.life.state) {
            self.events.write(name, details);
        }
        self.changed();
    }

    /// What to wait for.
    pub fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        self.server.interests()
    }

    /// Serves one who is ready.
    pub fn is_ready(&mut self, source: Source, flags: PollFlags, sandbox: &Sandbox) {
        self.server.is_ready(source, flags);
        while let Some(asked) = self.server.next_request() {
            self.answer(asked, sandbox);
        }
        let server = &self.server;
        self.waiting.retain(|(client, _)| server.has(*client));
    }

    /// The processes that join: their pids, and what tells that one has ended.
    pub fn joiners(&self) -> impl Iterator<Item = (Pid, BorrowedFd<'_>)> {
        self.joiners.iter().map(|joiner| (joiner.pid(), joiner.pidfd()))
    }

    /// One of them has ended.
    pub fn has_ended(&mut self, joiner: Pid) {
        if let Some(at) = self.joiners.iter().position(|it| it.pid() == joiner) {
            self.joiners.swap_remove(at).reap();
        }
    }

    /// Whether [`Self::tick`] is wanted when the sandbox's channel is writable.
    pub fn holds_orders(&self) -> bool {
        !self.held.is_empty()
    }

    /// When [`Self::tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        let early = self.early.iter().map(|(_, until)| *until);
        self.server.deadline().into_iter().chain(self.write_at).chain(early).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant, sandbox: &Sandbox) {
        self.server.tick(now);
        self.give_held(sandbox);
        let is_starting = self.life.state.phase == Phase::Starting;
        for (join, until) in std::mem::take(&mut self.early) {
            if is_starting && now < until {
                self.early.push((join, until));
            } else {
                self.answer_join(join, sandbox);
            }
        }
        if self.write_at.is_some_and(|at| at <= now) {
            self.write();
        }
    }

    /// The folder goes with it.
    pub fn remove_at_end(&mut self) {
        self.removes = true;
    }

    /// Whether a command has asked it to stop, and the shortest grace that it was given.
    pub fn asked_to_stop(&self) -> Option<Duration> {
        self.asked_to_stop
    }

    /// Init has not kept the grace, and is killed.
    pub fn is_killed(&mut self) {
        self.life.killed = true;
    }

    /// It has ended: who waits is told, and nobody can ask any more.
    #[cold]
    pub fn end(mut self, outcome: Result<Outcome, &Error>) {
        self.life.ended(outcome, &life::now());
        // Before anybody is told, by an event either: who then removes it is not to hear that it is running.
        let written = self.claimed.write_last_state(&self.life.state);
        self.wrote(written);
        let (name, details) = life::end_event(&self.life.state);
        self.events.write(name, details);
        // From here on nobody connects. Who has by now is answered, whenever that was.
        let removed = match unlinkat(self.claimed.dir(), CONTROL, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            removed => removed,
        };
        self.server.take_all_in();
        let has_ended =
            refused(format!("has ended (exit status {})", self.life.state.exit_status.unwrap_or_default()));
        let early = std::mem::take(&mut self.early).into_iter().map(|((client, ..), _)| client);
        let held = std::mem::take(&mut self.held).into_iter().filter_map(|(_, client)| client);
        for client in early.chain(held) {
            self.server.reply(client, &has_ended, Vec::new());
        }
        while let Some(Asked { client, request, .. }) = self.server.next_request() {
            match request {
                Request::Wait | Request::WaitReady | Request::Stop { .. } | Request::Restart { .. } => {
                    self.waiting.push((client, Waits::End));
                }
                Request::State | Request::Usage => {
                    let reply = self.reply_state();
                    self.server.reply(client, &reply, Vec::new());
                }
                Request::Signal { .. } | Request::Join(_) | Request::Give => {
                    self.server.reply(client, &has_ended, Vec::new());
                }
            }
        }
        for (client, waits) in std::mem::take(&mut self.waiting) {
            let killed = waits == Waits::End && self.life.killed;
            let state = Box::new(self.life.state.clone());
            self.server.reply(client, &Reply::Ended { state, killed }, Vec::new());
        }
        self.server.flush(LAST_WORDS);
        self.leave(removed);
    }

    /// The lock goes last.
    fn leave(self, removed: Result<(), Errno>) {
        let Self { claimed, life, server, removes, .. } = self;
        let removed = removed.and_then(|()| if removes { claimed.remove() } else { Ok(()) });
        drop(server);
        if let Err(errno) = removed {
            log::warn!("{}: its folder: {}", life.state.name, errno.desc());
        }
    }

    fn answer(&mut self, asked: Asked, sandbox: &Sandbox) {
        let Asked { client, request, descriptors } = asked;
        let reply = match request {
            Request::State => self.reply_state(),
            Request::Usage => {
                // They wait outside for the command's process, which is inside.
                let joiners: Vec<_> = self.joiners.iter().map(Joiner::pid).collect();
                let usage = Some(usage(getpid(), &joiners));
                Reply::State { state: Box::new(self.life.state.clone()), usage }
            }
            Request::Wait => return self.waiting.push((client, Waits::End)),
            Request::WaitReady => {
                self.waiting.push((client, Waits::Ready));
                return self.tell_waiting();
            }
            Request::Signal { signal } if !(1..=64).contains(&signal) => refused("signals go from 1 to 64"),
            Request::Signal { signal } => match self.order(Order::Signal { signal }, Some(client), sandbox) {
                Ok(true) => Reply::Done,
                Ok(false) => return,
                Err(error) => refused(error.reason()),
            },
            Request::Stop { grace_ms } => {
                let grace = grace_ms.map(Duration::from_millis);
                match self.order(Order::Stop { grace }, None, sandbox) {
                    Ok(_) => {
                        let given = grace.unwrap_or(Duration::from_millis(self.life.state.grace_ms));
                        self.asked_to_stop = self.asked_to_stop.into_iter().chain([given]).min();
                        self.life.is_stopped();
                        self.changed();
                        return self.waiting.push((client, Waits::End));
                    }
                    Err(error) => refused(error.reason()),
                }
            }
            Request::Restart { .. } if self.life.state.phase == Phase::Stopping => refused("is stopping"),
            Request::Restart { .. } if self.has_terminal => {
                refused("has a terminal of its own, which ends with its run")
            }
            Request::Restart { grace_ms } => {
                let grace = grace_ms.map(Duration::from_millis);
                match self.order(Order::Restart { grace }, None, sandbox) {
                    Ok(_) => return self.waiting.push((client, Waits::Restart(self.life.runs))),
                    Err(error) => refused(error.reason()),
                }
            }
            Request::Join(request) if self.life.state.phase == Phase::Starting => {
                let until = Instant::now() + STARTS_WITHIN;
                return self.early.push(((client, request, descriptors), until));
            }
            Request::Join(request) => return self.answer_join((client, request, descriptors), sandbox),
            Request::Give => refused("is a sandbox that has its command, and no pool"),
        };
        self.server.reply(client, &reply, Vec::new());
    }

    fn answer_join(&mut self, (client, request, descriptors): EarlyJoin, sandbox: &Sandbox) {
        match self.join(&request, descriptors, sandbox) {
            Ok((reply, pidfd)) => self.server.reply(client, &reply, vec![pidfd]),
            Err(reason) => self.server.reply(client, &refused(reason), Vec::new()),
        }
    }

    fn reply_state(&self) -> Reply {
        Reply::State { state: Box::new(self.life.state.clone()), usage: None }
    }

    /// Gives init an order, now or as soon as the channel has room again; returns whether that was now. Else `client` hears of it
    /// then.
    fn order(&mut self, order: Order, client: Option<u64>, sandbox: &Sandbox) -> Result<bool, Error> {
        // Not past those that are held already.
        if self.held.is_empty() {
            match self.give(order, sandbox) {
                Err(Error::Handoff(Errno::EAGAIN)) => {}
                given => return given.map(|()| true),
            }
        }
        self.held.push_back((order, client));
        Ok(false)
    }

    fn give_held(&mut self, sandbox: &Sandbox) {
        while let Some((order, client)) = self.held.front().copied() {
            let reply = match self.give(order, sandbox) {
                Err(Error::Handoff(Errno::EAGAIN)) => return,
                Err(error) => refused(error.reason()),
                Ok(()) => Reply::Done,
            };
            self.held.pop_front();
            if let Some(client) = client {
                self.server.reply(client, &reply, Vec::new());
            }
        }
    }

    fn give(&mut self, order: Order, sandbox: &Sandbox) -> Result<(), Error> {
        sandbox.order(order)?;
        if let Order::Signal { signal } = order {
            self.events.write("signal", json!({ "signal": signal, "signal_name": signals::name(signal) }));
        }
        Ok(())
    }

    /// The command runs, or does not, between the client and the process that joins: that is all that is known here.
    fn join(
        &mut self,
        request: &Join,
        descriptors: Vec<OwnedFd>,
        sandbox: &Sandbox,
    ) -> Result<(Reply, OwnedFd), String> {
        match self.life.state.phase {
            Phase::Starting => return Err("is still starting".into()),
            Phase::Stopping | Phase::Exited | Phase::Failed => return Err("is stopping".into()),
            // Who came now would be one of those who are being ended.
            Phase::Restarting if self.life.state.next_start.is_none() => return Err("is restarting".into()),
            Phase::Running | Phase::Reloading | Phase::Restarting => {}
        }
        let (joiner, plan) = join::start(&mut self.join_context, sandbox.pidfd(), request, descriptors)?;
        let command: Vec<_> = request.command.iter().map(|word| String::from_utf8_lossy(word)).collect();
        self.events.write("joined", json!({ "pid": joiner.pid().as_raw(), "command": command }));
        let pidfd = joiner.pidfd().try_clone_to_owned().map_err(|error| format!("pidfd: {error}"));
        self.joiners.push(joiner);
        Ok((Reply::Joined { plan }, pidfd?))
    }

    /// Something may be another than it was.
    fn changed(&mut self) {
        if self.write_at.is_none() {
            self.write_at = Some(self.may_write_at);
        }
        if self.may_write_at <= Instant::now() {
            self.write();
        }
        self.tell_waiting();
    }

    /// Writes the state now, if it is another one than was written.
    #[cold]
    pub fn write_what_changed(&mut self) {
        if self.write_at.is_some() {
            self.write();
        }
    }

    fn write(&mut self) {
        self.write_at = None;
        self.may_write_at = Instant::now() + WRITE_EVERY;
        let written = self.claimed.write_state(&self.life.state);
        self.wrote(written);
    }

    /// A disk that is full is no reason to end anything. The next change is written again.
    fn wrote(&mut self, written: Result<(), Errno>) {
        if let (Err(errno), false) = (written, self.has_warned) {
            log::warn!("{}: its state is not written: {}", self.claimed.name(), errno.desc());
        }
        self.has_warned = written.is_err();
    }

    fn tell_waiting(&mut self) {
        let (is_ready, runs) = (self.life.is_ready(), self.life.runs);
        let has_come = |waits: &Waits| match waits {
            Waits::End => false,
            Waits::Ready => is_ready,
            Waits::Restart(than) => is_ready && runs > *than,
        };
        let (come, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, waits)| has_come(waits));
        self.waiting = waiting;
        let come: Vec<_> = come;
        if !come.is_empty() {
            // Whoever is told of it finds it in the file too.
            self.write_what_changed();
        }
        for (client, _) in come {
            let reply = self.reply_state();
            self.server.reply(client, &reply, Vec::new());
        }
    }
}

fn refused(reason: impl Into<String>) -> Reply {
    Reply::Refused { reason: reason.into() }
}
