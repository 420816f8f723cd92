//! The command line: arguments → options. Its help and its man page (docs/launch.1) are made from this.
//!
//! Values only; whether the options make sense together is plan/checks.rs's to say.

#![forbid(unsafe_code)]

pub mod quick;
pub mod sandboxes;
pub mod serving;
pub mod written;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use launch_init::handoff::{Account, FileSystem, Group, Limit, Step};
use launch_init::parse::{account, descriptor, duration, id, readiness, restart, signal, variable};
use launch_init::supervisor::{LONGEST_DELAY, Readiness, Restart};

use self::sandboxes::Sandboxes;
use self::serving::Serving;
use crate::config::Files;
use crate::error::Error;
use crate::named::name::Name;
use crate::named::settings::{self, Settings};
use crate::plan::{
    Capabilities, HealthCheck, IdMap, Identity, Network, Options, Proc, Ready, RootDirectory, Seccomp, Share,
    Tmp, Volatile,
};
use crate::privileges;
use crate::spec::{self, size};

/// Run a command in Linux namespaces of its own, under a real PID 1.
///
/// The command gets new user, mount, UTS, IPC, PID and cgroup namespaces, a fresh /proc and a fresh /tmp; all else
/// is the caller's own file system and network. PID 1 forwards signals to it, reaps its orphans, ends whatever it
/// leaves over, and returns its exit status. When launch dies, everything inside dies with it.
#[derive(Debug, Default, PartialEq, Eq, Parser)]
#[command(
    name = "launch",
    version,
    override_usage = "launch [OPTIONS] -- CMD [ARG...]\n       launch COMMAND ...",
    after_help = "Exit status: CMD's own; 128+n if signal n killed it; 124 if --timeout ran out; 125 if launch \
                  failed; 126 if CMD could not be executed; 127 if it was not found.",
    after_long_help = EXIT_STATUS,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    other: Option<Other>,

    /// The command, looked for in the PATH it will have, and its arguments, passed on byte for byte
    #[arg(value_name = "CMD", last = true, num_args = 1..)]
    command: Vec<OsString>,

    /// Where further options come from; config.rs has put them in by now
    #[command(flatten)]
    pub files: Files,

    /// The network: the caller's, or a new one with only a loopback interface
    #[arg(long, value_enum, value_name = "KIND", default_value = "host", help_heading = "Namespaces")]
    net: Network,

    /// Keep the caller's namespace of this kind; may be repeated
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',', help_heading = "Namespaces")]
    share: Vec<Share>,

    /// Make a namespace that isn't made by default; may be repeated
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',', help_heading = "Namespaces")]
    unshare: Vec<Unshare>,

    /// Appear as this user id instead of 0 (0 to 4294967294)
    #[arg(long, value_name = "N", value_parser = id, allow_negative_numbers = true, conflicts_with = "keep_id", help_heading = "Identity")]
    uid: Option<u32>,

    /// Appear as this group id instead of 0 (0 to 4294967294)
    #[arg(long, value_name = "N", value_parser = id, allow_negative_numbers = true, conflicts_with = "keep_id", help_heading = "Identity")]
    gid: Option<u32>,

    /// Appear as the caller's own user and group id
    #[arg(long, help_heading = "Identity")]
    keep_id: bool,

    /// auto: root inside is the caller, and from 1 on follow all the ids that /etc/subuid and /etc/subgid give it
    #[arg(long, value_enum, value_name = "HOW", conflicts_with_all = ["uid", "gid", "keep_id", "map_users", "map_groups"], help_heading = "Identity")]
    map: Option<Map>,

    /// Show COUNT user ids from OUT on as those from IN on; may be repeated. An ordinary user needs newuidmap, and a line in
    /// /etc/subuid for those that are not its own [default: 0 is the caller]
    #[arg(long, value_name = "IN:OUT:COUNT", value_parser = spec::id_map, conflicts_with_all = ["uid", "gid", "keep_id"], help_heading = "Identity")]
    map_users: Vec<IdMap>,

    /// The same for group ids, by newgidmap and /etc/subgid
    #[arg(long, value_name = "IN:OUT:COUNT", value_parser = spec::id_map, conflicts_with_all = ["uid", "gid", "keep_id"], help_heading = "Identity")]
    map_groups: Vec<IdMap>,
    /// Run the command as this user, in these groups and no others: numbers, or names of the inside's own /etc/passwd and
    /// /etc/group. It has only the capabilities that --cap-add names, unless it is 0 [default: who the caller appears as;
    /// GID: the user's own there, or else the number of UID]
    #[arg(long, value_name = "UID[:GID][,GROUP...]", value_parser = account, allow_negative_numbers = true, help_heading = "Identity")]
    user: Option<Account>,

    /// Forbid to make further user namespaces inside
    #[arg(long, help_heading = "Identity")]
    disable_userns: bool,

    /// The host name, 1 to 64 bytes [default: container]
    #[arg(long, value_name = "NAME", help_heading = "Identity")]
    hostname: Option<OsString>,

    /// The NIS domain name, 1 to 64 bytes [default: the caller's]
    #[arg(long, value_name = "NAME", help_heading = "Identity")]
    domainname: Option<OsString>,

    /// The most that the fresh /tmp may hold: bytes, or with K, M, G or T [default: half of the memory]
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true, conflicts_with = "keep_tmp", help_heading = "Files")]
    tmp_size: Option<u64>,

    /// Keep the caller's /tmp
    #[arg(long, help_heading = "Files")]
    keep_tmp: bool,

    /// A root file system: this directory, read-only, or writable with :rw [default: the caller's /]
    #[arg(long, value_name = "DIR[:rw]", value_parser = OsStringValueParser::new().try_map(|text| spec::rootfs(&text)), help_heading = "Files")]
    rootfs: Option<(OsString, bool)>,

    /// Make all of / read-only, but the fresh /proc and /tmp, and what is mounted by other options
    #[arg(long, help_heading = "Files")]
    read_only: bool,

    /// Make all of / writable, on a layer above it that is thrown away
    #[arg(long, help_heading = "Files")]
    volatile: bool,

    /// As --volatile, but keep what was written in this directory; launch diff DIR lists it
    #[arg(long, value_name = "DIR", conflicts_with = "volatile", help_heading = "Files")]
    keep: Option<PathBuf>,

    /// How /proc is mounted: hidepid=MODE,subset=pid, or one of them
    #[arg(long, value_name = "OPTIONS", value_parser = proc_mode, help_heading = "Files")]
    proc_mode: Option<Proc>,

    /// Show SRC of the caller's at DEST, with all that is mounted below it, writable; each of these options may be
    /// repeated, and they are carried out in their order
    #[arg(long, value_name = "SRC[:DEST]", value_parser = step(|text| spec::bind(text, false, false, false)), help_heading = "Mounts")]
    bind: Vec<Step>,

    /// The same, read-only
    #[arg(long, value_name = "SRC[:DEST]", value_parser = step(|text| spec::bind(text, true, false, false)), help_heading = "Mounts")]
    ro_bind: Vec<Step>,

    /// As --bind, and device files work there
    #[arg(long, value_name = "SRC[:DEST]", value_parser = step(|text| spec::bind(text, false, true, false)), help_heading = "Mounts")]
    dev_bind: Vec<Step>,

    /// As --bind, if SRC exists
    #[arg(long, value_name = "SRC[:DEST]", value_parser = step(|text| spec::bind(text, false, false, true)), help_heading = "Mounts")]
    try_bind: Vec<Step>,

    /// As --ro-bind, if SRC exists
    #[arg(long, value_name = "SRC[:DEST]", value_parser = step(|text| spec::bind(text, true, false, true)), help_heading = "Mounts")]
    try_ro_bind: Vec<Step>,

    /// Show what descriptor FD stands for at DEST
    #[arg(long, value_name = "FD:DEST", value_parser = step(spec::bind_descriptor), help_heading = "Mounts")]
    bind_fd: Vec<Step>,

    /// An empty tmpfs [default: mode=755, and half of the memory]
    #[arg(long, value_name = "DEST[:size=SIZE,mode=MODE]", value_parser = step(spec::tmpfs), help_heading = "Mounts")]
    tmpfs: Vec<Step>,

    /// Layers of directories as one, the uppermost first; changes go to upper, with work beside it on the same file
    /// system, or are refused
    #[arg(long, value_name = "DEST:lower=DIR[:lower=DIR]...[,upper=DIR,work=DIR]", value_parser = step(|text| spec::overlay(text, false)), help_heading = "Mounts")]
    overlay: Vec<Step>,

    /// Layers of directories as one; changes are thrown away
    #[arg(long, value_name = "DEST:lower=DIR[:lower=DIR]...", value_parser = step(|text| spec::overlay(text, true)), help_heading = "Mounts")]
    tmp_overlay: Vec<Step>,

    /// A proc of the sandbox's processes
    #[arg(long, value_name = "DEST", value_parser = step(|text| mount(text, PROC)), help_heading = "Mounts")]
    proc: Vec<Step>,

    /// The devices that every program expects, and no other: null, zero, full, random, urandom, tty, fd, stdin, stdout,
    /// stderr, pts, ptmx and shm
    #[arg(long, value_name = "DEST", value_parser = step(|text| mount(text, FileSystem::Dev)), help_heading = "Mounts")]
    dev: Vec<Step>,

    /// The message queues of the IPC namespace
    #[arg(long, value_name = "DEST", num_args = 0..=1, default_missing_value = "/dev/mqueue", value_parser = step(|text| mount(text, FileSystem::MessageQueue)), help_heading = "Mounts")]
    mqueue: Vec<Step>,

    /// Make a directory
    #[arg(long, value_name = "DEST", value_parser = step(spec::directory), help_heading = "Mounts")]
    dir: Vec<Step>,

    /// A file with what descriptor FD gives until its end
    #[arg(long, value_name = "FD:DEST", value_parser = step(spec::file), help_heading = "Mounts")]
    file: Vec<Step>,

    /// Make a symbolic link
    #[arg(long, value_name = "TARGET:DEST", value_parser = step(spec::symlink), help_heading = "Mounts")]
    symlink: Vec<Step>,

    /// Hide a file or directory behind an empty, unreadable one
    #[arg(long, value_name = "PATH", value_parser = step(|text| spec::path(text).map(Step::Mask)), help_heading = "Mounts")]
    mask: Vec<Step>,

    /// Make PATH read-only
    #[arg(long, value_name = "PATH", value_parser = step(|text| spec::path(text).map(Step::RemountReadOnly)), help_heading = "Mounts")]
    remount_ro: Vec<Step>,

    /// All of these, in their order; by itself each is empty.
    #[arg(skip)]
    mounts: Vec<Step>,

    /// Start in this directory [default: the caller's, or / where a fresh mount hides that]
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    chdir: Option<PathBuf>,

    /// Hand on the open descriptor N besides 0, 1 and 2; may be repeated
    #[arg(long, value_name = "N", value_parser = descriptor, allow_negative_numbers = true, help_heading = "Files")]
    keep_fd: Vec<i32>,

    /// Add a capability to those of the default, or ALL. Of this and --cap-drop the later wins; both may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = privileges::capability, help_heading = "Privileges")]
    cap_add: Vec<u64>,

    /// Take a capability from those of the default, or ALL
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = privileges::capability, help_heading = "Privileges")]
    cap_drop: Vec<u64>,

    /// What these two come to.
    #[arg(skip)]
    capabilities: Capabilities,

    /// Refuse system calls by the built-in profile, by none, or by that of a file in the format of the OCI or of Docker
    /// [default: default]
    #[arg(long, value_name = "default|off|FILE", value_parser = OsStringValueParser::new().try_map(|text| privileges::seccomp(&text)), help_heading = "Privileges")]
    seccomp: Option<Seccomp>,

    /// Limit a resource, by its name in prlimit(1); unlimited is a value, bytes may have K, M, G or T; may be repeated
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = privileges::limit, help_heading = "Privileges")]
    rlimit: Vec<Limit>,

    /// How gladly the kernel ends the command when memory runs out, -1000 to 1000 [default: the caller's]
    #[arg(long, value_name = "N", value_parser = privileges::oom_score, allow_negative_numbers = true, help_heading = "Privileges")]
    oom_score_adj: Option<i32>,

    /// The nice value, -20 to 19 [default: the caller's]
    #[arg(long, value_name = "N", value_parser = privileges::niceness, allow_negative_numbers = true, help_heading = "Privileges")]
    nice: Option<i32>,

    /// The permissions that new files do not get, in octal, 0 to 777 [default: the caller's]
    #[arg(long, value_name = "MODE", value_parser = privileges::umask, allow_negative_numbers = true, help_heading = "Privileges")]
    umask: Option<u32>,

    /// Set a variable; may be repeated
    #[arg(
        long,
        value_name = "K=V",
        value_parser = OsStringValueParser::new().try_map(|text| variable(&text)),
        help_heading = "Environment"
    )]
    env: Vec<(OsString, OsString)>,

    /// Remove an inherited variable; may be repeated
    #[arg(long, value_name = "K", help_heading = "Environment")]
    unset_env: Vec<OsString>,

    /// Remove every inherited variable; --env still sets some
    #[arg(long, help_heading = "Environment")]
    clear_env: bool,

    /// End the command after this time (500ms, 30s, 5m, 1h; seconds without a unit): SIGTERM, the grace, SIGKILL
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, help_heading = "Life")]
    timeout: Option<Duration>,

    /// How long those whom the command leaves over have between SIGTERM and SIGKILL; and with a name all of them when it is
    /// stopped [default: 2s; with a name 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, help_heading = "Life")]
    grace: Option<Duration>,

    /// End all that is inside by SIGKILL, so long after the first signal that asks to stop
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, help_heading = "Life")]
    kill_after: Option<Duration>,

    /// What asks the command to stop, where it is stopped and not only told of a signal: with a name, with --restart, with
    /// this, and when --timeout runs out [default: TERM]
    #[arg(long, value_name = "SIGNAL", value_parser = signal, allow_negative_numbers = true, help_heading = "Life")]
    stop_signal: Option<i32>,

    /// A name, 1 to 64 bytes, by which launch ps, stop, logs, exec and the others know it
    #[arg(long, value_name = "NAME", help_heading = "Long life")]
    name: Option<OsString>,

    /// Return when the command runs, or is ready if --ready is given, and print the name; without --name it is given one
    #[arg(short, long, help_heading = "Long life")]
    detach: bool,

    /// Remove what is known of it when it has ended
    #[arg(long, help_heading = "Long life")]
    rm: bool,

    /// Attach a label, which launch ps --filter looks for; may be repeated
    #[arg(long, value_name = "K=V", value_parser = settings::label, help_heading = "Long life")]
    label: Vec<(String, String)>,

    /// Whether the command is started again when it has ended, in the same namespaces: no, on-failure[:MAX], always, or
    /// unless-stopped; after 100 ms, then twice as long each time, until it has run for 10 s [default: no]
    #[arg(long, value_name = "POLICY", value_parser = restart, help_heading = "Long life")]
    restart: Option<Restart>,

    /// The most that it waits for until it is started again [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, help_heading = "Long life")]
    restart_max_delay: Option<Duration>,

    /// What says that it is ready: notify (READY=1, sd_notify(3)), fd:N (it writes a newline to its descriptor N), or
    /// exec:CMD (a shell command that succeeds)
    #[arg(long, value_name = "HOW", value_parser = OsStringValueParser::new().try_map(|text| ready(&text)), help_heading = "Long life")]
    ready: Option<Ready>,

    /// End it, as a failure, if it isn't ready after this time
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, requires = "ready", help_heading = "Long life")]
    ready_timeout: Option<Duration>,

    /// End it, as a failure, if it doesn't say at least so often that it is alive (WATCHDOG=1, sd_notify(3))
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, help_heading = "Long life")]
    watchdog: Option<Duration>,

    /// A shell command that says by its exit status whether it is healthy
    #[arg(long, value_name = "CMD", help_heading = "Long life")]
    health_cmd: Option<OsString>,

    /// The time between two health checks [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, requires = "health_cmd", help_heading = "Long life")]
    health_interval: Option<Duration>,

    /// How long a health check may take [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true, requires = "health_cmd", help_heading = "Long life")]
    health_timeout: Option<Duration>,

    /// How many health checks in a row have to fail until it is unhealthy [default: 3]
    #[arg(long, value_name = "N", value_parser = settings::count, allow_negative_numbers = true, requires = "health_cmd", help_heading = "Long life")]
    health_retries: Option<u32>,

    /// End it, as a failure, when it is unhealthy
    #[arg(long, requires = "health_cmd", help_heading = "Long life")]
    health_restart: bool,

    /// Write its stdout and stderr to a file too, each line with its time and stream [default: with --detach one in its
    /// folder]
    #[arg(long, value_name = "FILE", conflicts_with = "tty", help_heading = "Long life")]
    log: Option<PathBuf>,

    /// Begin a new log file when this one would be larger [default: 10M]
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true, help_heading = "Long life")]
    log_max_size: Option<u64>,

    /// How many log files there are, the one that is written to included [default: 3]
    #[arg(long, value_name = "N", value_parser = settings::count, allow_negative_numbers = true, help_heading = "Long life")]
    log_max_files: Option<u32>,

    /// Write the command's pid, as it is seen outside, to a file, and remove that at the end
    #[arg(long, value_name = "FILE", help_heading = "Long life")]
    pid_file: Option<PathBuf>,

    /// Write the id of this launch to a new file
    #[arg(long, value_name = "FILE", help_heading = "Long life")]
    id_file: Option<PathBuf>,

    /// Give the sandbox a terminal of its own, between which and the caller's stdin and stdout all is relayed
    #[arg(short, long, help_heading = "Output")]
    tty: bool,

    /// Write what happens to descriptor N, a JSON object a line
    #[arg(long, value_name = "N", value_parser = descriptor, allow_negative_numbers = true, help_heading = "Output")]
    status_fd: Option<i32>,

    /// Print what would be done, step by step, and do nothing
    #[arg(long, help_heading = "Output")]
    explain: bool,

    /// Print it as data: one JSON object
    #[arg(long, requires = "explain", help_heading = "Output")]
    json: bool,

    /// Log every step; twice for more. LAUNCH_LOG=debug does the same
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    verbose: u8,
}

