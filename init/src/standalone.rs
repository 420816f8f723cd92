//! Init as a program of its own: the entrypoint of an image, with no launcher around it.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use log::{Log, Metadata, Record};
use nix::unistd::{Pid, getpid, getsid};

use crate::error::Error;
use crate::event_loop::{Above, End, EventLoop, Naming, Running, Target};
use crate::exit::Outcome;
use crate::handoff::{Account, Descriptors, Group, Happening, Name, SignalState, Step, Why, Workload};
use crate::parse;
use crate::presets::{self, Call, Moment, Program, Stream, Tell, Voice};
use crate::runs::{self, Begun, Runs, With};
use crate::settings::{self, Placement, Request, Settings};
use crate::signals::SignalQueue;
use crate::supervisor::{Readiness, Supervisor};
use crate::terminal::Terminal;
use crate::{accounts, exit, prepare_signals, setup, signals, sys};

/// The whole program; returns its exit code.
#[cold]
pub(crate) fn main(program: Option<Program>, name: &OsStr, arguments: Vec<OsString>) -> u8 {
    // Before anything else: from here on no signal is lost, and none ends us.
    let mask = signals::block_all();
    let result = mask.map_err(|errno| Error::Own("signal mask", errno)).and_then(|mask| {
        let state = signals::callers_state(mask);
        match read(program, name, arguments)? {
            Request::Run(settings) => {
                let (name, failed) = (settings.name, settings.failed);
                Ok(live(*settings, state).unwrap_or_else(|error| report(name, failed, error)))
            }
            Request::Print(text) => Ok(quit(Stream::Stdout, text.as_bytes(), 0)),
            Request::Quit { stream, text, code } => Ok(quit(stream, &text, code)),
        }
    });
    result.unwrap_or_else(|error| report(crate::NAME, exit::FAILED, error))
}

fn read(program: Option<Program>, name: &OsStr, arguments: Vec<OsString>) -> Result<Request, Error> {
    let Some(program) = program else { return settings::parse(arguments) };
    let variable = |key: &str| std::env::var_os(key);
    let call = Call { name, arguments: &arguments, pid: std::process::id(), variable: &variable };
    Ok(program.parse(&call))
}

fn quit(stream: Stream, text: &[u8], code: u8) -> u8 {
    write(stream, text);
    code
}

/// Says why there is no workload. `failed` stands for docs/exit-codes.md's 125.
fn report(name: &str, failed: u8, error: Error) -> u8 {
    let failure = error.into_failure();
    say_as(name, &format!("{}: {}: {}", failure.step, failure.object.display(), failure.reason()));
    if failure.code == exit::FAILED { failed } else { failure.code }
}

/// Either may be closed.
fn write(stream: Stream, text: &[u8]) {
    let _ = match stream {
        Stream::Stdout => {
            let mut stdout = std::io::stdout();
            stdout.write_all(text).and_then(|()| stdout.flush())
        }
        Stream::Stderr => std::io::stderr().write_all(text),
    };
}

/// One line on stderr.
fn say(line: &str) {
    say_as(crate::NAME, line);
}

fn say_as(name: &str, line: &str) {
    write(Stream::Stderr, format!("{name}: {line}\n").as_bytes());
}

