//! Cases as tables, in Markdown, aligned so that they can be read on a terminal too.

#![forbid(unsafe_code)]

use crate::figures::{Case, Cell, Column, Measured};
use crate::report::value::{ratio, text};

/// One case: its title, its table, what has to be known; when and of what it was measured, unless that is as `now`.
pub fn case(case: &Case, now: &Measured) -> String {
    let mut lines = vec![format!("## {}: {}", case.id, case.title), String::new()];
    lines.extend(rows(case));
    let remarks: Vec<_> = remarks(case, now).collect();
    if !remarks.is_empty() {
        lines.push(String::new());
        lines.extend(remarks);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The first of ours that is there: whom a ratio tells of.
fn ours(case: &Case) -> Option<&str> {
    let names = case.rows.iter().flat_map(|row| row.cells.values()).flat_map(|cell| cell.ratios.keys());
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_by_key(|name| case.rows.iter().position(|row| row.name == *name));
    names.first().copied()
}

/// More columns than this stand below one another, with a column for each who was measured.
const WIDE: usize = 3;

fn rows(case: &Case) -> Vec<String> {
    let ours = ours(case);
    if case.columns.len() > WIDE { transposed(case, ours) } else { upright(case, ours) }
}

fn upright(case: &Case, ours: Option<&str>) -> Vec<String> {
    let has_spread = case.columns.len() == 1;
    let mut heads = vec![String::new()];
    for column in &case.columns {
        heads.push(column.title.clone());
        if has_spread {
            heads.push("middle half".into());
        }
        heads.extend(ours.map(|ours| format!("{ours} ÷ it")));
    }
    let mut table = vec![heads];
    for row in &case.rows {
        let mut words = vec![row.name.clone()];
        for column in &case.columns {
            let cell = row.cells.get(&column.key);
            words.push(value(cell, column));
            if has_spread {
                words.push(cell.map_or_else(String::new, |cell| {
                    format!("{} – {}", text(cell.value.low, column.unit), text(cell.value.high, column.unit))
                }));
            }
            words.extend(ours.map(|ours| match cell.and_then(|cell| cell.ratios.get(ours)) {
                Some(of_ours) if has_spread => {
                    format!("{} ({} – {})", ratio(of_ours.median), ratio(of_ours.low), ratio(of_ours.high))
                }
                Some(of_ours) => ratio(of_ours.median),
                None if row.name == ours && cell.is_some() => "1".into(),
                None => String::new(),
            }));
        }
        table.push(words);
    }
    align(&table)
}

fn transposed(case: &Case, ours: Option<&str>) -> Vec<String> {
    let head = ours.map(|ours| format!("({ours} ÷ it)")).unwrap_or_default();
    let mut table = vec![std::iter::once(head).chain(case.rows.iter().map(|row| row.name.clone())).collect()];
    for column in &case.columns {
        let mut words = vec![column.title.clone()];
        for row in &case.rows {
            let cell = row.cells.get(&column.key);
            let of_ours = ours.and_then(|ours| cell?.ratios.get(ours));
            let of_ours = of_ours.map(|of_ours| format!(" ({})", ratio(of_ours.median)));
            words.push(value(cell, column) + &of_ours.unwrap_or_default());
        }
        table.push(words);
    }
    align(&table)
}

fn value(cell: Option<&Cell>, column: &Column) -> String {
    cell.map_or("–".into(), |cell| text(cell.value.median, column.unit))
}

/// In columns of the same width; the first line is the head.
pub fn align(table: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (word, width))| {
            if i == 0 { format!(" {word:<width$} ") } else { format!(" {word:>width$} ") }
        });
        format!("|{}|", cells.collect::<Vec<_>>().join("|"))
    };
    let rule = widths
        .iter()
        .enumerate()
        .map(|(i, width)| if i == 0 { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) });
    let rule = format!("|{}|", rule.collect::<Vec<_>>().join("|"));
    let mut lines = vec![line(&table[0]), rule];
    lines.extend(table[1..].iter().map(line));
    lines
}