/// What launch does besides running a command.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
enum Other {
    /// List what launches with --keep DIR have added, changed and removed, a line each
    Diff {
        /// The directory of --keep
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    #[command(flatten)]
    Sandboxes(Sandboxes),
    #[command(flatten)]
    Serving(Serving),
}

const EXIT_STATUS: &str = "\
Exit status:
  n      CMD exited with n
  128+n  CMD was killed by signal n
  124    --timeout ran out
  125    launch failed before CMD ran; a wrong command line is such a failure
  126    CMD was found but could not be executed
  127    CMD was not found";

/// How long those left over have by default.
const GRACE: Duration = Duration::from_secs(2);
/// And a service that is stopped.
const LONG_GRACE: Duration = Duration::from_secs(10);
/// Between two health checks, and for one.
const HEALTH_TIME: Duration = Duration::from_secs(30);

/// A namespace that isn't made by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unshare {
    /// The monotonic and boot-time clocks
    Time,
}

/// Where all the ids come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Map {
    /// The caller as root, and its subordinate ids
    Auto,
}

/// The options that are carried out in the order in which they stand.
const ORDERED: [&str; 17] = [
    "bind",
    "ro_bind",
    "dev_bind",
    "try_bind",
    "try_ro_bind",
    "bind_fd",
    "tmpfs",
    "overlay",
    "tmp_overlay",
    "proc",
    "dev",
    "mqueue",
    "dir",
    "file",
    "symlink",
    "mask",
    "remount_ro",
];

