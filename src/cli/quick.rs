//! The quick way to read a plain command line: options that are known here, all well-formed, in front of `--` and a command.
//! clap, which takes longer to build its definition than a whole launch, remains the one definition and the one that
//! speaks: of whatever is not plain nothing is said here. The tests hold the two against each other.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::ValueEnum;
use launch_init::handoff::{FileSystem, Step};
use launch_init::parse::{account, descriptor, duration, id, restart, signal, variable};

use super::Cli;
use super::order::change;
use super::serving::Run;
use super::values::{PROC, mount, proc_mode, ready};
use crate::named::settings;
use crate::privileges;
use crate::spec;

/// What clap makes of this command line, the program's name first; or none, where that is for clap to say.
#[inline(never)]
pub fn read(line: &[OsString]) -> Option<Cli> {
    let words = line.get(1..)?;
    let dashes = words.iter().position(|word| word == "--")?;
    let (options, command) = (&words[..dashes], &words[dashes + 1..]);
    if command.is_empty() {
        return None;
    }
    let mut reader = Reader { cli: Cli::default(), seen: [false; OPTIONS.len()] };
    let mut options = options.iter();
    while let Some(word) = options.next() {
        let word = word.as_bytes();
        let Some(long) = word.strip_prefix(b"--") else {
            reader.letters(word.strip_prefix(b"-")?)?;
            continue;
        };
        let (name, joined) = match long.iter().position(|byte| *byte == b'=') {
            Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]))),
            None => (long, None),
        };
        match (reader.find(|option| option.long.as_bytes() == name)?.is, joined) {
            (Is::Flag(set), None) => set(&mut reader.cli),
            (Is::Flag(_), Some(_)) => return None,
            (Is::Value(set), Some(value)) => set(&mut reader.cli, present(value)?)?,
            (Is::Value(set), None) => {
                let value = options.next().filter(|value| !value.as_bytes().starts_with(b"-"))?;
                set(&mut reader.cli, present(value)?)?;
            }
        }
    }
    let mut cli = reader.cli;
    cli.command = command.to_vec();
    go_together(&cli).then_some(cli)
}

/// The same of `launch run SOCKET -- CMD`, without options.
pub fn read_run(line: &[OsString]) -> Option<Run> {
    let [_, run, socket, dashes, command @ ..] = line else { return None };
    let is_plain = run == "run"
        && dashes == "--"
        && !command.is_empty()
        && present(socket).is_some_and(|socket| !socket.as_bytes().starts_with(b"-"));
    is_plain.then(|| Run { socket: socket.into(), command: command.to_vec(), ..Run::default() })
}

/// An empty one is allowed for some options, and not for others.
fn present(value: &OsStr) -> Option<&OsStr> {
    (!value.is_empty()).then_some(value)
}

struct Reader {
    cli: Cli,
    /// By the place in [`OPTIONS`].
    seen: [bool; OPTIONS.len()],
}

impl Reader {
    /// The option, if there is one and it may be given now.
    fn find(&mut self, is_meant: impl Fn(&Known) -> bool) -> Option<&'static Known> {
        let at = OPTIONS.iter().position(is_meant)?;
        let was_seen = std::mem::replace(&mut self.seen[at], true);
        let option = &OPTIONS[at];
        (option.may_be_repeated || !was_seen).then_some(option)
    }

    /// `-dv`.
    fn letters(&mut self, letters: &[u8]) -> Option<()> {
        if letters.is_empty() {
            return None;
        }
        for letter in letters {
            match self.find(|option| option.short == Some(*letter))?.is {
                Is::Flag(set) => set(&mut self.cli),
                Is::Value(_) => return None,
            }
        }
        Some(())
    }
}

