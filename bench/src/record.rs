//! When a case is measured, of which commit and where: what is kept beside its figures, since those of one file may come from
//! many runs.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::figures::{Machine, Measured};
use crate::place;

/// What the bench itself writes: with the figures of an earlier case in them, it is still the same commit that is measured.
const WRITTEN: [&str; 3] = [crate::FIGURES, crate::CHART, crate::TIMELINE];

/// A machine with more load than this has other work.
const LOAD: f64 = 0.5;

/// Of a run that begins now, in the repository that is this folder.
pub fn begin(root: &Path, is_root: bool) -> Measured {
    Measured {
        date: date(SystemTime::now()),
        commit: commit(root),
        rounds: None,
        machine: place::machine(is_root),
    }
}

/// What is to be said of a machine that has other work. Figures that are to be kept should not be those of one on which more
/// wants to run than there are processors: then ratios are of who waits for them, too.
pub fn warning(machine: &Machine, is_kept: bool) -> Option<String> {
    let Machine { load, processors, .. } = machine;
    if is_kept && *load > *processors as f64 {
        Some(format!(
            "WARNING: these figures will be kept, and the machine is busy: a load of {load}, processors: {processors}"
        ))
    } else {
        (*load > LOAD).then(|| {
            format!("the machine has other work (a load of {load}): times mean little, ratios may do")
        })
    }
}

/// The day in UTC, as in `2026-08-01`.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, seconds / 86_400);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

/// The commit of the repository that is this folder, with a mark if files of it were changed; none where git knows of none.
fn commit(root: &Path) -> Option<String> {
    let hash = git(root, &["rev-parse", "--short", "HEAD"])?;
    let others = WRITTEN.map(|file| format!(":!{file}"));
    let mut words = vec!["status", "--porcelain", "--untracked-files=no", "--", "."];
    words.extend(others.iter().map(String::as_str));
    marked(&hash, &git(root, &words)?)
}

/// The mark is the one of git describe.
fn marked(hash: &str, changes: &str) -> Option<String> {
    let mark = if changes.trim().is_empty() { "" } else { "-dirty" };
    Some(hash.trim()).filter(|hash| !hash.is_empty()).map(|hash| format!("{hash}{mark}"))
}

/// What git says, if it is there and succeeds.
fn git(root: &Path, words: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("--no-optional-locks").arg("-C").arg(root).args(words);
    // A copy without a repository may lie within another one, whose commit says nothing about it.
    command.env("GIT_CEILING_DIRECTORIES", root.parent()?);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_date_is_that_of_the_calendar() {
        // As `date -u -d @SECONDS +%F` says.
        let cases = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_709_251_200, "2024-03-01"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn figures_of_a_busy_machine_are_not_kept_without_a_warning() {
        let said = |load, is_kept| warning(&Machine { load, processors: 2, ..Machine::default() }, is_kept);
        let begins =
            |load, is_kept, begin: &str| said(load, is_kept).is_some_and(|line| line.starts_with(begin));
        assert_eq!(said(0.5, true), None);
        assert!(begins(2.0, true, "the machine has other work (a load of 2)"));
        assert!(begins(2.1, true, "WARNING: these figures will be kept"));
        assert!(begins(81.78, false, "the machine has other work"));
        assert!(said(81.78, true).is_some_and(|line| !line.contains('\n') && line.contains("81.78")));
    }

    #[test]
    fn a_commit_has_a_mark_if_something_was_changed() {
        assert_eq!(marked("13824c9\n", ""), Some("13824c9".into()));
        assert_eq!(marked("13824c9\n", " M src/lib.rs\n"), Some("13824c9-dirty".into()));
        assert_eq!(marked("\n", ""), None);
    }

    #[test]
    fn a_folder_that_is_no_repository_has_no_commit_whatever_it_lies_in() {
        assert_eq!(commit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")), None);
    }
}
