//! How init behaves as a program of its own: what its command line and its name ask for. Pure.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::time::Duration;

use lexopt::{Arg, Parser};

use crate::error::Error;
use crate::event_loop::Target;
use crate::exit;
use crate::handoff::Probes;
use crate::parse;
use crate::presets::{Program, Stream};
use crate::supervisor::{Health, Leftovers, Policy, Readiness, Restart};

/// The settings; the defaults are those of `launch-init`.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What messages begin with.
    pub(crate) name: &'static str,
    /// CMD and its arguments.
    pub(crate) command: Vec<OsString>,
    /// How it is looked after.
    pub(crate) policy: Policy,
    /// What is asked to learn how it is.
    pub(crate) probes: Probes,
    /// Whether the policy's grace was asked for.
    pub(crate) has_grace: bool,
    /// Whom signals are forwarded to.
    pub(crate) target: Target,
    /// Whether a signal that would kill the workload is held off.
    pub(crate) shield: bool,
    /// Exit codes that are replaced: which, and by which.
    pub(crate) remap: Vec<(u8, u8)>,
    /// Whether a death by a signal is not said.
    pub(crate) quiet: bool,
    /// Whether orphans are named when they are reaped.
    pub(crate) warn_reaped: bool,
    /// No command: reap, and end when asked to.
    pub(crate) pause: bool,
    /// `UID[:GID]` or names.
    pub(crate) user: Option<String>,
    /// Where the workload starts.
    pub(crate) directory: Option<OsString>,
    /// Variables that are set.
    pub(crate) set: Vec<(OsString, OsString)>,
    /// The signal that the workload gets when init ends.
    pub(crate) parent_death_signal: Option<i32>,
    /// The only descriptors above 2 that the workload gets; none: every one.
    pub(crate) keep: Option<Vec<i32>>,
    /// How much is logged: 0 to 2; or how much the program that init stands in for says, by its own count.
    pub(crate) verbosity: u8,
    /// The program that init stands in for, whose messages it gives.
    pub(crate) program: Option<Program>,
    /// What is said at the start.
    pub(crate) opening: Vec<&'static str>,
    /// The exit code when init fails before there is a workload.
    pub(crate) failed: u8,
    /// The exit code of a workload that cannot be executed for this errno, if it counts as one that ran.
    pub(crate) exec_failure: Option<fn(i32) -> u8>,
    /// Whether orphans come to it when it isn't PID 1.
    pub(crate) adopts: bool,
    /// The signal that init itself gets when its parent ends.
    pub(crate) own_death_signal: Option<i32>,
    /// Signals that are not forwarded: they do to init what they do to any process.
    pub(crate) own_signals: &'static [i32],
    /// Whether a stop signal stops init too.
    pub(crate) stops_too: bool,
    /// Whether the workload gets every signal at its default and none blocked, whatever init was given.
    pub(crate) clean_signals: bool,
    /// Where the workload is put.
    pub(crate) placement: Placement,
    /// Whether a LISTEN_PID that names init shall name the workload.
    pub(crate) listen_pid: bool,
    /// Whether /proc shows init's memory and descriptors to others, stdin, stdout and stderr being those that it
    /// was given.
    pub(crate) is_open: bool,
    /// Whether it stays in its working directory.
    pub(crate) keeps_directory: bool,
}

/// Where the workload is put, among process groups and terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Where the terminal asks for it; see terminal.rs.
    ByTerminal,
    /// A process group of its own, in the foreground if init's was.
    OwnGroup,
    /// A session of its own, with the terminal that init gives up for it.
    Session,
    /// Init's own process group.
    Callers,
    /// A process group of its own, in the background: the terminal's signals are for init.
    Background,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: crate::NAME,
            command: Vec::new(),
            policy: Policy::default(),
            probes: Probes::default(),
            has_grace: false,
            target: Target::Group,
            shield: false,
            remap: Vec::new(),
            quiet: false,
            warn_reaped: false,
            pause: false,
            user: None,
            directory: None,
            set: Vec::new(),
            parent_death_signal: None,
            keep: None,
            verbosity: 0,
            program: None,
            opening: Vec::new(),
            failed: exit::FAILED,
            exec_failure: None,
            adopts: true,
            own_death_signal: None,
            own_signals: &[],
            stops_too: false,
            clean_signals: false,
            placement: Placement::ByTerminal,
            listen_pid: false,
            is_open: false,
            keeps_directory: false,
        }
    }
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// To run.
    Run(Box<Settings>),
    /// To print this.
    Print(&'static str),
    /// To end with this code, having said this.
    Quit {
        /// Where.
        stream: Stream,
        /// What.
        text: Vec<u8>,
        /// With which exit code.
        code: u8,
    },
}

/// What `--help` prints.
pub const USAGE: &str = "\
usage: launch-init [OPTIONS] [--] CMD [ARG...]
       launch-init [OPTIONS] --pause

