//! What launch logs, on its stderr: warnings always, steps with -v or LAUNCH_LOG. What is logged is others' to say; the
//! errors that end a launch are main's.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Arguments;
use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::error::printable;
use crate::plan::LOG_VARIABLE;

/// Has lines written from now on. `verbosity`: how often -v was given.
pub fn start(verbosity: u8) {
    let filters = std::env::var_os(LOG_VARIABLE);
    if verbosity == 0 && filters.is_none() {
        // Nothing is to be filtered, and few launches have anything to warn of.
        if log::set_logger(&WARNINGS).is_ok() {
            log::set_max_level(LevelFilter::Warn);
        }
        return;
    }
    start_filtered(verbosity, filters.as_deref());
}

#[cold]
#[inline(never)]
fn start_filtered(verbosity: u8, filters: Option<&OsStr>) {
    let level = [LevelFilter::Warn, LevelFilter::Debug, LevelFilter::Trace][usize::from(verbosity.min(2))];
    let mut builder = env_filter::Builder::new();
    builder.filter_level(level);
    if let Some(filters) = filters.and_then(OsStr::to_str) {
        builder.parse(filters);
    }
    let filter = builder.build();
    let most = filter.filter();
    if log::set_boxed_logger(Box::new(Filtered(filter))).is_ok() {
        log::set_max_level(most);
    }
}

static WARNINGS: Warnings = Warnings;

struct Warnings;

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            write(record);
        }
    }

    fn flush(&self) {}
}

/// As the variable and -v ask for it.
struct Filtered(env_filter::Filter);

impl Log for Filtered {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.0.matches(record) {
            write(record);
        }
    }

    fn flush(&self) {}
}

fn write(record: &Record<'_>) {
    // A closed stderr is no reason to end.
    let _ = std::io::stderr().write_all(line(record.level(), record.args()).as_bytes());
}

fn line(level: Level, text: &Arguments<'_>) -> String {
    let kind = match level {
        Level::Error => "",
        Level::Warn => "warning: ",
        Level::Info | Level::Debug | Level::Trace => "log: ",
    };
    format!("launch: {kind}{}\n", printable(&text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_one_line_that_says_what_it_is() {
        for (level, expected) in [
            (Level::Error, "launch: a\\nb\n"),
            (Level::Warn, "launch: warning: a\\nb\n"),
            (Level::Info, "launch: log: a\\nb\n"),
            (Level::Trace, "launch: log: a\\nb\n"),
        ] {
            assert_eq!(line(level, &format_args!("a{}b", '\n')), expected);
        }
    }

    #[test]
    fn where_no_log_was_asked_for_there_are_warnings_and_errors_alone() {
        let is_enabled = |level| WARNINGS.enabled(&Metadata::builder().level(level).build());
        assert!(is_enabled(Level::Error) && is_enabled(Level::Warn));
        assert!(!is_enabled(Level::Info) && !is_enabled(Level::Debug) && !is_enabled(Level::Trace));
    }
}
