//! Runs what is measured: takes the time, counts page faults and system calls.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::error::Error;
use crate::peers::{Line, Workload};
use crate::place::Place;
use crate::processes;
use crate::syscalls::{self, Calls};

/// How long those whom a start leaves over may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs command lines.
#[derive(Debug)]
pub struct Runner {
    environment: Vec<(&'static str, OsString)>,
    number: Cell<u64>,
    is_interrupted: Arc<AtomicBool>,
}

impl Runner {
    /// With the environment that everybody gets. `is_interrupted` says that it is to end.
    pub fn new(place: &Place, is_interrupted: Arc<AtomicBool>) -> Self {
        Self { environment: place.environment(), number: Cell::new(0), is_interrupted }
    }

    /// # Errors
    /// [`Error::Interrupted`], if that is so.
    pub fn look_for_interrupts(&self) -> Result<(), Error> {
        if self.is_interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// A command with everybody's environment, and no stdin, stdout and stderr.
    pub fn command(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The same, of a line that may need a new name.
    pub fn of_line(&self, line: &Line) -> Command {
        self.number.set(self.number.get() + 1);
        self.command(&line.numbered(self.number.get()))
    }

    /// From the start to the end.
    pub fn time(&self, who: &str, line: &Line) -> Result<Duration, Error> {
        let mut command = self.of_line(line);
        let begin = Instant::now();
        let status = command.spawn().and_then(|mut child| child.wait()).map_err(Error::of("run", who))?;
        let time = begin.elapsed();
        self.look_for_interrupts()?;
        processes::wait_for_all(PATIENCE);
        if status.success() { Ok(time) } else { Err(Error::peer(who, format!("ended with {status}"))) }
    }

    /// Tries it, twice, since the first one has to read its files. How long it takes; or why it does not work here, in
    /// its own words.
    pub fn probe(&self, line: &Line) -> Result<Result<Duration, String>, Error> {
        let mut time = Duration::ZERO;
        for _ in 0..2 {
            let begin = Instant::now();
            let output = self.of_line(line).stderr(Stdio::piped()).output();
            time = begin.elapsed();
            self.look_for_interrupts()?;
            processes::wait_for_all(PATIENCE);
            match output {
                Ok(output) if output.status.success() => {}
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let last = said.lines().last().unwrap_or("says nothing").trim().to_owned();
                    return Ok(Err(format!("does not work here: {last}")));
                }
                Err(error) => return Ok(Err(format!("does not work here: {error}"))),
            }
        }
        Ok(Ok(time))
    }

    /// The page faults that needed no disk, of all processes of a start.
    pub fn faults(&self, who: &str, line: &Line) -> Result<i64, Error> {
        let now = || {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(Error::of("getrusage", who))?;
            Ok(usage.minor_page_faults())
        };
        let before = now()?;
        self.time(who, line)?;
        Ok(now()? - before)
    }

    /// The system calls of a start.
    pub fn calls(&self, who: &str, line: &Line, workload: Workload, place: &Place) -> Result<Calls, Error> {
        let strace = place.installed("strace").map_err(|why| Error::peer("strace", why))?;
        let file = place.files.state.join("trace");
        let mut words: Vec<OsString> =
            vec![strace.into(), "-f".into(), "-q".into(), "-o".into(), file.clone().into(), "--".into()];
        words.extend(line.words.iter().cloned());
        let traced = Line { words, note: "" };
        self.time(who, &traced)?;
        let trace = fs::read(&file).map_err(Error::at("read", &file))?;
        Ok(syscalls::count(&String::from_utf8_lossy(&trace), workload.name()))
    }
}