Runs CMD as the child of a PID 1: forwards signals to it, reaps every orphan,
ends whatever is left when it has ended, and exits with its status. As any
other process it does the same for all that descends from it.

Signals:
  --signal-to WHOM       main, group (CMD's process group, the default) or all
  --rewrite FROM:TO      send TO on for FROM, or nothing for 'FROM:'
  --forward-delay TIME   hold a SIGTERM back for so long
  --shield               hold off what CMD has no handler for and would die of

The end:
  --grace TIME           between SIGTERM and SIGKILL for those left over (0s;
                         with --restart, --ready-timeout, --watchdog or
                         --health-cmd 5s)
  --wait-all             wait until those left over end by themselves
  --kill-after TIME      SIGKILL so long after the first TERM, INT, HUP or QUIT
  --timeout TIME         end CMD after so long; the exit code is 124
  --remap CODE[:TO]      exit with TO (0) instead of CODE
  --pause                no CMD: reap, and exit with 0 on SIGTERM or SIGINT

Runs of CMD:
  --restart HOW          no, on-failure[:MAX], always or unless-stopped: start
                         it again when it has ended, after 100ms, twice as
                         long each time; TERM and INT end it all
  --restart-max-delay TIME
                         but not after more than this (30s)
  --stop-signal SIGNAL   what CMD gets when it is asked to stop (TERM)
  --ready HOW            notify (sd_notify), fd:N (a newline) or exec:CMD says
                         when it is ready
  --ready-timeout TIME   end a run that is not ready by then
  --watchdog TIME        end a run that has not said for so long that it is
                         alive (sd_notify: WATCHDOG=1)
  --health-cmd CMD       ask CMD, by /bin/sh, whether it is healthy
  --health-interval TIME, --health-timeout TIME, --health-retries N
                         how often (30s), for how long (30s), and how many
                         failures in a row make it unhealthy (3)
  --health-restart       start an unhealthy one again

CMD:
  --user UID[:GID]       run it as this user, by number or name
  --chdir DIR            start it in DIR
  --env K=V              set a variable
  --pdeathsig SIGNAL     what it gets when launch-init dies
  --keep-fd N            it gets N, and no other descriptor above 2 but those
                         kept so (it gets all without this option)
  --subreaper            adopt orphans without being PID 1 (always done)

Messages:
  -q, --quiet            do not say which signal killed CMD
  --warn-reaped          name each orphan that is reaped
  -v, --verbose          log what is done; twice for more
  -h, --help             print this
  -V, --version          print the version

--rewrite, --remap, --env and --keep-fd may be repeated. A TIME is 500ms, 30s,
5m or 1h; a number alone is seconds. A SIGNAL is TERM, SIGTERM, 15 or RTMIN+1.

Exit status: CMD's own; 128 + n if signal n killed it; 124 if --timeout ran
out; 125 if launch-init failed; 126 if CMD could not be executed; 127 if it was
not found.
";

const VERSION: &str = concat!("launch-init ", env!("CARGO_PKG_VERSION"), "\n");

/// Reads the arguments of `launch-init`, without its name.
///
/// # Errors
/// [`Error::Usage`]
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Request, Error> {
    let mut settings = Settings::default();
    let mut health =
        Health { interval: HEALTH_TIME, timeout: HEALTH_TIME, retries: HEALTH_RETRIES, restarts: false };
    let mut parser = Parser::from_args(arguments);
    let command = loop {
        let Some(argument) = next(&mut parser)? else { break Vec::new() };
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Print(USAGE)),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Print(VERSION)),
            Arg::Short('q') | Arg::Long("quiet") => settings.quiet = true,
            Arg::Short('v') | Arg::Long("verbose") => settings.verbosity += 1,
            Arg::Long("warn-reaped") => settings.warn_reaped = true,
            Arg::Long("pause") => settings.pause = true,
            Arg::Long("shield") => settings.shield = true,
            Arg::Long("health-restart") => health.restarts = true,
            Arg::Long("wait-all") => settings.policy.leftovers = Leftovers::WaitFor,
            // Harmless to say, for the command lines of others.
            Arg::Long("subreaper") => {}
            Arg::Long(option) => {
                let option = option.to_owned();
                set(&mut settings, &mut health, &option, &mut parser)?;
            }
            Arg::Value(first) => break std::iter::once(first).chain(rest(&mut parser)?).collect(),
            Arg::Short(option) => return Err(wrong(&format!("-{option}"), "no such option; see --help")),
        }
    };
    settings.command = command;
    look_after(&mut settings, health)?;
    match (settings.command.is_empty(), settings.pause) {
        (true, false) => Err(wrong("CMD", "no command; see launch-init --help")),
        (false, true) => Err(wrong("--pause", "takes no command")),
        _ => Ok(Request::Run(Box::new(settings))),
    }
}

