//! `launch stats`: what sandboxes use, once or again and again.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::Serialize;

use super::{Errors, find, has_ended, not_done, running};
use crate::cli::sandboxes::Stats;
use crate::error::Error;
use crate::named::client::{Answer, Question, ask_all};
use crate::named::control::{Reply, Request};
use crate::named::list::{bytes, percent, table};
use crate::named::name::Name;
use crate::named::progress::Progress;
use crate::named::registry::Registry;
use crate::named::state::Usage;
use crate::stdout::print;

/// Between two looks.
const SECOND: Duration = Duration::from_secs(1);
/// Before the first one that is shown: of one alone, nobody knows how busy a processor is.
const MOMENT: Duration = Duration::from_millis(500);

const HEAD: [&str; 5] = ["NAME", "CPU", "CPU TIME", "MEMORY", "PIDS"];
const NUMBERS: [usize; 4] = [1, 2, 3, 4];

/// To the upper left corner, and all below is gone; console_codes(4).
const REDRAW: &str = "\x1b[H\x1b[J";

#[derive(Serialize)]
struct Row {
    name: Name,
    cpu_percent: f64,
    #[serde(flatten)]
    usage: Usage,
}

type Sample = HashMap<Name, (Instant, Usage)>;

pub(super) fn run(registry: &Registry, options: &Stats, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let mut names = options.names.clone();
    let mut silent = HashSet::new();
    let all = options.names.is_empty();
    let mut before = sample(registry, &mut names, all, &mut silent, errors)?;
    if before.is_empty() && !all {
        return Ok(0);
    }
    let mut pause = MOMENT;
    let mut is_first = true;
    loop {
        if has_no_reader(pause) {
            return Ok(0);
        }
        let after = sample(registry, &mut names, all, &mut silent, errors)?;
        let rows = rows(&before, &after);
        let redraws = options.watch && !options.json && std::io::stdout().is_terminal();
        print(&match (options.json, redraws) {
            (true, _) => json(&rows),
            (false, true) => format!("{REDRAW}{}", lines(&rows, true)),
            (false, false) => lines(&rows, is_first),
        })?;
        if !options.watch || after.is_empty() {
            return Ok(0);
        }
        (before, pause, is_first) = (after, SECOND, false);
    }
}

/// What each uses now. Those that have ended are looked for no more, which of those that were named is an error at first;
/// nor are those whose monitor does not answer, which is told once.
fn sample(
    registry: &Registry,
    names: &mut Vec<Name>,
    all: bool,
    silent: &mut HashSet<Name>,
    errors: &mut Errors<'_>,
) -> Result<Sample, Error> {
    let mut found = if all { running(registry, errors)? } else { find(registry, names, errors) };
    found.retain(|found| !silent.contains(found.name()));
    let mut sample = Sample::new();
    ask_all(
        found,
        &[Question::quick(Request::Usage)],
        &mut Progress::none(),
        |found, answer, _| match errors.or_add(answer) {
            Some(Answer::Reply(Reply::State { usage: Some(usage), .. })) => {
                sample.insert(found.name().clone(), (Instant::now(), usage));
            }
            None => drop(silent.insert(found.name().clone())),
            Some(Answer::Over(_) | Answer::Removed) if all => {}
            Some(Answer::Stale) if all => drop(errors.or_add(found.clear())),
            Some(Answer::Reply(Reply::State { state, .. })) => errors.add(&has_ended(found.name(), &state)),
            Some(answer) => {
                if matches!(answer, Answer::Silent(_)) {
                    silent.insert(found.name().clone());
                }
                not_done(registry, found, answer, errors);
            }
        },
    );
    names.retain(|name| sample.contains_key(name));
    Ok(sample)
}

fn rows(before: &Sample, after: &Sample) -> Vec<Row> {
    let row = |(name, (at, usage)): (&Name, &(Instant, Usage))| {
        let cpu_percent = before.get(name).map_or(0.0, |(earlier, used)| {
            percent(used, usage, super::stop::in_ms(at.duration_since(*earlier)))
        });
        Row { name: name.clone(), cpu_percent, usage: *usage }
    };
    let mut rows: Vec<_> = after.iter().map(row).collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows
}

fn json(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{}\n", serde_json::to_string(row).unwrap_or_default())).collect()
}

fn lines(rows: &[Row], with_head: bool) -> String {
    let cells = |row: &Row| {
        vec![
            row.name.to_string(),
            format!("{:.1}%", row.cpu_percent),
            format!("{:.1}s", row.usage.cpu_ms as f64 / 1000.0),
            bytes(row.usage.memory),
            row.usage.pids.to_string(),
        ]
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    let table = table(&HEAD, &NUMBERS, &cells);
    if with_head { table } else { table.split_inclusive('\n').skip(1).collect() }
}

/// Pauses; whether nobody will read any more.
fn has_no_reader(pause: Duration) -> bool {
    let stdout = std::io::stdout();
    let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    // If it cannot be told, the next write will.
    ppoll(&mut polled, Some(TimeSpec::from_duration(pause)), None).is_ok_and(|ready| ready > 0)
}
