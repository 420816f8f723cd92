//! `launch restart`: ends the command in sandboxes and has it started again.

#![forbid(unsafe_code)]

use super::stop::in_ms;
use super::{Errors, find, not_done};
use crate::cli::sandboxes::Restart;
use crate::error::Error;
use crate::named::client::{Answer, Question, ask_all};
use crate::named::control::{Reply, Request};
use crate::named::progress::Progress;
use crate::named::registry::Registry;
use crate::stdout::print;

pub(super) fn run(registry: &Registry, options: &Restart, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let found = find(registry, &options.which.names, errors);
    let grace_ms = options.grace.map(in_ms);
    // A monitor that does not answer the first one will not restart anything either.
    let questions = [Question::quick(Request::State), Question::slow(Request::Restart { grace_ms })];
    let mut progress = Progress::new("restarting", "restarted", found.len());
    let mut printed = Ok(());
    ask_all(found, &questions, &mut progress, |found, answer, progress| {
        let name = found.name().clone();
        let line = progress.aside(|| match errors.or_add(answer)? {
            Answer::Reply(Reply::State { state, .. }) => Some(match state.pid {
                Some(pid) => format!("{name}: restarted (pid {pid})\n"),
                None => format!("{name}: restarted\n"),
            }),
            answer => {
                not_done(registry, found, answer, errors);
                None
            }
        });
        let Some(line) = line else { return };
        if printed.is_ok() {
            printed = progress.aside(|| print(&line));
        }
        progress.finish_one(name.as_str());
    });
    progress.clear();
    printed.map(|()| 0)
}
