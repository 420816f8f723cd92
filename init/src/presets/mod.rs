//! The programs that init stands in for when it is called by their names: one table of settings, one parser each,
//! and what each of them says. Pure.
//!
//! docs/drop-in.md says where init behaves otherwise than they do, and why.

#![forbid(unsafe_code)]

mod catatonit;
mod dumb_init;
mod getopt;
mod messages;
mod tini;

use std::ffi::{OsStr, OsString};
use std::path::Path;

pub(crate) use messages::{Moment, Stream, Tell, Voice, lines};

use crate::event_loop::Target;
use crate::settings::{Placement, Request, Settings};
use crate::supervisor::{Leftovers, Policy, Rewrites};

/// A program that init stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Tini,
    DumbInit,
    Catatonit,
}

impl Program {
    /// The program of this name or path.
    pub(crate) fn of(name: &OsStr) -> Option<Self> {
        match Path::new(name).file_name()?.to_str()? {
            "tini" | "tini-static" | "docker-init" => Some(Self::Tini),
            "dumb-init" => Some(Self::DumbInit),
            "catatonit" => Some(Self::Catatonit),
            _ => None,
        }
    }

    /// The table: how each of them behaves when nothing is asked for.
    pub(crate) fn settings(self) -> Settings {
        let common = Settings {
            program: Some(self),
            quiet: true,
            failed: 1,
            // What others rely on: `> /proc/1/fd/1` from anywhere in the container, and its /proc/1/environ.
            is_open: true,
            target: Target::Main,
            policy: Policy { leftovers: Leftovers::Leave, ..Settings::default().policy },
            ..Settings::default()
        };
        match self {
            Self::Tini => Settings {
                name: "tini",
                verbosity: 1,
                adopts: false,
                own_signals: FAULTS,
                policy: Policy { rewrites: dropping(&[libc::SIGTTIN, libc::SIGTTOU]), ..common.policy },
                placement: Placement::OwnGroup,
                keeps_directory: true,
                exec_failure: Some(|errno| match errno {
                    libc::ENOENT => 127,
                    libc::EACCES => 126,
                    _ => 1,
                }),
                ..common
            },
            Self::DumbInit => Settings {
                name: "dumb-init",
                adopts: false,
                target: Target::Group,
                policy: Policy { leftovers: Leftovers::Tell, ..common.policy },
                placement: Placement::Session,
                stops_too: true,
                clean_signals: true,
                exec_failure: Some(|_| 2),
                ..common
            },
            Self::Catatonit => Settings {
                name: "catatonit",
                own_signals: FAULTS,
                policy: Policy {
                    rewrites: dropping(&[libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]),
                    ..common.policy
                },
                placement: Placement::OwnGroup,
                listen_pid: true,
                exec_failure: Some(|_| 1),
                ..common
            },
        }
    }

    /// Reads its command line and environment.
    pub(crate) fn parse(self, call: &Call<'_>) -> Request {
        match self {
            Self::Tini => tini::parse(call),
            Self::DumbInit => dumb_init::parse(call),
            Self::Catatonit => catatonit::parse(call),
        }
    }
}

/// Signals of these numbers are init's own: it dies of them, or as PID 1 doesn't notice.
const FAULTS: &[i32] =
    &[libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

fn dropping(signals: &[i32]) -> Rewrites {
    let mut rewrites = Rewrites::default();
    signals.iter().for_each(|signal| rewrites.set(*signal, 0));
    rewrites
}

/// How a program was called.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Its argument 0.
    pub(crate) name: &'a OsStr,
    /// The others.
    pub(crate) arguments: &'a [OsString],
    /// Its pid, which is in messages.
    pub(crate) pid: u32,
    /// Its environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// The version that a program gives itself: whose behaviour it is, and that it isn't that program.
macro_rules! version {
    ($of:literal) => {
        concat!($of, "_launch-init-", env!("CARGO_PKG_VERSION"))
    };
}
use version;

/// Ends at once, with this text on stderr.
fn refuse(text: impl Into<Vec<u8>>) -> Request {
    Request::Quit { stream: Stream::Stderr, text: text.into(), code: 1 }
}

/// Ends well, with this text.
fn answer(stream: Stream, text: impl Into<Vec<u8>>) -> Request {
    Request::Quit { stream, text: text.into(), code: 0 }
}

const LICENSE: &str = concat!(
    "This is launch-init, called by the name of another program.\n",
    "SPDX-License-Identifier: ",
    env!("CARGO_PKG_LICENSE"),
    "\n"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program does with these words and these variables, as pid 7.
    pub(super) fn parse(line: &str, environment: &[(&str, &str)]) -> Request {
        let mut words = line.split(' ').map(OsString::from);
        let name = words.next().unwrap();
        let arguments: Vec<_> = words.collect();
        let variable =
            |key: &str| environment.iter().find(|(k, _)| *k == key).map(|(_, v)| OsString::from(v));
        let call = Call { name: &name, arguments: &arguments, pid: 7, variable: &variable };
        Program::of(&name).unwrap().parse(&call)
    }

    pub(super) fn settings(line: &str, environment: &[(&str, &str)]) -> Settings {
        match parse(line, environment) {
            Request::Run(settings) => *settings,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// Where it says what, and its exit code.
    pub(super) fn quits(line: &str, environment: &[(&str, &str)]) -> (Stream, String, u8) {
        match parse(line, environment) {
            Request::Quit { stream, text, code } => (stream, String::from_utf8(text).unwrap(), code),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_program_is_known_by_the_last_part_of_its_path() {
        let of = |name| Program::of(OsStr::new(name));
        for name in ["tini", "/sbin/docker-init", "./tini-static"] {
            assert_eq!(of(name), Some(Program::Tini));
        }
        assert_eq!(of("/usr/bin/dumb-init"), Some(Program::DumbInit));
        assert_eq!(of("catatonit"), Some(Program::Catatonit));
        for name in ["launch-init", "tini2", "", "/", "tini/.."] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
