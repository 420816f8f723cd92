//! The command line of dumb-init 1.2.5. Pure.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::getopt::{Getopt, Options, leading_number};
use super::{Call, Program, Stream, answer, refuse, version};
use crate::event_loop::Target;
use crate::settings::{Placement, Request, Settings};

const OPTIONS: Options = Options {
    short: "hvVcr:",
    long: &[("help", b'h'), ("single-child", b'c'), ("rewrite", b'r'), ("verbose", b'v'), ("version", b'V')],
};

const VERSION: &str = concat!("dumb-init v", version!("1.2.5"), "\n");

const REWRITE_USAGE: &str = "\
Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.
This option can be specified multiple times.
Use --help for full usage.
";

/// Its tests compare this byte for byte.
const HELP: &str = " [option] command [[arg] ...]

dumb-init is a simple process supervisor that forwards signals to children.
It is designed to run as PID1 in minimal container environments.

Optional arguments:
   -c, --single-child   Run in single-child mode.
                        In this mode, signals are only proxied to the
                        direct child and not any of its descendants.
   -r, --rewrite s:r    Rewrite received signal s to new signal r before proxying.
                        To ignore (not proxy) a signal, rewrite it to 0.
                        This option can be specified multiple times.
   -v, --verbose        Print debugging information to stderr.
   -h, --help           Print this help message and exit.
   -V, --version        Print the current version and exit.

Full help is available online at https://github.com/Yelp/dumb-init
";

pub(super) fn parse(call: &Call<'_>) -> Request {
    let mut settings = Program::DumbInit.settings();
    // A stop signal that is rewritten to itself stays as it is, so what was asked for is noted apart.
    let mut asked_for = Vec::new();
    let mut getopt = Getopt::new(OPTIONS, call.arguments);
    for found in getopt.by_ref() {
        match found {
            Err(message) => return refuse([call.name.as_bytes(), b": ", &message, b"\n"].concat()),
            Ok((b'h', _)) => return answer(Stream::Stderr, help(call.name)),
            Ok((b'V', _)) => return answer(Stream::Stderr, VERSION),
            Ok((b'v', _)) => settings.verbosity = 1,
            Ok((b'c', _)) => single_child(&mut settings),
            Ok((_, value)) => match rewrite(&value) {
                Some((from, to)) => {
                    asked_for.push(from);
                    settings.policy.rewrites.set(from, to);
                }
                None => return refuse(REWRITE_USAGE),
            },
        }
    }
    settings.command = getopt.rest();
    if settings.command.is_empty() {
        let name = call.name.as_bytes();
        return refuse(
            [b"Usage: ", name, b" [option] program [args]\nTry ", name, b" --help for full usage.\n"]
                .concat(),
        );
    }
    if (call.variable)("DUMB_INIT_DEBUG").is_some_and(|value| value == "1") {
        settings.verbosity = 1;
        settings.opening.push("Running in debug mode.");
    }
    if (call.variable)("DUMB_INIT_SETSID").is_some_and(|value| value == "0") {
        single_child(&mut settings);
        settings.opening.push("Not running in setsid mode.");
    }
    if settings.placement == Placement::Session {
        for signal in [libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN] {
            if !asked_for.contains(&signal) {
                settings.policy.rewrites.set(signal, libc::SIGSTOP);
            }
        }
    }
    Request::Run(Box::new(settings))
}

fn single_child(settings: &mut Settings) {
    settings.placement = Placement::Callers;
    settings.target = Target::Main;
}

/// As its sscanf(3) reads `%d:%d`, whatever follows.
fn rewrite(value: &OsStr) -> Option<(i32, i32)> {
    let (from, rest) = leading_number(value.as_bytes())?;
    let (to, _) = leading_number(rest.strip_prefix(b":")?)?;
    let is_valid = (1..=31).contains(&from) && (0..=31).contains(&to);
    is_valid.then_some((from as i32, to as i32))
}

fn help(name: &OsStr) -> Vec<u8> {
    [VERSION.as_bytes(), b"Usage: ", name.as_bytes(), HELP.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{quits, settings};
    use super::*;

    fn rewrites(line: &str, environment: &[(&str, &str)]) -> Vec<(u8, u8)> {
        settings(line, environment).policy.rewrites.changed().collect()
    }

    #[test]
    fn stop_signals_become_stop_unless_something_else_is_asked_for() {
        assert_eq!(rewrites("dumb-init x", &[]), [(20, 19), (21, 19), (22, 19)]);
        let line = "dumb-init -r 15:3 --rewrite=20:20 --rew 21:0 x";
        assert_eq!(rewrites(line, &[]), [(15, 3), (21, 0), (22, 19)]);
        assert_eq!(rewrites("dumb-init -c x", &[]), []);
        assert_eq!(rewrites("dumb-init x", &[("DUMB_INIT_SETSID", "0")]), []);
        assert_eq!(rewrites("dumb-init x", &[("DUMB_INIT_SETSID", "1")]).len(), 3);
    }

    #[test]
    fn rewrites_are_read_as_sscanf_does() {
        let read = |text| rewrite(OsStr::new(text));
        assert_eq!([read("1:2"), read(" 1: +2x"), read("31:0")], [Some((1, 2)), Some((1, 2)), Some((31, 0))]);
        for text in ["0:1", "32:1", "1:32", "1:-1", "1", "1:", ":1", "1 :2", "TERM:INT", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_session_or_the_single_child_is_the_target() {
        let read = settings("dumb-init sh -c x", &[]);
        assert_eq!((read.placement, read.target, read.verbosity), (Placement::Session, Target::Group, 0));
        assert_eq!(read.command, ["sh", "-c", "x"]);
        for (line, environment) in
            [("dumb-init -cv x", [].as_slice()), ("dumb-init -v x", &[("DUMB_INIT_SETSID", "0")])]
        {
            let read = settings(line, environment);
            assert_eq!((read.placement, read.target, read.verbosity), (Placement::Callers, Target::Main, 1));
        }
        assert_eq!(settings("dumb-init x", &[("DUMB_INIT_DEBUG", "1")]).opening, ["Running in debug mode."]);
        assert_eq!(settings("dumb-init x", &[("DUMB_INIT_DEBUG", "2")]).verbosity, 0);
    }

    #[test]
    fn what_is_wrong_is_said_on_stderr_and_ends_with_1() {
        let said = |text: &str| (Stream::Stderr, text.to_owned(), 1);
        let usage = "Usage: dumb-init [option] program [args]\nTry dumb-init --help for full usage.\n";
        assert_eq!(quits("dumb-init", &[]), said(usage));
        assert_eq!(quits("dumb-init -r 1:99 x", &[]), said(REWRITE_USAGE));
        assert_eq!(quits("dumb-init -z x", &[]), said("dumb-init: invalid option -- 'z'\n"));
    }

    #[test]
    fn help_and_version_go_to_stderr() {
        for line in ["dumb-init -V", "dumb-init --vers"] {
            assert_eq!(quits(line, &[]), (Stream::Stderr, VERSION.into(), 0), "{line}");
        }
        let (stream, text, code) = quits("dumb-init --help", &[]);
        assert_eq!((stream, code), (Stream::Stderr, 0));
        assert!(text.starts_with(&format!("{VERSION}Usage: dumb-init [option] command")), "{text}");
    }
}
