//! What launch is to reach → whether the figures reach it. What is counted is the same on every machine, and the guard insists
//! on it; times are only told, since what others do on the machine is in them.

#![forbid(unsafe_code)]

use crate::figures::{Cell, Figures, Unit};
use crate::report::value::{ratio, text};
use Limit::{AtLeast, AtMost};

/// What is asked of a value.
struct Target {
    case: &'static str,
    column: &'static str,
    ours: &'static str,
    /// Whose value ours is divided by; none where it is asked of ours itself.
    other: Option<&'static str>,
    limit: Limit,
}

enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// What is said of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is reached; none where it cannot be told, since somebody was not measured.
    pub is_reached: Option<bool>,
    /// What was asked, and what was found.
    pub line: String,
}

const TIMES: [Target; 6] = [
    Target::ratio("start/shared", "time", "launch", "tutorial-static", AtMost(0.65)),
    Target::ratio("start/shared", "time", "launch", "bwrap", AtMost(0.35)),
    Target::ratio("start/shared", "time", "launch", "crun", AtMost(0.17)),
    Target::ratio("pid1", "reaped", "launch-init", "tini", AtLeast(1.0)),
    Target::ratio("pid1", "p50", "launch-init", "tini", AtMost(1.0)),
    Target::ratio("pid1", "p99", "launch-init", "tini", AtMost(1.0)),
];
const COUNTS: [Target; 6] = [
    Target::value("calls", "outside", "launch", AtMost(120.0)),
    Target::value("pid1", "size", "launch-init", AtMost(400_000.0)),
    Target::ratio("pid1", "pss", "launch-init", "tini-static", AtMost(1.0)),
    Target::value("pid1", "wakeups", "launch-init", AtMost(0.0)),
    Target::value("pid1", "lost", "launch-init", AtMost(0.0)),
    Target::value("pid1", "lost", "launch-init-plain", AtMost(0.0)),
];
/// So many calls more are let pass where a checkout lies deeper than that of the figures: a start looks at each directory above
/// launch's file. And two or three more come of who is awake first.
const DEEPER: f64 = 8.0;
/// A bind among 2,000 takes at most so many times as long as one among 100.
const LINEAR: f64 = 1.5;

/// A line for each that can be judged.
pub fn lines(figures: &Figures) -> Vec<String> {
    let judgements = TIMES.iter().chain(&COUNTS).map(|target| target.judge(figures)).chain(linear(figures));
    let lines = judgements.filter_map(|Judgement { is_reached, line }| {
        Some(format!("{} {line}", if is_reached? { "reached" } else { "MISSED " }))
    });
    lines.collect()
}

/// What is said of those of a case that are counted, wherever the checkout lies.
pub fn counts(figures: &Figures, case: &str) -> Vec<Judgement> {
    let of_case = COUNTS.iter().filter(|target| target.case == case);
    of_case
        .map(|target| target.with_slack(if case == "calls" { DEEPER } else { 0.0 }).judge(figures))
        .collect()
}

impl Target {
    const fn value(case: &'static str, column: &'static str, ours: &'static str, limit: Limit) -> Self {
        Self { case, column, ours, other: None, limit }
    }

    const fn ratio(
        case: &'static str,
        column: &'static str,
        ours: &'static str,
        other: &'static str,
        limit: Limit,
    ) -> Self {
        Self { case, column, ours, other: Some(other), limit }
    }

    fn with_slack(&self, slack: f64) -> Self {
        let limit = match self.limit {
            AtMost(limit) => AtMost(limit + slack),
            AtLeast(limit) => AtLeast(limit - slack),
        };
        Self { limit, ..*self }
    }

    fn judge(&self, figures: &Figures) -> Judgement {
        let Self { case, column, ours, other, .. } = self;
        let of_other = other.map(|other| format!(" / {other}")).unwrap_or_default();
        let what = format!("{case} {column}: {ours}{of_other}");
        let Some((found, unit)) = self.found(figures) else {
            return Judgement { is_reached: None, line: format!("{what}: not measured") };
        };
        let text = |value: f64| unit.map_or_else(|| ratio(value), |unit| text(value, unit));
        let (is_reached, limit) = match self.limit {
            AtMost(limit) => (found <= limit, format!("at most {}", text(limit))),
            AtLeast(limit) => (found >= limit, format!("at least {}", text(limit))),
        };
        Judgement { is_reached: Some(is_reached), line: format!("{what}: {} ({limit})", text(found)) }
    }

    /// The value, and its unit if it has one.
    fn found(&self, figures: &Figures) -> Option<(f64, Option<Unit>)> {
        let cell = |row| -> Option<&Cell> { figures.cell(self.case, row, self.column) };
        match self.other {
            Some(other) => Some((cell(other)?.ratios.get(self.ours)?.median, None)),
            None => {
                let unit = figures.case(self.case)?.column(self.column)?.unit;
                Some((cell(self.ours)?.value.median, Some(unit)))
            }
        }
    }
}

fn linear(figures: &Figures) -> Option<Judgement> {
    let each = |case: &str, binds: f64| Some(figures.cell(case, "launch", "time")?.value.median / binds);
    let (few, many) = (each("binds/100", 100.0)?, each("binds/2000", 2000.0)?);
    let found = format!("{} ({} each)", ratio(many / few), text(many, Unit::Time));
    Some(Judgement {
        is_reached: Some(many <= few * LINEAR),
        line: format!("binds: launch: one of 2,000 / one of 100: {found} (at most {LINEAR})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Sheet;

    #[test]
    fn a_target_is_judged_where_both_were_measured() {
        let mut sheet = Sheet::new("start/shared", "", &[("time", "time", Unit::Time)], &["launch"]);
        for (name, value) in [("launch", 60.0), ("tutorial-static", 100.0), ("bwrap", 120.0)] {
            let row = sheet.row(name, "", "", "");
            sheet.add(row, "time", 0, value);
        }
        let figures = Figures { quick: false, cases: vec![sheet.finish()] };
        let expected = [
            "reached start/shared time: launch / tutorial-static: 0.60 (at most 0.65)",
            "MISSED  start/shared time: launch / bwrap: 0.50 (at most 0.35)",
        ];
        assert_eq!(lines(&figures), expected);
    }
    #[test]
    fn what_is_counted_is_judged_of_each_case_and_told_where_it_was_not_measured() {
        let mut sheet = Sheet::new(
            "pid1",
            "",
            &[("size", "", Unit::Bytes), ("wakeups", "", Unit::Count), ("lost", "", Unit::Count)],
            &["launch-init"],
        );
        let row = sheet.row("launch-init", "", "", "");
        for (column, value) in [("size", 400_000.0), ("wakeups", 20.0), ("lost", 0.0)] {
            sheet.add(row, column, 0, value);
        }
        let figures = Figures { quick: true, cases: vec![sheet.finish()] };
        let found: Vec<_> =
            counts(&figures, "pid1").into_iter().map(|one| (one.is_reached, one.line)).collect();
        let expected = [
            (Some(true), "pid1 size: launch-init: 400 KB (at most 400 KB)"),
            (None, "pid1 pss: launch-init / tini-static: not measured"),
            (Some(false), "pid1 wakeups: launch-init: 20 (at most 0)"),
            (Some(true), "pid1 lost: launch-init: 0 (at most 0)"),
            (None, "pid1 lost: launch-init-plain: not measured"),
        ];
        assert_eq!(found, expected.map(|(is_reached, line)| (is_reached, line.to_owned())));
    }
}
