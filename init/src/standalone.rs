//! Init as a program of its own: the entrypoint of an image, with no launcher around it.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use nix::unistd::{Pid, getpid};

use crate::error::Error;
use crate::event_loop::{Above, End, EventLoop, Running, Target};
use crate::exit::Outcome;
use crate::handoff::{Descriptors, Group, SignalState, Step, Workload};
use crate::parse::{self, User};
use crate::settings::{self, Request, Settings};
use crate::signals::SignalQueue;
use crate::supervisor::Supervisor;
use crate::terminal::Terminal;
use crate::{exit, prepare_signals, setup, signals, spawn, sys};

/// The whole program; returns its exit code.
pub(crate) fn main(arguments: Vec<OsString>) -> u8 {
    // Before anything else: from here on no signal is lost, and none ends us.
    let mask = signals::block_all();
    let result = mask.map_err(|errno| Error::Own("signal mask", errno)).and_then(|mask| {
        let state = signals::callers_state(mask);
        match settings::parse(arguments)? {
            Request::Run(settings) => live(*settings, state),
            Request::Print(text) => {
                // It may be closed.
                let _ = std::io::stdout().write_all(text.as_bytes());
                Ok(0)
            }
        }
    });
    result.unwrap_or_else(|error| {
        let failure = error.into_failure();
        say(&format!("{}: {}: {}", failure.step, failure.object.display(), failure.reason()));
        failure.code
    })
}

/// One line on stderr, which may be closed.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}: {line}", crate::NAME);
}

fn live(settings: Settings, state: SignalState) -> Result<u8, Error> {
    start_log(settings.verbosity);
    if getpid().as_raw() != 1 {
        // Orphans come to us all the same; prctl(2), PR_SET_CHILD_SUBREAPER.
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(|errno| Error::Own("subreaper", errno))?;
    }
    crate::become_unreadable()?;
    let terminal = Terminal::of_caller();
    let signals = prepare_signals()?;
    let workload =
        if settings.pause { None } else { Some(start(&settings, state, &signals, terminal.group())?) };
    let own =
        [Some(signals.as_fd()), terminal.as_fd(), workload.as_ref().map(|workload| workload.pidfd.as_fd())];
    let own = own.into_iter().flatten().map(|fd| fd.as_raw_fd()).collect();
    let_go(own, settings.quiet && !settings.warn_reaped && settings.verbosity == 0);
    let outcome = look_after(&settings, &signals, terminal, workload);
    if let (Outcome::Killed(signal), false) = (outcome, settings.quiet) {
        let command =
            settings.command.first().map(|command| command.display().to_string()).unwrap_or_default();
        say(&format!("{command}: killed by {}", signals::name(signal)));
    }
    let code = outcome.code();
    Ok(settings.remap.iter().rev().find(|(from, _)| *from == code).map_or(code, |(_, to)| *to))
}

fn look_after(
    settings: &Settings,
    signals: &SignalQueue,
    terminal: Terminal,
    workload: Option<Running>,
) -> Outcome {
    let supervisor = match &workload {
        Some(workload) => Supervisor::new(workload.pid.as_raw(), settings.policy, Instant::now()),
        None => Supervisor::pausing(settings.policy),
    };
    let above = Above::Terminal(terminal);
    let name_orphans = settings.warn_reaped.then_some(name_orphan as fn(Pid, &str, i32));
    match (EventLoop { supervisor, signals, above, workload, name_orphans }).run() {
        End::Workload(outcome) => outcome,
        // There is no launcher to be abandoned by.
        End::Abandoned => Outcome::Exited(exit::FAILED),
    }
}

fn start(
    settings: &Settings,
    signals: SignalState,
    queue: &SignalQueue,
    group: Group,
) -> Result<Running, Error> {
    let user = settings.user.as_deref().map(user).transpose()?;
    if let Some(directory) = &settings.directory {
        setup::carry_out(&[Step::ChangeDirectory(directory.clone())])?;
    }
    let workload = Workload {
        command: settings.command.clone(),
        environment: environment(&settings.set),
        signals,
        descriptors: settings.keep.clone().map_or(Descriptors::Inherited, Descriptors::Only),
        group,
        user,
        parent_death_signal: settings.parent_death_signal,
        filter_terminal: false,
        forbidden_capabilities: 0,
        drop_capabilities: false,
    };
    let (pid, pidfd) = spawn::spawn(&workload, queue, None, None)?;
    // In a group that it shares with our caller, only the workload itself is meant.
    let target = match (settings.target, group) {
        (Target::Group, Group::Callers) => Target::Main,
        (target, _) => target,
    };
    Ok(Running { pid, pidfd, target, shield: settings.shield })
}

fn user(text: &str) -> Result<User, Error> {
    // An image FROM scratch has neither file, and needs none for numbers.
    let read = |path| {
        std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    };
    parse::user(text, &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|reason| Error::Usage("--user".into(), reason))
}

/// The inherited one, with what `--env` sets.
fn environment(set: &[(OsString, OsString)]) -> Vec<OsString> {
    let inherited = std::env::vars_os().filter(|(key, _)| !set.iter().any(|(set, _)| set == key));
    inherited.chain(set.iter().cloned()).map(|(key, value)| variable(key, value)).collect()
}

fn variable(key: OsString, value: OsString) -> OsString {
    let mut bytes = key.into_vec();
    bytes.push(b'=');
    bytes.extend(value.into_vec());
    OsString::from_vec(bytes)
}

/// Keeps nothing open that is the workload's, but stderr as long as there may be something to say.
fn let_go(mut own: Vec<i32>, silent: bool) {
    own.sort_unstable();
    let mut first = 3;
    let mut result = Ok(());
    for fd in own {
        if fd > first {
            result = result.and(sys::close_range(first as u32, fd as u32 - 1));
        }
        first = fd + 1;
    }
    let standard: &[i32] = if silent { &[0, 1, 2] } else { &[0, 1] };
    let result = result
        .and_then(|()| sys::close_range(first as u32, u32::MAX))
        .and_then(|()| sys::let_go_of(standard))
        .and_then(|()| nix::unistd::chdir("/"));
    if let Err(errno) = result {
        log::warn!("init: still holds what it inherited: {}", errno.desc());
    }
}

fn name_orphan(pid: Pid, command: &str, status: i32) {
    let how = match Outcome::from_wait_status(status) {
        Some(Outcome::Exited(code)) => format!("exited with {code}"),
        Some(Outcome::Killed(signal)) => format!("was killed by {}", signals::name(signal)),
        _ => return,
    };
    say(&format!("reaped orphan {pid} ({command}), which {how}"));
}

/// On stderr, with -v. No variable asks for it: an image's environment is the workload's.
fn start_log(verbosity: u8) {
    let level = match verbosity {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|f, record| writeln!(f, "{}: {}", crate::NAME, record.args()))
        .init();
}