/// Whether the paths in the values of this option are spelled as spec.rs reads them.
pub(crate) fn takes_spelled_paths(option: &str) -> bool {
    option == "rootfs" || ORDERED.contains(&option.replace('-', "_").as_str())
}

/// How it is mounted in a sandbox is the plan's to say.
const PROC: FileSystem = FileSystem::Proc { masked: false, hide_pids: None, only_pids: false };

fn step(
    read: impl Fn(&OsStr) -> Result<Step, String> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Step> {
    OsStringValueParser::new().try_map(move |text| read(&text))
}

fn mount(text: &OsStr, what: FileSystem) -> Result<Step, String> {
    spec::path(text).map(|at| Step::Mount { what, at })
}

/// A file's are before those of the command line, which thus can take what a file adds.
fn capabilities(matches: &mut ArgMatches) -> Capabilities {
    let mut sets = Capabilities::default();
    for (option, bits) in take_in_order(matches, &["cap_add", "cap_drop"]) {
        change(&mut sets, bits, option == "cap_add");
    }
    sets
}

fn change(sets: &mut Capabilities, bits: u64, is_added: bool) {
    sets.add = if is_added { sets.add | bits } else { sets.add & !bits };
    sets.drop = if is_added { sets.drop & !bits } else { sets.drop | bits };
}

/// Takes the values of these options, in the order in which they stand, each with its option.
fn take_in_order<T: Clone + Send + Sync + 'static>(
    matches: &mut ArgMatches,
    options: &[&'static str],
) -> Vec<(&'static str, T)> {
    let mut all = Vec::new();
    for id in options {
        let indices: Vec<_> = matches.indices_of(id).into_iter().flatten().collect();
        let values = matches.remove_many::<T>(id).into_iter().flatten();
        all.extend(indices.into_iter().zip(values).map(|(index, value)| (index, (*id, value))));
    }
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, value)| value).collect()
}

