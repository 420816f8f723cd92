//! The launcher's life while the sandbox lives: forwards signals, follows what init says, returns the outcome.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use launch_init::exit::Outcome;
use launch_init::handoff::{Group, Happening};
use launch_init::signals::{self, Received, SignalQueue};
use launch_init::terminal::{Stopped, Terminal};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getpid};

use crate::error::Error;
use crate::named::beside::{Beside, Source};
use crate::relay::{self, Relay, Side};
use crate::sandbox::{Event, Sandbox};
use crate::status::StatusLines;

/// How long a set-up that is asked to stop may take before it is killed. It takes a millisecond, unless a file
/// system hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after the grace init may take to end, when a command has asked for it: somebody may have stopped it, or those inside
/// found a way to hold it up.
const UNHEARD: Duration = Duration::from_secs(10);
/// How much of what init says is taken before others are looked at again.
const EVENTS_AT_ONCE: usize = 64;

/// Releases the sandbox and watches it until its end. Every signal must be blocked.
///
/// `let_go` is called once the workload runs, for what only it was meant to have.
///
/// # Errors
/// There was no workload, or its end cannot be known.
pub fn watch(
    mut sandbox: Sandbox,
    terminal: Terminal,
    status: &mut StatusLines,
    let_go: impl FnOnce(),
) -> Result<Outcome, Error> {
    let queue = SignalQueue::new().map_err(Error::Signals)?;
    watch_beside(&mut sandbox, &queue, terminal, status, &mut Beside::default(), |_| let_go())
}

/// The same, and looks after what goes on beside. `queue` is one of every signal. `let_go` gets a descriptor that may take the
/// place of others.
///
/// # Errors
/// As above. If it was not ended, the sandbox is when it is dropped.
pub fn watch_beside(
    sandbox: &mut Sandbox,
    queue: &SignalQueue,
    mut terminal: Terminal,
    status: &mut StatusLines,
    beside: &mut Beside,
    let_go: impl FnOnce(BorrowedFd<'_>),
) -> Result<Outcome, Error> {
    let watch = Watch {
        sandbox,
        terminal: &mut terminal,
        status,
        beside,
        let_go: Some(let_go),
        queue,
        relay: None,
        workload: None,
        give_up_at: None,
        has_more: false,
    };
    let outcome = watch.follow();
    // Whatever happened: a workload that could not be executed had the terminal already.
    terminal.take_back();
    outcome
}

/// All that the loop looks after.
struct Watch<'a, F> {
    sandbox: &'a mut Sandbox,
    terminal: &'a mut Terminal,
    status: &'a mut StatusLines,
    beside: &'a mut Beside,
    let_go: Option<F>,
    queue: &'a SignalQueue,
    relay: Option<Relay>,
    workload: Option<Pid>,
    /// When a set-up that was asked to stop, or an init that does not keep the grace, is killed.
    give_up_at: Option<Instant>,
    /// Whether init may have said more than has been taken.
    has_more: bool,
}

/// What is ready.
struct Ready {
    has_signals: bool,
    has_events: bool,
    relay: Vec<Side>,
    beside: Vec<(Source, PollFlags)>,
}

