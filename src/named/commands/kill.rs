//! `launch kill`: a signal for the command in sandboxes.

#![forbid(unsafe_code)]

use super::{Errors, find, not_done};
use crate::cli::sandboxes::Kill;
use crate::error::Error;
use crate::named::client::{Answer, Question, ask_all};
use crate::named::control::{Reply, Request};
use crate::named::progress::Progress;
use crate::named::registry::Registry;

pub(super) fn run(registry: &Registry, options: &Kill, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let found = find(registry, &options.which.names, errors);
    let question = Question::quick(Request::Signal { signal: options.signal });
    ask_all(found, &[question], &mut Progress::none(), |found, answer, _| match errors.or_add(answer) {
        Some(Answer::Reply(Reply::Done)) | None => {}
        Some(answer) => not_done(registry, found, answer, errors),
    });
    Ok(0)
}