/// What is to be done.
#[derive(Debug)]
pub enum Request {
    /// Run a command.
    Run(Box<Cli>),
    /// List what is kept in this directory of `--keep`.
    Diff(PathBuf),
    /// Do something with sandboxes that have a name.
    Sandboxes(Sandboxes),
    /// Serve a pool, or run a command in one of its sandboxes.
    Serving(Serving),
    /// Print this text (help or version).
    Print(String),
}

/// How a plan is printed; see explain/.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line a step.
    Words,
    /// One JSON object.
    Json,
}

/// Reads the command line, the program's name first. What its `--config` and `--profile` say has to be in it already:
/// see [`Arguments::read`](crate::config::Arguments::read).
///
/// # Errors
/// [`Error::Option`]
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, Error> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    match by_definition(&mut Cli::command(), &arguments) {
        Ok(Cli { other: Some(Other::Diff { directory }), .. }) => Ok(Request::Diff(directory)),
        Ok(Cli { other: Some(Other::Sandboxes(sandboxes)), .. }) => Ok(Request::Sandboxes(sandboxes)),
        Ok(Cli { other: Some(Other::Serving(serving)), .. }) => Ok(Request::Serving(serving)),
        Ok(cli) => Ok(Request::Run(Box::new(cli))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Request::Print(error.render().to_string()))
            }
            _ => Err(match subcommand_in(&arguments) {
                Some(subcommand) => in_one_line_of(&error, &subcommand),
                None => in_one_line(&error),
            }),
        },
    }
}