/// Whether no option rules out another one, and each has those that it needs.
fn go_together(cli: &Cli) -> bool {
    let has_ids = cli.uid.is_some() || cli.gid.is_some();
    let has_maps = !cli.map_users.is_empty() || !cli.map_groups.is_empty();
    let identities = [has_ids, cli.keep_id, has_maps, cli.map.is_some()];
    let is_checked = cli.health_interval.is_some()
        || cli.health_timeout.is_some()
        || cli.health_retries.is_some()
        || cli.health_restart;
    identities.into_iter().filter(|is_given| *is_given).count() <= 1
        && !(cli.keep_tmp && cli.tmp_size.is_some())
        && !(cli.volatile && cli.keep.is_some())
        && !(cli.tty && cli.log.is_some())
        && (cli.ready.is_some() || cli.ready_timeout.is_none())
        && (cli.health_cmd.is_some() || !is_checked)
}

/// An option, and how it gets into [`Cli`].
struct Known {
    long: &'static str,
    short: Option<u8>,
    may_be_repeated: bool,
    is: Is,
}

#[derive(Clone, Copy)]
enum Is {
    Flag(fn(&mut Cli)),
    /// None: it cannot be read.
    Value(fn(&mut Cli, &OsStr) -> Option<()>),
}

impl Known {
    const fn by_letter(self, letter: u8) -> Self {
        Self { short: Some(letter), ..self }
    }
}

const fn flag(long: &'static str, set: fn(&mut Cli)) -> Known {
    Known { long, short: None, may_be_repeated: false, is: Is::Flag(set) }
}

const fn one(long: &'static str, set: fn(&mut Cli, &OsStr) -> Option<()>) -> Known {
    Known { long, short: None, may_be_repeated: false, is: Is::Value(set) }
}

const fn many(long: &'static str, set: fn(&mut Cli, &OsStr) -> Option<()>) -> Known {
    Known { long, short: None, may_be_repeated: true, is: Is::Value(set) }
}