/// As other engines have them.
const HEALTH_TIME: Duration = Duration::from_secs(30);
const HEALTH_RETRIES: u32 = 3;
/// An engine kills after ten seconds, mostly; to be done before that, its status is told.
const SERVICE_GRACE: Duration = Duration::from_secs(5);

/// What the options about the runs come to together.
fn look_after(settings: &mut Settings, health: Health) -> Result<(), Error> {
    let changes = |health: &Health| {
        *health
            != Health {
                interval: HEALTH_TIME,
                timeout: HEALTH_TIME,
                retries: HEALTH_RETRIES,
                restarts: false,
            }
    };
    if settings.probes.health.is_none() && changes(&health) {
        return Err(wrong("--health-cmd", "is missing: another option needs it"));
    }
    if let Readiness::Descriptor(number) = settings.policy.readiness
        && settings.keep.as_ref().is_some_and(|keep| keep.contains(&number))
    {
        return Err(wrong("--ready", &format!("descriptor {number} is one of --keep-fd, too")));
    }
    let policy = &mut settings.policy;
    policy.health = settings.probes.health.is_some().then_some(health);
    policy.term_stops = policy.restart != Restart::No;
    policy.tells = policy.may_run_again() || policy.needs_runs() || policy.ready_timeout.is_some();
    if policy.tells && !settings.has_grace {
        policy.grace = SERVICE_GRACE;
    }
    if policy.stop_signal != libc::SIGTERM && !policy.term_stops {
        // It ends as any other signal would end it.
        policy.rewrites.set(libc::SIGTERM, policy.stop_signal);
    }
    if policy.may_run_again() && settings.placement == Placement::ByTerminal {
        // A Ctrl-C has to come to init, which starts it again else.
        settings.placement = Placement::Background;
    }
    Ok(())
}

/// An option with a value.
fn set(settings: &mut Settings, health: &mut Health, option: &str, parser: &mut Parser) -> Result<(), Error> {
    const TAKE_VALUES: [&str; 22] = [
        "signal-to",
        "rewrite",
        "forward-delay",
        "grace",
        "kill-after",
        "timeout",
        "remap",
        "user",
        "chdir",
        "env",
        "pdeathsig",
        "keep-fd",
        "restart",
        "restart-max-delay",
        "stop-signal",
        "ready",
        "ready-timeout",
        "watchdog",
        "health-cmd",
        "health-interval",
        "health-timeout",
        "health-retries",
    ];
    let shown = format!("--{option}");
    if !TAKE_VALUES.contains(&option) {
        return Err(wrong(&shown, "no such option; see --help"));
    }
    let value = parser.value().map_err(|_| wrong(&shown, "needs a value"))?;
    let text = value.to_str();
    let text_of = || text.ok_or_else(|| "is not valid UTF-8".to_owned());
    let result: Result<(), String> = match option {
        "chdir" => {
            settings.directory = Some(value.clone());
            Ok(())
        }
        "env" => parse::variable(&value).map(|variable| settings.set.push(variable)),
        "signal-to" => text_of().and_then(target).map(|target| settings.target = target),
        "rewrite" => text_of().and_then(rewrite).map(|(from, to)| settings.policy.rewrites.set(from, to)),
        "forward-delay" => {
            text_of().and_then(parse::duration).map(|time| settings.policy.forward_delay = time)
        }
        "grace" => text_of().and_then(parse::duration).map(|time| {
            settings.policy.grace = time;
            settings.has_grace = true;
        }),
        "restart" => text_of().and_then(parse::restart).map(|how| settings.policy.restart = how),
        "stop-signal" => text_of().and_then(parse::signal).map(|signal| settings.policy.stop_signal = signal),
        "ready" => parse::readiness(&value)
            .map(|(how, command)| (settings.policy.readiness, settings.probes.ready) = (how, command)),
        "ready-timeout" => {
            text_of().and_then(some_time).map(|time| settings.policy.ready_timeout = Some(time))
        }
        "watchdog" => text_of().and_then(some_time).map(|time| settings.policy.watchdog = Some(time)),
        "health-cmd" => {
            settings.probes.health = Some(value.clone());
            Ok(())
        }
        "health-interval" => text_of().and_then(some_time).map(|time| health.interval = time),
        "health-timeout" => text_of().and_then(some_time).map(|time| health.timeout = time),
        "health-retries" => text_of().and_then(retries).map(|count| health.retries = count),
        "kill-after" => {
            text_of().and_then(parse::duration).map(|time| settings.policy.kill_after = Some(time))
        }
        "timeout" => text_of().and_then(parse::duration).map(|time| settings.policy.timeout = Some(time)),
        "remap" => text_of().and_then(remap).map(|pair| settings.remap.push(pair)),
        "user" => text_of().map(|user| settings.user = Some(user.to_owned())),
        "pdeathsig" => {
            text_of().and_then(parse::signal).map(|signal| settings.parent_death_signal = Some(signal))
        }
        _ => text_of().and_then(parse::descriptor).map(|fd| settings.keep.get_or_insert_default().push(fd)),
    };
    result.map_err(|reason| wrong(&shown, &reason))
}

