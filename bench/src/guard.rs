//! Whether figures are clearly worse than the committed ones. Times are not compared, only ratios to others in the same run, and
//! what is counted.

#![forbid(unsafe_code)]

use crate::figures::{Case, Figures, Unit};
use crate::inits;
use crate::peers;
use crate::report::value::{ratio, text};

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

/// Compares what both have, of the cases that were measured now.
pub fn compare(committed: &Figures, now: &Figures) -> Verdict {
    let mut verdict = Verdict::default();
    for case in &now.cases {
        let losses = verdict.losses.len();
        match committed.case(&case.id) {
            Some(committed) if case.id.starts_with("start/") || case.id.starts_with("binds/") => {
                compare_ratios(committed, case, &mut verdict);
            }
            Some(committed) if case.id == "calls" => {
                compare_counts(committed, case, peers::OURS, &mut verdict);
            }
            Some(committed) if case.id == "pid1" => {
                compare_counts(committed, case, inits::OURS, &mut verdict);
            }
            _ => {}
        }
        if verdict.losses.len() > losses {
            verdict.cases.push(case.id.clone());
        }
    }
    verdict
}

fn compare_ratios(committed: &Case, now: &Case, verdict: &mut Verdict) {
    for other in OTHERS {
        let Some(row) = committed.row(other) else { continue };
        for (column, cell) in &row.cells {
            for (ours, then) in &cell.ratios {
                let what = format!("{}: {ours} / {other}", now.id);
                let found = now.row(other).and_then(|row| row.cells.get(column)?.ratios.get(ours));
                let Some(found) = found else {
                    verdict.missing.push(format!("{what}: not measured"));
                    continue;
                };
                verdict.compared += 1;
                if found.median > then.median * RATIO_MARGIN {
                    verdict.losses.push(format!(
                        "{what}: {}, committed {}, allowed {}",
                        ratio(found.median),
                        ratio(then.median),
                        ratio(then.median * RATIO_MARGIN)
                    ));
                }
            }
        }
    }
}

fn compare_counts(committed: &Case, now: &Case, ours: &[&str], verdict: &mut Verdict) {
    let counted = committed.columns.iter().filter(|column| matches!(column.unit, Unit::Count | Unit::Bytes));
    for column in counted {
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
            // Of what is delivered, more is better.
            if found > allowed && column.key != "arrived" {
                let [found, then, allowed] = [found, then, allowed].map(|value| text(value, column.unit));
                verdict.losses.push(format!("{what}: {found}, committed {then}, allowed {allowed}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Machine, Sheet};

    fn figures(cases: Vec<Case>) -> Figures {
        Figures { machine: Machine::default(), quick: true, cases }
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
            "start/shared: launch / bwrap: 0.60, committed 0.30, allowed 0.45",
            "calls: launch: system calls: 130, committed 100, allowed 117",
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
        assert_eq!(verdict.missing, ["start/shared: launch / bwrap: not measured"]);
        assert_eq!(verdict.losses, [""; 0]);
    }

    #[test]
    fn those_with_which_ours_are_not_compared_do_not_matter() {
        let committed = figures(vec![start(60.0, &[("crun", 100.0)])]);
        let verdict = compare(&committed, &figures(vec![start(600.0, &[("crun", 100.0)])]));
        assert_eq!(verdict, Verdict::default());
    }
}