fn by_definition(definition: &mut clap::Command, arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut matches = definition.try_get_matches_from_mut(arguments)?;
    let mounts = take_in_order(&mut matches, &ORDERED).into_iter().map(|(_, step)| step).collect();
    let capabilities = capabilities(&mut matches);
    Ok(Cli { mounts, capabilities, ..Cli::from_arg_matches_mut(&mut matches)? })
}

/// The one of launch's own commands that a command line begins with.
fn subcommand_in(arguments: &[OsString]) -> Option<clap::Command> {
    let first = arguments.get(1)?;
    Cli::command().get_subcommands().find(|command| first == command.get_name()).cloned()
}

/// The descriptor that `--status-fd` names in a command line that cannot be read as a whole.
pub fn status_fd_in(arguments: &[OsString]) -> Option<i32> {
    const OPTION: &str = "--status-fd";
    let options =
        || arguments.iter().take_while(|argument| *argument != "--").filter_map(|argument| argument.to_str());
    let joined = options().find_map(|argument| argument.strip_prefix(OPTION)?.strip_prefix('='));
    let apart = options().skip_while(|argument| *argument != OPTION).nth(1);
    joined.or(apart).and_then(|number| descriptor(number).ok())
}

/// The definition of the command line, for man pages.
pub fn definition() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// What is asked for, in this process group.
    pub fn options(&self, group: Group) -> Options {
        Options {
            command: self.command.clone(),
            network: self.net,
            time_namespace: self.unshare.contains(&Unshare::Time),
            share: self.share.clone(),
            identity: self.identity(),
            host_name: self.hostname.clone(),
            domain_name: self.domainname.clone(),
            user: self.user.clone(),
            no_user_namespaces: self.disable_userns,
            root: self.rootfs.clone().map(|(path, writable)| RootDirectory { path: path.into(), writable }),
            read_only: self.read_only,
            volatile: match &self.keep {
                Some(directory) => Some(Volatile::Keep(directory.clone())),
                None => self.volatile.then_some(Volatile::Discard),
            },
            tmp: if self.keep_tmp { Tmp::Callers } else { Tmp::Fresh { size: self.tmp_size } },
            proc: self.proc_mode.unwrap_or_default(),
            files: self.mounts.clone(),
            directory: self.chdir.clone(),
            capabilities: self.capabilities,
            seccomp: self.seccomp.clone().unwrap_or(Seccomp::Default),
            limits: self.rlimit.clone(),
            oom_score: self.oom_score_adj,
            niceness: self.nice,
            umask: self.umask,
            clear_environment: self.clear_env,
            unset: self.unset_env.clone(),
            set: self.env.clone(),
            keep: self.keep_fd.clone(),
            grace: self.grace.unwrap_or(if self.is_named() { LONG_GRACE } else { GRACE }),
            timeout: self.timeout,
            kill_after: self.kill_after,
            stop_signal: self.stop_signal.unwrap_or(libc::SIGTERM),
            is_service: self.is_named() || self.stop_signal.is_some(),
            restart: self.restart.unwrap_or(Restart::No),
            longest_delay: self.restart_max_delay.unwrap_or(LONGEST_DELAY),
            ready: self.ready.clone().unwrap_or(Ready::Started),
            ready_timeout: self.ready_timeout,
            watchdog: self.watchdog,
            health: self.health_cmd.clone().map(|command| HealthCheck {
                command,
                interval: self.health_interval.unwrap_or(HEALTH_TIME),
                timeout: self.health_timeout.unwrap_or(HEALTH_TIME),
                retries: self.health_retries.unwrap_or(3),
                restarts: self.health_restart,
            }),
            tells: self.is_named() || self.pid_file.is_some(),
            dies_with_launcher: true,
            // It would have the terminal's signals to itself, and nobody would know that no new run shall follow.
            group: if self.restarts() && !self.tty { Group::Own { foreground: false } } else { group },
            report_namespaces: self.status_fd.is_some() || self.is_named(),
        }
    }

    /// What the sandboxes of a pool have in common.
    ///
    /// # Errors
    /// [`Error::Option`]: it is for a launch of its own.
    pub fn template(&self) -> Result<Options, Error> {
        // What makes no sense without one of these is refused here.
        self.settings()?;
        let of_one = [
            ("--name", self.name.is_some()),
            ("--detach", self.detach),
            ("--pid-file", self.pid_file.is_some()),
            ("--id-file", self.id_file.is_some()),
            ("--log", self.log.is_some()),
            ("--status-fd", self.status_fd.is_some()),
            ("--tty", self.tty),
            ("--restart", self.restart.is_some()),
            ("--ready", self.ready.is_some()),
            ("--watchdog", self.watchdog.is_some()),
            ("--health-cmd", self.health_cmd.is_some()),
            ("--explain", self.explain),
        ];
        if let Some((option, _)) = of_one.into_iter().find(|(_, is_given)| *is_given) {
            return Err(Error::Option(option.into(), "is for a launch of its own, not for a pool".into()));
        }
        let group = Group::Own { foreground: false };
        Ok(Options { dies_with_launcher: false, report_namespaces: false, ..self.options(group) })
    }

    /// What the launcher does besides carrying that out.
    ///
    /// # Errors
    /// [`Error::Option`]: it makes no sense, alone or together.
    pub fn settings(&self) -> Result<Settings, Error> {
        let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
        if self.detach && self.tty {
            return wrong("--detach", "nobody is at the terminal of --tty; join it with launch exec --tty");
        }
        if self.detach && !self.keep_fd.is_empty() {
            return wrong("--detach", "nothing of the caller's stays open: leave --keep-fd out");
        }
        for (option, is_given) in [("--rm", self.rm), ("--label", !self.label.is_empty())] {
            if is_given && !self.is_named() {
                return wrong(option, "concerns a sandbox with a name: say --name or --detach");
            }
        }
        let is_logged = self.log.is_some() || self.detach;
        for (option, is_given) in [
            ("--log-max-size", self.log_max_size.is_some()),
            ("--log-max-files", self.log_max_files.is_some()),
        ] {
            if is_given && !is_logged {
                return wrong(option, "says nothing without --log or --detach");
            }
        }
        let wrong_name = |reason| Error::Option("--name".into(), reason);
        Ok(Settings {
            name: self.name.as_deref().map(Name::read).transpose().map_err(wrong_name)?,
            detach: self.detach,
            removes: self.rm,
            labels: self.label.iter().cloned().collect(),
            log: self.log.clone(),
            log_max_size: self.log_max_size.unwrap_or(settings::LOG_MAX_SIZE),
            log_max_files: self.log_max_files.unwrap_or(settings::LOG_MAX_FILES),
            pid_file: self.pid_file.clone(),
            id_file: self.id_file.clone(),
        })
    }

    /// Whether it gets a name, be it one of our choice.
    fn is_named(&self) -> bool {
        self.name.is_some() || self.detach
    }

    /// Whether the caller does not wait for its end.
    pub fn detaches(&self) -> bool {
        self.detach
    }

    /// Whether runs of the command may follow each other.
    pub fn restarts(&self) -> bool {
        self.health_restart || !matches!(self.restart, None | Some(Restart::No))
    }

    fn identity(&self) -> Identity {
        let (users, groups) = (self.map_users.clone(), self.map_groups.clone());
        match (self.map, self.keep_id, self.uid, self.gid) {
            (Some(Map::Auto), ..) => Identity::Auto,
            (None, true, ..) => Identity::Keep,
            (None, false, None, None) if users.is_empty() && groups.is_empty() => Identity::Root,
            (None, false, None, None) => Identity::Maps { users, groups },
            (None, false, uid, gid) => Identity::Ids { uid, gid },
        }
    }

    /// The descriptors that are handed on, to the workload or to the set-up.
    pub fn descriptors(&self) -> Vec<i32> {
        self.keep_fd.iter().copied().chain(self.mounts.iter().filter_map(Step::descriptor)).collect()
    }

    /// Whether the sandbox gets a terminal of its own.
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// Where the status lines go.
    pub fn status_fd(&self) -> Option<i32> {
        self.status_fd
    }

    /// Whether, and how, the plan is printed instead of carried out.
    pub fn explained(&self) -> Option<Form> {
        match (self.explain, self.json) {
            (false, _) => None,
            (true, false) => Some(Form::Words),
            (true, true) => Some(Form::Json),
        }
    }

    /// How often -v was given.
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }
}

