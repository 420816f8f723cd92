//! `launch rm`: removes what sandboxes have left behind; with --force, of those that are running, too.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use launch_init::sys::{open_pidfd, signal_process};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::{Errors, each_once, is_running, not_done, wrong};
use crate::cli::sandboxes::Rm;
use crate::error::Error;
use crate::named::client::{Answer, PATIENCE, Question, ask_all};
use crate::named::control::{Reply, Request};
use crate::named::progress::Progress;
use crate::named::registry::{Found, Registry, Removed, Standing};
use crate::stdout::print;

pub(super) fn run(registry: &Registry, options: &Rm, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let mut running = Vec::new();
    for found in registry.look_at_all(&each_once(&options.which.names)) {
        let Some(found) = errors.or_add(found) else { continue };
        match found.standing {
            // One that has ended lets go of its folder in a moment.
            Standing::Running(_)
                if options.force || found.state().is_ok_and(|state| state.phase.is_over()) =>
            {
                running.push(found);
            }
            Standing::Running(monitor) => errors.add(&is_running(found.name(), monitor)),
            Standing::Over(_) | Standing::Stale | Standing::Removed => remove(found, errors),
        }
    }
    let question = if options.force { Request::Stop { grace_ms: Some(0) } } else { Request::Wait };
    let questions = [Question::quick(Request::State), Question::slow(question)];
    let mut progress = Progress::new("removing", "removed", running.len());
    let mut printed = Ok(());
    ask_all(running, &questions, &mut progress, |found, answer, progress| {
        let name = found.name().clone();
        let Some(answer) = progress.aside(|| errors.or_add(answer)) else { return };
        let was_killed = match answer {
            Answer::Reply(Reply::Ended { .. }) => options.force,
            Answer::Over(_) | Answer::Stale | Answer::Removed => false,
            // What is inside dies with it.
            Answer::Silent(monitor) if options.force => match errors.or_add(end(&found, monitor)) {
                Some(()) => true,
                None => return,
            },
            answer => return not_done(registry, found, answer, errors),
        };
        progress.aside(|| {
            if was_killed && printed.is_ok() {
                printed = print(&format!("{name}: killed\n"));
            }
            remove(found, errors);
        });
        progress.finish_one(name.as_str());
    });
    progress.clear();
    printed.map(|()| 0)
}

fn remove(found: Found, errors: &mut Errors<'_>) {
    let name = found.name().clone();
    if errors.or_add(found.remove()) == Some(Removed::Stale) {
        log::warn!("{name}: its monitor was killed; cleared");
    }
}

/// Kills a monitor that does not answer.
fn end(found: &Found, monitor: Pid) -> Result<(), Error> {
    let failed =
        |errno: Errno| wrong(found.name(), format!("its monitor cannot be killed: {}", errno.desc()));
    let pidfd = match open_pidfd(monitor) {
        Ok(pidfd) => pidfd,
        Err(Errno::ESRCH) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    // The pid may have been another process's before the pidfd was opened, but not if it has the lock still.
    if found.holder().map_err(failed)? != Some(monitor) {
        return Ok(());
    }
    match signal_process(pidfd.as_fd(), libc::SIGKILL, None) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], limit).map(drop).map_err(failed)
}
