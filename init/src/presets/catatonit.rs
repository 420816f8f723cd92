//! The command line of catatonit 0.1.7. Pure.

#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;

use super::getopt::{Getopt, Options};
use super::{Call, LICENSE, Program, Stream, answer, refuse, version};
use crate::event_loop::Target;
use crate::settings::Request;

const OPTIONS: Options = Options { short: "ghLPV", long: &[("version", b'V')] };

/// It calls itself tini, for `docker info`.
const VERSION: &str = concat!("tini version ", version!("0.1.7_catatonit"), "\n");

const USAGE: &str = "usage: catatonit [-ghLPV] [--] <progname> [<arguments>...]\n";

const HELP: &str = "
launch-init, in the manner of catatonit.

  -g              send signals to the process group of the program
  -h              print this
  -L              print the license
  -P              pause: no program; end on SIGTERM or SIGINT
  -V, --version   print the version
";

pub(super) fn parse(call: &Call<'_>) -> Request {
    let error = |text: &str| format!("ERROR (catatonit:{}): {text}\n", call.pid);
    if (call.variable)("CATATONIT_LOG").is_some() {
        return refuse(error("CATATONIT_LOG is reserved for future use"));
    }
    let mut settings = Program::Catatonit.settings();
    let mut getopt = Getopt::new(OPTIONS, call.arguments);
    for found in getopt.by_ref() {
        match found {
            Err(message) => {
                return refuse([call.name.as_bytes(), b": ", &message, b"\n", USAGE.as_bytes()].concat());
            }
            Ok((b'g', _)) => settings.target = Target::Group,
            Ok((b'P', _)) => settings.pause = true,
            Ok((b'h', _)) => return answer(Stream::Stderr, [USAGE, HELP].concat()),
            Ok((b'L', _)) => return answer(Stream::Stdout, LICENSE),
            Ok(_) => return answer(Stream::Stdout, VERSION),
        }
    }
    settings.command = getopt.rest();
    if settings.command.is_empty() && !settings.pause {
        return refuse([&*error("missing program name"), USAGE].concat());
    }
    settings.verbosity = u8::from((call.variable)("CATATONIT_DEBUG").is_some());
    Request::Run(Box::new(settings))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{quits, settings};
    use super::*;

    #[test]
    fn options_are_read_as_catatonit_does() {
        let read = settings("catatonit -- x -g", &[]);
        assert_eq!((read.target, read.pause, read.adopts), (Target::Main, false, true));
        assert_eq!(read.command, ["x", "-g"]);
        assert_eq!(settings("catatonit -g x", &[]).target, Target::Group);
        assert!(settings("catatonit -P", &[]).pause && settings("catatonit -gP x", &[]).pause);
    }

    #[test]
    fn what_is_wrong_is_said_on_stderr_and_ends_with_1() {
        let said = |text: &str| (Stream::Stderr, text.to_owned(), 1);
        let missing = format!("ERROR (catatonit:7): missing program name\n{USAGE}");
        assert_eq!(quits("catatonit --", &[]), said(&missing));
        assert_eq!(quits("catatonit -z", &[]), said(&format!("catatonit: invalid option -- 'z'\n{USAGE}")));
        let reserved = "ERROR (catatonit:7): CATATONIT_LOG is reserved for future use\n";
        assert_eq!(quits("catatonit -h", &[("CATATONIT_LOG", "")]), said(reserved));
    }

    #[test]
    fn version_and_license_go_to_stdout_and_help_to_stderr() {
        for line in ["catatonit -V", "catatonit --version", "catatonit --v"] {
            assert_eq!(quits(line, &[]), (Stream::Stdout, VERSION.into(), 0), "{line}");
        }
        assert_eq!(quits("catatonit -L", &[]).0, Stream::Stdout);
        assert_eq!(quits("catatonit -h", &[]).0, Stream::Stderr);
    }
}
