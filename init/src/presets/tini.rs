//! The command line of tini 0.19. Pure.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::getopt::{Getopt, Options, leading_number};
use super::{Call, LICENSE, Program, Stream, answer, refuse, version};
use crate::event_loop::Target;
use crate::settings::Request;

const OPTIONS: Options = Options { short: "hsp:vwge:l", long: &[] };

/// `docker info` wants it to begin so.
const VERSION: &str = concat!("tini version ", version!("0.19.0"));

/// The signals that `-p` knows, by name only.
const NAMES: [(&str, i32); 28] = [
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGILL", libc::SIGILL),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
    ("SIGBUS", libc::SIGBUS),
    ("SIGFPE", libc::SIGFPE),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGALRM", libc::SIGALRM),
    ("SIGTERM", libc::SIGTERM),
    ("SIGCHLD", libc::SIGCHLD),
    ("SIGCONT", libc::SIGCONT),
    ("SIGSTOP", libc::SIGSTOP),
    ("SIGTSTP", libc::SIGTSTP),
    ("SIGTTIN", libc::SIGTTIN),
    ("SIGTTOU", libc::SIGTTOU),
    ("SIGURG", libc::SIGURG),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGXFSZ", libc::SIGXFSZ),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGWINCH", libc::SIGWINCH),
    ("SIGSYS", libc::SIGSYS),
];

pub(super) fn parse(call: &Call<'_>) -> Request {
    if call.arguments == ["--version"] {
        return answer(Stream::Stdout, format!("{VERSION}\n"));
    }
    let mut settings = Program::Tini.settings();
    let mut verbosity = i64::from(settings.verbosity);
    let mut getopt = Getopt::new(OPTIONS, call.arguments);
    for found in getopt.by_ref() {
        let (option, value) = match found {
            Ok(found) => found,
            Err(message) => {
                return refuse([call.name.as_bytes(), b": ", &message, b"\n", &usage(call.name)].concat());
            }
        };
        let invalid = || {
            let prefix = format!("[FATAL tini ({})] Not a valid option for -{}: ", call.pid, option as char);
            refuse([prefix.as_bytes(), value.as_bytes(), b"\n"].concat())
        };
        match option {
            b'h' => return answer(Stream::Stdout, usage(call.name)),
            b'l' => return answer(Stream::Stdout, LICENSE),
            b's' => settings.adopts = true,
            b'g' => settings.target = Target::Group,
            b'w' => settings.warn_reaped = true,
            b'v' => verbosity += 1,
            b'p' => match NAMES.iter().find(|(name, _)| *name == value) {
                Some((_, signal)) => settings.own_death_signal = Some(*signal),
                None => return invalid(),
            },
            _ => match exit_code(&value) {
                Some(code) => settings.remap.push((code, 0)),
                None => return invalid(),
            },
        }
    }
    settings.command = command(getopt.rest());
    if settings.command.is_empty() {
        return refuse(usage(call.name));
    }
    settings.adopts |= (call.variable)("TINI_SUBREAPER").is_some();
    if (call.variable)("TINI_KILL_PROCESS_GROUP").is_some() {
        settings.target = Target::Group;
    }
    if let Some(text) = (call.variable)("TINI_VERBOSITY") {
        // Its atoi(3) makes 0 of what is no number, and it takes a negative number for a large one.
        verbosity = leading_number(text.as_bytes()).map_or(0, |(number, _)| number);
    }
    settings.verbosity = u8::try_from(verbosity).unwrap_or(u8::MAX);
    Request::Run(Box::new(settings))
}

/// Its own usage is `PROGRAM -- [ARGS]`, so that `--` is no argument of the program.
fn command(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "--") {
        words.remove(1);
    }
    words
}

fn exit_code(value: &OsStr) -> Option<u8> {
    match (value.as_bytes(), leading_number(value.as_bytes())) {
        // strtol(3) reads nothing, and nothing is left.
        (b"", _) => Some(0),
        (_, Some((code, b""))) => u8::try_from(code).ok(),
        _ => None,
    }
}

