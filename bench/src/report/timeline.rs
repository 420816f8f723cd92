//! The timeline of one launch, as a table and as a chart: above, who has a processor when; below, a line for each step, on the
//! same axis.

#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::figures::{Machine, Unit};
use crate::report::svg::{self, label};
use crate::report::table::align;
use crate::report::value::text;
use crate::timeline::Timeline;
use crate::timeline::steps::{Step, Who};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const HEAD: f64 = 130.0;
/// For the names of the processes.
const NAMES: f64 = 84.0;
/// Of a process, and of a step.
const LANE: f64 = 26.0;
const LINE: f64 = 21.0;
const AXIS: f64 = 34.0;

/// The colours of the three, on a bright page and a dark one; added to those of the other charts.
const STYLE: &str = "\
.launcher { fill: #0969da; }
.init { fill: #1a7f37; }
.workload { fill: #bc4c00; }
.turns { fill-opacity: 0.3; }
@media (prefers-color-scheme: dark) {
.launcher { fill: #4493f8; }
.init { fill: #3fb950; }
.workload { fill: #f0883e; }
}
";

/// What has to be known about either.
const ABOUT: &str = "Tracing adds about a microsecond to each system call, so that steps of many calls look longer than they are.";

/// What the two shades mean.
const TURNS: &str = "Solid: as long as a process has a processor in a step; pale: others have it meanwhile.";

/// How the whole compares with an untraced start.
fn whole(timeline: &Timeline) -> String {
    format!(
        "Medians of the quicker half of {} starts, traced: {} from exec to the launcher's end. Untraced, with the caller's fork and wait: {}.",
        timeline.starts,
        text(timeline.whole, Unit::Time),
        text(timeline.untraced, Unit::Time)
    )
}

/// As Markdown.
pub fn table(timeline: &Timeline) -> String {
    let heads = ["step", "whose", "from", "to", "on a processor", "system calls"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    let total: f64 = timeline.steps.iter().map(|step| step.busy).sum();
    let calls: f64 = timeline.steps.iter().map(|step| step.calls).sum();
    for step in &timeline.steps {
        rows.push(vec![
            step.title.into(),
            step.who.name().into(),
            micros(step.from),
            micros(step.to),
            micros(step.busy),
            text(step.calls, Unit::Count),
        ]);
    }
    rows.push(vec![
        "all".into(),
        "".into(),
        "0 µs".into(),
        micros(timeline.whole),
        micros(total),
        text(calls, Unit::Count),
    ]);
    let title = "## timeline: Where the time of one launch goes\n".to_owned();
    let notes = format!(
        "\n- {}\n- {ABOUT}\n- From and to: when a process first and last had a processor in this step. What it takes is the time that it had one.\n",
        whole(timeline)
    );
    [vec![title], align(&rows), vec![notes]].concat().join("\n")
}

fn micros(nanoseconds: f64) -> String {
    format!("{:.0} µs", nanoseconds / 1e3)
}

/// As a chart.
pub fn draw(timeline: &Timeline, machine: &Machine) -> String {
    let (left, right) = (MARGIN + NAMES, WIDTH - MARGIN);
    let at = |time: f64| left + (right - left) * time / timeline.whole;
    let lanes = HEAD + LANE * Who::ALL.len() as f64;
    let bottom = lanes + 12.0 + LINE * timeline.steps.len() as f64;
    let height = bottom + AXIS;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>Timeline of one launch</title>\n<style>\n{}{STYLE}</style>\n",
        svg::STYLE
    );
    out += &label(MARGIN, 38.0, "title", "Where the time of one launch goes");
    out += &label(MARGIN, 60.0, "soft", &whole(timeline));
    out += &label(MARGIN, 77.0, "soft", ABOUT);
    let about = format!("{TURNS} {}", svg::about(machine));
    out += &label(MARGIN, 94.0, "soft", &about);
    let every = tick(timeline.whole);
    for number in 0..=(timeline.whole / every) as u32 {
        let x = at(f64::from(number) * every);
        let (from, to) = (HEAD - 6.0, bottom + 4.0);
        let _ = writeln!(
            out,
            "<line class=\"rule\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\"/>"
        );
        out += &label(x, bottom + 20.0, "soft middle", &micros(f64::from(number) * every));
    }
    for (who, number) in Who::ALL.into_iter().zip(0..) {
        let y = HEAD + LANE * f64::from(number);
        out += &label(left - 10.0, y + 15.0, &format!("{} head end", who.name()), who.name());
        for step in timeline.steps.iter().filter(|step| step.who == who) {
            // A gap between neighbours, where there is room for one.
            out += &bar(step, at(step.from), (at(step.to) - 1.0).max(at(step.from) + 0.5), y + 2.0, 17.0);
        }
    }
    for (step, number) in timeline.steps.iter().zip(0..) {
        let y = lanes + 12.0 + LINE * f64::from(number);
        let (from, to) = (at(step.from), at(step.to).max(at(step.from) + 1.5));
        out += &bar(step, from, to, y + 4.0, 13.0);
        let what = format!("{}, {}", step.title, micros(step.busy));
        // On the side with more room.
        out += &if right - to > from - left {
            label(to + 7.0, y + 15.0, "", &what)
        } else {
            label(from - 7.0, y + 15.0, "end", &what)
        };
    }
    out + "</svg>\n"
}

fn bar(step: &Step, from: f64, to: f64, y: f64, height: f64) -> String {
    let part = (step.busy / (step.to - step.from).max(1.0)).min(1.0);
    // The rest is too narrow to be seen, or comes from a median of its own.
    let part = if part >= 0.9 { 1.0 } else { part };
    let rect = |class: &str, from: f64, to: f64| {
        format!(
            "<rect class=\"{}{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>\n",
            step.who.name(),
            to - from
        )
    };
    let middle = from + (to - from) * part;
    let turns = if part < 1.0 { rect(" turns", middle, to) } else { String::new() };
    rect("", from, middle) + &turns
}

/// How far ticks are from each other: 1, 2 or 5 of a power of ten, at most twelve of them.
fn tick(whole: f64) -> f64 {
    let power = 10_f64.powf((whole / 12.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|part| part * power)
        .into_iter()
        .find(|every| whole / every <= 12.0)
        .unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        let step = |who, title, from, to, busy| Step { who, title, from, to, busy, calls: 3.0 };
        Timeline {
            steps: vec![
                step(Who::Launcher, "begins <it>", 0.0, 500e3, 500e3),
                step(Who::Init, "waits", 500e3, 600e3, 20e3),
            ],
            starts: 31,
            whole: 600e3,
            untraced: 580e3,
        }
    }

    #[test]
    fn the_table_has_each_step_and_their_sum() {
        let table = table(&timeline());
        for line in [
            "| begins <it> | launcher |   0 µs | 500 µs |         500 µs |            3 |",
            "| all         |          |   0 µs | 600 µs |         520 µs |            6 |",
            "- Medians of the quicker half of 31 starts, traced: 600 µs from exec to the launcher's end. Untraced, with the caller's fork and wait: 580 µs.",
        ] {
            assert!(table.contains(line), "{line}\n{table}");
        }
    }

    #[test]
    fn each_step_has_a_box_in_its_lane_and_one_beside_its_name() {
        let svg = draw(&timeline(), &Machine::default());
        for (class, number) in [("launcher", 2), ("launcher turns", 0), ("init", 2), ("init turns", 2)] {
            assert_eq!(svg.matches(&format!("<rect class=\"{class}\"")).count(), number, "{class}");
        }
        for text in ["begins &lt;it>, 500 µs", "waits, 20 µs", "600 µs", "about a microsecond"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn ticks_are_round_numbers() {
        let cases = [(580e3, 50e3), (700e3, 100e3), (1.3e6, 200e3), (90e3, 10e3)];
        for (whole, expected) in cases {
            assert!((tick(whole) - expected).abs() < 1.0, "{whole}: {}", tick(whole));
        }
    }
}
