//! Starts from a process with a large heap and threads, as a service is that runs commands for others.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::Bench;
use crate::error::Error;
use crate::figures::{Case, Sheet, Unit};
use crate::host::{Request, WORD};
use crate::inits::Init;
use crate::measure::Runner;
use crate::peers::{self, Peer, Setup, Workload};
use crate::processes;

/// How many rounds, all and quick.
pub const ROUNDS: (usize, usize) = (101, 15);

const MIB: usize = 1024;
const THREADS: usize = 8;
const OURS: &[&str] = &["library"];

/// A process that starts things when it is told to.
struct Host {
    name: &'static str,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Who starts, and what it is told.
struct Starter {
    row: usize,
    host: usize,
    request: String,
}

/// Both ways of the library, and others by posix_spawn and fork.
pub fn run(bench: &mut Bench<'_>) -> Result<Vec<Case>, Error> {
    bench.progress.begin("library");
    let title = "Start to end from a process with 1 GiB of heap and eight threads";
    let mut sheet = Sheet::new("library", title, &[("time", "time", Unit::Time)], OURS);
    let place = bench.place;
    let own = std::env::current_exe().map_err(Error::of("find", "the bench's own program"))?;
    let words: Vec<OsString> =
        vec![own.into(), WORD.into(), MIB.to_string().into(), THREADS.to_string().into()];
    let mut hosts = vec![Host::start(bench.runner, "the process with a heap", &words)?];
    let workload = place.files.workloads.join(Workload::True.name());
    let mut starters = Vec::new();

    let init = place.init(Init::Launch).or_else(|_| place.init(Init::LaunchPlain));
    let ways = [
        ("library", init.clone().ok(), "PID 1 is launch-init"),
        ("library-self", None, "PID 1 is the calling program"),
    ];
    for (name, init, note) in ways {
        if !bench.options.wants_row(name) {
            continue;
        }
        let row = sheet.row(name, "", "launch::Command::new(\"true\").status()", note);
        let request = Request::Library { init, workload: workload.clone() };
        starters.push(Starter { row, host: 0, request: json(&request)? });
    }
    type Way = fn(Vec<OsString>) -> Request;
    let others: [(&str, Peer, Way, &str); 5] = [
        ("launch", Peer::Launch, Request::Spawn, "by posix_spawn"),
        ("tutorial-static", Peer::TutorialStatic, Request::Spawn, "by posix_spawn"),
        ("bwrap", Peer::Bwrap, Request::Spawn, "by posix_spawn"),
        ("bwrap-fork", Peer::Bwrap, Request::Fork, "by fork and exec"),
        ("tutorial-fork", Peer::TutorialStatic, Request::Fork, "by fork and exec"),
    ];
    for (name, peer, way, note) in others {
        if !bench.options.wants_row(name) {
            continue;
        }
        let tool = match place.peer(peer) {
            Ok(tool) => tool,
            Err(why) => {
                sheet.skip(name, why);
                continue;
            }
        };
        let line =
            peers::line(peer, &tool, Setup::SHARED, &place.files).map_err(|why| Error::peer(name, why))?;
        let row = sheet.row(name, "", &place.relative(&line.text()), note);
        starters.push(Starter { row, host: 0, request: json(&way(line.words))? });
    }
    if bench.options.wants_row("tutorial-in-process") {
        let words = tutorial(&place.files.workloads, &workload);
        let command = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let note = "the tutorial's clone in the process itself";
        let row = sheet.row("tutorial-in-process", "", &place.relative(&command), note);
        hosts.push(Host::start(bench.runner, "tutorial-in-process", &words)?);
        starters.push(Starter { row, host: 1, request: "\n".into() });
    }

    // The first start reads the files.
    for starter in &starters {
        hosts[starter.host].ask(&starter.request)?;
    }
    let rounds = bench.options.rounds(ROUNDS);
    sheet.measured(bench.measured(Some(rounds)));
    for round in 0..rounds {
        for who in crate::rounds::order(round, &vec![1; starters.len()]) {
            let starter = &starters[who];
            let time = hosts[starter.host].ask(&starter.request)?;
            sheet.add(starter.row, "time", round, time);
            bench.runner.look_for_interrupts()?;
            bench.progress.tell(|| format!("round {} of {rounds}", round + 1));
        }
    }
    hosts.into_iter().try_for_each(Host::end)?;
    Ok(vec![sheet.finish()])
}

fn tutorial(folder: &Path, workload: &Path) -> Vec<OsString> {
    let numbers = [MIB.to_string().into(), THREADS.to_string().into()];
    let mut words: Vec<OsString> = vec![folder.join("tutorial-static").into(), "--serve".into()];
    words.extend(numbers);
    words.extend(["--".into(), workload.into()]);
    words
}

fn json(request: &Request) -> Result<String, Error> {
    let text =
        serde_json::to_string(request).map_err(|error| Error::peer("the request", error.to_string()))?;
    Ok(text + "\n")
}

impl Host {
    fn start(runner: &Runner, name: &'static str, words: &[OsString]) -> Result<Self, Error> {
        let mut command = runner.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(Error::of("run", name))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::peer(name, "has no pipes"));
        };
        Ok(Self { name, child, requests, answers: BufReader::new(answers) })
    }

    /// The nanoseconds of a start.
    fn ask(&mut self, request: &str) -> Result<f64, Error> {
        let mut answer = String::new();
        self.requests.write_all(request.as_bytes()).map_err(Error::of("ask", self.name))?;
        self.answers.read_line(&mut answer).map_err(Error::of("hear", self.name))?;
        answer.trim().parse().map_err(|_| Error::peer(self.name, format!("did not do: {}", request.trim())))
    }

    fn end(mut self) -> Result<(), Error> {
        drop(self.requests);
        self.child.wait().map_err(Error::of("wait for", self.name))?;
        processes::reap();
        Ok(())
    }
}
