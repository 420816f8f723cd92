//! `launch run`: asks the server of a pool for a sandbox, and is its launcher.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use launch_init::exit::Outcome;
use launch_init::handoff::SignalState;
use launch_init::signals::{self, SignalQueue};
use launch_init::sys::{came_closed, pid_of, signal_descriptor, standard};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::cli::serving::Run;
use crate::error::Error;
use crate::named::client::Connection;
use crate::named::control::{Reply, Request};
use crate::named::exec::follow;
use crate::plan::ahead::{self, Defaults};
use crate::pool::{present, task};
use crate::sandbox::Sandbox;

/// How long the server may take: it makes a sandbox if none waits, and others may have come before. And how long others are asked for in
/// place of those that have ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command to its end. `signals` is what the workload gets; every signal is blocked.
///
/// # Errors
/// [`Error::Server`]; as [`follow`].
pub fn run(options: &Run, signals: SignalState) -> Result<Outcome, Error> {
    let request = ahead::Request {
        command: options.command.clone(),
        clear_environment: options.clear_env,
        unset: options.unset_env.clone(),
        set: options.env.clone(),
        directory: options.chdir.clone(),
        timeout: options.timeout,
    };
    follow(bring(&options.socket, &request, signals)?, false)
}

/// Brings the command to a sandbox, which is the value. One that waited may have been killed on the way to us: where it has ended
/// without having read its task, nothing has run, and the server has others. That a new one has ended is told.
fn bring(socket: &Path, request: &ahead::Request, signals: SignalState) -> Result<Sandbox, Error> {
    let queue = SignalQueue::new().map_err(Error::Signals)?;
    let are_there = [0, 1, 2].map(|number| !came_closed(number));
    let stdio: Vec<_> =
        (0..=2).zip(are_there).filter(|(_, is_there)| *is_there).map(|(fd, _)| standard(fd)).collect();
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        // Until there is a sandbox they end this process as any other, and nothing has been started.
        signals::set_mask(signals.mask).map_err(Error::Signals)?;
        let (mut sandbox, defaults, is_new) = ask(socket)?;
        // From here on they are for the command.
        signals::block_all().map_err(Error::Signals)?;
        let is_last = is_new || Instant::now() >= give_up_at;
        let task = task(&defaults, request, &present(signals, are_there))?;
        match sandbox.assign(&task, &stdio, |channel| wait_for_room(channel, signals.mask)) {
            Err(Error::Handoff(Errno::EPIPE | Errno::ECONNRESET)) if !is_last => {}
            assigned => {
                assigned?;
                if is_last || !has_died_unread(&sandbox, &queue)? {
                    return Ok(sandbox);
                }
            }
        }
        log::info!(
            "server: PID 1 of the sandbox (pid {}) has ended; another one is asked for",
            sandbox.pid()
        );
    }
}

/// As long as not all has been sent nothing has been started, and signals end this process still, but for those of the caller's
/// `mask`.
fn wait_for_room(channel: BorrowedFd<'_>, mask: u64) -> Result<(), Error> {
    let others = signal_descriptor(!mask).map_err(Error::Signals)?;
    let mut polled =
        [PollFd::new(channel, PollFlags::POLLOUT), PollFd::new(others.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::Wait(errno)),
    }
    if polled[1].any().unwrap_or(false) {
        signals::set_mask(mask).map_err(Error::Signals)?;
        // They were ignored.
        signals::block_all().map_err(Error::Signals)?;
    }
    Ok(())
}

/// Waits until it says something, or a signal comes, which is for it; whether it has ended instead, with the task unread: the socket
/// has an error then (ECONNRESET, which poll(2) does not take away).
fn has_died_unread(sandbox: &Sandbox, queue: &SignalQueue) -> Result<bool, Error> {
    loop {
        let mut polled = [sandbox.channel(), queue.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => return Ok(polled[0].revents().is_some_and(|flags| flags.contains(PollFlags::POLLERR))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Wait(errno)),
        }
    }
}

/// A sandbox, what its maker says of the task, and whether it has been made for us.
fn ask(socket: &Path) -> Result<(Sandbox, Box<Defaults>, bool), Error> {
    let wrong = |reason: &str| Error::Server(socket.into(), reason.into());
    let mut connection = Connection::to_server(socket)?;
    connection.ask(&Request::Give, &[])?;
    let Some((Reply::Given { defaults, is_new }, descriptors)) = connection.answer(Some(PATIENCE))? else {
        return Err(wrong("has closed the connection without an answer"));
    };
    let [channel, pidfd] = descriptors.try_into().map_err(|_| wrong("gives no sandbox"))?;
    // For messages only.
    let pid = pid_of(pidfd.as_fd()).ok().flatten().unwrap_or(Pid::from_raw(0));
    Ok((Sandbox::handed_over(pid, pidfd, channel), defaults, is_new))
}
