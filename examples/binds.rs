//! Measures how long a launch with many binds takes, beside bubblewrap with the same, in one run: the table of
//! docs/performance.md.
//!
//! `cargo build --release && cargo run --release --example binds -- LAUNCH [BWRAP]`

#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many binds, and how many runs of that; an odd number, so that there is one in the middle.
const SERIES: [(usize, usize); 5] = [(10, 51), (100, 31), (500, 11), (1_000, 7), (2_000, 7)];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let launch = arguments.next().ok_or("say where launch is, as in: binds target/release/launch")?;
    let bwrap = arguments.next().unwrap_or_else(|| "bwrap".into());
    let folder = Folder::new(SERIES[SERIES.len() - 1].0)?;
    println!("| binds | launch | a bind | bwrap | a bind | launch / bwrap |");
    println!("|---|---|---|---|---|---|");
    for (number, runs) in SERIES {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            times[0].push(time(Command::new(&launch).args(launch_arguments(&folder, number)))?);
            times[1].push(time(Command::new(&bwrap).args(bwrap_arguments(&folder, number)))?);
        }
        let [ours, theirs] = times.map(|mut times| {
            times.sort();
            times[runs / 2].as_secs_f64()
        });
        let (each, ms) = (1e6 / number as f64, 1e3);
        println!(
            "| {number} | {:.1} ms | {:.0} µs | {:.1} ms | {:.0} µs | {:.2} |",
            ours * ms,
            ours * each,
            theirs * ms,
            theirs * each,
            ours / theirs
        );
    }
    Ok(())
}

fn launch_arguments(folder: &Folder, number: usize) -> Vec<OsString> {
    let binds = folder.sources(number).flat_map(|(source, at)| {
        let mut value = source.into_os_string();
        value.push(":");
        value.push(at);
        ["--ro-bind".into(), value]
    });
    binds.chain(["--".into(), "true".into()]).collect()
}

/// The same namespaces, and the same file systems.
fn bwrap_arguments(folder: &Folder, number: usize) -> Vec<OsString> {
    let start =
        ["--unshare-all", "--share-net", "--dev-bind", "/", "/", "--proc", "/proc", "--tmpfs", "/tmp"];
    let binds = folder
        .sources(number)
        .flat_map(|(source, at)| ["--ro-bind".into(), source.into_os_string(), at.into_os_string()]);
    start.into_iter().map(OsString::from).chain(binds).chain(["true".into()]).collect()
}

fn time(command: &mut Command) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    if status.success() { Ok(time) } else { Err(format!("{:?}: {status}", command.get_program()).into()) }
}

/// A directory for each bind, gone when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(number: usize) -> Result<Self, Box<dyn Error>> {
        // Not in /tmp, which is a fresh one inside.
        let folder = Self(Path::new("/var/tmp").join(format!("launch-binds-{}", std::process::id())));
        fs::create_dir(&folder.0)?;
        for (source, _) in folder.sources(number) {
            fs::create_dir(source)?;
        }
        Ok(folder)
    }

    /// What is bound, and where.
    fn sources(&self, number: usize) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        (0..number).map(|i| (self.0.join(i.to_string()), Path::new("/tmp/at").join(i.to_string())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
