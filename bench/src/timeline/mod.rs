//! The timeline of one launch: traces starts by perf(1). `trace` reads what it prints, `steps` tells the steps apart.

#![forbid(unsafe_code)]

pub mod steps;
mod trace;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Error;
use crate::measure::Runner;
use crate::options::Options;
use crate::peers::{self, Line, Peer, Setup};
use crate::place::Place;
use crate::stats::spread;
use steps::Step;

/// What is traced.
const EVENTS: &str = "raw_syscalls:sys_enter,raw_syscalls:sys_exit,sched:sched_switch,sched:sched_process_fork,sched:sched_process_exec";
/// How many starts, all and quick.
pub const ROUNDS: (usize, usize) = (51, 15);
/// perf's buffer for each processor: large enough that it does not wake up while something is measured.
const BUFFER: &str = "32M";

/// The medians of the quicker half of many starts.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// In the order in which they begin.
    pub steps: Vec<Step>,
    /// How many starts there were.
    pub starts: usize,
    /// From the first system call to the launcher's end, in nanoseconds.
    pub whole: f64,
    /// From the caller's start to its wait, without being traced.
    pub untraced: f64,
}

/// Traces starts, of the set-up of the case start/shared.
///
/// # Errors
/// perf is not there or may not trace; the starts have other steps than those that are known.
pub fn take(options: &Options, place: &Place, runner: &Runner) -> Result<Timeline, Error> {
    if !place.is_root {
        return Err(Error::peer("timeline", "takes root"));
    }
    let perf =
        place.installed("perf").map_err(|why| Error::peer("perf", format!("{why} (Debian: linux-perf)")))?;
    let who = Peer::Launch.name();
    let tool = place.peer(Peer::Launch).map_err(|why| Error::peer(who, why))?;
    let setup = Setup::SHARED;
    place.prepare(setup)?;
    let line = peers::line(Peer::Launch, &tool, setup, &place.files).map_err(|why| Error::peer(who, why))?;
    runner.probe(&line)?.map_err(|why| Error::peer(who, why))?;
    let rounds = options.rounds(ROUNDS);
    let start = |_| start(runner, &line);
    let untraced = (0..rounds).map(start).collect::<Result<Vec<_>, _>>()?;
    let file = place.files.state.join("perf.data");
    let recording = Recording::begin(&perf, &file)?;
    (0..rounds).try_for_each(|round| start(round).map(drop))?;
    recording.end()?;
    let threads = trace::read(&script(&perf, &file)?);
    let found = steps::starts(&threads, &tool.to_string_lossy());
    let whole: Vec<_> = found.iter().filter_map(|start| start.clone().ok()).collect();
    if whole.len() * 2 <= rounds {
        let missing: Vec<_> = found.iter().filter_map(|start| start.as_ref().err().copied()).collect();
        let missing = missing.first().map_or_else(String::new, |step| format!("; one has no `{step}`"));
        let what = format!("of {rounds} starts {} have all steps{missing}", whole.len());
        return Err(Error::peer("timeline", what));
    }
    let number = whole.len();
    let whole = quicker_half(whole, |steps| steps::whole(steps));
    let ends: Vec<_> = whole.iter().map(|steps| steps::whole(steps)).collect();
    Ok(Timeline {
        steps: steps::medians(&whole),
        starts: number,
        whole: spread(&ends).median,
        untraced: spread(&quicker_half(untraced, |time| *time)).median,
    })
}

/// Others on the machine make a start longer, and never shorter.
fn quicker_half<T>(mut values: Vec<T>, time: impl Fn(&T) -> f64) -> Vec<T> {
    values.sort_by(|a, b| time(a).total_cmp(&time(b)));
    values.truncate(values.len().div_ceil(2));
    values
}

/// How long a start takes, in nanoseconds. It leaves nobody over who would be waited for, as those of others may; and perf, which
/// is there meanwhile, is to stay.
fn start(runner: &Runner, line: &Line) -> Result<f64, Error> {
    let mut command = runner.of_line(line);
    let begin = Instant::now();
    let status = command.status().map_err(Error::of("run", "launch"))?;
    let time = begin.elapsed();
    runner.look_for_interrupts()?;
    if status.success() {
        Ok(time.as_nanos() as f64)
    } else {
        Err(Error::peer("launch", format!("ended with {status}")))
    }
}

/// perf, while it records. Dropping it ends it.
struct Recording(Child);

impl Recording {
    /// Returns when it does record.
    fn begin(perf: &Path, file: &Path) -> Result<Self, Error> {
        // It starts its command when all is set up, and ends with it. It stays on one processor, out of the way of what it
        // records, and does not record itself: that alone would give it something to write for ever.
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(perf).args([
            "record",
            "--quiet",
            "--all-cpus",
            "--event",
            EVENTS,
        ]);
        command.args(["--exclude-perf", "--mmap-pages", BUFFER, "--output"]).arg(file);
        command.args(["--", "sh", "-c", "echo; read _ || :"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(Error::of("run", "taskset"))?;
        let stdout = child.stdout.take();
        let recording = Self(child);
        let mut said = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut said).map_err(Error::of("read", "perf"))?;
        }
        if said == "\n" { Ok(recording) } else { Err(Error::peer("perf", "does not record")) }
    }

    fn end(mut self) -> Result<(), Error> {
        drop(self.0.stdin.take());
        let status = self.0.wait().map_err(Error::of("wait for", "perf"))?;
        if status.success() { Ok(()) } else { Err(Error::peer("perf", format!("ended with {status}"))) }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Who has ended meanwhile needs no signal.
            let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT);
            let _ = self.0.wait();
        }
    }
}

/// What was recorded, as text.
fn script(perf: &Path, file: &Path) -> Result<String, Error> {
    let words: [OsString; 5] = [
        "script".into(),
        "--ns".into(),
        "--fields".into(),
        "tid,cpu,time,event,trace".into(),
        "--input".into(),
    ];
    let output =
        Command::new(perf).args(words).arg(file).output().map_err(Error::of("run", "perf script"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::peer("perf script", said.lines().last().unwrap_or("says nothing").trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quicker_half_has_the_one_in_the_middle() {
        assert_eq!(quicker_half(vec![5.0, 1.0, 4.0, 2.0, 3.0], |time| *time), [1.0, 2.0, 3.0]);
    }
}
