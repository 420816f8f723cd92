//! Whether figures are clearly worse than the committed ones, or miss what is asked of counts in any case (`targets`). Times are
//! not compared, only ratios to others in the same run, and what is counted.

#![forbid(unsafe_code)]

use crate::figures::{Case, Figures, Unit};
use crate::inits;
use crate::peers;
use crate::report::value::{ratio, text};
use crate::targets;

/// A ratio may be so many times the committed one.
const RATIO_MARGIN: f64 = 1.5;
/// What is counted, too.
const COUNT_MARGIN: f64 = 1.15;
/// And so much more, where it is next to nothing.
const COUNT_SLACK: f64 = 2.0;
/// With whom ours are compared: those that do the same, and are everywhere.
const OTHERS: [&str; 2] = ["tutorial-static", "bwrap"];

/// What the comparison says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many values were compared.
    pub compared: usize,
    /// What is worse, a line each.
    pub losses: Vec<String>,
    /// The cases in which something is worse.
    pub cases: Vec<String>,
    /// What could not be compared, a line each.
    pub missing: Vec<String>,
}

/// Compares what both have, of the cases that were measured now, and judges their counts.
pub fn compare(committed: &Figures, now: &Figures) -> Verdict {
    let mut verdict = Verdict::default();
    for case in &now.cases {
        let losses = verdict.losses.len();
        if let Some(committed) = committed.case(&case.id) {
            compare_ratios(committed, case, &mut verdict);
            match case.id.as_str() {
                "calls" => compare_counts(committed, case, peers::OURS, &mut verdict),
                "pid1" => compare_counts(committed, case, inits::OURS, &mut verdict),
                _ => {}
            }
        }
        judge_counts(now, case, &mut verdict);
        if verdict.losses.len() > losses {
            verdict.cases.push(case.id.clone());
        }
    }
    verdict
}

/// Which ratios of a case are compared: to whom, and of which columns.
fn ratios_of(case: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match case.split('/').next().unwrap_or_default() {
        "start" | "binds" | "library" => (&OTHERS, &["time"]),
        "parallel" => (&OTHERS, &["rate"]),
        "alive" => (&OTHERS, &["end", "start"]),
        // p99 is made by who else is there, and signals are sent once.
        "pid1" => (&["tini"], &["reaped", "p50"]),
        _ => (&[], &[]),
    }
}

fn compare_ratios(committed: &Case, now: &Case, verdict: &mut Verdict) {
    let (others, columns) = ratios_of(&now.id);
    for other in others {
        let Some(row) = committed.row(other) else { continue };
        for column in columns.iter().filter_map(|key| committed.column(key)) {
            let Some(cell) = row.cells.get(&column.key) else { continue };
            for (ours, then) in &cell.ratios {
                let what = format!("{}: {ours} / {other}: {}", now.id, column.title);
                let found = now.row(other).and_then(|row| row.cells.get(&column.key)?.ratios.get(ours));
                let Some(found) = found else {
                    verdict.missing.push(format!("{what}: not measured"));
                    continue;
                };
                verdict.compared += 1;
                let (found, then) = (found.median, then.median);
                let (allowed, is_worse) = if column.unit == Unit::PerSecond {
                    (then / RATIO_MARGIN, found < then / RATIO_MARGIN)
                } else {
                    (then * RATIO_MARGIN, found > then * RATIO_MARGIN)
                };
                if is_worse {
                    let [found, then, allowed] = [found, then, allowed].map(ratio);
                    verdict.losses.push(format!("{what}: {found}, committed {then}, allowed {allowed}"));
                }
            }
        }
    }
}