/// clap's errors take several lines, with a usage; ours take one, and name the option first.
pub(crate) fn in_one_line(error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    // clap calls an option "--net <KIND>".
    let option = argument.split([' ', '=']).next().unwrap_or_default().to_owned();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    let (object, reason) = match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            (argument, "a command must stand behind --, as in: launch [OPTIONS] -- CMD [ARG...]".into())
        }
        ErrorKind::UnknownArgument => match context(ContextKind::SuggestedArg) {
            Some(known) => (argument, format!("no such option; did you mean {known}?")),
            None => (argument, "no such option; see launch --help".into()),
        },
        ErrorKind::InvalidValue if value.is_empty() => (option, "needs a value".into()),
        ErrorKind::InvalidValue => {
            let known = context(ContextKind::ValidValue).unwrap_or_default();
            (option, format!("{value:?} is none of {known}"))
        }
        ErrorKind::ValueValidation => {
            let reason =
                std::error::Error::source(error).map_or_else(|| "is not valid".into(), ToString::to_string);
            (option, reason)
        }
        ErrorKind::ArgumentConflict => match context(ContextKind::PriorArg) {
            Some(other) if other != argument => {
                let other = other.split(' ').next().unwrap_or_default().to_owned();
                (option, format!("cannot be used together with {other}"))
            }
            _ => (option, "was given more than once".into()),
        },
        ErrorKind::MissingRequiredArgument => (option, "is missing: another option needs it".into()),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            (
                if option.is_empty() { "launch".into() } else { option },
                line.trim_start_matches("error: ").into(),
            )
        }
    };
    Error::Option(object.into(), reason)
}

/// The same for an error in what follows one of launch's own commands.
fn in_one_line_of(error: &clap::Error, subcommand: &clap::Command) -> Error {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
        _ => "",
    };
    let name = subcommand.get_name();
    let Error::Option(object, reason) = in_one_line(error) else { return in_one_line(error) };
    match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            Error::Option(object, format!("is one too many; see launch {name} --help"))
        }
        ErrorKind::UnknownArgument => {
            Error::Option(object, reason.replace("launch --help", &format!("launch {name} --help")))
        }
        ErrorKind::MissingRequiredArgument if argument == "<DIR>" => {
            Error::Option(name.into(), "says not of what; say launch diff DIR, the DIR of --keep".into())
        }
        ErrorKind::MissingRequiredArgument if argument.starts_with("<NAME>") => {
            Error::Option(name.into(), format!("says not which sandbox; say launch {name} NAME"))
        }
        ErrorKind::MissingRequiredArgument if argument.starts_with("<SOCKET>") => {
            Error::Option(name.into(), format!("says not which socket; say launch {name} SOCKET"))
        }
        ErrorKind::MissingRequiredArgument if argument.starts_with("<CMD>") => {
            Error::Option(name.into(), "says not which command; it stands behind --".into())
        }
        // A name that is none.
        ErrorKind::ValueValidation if argument.starts_with('<') || argument.starts_with('[') => {
            Error::Option(name.into(), reason)
        }
        _ => Error::Option(object, reason.replace("[NAME]...", "NAME")),
    }
}