/// Those that it knows; the most frequent first. What is not here is in the test's list of those that are left to clap.
static OPTIONS: [Known; 74] = [
    many("ro-bind", |cli, value| push(&mut cli.mounts, spec::bind(value, true, false, false))),
    many("bind", |cli, value| push(&mut cli.mounts, spec::bind(value, false, false, false))),
    many("env", |cli, value| push(&mut cli.env, variable(value))),
    one("net", |cli, value| {
        cli.net = kind(value).ok()?;
        Some(())
    }),
    many("share", |cli, value| each(value, |name| push(&mut cli.share, kind(name)))),
    many("unshare", |cli, value| each(value, |name| push(&mut cli.unshare, kind(name)))),
    one("uid", |cli, value| put(&mut cli.uid, id(value.to_str()?))),
    one("gid", |cli, value| put(&mut cli.gid, id(value.to_str()?))),
    flag("keep-id", |cli| cli.keep_id = true),
    one("map", |cli, value| put(&mut cli.map, kind(value))),
    many("map-users", |cli, value| push(&mut cli.map_users, spec::id_map(value.to_str()?))),
    many("map-groups", |cli, value| push(&mut cli.map_groups, spec::id_map(value.to_str()?))),
    one("user", |cli, value| put(&mut cli.user, account(value.to_str()?))),
    flag("disable-userns", |cli| cli.disable_userns = true),
    one("hostname", |cli, value| as_it_is(&mut cli.hostname, value)),
    one("domainname", |cli, value| as_it_is(&mut cli.domainname, value)),
    one("tmp-size", |cli, value| put(&mut cli.tmp_size, spec::size(value.to_str()?))),
    flag("keep-tmp", |cli| cli.keep_tmp = true),
    one("rootfs", |cli, value| put(&mut cli.rootfs, spec::rootfs(value))),
    flag("read-only", |cli| cli.read_only = true),
    flag("volatile", |cli| cli.volatile = true),
    one("keep", |cli, value| as_it_is(&mut cli.keep, value)),
    one("proc-mode", |cli, value| put(&mut cli.proc_mode, proc_mode(value.to_str()?))),
    many("dev-bind", |cli, value| push(&mut cli.mounts, spec::bind(value, false, true, false))),
    many("try-bind", |cli, value| push(&mut cli.mounts, spec::bind(value, false, false, true))),
    many("try-ro-bind", |cli, value| push(&mut cli.mounts, spec::bind(value, true, false, true))),
    many("bind-fd", |cli, value| push(&mut cli.mounts, spec::bind_descriptor(value))),
    many("tmpfs", |cli, value| push(&mut cli.mounts, spec::tmpfs(value))),
    many("overlay", |cli, value| push(&mut cli.mounts, spec::overlay(value, false))),
    many("tmp-overlay", |cli, value| push(&mut cli.mounts, spec::overlay(value, true))),
    many("proc", |cli, value| push(&mut cli.mounts, mount(value, PROC))),
    many("dev", |cli, value| push(&mut cli.mounts, mount(value, FileSystem::Dev))),
    many("dir", |cli, value| push(&mut cli.mounts, spec::directory(value))),
    many("file", |cli, value| push(&mut cli.mounts, spec::file(value))),
    many("symlink", |cli, value| push(&mut cli.mounts, spec::symlink(value))),
    many("mask", |cli, value| push(&mut cli.mounts, spec::path(value).map(Step::Mask))),
    many("remount-ro", |cli, value| push(&mut cli.mounts, spec::path(value).map(Step::RemountReadOnly))),
    one("chdir", |cli, value| as_it_is(&mut cli.chdir, value)),
    many("keep-fd", |cli, value| push(&mut cli.keep_fd, descriptor(value.to_str()?))),
    many("cap-add", |cli, value| capabilities(cli, value, true)),
    many("cap-drop", |cli, value| capabilities(cli, value, false)),
    one("seccomp", |cli, value| put(&mut cli.seccomp, privileges::seccomp(value))),
    many("rlimit", |cli, value| push(&mut cli.rlimit, privileges::limit(value.to_str()?))),
    one("oom-score-adj", |cli, value| put(&mut cli.oom_score_adj, privileges::oom_score(value.to_str()?))),
    one("nice", |cli, value| put(&mut cli.nice, privileges::niceness(value.to_str()?))),
    one("umask", |cli, value| put(&mut cli.umask, privileges::umask(value.to_str()?))),
    many("unset-env", |cli, value| push(&mut cli.unset_env, Ok(value.into()))),
    flag("clear-env", |cli| cli.clear_env = true),
    one("timeout", |cli, value| put(&mut cli.timeout, duration(value.to_str()?))),
    one("grace", |cli, value| put(&mut cli.grace, duration(value.to_str()?))),
    one("kill-after", |cli, value| put(&mut cli.kill_after, duration(value.to_str()?))),
    one("stop-signal", |cli, value| put(&mut cli.stop_signal, signal(value.to_str()?))),
    one("name", |cli, value| as_it_is(&mut cli.name, value)),
    flag("detach", |cli| cli.detach = true).by_letter(b'd'),
    flag("rm", |cli| cli.rm = true),
    many("label", |cli, value| push(&mut cli.label, settings::label(value.to_str()?))),
    one("restart", |cli, value| put(&mut cli.restart, restart(value.to_str()?))),
    one("restart-max-delay", |cli, value| put(&mut cli.restart_max_delay, duration(value.to_str()?))),
    one("ready", |cli, value| put(&mut cli.ready, ready(value))),
    one("ready-timeout", |cli, value| put(&mut cli.ready_timeout, duration(value.to_str()?))),
    one("watchdog", |cli, value| put(&mut cli.watchdog, duration(value.to_str()?))),
    one("health-cmd", |cli, value| as_it_is(&mut cli.health_cmd, value)),
    one("health-interval", |cli, value| put(&mut cli.health_interval, duration(value.to_str()?))),
    one("health-timeout", |cli, value| put(&mut cli.health_timeout, duration(value.to_str()?))),
    one("health-retries", |cli, value| put(&mut cli.health_retries, settings::count(value.to_str()?))),
    flag("health-restart", |cli| cli.health_restart = true),
    one("log", |cli, value| as_it_is(&mut cli.log, value)),
    one("log-max-size", |cli, value| put(&mut cli.log_max_size, spec::size(value.to_str()?))),
    one("log-max-files", |cli, value| put(&mut cli.log_max_files, settings::count(value.to_str()?))),
    one("pid-file", |cli, value| as_it_is(&mut cli.pid_file, value)),
    one("id-file", |cli, value| as_it_is(&mut cli.id_file, value)),
    flag("tty", |cli| cli.tty = true).by_letter(b't'),
    one("status-fd", |cli, value| put(&mut cli.status_fd, descriptor(value.to_str()?))),
    Known {
        may_be_repeated: true,
        ..flag("verbose", |cli| cli.verbose = cli.verbose.saturating_add(1)).by_letter(b'v')
    },
];