fn remarks(case: &Case, now: &Measured) -> impl Iterator<Item = String> {
    let is_old = |then: &&Measured| then.date != now.date || then.commit != now.commit;
    let measured = case.measured.as_ref().filter(is_old).map(|then| {
        let commit = then.commit.as_ref().map(|commit| format!(", of {commit}"));
        format!("- measured on {}{}", then.date, commit.unwrap_or_default())
    });
    let note = (!case.note.is_empty()).then(|| format!("- {}", case.note));
    let notes = case.rows.iter().filter(|row| !row.note.is_empty());
    let notes = notes.map(|row| format!("- {}: {}", row.name, row.note));
    let skipped =
        case.skipped.iter().map(|skipped| format!("- {}: not measured: {}", skipped.name, skipped.why));
    measured.into_iter().chain(note).chain(notes).chain(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Sheet, Unit};

    #[test]
    fn a_table_says_values_ratios_and_what_has_to_be_known() {
        let mut sheet = Sheet::new("a/b", "A b", &[("time", "time", Unit::Time)], &["launch"]);
        for (name, value, note) in [("other", 2_000_000.0, "does less"), ("launch", 1_000_000.0, "")] {
            let row = sheet.row(name, "1", "", note);
            sheet.add(row, "time", 0, value);
        }
        sheet.skip("absent", "not installed");
        let expected = "\
## a/b: A b

|        |    time |       middle half |        launch ÷ it |
|--------|--------:|------------------:|-------------------:|
| launch | 1.00 ms | 1.00 ms – 1.00 ms |                  1 |
| other  | 2.00 ms | 2.00 ms – 2.00 ms | 0.50 (0.50 – 0.50) |

- other: does less
- absent: not measured: not installed
";
        assert_eq!(case(&sheet.finish(), &Measured::default()), expected);
    }

    #[test]
    fn many_columns_stand_below_one_another() {
        let columns = [
            ("a", "A", Unit::Count),
            ("b", "B", Unit::Count),
            ("c", "C", Unit::Count),
            ("d", "D", Unit::Count),
        ];
        let mut sheet = Sheet::new("a", "A", &columns, &["ours"]);
        for (name, times) in [("theirs", 4.0), ("ours", 1.0)] {
            let row = sheet.row(name, "", "", "");
            for (value, (key, ..)) in (1..).map(f64::from).zip(columns).take(3) {
                sheet.add(row, key, 0, value * times);
            }
        }
        let expected = "\
## a: A

| (ours ÷ it) | ours |    theirs |
|-------------|-----:|----------:|
| A           |    1 |  4 (0.25) |
| B           |    2 |  8 (0.25) |
| C           |    3 | 12 (0.25) |
| D           |    – |         – |
";
        assert_eq!(case(&sheet.finish(), &Measured::default()), expected);
    }
    #[test]
    fn what_was_measured_at_another_time_or_of_another_commit_says_so() {
        let measured = |date: &str, commit: Option<&str>| Measured {
            date: date.into(),
            commit: commit.map(str::to_owned),
            ..Measured::default()
        };
        let now = measured("2026-08-02", Some("13824c9"));
        let said = |then| {
            let mut sheet = Sheet::new("a", "A", &[("time", "time", Unit::Time)], &[]);
            sheet.measured(then);
            case(&sheet.finish(), &now).lines().find_map(|line| Some(line.strip_prefix("- ")?.to_owned()))
        };
        let cases = [
            (now.clone(), None),
            (measured("2026-08-01", Some("13824c9")), Some("measured on 2026-08-01, of 13824c9")),
            (measured("2026-08-02", Some("2d0691d")), Some("measured on 2026-08-02, of 2d0691d")),
            (measured("2026-08-02", None), Some("measured on 2026-08-02")),
        ];
        for (then, expected) in cases {
            assert_eq!(said(then).as_deref(), expected);
        }
    }
}
