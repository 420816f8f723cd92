//! What was measured: cases, whose rows are those who were measured, in the form in which figures are kept (JSON). How values
//! become figures; measuring is for others.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::{self, Sample, Spread};

/// All of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// With `--quick`.
    pub quick: bool,
    /// In their order.
    pub cases: Vec<Case>,
}

/// When, of what and where a case was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// In UTC, as in `2026-08-01`.
    pub date: String,
    /// As in `13824c9`, or `13824c9-dirty` with changes; none outside of a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// How many were asked for; none where a case has several numbers of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<usize>,
    /// When the run began.
    pub machine: Machine,
}

/// What the figures depend on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// In bytes.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Whether it is a virtual one.
    pub is_virtual: bool,
    /// Who measured: root or an ordinary user.
    pub caller: String,
    /// The load of the minute before, which should be 0.
    pub load: f64,
}

/// One table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// As in `start/shared`.
    pub id: String,
    /// What is measured.
    pub title: String,
    /// What has to be known about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Not in files of older versions, which had one machine for all cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// In their order.
    pub columns: Vec<Column>,
    /// In their order.
    pub rows: Vec<Row>,
    /// Who is not in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// What the values of a column are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Column {
    /// As in `time`.
    pub key: String,
    /// Its head.
    pub title: String,
    /// What it is counted in.
    pub unit: Unit,
}

/// What a value is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// Anything.
    Count,
    /// Bytes.
    Bytes,
    /// So many in a second: the more the better.
    PerSecond,
}

/// Who was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// As in `bwrap`.
    pub name: String,
    /// What it says about its version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The command line.
    pub command: String,
    /// What it does otherwise than launch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// By the columns' keys.
    pub cells: BTreeMap<String, Cell>,
}

/// A value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Median and quartiles.
    #[serde(flatten)]
    pub value: Spread,
    /// Of so many.
    pub samples: usize,
    /// One of our values divided by this one, by our row's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<String, Spread>,
}

/// Who was not measured, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// As in `nsjail`.
    pub name: String,
    /// As in `not installed`.
    pub why: String,
}

impl Figures {
    /// These, with what of the other's cases is not among them: those keep their places.
    pub fn merged_into(self, mut other: Self) -> Self {
        for case in self.cases {
            match other.cases.iter_mut().find(|old| old.id == case.id) {
                Some(old) => *old = case,
                None => other.cases.push(case),
            }
        }
        Self { quick: self.quick, cases: other.cases }
    }

    /// A case by its name.
    pub fn case(&self, id: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.id == id)
    }

    /// A value by its names.
    pub fn cell(&self, case: &str, row: &str, column: &str) -> Option<&Cell> {
        self.case(case)?.row(row)?.cells.get(column)
    }
}

impl Case {
    /// A row by its name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// A column by its key.
    pub fn column(&self, key: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.key == key)
    }
}

/// A case on its way: takes values, makes figures of them.
#[derive(Debug)]
pub struct Sheet {
    case: Case,
    ours: &'static [&'static str],
    samples: Vec<BTreeMap<&'static str, Vec<Sample>>>,
    by_rounds: &'static [&'static str],
}

