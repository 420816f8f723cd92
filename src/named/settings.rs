//! What the launcher itself does for a sandbox that lives long: its name, its log, its files. What PID 1 does for it is
//! among the options of plan/options.rs.
//!
//! Values only.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use launch_init::parse::number;

use super::name::Name;

/// How large a log file gets, in bytes, if nothing else is said.
pub const LOG_MAX_SIZE: u64 = 10 << 20;
/// And how many of them there are.
pub const LOG_MAX_FILES: u32 = 3;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name, if it was given one.
    pub name: Option<Name>,
    /// Whether the caller does not wait for its end. It has a name then in any case.
    pub detach: bool,
    /// Whether its folder goes with it.
    pub removes: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where what it writes is logged; none: in its folder if it is detached, or else nowhere.
    pub log: Option<PathBuf>,
    /// How large a log file gets, in bytes.
    pub log_max_size: u64,
    /// How many log files there are; at least 1.
    pub log_max_files: u32,
    /// Where the workload's pid stands while it lives.
    pub pid_file: Option<PathBuf>,
    /// Where its id is left.
    pub id_file: Option<PathBuf>,
}

/// `KEY=VALUE`, split at the first equals sign.
///
/// # Errors
/// What is wrong, in words.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        None => Err(format!("{text:?} has no =; say --label KEY=VALUE")),
        Some(("", _)) => Err(format!("{text:?} has no key before the =")),
        Some((key, value)) => Ok((key.into(), value.into())),
    }
}

/// A number above 0.
///
/// # Errors
/// What is wrong, in words.
pub fn count(text: &str) -> Result<u32, String> {
    number(text)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("{text:?} is no number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_split_at_its_first_equals_sign() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a="), Ok(("a".into(), String::new())));
        assert_eq!(label("a"), Err("\"a\" has no =; say --label KEY=VALUE".into()));
        assert_eq!(label("=b"), Err("\"=b\" has no key before the =".into()));
    }

    #[test]
    fn a_count_is_above_0() {
        assert_eq!(count("1"), Ok(1));
        for wrong in ["0", "", "-1", "x", "4294967296"] {
            assert_eq!(count(wrong), Err(format!("{wrong:?} is no number above 0")));
        }
    }
}
