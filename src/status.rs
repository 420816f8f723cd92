//! What happens, as JSON lines on a descriptor of the caller's (`--status-fd`); docs/exit-codes.md describes them.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use launch_init::exit::{self, Outcome};
use serde::Serialize;

use crate::error::Error;
use crate::sandbox::Started;
use launch_init::sys::duplicate;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Started {
        init_pid: i32,
        pid: i32,
        pid_inside: i32,
        namespaces: BTreeMap<&'a str, u64>,
    },
    #[serde(rename = "run-ended")]
    RunEnded {
        row: &'static str,
        code: Option<u8>,
        signal: Option<i32>,
        exit_status: u8,
    },
    Exited {
        row: &'static str,
        code: Option<u8>,
        signal: Option<i32>,
        exit_status: u8,
    },
    Failed {
        row: &'static str,
        step: &'a str,
        object: String,
        errno: Option<i32>,
        message: String,
        exit_status: u8,
    },
}

/// The row of docs/exit-codes.md, the exit code, and the signal.
pub(crate) fn parts(outcome: Outcome) -> (&'static str, Option<u8>, Option<i32>) {
    match outcome {
        Outcome::Exited(code) => ("exited", Some(code), None),
        Outcome::Killed(signal) => ("killed", None, Some(signal)),
        Outcome::TimedOut => ("timed-out", None, None),
    }
}

/// Where the lines go, if anywhere.
#[derive(Debug)]
pub struct StatusLines(Option<File>);

impl StatusLines {
    /// To descriptor `fd`, which stays the caller's: a copy of it is written to.
    ///
    /// # Errors
    /// [`Error::Descriptor`]: it is not open.
    pub fn to(fd: Option<i32>) -> Result<Self, Error> {
        let copy = |fd| duplicate(fd).map_err(|errno| Error::Descriptor(fd, errno));
        Ok(Self(fd.map(copy).transpose()?.map(File::from)))
    }

    /// The workload runs.
    pub fn started(&mut self, init_pid: i32, started: &Started) {
        if self.0.is_some() {
            self.write_started(init_pid, started);
        }
    }

    /// Apart: to sort takes 4 KiB on the stack.
    #[cold]
    #[inline(never)]
    fn write_started(&mut self, init_pid: i32, started: &Started) {
        let namespaces = started.namespaces.iter().map(|(kind, inode)| (kind.as_str(), *inode)).collect();
        self.write(&Line::Started { init_pid, pid: started.pid, pid_inside: started.pid_inside, namespaces });
    }

    /// The workload has ended.
    pub fn exited(&mut self, outcome: Outcome) {
        let (row, code, signal) = parts(outcome);
        self.write(&Line::Exited { row, code, signal, exit_status: outcome.code() });
    }

    /// A run of the workload has ended, and another one follows.
    pub fn run_ended(&mut self, outcome: Outcome) {
        let (row, code, signal) = parts(outcome);
        self.write(&Line::RunEnded { row, code, signal, exit_status: outcome.code() });
    }

    /// There is no workload.
    pub fn failed(&mut self, error: &Error) {
        let row = match error.exit_code() {
            exit::NOT_FOUND => "not-found",
            exit::NOT_EXECUTABLE => "not-executable",
            _ => "failed",
        };
        self.write(&Line::Failed {
            row,
            step: error.step(),
            object: error.object().display().to_string(),
            errno: error.errno().map(|errno| errno as i32),
            message: error.reason(),
            exit_status: error.exit_code(),
        });
    }

    /// One line is one write, so that lines of several launches on one pipe do not mix. A reader who went away
    /// is told of once, and is no reason to end the workload.
    #[cold]
    fn write(&mut self, line: &Line<'_>) {
        if let Some(file) = &mut self.0
            && let Err(error) = write_to(file, line)
        {
            log::warn!("status descriptor: write: {error}");
            self.0 = None;
        }
    }
}

/// Apart, since it has 4 KiB on the stack, and hardly any launch has such a descriptor.
#[cold]
#[inline(never)]
fn write_to(file: &mut File, line: &Line<'_>) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}
