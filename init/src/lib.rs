//! The init of `launch`: all of PID 1, in the order of its life.
//!
//! Under `launch` it waits for the plan (which comes when the id maps are written), sets up what the plan says,
//! starts the workload, forwards signals to it, reaps every zombie, and gives the outcome back. The same loop
//! runs a command that is named on its own command line, as the entrypoint of an image.
//!
//! `launch` uses [`handoff`], [`exit`] and [`signals`] from here, and runs [`run`] in its cloned child.

#![deny(unsafe_code)]

mod accounts;
mod ahead;
mod descendants;
pub mod error;
mod event_loop;
mod everyone;
pub mod exit;
pub mod handoff;
mod join;
mod notify;
pub mod parse;
mod presets;
mod privileges;
mod proc;
mod report;
mod runs;
mod settings;
mod setup;
mod shield;
pub mod signals;
mod spawn;
mod standalone;
pub mod supervisor;
#[allow(unsafe_code)]
#[doc(hidden)]
pub mod sys;
pub mod terminal;

/// What `launch-init --help` prints.
pub use settings::USAGE;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use error::Error;
use event_loop::{Above, End, EventLoop, Naming, Running, Target};
use handoff::{Descriptors, FileSystem, Group, Plan, Report, Step};
use nix::errno::Errno;
use presets::Program;
use report::Channel;
use runs::{Begun, Runs, With};
use setup::Pty;
use signals::SignalQueue;
use supervisor::{Readiness, Supervisor};

/// The name under which this program is init, whatever file it is in.
pub const NAME: &str = "launch-init";

/// The option that names the descriptor of the channel to the launcher.
pub const HANDOFF_OPTION: &str = "--handoff";

/// The option that names the descriptor of the channel to a client whose command joins a sandbox.
pub const JOIN_OPTION: &str = "--join";

/// Whether a process with these arguments was executed as init: by a path that ends in `launch-init`, or in the name of a
/// program that it stands in for.
pub fn called_as_init(arguments: &[OsString]) -> bool {
    arguments
        .first()
        .is_some_and(|name| Path::new(name).file_name() == Some(NAME.as_ref()) || Program::of(name).is_some())
}

/// linux/capability.h. With it a chroot can be left.
const CAP_SYS_CHROOT: u32 = 18;
/// With it file systems are unmounted.
const CAP_SYS_ADMIN: u32 = 21;
/// With it, or the one before, a process gets the pid that was chosen for it: clone(2), set_tid.
const CAP_CHECKPOINT_RESTORE: u32 = 40;

/// Whether a program with these arguments is PID 1 under a launcher.
fn is_under_launch(arguments: &[OsString]) -> bool {
    called_as_init(arguments) && arguments.get(1).is_some_and(|option| option == HANDOFF_OPTION)
}

/// The whole program. Takes its arguments, its name first; returns the exit code of docs/exit-codes.md.
#[inline(never)]
pub fn run(mut arguments: Vec<OsString>) -> u8 {
    let name = if arguments.is_empty() { OsString::new() } else { arguments.remove(0) };
    match (Program::of(&name), arguments.as_slice()) {
        (None, [option, descriptor]) if option == HANDOFF_OPTION => under_launch(descriptor),
        (None, [option, descriptor]) if option == JOIN_OPTION => join::main(descriptor),
        (program, _) => standalone::main(program, &name, arguments),
    }
}

/// What is received of the plan at once. Most plans are shorter.
const FIRST_BYTES: usize = 4096;

/// Life under a launcher. Whatever there is to say goes through the channel.
fn under_launch(descriptor: &OsString) -> u8 {
    let mut received = Vec::with_capacity(FIRST_BYTES);
    // It comes when the id maps are written. The launcher blocked every signal before it cloned, so none has been lost.
    let channel = number(descriptor).and_then(|fd| sys::adopt_socket(fd, &mut received));
    let mut channel = match channel {
        Ok(socket) => Channel::new(socket),
        // Nobody is left to be told.
        Err(Errno::ECONNRESET) => return exit::FAILED,
        Err(_) => return refuse(HANDOFF_OPTION),
    };
    let plan = match received.is_empty() {
        true => Err(Error::LauncherGone),
        false => channel.receive_plan(received),
    };
    let plan = plan.and_then(|(plan, orders)| {
        if let Readiness::Descriptor(number) = plan.policy.readiness {
            // Before anything else is opened that could get the number.
            channel.away_from(number).map_err(Error::Channel)?;
            runs::reserve(number)?;
        }
        Ok((plan, orders))
    });
    // PID 1 has its channel for as long as it lives.
    let channel: &'static Channel = Box::leak(Box::new(channel));
    tell_the_end(channel, plan.and_then(|(plan, orders)| live(channel, plan, orders)))
}

