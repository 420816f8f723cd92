//! The command line: arguments → options. Its help and its man page (docs/launch.1) are made from this.
//!
//! Values only; whether the options make sense together is plan/checks.rs's to say. This file has the definition and the
//! requests; what the options of a launch come to is options.rs's to say.

#![forbid(unsafe_code)]

mod options;
mod order;
pub mod quick;
mod refusal;
pub mod sandboxes;
pub mod serving;
#[cfg(test)]
mod tests;
mod values;
pub mod written;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use launch_init::handoff::{Account, FileSystem, Limit, Step};
use launch_init::parse::{account, descriptor, duration, id, restart, signal, variable};
use launch_init::supervisor::Restart;

pub(crate) use self::order::takes_spelled_paths;
use self::order::{ORDERED, capabilities, take_in_order};
pub(crate) use self::refusal::in_one_line;
use self::refusal::in_one_line_of;
use self::sandboxes::Sandboxes;
use self::serving::Serving;
use self::values::{PROC, mount, proc_mode, ready, step};
use crate::config::Files;
use crate::error::Error;
use crate::named::settings;
use crate::plan::{Capabilities, IdMap, Network, Proc, Ready, Seccomp, Share};
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
