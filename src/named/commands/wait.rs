//! `launch wait`: until sandboxes have ended, however long that takes.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use launch_init::exit;

use super::{Errors, find, state_by, wrong};
use crate::cli::sandboxes::Names;
use crate::error::Error;
use crate::named::client::{Answer, Question, ask_all};
use crate::named::control::Request;
use crate::named::progress::Progress;
use crate::named::registry::{Found, Registry, Standing};
use crate::stdout::print;

pub(super) fn run(registry: &Registry, options: &Names, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let mut statuses = BTreeMap::new();
    let mut printed = Ok(());
    let several = options.names.len() > 1;
    let mut ended = |found: Found, answer: Result<Answer, Error>, errors: &mut Errors<'_>| {
        let name = found.name().clone();
        let Some((state, _)) = state_by(registry, found, answer, errors) else { return };
        let Some(status) = state.exit_status else {
            errors.add(&wrong(&name, "has ended, and nobody knows how"));
            return;
        };
        if several && printed.is_ok() {
            printed = print(&format!("{name} {status}\n"));
        }
        statuses.insert(name, status);
    };
    let mut running = Vec::new();
    for found in find(registry, &options.names, errors) {
        match found.standing.clone() {
            Standing::Over(state) => ended(found, Ok(Answer::Over(state)), errors),
            _ => running.push(found),
        }
    }
    let mut progress = Progress::new("waiting for its end", "ended", running.len());
    ask_all(running, &[Question::slow(Request::Wait)], &mut progress, |found, answer, progress| {
        let name = found.name().to_string();
        progress.aside(|| ended(found, answer, errors));
        if !several {
            return;
        }
        progress.finish_one(&name);
    });
    progress.clear();
    printed?;
    Ok(options.names.last().and_then(|name| statuses.get(name)).copied().unwrap_or(exit::FAILED))
}
