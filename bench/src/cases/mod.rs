//! What is measured, one file a case. Each asks everybody in turn, and fills a sheet.

#![forbid(unsafe_code)]

mod binds;
mod calls;
mod crowd;
mod library;
mod pid1;
mod start;

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::figures::{Case, Measured, Sheet};
use crate::measure::Runner;
use crate::options::Options;
use crate::peers::{self, Line, Peer, Setup};
use crate::place::{self, Place};
use crate::progress::Progress;
use crate::rounds;

/// What every case needs.
#[derive(Debug)]
pub struct Bench<'a> {
    pub options: &'a Options,
    pub place: &'a Place,
    pub runner: &'a Runner,
    pub progress: Progress,
    /// When the run began, of what and where it is.
    pub begun: Measured,
}

/// Measures all that is asked for. Each case goes to `done` as soon as it is over.
pub fn run(bench: &mut Bench<'_>, mut done: impl FnMut(Case)) -> Result<(), Error> {
    for case in crate::options::CASES.into_iter().filter(|case| bench.options.wants(case)) {
        let cases = match case {
            "start" => start::run(bench),
            "library" => library::run(bench),
            "calls" => calls::run(bench),
            "parallel" => crowd::parallel(bench),
            "alive" => crowd::alive(bench),
            "binds" => binds::run(bench),
            _ => pid1::run(bench),
        }?;
        bench.progress.end();
        cases.into_iter().for_each(&mut done);
    }
    Ok(())
}

/// Somebody who takes part in a case.
#[derive(Debug)]
struct Participant {
    peer: Peer,
    line: Line,
    /// Its row in the sheet.
    row: usize,
    /// How long a start takes, roughly.
    time: Duration,
}

impl Bench<'_> {
    /// What is kept of a case in which so many rounds are asked for.
    fn measured(&self, rounds: Option<usize>) -> Measured {
        Measured { rounds, ..self.begun.clone() }
    }

    /// Those who can do this, each with a row; why the others cannot is noted.
    fn participants(
        &self,
        sheet: &mut Sheet,
        setup: Setup,
        is_wanted: impl Fn(Peer) -> bool,
    ) -> Result<Vec<Participant>, Error> {
        let mut participants = Vec::new();
        self.place.prepare(setup)?;
        for peer in peers::ALL {
            if !self.options.wants_row(peer.name()) || !is_wanted(peer) {
                continue;
            }
            let line = self.place.peer(peer).and_then(|tool| {
                let line = peers::line(peer, &tool, setup, &self.place.files)?;
                Ok((tool, line))
            });
            let (tool, line) = match line {
                Ok(found) => found,
                Err(why) => {
                    sheet.skip(peer.name(), why);
                    continue;
                }
            };
            // What stays cannot be tried to its end.
            let probe = if setup.workload == peers::Workload::Hold { Setup::SHARED } else { setup };
            self.place.prepare(probe)?;
            let tried = match peers::line(peer, &tool, probe, &self.place.files) {
                Ok(line) => self.runner.probe(&line)?,
                Err(why) => Err(why.into()),
            };
            match tried {
                Ok(time) => {
                    let version = if peers::OURS.contains(&peer.name())
                        || tool.starts_with(&self.place.files.workloads)
                    {
                        String::new()
                    } else {
                        place::version(&tool)
                    };
                    let command = self.place.relative(&line.text());
                    let row = sheet.row(peer.name(), &version, &command, line.note);
                    participants.push(Participant { peer, line, row, time });
                }
                Err(why) => sheet.skip(peer.name(), self.place.relative(&why)),
            }
        }
        Ok(participants)
    }

    /// Measures everybody in each round, until there were so many or, after five, the time is over.
    fn rounds(
        &mut self,
        number: usize,
        budget: Duration,
        participants: &[Participant],
        mut measure: impl FnMut(&Runner, &Participant, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let strides: Vec<_> = participants.iter().map(|one| rounds::stride(one.time, number)).collect();
        let begin = Instant::now();
        for round in 0..number {
            for who in rounds::order(round, &strides) {
                measure(self.runner, &participants[who], round)?;
                self.runner.look_for_interrupts()?;
                self.progress.tell(|| format!("round {} of {number}", round + 1));
            }
            if round >= 5 && begin.elapsed() > budget {
                self.progress.say(&format!("time is over after {} of {number} rounds", round + 1));
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{CASES, USAGE};

    /// What the help says of a case or an option: until the next line that begins where it does.
    fn help_of(name: &str) -> String {
        let text = USAGE.rsplit_once(&format!("\n  {name} ")).expect("it is there").1;
        let lines = text.lines().enumerate().take_while(|(i, line)| *i == 0 || line.starts_with("    "));
        let words: Vec<_> = lines.flat_map(|(_, line)| line.split_whitespace()).collect();
        words.join(" ")
    }

    #[test]
    fn the_help_names_the_rounds_that_there_are() {
        let said = |(full, quick): (usize, usize)| format!("({full} rounds; quick: {quick})");
        let [ten, hundred, thousand, two] = binds::PARTS;
        assert_eq!([thousand.2, two.2], [0, 0], "quick");
        let pid1 = |of: &pid1::Amounts| {
            format!("{}, {} and {}", of.memory_rounds, of.orphan_rounds, of.latency_rounds)
        };
        let rounds = [
            ("start", said(start::ROUNDS)),
            ("library", said(library::ROUNDS)),
            ("calls", said(calls::ROUNDS)),
            ("parallel", said(crowd::PARALLEL_ROUNDS)),
            ("alive", said(crowd::ALIVE_ROUNDS)),
            (
                "binds",
                format!(
                    "({}, {}, {} and {} rounds; quick: {} and {})",
                    ten.1, hundred.1, thousand.1, two.1, ten.2, hundred.2
                ),
            ),
            ("pid1", format!("{} rounds; quick: {})", pid1(&pid1::FULL), pid1(&pid1::QUICK))),
            ("--timeline", said(crate::timeline::ROUNDS)),
        ];
        assert_eq!(rounds.len(), CASES.len() + 1);
        for (name, said) in rounds {
            assert!(help_of(name).contains(&said), "{name}: {said}: {}", help_of(name));
        }
    }
}