/// The channel that an option names, if it is one.
fn channel_in(option: &str, descriptor: &OsString) -> Option<Channel> {
    let channel = number(descriptor).and_then(sys::adopt_descriptor);
    channel.map(Channel::new).map_err(|_| refuse(option)).ok()
}

fn number(descriptor: &OsString) -> Result<i32, Errno> {
    str::from_utf8(descriptor.as_bytes()).ok().and_then(|number| number.parse().ok()).ok_or(Errno::EBADF)
}

fn refuse(option: &str) -> u8 {
    let message = format!("{NAME}: {option}: not an open descriptor; this option is launch's own");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), (message + "\n").as_bytes());
    exit::FAILED
}

/// Says how it ended; returns the exit code.
fn tell_the_end(channel: &Channel, end: Result<End, Error>) -> u8 {
    match end {
        Ok(End::Workload(outcome)) => {
            // EPIPE: nobody is left who wants to know.
            let _ = channel.send(&Report::Ended(outcome));
            outcome.code()
        }
        Ok(End::Abandoned) | Err(Error::LauncherGone) => exit::FAILED,
        Err(error) => {
            let failure = error.into_failure();
            let code = failure.code;
            let _ = channel.send(&Report::Failed(failure));
            code
        }
    }
}

fn live(channel: &'static Channel, mut plan: Plan, orders: Vec<u8>) -> Result<End, Error> {
    report::log_through(channel, plan.log_level);
    become_unreadable()?;
    // As long as /dev is the caller's: what is in the sandbox's may be anything once the workload runs.
    let null = sys::open_null().map_err(|errno| Error::Own("/dev/null", errno))?;
    // Before the steps: afterwards every proc of this mount namespace may be partly covered.
    let proc = if privileges::need_proc(&plan.workload) { Some(own_proc()?) } else { None };
    let ready = setup::carry_out(&plan.steps, Some(channel.as_fd()))?;
    // Who may unmount /proc shall not find it in use, and who may choose pids could hide.
    if ![CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE].iter().any(|it| plan.workload.may_have(*it)) {
        everyone::keep_in_view();
    }
    close_descriptors_of(&plan);
    if ready.is_chrooted {
        plan.workload.forbid(CAP_SYS_CHROOT);
    }
    // Its end that the workload uses stays open, so that the launcher never sees the terminal hang up before we end.
    let terminal = match ready.terminal {
        None => None,
        Some(Pty { master, terminal }) => {
            channel.send_terminal(master.as_fd()).map_err(Error::Channel)?;
            Some(terminal)
        }
    };
    // As long as the channel.
    let signals: &'static SignalQueue = Box::leak(Box::new(prepare_signals(signals::ALL)?));
    if plan.ahead && !ahead::wait_for_task(channel, signals, &mut plan)? {
        return Ok(End::Abandoned);
    }
    let target = match plan.workload.group {
        Group::Own { .. } | Group::Session => Target::Group,
        Group::Callers => Target::Main,
    };
    let descriptors = plan.workload.descriptors.clone();
    let with = With {
        launcher: Some(channel.as_fd()),
        terminal: terminal.as_ref().map(AsFd::as_fd),
        proc: proc.as_ref().map(AsFd::as_fd),
        // Before Linux 6.2 one who shares memory cannot be in another time namespace (time_namespaces(7)): EINVAL.
        stands_still: plan.policy.dies_with_launcher && !plan.steps.contains(&Step::TimeNamespace),
        is_on_one_processor: plan.is_on_one_processor,
        ..With::default()
    };
    if plan.policy.dies_with_launcher {
        // Those inside may find a way to hold the loop up, which sees the launcher's end too, and so may an exec. No change of
        // credentials follows, which would clear it.
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.into())
            .map_err(|errno| Error::Own("PR_SET_PDEATHSIG", errno))?;
    }
    let runs = Runs::new(plan.workload, plan.probes, &plan.policy, signals, with, null)?;
    let Begun { pid, pidfd, ready } = runs.begin()?;
    log::debug!("workload: {}: started as pid {pid}", runs.command());
    // Who waits for the start alone, or lets others know of it, lives on without its launcher, or wants to know more.
    if plan.policy.dies_with_launcher && !plan.policy.tells && !plan.report_namespaces {
        channel.hold_started(pid);
    } else {
        let namespaces = if plan.report_namespaces { namespaces() } else { Vec::new() };
        let _ = channel.send_started(pid, namespaces);
    }
    let supervisor = Supervisor::new(pid.as_raw(), plan.policy, Instant::now());
    let is_last = !plan.policy.may_run_again();
    let (runs, unneeded) = if plan.policy.needs_runs() { (Some(runs), None) } else { (None, Some(runs)) };
    let runs = runs.as_ref();
    let settle = move || {
        // EPIPE: the launcher's end is the next event.
        let _ = channel.say_what_is_held();
        if plan.is_on_one_processor
            && let Err(errno) = sys::use_all_processors()
        {
            log::warn!("init: still on one processor: {}", errno.desc());
        }
        // What further runs get, init keeps. Else it is the workload's alone, and its arguments may be megabytes.
        if let (true, Some(runs)) = (is_last, runs.or(unneeded.as_ref())) {
            let_go(&descriptors, runs.null());
        }
    };
    let workload = Some(Running { pid, pidfd, ready, naming: Naming::Ours, target, shield: false });
    Ok(EventLoop {
        supervisor,
        signals,
        above: Above::Launcher(channel),
        workload,
        name_orphans: None,
        has_guests: false,
        is_alone: false,
        tell: None,
        runs,
        listener: None,
        unread: VecDeque::new(),
        orders,
        settle: Some(Box::new(settle)),
    }
    .run())
}

