//! `launch logs`: what a sandbox's workload has written, as the log has it.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::following::{Printer, cannot_follow, monitor_of, unless_closed, wait};
use crate::cli::written::Logs;
use crate::error::Error;
use crate::named::follow::{Follower, Watcher};
use crate::named::log_file::OUTPUT;
use crate::named::registry::{Found, Registry, Standing};
use crate::named::selection::{Moment, Selection, Selector};

/// Prints it; returns the exit status.
pub(super) fn run(registry: &Registry, options: &Logs) -> Result<u8, Error> {
    let found = registry.look(&options.name)?;
    if found.standing == Standing::Removed {
        return Err(registry.unknown(&options.name));
    }
    let printed = print(&found, options);
    // What is left of one whose monitor was killed goes, but not before it has been read.
    if found.standing == Standing::Stale {
        found.clear()?;
    }
    unless_closed(printed).map(|()| 0)
}

fn print(found: &Found, options: &Logs) -> Result<(), Error> {
    let now = SystemTime::now();
    let selection = Selection {
        since: options.since.map(|moment| moment.time(now)),
        until: options.until.map(|moment: Moment| moment.time(now)),
        stream: options.stream,
        timestamps: options.timestamps,
        tail: options.tail,
    };
    let mut selector = Selector::new(&selection);
    let mut printer = Printer::new()?;
    let (path, directory, name) = log_of(found)?;
    let failed = |errno| Error::Log(path.clone().into(), errno);
    // In this order: what happens from here on, the watcher tells.
    let mut monitor = monitor_of(found)?;
    let mut follower = Follower::new(directory, name);
    let watcher = match (options.follow, &monitor) {
        (true, Some(_)) => {
            Some(watch(&follower).map_err(|reason| Error::LogFile(path.clone().into(), reason))?)
        }
        _ => None,
    };
    loop {
        if monitor.is_none() {
            follower.no_more();
        }
        while let Some(line) = follower.next_line().map_err(failed)? {
            if let Some(piece) = selector.take(line) {
                printer.print(piece.stream, &piece.bytes)?;
            }
        }
        for piece in selector.let_go() {
            printer.print(piece.stream, &piece.bytes)?;
        }
        printer.flush()?;
        if follower.take_missed() {
            log::warn!("log: {}: files were rotated away before they could be read", path.display());
        }
        let (Some(watcher), Some(running)) = (&watcher, &monitor) else { break };
        let woken = wait(watcher, Some(running.as_fd()), &printer, selection.until)?;
        watcher.touched().map_err(failed)?;
        if woken.has_ended {
            monitor = None;
        }
        if woken.is_enough {
            break;
        }
    }
    // One that has just been launched may have written nothing yet.
    if !follower.has_found() && monitor.is_none() { Err(failed(Errno::ENOENT)) } else { Ok(()) }
}

fn watch(follower: &Follower) -> Result<Watcher, String> {
    let watcher = Watcher::new().map_err(cannot_follow)?;
    watcher.watch(follower.directory()).map_err(cannot_follow)?;
    Ok(watcher)
}

/// The path of the log, its directory and its name there.
fn log_of(found: &Found) -> Result<(PathBuf, OwnedFd, OsString), Error> {
    let own = found.path().join(OUTPUT);
    let named = match &found.standing {
        Standing::Over(state) => state.log.clone(),
        // A state that cannot be read does not say that there is none.
        _ => found.state().map_or_else(|_| own.to_str().map(Into::into), |state| state.log),
    };
    let no_log = || {
        let reason = "has no log: what it writes goes where its launcher's stdout and stderr go; launch it with --log FILE, or with --detach";
        Error::Sandbox(found.name().into(), reason.into())
    };
    let path = PathBuf::from(named.ok_or_else(no_log)?);
    let failed = |errno| Error::Log(path.clone().into(), errno);
    let name = path.file_name().ok_or_else(|| failed(Errno::EISDIR))?.to_owned();
    let directory = if path == own {
        let copy = found.dir().try_clone_to_owned();
        copy.map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))?
    } else {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        open(path.parent().unwrap_or(Path::new("/")), flags, Mode::empty()).map_err(failed)?
    };
    Ok((path, directory, name))
}