fn next(parser: &mut Parser) -> Result<Option<Arg<'_>>, Error> {
    parser.next().map_err(|error| wrong("launch-init", &error.to_string()))
}

/// All that is left is the command's.
fn rest(parser: &mut Parser) -> Result<Vec<OsString>, Error> {
    Ok(parser.raw_args().map_err(|error| wrong("launch-init", &error.to_string()))?.collect())
}

fn wrong(object: &str, reason: &str) -> Error {
    Error::Usage(object.to_owned(), reason.to_owned())
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "main" => Ok(Target::Main),
        "group" => Ok(Target::Group),
        "all" => Ok(Target::All),
        _ => Err(format!("{text:?} is none of main, group, all")),
    }
}

/// A duration that is more than nothing.
fn some_time(text: &str) -> Result<Duration, String> {
    match parse::duration(text)? {
        Duration::ZERO => Err("must be more than nothing".into()),
        time => Ok(time),
    }
}

fn retries(text: &str) -> Result<u32, String> {
    let number = parse::number(text).and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or_else(|| format!("{text:?} is no number from 1 on"))
}

/// `FROM:TO`, or `FROM:` for none.
fn rewrite(text: &str) -> Result<(i32, i32), String> {
    let (from, to) = text.split_once(':').ok_or_else(|| format!("{text:?} has no colon; say TERM:QUIT"))?;
    let to = if to.is_empty() { 0 } else { parse::signal(to)? };
    Ok((parse::signal(from)?, to))
}

/// `CODE` or `CODE:TO`.
fn remap(text: &str) -> Result<(u8, u8), String> {
    let code = |text: &str| {
        parse::number(text)
            .and_then(|code| u8::try_from(code).ok())
            .ok_or_else(|| format!("{text:?} is no exit code: they go from 0 to 255"))
    };
    match text.split_once(':') {
        Some((from, to)) => Ok((code(from)?, code(to)?)),
        None => Ok((code(text)?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Request, Error> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn settings(line: &str) -> Settings {
        match parse_words(line) {
            Ok(Request::Run(settings)) => *settings,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        let failure = parse_words(line).expect_err(line).into_failure();
        assert_eq!(failure.code, 125);
        format!("{}: {}", failure.object.display(), failure.reason())
    }

    #[test]
    fn the_command_begins_at_the_first_word_that_is_no_option() {
        assert_eq!(settings("ls -l --shield").command, ["ls", "-l", "--shield"]);
        assert_eq!(settings("--shield -- ls -- -l").command, ["ls", "--", "-l"]);
        assert_eq!(settings("-- --shield").command, ["--shield"]);
        assert!(settings("--shield -qv ls").shield);
    }

    #[test]
    fn values_are_read_strictly() {
        let read =
            settings("--rewrite TERM:QUIT --rewrite=HUP: --remap 143 --remap 7:8 --keep-fd 5 --grace=1s x");
        assert_eq!(read.policy.rewrites.changed().collect::<Vec<_>>(), [(1, 0), (15, 3)]);
        assert_eq!((read.remap, read.keep), (vec![(143, 0), (7, 8)], Some(vec![5])));
        assert_eq!(refused("--remap 256 x"), "--remap: \"256\" is no exit code: they go from 0 to 255");
        assert_eq!(refused("--rewrite TERM x"), "--rewrite: \"TERM\" has no colon; say TERM:QUIT");
        assert_eq!(refused("--signal-to me x"), "--signal-to: \"me\" is none of main, group, all");
        assert_eq!(refused("--grace"), "--grace: needs a value");
        assert_eq!(refused("--foo x"), "--foo: no such option; see --help");
        assert_eq!(refused("-z x"), "-z: no such option; see --help");
    }

    #[test]
    fn a_command_is_needed_unless_it_pauses() {
        assert_eq!(refused(""), "CMD: no command; see launch-init --help");
        assert_eq!(refused("--pause x"), "--pause: takes no command");
        assert!(settings("--pause").pause);
    }

    #[test]
    fn every_option_is_in_the_usage_and_every_one_of_the_usage_is_known() {
        let options = USAGE.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        let mut count = 0;
        for option in options.map(|word| word.trim_end_matches([',', '.'])) {
            let line = format!("{option} 1 x");
            let unknown =
                matches!(parse_words(&line), Err(Error::Usage(_, reason)) if reason.contains("no such"));
            assert!(!unknown, "{option}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }
}
