//! What launch is to reach → whether the figures reach it.

#![forbid(unsafe_code)]

use crate::figures::{Figures, Unit};
use crate::report::value::{ratio, text};

/// What is asked of a value.
enum Target {
    /// Ours divided by another's is at most this: case, column, ours, other.
    AtMost(&'static str, &'static str, &'static str, &'static str, f64),
    /// Ours divided by another's is at least this.
    AtLeast(&'static str, &'static str, &'static str, &'static str, f64),
    /// Ours is at most this: case, column, ours.
    Below(&'static str, &'static str, &'static str, f64),
}

const TARGETS: [Target; 9] = [
    Target::AtMost("start/shared", "time", "launch", "tutorial-static", 0.65),
    Target::AtMost("start/shared", "time", "launch", "bwrap", 0.35),
    Target::AtMost("start/shared", "time", "launch", "crun", 0.17),
    Target::Below("calls", "outside", "launch", 120.0),
    Target::Below("pid1", "size", "launch-init", 400_000.0),
    Target::AtMost("pid1", "pss", "launch-init", "tini-static", 1.0),
    Target::AtLeast("pid1", "reaped", "launch-init", "tini", 1.0),
    Target::AtMost("pid1", "p50", "launch-init", "tini", 1.0),
    Target::AtMost("pid1", "p99", "launch-init", "tini", 1.0),
];
/// A bind among 2,000 takes at most so many times as long as one among 100.
const LINEAR: f64 = 1.5;

/// A line for each that can be judged.
pub fn lines(figures: &Figures) -> Vec<String> {
    TARGETS.iter().filter_map(|target| judge(target, figures)).chain(linear(figures)).collect()
}

fn judge(target: &Target, figures: &Figures) -> Option<String> {
    let of_other =
        |case, column, ours: &str, other| figures.cell(case, other, column)?.ratios.get(ours).copied();
    Some(match target {
        Target::AtMost(case, column, ours, other, limit) => {
            let found = of_other(case, column, ours, other)?.median;
            let what = format!("{case} {column}: {ours} / {other}");
            line(found <= *limit, &what, &ratio(found), &format!("at most {limit}"))
        }
        Target::AtLeast(case, column, ours, other, limit) => {
            let found = of_other(case, column, ours, other)?.median;
            let what = format!("{case} {column}: {ours} / {other}");
            line(found >= *limit, &what, &ratio(found), &format!("at least {limit}"))
        }
        Target::Below(case, column, ours, limit) => {
            let found = figures.cell(case, ours, column)?.value.median;
            let unit = figures.case(case)?.columns.iter().find(|one| one.key == *column)?.unit;
            let what = format!("{case} {column}: {ours}");
            line(found <= *limit, &what, &text(found, unit), &format!("at most {}", text(*limit, unit)))
        }
    })
}

fn linear(figures: &Figures) -> Option<String> {
    let each = |case: &str, binds: f64| Some(figures.cell(case, "launch", "time")?.value.median / binds);
    let (few, many) = (each("binds/100", 100.0)?, each("binds/2000", 2000.0)?);
    let what = "binds: launch: one of 2,000 / one of 100";
    let is_reached = many <= few * LINEAR;
    let found = format!("{} ({} each)", ratio(many / few), text(many, Unit::Time));
    Some(line(is_reached, what, &found, &format!("at most {LINEAR}")))
}

fn line(is_reached: bool, what: &str, found: &str, limit: &str) -> String {
    format!("{} {what}: {found} ({limit})", if is_reached { "reached" } else { "MISSED " })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Machine, Sheet};

    #[test]
    fn a_target_is_judged_where_both_were_measured() {
        let mut sheet = Sheet::new("start/shared", "", &[("time", "time", Unit::Time)], &["launch"]);
        for (name, value) in [("launch", 60.0), ("tutorial-static", 100.0), ("bwrap", 120.0)] {
            let row = sheet.row(name, "", "", "");
            sheet.add(row, "time", 0, value);
        }
        let figures = Figures { machine: Machine::default(), quick: false, cases: vec![sheet.finish()] };
        let expected = [
            "reached start/shared time: launch / tutorial-static: 0.60 (at most 0.65)",
            "MISSED  start/shared time: launch / bwrap: 0.50 (at most 0.35)",
        ];
        assert_eq!(lines(&figures), expected);
    }
}