fn live(settings: Settings, state: SignalState) -> Result<u8, Error> {
    let voice = settings.program.map(|program| Voice {
        program,
        verbosity: settings.verbosity,
        init: std::process::id(),
        names_orphans: settings.warn_reaped,
        rewrites: settings.policy.rewrites,
    });
    let speak = |moment: Moment<'_>| {
        if let Some(voice) = &voice {
            let lines = presets::lines(voice, std::process::id(), moment);
            lines.iter().for_each(|(stream, line)| write(*stream, line));
        }
    };
    let tell = voice.is_some().then_some(Tell(&speak));
    if let Readiness::Descriptor(number) = settings.policy.readiness {
        // Before anything is opened that could get the number.
        runs::reserve(number)?;
    }
    start_log(&settings);
    settings.opening.iter().for_each(|line| speak(Moment::Opening(line)));
    if let Some(signal) = settings.own_death_signal {
        sys::prctl(libc::PR_SET_PDEATHSIG, signal.into())
            .map_err(|errno| Error::Own("PR_SET_PDEATHSIG", errno))?;
    }
    adopt_orphans(&settings, &speak)?;
    if !settings.is_open {
        crate::become_unreadable()?;
    }
    let terminal = match settings.placement {
        Placement::ByTerminal => Terminal::of_caller(),
        Placement::OwnGroup => Terminal::of_caller().for_a_group_of_its_own(),
        Placement::Callers => Terminal::of_caller().for_the_callers_group(),
        Placement::Background => Terminal::of_caller().for_the_background(),
        Placement::Session => Terminal::for_a_session(),
    };
    let is_leader = settings.placement == Placement::Session && give_up_terminal(&speak);
    let state = prepare_callers_signals(&settings, state)?;
    let signals = prepare_signals(not_own(&settings))?;
    let runs = match settings.pause {
        true => None,
        false => Some(of_settings(&settings, state, &signals, terminal.group(), tell)?),
    };
    let workload = runs.as_ref().map(|runs| begin(runs, &settings, terminal.group())).transpose()?;
    let runs = runs.filter(|_| settings.policy.needs_runs());
    // What further runs get, init keeps.
    if !settings.policy.may_run_again() {
        let own = [
            Some(signals.as_fd()),
            runs.as_ref().map(Runs::null),
            terminal.as_fd(),
            workload.as_ref().map(|workload| workload.pidfd.as_fd()),
            workload.as_ref().and_then(|workload| workload.ready.as_ref()).map(AsFd::as_fd),
            runs.as_ref().and_then(Runs::notify).map(AsFd::as_fd),
        ];
        let_go(own.into_iter().flatten().map(|fd| fd.as_raw_fd()).collect(), &settings);
    }
    // The kernel tells the group of a session's leader that gives its terminal up.
    let ignored_once = if is_leader { 1 << (libc::SIGHUP - 1) | 1 << (libc::SIGCONT - 1) } else { 0 };
    let outcome = look_after(&settings, &signals, terminal, workload, runs.as_ref(), ignored_once, tell);
    if let (Outcome::Killed(signal), false) = (outcome, settings.quiet) {
        say(&format!("{}: killed by {}", command(&settings), signals::name(signal)));
    }
    let code = outcome.code();
    Ok(settings.remap.iter().rev().find(|(from, _)| *from == code).map_or(code, |(_, to)| *to))
}

fn look_after(
    settings: &Settings,
    signals: &SignalQueue,
    terminal: Terminal,
    workload: Option<Running>,
    runs: Option<&Runs<'_>>,
    ignored_once: u64,
    tell: Option<Tell<'_>>,
) -> Outcome {
    let supervisor = match &workload {
        Some(workload) => Supervisor::new(workload.pid.as_raw(), settings.policy, Instant::now()),
        None => Supervisor::pausing(settings.policy),
    };
    let supervisor = supervisor.ignoring_once(ignored_once).stopping_too(settings.stops_too);
    let above = Above::Terminal(terminal);
    let is_own_message = settings.warn_reaped && settings.program.is_none();
    let name_orphans = is_own_message.then_some(name_orphan as fn(Pid, &str, i32));
    let command = command(settings);
    let listener = |happening: &Happening| {
        if let (Some(line), false) = (in_words(happening), settings.quiet) {
            say(&format!("{command}: {line}"));
        }
    };
    let event_loop = EventLoop {
        supervisor,
        signals,
        above,
        workload,
        name_orphans,
        has_guests: false,
        is_alone: false,
        tell,
        runs,
        listener: Some(&listener),
        unread: VecDeque::new(),
        orders: Vec::new(),
        settle: None,
    };
    match event_loop.run() {
        End::Workload(outcome) => outcome,
        // There is no launcher to be abandoned by.
        End::Abandoned => Outcome::Exited(exit::FAILED),
    }
}

