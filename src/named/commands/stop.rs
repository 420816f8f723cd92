//! `launch stop`: ends sandboxes, all at the same time, and says what it took.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Errors, each_once, is_there, not_done, running};
use crate::cli::sandboxes::Stop;
use crate::error::Error;
use crate::named::client::{Answer, Question, ask_all};
use crate::named::control::{Reply, Request};
use crate::named::name::Name;
use crate::named::progress::Progress;
use crate::named::registry::{Found, Registry, Standing};
use crate::named::state::{Phase, State};
use crate::stdout::print;

pub(super) fn run(registry: &Registry, options: &Stop, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let found =
        if options.all { running(registry, errors)? } else { named(registry, &options.names, errors) };
    let grace = options.grace.map(in_ms);
    // A monitor that does not answer the first one will not stop anything either.
    let questions = [Question::quick(Request::State), Question::slow(Request::Stop { grace_ms: grace })];
    let mut progress = Progress::new("stopping", "stopped", found.len());
    let mut printed = Ok(());
    ask_all(found, &questions, &mut progress, |found, answer, progress| {
        let name = found.name().clone();
        let line = progress.aside(|| match errors.or_add(answer)? {
            Answer::Reply(Reply::Ended { state, killed }) => Some(how(&name, &state, killed, grace)),
            Answer::Over(_) => Some(format!("{name}: had ended\n")),
            // What was to end has ended.
            Answer::Stale => errors.or_add(found.clear()).map(|()| String::new()),
            Answer::Removed => Some(String::new()),
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

/// Those of these names. One whose monitor was killed has ended, which is what was asked for.
fn named(registry: &Registry, names: &[Name], errors: &mut Errors<'_>) -> Vec<Found> {
    let mut there = Vec::new();
    for found in registry.look_at_all(&each_once(names)) {
        let Some(found) = errors.or_add(found) else { continue };
        match found.standing {
            Standing::Stale => drop(errors.or_add(found.clear())),
            _ => there.extend(is_there(registry, found, errors)),
        }
    }
    there
}

/// What it took.
fn how(name: &Name, state: &State, killed: bool, grace: Option<u64>) -> String {
    if killed {
        format!("{name}: killed after {}\n", time(grace.unwrap_or(state.grace_ms)))
    } else if state.phase == Phase::Failed {
        format!("{name}: ended before its command ran\n")
    } else if state.last_run.as_ref().is_none_or(|run| run.why.as_deref() != Some("stop")) {
        // Between two runs, or just as the last one ended by itself.
        format!("{name}: ended, without a run to be stopped\n")
    } else {
        format!("{name}: ended by {}\n", state.stop_signal)
    }
}

/// As it is written on a command line.
fn time(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

pub(super) fn in_ms(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::state::{RunEnd, some_state};

    #[test]
    fn what_ended_without_being_stopped_is_not_said_to_have_been() {
        let name = Name::read("web".as_ref()).expect("a name");
        let how = |why: Option<&str>| {
            let outcome = launch_init::exit::Outcome::Exited(1);
            let last_run = Some(RunEnd::new(outcome, why, String::new()));
            how(&name, &State { last_run, ..some_state() }, false, None)
        };
        assert_eq!(how(Some("stop")), "web: ended by SIGTERM\n");
        assert_eq!(how(None), "web: ended, without a run to be stopped\n");
    }

    #[test]
    fn a_time_is_written_as_it_is_given() {
        for (ms, expected) in [(0, "0s"), (500, "500ms"), (1500, "1500ms"), (10_000, "10s")] {
            assert_eq!(time(ms), expected);
        }
    }
}