fn usage(name: &OsStr) -> Vec<u8> {
    let name = Path::new(name).file_name().unwrap_or(name).display();
    format!(
        "\
{name} ({VERSION})
Usage: {name} [OPTIONS] PROGRAM -- [ARGS] | --version

Runs PROGRAM as the child of an init: launch-init, in the manner of tini.

Command line options:

  --version: Print the version (alone only).
  -h: Print this help.
  -s: Adopt orphans as a child subreaper.
  -p SIGNAL: Get SIGNAL when the parent process dies, e.g. \"-p SIGKILL\".
  -v: Say more. Up to 3 times.
  -w: Say so when an orphan is reaped.
  -g: Send signals to the process group of PROGRAM.
  -e EXIT_CODE: Exit with 0 instead of EXIT_CODE (0 to 255; can be repeated).
  -l: Print the license.

Environment variables:

  TINI_SUBREAPER: If set, as -s.
  TINI_VERBOSITY: How much is said (1 by default).
  TINI_KILL_PROCESS_GROUP: If set, as -g.

"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{quits, settings};
    use super::*;

    #[test]
    fn options_and_variables_are_read_as_tini_does() {
        let read = settings("tini -svg -p SIGKILL -e 143 -e +7 x -v", &[]);
        assert!(read.adopts && !read.warn_reaped);
        assert_eq!((read.verbosity, read.target, read.own_death_signal), (2, Target::Group, Some(9)));
        assert_eq!(read.command, ["x", "-v"]);
        let by_default = settings("tini x", &[]);
        assert_eq!((by_default.verbosity, by_default.adopts, by_default.target), (1, false, Target::Main));
        let variables = [("TINI_SUBREAPER", ""), ("TINI_KILL_PROCESS_GROUP", ""), ("TINI_VERBOSITY", "3x")];
        let read = settings("tini -vvvvv x", &variables);
        assert_eq!((read.verbosity, read.adopts, read.target), (3, true, Target::Group));
        for (text, verbosity) in [("", 0), ("x", 0), ("0", 0), ("-1", 255), ("999", 255)] {
            assert_eq!(settings("tini x", &[("TINI_VERBOSITY", text)]).verbosity, verbosity, "{text}");
        }
    }

    #[test]
    fn exit_codes_are_read_as_strtol_does() {
        for (text, code) in [("0", 0), ("255", 255), ("+3", 3), ("", 0), ("-0", 0)] {
            assert_eq!(exit_code(OsStr::new(text)), Some(code), "{text}");
        }
        for text in ["256", "-1", "0x10", "3 ", "x", " "] {
            assert_eq!(exit_code(OsStr::new(text)), None, "{text}");
        }
    }

    #[test]
    fn two_dashes_may_stand_before_the_program_or_behind_it() {
        assert_eq!(settings("tini -- x -- y", &[]).command, ["x", "y"]);
        assert_eq!(settings("tini x -- -c", &[]).command, ["x", "-c"]);
        assert_eq!(settings("tini x y -- -c", &[]).command, ["x", "y", "--", "-c"]);
    }

    #[test]
    fn what_is_wrong_is_said_on_stderr_and_ends_with_1() {
        let usage = String::from_utf8(usage(OsStr::new("tini"))).unwrap();
        let said = |text: &str| (Stream::Stderr, text.to_owned(), 1);
        assert_eq!(quits("tini", &[]), said(&usage));
        assert_eq!(quits("tini --", &[]), said(&usage));
        assert_eq!(quits("tini -z x", &[]), said(&format!("tini: invalid option -- 'z'\n{usage}")));
        let path = format!("/sbin/tini: option requires an argument -- 'e'\n{usage}");
        assert_eq!(quits("/sbin/tini -e", &[]), said(&path));
        assert_eq!(quits("tini -e 300 x", &[]), said("[FATAL tini (7)] Not a valid option for -e: 300\n"));
        assert_eq!(quits("tini -p 9 x", &[]), said("[FATAL tini (7)] Not a valid option for -p: 9\n"));
    }

    #[test]
    fn the_version_is_said_when_it_is_asked_for_alone() {
        let (stream, text, code) = quits("docker-init --version", &[]);
        assert_eq!((stream, code), (Stream::Stdout, 0));
        assert!(text.starts_with("tini version 0.19.0") && text.ends_with('\n'), "{text}");
        assert_eq!(quits("tini --version x", &[]).2, 1);
        assert_eq!(quits("tini-static -h", &[]).1.lines().next(), Some(&*format!("tini-static ({VERSION})")));
    }
}