/// Orphans come to PID 1, and to others that ask for it; prctl(2), PR_SET_CHILD_SUBREAPER.
fn adopt_orphans(settings: &Settings, speak: &dyn Fn(Moment<'_>)) -> Result<(), Error> {
    let is_init = getpid().as_raw() == 1;
    if settings.adopts && !is_init {
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(|errno| Error::Own("subreaper", errno))?;
    }
    if settings.adopts {
        speak(Moment::Adopts);
    } else if !is_init && !sys::is_subreaper() {
        speak(Moment::AdoptsNot);
    }
    Ok(())
}

/// So that the workload's session can take it. Returns whether this process was its session's leader.
fn give_up_terminal(speak: &dyn Fn(Moment<'_>)) -> bool {
    match sys::give_up_terminal() {
        Ok(()) => {
            let by_leader = getsid(None) == Ok(getpid());
            speak(Moment::TerminalGivenUp { by_leader });
            by_leader
        }
        Err(errno) => {
            speak(Moment::TerminalKept(errno as i32));
            false
        }
    }
}

/// The signals that are not init's own.
fn not_own(settings: &Settings) -> u64 {
    settings.own_signals.iter().fold(signals::ALL, |set, signal| set & !(1 << (signal - 1)))
}

/// Leaves init's own signals to do what they do, and returns what the workload shall have.
fn prepare_callers_signals(settings: &Settings, state: SignalState) -> Result<SignalState, Error> {
    let failed = |errno| Error::Own("signals", errno);
    for signal in settings.own_signals.iter().filter(|signal| !sys::is_ignored(**signal)) {
        // Rust's runtime has handlers for two of them.
        sys::set_ignored(*signal, false).map_err(failed)?;
    }
    signals::set_mask(not_own(settings)).map_err(failed)?;
    if !settings.clean_signals {
        return Ok(state);
    }
    for signal in (1..=31).filter(|signal| sys::is_ignored(*signal)) {
        sys::set_ignored(signal, false).map_err(failed)?;
    }
    Ok(SignalState::default())
}

fn of_settings<'a>(
    settings: &Settings,
    signals: SignalState,
    queue: &'a SignalQueue,
    group: Group,
    tell: Option<Tell<'a>>,
) -> Result<Runs<'a>, Error> {
    let user = settings.user.as_deref().map(user).transpose()?;
    if let Some(directory) = &settings.directory {
        setup::carry_out(&[Step::ChangeDirectory(directory.clone())], None)?;
    }
    let workload = Workload {
        command: settings.command.clone(),
        environment: environment(&settings.set),
        signals,
        descriptors: settings.keep.clone().map_or(Descriptors::Inherited, Descriptors::Only),
        group,
        user,
        parent_death_signal: settings.parent_death_signal,
        capabilities: None,
        no_new_privileges: false,
        filters: Vec::new(),
        limits: Vec::new(),
        oom_score: None,
        niceness: None,
        umask: None,
    };
    let with = With {
        tell,
        exec_failure: settings.exec_failure,
        listen_pid: settings.listen_pid,
        stands_still: true,
        ..With::default()
    };
    let null = sys::open_null().map_err(|errno| Error::Own("/dev/null", errno))?;
    Runs::new(workload, settings.probes.clone(), &settings.policy, queue, with, null)
}

fn begin(runs: &Runs<'_>, settings: &Settings, group: Group) -> Result<Running, Error> {
    let Begun { pid, pidfd, ready } = runs.begin()?;
    // In a group that it shares with our caller, only the workload itself is meant.
    let target = match (settings.target, group) {
        (Target::Group, Group::Callers) => Target::Main,
        (target, _) => target,
    };
    Ok(Running { pid, pidfd, ready, naming: Naming::Ours, target, shield: settings.shield })
}

/// CMD, for messages.
fn command(settings: &Settings) -> String {
    settings.command.first().map(|command| command.display().to_string()).unwrap_or_default()
}

