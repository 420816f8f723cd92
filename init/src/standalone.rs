//! Init as a program of its own: the entrypoint of an image, with no launcher around it.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use nix::unistd::getpid;

use crate::error::Error;
use crate::event_loop::{End, EventLoop};
use crate::handoff::{Descriptors, Group, Workload};
use crate::supervisor::{Policy, Supervisor};
use crate::{NAME, exit, prepare_signals, signals, spawn, sys};

const USAGE: &str = "usage: launch-init [--] CMD [ARG...]

Runs CMD as the only child of a PID 1: forwards signals to it, reaps every
orphan, ends whatever is left when it has ended, and exits with its status.

  -h, --help     print this
  -V, --version  print the version

Exit status: CMD's own; 128 + n if signal n killed it; 125 if launch-init
failed; 126 if CMD could not be executed; 127 if it was not found.";

/// The whole program; returns its exit code.
pub(crate) fn main(arguments: Vec<OsString>) -> u8 {
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            let failure = error.into_failure();
            // A closed stderr is no reason to panic.
            let _ = writeln!(
                std::io::stderr(),
                "{NAME}: {}: {}: {}",
                failure.step,
                failure.object.display(),
                failure.reason()
            );
            failure.code
        }
    }
}

fn run(mut arguments: Vec<OsString>) -> Result<u8, Error> {
    match arguments.first().map(|first| first.as_bytes()) {
        Some(b"-h" | b"--help") => {
            say(USAGE);
            return Ok(0);
        }
        Some(b"-V" | b"--version") => {
            say(concat!("launch-init ", env!("CARGO_PKG_VERSION")));
            return Ok(0);
        }
        Some(b"--") => drop(arguments.remove(0)),
        Some([b'-', _, ..]) => {
            return Err(Error::Usage(format!("unknown option {}", arguments[0].display())));
        }
        _ => {}
    }
    if arguments.is_empty() {
        return Err(Error::Usage("no command; see launch-init --help".into()));
    }
    supervise(arguments)
}

/// On stdout, which may be closed.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn supervise(command: Vec<OsString>) -> Result<u8, Error> {
    let mask = signals::block_all().map_err(|errno| Error::Own("signal mask", errno))?;
    let state = signals::callers_state(mask);
    let is_pid_1 = getpid().as_raw() == 1;
    if !is_pid_1 {
        // Orphans come to us all the same; prctl(2), PR_SET_CHILD_SUBREAPER.
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(|errno| Error::Own("subreaper", errno))?;
    }
    let signals = prepare_signals()?;
    let workload = Workload {
        command,
        environment: std::env::vars_os().map(|(key, value)| variable(key, value)).collect(),
        signals: state,
        descriptors: Descriptors::Inherited,
        group: Group::Callers,
        drop_capabilities: false,
    };
    let pid = spawn::spawn(&workload, &signals, None)?;
    let policy = Policy { grace: Duration::ZERO, timeout: None, end_the_others: is_pid_1 };
    let supervisor = Supervisor::new(pid.as_raw(), policy, Instant::now());
    let group = workload.group;
    match (EventLoop { supervisor, signals: &signals, launcher: None, workload: pid, group }).run() {
        End::Workload(outcome) => Ok(outcome.code()),
        End::Abandoned => Ok(exit::FAILED),
    }
}

fn variable(key: OsString, value: OsString) -> OsString {
    let mut bytes = key.into_vec();
    bytes.push(b'=');
    bytes.extend(value.into_vec());
    OsString::from_vec(bytes)
}