impl<F: FnOnce(BorrowedFd<'_>)> Watch<'_, F> {
    /// Not inlined: its stack would lie above that of all that comes before.
    #[inline(never)]
    fn follow(mut self) -> Result<Outcome, Error> {
        self.beside.cloned(self.sandbox);
        // What came until now, from the terminal too, the workload cannot have got: it does not exist. With init, which
        // may have got the same, it is pending once. Where the terminal does not tell the workload anyway, it makes no difference
        // whether this comes before or after.
        if self.terminal.group() == Group::Callers {
            for signal in pending(self.queue)? {
                self.sandbox.forward(signal)?;
            }
        }
        self.sandbox.release()?;
        loop {
            let ready = self.wait()?;
            if ready.has_signals {
                for signal in pending(self.queue)? {
                    self.take_signal(signal)?;
                }
            }
            if let Some(relay) = &mut self.relay {
                ready.relay.into_iter().for_each(|side| relay.is_ready(side));
            }
            if ready.has_events
                && let Some(outcome) = self.take_events()?
            {
                return Ok(outcome);
            }
            for (source, flags) in ready.beside {
                self.beside.is_ready(source, flags, self.sandbox);
            }
            let now = Instant::now();
            self.beside.tick(now, self.sandbox);
            if let Some(grace) = self.beside.asked_to_stop() {
                // Init is to keep the grace itself.
                let patience = if self.workload.is_none() { PATIENCE } else { grace.saturating_add(UNHEARD) };
                // Who asks again may give less of it.
                self.give_up_at = self.give_up_at.into_iter().chain(now.checked_add(patience)).min();
            }
            if self.give_up_at.is_some_and(|at| at <= now) {
                let what = if self.workload.is_none() { "set-up" } else { "init" };
                log::warn!("{what}: did not end when asked to, killed");
                self.beside.is_killed();
                self.sandbox.signal(libc::SIGKILL)?;
                self.give_up_at = None;
            }
        }
    }

    fn take_signal(&mut self, signal: Received) -> Result<(), Error> {
        if self.terminal.has_told(signal) {
            self.terminal.stop_with_group(signal.number);
            return Ok(());
        }
        match (signal.number, &self.relay, self.workload) {
            (libc::SIGWINCH, Some(relay), _) => {
                // The kernel tells those inside.
                relay.fit_window();
                return Ok(());
            }
            (libc::SIGCONT, Some(relay), _) => relay.make_raw(),
            (libc::SIGCONT, None, Some(workload)) => {
                self.terminal.hand_over(workload);
            }
            _ => {}
        }
        log::debug!("forwarding {}", signals::name(signal.number));
        self.sandbox.forward(signal)?;
        if self.workload.is_none() && asks_to_stop(signal.number) {
            self.give_up_at.get_or_insert(Instant::now() + PATIENCE);
        }
        Ok(())
    }

    /// Returns the outcome, at the end. Somebody inside may have more said than we take, so all others get their turn.
    fn take_events(&mut self) -> Result<Option<Outcome>, Error> {
        if !self.has_more {
            self.sandbox.read()?;
        }
        self.has_more = false;
        for _ in 0..EVENTS_AT_ONCE {
            let event = match self.sandbox.next_event_that_came()? {
                Some(event) => event,
                None if self.sandbox.has_told_its_end() && self.is_all_there_is() => {
                    self.sandbox.wait_for_end()?
                }
                None => {
                    self.let_go();
                    return Ok(None);
                }
            };
            self.beside.happened(&event);
            let outcome = self.take_event(event)?;
            if outcome.is_some() {
                return Ok(outcome);
            }
        }
        self.has_more = true;
        Ok(None)
    }

    /// Once the workload runs, and has not ended at once: whoever ends lets go of everything anyway.
    fn let_go(&mut self) {
        if self.workload.is_some()
            && let Some(let_go) = self.let_go.take()
        {
            let_go(self.sandbox.pidfd());
            self.sandbox.leave_processor();
        }
    }

    /// Whether nothing but the sandbox's end is left to be waited for. A signal is nothing: nobody is left whom it could reach.
    fn is_all_there_is(&self) -> bool {
        self.relay.is_none()
            && self.give_up_at.is_none()
            && self.beside.deadline().is_none()
            && self.beside.interests().is_empty()
    }

    /// Returns the outcome, at the end.
    fn take_event(&mut self, event: Event) -> Result<Option<Outcome>, Error> {
        match event {
            Event::Terminal(master) => self.relay = Some(Relay::new(master)?),
            Event::Started(started) => {
                if self.workload.is_some() {
                    // The last run may have been in its foreground.
                    self.terminal.take_back();
                }
                self.workload = Some(Pid::from_raw(started.pid));
                self.give_up_at = None;
                self.status.started(self.sandbox.pid().as_raw(), &started);
            }
            Event::Stopped(signal) => {
                if let Some(relay) = &mut self.relay {
                    relay.show_what_is_there();
                }
                relay::raw_mode::leave();
                if self.terminal.stop_too(signal, self.workload) == Stopped::NeedNot {
                    self.sandbox.signal(libc::SIGCONT)?;
                }
                if let Some(relay) = &self.relay {
                    relay.make_raw();
                }
            }
            // Until the next run, its signals are for us.
            Event::Happened(Happening::StartsIn(_)) => self.terminal.take_back(),
            Event::Happened(Happening::RunEnded { outcome, again: true, .. }) => {
                self.status.run_ended(outcome);
            }
            // Nothing that is watched here is made ahead.
            Event::Happened(_) | Event::MainPid(_) | Event::SetUp => {}
            Event::Ended(outcome) => {
                match self.relay.take() {
                    // Whoever is left inside may go on writing.
                    Some(mut relay) if self.sandbox.is_joined() => relay.show_what_is_there(),
                    Some(relay) => relay.finish(),
                    None => {}
                }
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Sleeps until something is ready, or due; says what is ready.
    fn wait(&self) -> Result<Ready, Error> {
        let now = self.has_more.then(Instant::now);
        let until = self.give_up_at.into_iter().chain(self.beside.deadline()).chain(now).min();
        let timeout = until.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
        let relayed = self.relay.as_ref().map(Relay::interests).unwrap_or_default();
        let beside = self.beside.interests();
        let mut of_channel = PollFlags::POLLIN;
        of_channel.set(PollFlags::POLLOUT, self.beside.holds_orders());
        let mut polled = vec![
            PollFd::new(self.queue.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.sandbox.channel(), of_channel),
        ];
        polled.extend(relayed.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)));
        polled.extend(beside.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)));
        match ppoll(&mut polled, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Signals(errno)),
        }
        let flags = |i: usize| polled[i].revents().unwrap_or(PollFlags::empty());
        let is_ready = |i: usize| !flags(i).is_empty();
        let sides = relayed.iter().zip(2..).filter(|(_, i)| is_ready(*i)).map(|((side, ..), _)| *side);
        let sources = beside.iter().zip(2 + relayed.len()..).filter(|(_, i)| is_ready(*i));
        Ok(Ready {
            has_signals: is_ready(0),
            has_events: flags(1).intersects(!PollFlags::POLLOUT) || self.has_more,
            relay: sides.collect(),
            beside: sources.map(|((source, ..), i)| (*source, flags(i))).collect(),
        })
    }
}

/// The signals that came in from others. Init's end comes through the channel, not as SIGCHLD; what we cause ourselves
/// is SIGPIPE, by a line to a closed stderr or status descriptor.
fn pending(queue: &SignalQueue) -> Result<Vec<Received>, Error> {
    let is_ours = |signal: &Received| signal.sender == getpid().as_raw().unsigned_abs();
    let mut signals = Vec::new();
    queue
        .drain(|signal| {
            if signal.number != libc::SIGCHLD && !is_ours(&signal) {
                signals.push(signal);
            }
        })
        .map_err(Error::Signals)?;
    Ok(signals)
}

fn asks_to_stop(signal: i32) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT].contains(&signal)
}