/// What is said of the workload's life, if anything.
fn in_words(happening: &Happening) -> Option<String> {
    Some(match happening {
        Happening::RunEnded { outcome, again: true, .. } => {
            format!("{}; it is started again", how(*outcome)?)
        }
        Happening::NotStarted(failure) => {
            format!("could not be started again: {}: {}", failure.step, failure.reason())
        }
        Happening::Ending(Why::NotReady) => "was not ready in time, and is ended".into(),
        Happening::Ending(Why::Watchdog) => "has not said in time that it is alive, and is ended".into(),
        Happening::Ending(Why::Unhealthy) => "is unhealthy, and is ended".into(),
        Happening::Unhealthy { failures: 1 } => "a health check has failed".into(),
        Happening::Unhealthy { failures } => format!("{failures} health checks in a row have failed"),
        _ => return None,
    })
}

/// Looked up at once: a user that isn't there is a wrong command line. No supplementary group stays.
fn user(text: &str) -> Result<Account, Error> {
    let resolved = parse::account(text).and_then(|account| match account.groups.as_slice() {
        [] => accounts::resolve(&account),
        _ => Err(format!("{text:?}: say UID[:GID]")),
    });
    let user = resolved.map_err(|reason| Error::Usage("--user".into(), reason))?;
    Ok(Account { user: Name::Id(user.uid), group: Some(Name::Id(user.gid)), groups: Vec::new() })
}

/// The inherited one, with what `--env` sets.
fn environment(set: &[(OsString, OsString)]) -> Vec<OsString> {
    let is_set = |name: &OsStr| set.iter().any(|(set, _)| set == name);
    let inherited = sys::environment().into_iter().filter(|it| !is_set(parse::variable_name(it)));
    inherited.chain(set.iter().map(|(name, value)| parse::variable_of(name, value))).collect()
}

/// Keeps nothing open that is the workload's, but stderr as long as there may be something to say.
fn let_go(mut own: Vec<i32>, settings: &Settings) {
    let is_silent = settings.quiet && !settings.warn_reaped && settings.verbosity == 0;
    let standard: &[i32] = match (settings.is_open, is_silent) {
        (true, _) => &[],
        (false, true) => &[0, 1, 2],
        (false, false) => &[0, 1],
    };
    own.sort_unstable();
    let mut first = 3;
    let mut result = Ok(());
    for fd in own {
        if fd > first {
            result = result.and(sys::close_range(first as u32, fd as u32 - 1));
        }
        first = fd + 1;
    }
    let result = result
        .and_then(|()| sys::close_range(first as u32, u32::MAX))
        .and_then(|()| sys::open_null())
        .and_then(|null| sys::let_go_of(standard, null.as_fd()))
        .and_then(|()| if settings.keeps_directory { Ok(()) } else { nix::unistd::chdir("/") });
    if let Err(errno) = result {
        log::warn!("init: still holds what it inherited: {}", errno.desc());
    }
}

fn name_orphan(pid: Pid, command: &str, status: i32) {
    if let Some(how) = Outcome::from_wait_status(status).and_then(how) {
        say(&format!("reaped orphan {pid} ({command}), which {how}"));
    }
}

fn how(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Exited(code) => Some(format!("exited with {code}")),
        Outcome::Killed(signal) => Some(format!("was killed by {}", signals::name(signal))),
        Outcome::TimedOut => None,
    }
}

/// On stderr, with -v. No variable asks for it: an image's environment is the workload's.
fn start_log(settings: &Settings) {
    let level = match (settings.program, settings.verbosity) {
        // Its messages are another program's.
        (Some(_), _) => log::LevelFilter::Error,
        (None, 0) => log::LevelFilter::Warn,
        (None, 1) => log::LevelFilter::Debug,
        (None, _) => log::LevelFilter::Trace,
    };
    if log::set_logger(Box::leak(Box::new(StderrLog(settings.name)))).is_ok() {
        log::set_max_level(level);
    }
}

/// Who says it, and a line each. A library for logs is a fifth of this program's size.
struct StderrLog(&'static str);

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        say_as(self.0, &record.args().to_string());
    }

    fn flush(&self) {}
}
