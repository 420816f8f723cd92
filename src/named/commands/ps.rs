//! `launch ps`: the sandboxes that have a name, a line each.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::SystemTime;

use serde::Serialize;

use super::{Errors, state_by};
use crate::cli::sandboxes::Ps;
use crate::error::Error;
use crate::named::client::{Answer, Question, ask_all};
use crate::named::control::Request;
use crate::named::list::{bytes, command_line, shortened, shown_state, span, state_of, table};
use crate::named::progress::Progress;
use crate::named::registry::{Found, Registry, Standing};
use crate::named::state::{Health, State, Usage};
use crate::stdout::print;

const HEAD: [&str; 7] = ["NAME", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY", "COMMAND"];
/// Those of them that are numbers.
const NUMBERS: [usize; 4] = [2, 3, 4, 5];
/// The fewest characters that are shown of a command.
const LEAST: usize = 20;

/// A sandbox as data.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    id: &'a str,
    state: &'static str,
    ready: Option<bool>,
    health: Option<Health>,
    status: Option<&'a str>,
    pid: Option<i32>,
    uptime: Option<u64>,
    restarts: u64,
    memory: Option<u64>,
    exit_status: Option<u8>,
    labels: &'a std::collections::BTreeMap<String, String>,
    command: &'a [String],
}

pub(super) fn run(registry: &Registry, options: &Ps, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let names = registry.names()?;
    let mut running = Vec::new();
    let mut all: Vec<(State, Option<Usage>)> = Vec::new();
    for found in registry.look_at_all(&names) {
        // One that was there a moment ago and has been removed since is no error.
        match found {
            Err(_) if found.as_ref().is_err_and(|error| is_gone(registry, error)) => {}
            Err(error) => errors.add(&error),
            Ok(Found { standing: Standing::Over(state), .. }) => all.push((*state, None)),
            Ok(found) if found.standing == Standing::Stale => drop(errors.or_add(found.clear())),
            Ok(found) if found.standing == Standing::Removed => {}
            Ok(found) => running.push(found),
        }
    }
    let mut progress = Progress::new("asking", "asked", 1);
    ask_all(running, &[Question::quick(Request::Usage)], &mut progress, |found, answer, progress| {
        progress.aside(|| match answer {
            Ok(Answer::Removed) => {}
            Ok(Answer::Stale) => drop(errors.or_add(found.clear())),
            answer => all.extend(state_by(registry, found, answer, errors)),
        });
    });
    progress.clear();
    all.retain(|(state, _)| options.filter.iter().all(|filter| filter.is_true_of(state)));
    all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    print(&if options.json { json(&all) } else { lines(&all) })?;
    Ok(0)
}

/// Whether an error is of a sandbox that is not in the folder any more.
fn is_gone(registry: &Registry, error: &Error) -> bool {
    registry.names().is_ok_and(|names| names.iter().all(|name| error.object() != name.as_str()))
}

fn json(all: &[(State, Option<Usage>)]) -> String {
    let rows: Vec<_> = all.iter().map(|(state, usage)| row(state, *usage)).collect();
    let mut text = serde_json::to_string_pretty(&rows).unwrap_or_default();
    text.push('\n');
    text
}

fn row<'a>(state: &'a State, usage: Option<Usage>) -> Row<'a> {
    Row {
        name: &state.name,
        id: &state.id,
        state: state_of(state),
        ready: state.ready,
        health: state.health,
        status: state.status.as_deref(),
        pid: pid_of(state),
        uptime: uptime(state),
        restarts: state.restarts,
        memory: usage.map(|usage| usage.memory),
        exit_status: state.exit_status,
        labels: &state.labels,
        command: &state.command,
    }
}

fn lines(all: &[(State, Option<Usage>)]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let mut rows: Vec<_> = all
        .iter()
        .map(|(state, usage)| {
            vec![
                state.name.clone(),
                shown_state(state),
                or_dash(pid_of(state).map(|pid| pid.to_string())),
                or_dash(uptime(state).map(span)),
                state.restarts.to_string(),
                or_dash(usage.map(|usage| bytes(usage.memory))),
                command_line(&state.command),
            ]
        })
        .collect();
    if let Some(width) = terminal_width() {
        shorten_commands(&mut rows, width);
    }
    table(&HEAD, &NUMBERS, &rows)
}

/// So that each takes one line of a terminal of this width.
fn shorten_commands(rows: &mut [Vec<String>], width: usize) {
    let last = HEAD.len() - 1;
    let widest = |column: usize| rows.iter().map(|row| row[column].len()).chain([HEAD[column].len()]).max();
    let others: usize = (0..last).filter_map(widest).map(|width| width + 2).sum();
    let left = width.saturating_sub(others).max(LEAST);
    for row in rows {
        row[last] = shortened(&row[last], left);
    }
}

fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = launch_init::sys::window_size(stdout.as_fd()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// A pid of one that has ended is nobody's.
fn pid_of(state: &State) -> Option<i32> {
    state.pid.filter(|_| !state.phase.is_over())
}

/// How long the present run has lasted, in seconds.
fn uptime(state: &State) -> Option<u64> {
    pid_of(state)?;
    let started = humantime::parse_rfc3339(state.started.as_deref()?).ok()?;
    // A clock that was set back has shown nobody anything.
    Some(SystemTime::now().duration_since(started).unwrap_or_default().as_secs())
}
