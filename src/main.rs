//! `launch [OPTIONS] -- CMD [ARG...]`: from the command line to the exit code.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

use launch::cli::serving::{Run, Serve, Serving};
use launch::cli::{self, Cli, Form, Request, quick};
use launch::config::{Arguments, Homes};
use launch::diff::{self, Diff};
use launch::hints::{self, Facts};
use launch::named::beside::{self, Beside};
use launch::named::commands;
use launch::named::detach::{self, Detached, Waiting};
use launch::named::name::Name;
use launch::named::settings::Settings;
use launch::sandbox::Sandbox;
use launch::status::StatusLines;
use launch::stdout::print;
use launch::{Command, Error, SignalState, explain, log_lines, serve, watch};
use launch_init::signals::SignalQueue;
use launch_init::terminal::Terminal;
use launch_init::{exit, signals};

/// musl's own makes forty more system calls in a launch, and as many page faults.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: launch::EarlyMemory<dlmalloc::GlobalDlmalloc> =
    launch::EarlyMemory::before(dlmalloc::GlobalDlmalloc);

#[cfg(not(test))]
launch_init::entry!(start);
launch_init::time_without_vdso!();

/// Takes the arguments, the program's name first; returns the exit code.
#[cfg_attr(test, allow(dead_code))]
fn start(words: Vec<OsString>) -> u8 {
    // In the cloned child this program is PID 1.
    if launch_init::called_as_init(&words) {
        return launch_init::run(words);
    }
    launch::is_its_own_init();
    match launch(words) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            error.exit_code()
        }
    }
}

/// Not inlined: PID 1 begins by `start` too, and would have the pages of this function's stack.
#[inline(never)]
fn launch(words: Vec<OsString>) -> Result<u8, Error> {
    // Before anything else: from here on no signal is lost, and none ends us in the middle of a launch.
    // And SIGCHLD: a caller that ignores it would have the kernel throw init's status away.
    let signals = signals::take_over().map_err(Error::Signals)?;
    match &quick::read(&words) {
        Some(cli) => run(cli, &Arguments::default(), signals),
        None => launch_otherwise(words, signals),
    }
}

/// What is not plain.
#[cold]
#[inline(never)]
fn launch_otherwise(words: Vec<OsString>, signals: SignalState) -> Result<u8, Error> {
    if let Some(brought) = quick::read_run(&words) {
        return bring(&brought, signals);
    }
    let arguments =
        Arguments::read(words.clone(), Homes::of_caller).inspect_err(|error| tell_status(&words, error))?;
    let request = cli::parse(arguments.tokens().to_vec()).map_err(|error| arguments.blame(error));
    match request.inspect_err(|error| tell_status(arguments.tokens(), error))? {
        Request::Run(cli) => match cli.explained() {
            Some(form) => explain(&cli, signals, form).map_err(|error| arguments.blame(error)),
            None => run(&cli, &arguments, signals),
        },
        Request::Diff(directory) => list_changes(&directory),
        Request::Sandboxes(sandboxes) => {
            log_lines::start(0);
            // They end like any other program.
            signals::set_mask(signals.mask).map_err(Error::Signals)?;
            Ok(commands::run(&sandboxes, &mut report))
        }
        Request::Serving(Serving::Serve(serving)) => serve_pool(&serving),
        Request::Serving(Serving::Run(brought)) => bring(&brought, signals),
        Request::Print(text) => {
            // `launch --help | head` may have closed it.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(0)
        }
    }
}

/// A wrong command line is a failure like any other for whoever reads the status lines, if it says where they go.
fn tell_status(arguments: &[OsString], error: &Error) {
    if let Ok(mut status) = StatusLines::to(cli::status_fd_in(arguments)) {
        status.failed(error);
    }
}

fn run(cli: &Cli, arguments: &Arguments, signals: SignalState) -> Result<u8, Error> {
    log_lines::start(cli.verbosity());
    let mut settings = cli.settings().map_err(|error| arguments.blame(error))?;
    let is_nameless = settings.name.is_none();
    // In this order: what is opened here could have the number of one that the caller did not open.
    let handed_on = cli.descriptors();
    let descriptors = launch::check_open(&handed_on);
    let mut launching = None;
    if settings.detach {
        let name = settings.name.get_or_insert(beside::random_name()?);
        let keep: Vec<i32> = handed_on.iter().copied().chain(cli.status_fd()).collect();
        match detach::detach(&keep)? {
            Detached::Caller(waiting) => return show_detached(name, waiting),
            Detached::Monitor(ours) => launching = Some(ours),
        }
    }
    let mut status = StatusLines::to(cli.status_fd())?;
    let mut beside = Beside::of(launching, is_nameless);
    let outcome = descriptors.and_then(|()| {
        let (mut sandbox, terminal) = begin(cli, &settings, &mut beside, signals)?;
        let queue = SignalQueue::new().map_err(Error::Signals)?;
        // Whoever reads what the workload writes shall see its end when the workload closes it, not when we end. A monitor
        // has let go already.
        let keeps_stdio = cli.tty() || settings.detach;
        let let_go = |inert: BorrowedFd<'_>| let_go(&handed_on, keeps_stdio, inert);
        let outcome = watch::watch_beside(&mut sandbox, &queue, terminal, &mut status, &mut beside, let_go)?;
        // Nobody is inside any more, and what was open for them is closed by our own end, which is next, all at once.
        std::mem::forget((sandbox, queue));
        Ok(outcome)
    });
    let outcome = outcome.map_err(|error| arguments.blame(error));
    match &outcome {
        Ok(outcome) => status.exited(*outcome),
        Err(error) => status.failed(error),
    }
    beside.end(outcome).map(launch::Outcome::code)
}