impl Sheet {
    /// An empty one. Everybody is compared with the rows of these names.
    pub fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        columns: &[(&str, &str, Unit)],
        ours: &'static [&'static str],
    ) -> Self {
        let columns = columns
            .iter()
            .map(|(key, title, unit)| Column { key: (*key).into(), title: (*title).into(), unit: *unit })
            .collect();
        let (id, title) = (id.into(), title.into());
        let case = Case {
            id,
            title,
            note: String::new(),
            measured: None,
            columns,
            rows: Vec::new(),
            skipped: Vec::new(),
        };
        Self { case, ours, samples: Vec::new(), by_rounds: &[] }
    }

    /// What has to be known about it.
    pub fn note(&mut self, note: impl Into<String>) {
        self.case.note = note.into();
    }

    /// When, of what and where it is measured.
    pub fn measured(&mut self, measured: Measured) {
        self.case.measured = Some(measured);
    }

    /// The columns whose ratios are the medians of those within a round each.
    pub fn compare_by_rounds(&mut self, columns: &'static [&'static str]) {
        self.by_rounds = columns;
    }

    /// A new row; its number.
    pub fn row(&mut self, name: &str, version: &str, command: &str, note: &str) -> usize {
        self.case.rows.push(Row {
            name: name.into(),
            version: version.into(),
            command: command.into(),
            note: note.into(),
            cells: BTreeMap::new(),
        });
        self.samples.push(BTreeMap::new());
        self.case.rows.len() - 1
    }

    /// A value of a row.
    pub fn add(&mut self, row: usize, column: &'static str, round: usize, value: f64) {
        self.samples[row].entry(column).or_default().push((round, value));
    }

    /// Somebody who is not in it.
    pub fn skip(&mut self, name: &str, why: impl Into<String>) {
        self.case.skipped.push(Skipped { name: name.into(), why: why.into() });
    }

    /// The figures: ours first, then the others by their first column, the best first.
    pub fn finish(self) -> Case {
        let Self { mut case, ours, samples, by_rounds } = self;
        let ours: Vec<_> = ours
            .iter()
            .filter_map(|name| Some((*name, &samples[case.rows.iter().position(|row| row.name == *name)?])))
            .collect();
        for (row, samples) in case.rows.iter_mut().zip(&samples) {
            row.cells = samples
                .iter()
                .map(|(column, samples)| {
                    let compare =
                        if by_rounds.contains(column) { stats::ratio_of_rounds } else { stats::ratio };
                    let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
                    let ratios =
                        ours.iter().filter(|(name, _)| *name != row.name).filter_map(|(name, ours)| {
                            Some(((*name).to_owned(), compare(ours.get(column)?, samples)?))
                        });
                    let ratios = ratios.map(|(name, ratio): (_, Spread)| (name, ratio.rounded())).collect();
                    let value = stats::spread(&values).rounded();
                    let cell = Cell { value, samples: values.len(), ratios };
                    ((*column).to_owned(), cell)
                })
                .collect();
        }
        let is_ours = |row: &Row| ours.iter().position(|(name, _)| *name == row.name).unwrap_or(usize::MAX);
        let first = case.columns.first().cloned();
        let place = |row: &Row| {
            let Some(column) = &first else { return 0.0 };
            let Some(cell) = row.cells.get(&column.key) else { return f64::INFINITY };
            if column.unit == Unit::PerSecond { -cell.value.median } else { cell.value.median }
        };
        case.rows.sort_by(|a, b| is_ours(a).cmp(&is_ours(b)).then(place(a).total_cmp(&place(b))));
        case
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_come_first_and_the_others_by_what_they_reach() {
        for (unit, expected) in [
            (Unit::Time, ["ours", "plain", "fast", "slow", "none"]),
            (Unit::PerSecond, ["ours", "plain", "slow", "fast", "none"]),
        ] {
            let mut sheet = Sheet::new("a", "A", &[("time", "time", unit)], &["ours", "plain"]);
            let values = [
                ("slow", Some(8.0)),
                ("none", None),
                ("plain", Some(9.0)),
                ("fast", Some(1.0)),
                ("ours", Some(2.0)),
            ];
            for (name, value) in values {
                let row = sheet.row(name, "", "", "");
                value.into_iter().for_each(|value| sheet.add(row, "time", 0, value));
            }
            let names: Vec<_> = sheet.finish().rows.into_iter().map(|row| row.name).collect();
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn each_is_compared_with_each_of_ours_but_with_itself() {
        let mut sheet = Sheet::new("a", "A", &[("time", "time", Unit::Time)], &["ours", "plain"]);
        for (name, value) in [("ours", 1.0), ("plain", 2.0), ("other", 4.0)] {
            let row = sheet.row(name, "", "", "");
            sheet.add(row, "time", 0, value);
        }
        let case = sheet.finish();
        let ratios = |name: &str| -> Vec<(String, f64)> {
            let ratios = &case.row(name).expect("a row").cells["time"].ratios;
            ratios.iter().map(|(name, ratio)| (name.clone(), ratio.median)).collect()
        };
        assert_eq!(ratios("other"), [("ours".into(), 0.25), ("plain".into(), 0.5)]);
        assert_eq!(ratios("plain"), [("ours".into(), 0.5)]);
        assert_eq!(ratios("ours"), [("plain".into(), 2.0)]);
    }

    #[test]
    fn cases_that_were_measured_again_take_the_place_of_the_old_ones() {
        let figures = |titles: &[(&str, &str)]| {
            let case = |(id, title): &(&str, &str)| {
                let mut sheet = Sheet::new(*id, *title, &[], &[]);
                sheet.measured(Measured { commit: Some((*title).into()), ..Measured::default() });
                sheet.finish()
            };
            Figures { quick: false, cases: titles.iter().map(case).collect() }
        };
        let merged = figures(&[("b", "new"), ("d", "new")]).merged_into(figures(&[
            ("a", "old"),
            ("b", "old"),
            ("c", "old"),
        ]));
        let titles: Vec<_> =
            merged.cases.iter().map(|case| (case.id.as_str(), case.title.as_str())).collect();
        assert_eq!(titles, [("a", "old"), ("b", "new"), ("c", "old"), ("d", "new")]);
        // Each still says of which commit it is.
        let commits: Vec<_> =
            merged.cases.iter().filter_map(|case| case.measured.as_ref()?.commit.as_deref()).collect();
        assert_eq!(commits, ["old", "new", "old", "new"]);
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let mut sheet = Sheet::new("a", "A", &[("time", "time", Unit::Time)], &["ours"]);
        let row = sheet.row("ours", "1", "ours -- true", "");
        sheet.add(row, "time", 0, 1.5);
        sheet.skip("theirs", "not installed");
        sheet.measured(Measured {
            date: "2026-08-01".into(),
            commit: Some("13824c9-dirty".into()),
            rounds: Some(201),
            machine: Machine { load: 0.25, ..Machine::default() },
        });
        let case = sheet.finish();
        let text = serde_json::to_string(&case).expect("JSON");
        let read: Case = serde_json::from_str(&text).expect("a case");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        assert_eq!(read.rows[0].cells["time"].value.median, 1.5);
        let measured = read.measured.expect("a record");
        assert_eq!((measured.date.as_str(), measured.rounds), ("2026-08-01", Some(201)));
        assert_eq!(measured.machine.load, 0.25);
    }

    #[test]
    fn figures_of_older_versions_are_read_and_nothing_is_made_up_about_them() {
        let old = r#"{
            "machine": { "processor": "P", "processors": 2, "memory": 1, "kernel": "6.1", "is_virtual": true,
                         "caller": "root", "load": 81.78 },
            "quick": false,
            "cases": [{ "id": "a", "title": "A", "columns": [], "rows": [] }]
        }"#;
        let figures: Figures = serde_json::from_str(old).expect("figures");
        assert!(figures.cases[0].measured.is_none());
        let written = serde_json::to_string(&figures).expect("JSON");
        assert!(!written.contains("measured") && !written.contains("81.78"), "{written}");
        let committed: Figures = serde_json::from_str(include_str!("../figures.json")).expect("figures");
        assert!(!committed.cases.is_empty());
    }
}
