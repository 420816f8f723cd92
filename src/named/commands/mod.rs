//! `launch ps` and the others: what is done with sandboxes that have a name, one file a subject.
//!
//! Of several names all are done; each error is told when it comes, and the first one is the exit status.

#![forbid(unsafe_code)]

mod events;
mod exec;
mod following;
mod inspect;
mod kill;
mod logs;
mod ps;
mod restart;
mod rm;
mod stats;
mod stop;
mod wait;

use std::collections::HashSet;

use nix::unistd::Pid;

use super::client::{Answer, silent};
use super::control::Reply;
use super::name::Name;
use super::registry::{Found, Registry, Standing};
use super::state::{State, Usage};
use crate::cli::sandboxes::Sandboxes;
use crate::error::Error;

/// Does it; returns the exit status. Each error is handed to `report`.
#[cold]
pub fn run(what: &Sandboxes, report: &mut dyn FnMut(&Error)) -> u8 {
    let mut errors = Errors { report, first: None };
    let status = Registry::of_caller().and_then(|registry| match what {
        Sandboxes::Ps(options) => ps::run(&registry, options, &mut errors),
        Sandboxes::Inspect(options) => inspect::run(&registry, options, &mut errors),
        Sandboxes::Wait(options) => wait::run(&registry, options, &mut errors),
        Sandboxes::Kill(options) => kill::run(&registry, options, &mut errors),
        Sandboxes::Stop(options) => stop::run(&registry, options, &mut errors),
        Sandboxes::Restart(options) => restart::run(&registry, options, &mut errors),
        Sandboxes::Stats(options) => stats::run(&registry, options, &mut errors),
        Sandboxes::Rm(options) => rm::run(&registry, options, &mut errors),
        Sandboxes::Exec(options) => exec::run(&registry, options, &mut errors),
        Sandboxes::Logs(options) => logs::run(&registry, options),
        Sandboxes::Events(options) => events::run(&registry, options),
    });
    let status = status.unwrap_or_else(|error| {
        errors.add(&error);
        0
    });
    errors.first.unwrap_or(status)
}

/// What went wrong.
struct Errors<'a> {
    report: &'a mut dyn FnMut(&Error),
    first: Option<u8>,
}

impl Errors<'_> {
    fn add(&mut self, error: &Error) {
        (self.report)(error);
        self.first.get_or_insert(error.exit_code());
    }

    /// The value, unless it is an error, which is told.
    fn or_add<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.inspect_err(|error| self.add(error)).ok()
    }
}

/// The names in their order, those that are repeated once.
fn each_once(names: &[Name]) -> Vec<Name> {
    let mut seen = HashSet::new();
    names.iter().filter(|name| seen.insert(*name)).cloned().collect()
}

/// All that are running.
fn running(registry: &Registry, errors: &mut Errors<'_>) -> Result<Vec<Found>, Error> {
    let mut running = Vec::new();
    for found in registry.look_at_all(&registry.names()?) {
        let Some(found) = errors.or_add(found) else { continue };
        match found.standing {
            Standing::Running(_) => running.push(found),
            Standing::Stale => drop(errors.or_add(found.clear())),
            Standing::Over(_) | Standing::Removed => {}
        }
    }
    Ok(running)
}

/// Those of these names, each once, that are there. One whose monitor was killed is cleared: it is not there any more.
fn find(registry: &Registry, names: &[Name], errors: &mut Errors<'_>) -> Vec<Found> {
    let found = registry.look_at_all(&each_once(names)).into_iter().filter_map(|found| errors.or_add(found));
    let found: Vec<_> = found.collect();
    found.into_iter().filter_map(|found| is_there(registry, found, errors)).collect()
}

fn is_there(registry: &Registry, found: Found, errors: &mut Errors<'_>) -> Option<Found> {
    match found.standing {
        Standing::Running(_) | Standing::Over(_) => Some(found),
        Standing::Stale => {
            clear(registry, found, errors);
            None
        }
        Standing::Removed => {
            errors.add(&registry.unknown(found.name()));
            None
        }
    }
}

/// Clears what a killed monitor has left; its sandbox is not there any more.
fn clear(registry: &Registry, found: Found, errors: &mut Errors<'_>) {
    let name = found.name().clone();
    let error = found.clear().err().unwrap_or_else(|| registry.unknown(&name));
    errors.add(&error);
}

/// How a sandbox is, by what became of a question; none if it is not there any more, or if it is not known, which is an
/// error then.
fn state_by(
    registry: &Registry,
    found: Found,
    answer: Result<Answer, Error>,
    errors: &mut Errors<'_>,
) -> Option<(State, Option<Usage>)> {
    match errors.or_add(answer)? {
        Answer::Reply(Reply::State { state, usage }) => Some((*state, usage)),
        Answer::Reply(Reply::Ended { state, .. }) | Answer::Over(state) => Some((*state, None)),
        Answer::Reply(_) => {
            errors.add(&wrong(found.name(), "control socket: its monitor answers something else"));
            None
        }
        Answer::Stale => {
            clear(registry, found, errors);
            None
        }
        Answer::Removed => {
            errors.add(&registry.unknown(found.name()));
            None
        }
        Answer::Silent(monitor) => match found.state() {
            Ok(state) => {
                log::warn!(
                    "{}: its monitor (pid {monitor}) does not answer; this is how it was before",
                    found.name()
                );
                Some((state, None))
            }
            Err(_) => {
                errors.add(&silent(found.name(), monitor));
                None
            }
        },
    }
}

/// The error of a sandbox that should have been running, by what became of a question.
fn not_done(registry: &Registry, found: Found, answer: Answer, errors: &mut Errors<'_>) {
    match answer {
        Answer::Over(state) | Answer::Reply(Reply::Ended { state, .. }) => {
            errors.add(&has_ended(found.name(), &state));
        }
        Answer::Stale => clear(registry, found, errors),
        Answer::Removed => errors.add(&registry.unknown(found.name())),
        Answer::Silent(monitor) => errors.add(&silent(found.name(), monitor)),
        Answer::Reply(_) => {
            errors.add(&wrong(found.name(), "control socket: its monitor answers something else"));
        }
    }
}

fn has_ended(name: &Name, state: &State) -> Error {
    let how = match state.exit_status {
        Some(status) => format!("has ended (exit status {status})"),
        None => "has ended".into(),
    };
    wrong(name, how)
}

fn is_running(name: &Name, monitor: Pid) -> Error {
    wrong(name, format!("is running (pid {monitor}); stop it first, or say rm --force"))
}

fn wrong(name: &Name, reason: impl Into<String>) -> Error {
    Error::Sandbox(name.as_str().into(), reason.into())
}
