//! `launch inspect`: all that is known of sandboxes, a JSON object each.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::{Errors, find, state_by};
use crate::cli::sandboxes::Names;
use crate::error::Error;
use crate::named::client::{Answer, Question, ask_all};
use crate::named::control::Request;
use crate::named::progress::Progress;
use crate::named::registry::{Registry, Standing};
use crate::named::state::{State, Usage};
use crate::stdout::print;

#[derive(Serialize)]
struct Known<'a> {
    #[serde(flatten)]
    state: &'a State,
    usage: Option<Usage>,
    folder: String,
}

pub(super) fn run(registry: &Registry, options: &Names, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let mut all = Vec::new();
    let mut running = Vec::new();
    for found in find(registry, &options.names, errors) {
        match found.standing.clone() {
            Standing::Over(state) => {
                let answer = Ok(Answer::Over(state));
                all.extend(state_by(registry, found, answer, errors));
            }
            _ => running.push(found),
        }
    }
    ask_all(running, &[Question::quick(Request::Usage)], &mut Progress::none(), |found, answer, _| {
        all.extend(state_by(registry, found, answer, errors));
    });
    // In the order in which they were named.
    all.sort_by_key(|(state, _)| options.names.iter().position(|name| name.as_str() == state.name));
    for (state, usage) in &all {
        let folder = registry.path().join(&state.name).display().to_string();
        let known = Known { state, usage: *usage, folder };
        print(&format!("{}\n", serde_json::to_string_pretty(&known).unwrap_or_default()))?;
    }
    Ok(0)
}
