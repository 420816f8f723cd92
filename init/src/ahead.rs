//! A sandbox that was made ahead: with everything set up and nobody inside but PID 1, that waits for what to run.
//!
//! From there on it is like any other; who makes it, and when, is the launcher's to know (its pool/).

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout};

use crate::error::Error;
use crate::handoff::{Plan, Report, Task};
use crate::report::Channel;
use crate::setup;
use crate::signals::SignalQueue;

/// What ends one that waits. It has no workload yet that anything could be meant for.
const ENDS: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Says that everything is set up, waits for the task, and fills it into the plan: with its stdin, stdout, stderr and
/// directory being our own. Whether there is one: a signal may have ended the wait.
///
/// # Errors
/// [`Error::LauncherGone`], [`Error::Channel`], [`Error::Plan`]; [`Error::Setup`]: the directory cannot be had.
pub(crate) fn wait_for_task(
    channel: &Channel,
    signals: &SignalQueue,
    plan: &mut Plan,
) -> Result<bool, Error> {
    // The caller's own, which nobody shall find busy for our sake.
    chdir("/").map_err(|errno| Error::Own("/", errno))?;
    // EPIPE: end of file follows.
    let _ = channel.send(&Report::SetUp);
    if !comes(channel, signals)? {
        log::debug!("init: ended by a signal before there was anything to run");
        return Ok(false);
    }
    let (task, descriptors) = channel.receive_task()?;
    let Task { command, environment, signals, directory, here, timeout, stdio } = task;
    // Those that do not come stay /dev/null.
    let mut descriptors = descriptors.into_iter();
    for number in (0..).zip(stdio).filter_map(|(number, comes)| comes.then_some(number)) {
        let Some(descriptor) = descriptors.next() else { break };
        match number {
            0 => dup2_stdin(descriptor),
            1 => dup2_stdout(descriptor),
            _ => dup2_stderr(descriptor),
        }
        .map_err(|errno| Error::Own("stdio", errno))?;
    }
    if let Some(step) = &directory {
        setup::go_to(step, here)?;
    }
    plan.workload.command = command;
    plan.workload.environment = environment;
    plan.workload.signals = signals;
    plan.policy.timeout = timeout;
    Ok(true)
}

/// Waits until something has come through the channel. What is there before a signal that ends us counts, and the signal
/// is the workload's then.
fn comes(channel: &Channel, signals: &SignalQueue) -> Result<bool, Error> {
    loop {
        let mut polled = [
            PollFd::new(channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) if polled[0].any() == Some(true) => return Ok(true),
            // Every signal is blocked, but a debugger interrupts too.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Own("poll", errno)),
        }
        let mut ends = false;
        signals
            .drain(|signal| ends |= signal.was_sent_by_a_process() && ENDS.contains(&signal.number))
            .map_err(|errno| Error::Own("signalfd", errno))?;
        if ends {
            return Ok(false);
        }
    }
}
