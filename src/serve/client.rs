//! `launch run`: asks the server of a pool for a sandbox, and is its launcher.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use launch_init::exit::Outcome;
use launch_init::handoff::SignalState;
use launch_init::signals;
use launch_init::sys::{came_closed, pid_of};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::cli::serving::Run;
use crate::error::Error;
use crate::named::client::Connection;
use crate::named::control::{Reply, Request};
use crate::named::exec::follow;
use crate::plan::ahead::{self, Defaults};
use crate::pool::{present, task};
use crate::sandbox::Sandbox;

/// How long the server may take: it makes a sandbox if none waits, and others may have come before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command to its end. `signals` is what the workload gets; every signal is blocked.
///
/// # Errors
/// [`Error::Server`]; as [`follow`].
pub fn run(options: &Run, signals: SignalState) -> Result<Outcome, Error> {
    // Until there is a sandbox they end this process as any other, and nothing has been started.
    signals::set_mask(signals.mask).map_err(Error::Signals)?;
    let (mut sandbox, defaults) = ask(&options.socket)?;
    // From here on they are for the command.
    signals::block_all().map_err(Error::Signals)?;
    let request = ahead::Request {
        command: options.command.clone(),
        clear_environment: options.clear_env,
        unset: options.unset_env.clone(),
        set: options.env.clone(),
        directory: options.chdir.clone(),
        timeout: options.timeout,
    };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let are_there = [0, 1, 2].map(|number| !came_closed(number));
    let stdio = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().zip(are_there);
    let stdio: Vec<BorrowedFd<'_>> = stdio.filter(|(_, is_there)| *is_there).map(|(fd, _)| fd).collect();
    let task = task(&defaults, &request, &present(signals, are_there))?;
    match sandbox.assign(&task, &stdio) {
        // It has been killed on the way, and nothing has been started.
        Err(Error::Handoff(Errno::EPIPE | Errno::ECONNRESET)) => {
            (sandbox, _) = ask(&options.socket)?;
            sandbox.assign(&task, &stdio)?;
        }
        assigned => assigned?,
    }
    follow(sandbox, false)
}

/// A sandbox, and what its maker says of the task.
fn ask(socket: &Path) -> Result<(Sandbox, Box<Defaults>), Error> {
    let wrong = |reason: &str| Error::Server(socket.into(), reason.into());
    let mut connection = Connection::to_server(socket)?;
    connection.ask(&Request::Give, &[])?;
    let Some((Reply::Given { defaults }, descriptors)) = connection.answer(Some(PATIENCE))? else {
        return Err(wrong("has closed the connection without an answer"));
    };
    let [channel, pidfd] = descriptors.try_into().map_err(|_| wrong("gives no sandbox"))?;
    // For messages only.
    let pid = pid_of(pidfd.as_fd()).ok().flatten().unwrap_or(Pid::from_raw(0));
    Ok((Sandbox::handed_over(pid, pidfd, channel), defaults))
}