/// Fails where the workload's own /proc could not be mounted either, and as that.
fn own_proc() -> Result<OwnedFd, Error> {
    let what = FileSystem::Proc { masked: false, hide_pids: None, only_pids: false };
    proc::detached()
        .map_err(|errno| Error::Setup(Box::new(Step::Mount { what, at: "/proc".into() }), errno.into()))
}

/// Closes this process's memory, descriptors and executable in /proc/1 to those inside who have not got
/// CAP_SYS_PTRACE, whatever their uid; under `launch` nobody has. The maps are written, which needed it open from
/// outside; the workload's exec makes the workload readable again. See prctl(2), PR_SET_DUMPABLE.
fn become_unreadable() -> Result<(), Error> {
    // ps shows the descriptor's number as our name, since we were executed by it; not worth dying for.
    let _ = sys::set_process_name(NAME);
    sys::prctl(libc::PR_SET_DUMPABLE, 0).map_err(|errno| Error::Own("PR_SET_DUMPABLE", errno))
}

fn prepare_signals(signals: u64) -> Result<SignalQueue, Error> {
    signals::let_children_be_waited_for().map_err(|errno| Error::Own("SIGCHLD", errno))?;
    SignalQueue::of(signals).map_err(|errno| Error::Own("signalfd", errno))
}

/// The caller's descriptors that steps were carried out with, but those that the workload gets too.
fn close_descriptors_of(plan: &Plan) {
    let kept: &[i32] = match &plan.workload.descriptors {
        Descriptors::Only(kept) => kept,
        Descriptors::Inherited => return,
    };
    plan.descriptors().into_iter().filter(|fd| !kept.contains(fd)).for_each(sys::close_inherited);
}

/// Keeps nothing open that is the workload's: whoever reads its output sees end of file when the workload closes
/// it, and no file system is busy for init's sake.
fn let_go(descriptors: &Descriptors, null: BorrowedFd<'_>) {
    if let Descriptors::Only(kept) = descriptors {
        kept.iter().filter(|fd| **fd > libc::STDERR_FILENO).for_each(|fd| sys::close_inherited(*fd));
    }
    if let Err(errno) = sys::let_go_of(&[0, 1, 2], null).and(nix::unistd::chdir("/")) {
        // The workload runs: from here on nothing ends init.
        log::warn!("init: still holds what it inherited: {}", errno.desc());
    }
}

/// The namespaces that the workload was started in. PID 1 is in all of them but its children's time namespace.
fn namespaces() -> Vec<(String, u64)> {
    ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net", "time"]
        .into_iter()
        .filter_map(|kind| {
            let file = if kind == "time" { "time_for_children" } else { kind };
            let metadata = std::fs::metadata(format!("/proc/self/ns/{file}"));
            // An older kernel lacks some kinds.
            metadata.ok().map(|metadata| (kind.into(), std::os::unix::fs::MetadataExt::ino(&metadata)))
        })
        .collect()
}
