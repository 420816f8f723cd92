//! The bench's own command line → what is to be measured.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::error::Error;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: bench/run [OPTIONS]

Measures launch beside others in one run: everybody once a round, in an order
that changes. Prints a table for each case; a ratio below 1 says how much
shorter launch takes.

  --quick          few rounds, and only the cases start, calls, binds (up to
                   100) and pid1 (short)
  --check          compare ratios and counts with the committed figures; exit with
                   1 if something is clearly worse, or a count above its target
  --write          write bench/figures.json and docs/performance.svg; with --case
                   only those cases of them
  --json FILE      write the figures to FILE ('-': stdout, without tables)
  --svg FILE       draw them
  --from FILE      do not measure: take the figures of FILE
  --timeline       instead of all this: trace starts of launch by perf (root), and
                   print what each step takes (51 rounds; quick: 15); --write
                   writes docs/timeline.svg, --svg FILE another

  --case NAME,...  only these: start, library, calls, parallel, alive, binds,
                   pid1; or one of a case, as start/net
  --only PEER,...  only these, as launch,bwrap,crun,tini
  --rounds N       up to so many rounds, instead of those named below: who is slow
                   is in fewer of them, and a case ends early when its time is
                   over; pid1 has its own

  --dist DIR       where the musl release is (dist)
  --plain DIR      where the binaries of `cargo build --release` are
  --install        install what Debian, crates.io and PyPI have of the others, and
                   end

Cases:
  start     start to end of a command that does nothing: with the caller's
            network, with a network namespace, with a root file system, and with
            a workload that has a libc (201 rounds; quick: 41)
  library   the same from a process with 1 GiB of heap and eight threads
            (101 rounds; quick: 15)
  calls     system calls and page faults of one start (9 rounds; quick: 5)
  parallel  64 at once: starts per second (15 rounds; quick: 5)
  alive     1,000 at once: memory of each, and the time to end them all
            (3 rounds; quick: 1)
  binds     10, 100, 1,000 and 2,000 directories bound (51, 31, 9 and 7 rounds;
            quick: 15 and 11)
  pid1      size, memory, wake-ups, orphans and signals of PID 1 (of memory,
            orphans and single signals 5, 61 and 601 rounds; quick: 1, 5 and 301)
";

/// The cases, in their order.
pub const CASES: [&str; 7] = ["start", "library", "calls", "parallel", "alive", "binds", "pid1"];
/// Those of `--quick`.
const QUICK: [&str; 4] = ["start", "calls", "binds", "pid1"];

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Print [`USAGE`].
    pub help: bool,
    /// Few rounds.
    pub quick: bool,
    /// Compare with the committed figures.
    pub check: bool,
    /// Write the committed figures and their chart.
    pub write: bool,
    /// Where the figures go.
    pub json: Option<PathBuf>,
    /// Where the chart goes.
    pub svg: Option<PathBuf>,
    /// Where the figures come from, if they are not measured.
    pub from: Option<PathBuf>,
    /// What the steps of one launch take, instead of cases.
    pub timeline: bool,
    /// Cases, or `case/part`; all where none is named.
    pub cases: Vec<String>,
    /// Rows; all where none is named.
    pub only: Vec<String>,
    /// How often each is measured at most.
    pub rounds: Option<usize>,
    /// Where the musl release is.
    pub dist: Option<PathBuf>,
    /// Where the plain build is.
    pub plain: Option<PathBuf>,
}