fn put<T>(place: &mut Option<T>, value: Result<T, String>) -> Option<()> {
    *place = Some(value.ok()?);
    Some(())
}

fn as_it_is<T: From<OsString>>(place: &mut Option<T>, value: &OsStr) -> Option<()> {
    put(place, Ok(value.to_os_string().into()))
}

fn push<T>(all: &mut Vec<T>, value: Result<T, String>) -> Option<()> {
    all.push(value.ok()?);
    Some(())
}

/// One of the names of a `ValueEnum`.
fn kind<T: ValueEnum>(value: &OsStr) -> Result<T, String> {
    T::from_str(value.to_str().unwrap_or_default(), false)
}

/// The parts between commas.
fn each(value: &OsStr, mut read: impl FnMut(&OsStr) -> Option<()>) -> Option<()> {
    value.as_bytes().split(|byte| *byte == b',').try_for_each(|part| read(OsStr::from_bytes(part)))
}

fn capabilities(cli: &mut Cli, value: &OsStr, is_added: bool) -> Option<()> {
    each(value, |name| {
        change(&mut cli.capabilities, privileges::capability(name.to_str()?).ok()?, is_added);
        Some(())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::ffi::OsStringExt;

    use clap::{Arg, ArgAction, Command};

    use super::super::Request;
    use super::super::serving::Serving;
    use super::super::{by_definition, definition};
    use super::*;

    /// Those that name files, those that print, and one whose value may be left out.
    const LEFT_TO_CLAP: [&str; 7] = ["config", "profile", "help", "version", "explain", "json", "mqueue"];

    /// Some option can read each of these, or none can.
    const VALUES: [&[u8]; 43] = [
        b"host",
        b"none",
        b"uts",
        b"uts,user",
        b"ipc,",
        b"time",
        b"0",
        b"7",
        b"1000",
        b"4294967295",
        b"auto",
        b"0:1000:1",
        b"1000:100,27",
        b"a",
        b"a,b",
        b"/a",
        b"/a:/b",
        b"/a:rw",
        b"/a\\:b:/c",
        b"/a:size=1M,mode=700",
        b"/a:lower=/b",
        b"/a:lower=/b,upper=/c,work=/d",
        b"4:/a",
        b"K=V=W",
        b"=V",
        b"1M",
        b"500ms",
        b"TERM",
        b"RTMIN+1",
        b"hidepid=2,subset=pid",
        b"CHOWN",
        b"net_raw,ALL",
        b"nofile=1:2",
        b"off",
        b"notify",
        b"exec:x",
        b"on-failure:3",
        b"\xff",
        b"/\xff=\xff",
        b"",
        b"-",
        b"-1",
        b"--net",
    ];

    fn built() -> Command {
        let mut definition = definition();
        definition.build();
        definition
    }

    fn line(words: &[&[u8]]) -> Vec<OsString> {
        words.iter().map(|word| OsString::from_vec(word.to_vec())).collect()
    }

    /// Says whether each of the two has read it. What both have read they have read alike.
    #[track_caller]
    fn compare(definition: &mut Command, line: &[OsString]) -> (bool, bool) {
        let (quick, clap) = (read(line), by_definition(definition, line));
        match (&quick, &clap) {
            (Some(quick), Ok(clap)) => assert_eq!(quick, clap, "{line:?}"),
            (Some(_), Err(error)) => panic!("{line:?}: {error}"),
            (None, _) => {}
        }
        (quick.is_some(), clap.is_ok())
    }

    /// What clap alone would read: values that it may take for options, and empty ones.
    fn is_clear(value: &[u8]) -> bool {
        !value.is_empty() && !value.starts_with(b"-")
    }

    fn joined(option: &Known, value: &[u8]) -> Vec<u8> {
        [b"--", option.long.as_bytes(), b"=", value].concat()
    }

    fn apart(option: &Known) -> Vec<u8> {
        [b"--", option.long.as_bytes()].concat()
    }

    /// The option with a value that it takes, in one word.
    fn good(definition: &mut Command, option: &Known) -> Vec<u8> {
        let mut candidates = match option.is {
            Is::Flag(_) => vec![apart(option)],
            Is::Value(_) => VALUES.iter().map(|value| joined(option, value)).collect(),
        };
        candidates.retain(|word| {
            let line = line(&[b"launch", word, b"--ready=notify", b"--health-cmd=x", b"--", b"x"]);
            // Those two cannot be given twice.
            let alone = [&line[..2], &line[4..]].concat();
            by_definition(definition, &line).is_ok() || by_definition(definition, &alone).is_ok()
        });
        candidates.into_iter().next().unwrap_or_else(|| panic!("no value is one of --{}", option.long))
    }

    #[test]
    fn every_option_is_known_as_clap_knows_it_or_is_left_to_clap() {
        let definition = built();
        let longs = |name: &str| definition.get_arguments().find(|it| it.get_long() == Some(name));
        for argument in definition.get_arguments().filter(|argument| !argument.is_positional()) {
            let name = argument.get_long().expect("a long name");
            let known = OPTIONS.iter().find(|known| known.long == name);
            assert!(known.is_some() != LEFT_TO_CLAP.contains(&name), "--{name}: is it left to clap, or not?");
            let Some(known) = known else { continue };
            let is_flag = matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Count);
            let is_repeatable = matches!(argument.get_action(), ArgAction::Append | ArgAction::Count);
            assert_eq!(matches!(known.is, Is::Flag(_)), is_flag, "--{name}");
            assert_eq!(known.may_be_repeated, is_repeatable, "--{name}");
            assert_eq!(known.short.map(char::from), argument.get_short(), "--{name}");
        }
        let names: BTreeSet<_> = OPTIONS.iter().map(|known| known.long).collect();
        assert_eq!(names.len(), OPTIONS.len());
        assert!(names.into_iter().all(|name| longs(name).is_some()));
    }

    #[test]
    fn whatever_the_value_it_is_read_as_clap_reads_it() {
        let definition = &mut built();
        for option in OPTIONS.iter().filter(|option| matches!(option.is, Is::Value(_))) {
            for value in VALUES {
                for words in [
                    line(&[b"launch", &joined(option, value), b"--", b"x"]),
                    line(&[b"launch", &apart(option), value, b"--", b"x"]),
                ] {
                    let (quick, clap) = compare(definition, &words);
                    assert!(quick == clap || !is_clear(value), "{words:?}: {quick}, {clap}");
                }
            }
        }
    }

    #[test]
    fn options_go_together_as_clap_says() {
        let definition = &mut built();
        let words: Vec<_> = OPTIONS.iter().map(|option| good(definition, option)).collect();
        let mut read_at_all = BTreeSet::new();
        for (i, one) in words.iter().enumerate() {
            for (j, other) in words.iter().enumerate() {
                let pair = line(&[b"launch", one, other, b"--", b"x", b"--net", b"--", b"y"]);
                let (quick, clap) = compare(definition, &pair);
                assert_eq!(quick, clap, "{pair:?}");
                read_at_all.extend(quick.then_some([i, j]).into_iter().flatten());
            }
        }
        assert_eq!(read_at_all.len(), OPTIONS.len());
    }

    #[test]
    fn letters_are_read_as_clap_reads_them() {
        let definition = &mut built();
        for (letters, expected) in [
            ("-v", true),
            ("-dv", true),
            ("-vvtv", true),
            ("-dd", false),
            ("-d -d", false),
            ("-d --detach", false),
            ("-vh", false),
            ("-v=1", false),
            ("-x", false),
            ("-é", false),
            ("-", false),
        ] {
            let words: Vec<_> = letters.split(' ').map(str::as_bytes).collect();
            let words = line(&[&[b"launch".as_slice()], &words[..], &[b"--", b"x"]].concat());
            assert_eq!(compare(definition, &words).0, expected, "{letters}");
        }
    }

    #[test]
    fn a_plain_run_is_read_as_clap_reads_it() {
        for (words, is_plain) in [
            ("launch run s -- x", true),
            ("launch run /s/t -- x -- --env y", true),
            ("launch run s --", false),
            ("launch run s x -- y", false),
            ("launch run -- s x", false),
            ("launch run --help -- x", false),
            ("launch run --clear-env s -- x", false),
            ("launch run s --clear-env -- x", false),
            ("launch serve s -- x", false),
            ("launch", false),
        ] {
            let words: Vec<_> = words.split(' ').map(OsString::from).collect();
            let run = read_run(&words);
            assert_eq!(run.is_some(), is_plain, "{words:?}");
            if let Some(run) = run {
                match crate::cli::parse(words.clone()) {
                    Ok(Request::Serving(Serving::Run(by_definition))) => assert_eq!(run, by_definition),
                    other => panic!("{words:?}: {other:?}"),
                }
            }
        }
        let empty = ["launch", "run", "", "--", "x"].map(OsString::from);
        assert_eq!(read_run(&empty), None);
    }

    #[test]
    fn what_is_no_launch_is_left_to_clap() {
        for words in [
            "",
            "launch",
            "launch --",
            "launch x",
            "launch ps",
            "launch ps -- x",
            "launch --net",
            "launch -d",
        ] {
            let words: Vec<_> = words.split_whitespace().map(OsString::from).collect();
            assert_eq!(read(&words), None, "{words:?}");
        }
        for option in LEFT_TO_CLAP {
            assert_eq!(read(&line(&[b"launch", format!("--{option}").as_bytes(), b"--", b"x"])), None);
        }
    }

    #[test]
    fn a_line_of_anything_is_read_as_clap_reads_it_or_not_at_all() {
        let definition = &mut built();
        let good: Vec<_> = OPTIONS.iter().map(|option| good(definition, option)).collect();
        let others: Vec<Vec<u8>> = definition
            .get_arguments()
            .filter_map(Arg::get_long)
            .map(|name| format!("--{name}").into_bytes())
            .chain(["-v", "-td", "-vv", "x", "ps", "--", "--keep-tmp=false", "--nonsense"].map(Into::into))
            .collect();
        // xorshift64; any number but 0 will do.
        let mut state = 0x6c61_756e_6368_u64;
        let mut below = |most: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % most as u64) as usize
        };
        let (mut read_by_quick, mut read_by_clap) = (0, 0);
        for _ in 0..6000 {
            let mut words = vec![b"launch".to_vec()];
            for _ in 0..below(6) {
                match below(12) {
                    0 => words.push(others[below(others.len())].clone()),
                    1 => words.push(VALUES[below(VALUES.len())].to_vec()),
                    2 => words.push(joined(&OPTIONS[below(OPTIONS.len())], VALUES[below(VALUES.len())])),
                    _ => {
                        let word = &good[below(good.len())];
                        match word.iter().position(|byte| *byte == b'=').filter(|_| below(2) == 0) {
                            Some(at) => words.extend([word[..at].to_vec(), word[at + 1..].to_vec()]),
                            None => words.push(word.clone()),
                        }
                    }
                }
            }
            words.extend([b"--".to_vec(), b"x".to_vec()].into_iter().take(2 - below(8) / 6));
            let words: Vec<_> = words.iter().map(Vec::as_slice).collect();
            let (quick, clap) = compare(definition, &line(&words));
            read_by_quick += usize::from(quick);
            read_by_clap += usize::from(clap);
        }
        // Or else it would not say much.
        assert!(
            read_by_quick > 2000 && read_by_quick * 3 > read_by_clap * 2,
            "{read_by_quick}, {read_by_clap}"
        );
    }
}
