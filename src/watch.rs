//! The launcher's life while the sandbox lives: forwards signals, follows what init says, returns the outcome.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use launch_init::exit::Outcome;
use launch_init::signals::{self, Received, SignalQueue};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getpid};

use crate::error::Error;
use crate::sandbox::{Event, Sandbox};
use crate::status::StatusLines;
use crate::terminal::Terminal;

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
        sandbox.signal(signal.number)?;
    }
    sandbox.release()?;
    let mut let_go = Some(let_go);
    let mut workload = None;
    let mut give_up_at: Option<Instant> = None;
    loop {
        let timeout =
            give_up_at.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
        let mut polled = [
            PollFd::new(queue.as_fd(), PollFlags::POLLIN),
            PollFd::new(sandbox.channel(), PollFlags::POLLIN),
        ];
        match ppoll(&mut polled, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Signals(errno)),
        }
        let [signalled, said] = polled.map(|fd| fd.any() == Some(true));
        if signalled {
            for signal in pending(&queue)? {
                if terminal.has_told(signal) {
                    continue;
                }
                if signal.number == libc::SIGCONT
                    && let Some(workload) = workload
                {
                    terminal.hand_over(workload);
                }
                log::debug!("forwarding {}", signals::name(signal.number));
                sandbox.signal(signal.number)?;
                if workload.is_none() && asks_to_stop(signal.number) {
                    give_up_at.get_or_insert(Instant::now() + PATIENCE);
                }
            }
        }
        while said && let Some(event) = sandbox.try_next_event()? {
            match event {
                Event::Started(started) => {
                    workload = Some(Pid::from_raw(started.pid));
                    give_up_at = None;
                    status.started(sandbox.pid().as_raw(), &started);
                    if let Some(let_go) = let_go.take() {
                        let_go();
                    }
                }
                Event::Stopped(signal) => stop_too(signal, terminal),
                Event::Ended(outcome) => return Ok(outcome),
            }
        }
        if give_up_at.is_some_and(|at| at <= Instant::now()) {
            log::warn!("set-up: did not end when asked to, killed");
            sandbox.signal(libc::SIGKILL)?;
            give_up_at = None;
        }
    }
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

/// The shell that waits for us sees the job stopped and takes its terminal back; its `fg` or `bg` continues us by
/// a SIGCONT, which is forwarded like any signal.
fn stop_too(signal: i32, terminal: &Terminal) {
    log::debug!("workload stopped by {}", signals::name(signal));
    if terminal.is_there() {
        // SIGSTOP cannot be blocked, and raise(3) returns when we have been continued.
        if let Err(error) = signal_hook::low_level::raise(libc::SIGSTOP) {
            log::warn!("stop: launch: {error}");
        }
    }
}
