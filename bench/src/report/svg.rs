//! Figures as a chart: a panel for each kind of start, one for many binds. The axes are logarithmic, since the slowest takes
//! hundreds of times as long as the fastest. The colours suit a bright page and a dark one.

#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::figures::{Case, Figures, Machine, Row, Unit};
use crate::report::value::{ratio, text};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const GAP: f64 = 40.0;
const HEAD: f64 = 104.0;
const PANEL_HEAD: f64 = 40.0;
const LINE: f64 = 21.0;
const AXIS: f64 = 26.0;
/// Of a panel, for the names to the left and the values to the right.
const NAMES: f64 = 120.0;
const VALUES: f64 = 132.0;
/// Of the values, for the ratios.
const TIMES: f64 = 54.0;

/// Panels, with what stands above them.
const PANELS: [(&str, &str); 4] = [
    ("start/shared", "Start to end, the network shared"),
    ("start/net", "With a network namespace"),
    ("start/rootfs", "With a root file system, minimal /dev"),
    ("start/glibc", "With a workload linked to glibc"),
];

/// The look of all charts. No variables: not every renderer knows them.
pub const STYLE: &str = "\
text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328; }
.title { font-size: 19px; font-weight: 600; }
.head { font-size: 14px; font-weight: 600; }
.soft { fill: #59636e; font-size: 12px; }
.ours { fill: #0969da; font-weight: 600; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.rule { stroke: #d1d9e0; stroke-width: 1; }
.bar { stroke: #818b98; stroke-width: 9; stroke-opacity: 0.4; }
.mark { fill: #818b98; }
.curve { fill: none; stroke: #818b98; stroke-width: 2; }
.bar.of-ours, .curve.of-ours { stroke: #0969da; }
.mark.of-ours { fill: #0969da; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.soft { fill: #9198a1; }
.ours { fill: #4493f8; }
.rule { stroke: #3d444d; }
.bar, .curve { stroke: #9198a1; }
.mark { fill: #9198a1; }
.bar.of-ours, .curve.of-ours { stroke: #4493f8; }
.mark.of-ours { fill: #4493f8; }
}
";

/// The chart of these figures; panels of cases that are not among them are left out.
pub fn draw(figures: &Figures) -> String {
    let column = (WIDTH - 2.0 * MARGIN - GAP) / 2.0;
    let starts: Vec<_> = PANELS.iter().filter_map(|(id, title)| Some((figures.case(id)?, *title))).collect();
    // The same in all panels, so that they can be compared.
    let all = starts.iter().flat_map(|(case, _)| times(case));
    let range = all.fold((f64::INFINITY, 1.0), |range: (f64, f64), (_, value)| {
        (range.0.min(value.low * 0.8), range.1.max(value.high * 1.2))
    });
    let mut body = String::new();
    let mut top = HEAD;
    for pair in starts.chunks(2) {
        let mut height = 0.0;
        for ((case, title), left) in pair.iter().zip([MARGIN, MARGIN + column + GAP]) {
            body += &panel(case, title, range, left, top, column);
            height = f64::max(height, panel_height(case));
        }
        top += height + GAP;
    }
    let binds: Vec<_> = figures.cases.iter().filter(|case| case.id.starts_with("binds/")).collect();
    if binds.len() > 1 {
        body += &curves(&binds, MARGIN, top, WIDTH - 2.0 * MARGIN);
        top += CURVES + GAP;
    }
    let drawn = starts.iter().map(|(case, _)| *case).chain(binds.iter().copied());
    let machines = machines(drawn);
    let how = "Medians of one run, everybody in turn; the bars hold the middle half. × is how many times what launch takes.";
    let height = top - GAP + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>launch beside others</title>\n<style>\n{STYLE}</style>\n"
    );
    svg += &label(MARGIN, 38.0, "title", "What a start takes, beside others");
    svg += &label(MARGIN, 60.0, "soft", how);
    svg += &label(MARGIN, 77.0, "soft", &machines);
    svg + &body + "</svg>\n"
}

/// Where these were measured, as far as they say so: once each, should there be several.
fn machines<'a>(cases: impl Iterator<Item = &'a Case>) -> String {
    let mut all: Vec<String> = Vec::new();
    for measured in cases.filter_map(|case| case.measured.as_ref()) {
        let machine = about(&measured.machine);
        if !all.contains(&machine) {
            all.push(machine);
        }
    }
    all.join(" ")
}

/// What the machine is.
pub fn about(machine: &Machine) -> String {
    let kind = if machine.is_virtual { "virtual machine" } else { "machine" };
    format!("A {kind}, {} processors, Linux {}, as {}.", machine.processors, machine.kernel, machine.caller)
}

fn panel_height(case: &Case) -> f64 {
    PANEL_HEAD + LINE * times(case).len() as f64 + AXIS
}

/// The rows that have a time, the shortest first.
fn times(case: &Case) -> Vec<(&Row, crate::stats::Spread)> {
    let mut rows: Vec<_> =
        case.rows.iter().filter_map(|row| Some((row, row.cells.get("time")?.value))).collect();
    rows.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
    rows
}

/// A scale from `low` to `high`, of whole powers of ten and their half ways.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let part = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + (self.to - self.from) * part
    }

    /// 1, 10, 100 and so on, within it; where there is room, 3, 30 and so on too.
    fn ticks(&self, room: f64) -> Vec<f64> {
        let has_room = (self.to - self.from).abs() / (self.high / self.low).log10() >= 2.0 * room;
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let powers = (first..=last).map(|power| 10_f64.powi(power));
        let ticks = powers.flat_map(|power| [Some(power), has_room.then_some(3.0 * power)]).flatten();
        ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

fn panel(case: &Case, title: &str, range: (f64, f64), left: f64, top: f64, width: f64) -> String {
    let rows = times(case);
    let scale = Scale { low: range.0, high: range.1, from: left + NAMES, to: left + width - VALUES };
    let bottom = top + PANEL_HEAD + LINE * rows.len() as f64;
    let mut out = label(left, top + 14.0, "head", title);
    out += &axis(&scale, top + PANEL_HEAD - 8.0, bottom);
    let launch = case.row("launch").and_then(|row| row.cells.get("time")).map(|cell| cell.value.median);
    for ((row, value), line) in rows.iter().zip(0..) {
        let y = top + PANEL_HEAD + LINE * (f64::from(line) + 0.5);
        let is_ours = row.name.starts_with("launch");
        let ours = if is_ours { " of-ours" } else { "" };
        let name = if is_ours { "ours end" } else { "end" };
        out += &label(left + NAMES - 10.0, y + 4.5, name, &row.name);
        let (from, to) = (scale.at(value.low), scale.at(value.high));
        let _ = writeln!(
            out,
            "<line class=\"bar{ours}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        let x = scale.at(value.median);
        let _ = writeln!(out, "<circle class=\"mark{ours}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>");
        let class = if is_ours { "ours end" } else { "end" };
        out += &label(left + width - TIMES, y + 4.5, class, &text(value.median, Unit::Time));
        if let Some(launch) = launch.filter(|_| row.name != "launch") {
            out += &label(left + width, y + 4.5, class, &format!("×{}", ratio(value.median / launch)));
        }
    }
    out
}

fn axis(scale: &Scale, top: f64, bottom: f64) -> String {
    let mut out = String::new();
    for tick in scale.ticks(48.0) {
        let x = scale.at(tick);
        let _ = writeln!(
            out,
            "<line class=\"rule\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
        );
        out += &label(x, bottom + 16.0, "soft middle", &tick_text(tick));
    }
    out
}

/// Without digits behind the point.
fn tick_text(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let (size, unit) = units.into_iter().find(|(size, _)| nanoseconds >= *size * 0.99).unwrap_or((1.0, "ns"));
    format!("{:.0} {unit}", nanoseconds / size)
}

/// The height of the panel of binds.
const CURVES: f64 = 260.0;

fn curves(cases: &[&Case], left: f64, top: f64, width: f64) -> String {
    let number = |case: &Case| case.id.rsplit('/').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(1.0);
    let mut names: Vec<&str> = Vec::new();
    for row in cases.iter().flat_map(|case| &case.rows) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let value = |case: &Case, name: &str| Some(case.row(name)?.cells.get("time")?.value.median);
    let all: Vec<f64> =
        cases.iter().flat_map(|case| names.iter().filter_map(|name| value(case, name))).collect();
    let (low, high) =
        all.iter().fold((f64::INFINITY, 0.0), |(low, high), value| (value.min(low), value.max(high)));
    let across = Scale {
        low: number(cases[0]),
        high: number(cases[cases.len() - 1]),
        from: left + 70.0,
        to: left + width - 150.0,
    };
    let (above, below) = (top + PANEL_HEAD, top + CURVES - AXIS);
    let up = Scale { low: low * 0.8, high: high * 1.2, from: below, to: above };
    let mut out = label(left, top + 14.0, "head", "Start to end with so many directories bound");
    for tick in up.ticks(18.0) {
        let y = up.at(tick);
        let (from, to) = (across.from, across.to);
        let _ = writeln!(
            out,
            "<line class=\"rule\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        out += &label(from - 10.0, y + 4.0, "soft end", &tick_text(tick));
    }
    for case in cases {
        let binds = text(number(case), Unit::Count);
        out += &label(across.at(number(case)), below + 18.0, "soft middle", &binds);
    }
    let mut ends: Vec<(f64, &str)> = Vec::new();
    for name in names.iter().rev() {
        let ours = if name.starts_with("launch") { " of-ours" } else { "" };
        let points: Vec<(f64, f64)> = cases
            .iter()
            .filter_map(|case| Some((across.at(number(case)), up.at(value(case, name)?))))
            .collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(out, "<polyline class=\"curve{ours}\" points=\"{}\"/>", line.join(" "));
        for (x, y) in &points {
            let _ = writeln!(out, "<circle class=\"mark{ours}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
        }
        ends.extend(points.last().map(|(_, y)| (*y, *name)));
    }
    // Names that would lie on one another are moved down.
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::NEG_INFINITY;
    for (y, name) in ends {
        lowest = y.max(lowest + 16.0);
        let class = if name.starts_with("launch") { "ours" } else { "" };
        out += &label(across.to + 12.0, lowest + 4.0, class, name);
    }
    out
}

/// A text at a place.
pub fn label(x: f64, y: f64, class: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" xml:space=\"preserve\">{text}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Measured, Sheet};

    fn figures() -> Figures {
        let machine = |kernel: &str| Machine {
            processors: 2,
            kernel: kernel.into(),
            is_virtual: true,
            caller: "root".into(),
            ..Machine::default()
        };
        let case = |id: &str, kernel: &str, values: &[(&str, f64)]| {
            let mut sheet = Sheet::new(id, "", &[("time", "time", Unit::Time)], &["launch"]);
            for (name, value) in values {
                let row = sheet.row(name, "", "", "");
                sheet.add(row, "time", 0, *value);
            }
            sheet.measured(Measured { machine: machine(kernel), ..Measured::default() });
            sheet.finish()
        };
        let cases = vec![
            case("start/shared", "6.1.0", &[("launch", 6e5), ("bwrap", 1.8e6)]),
            case("binds/10", "6.1.0", &[("launch", 1e6)]),
            case("binds/100", "6.2.0", &[("launch", 2e6)]),
            case("calls", "6.3.0", &[]),
        ];
        Figures { quick: false, cases }
    }

    #[test]
    fn each_who_was_measured_has_a_mark_and_says_how_many_times_as_long_it_takes() {
        let svg = draw(&figures());
        assert_eq!(svg.matches("<circle").count(), 2 + 2);
        for text in ["600 µs", "1.80 ms", "×3.00", "A virtual machine, 2 processors, Linux 6.1.0, as root."]
        {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn the_machines_are_those_of_what_is_drawn() {
        let expected = "A virtual machine, 2 processors, Linux 6.1.0, as root. A virtual machine, 2 processors, Linux 6.2.0, as root.";
        let mut figures = figures();
        assert!(draw(&figures).contains(&format!(">{expected}<")), "{}", draw(&figures));
        figures.cases.iter_mut().for_each(|case| case.measured = None);
        assert!(!draw(&figures).contains("processors"));
    }

    #[test]
    fn a_scale_has_its_ends_where_they_are_meant_to_be() {
        let scale = Scale { low: 10.0, high: 1000.0, from: 100.0, to: 300.0 };
        assert_eq!([10.0, 100.0, 1000.0].map(|value| scale.at(value)), [100.0, 200.0, 300.0]);
        assert_eq!(scale.ticks(50.0), [10.0, 30.0, 100.0, 300.0, 1000.0]);
        assert_eq!(scale.ticks(51.0), [10.0, 100.0, 1000.0]);
        assert_eq!([1e3, 3e5, 1e6, 1e9].map(tick_text), ["1 µs", "300 µs", "1 ms", "1 s"]);
    }
}