/// Not inlined: what is only needed until here may be megabytes of arguments, the workload's ends of pipes, and a page of the stack.
#[inline(never)]
fn begin(
    cli: &Cli,
    settings: &Settings,
    beside: &mut Beside,
    signals: SignalState,
) -> Result<(Sandbox, Terminal), Error> {
    let (mut command, terminal) = command(cli, signals);
    let plan = command.plan()?;
    beside.prepare(settings, &mut command, &plan)?;
    Ok((command.carry_out(&plan)?, terminal))
}

/// The caller's own process, when another one lives on.
#[cold]
fn show_detached(name: &Name, waiting: Waiting) -> Result<u8, Error> {
    let code = waiting.wait(name)?;
    if code == 0 {
        print(&format!("{name}\n"))?;
    }
    Ok(code)
}

fn command(cli: &Cli, signals: SignalState) -> (Command, Terminal) {
    let terminal = match (cli.detaches(), cli.tty(), cli.restarts()) {
        (true, ..) => Terminal::none(),
        (false, true, _) => Terminal::of_launcher(),
        (false, false, true) => Terminal::of_caller().for_the_background(),
        (false, false, false) => Terminal::of_caller(),
    };
    let mut command = Command::from_options(cli.options(terminal.group()));
    command.signal_state(signals).rely_on_being_launch();
    (command, terminal)
}

/// To a pool that somebody serves.
#[cold]
fn bring(brought: &Run, signals: SignalState) -> Result<u8, Error> {
    log_lines::start(0);
    serve::client::run(brought, signals).map(launch::Outcome::code)
}

#[cold]
fn serve_pool(serving: &Serve) -> Result<u8, Error> {
    let words = std::iter::once("launch".into()).chain(serving.options.iter().cloned()).collect();
    let arguments = Arguments::read(words, Homes::of_caller)?;
    let request = cli::parse(arguments.tokens().to_vec()).map_err(|error| arguments.blame(error))?;
    let Request::Run(cli) = request else {
        let reason = "only options of launch itself stand behind the dashes";
        return Err(Error::Option("OPTION".into(), reason.into()));
    };
    log_lines::start(cli.verbosity());
    let template = cli.template().map_err(|error| arguments.blame(error))?;
    serve::serve(&serving.socket, &Command::from_options(template), serving.pool.into())?;
    Ok(0)
}

#[cold]
fn explain(cli: &Cli, signals: SignalState, form: Form) -> Result<u8, Error> {
    log_lines::start(cli.verbosity());
    cli.settings()?;
    let plan = command(cli, signals).0.plan()?;
    print(&match form {
        Form::Words => explain::words(&plan),
        Form::Json => explain::json(&plan),
    })?;
    Ok(0)
}

/// What could not be compared is said, and makes the list one that cannot be relied on.
#[cold]
fn list_changes(directory: &Path) -> Result<u8, Error> {
    let Diff { changes, failures } = diff::diff(directory)?;
    print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>())?;
    for (path, reason) in &failures {
        report(&Error::Kept(path.into(), reason.clone()));
    }
    Ok(if failures.is_empty() { 0 } else { exit::FAILED })
}

/// stdin, stdout and the descriptors that were handed on are the workload's, unless we relay; stderr is ours too. The numbers
/// of the first two stay taken, by `inert`: nobody reads or writes here any more, and nothing has to be opened for it.
fn let_go(handed_on: &[i32], keeps_stdio: bool, inert: BorrowedFd<'_>) {
    let numbers: BTreeSet<_> = handed_on.iter().filter(|fd| **fd > libc::STDERR_FILENO).collect();
    numbers.into_iter().for_each(|fd| launch_init::sys::close_inherited(*fd));
    let ours: &[i32] = if keeps_stdio { &[] } else { &[libc::STDIN_FILENO, libc::STDOUT_FILENO] };
    if let Err(errno) = launch_init::sys::let_go_of(ours, inert) {
        log::warn!("stdin and stdout: still open: {}", errno.desc());
    }
}

/// One line, and a hint below where the cause is known. A closed stderr is no reason to panic.
#[cold]
fn report(error: &Error) {
    let mut text = format!("launch: {error}\n");
    if let Some(hint) = hints::hint(error, &Facts::read()) {
        text.push_str("launch: hint: ");
        text.push_str(&hint);
        text.push('\n');
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