impl Options {
    /// Reads a command line, without the program's name.
    ///
    /// # Errors
    /// [`Error::Usage`]
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut parser = lexopt::Parser::from_args(words);
        let wrong = |error: lexopt::Error| Error::Usage(error.to_string());
        while let Some(argument) = parser.next().map_err(wrong)? {
            match argument {
                Short('h') | Long("help") => options.help = true,
                Long("quick") => options.quick = true,
                Long("check") => options.check = true,
                Long("write") => options.write = true,
                Long("timeline") => options.timeline = true,
                Long("json") => options.json = Some(parser.value().map_err(wrong)?.into()),
                Long("svg") => options.svg = Some(parser.value().map_err(wrong)?.into()),
                Long("from") => options.from = Some(parser.value().map_err(wrong)?.into()),
                Long("dist") => options.dist = Some(parser.value().map_err(wrong)?.into()),
                Long("plain") => options.plain = Some(parser.value().map_err(wrong)?.into()),
                Long("case") => options.cases.extend(list(parser.value().map_err(wrong)?)?),
                Long("only") => options.only.extend(list(parser.value().map_err(wrong)?)?),
                Long("rounds") => {
                    let value = parser.value().map_err(wrong)?;
                    let rounds = value.parse().map_err(wrong)?;
                    if rounds == 0 {
                        return Err(Error::Usage("--rounds: at least 1".into()));
                    }
                    options.rounds = Some(rounds);
                }
                other => return Err(wrong(other.unexpected())),
            }
        }
        if options.write && (options.quick || !options.only.is_empty()) {
            return Err(Error::Usage(
                "--write: not with --quick or --only, since figures are kept whole".into(),
            ));
        }
        let has_others = options.check || options.json.is_some() || options.from.is_some();
        if options.timeline && (has_others || !options.cases.is_empty() || !options.only.is_empty()) {
            return Err(Error::Usage(
                "--timeline: not with --check, --json, --from, --case or --only, which are about cases"
                    .into(),
            ));
        }
        for case in &options.cases {
            let name = case.split('/').next().unwrap_or_default();
            if !CASES.contains(&name) {
                return Err(Error::Usage(format!("--case: {case}: there are {}", CASES.join(", "))));
            }
        }
        Ok(options)
    }

    /// Whether this case, or a part of it, is asked for.
    pub fn wants(&self, case: &str) -> bool {
        if self.cases.is_empty() {
            return !self.quick || QUICK.contains(&case);
        }
        self.cases.iter().any(|wanted| wanted.split('/').next() == Some(case))
    }

    /// Whether this part of a case that is asked for is.
    pub fn wants_part(&self, id: &str) -> bool {
        let case = id.split('/').next().unwrap_or_default();
        self.wants(case)
            && (self.cases.is_empty() || self.cases.iter().any(|wanted| wanted == case || wanted == id))
    }

    /// Whether somebody is to be measured.
    pub fn wants_row(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }

    /// How often each is measured at most, where it is `full` as a rule and `quick` with `--quick`.
    pub fn rounds(&self, (full, quick): (usize, usize)) -> usize {
        self.rounds.unwrap_or(if self.quick { quick } else { full })
    }
}

fn list(value: OsString) -> Result<Vec<String>, Error> {
    let text = value.into_string().map_err(|value| Error::Usage(format!("{}: no name", value.display())))?;
    Ok(text.split(',').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, Error> {
        Options::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn all_cases_are_wanted_unless_some_are_named_or_time_is_short() {
        let cases = [
            ("", "start/net", true),
            ("", "alive", true),
            ("--quick", "start/net", true),
            ("--quick", "alive", false),
            ("--quick --case alive", "alive", true),
            ("--case start", "start/net", true),
            ("--case start/net", "start/net", true),
            ("--case start/net", "start/shared", false),
            ("--case start/net,binds", "binds/10", true),
            ("--case start/net", "binds/10", false),
        ];
        for (line, part, expected) in cases {
            let options = read(line).expect("options");
            assert_eq!(options.wants_part(part), expected, "{line}: {part}");
        }
    }

    #[test]
    fn rounds_are_those_that_were_asked_for() {
        assert_eq!(read("").expect("options").rounds((101, 15)), 101);
        assert_eq!(read("--quick").expect("options").rounds((101, 15)), 15);
        assert_eq!(read("--quick --rounds 7").expect("options").rounds((101, 15)), 7);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in [
            "--case all",
            "--rounds 0",
            "--rounds x",
            "--what",
            "word",
            "--json",
            "--write --quick",
            "--timeline --check",
        ] {
            assert!(matches!(read(line), Err(Error::Usage(_))), "{line}");
        }
    }

    #[test]
    fn every_case_and_option_is_in_the_help() {
        assert!(CASES.iter().all(|case| USAGE.contains(&format!("\n  {case} "))));
    }
}