fn compare_counts(committed: &Case, now: &Case, ours: &[&str], verdict: &mut Verdict) {
    let counted = committed.columns.iter().filter(|column| matches!(column.unit, Unit::Count | Unit::Bytes));
    // How many arrive is as many as are sent, which a quick run does less; that none is lost is a target.
    for column in counted.filter(|column| column.key != "arrived") {
        for name in ours {
            let Some(then) = committed.row(name).and_then(|row| row.cells.get(&column.key)) else { continue };
            let what = format!("{}: {name}: {}", now.id, column.title);
            let Some(found) = now.row(name).and_then(|row| row.cells.get(&column.key)) else {
                verdict.missing.push(format!("{what}: not measured"));
                continue;
            };
            verdict.compared += 1;
            let (found, then) = (found.value.median, then.value.median);
            let allowed = then * COUNT_MARGIN + COUNT_SLACK;
            if found > allowed {
                let [found, then, allowed] = [found, then, allowed].map(|value| text(value, column.unit));
                verdict.losses.push(format!("{what}: {found}, committed {then}, allowed {allowed}"));
            }
        }
    }
}

/// Whatever the committed ones are.
fn judge_counts(figures: &Figures, case: &Case, verdict: &mut Verdict) {
    for judgement in targets::counts(figures, &case.id) {
        match judgement.is_reached {
            None => verdict.missing.push(judgement.line),
            Some(is_reached) => {
                verdict.compared += 1;
                verdict.losses.extend((!is_reached).then_some(judgement.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Sheet;

    fn figures(cases: Vec<Case>) -> Figures {
        Figures { quick: true, cases }
    }

    fn start(ours: f64, others: &[(&str, f64)]) -> Case {
        let mut sheet = Sheet::new("start/shared", "", &[("time", "time", Unit::Time)], peers::OURS);
        for (name, value) in others.iter().chain(&[("launch", ours)]) {
            let row = sheet.row(name, "", "", "");
            sheet.add(row, "time", 0, *value);
        }
        sheet.finish()
    }

    fn calls(outside: f64) -> Case {
        let mut sheet = Sheet::new("calls", "", &[("outside", "system calls", Unit::Count)], peers::OURS);
        let row = sheet.row("launch", "", "", "");
        sheet.add(row, "outside", 0, outside);
        sheet.finish()
    }

    #[test]
    fn a_ratio_may_grow_by_half_whatever_the_times_are() {
        let committed = figures(vec![start(60.0, &[("tutorial-static", 100.0)])]);
        for (ours, theirs, losses) in
            [(60.0, 100.0, 0), (6e9, 1e10, 0), (89.0, 100.0, 0), (91.0, 100.0, 1), (60.0, 60.0, 1)]
        {
            let verdict = compare(&committed, &figures(vec![start(ours, &[("tutorial-static", theirs)])]));
            assert_eq!((verdict.compared, verdict.losses.len()), (1, losses), "{ours} {theirs}: {verdict:?}");
        }
    }

    #[test]
    fn a_loss_says_what_is_worse_than_what() {
        let committed = figures(vec![start(60.0, &[("bwrap", 200.0)]), calls(100.0)]);
        let now = figures(vec![start(120.0, &[("bwrap", 200.0)]), calls(130.0)]);
        let expected = [
            "start/shared: launch / bwrap: time: 0.60, committed 0.30, allowed 0.45",
            "calls: launch: system calls: 130, committed 100, allowed 117",
            "calls outside: launch: 130 (at most 128)",
        ];
        let verdict = compare(&committed, &now);
        assert_eq!(verdict.losses, expected);
        assert_eq!(verdict.cases, ["start/shared", "calls"]);
    }

    #[test]
    fn counts_may_grow_by_a_seventh() {
        let committed = figures(vec![calls(100.0)]);
        for (now, losses) in [(50.0, 0), (116.0, 0), (118.0, 1)] {
            assert_eq!(compare(&committed, &figures(vec![calls(now)])).losses.len(), losses, "{now}");
        }
    }

    #[test]
    fn who_was_not_measured_is_missed_and_a_case_that_was_not_asked_for_is_not() {
        let committed =
            figures(vec![start(60.0, &[("tutorial-static", 100.0), ("bwrap", 200.0)]), calls(100.0)]);
        let verdict = compare(&committed, &figures(vec![start(60.0, &[("tutorial-static", 100.0)])]));
        assert_eq!(verdict.missing, ["start/shared: launch / bwrap: time: not measured"]);
        assert_eq!(verdict.losses, [""; 0]);
    }

    #[test]
    fn those_with_which_ours_are_not_compared_do_not_matter() {
        let committed = figures(vec![start(60.0, &[("crun", 100.0)])]);
        let verdict = compare(&committed, &figures(vec![start(600.0, &[("crun", 100.0)])]));
        assert_eq!(verdict, Verdict::default());
    }
    /// A case with a column, and two rows of which the other one's value is 100.
    fn pair(id: &str, (column, unit): (&'static str, Unit), [ours, other]: [&str; 2], value: f64) -> Case {
        let mut sheet = Sheet::new(id, "", &[(column, column, unit)], &["library", "launch", "launch-init"]);
        for (name, value) in [(ours, value), (other, 100.0)] {
            let row = sheet.row(name, "", "", "");
            sheet.add(row, column, 0, value);
        }
        sheet.finish()
    }

    #[test]
    fn ratios_are_compared_in_the_direction_in_which_they_get_worse() {
        let (time, rate) = (Unit::Time, Unit::PerSecond);
        for (id, column, rows, then, well, badly) in [
            ("library", ("time", time), ["library", "bwrap"], 35.0, 52.0, 53.0),
            ("parallel", ("rate", rate), ["launch", "bwrap"], 300.0, 201.0, 199.0),
            ("alive", ("end", time), ["launch", "tutorial-static"], 140.0, 209.0, 211.0),
            ("alive", ("start", time), ["launch", "bwrap"], 15.0, 22.0, 23.0),
            ("pid1", ("reaped", rate), ["launch-init", "tini"], 102.0, 69.0, 67.0),
            ("pid1", ("p50", time), ["launch-init", "tini"], 100.0, 149.0, 151.0),
        ] {
            let of = |value| figures(vec![pair(id, column, rows, value)]);
            let losses = |value| compare(&of(then), &of(value)).losses.len();
            assert_eq!([well, badly].map(losses), [0, 1], "{id} {column:?}");
        }
    }

    #[test]
    fn what_says_little_is_not_compared() {
        for (column, rows) in [("p99", ["launch-init", "tini"]), ("p50", ["launch-init", "dumb-init"])] {
            let of = |value| figures(vec![pair("pid1", (column, Unit::Time), rows, value)]);
            assert_eq!(compare(&of(100.0), &of(900.0)).losses, [""; 0], "{column}");
        }
    }

    #[test]
    fn what_is_asked_of_counts_holds_whatever_is_committed_and_what_is_asked_of_times_is_only_told() {
        let bad = figures(vec![calls(130.0), start(90.0, &[("tutorial-static", 100.0)])]);
        let verdict = compare(&bad, &bad);
        assert_eq!(verdict.losses, ["calls outside: launch: 130 (at most 128)"]);
        assert_eq!(verdict.cases, ["calls"]);
        let told = targets::lines(&bad);
        assert!(told[0].starts_with("MISSED  start/shared time"), "{told:?}");
    }

    #[test]
    fn no_signal_may_be_lost_however_many_are_sent() {
        let signals = |arrived, lost| {
            let columns = [("arrived", "arrived", Unit::Count), ("lost", "lost", Unit::Count)];
            let mut sheet = Sheet::new("pid1", "", &columns, inits::OURS);
            let row = sheet.row("launch-init", "", "", "");
            sheet.add(row, "arrived", 0, arrived);
            sheet.add(row, "lost", 0, lost);
            figures(vec![sheet.finish()])
        };
        let losses = |now| compare(&signals(1e6, 0.0), &now).losses;
        assert_eq!(losses(signals(20_000.0, 0.0)), [""; 0]);
        assert_eq!(losses(signals(999_999.0, 1.0)), ["pid1 lost: launch-init: 1 (at most 0)"]);
    }
}