fn ready(text: &OsStr) -> Result<Ready, String> {
    Ok(match readiness(text)? {
        (Readiness::Notify, _) => Ready::Notify,
        (Readiness::Descriptor(fd), _) => Ready::Descriptor(fd),
        (Readiness::Command, command) => Ready::Command(command.unwrap_or_default()),
        (Readiness::Started, _) => Ready::Started,
    })
}

fn proc_mode(text: &str) -> Result<Proc, String> {
    let mut mode = Proc::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("subset", "pid")) => mode.only_pids = true,
            Some(("hidepid", value)) => {
                mode.hide_pids = Some(match value {
                    "0" | "off" => 0,
                    "1" | "noaccess" => 1,
                    "2" | "invisible" => 2,
                    "4" | "ptraceable" => 4,
                    _ => return Err(format!("{value:?} is none of off, noaccess, invisible, ptraceable")),
                });
            }
            _ => return Err(format!("{text:?}: say hidepid=MODE, subset=pid, or both with a comma")),
        }
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Request, Error> {
        parse(std::iter::once("launch").chain(line.split_whitespace()).map(OsString::from))
    }

    fn options(line: &str) -> Options {
        match parse_words(line) {
            Ok(Request::Run(cli)) => cli.options(Group::Callers),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        match parse_words(line) {
            Err(error) => error.to_string(),
            Ok(request) => panic!("{line}: {request:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn all_behind_the_dashes_is_the_command() {
        assert_eq!(options("-- ls -l -- --net none").command, ["ls", "-l", "--", "--net", "none"]);
    }

    #[test]
    fn without_the_dashes_the_error_says_so() {
        let expected =
            "command line: ls: a command must stand behind --, as in: launch [OPTIONS] -- CMD [ARG...]";
        assert_eq!(refused("ls"), expected);
        assert_eq!(refused("--net none ls -l"), expected);
    }

    #[test]
    fn diff_is_a_request_of_its_own_but_behind_the_dashes_a_command() {
        assert!(matches!(parse_words("diff a/b"), Ok(Request::Diff(path)) if path.as_os_str() == "a/b"));
        assert_eq!(options("-- diff a b").command, ["diff", "a", "b"]);
        assert_eq!(
            refused("diff"),
            "command line: diff: says not of what; say launch diff DIR, the DIR of --keep"
        );
        assert!(refused("diff a b").starts_with("command line: b: "));
        assert!(
            refused("--net none diff a").starts_with("command line: diff: a command must stand behind --")
        );
    }

    #[test]
    fn what_is_done_with_named_sandboxes_is_a_request_of_its_own() {
        let parsed = |line: &str| match parse_words(line) {
            Ok(Request::Sandboxes(sandboxes)) => sandboxes,
            other => panic!("{line}: {other:?}"),
        };
        let names =
            |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect::<Vec<Name>>();
        assert!(matches!(parsed("wait a b"), Sandboxes::Wait(it) if it.names == names(&["a", "b"])));
        assert!(matches!(parsed("kill a"), Sandboxes::Kill(it) if it.signal == libc::SIGTERM));
        assert!(matches!(parsed("kill -s int a"), Sandboxes::Kill(it) if it.signal == libc::SIGINT));
        assert!(matches!(parsed("stop --all"), Sandboxes::Stop(it) if it.all && it.names.is_empty()));
        assert!(
            matches!(parsed("stop --grace 1500ms a"), Sandboxes::Stop(it) if it.grace == Some(Duration::from_millis(1500)))
        );
        assert!(
            matches!(parsed("ps --filter state=exited --filter label=a"), Sandboxes::Ps(it) if it.filter.len() == 2)
        );
        assert_eq!(options("-- ps").command, ["ps"]);
        for (line, expected) in [
            ("stop", "stop: says not which sandbox; say launch stop NAME"),
            ("wait a b/c", "wait: \"b/c\" has a slash; a name is no path"),
            ("ps a", "a: is one too many; see launch ps --help"),
            ("rm --forse a", "--forse: no such option; did you mean --force?"),
            ("rm --xyz a", "--xyz: no such option; see launch rm --help"),
            ("stop --all a", "--all: cannot be used together with NAME"),
            ("kill -s 99 a", "--signal: \"99\" is no signal: say TERM, 15 or RTMIN+1"),
        ] {
            assert_eq!(refused(line), format!("command line: {expected}"), "{line}");
        }
    }

    #[test]
    fn a_wrong_option_is_named_in_one_line() {
        assert_eq!(refused("--foo -- true"), "command line: --foo: no such option; see launch --help");
        assert_eq!(
            refused("--hostnam x -- true"),
            "command line: --hostnam: no such option; did you mean --hostname?"
        );
        assert_eq!(refused("--net moon -- true"), "command line: --net: \"moon\" is none of host, none");
        assert_eq!(refused("--uid 1 --uid 2 -- true"), "command line: --uid: was given more than once");
        assert_eq!(
            refused("--uid 1 --keep-id -- true"),
            "command line: --uid: cannot be used together with --keep-id"
        );
        assert!(refused("--chdir -- true").starts_with("command line: --chdir: "));
        assert_eq!(refused("--json -- true"), "command line: --explain: is missing: another option needs it");
    }

    #[test]
    fn maps_make_an_identity_and_go_with_no_other() {
        let map = |inside, outside, count| IdMap { inside, outside, count };
        let users = vec![map(0, 1000, 1), map(1, 100000, 65536)];
        assert_eq!(
            options("--map-users 0:1000:1 --map-users 1:100000:65536 -- x").identity,
            Identity::Maps { users, groups: vec![] }
        );
        assert_eq!(options("--map auto -- x").identity, Identity::Auto);
        for other in ["--uid 1", "--gid 1", "--keep-id", "--map auto"] {
            assert!(refused(&format!("--map-groups 0:1:1 {other} -- x")).contains("cannot be used together"));
        }
        assert!(refused("--map auto --keep-id -- x").contains("cannot be used together"));
        assert_eq!(
            refused("--map-users 0:1 -- x"),
            "command line: --map-users: \"0:1\": say IN:OUT:COUNT, as in 0:100000:65536"
        );
    }

    #[test]
    fn a_named_sandbox_is_a_service_and_has_a_longer_grace() {
        let plain = options("-- x");
        assert_eq!((plain.is_service, plain.tells, plain.grace), (false, false, GRACE));
        for line in ["--name a -- x", "--detach -- x", "-d -- x"] {
            let named = options(line);
            assert_eq!((named.is_service, named.tells, named.grace), (true, true, LONG_GRACE), "{line}");
        }
        assert_eq!(options("--name a --grace 3s -- x").grace, Duration::from_secs(3));
        assert!(options("--stop-signal QUIT -- x").is_service);
    }

    #[test]
    fn runs_that_follow_each_other_are_in_a_group_of_their_own() {
        let group = |line: &str| match parse_words(line) {
            Ok(Request::Run(cli)) => cli.options(Group::Callers).group,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(group("--restart no -- x"), Group::Callers);
        assert_eq!(group("--restart always -- x"), Group::Own { foreground: false });
    }

    #[test]
    fn a_long_life_is_read() {
        let read = options(
            "--restart on-failure:3 --ready fd:4 --ready-timeout 5s --watchdog 6s --health-cmd h --health-retries 7 -- x",
        );
        assert_eq!(read.restart, Restart::OnFailure { most: Some(3) });
        assert_eq!((read.ready, read.ready_timeout), (Ready::Descriptor(4), Some(Duration::from_secs(5))));
        let health = HealthCheck {
            command: "h".into(),
            interval: HEALTH_TIME,
            timeout: HEALTH_TIME,
            retries: 7,
            restarts: false,
        };
        assert_eq!(read.health, Some(health));
        for (line, reason) in [
            (
                "--restart often -- x",
                "--restart: \"often\" is none of no, on-failure[:MAX], always, unless-stopped",
            ),
            ("--ready yes -- x", "--ready: \"yes\" is none of notify, fd:N, exec:CMD"),
            ("--health-restart -- x", "--health-cmd: is missing: another option needs it"),
            ("--health-cmd h --health-retries 0 -- x", "--health-retries: \"0\" is no number above 0"),
            ("--ready-timeout 1s -- x", "--ready: is missing: another option needs it"),
            ("--log f --tty -- x", "--log: cannot be used together with --tty"),
        ] {
            assert_eq!(refused(line), format!("command line: {reason}"), "{line}");
        }
    }

    #[test]
    fn what_the_launcher_does_beside_is_read() {
        let settings = |line: &str| match parse_words(line) {
            Ok(Request::Run(cli)) => cli.settings(),
            other => panic!("{line}: {other:?}"),
        };
        let read =
            settings("--name a --rm --label k=v=w --log l --log-max-size 1K --log-max-files 2 -- x").unwrap();
        assert_eq!(read.name.as_ref().map(Name::as_str), Some("a"));
        assert!(read.removes && !read.detach && read.log == Some("l".into()));
        assert_eq!((read.log_max_size, read.log_max_files, &*read.labels["k"]), (1024, 2, "v=w"));
        for (line, reason) in [
            ("-d -t -- x", "--detach: nobody is at the terminal of --tty; join it with launch exec --tty"),
            ("-d --keep-fd 3 -- x", "--detach: nothing of the caller's stays open: leave --keep-fd out"),
            ("--rm -- x", "--rm: concerns a sandbox with a name: say --name or --detach"),
            ("--label a=b -- x", "--label: concerns a sandbox with a name: say --name or --detach"),
            ("--log-max-size 1 -- x", "--log-max-size: says nothing without --log or --detach"),
            ("--name a --log-max-files 1 -- x", "--log-max-files: says nothing without --log or --detach"),
            ("--name a/b -- x", "--name: \"a/b\" has a slash; a name is no path"),
        ] {
            assert_eq!(settings(line).unwrap_err().to_string(), format!("command line: {reason}"), "{line}");
        }
    }

    #[test]
    fn where_the_status_goes_is_found_in_a_wrong_command_line() {
        let found =
            |line: &str| status_fd_in(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(found("launch --foo --status-fd 3 -- x"), Some(3));
        assert_eq!(found("launch --status-fd=4 --foo"), Some(4));
        for line in ["launch --foo -- --status-fd 3", "launch --status-fd", "launch --status-fd x", "launch"]
        {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn a_variable_is_split_at_its_first_equals_sign() {
        assert_eq!(
            options("--env A=b=c --env B= -- x").set,
            [("A".into(), "b=c".into()), ("B".into(), "".into())]
        );
        assert_eq!(refused("--env A -- x"), "command line: --env: \"A\" has no =; say --env NAME=VALUE");
        assert!(refused("--env =A -- x").contains("no name"));
    }
}
