//! A process with a large heap and threads that starts things when it is told to, and says how long each took: what a service
//! is that runs commands for others. The bench runs itself as one.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The first word of its command line. The others are the size of the heap in MiB and the number of threads.
pub const WORD: &str = "--host";

/// What it is asked for: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A start by the library, of this workload. PID 1 is this file, or the bench's own.
    Library {
        /// PID 1's file.
        init: Option<PathBuf>,
        /// The workload.
        workload: PathBuf,
    },
    /// A command, by posix_spawn(3).
    Spawn(Vec<OsString>),
    /// A command, by fork(2) and execve(2).
    Fork(Vec<OsString>),
}

/// Serves its stdin: for each request a line with the nanoseconds from the start to the end.
pub fn serve() -> Result<(), Error> {
    let mut numbers = std::env::args().skip(2).map(|word| word.parse::<usize>());
    let (Some(Ok(mib)), Some(Ok(threads))) = (numbers.next(), numbers.next()) else {
        return Err(Error::Usage(format!("{WORD} MIB THREADS")));
    };
    // Each byte is written, so that each page is there.
    let heap = vec![1_u8; mib << 20];
    for _ in 0..threads {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    let mut stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Error::of("read", "stdin"))?;
        let request: Request =
            serde_json::from_str(&line).map_err(|error| Error::Usage(error.to_string()))?;
        let time = carry_out(&request)?;
        writeln!(stdout, "{}", time.as_nanos())
            .and_then(|()| stdout.flush())
            .map_err(Error::of("write", "stdout"))?;
    }
    drop(std::hint::black_box(heap));
    Ok(())
}

fn carry_out(request: &Request) -> Result<Duration, Error> {
    match request {
        Request::Library { init, workload } => {
            let begin = Instant::now();
            let mut command = launch::Command::new(workload);
            if let Some(init) = init {
                command.init_file(init);
            }
            match command.status() {
                Ok(launch::Outcome::Exited(0)) => Ok(begin.elapsed()),
                Ok(outcome) => Err(Error::peer("the library", format!("{outcome:?}"))),
                Err(error) => Err(Error::peer("the library", error.to_string())),
            }
        }
        Request::Spawn(words) => run(Command::new(&words[0]).args(&words[1..])),
        // std forks where the child has to change its ids, even if they are what they were; see std's own code of process.
        Request::Fork(words) => run(Command::new(&words[0]).args(&words[1..]).uid(geteuid().as_raw())),
    }
}

fn run(command: &mut Command) -> Result<Duration, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let begin = Instant::now();
    let status = command.status().map_err(Error::of("run", command.get_program().display()))?;
    let time = begin.elapsed();
    if status.success() {
        Ok(time)
    } else {
        Err(Error::peer(command.get_program().display().to_string(), status.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let requests = [
            Request::Library { init: Some("/i".into()), workload: "/w".into() },
            Request::Spawn(vec!["bwrap".into(), "true".into()]),
        ];
        for request in requests {
            let text = serde_json::to_string(&request).expect("JSON");
            assert!(!text.contains('\n'));
            assert_eq!(serde_json::from_str::<Request>(&text).expect("a request"), request);
        }
    }
}
