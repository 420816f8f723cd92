//! What a plan will do, step by step: Plan → words, or data (`--explain`).
//!
//! It is the plan itself that is printed. Every struct is taken apart and every variant matched, so that the compiler
//! names a file of this folder when a plan gets something new. Each of them explains what one process does at one time;
//! spelling.rs says how values are written. docs/explain.md describes the form.

#![forbid(unsafe_code)]

mod grounds;
mod launcher;
mod look_after;
mod set_up;
mod spelling;
#[cfg(test)]
mod tests;
mod workload;

use std::ffi::{OsStr, OsString};
use std::fmt::Write;

use launch_init::handoff;
use serde_json::{Value, json};

use self::grounds::Grounds;
use self::launcher::{clone, id_maps, ids, kept, kept_layers};
use self::look_after::look_after;
use self::set_up::set_up;
pub use self::spelling::spelled;
use self::workload::start;
use crate::error::printable;
use crate::plan::Plan;

/// The version of the data's form: another one where a reader of the former would misread it.
pub const VERSION: u32 = 1;

/// The steps' names and objects stand in a column, but for those that are longer than this, in characters.
const WIDEST: usize = 36;

/// The plan in words, a line a step in the order in which they are carried out, below a heading for each process that
/// does so. No line has anything in it that a terminal would obey.
pub fn words(plan: &Plan) -> String {
    let steps = explain(plan);
    let titles: Vec<String> = steps.iter().map(Explained::title).collect();
    let lengths = titles.iter().map(|title| title.chars().count());
    let column = lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
    let digits = steps.len().to_string().len();
    let mut text = String::new();
    let mut doer = None;
    for ((number, step), title) in (1..).zip(&steps).zip(&titles) {
        if doer.replace(step.by) != Some(step.by) {
            let _ = writeln!(text, "{}:", step.by.in_words());
        }
        let line = format!("{number:>digits$}  {title:column$}  {}", step.words);
        text.push_str(&printable(&line));
        text.push('\n');
    }
    text
}

/// The plan as data: one JSON object in one line; see docs/explain.md. Of the environment it has the names alone.
pub fn json(plan: &Plan) -> String {
    let steps: Vec<Value> = (1..)
        .zip(explain(plan))
        .map(|(number, step)| {
            json!({
                "number": number,
                "by": step.by.name(),
                "step": step.name,
                "object": spelled(&step.object),
                "words": step.words,
                "details": step.details,
            })
        })
        .collect();
    let mut text = json!({ "version": VERSION, "steps": steps }).to_string();
    text.push('\n');
    text
}

/// Who carries a step out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Launcher,
    Init,
    Workload,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Launcher => "launcher",
            Self::Init => "init",
            Self::Workload => "workload",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Launcher => "the launcher",
            Self::Init => "init, PID 1 inside",
            Self::Workload => "the process that becomes the command",
        }
    }
}

/// A step, with the name and object that its error has.
#[derive(Debug)]
struct Explained {
    by: By,
    name: &'static str,
    object: OsString,
    words: String,
    details: Value,
}

impl Explained {
    fn new(
        by: By,
        name: &'static str,
        object: impl AsRef<OsStr>,
        words: impl Into<String>,
        details: Value,
    ) -> Self {
        Self { by, name, object: object.as_ref().into(), words: words.into(), details }
    }

    fn title(&self) -> String {
        let object = if self.object.is_empty() { "''".into() } else { self.object.to_string_lossy() };
        printable(&format!("{} {object}", self.name))
    }
}

fn explain(plan: &Plan) -> Vec<Explained> {
    let Plan { namespaces, maps, init_capabilities, init_ids, kept: layers, warnings: _, init } = plan;
    // What is made ahead is explained by nobody: no command line asks for it.
    let handoff::Plan {
        log_level,
        steps,
        workload,
        policy,
        probes,
        report_namespaces,
        is_on_one_processor: _,
        ahead: _,
    } = init;
    let mut explained = kept(&workload.descriptors);
    explained.extend(layers.iter().map(kept_layers));
    explained.push(clone(*namespaces, maps.is_some(), init_capabilities));
    explained.extend(maps.iter().flat_map(id_maps));
    explained.push(Explained::new(
        By::Launcher,
        "handoff",
        "plan",
        "init is told all that follows",
        json!({
            "log_level": log_level,
            "report_namespaces": report_namespaces,
            "tells": policy.tells,
            "dies_with_launcher": policy.dies_with_launcher,
        }),
    ));
    explained.extend(ids(*init_ids));
    let mut grounds = Grounds::default();
    for step in steps {
        let (words, details) = set_up(step, &grounds);
        explained.push(Explained::new(By::Init, step.name(), step.object(), words, details));
        grounds.after(step);
    }
    explained.extend(start(workload));
    explained.extend(look_after(policy, probes));
    explained
}
