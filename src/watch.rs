//! The launcher's life while the sandbox lives: forwards signals, follows what init says, returns the outcome.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use launch_init::exit::Outcome;
use launch_init::signals::{self, Received, SignalQueue};
use launch_init::terminal::{Stopped, Terminal};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getpid};

use crate::error::Error;
use crate::relay::{self, Relay, Side};
use crate::sandbox::{Event, Sandbox};
use crate::status::StatusLines;

/// How long a set-up that is asked to stop may take before it is killed. It takes a millisecond, unless a file
/// system hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Releases the sandbox and watches it until its end. Every signal must be blocked.
///
/// `let_go` is called once the workload runs, for what only it was meant to have.
///
/// # Errors
/// There was no workload, or its end cannot be known.
pub fn watch(
    mut sandbox: Sandbox,
    mut terminal: Terminal,
    status: &mut StatusLines,
    let_go: impl FnOnce(),
) -> Result<Outcome, Error> {
    let outcome = follow(&mut sandbox, &mut terminal, status, let_go);
    // Whatever happened: a workload that could not be executed had the terminal already.
    terminal.take_back();
    outcome
}

fn follow(
    sandbox: &mut Sandbox,
    terminal: &mut Terminal,
    status: &mut StatusLines,
    let_go: impl FnOnce(),
) -> Result<Outcome, Error> {
    let queue = SignalQueue::new().map_err(Error::Signals)?;
    // What came until now, from the terminal too, the workload cannot have got: it does not exist. With init, which
    // may have got the same, it is pending once.
    for signal in pending(&queue)? {
        sandbox.forward(signal)?;
    }
    sandbox.release()?;
    let mut let_go = Some(let_go);
    let mut relay: Option<Relay> = None;
    let mut workload = None;
    let mut give_up_at: Option<Instant> = None;
    loop {
        let (signalled, said, ready) = wait(&queue, sandbox, relay.as_ref(), give_up_at)?;
        if signalled {
            for signal in pending(&queue)? {
                if terminal.has_told(signal) {
                    terminal.stop_with_group(signal.number);
                    continue;
                }
                match (signal.number, &relay, workload) {
                    (libc::SIGWINCH, Some(relay), _) => {
                        // The kernel tells those inside.
                        relay.fit_window();
                        continue;
                    }
                    (libc::SIGCONT, Some(relay), _) => relay.make_raw(),
                    (libc::SIGCONT, None, Some(workload)) => {
                        terminal.hand_over(workload);
                    }
                    _ => {}
                }
                log::debug!("forwarding {}", signals::name(signal.number));
                sandbox.forward(signal)?;
                if workload.is_none() && asks_to_stop(signal.number) {
                    give_up_at.get_or_insert(Instant::now() + PATIENCE);
                }
            }
        }
        if let Some(relay) = &mut relay {
            ready.into_iter().for_each(|side| relay.is_ready(side));
        }
        while said && let Some(event) = sandbox.try_next_event()? {
            match event {
                Event::Terminal(master) => relay = Some(Relay::new(master)?),
                Event::Started(started) => {
                    workload = Some(Pid::from_raw(started.pid));
                    give_up_at = None;
                    status.started(sandbox.pid().as_raw(), &started);
                    if let Some(let_go) = let_go.take() {
                        let_go();
                    }
                }
                Event::Stopped(signal) => {
                    if let Some(relay) = &mut relay {
                        relay.show_what_is_there();
                    }
                    relay::raw_mode::leave();
                    if terminal.stop_too(signal, workload) == Stopped::NeedNot {
                        sandbox.signal(libc::SIGCONT)?;
                    }
                    if let Some(relay) = &relay {
                        relay.make_raw();
                    }
                }
                Event::Happened(_) | Event::MainPid(_) => {}
                Event::Ended(outcome) => {
                    match relay {
                        // Whoever is left inside may go on writing.
                        Some(mut relay) if sandbox.is_joined() => relay.show_what_is_there(),
                        Some(relay) => relay.finish(),
                        None => {}
                    }
                    return Ok(outcome);
                }
            }
        }
        if give_up_at.is_some_and(|at| at <= Instant::now()) {
            log::warn!("set-up: did not end when asked to, killed");
            sandbox.signal(libc::SIGKILL)?;
            give_up_at = None;
        }
    }
}

/// Sleeps until a signal came, init said something, or a side of the relay is ready; says which.
fn wait(
    queue: &SignalQueue,
    sandbox: &Sandbox,
    relay: Option<&Relay>,
    until: Option<Instant>,
) -> Result<(bool, bool, Vec<Side>), Error> {
    let timeout = until.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
    let relayed = relay.map(Relay::interests).unwrap_or_default();
    let mut polled = vec![
        PollFd::new(queue.as_fd(), PollFlags::POLLIN),
        PollFd::new(sandbox.channel(), PollFlags::POLLIN),
    ];
    polled.extend(relayed.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)));
    match ppoll(&mut polled, timeout, None) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::Signals(errno)),
    }
    let is_ready = |i: usize| polled[i].any() == Some(true);
    let sides = relayed.iter().enumerate().filter(|(i, _)| is_ready(i + 2)).map(|(_, (side, ..))| *side);
    Ok((is_ready(0), is_ready(1), sides.collect()))
}

/// The signals that came in from others. Init's end comes through the channel, not as SIGCHLD; what we cause ourselves
/// is SIGPIPE, by a line to a closed stderr or status descriptor.
fn pending(queue: &SignalQueue) -> Result<Vec<Received>, Error> {
    let ourselves = getpid().as_raw().unsigned_abs();
    let mut signals = Vec::new();
    queue
        .drain(|signal| {
            if signal.number != libc::SIGCHLD && signal.sender != ourselves {
                signals.push(signal);
            }
        })
        .map_err(Error::Signals)?;
    Ok(signals)
}

fn asks_to_stop(signal: i32) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT].contains(&signal)
}
