//! `bench/run`: launch beside others, in one run.
//!
//! README.md says what is measured. `peers` and `inits` know the command lines, `cases` asks everybody in turn, `figures` makes
//! medians and ratios of the values, `report` writes them, `guard` compares them with the committed ones.

#![forbid(unsafe_code)]

mod cases;
mod error;
mod figures;
mod guard;
mod host;
mod inits;
mod measure;
mod oci;
mod options;
mod peers;
mod place;
mod processes;
mod progress;
mod record;
mod report;
mod rounds;
mod stats;
mod syscalls;
mod targets;
mod timeline;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::prctl::set_child_subreaper;
use nix::unistd::geteuid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use cases::Bench;
use error::Error;
use figures::{Figures, Machine};
use measure::Runner;
use options::Options;
use place::Place;
use progress::Progress;

/// The committed figures.
const FIGURES: &str = "bench/figures.json";
/// The committed chart.
const CHART: &str = "docs/performance.svg";
/// The committed timeline.
const TIMELINE: &str = "docs/timeline.svg";
/// How often what is worse is measured again.
const AGAIN: usize = 2;

fn main() -> ExitCode {
    // It starts sandboxes by the library, too, and is PID 1 in some of them.
    launch::become_init_if_asked();
    let result = match std::env::args_os().nth(1) {
        Some(word) if word == host::WORD => host::serve(),
        _ => run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("bench: {line}");
            }
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run() -> Result<(), Error> {
    let options = Options::read(std::env::args_os().skip(1))?;
    if options.help {
        print!("{}", options::USAGE);
        return Ok(());
    }
    if options.timeline {
        return timeline(&options);
    }
    let figures = match &options.from {
        Some(file) => read(file)?,
        None => measure(&options)?,
    };
    let is_on_stdout = options.json.as_deref() == Some(Path::new("-"));
    if options.from.is_some() && !is_on_stdout {
        let now = record::begin(&place::root()?, geteuid().is_root());
        figures.cases.iter().for_each(|case| println!("{}", report::table::case(case, &now)));
    }
    let targets = targets::lines(&figures);
    if !is_on_stdout && !targets.is_empty() {
        println!("## What it is to reach\n\n{}\n", targets.join("\n"));
    }
    write(&options, &figures)?;
    if options.check { check(&options, &figures) } else { Ok(()) }
}

/// Takes the timeline, prints and draws it.
fn timeline(options: &Options) -> Result<(), Error> {
    let is_interrupted = handle_signals()?;
    let place = Place::new(options)?;
    let machine = place::machine(place.is_root);
    warn_of_load(&machine, options.write, &Progress::new());
    let timeline = timeline::take(options, &place, &Runner::new(&place, is_interrupted))?;
    println!("{}", report::timeline::table(&timeline));
    let files = options.svg.as_deref().into_iter().chain(options.write.then_some(Path::new(TIMELINE)));
    files.into_iter().try_for_each(|file| {
        let svg = report::timeline::draw(&timeline, &machine);
        fs::write(file, svg).map_err(Error::at("write", file))
    })
}

/// What says that a signal wants us to end. Whom somebody leaves over comes to us, who wait for them.
fn handle_signals() -> Result<Arc<AtomicBool>, Error> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends it at once.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&is_interrupted))
            .and_then(|_| flag::register(signal, Arc::clone(&is_interrupted)))
            .map_err(Error::of("handle", "signals"))?;
    }
    set_child_subreaper(true).map_err(Error::of("prctl", "PR_SET_CHILD_SUBREAPER"))?;
    Ok(is_interrupted)
}

fn warn_of_load(machine: &Machine, is_kept: bool, progress: &Progress) {
    if let Some(line) = record::warning(machine, is_kept) {
        progress.say(&line);
    }
}

fn measure(options: &Options) -> Result<Figures, Error> {
    let is_interrupted = handle_signals()?;
    let place = Place::new(options)?;
    let mut figures = Figures { quick: options.quick, cases: Vec::new() };
    let progress = Progress::new();
    let begun = record::begin(&place.root, place.is_root);
    warn_of_load(&begun.machine, options.write, &progress);
    let runner = Runner::new(&place, is_interrupted);
    let mut bench = Bench { options, place: &place, runner: &runner, progress, begun: begun.clone() };
    let is_on_stdout = options.json.as_deref() == Some(Path::new("-"));
    cases::run(&mut bench, |case| {
        if !is_on_stdout {
            println!("{}", report::table::case(&case, &begun));
        }
        figures.cases.push(case);
    })?;
    Ok(figures)
}

fn read(file: &Path) -> Result<Figures, Error> {
    let text = fs::read_to_string(file).map_err(Error::at("read", file))?;
    serde_json::from_str(&text).map_err(|error| Error::Figures(file.display().to_string(), error.to_string()))
}

fn write(options: &Options, figures: &Figures) -> Result<(), Error> {
    if let Some(file) = options.json.as_deref() {
        let text = json(figures)?;
        if file == Path::new("-") {
            std::io::stdout().write_all(text.as_bytes()).map_err(Error::of("write", "stdout"))?;
        } else {
            fs::write(file, text).map_err(Error::at("write", file))?;
        }
    }
    let draw = |file: &Path, figures: &Figures| {
        fs::write(file, report::svg::draw(figures)).map_err(Error::at("write", file))
    };
    if let Some(file) = &options.svg {
        draw(file, figures)?;
    }
    if options.write {
        let (file, mut figures) = (Path::new(FIGURES), figures.clone());
        if !options.cases.is_empty() && file.exists() {
            figures = figures.merged_into(read(file)?);
        }
        fs::write(file, json(&figures)?).map_err(Error::at("write", file))?;
        draw(Path::new(CHART), &figures)?;
    }
    Ok(())
}

fn json(figures: &Figures) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(figures);
    text.map(|text| text + "\n").map_err(|error| Error::Figures("writing".into(), error.to_string()))
}

/// With the committed figures. What is worse is measured again: the others on a machine may be in the way of one start more than of
/// another's, but not each time.
fn check(options: &Options, figures: &Figures) -> Result<(), Error> {
    let committed = read(Path::new(FIGURES))?;
    let mut verdict = guard::compare(&committed, figures);
    let (compared, missing) = (verdict.compared, std::mem::take(&mut verdict.missing));
    for line in &missing {
        eprintln!("bench: NOT COMPARED: {line}");
    }
    for _ in 0..AGAIN {
        if verdict.cases.is_empty() || options.from.is_some() {
            break;
        }
        verdict.losses.iter().for_each(|line| eprintln!("bench: measured again: {line}"));
        // What is measured again is compared, and not kept.
        let again = Options { cases: verdict.cases, write: false, ..options.clone() };
        verdict = guard::compare(&committed, &measure(&again)?);
    }
    let mut losses = verdict.losses;
    if std::env::var_os("CI").is_some() {
        losses.extend(missing);
    }
    if compared == 0 {
        losses.push("nothing could be compared".into());
    }
    if losses.is_empty() {
        eprintln!("bench: {compared} figures are as good as the committed ones, within the margins");
        Ok(())
    } else {
        Err(Error::Worse(losses))
    }
}
