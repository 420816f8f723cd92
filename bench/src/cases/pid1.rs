//! PID 1 alone, beside others that are one: size, memory, wake-ups, orphans, signals. Each is that of a PID namespace that
//! unshare(1) makes.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Bench;
use crate::error::Error;
use crate::figures::{Case, Sheet, Unit};
use crate::inits::{self, Init, OURS};
use crate::measure::Runner;
use crate::place;
use crate::processes;
use crate::rounds;
use crate::stats;

/// How many real-time signals may be on their way.
const WINDOW: usize = 1_000;
/// How long something that takes no time may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of everything there is.
pub struct Amounts {
    pub memory_rounds: usize,
    idle: Duration,
    /// Rates differ from round to round by a third, of 300 orphans as of 5,000: many short rounds say more
    /// than few long ones.
    pub orphan_rounds: usize,
    orphans: usize,
    /// Short ones: what comes from outside falls into few of them.
    pub latency_rounds: usize,
    latencies: usize,
    signals: usize,
}

pub const FULL: Amounts = Amounts {
    memory_rounds: 5,
    idle: Duration::from_secs(60),
    orphan_rounds: 61,
    orphans: 1_000,
    latency_rounds: 601,
    latencies: 100,
    signals: 1_000_000,
};
pub const QUICK: Amounts = Amounts {
    memory_rounds: 1,
    idle: Duration::from_secs(3),
    orphan_rounds: 5,
    orphans: 1_000,
    latency_rounds: 301,
    latencies: 100,
    signals: 20_000,
};

/// Somebody who is measured.
struct Participant {
    init: Init,
    tool: PathBuf,
    row: usize,
}

/// A PID 1 with a workload that has said its first word.
struct Running {
    child: Child,
    pid: i32,
    stdin: Option<ChildStdin>,
    stdout: PipeReader,
}

/// All of it in one table.
pub fn run(bench: &mut Bench<'_>) -> Result<Vec<Case>, Error> {
    bench.progress.begin("pid1");
    let amounts = if bench.options.quick { QUICK } else { FULL };
    let columns = [
        ("size", "binary", Unit::Bytes),
        ("rss", "RSS", Unit::Bytes),
        ("pss", "PSS", Unit::Bytes),
        ("wakeups", "wake-ups a minute", Unit::Count),
        ("reaped", "zombies reaped", Unit::PerSecond),
        ("made", "orphans made and reaped", Unit::PerSecond),
        ("p50", "signal, p50", Unit::Time),
        ("p99", "signal, p99", Unit::Time),
        ("signals", "signals forwarded", Unit::PerSecond),
        ("arrived", "of them arrived", Unit::Count),
        // A figure of four digits does not tell one of a million that is missing.
        ("lost", "of them lost", Unit::Count),
    ];
    let mut sheet = Sheet::new("pid1", "PID 1", &columns, OURS);
    sheet.compare_by_rounds(&["p50", "p99"]);
    sheet.measured(bench.measured(None));
    let Amounts { idle, orphans, signals, latencies, .. } = amounts;
    let idle = idle.as_secs();
    let extrapolated = if idle < 60 { ", extrapolated" } else { "" };
    sheet.note(format!(
        "Each above a workload, below unshare --pid --fork --mount-proc. Memory as smaps_rollup says, above a workload that \
         sleeps; wake-ups (context switches) in {idle} s{extrapolated}. Zombies reaped: {orphans} that became zombies \
         while PID 1 was stopped, each in a session of its own, from SIGCONT until the last is gone. Made and reaped: \
         {orphans} orphans, start to end, most of it the forks. Signal: from kill(2) to the workload's handler, SIGUSR1 to each in turn, {latencies} times in \
         each of {} rounds; the sender is on one processor, PID 1 and the workload are on the next; \
         the ratios are the medians of those within a round. Signals forwarded: {signals} of a real-time signal, at most {WINDOW} on their way.",
        amounts.latency_rounds
    ));
    let unshare = bench.place.installed("unshare").map_err(|why| Error::peer("unshare", why))?;
    let participants = participants(bench, &mut sheet)?;
    let stage = Stage { bench, unshare, participants };
    stage.look_at_files(&mut sheet)?;
    stage.measure_memory(&mut sheet, amounts.memory_rounds)?;
    stage.count_wakeups(&mut sheet, amounts.idle)?;
    stage.have_orphans_reaped(&mut sheet, amounts.orphan_rounds, orphans)?;
    stage.measure_latency(&mut sheet, amounts.latency_rounds, latencies)?;
    stage.have_signals_forwarded(&mut sheet, signals)?;
    Ok(vec![sheet.finish()])
}

fn participants(bench: &Bench<'_>, sheet: &mut Sheet) -> Result<Vec<Participant>, Error> {
    let mut participants = Vec::new();
    for init in inits::ALL.into_iter().filter(|init| bench.options.wants_row(init.name())) {
        match bench.place.init(init) {
            Ok(tool) => {
                let is_ours = OURS.contains(&init.name());
                let version = if is_ours { String::new() } else { place::version(&tool) };
                let command = format!("{} -- WORKLOAD", tool.display());
                let row = sheet.row(init.name(), &version, &bench.place.relative(&command), "");
                participants.push(Participant { init, tool, row });
            }
            Err(why) => sheet.skip(init.name(), why),
        }
    }
    if participants.is_empty() {
        Err(Error::peer("pid1", "nobody is there to measure"))
    } else {
        Ok(participants)
    }
}

/// What all of the parts need.
struct Stage<'a, 'b> {
    bench: &'a mut Bench<'b>,
    unshare: PathBuf,
    participants: Vec<Participant>,
}

impl Stage<'_, '_> {
    fn workload(&self, words: &[&str]) -> Vec<OsString> {
        let program = self.bench.place.files.workloads.join(words[0]);
        std::iter::once(program.into()).chain(words[1..].iter().map(OsString::from)).collect()
    }

    /// Starts it, and waits for the workload's first word of this length.
    fn start(&self, one: &Participant, words: &[&str], length: usize) -> Result<Running, Error> {
        let pipe = std::io::pipe().map_err(Error::of("make", "a pipe"))?;
        self.start_into(pipe, one, words, length)
    }

    /// The same with a pipe that others may have too.
    fn start_into(
        &self,
        (mut stdout, says): (PipeReader, PipeWriter),
        one: &Participant,
        words: &[&str],
        length: usize,
    ) -> Result<Running, Error> {
        let who = one.init.name();
        let line = inits::line(&self.unshare, &one.tool, &self.workload(words), self.bench.place.is_root);
        let mut command = self.bench.runner.command(&line);
        let mut child = command.stdin(Stdio::piped()).stdout(says).spawn().map_err(Error::of("run", who))?;
        // The workload's end shall be the end of the pipe.
        drop(command);
        let mut word = vec![0; length];
        stdout.read_exact(&mut word).map_err(Error::of("start", who))?;
        let below = processes::descendants(&[child.id() as i32]).concat();
        let pid = below.into_iter().find(|pid| processes::is_first(*pid));
        let pid = pid.ok_or_else(|| Error::peer(who, "is no PID 1"))?;
        let stdin = child.stdin.take();
        Ok(Running { child, pid, stdin, stdout })
    }

    fn runner(&self) -> &Runner {
        self.bench.runner
    }

    fn look_at_files(&self, sheet: &mut Sheet) -> Result<(), Error> {
        for one in &self.participants {
            let file = fs::metadata(&one.tool).map_err(Error::at("look at", &one.tool))?;
            sheet.add(one.row, "size", 0, file.len() as f64);
        }
        Ok(())
    }

    fn measure_memory(&self, sheet: &mut Sheet, number: usize) -> Result<(), Error> {
        for round in 0..number {
            for who in rounds::order(round, &vec![1; self.participants.len()]) {
                let one = &self.participants[who];
                let running = self.start(one, &["hold"], 1)?;
                wait_until_idle(running.pid, one.init.name())?;
                // An ordinary user may not look at a PID 1 that is closed to readers.
                if let Some((rss, pss)) = processes::memory(running.pid) {
                    sheet.add(one.row, "rss", round, rss as f64);
                    sheet.add(one.row, "pss", round, pss as f64);
                }
                running.end(one.init.name())?;
                self.runner().look_for_interrupts()?;
            }
        }
        Ok(())
    }

    /// All at once, since they do nothing.
    fn count_wakeups(&self, sheet: &mut Sheet, idle: Duration) -> Result<(), Error> {
        let mut all = Vec::new();
        for one in &self.participants {
            let running = self.start(one, &["hold"], 1)?;
            wait_until_idle(running.pid, one.init.name())?;
            all.push((one, running));
        }
        let count = |running: &Running, one: &Participant| {
            processes::switches(running.pid).ok_or_else(|| Error::peer(one.init.name(), "has ended"))
        };
        let before = all.iter().map(|(one, running)| count(running, one)).collect::<Result<Vec<_>, _>>()?;
        let end = Instant::now() + idle;
        while Instant::now() < end {
            std::thread::sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(200)));
            self.runner().look_for_interrupts()?;
        }
        for ((one, running), before) in all.into_iter().zip(before) {
            let woken = count(&running, one)? - before;
            sheet.add(one.row, "wakeups", 0, woken as f64 * 60.0 / idle.as_secs_f64());
            running.end(one.init.name())?;
        }
        Ok(())
    }

    fn have_orphans_reaped(&self, sheet: &mut Sheet, number: usize, orphans: usize) -> Result<(), Error> {
        for round in 0..number {
            for who in rounds::order(round, &vec![1; self.participants.len()]) {
                let one = &self.participants[who];
                let per_second = |time: Duration| orphans as f64 / time.as_secs_f64();
                sheet.add(one.row, "reaped", round, per_second(self.reap_waiting(one, orphans)?));
                sheet.add(one.row, "made", round, per_second(self.reap_made(one, orphans)?));
                self.runner().look_for_interrupts()?;
            }
        }
        Ok(())
    }

    fn reap_waiting(&self, one: &Participant, orphans: usize) -> Result<Duration, Error> {
        let who = one.init.name();
        // "m": they are made, and alive.
        let mut running = self.start(one, &["orphans", "waiting", &orphans.to_string()], 1)?;
        kill(Pid::from_raw(running.pid), Signal::SIGSTOP).map_err(Error::of("stop", who))?;
        wait_for(who, "does not stop", || processes::is_stopped(running.pid))?;
        let mut stdin = running.stdin.take().ok_or_else(|| Error::peer(who, "has no stdin"))?;
        stdin.write_all(b"x").map_err(Error::of("tell", who))?;
        running.says(b'z', who)?;
        let begin = Instant::now();
        kill(Pid::from_raw(running.pid), Signal::SIGCONT).map_err(Error::of("continue", who))?;
        running.says(b'd', who)?;
        let time = begin.elapsed();
        running.child.wait().map_err(Error::of("wait for", who))?;
        processes::wait_for_all(PATIENCE);
        Ok(time)
    }

    fn reap_made(&self, one: &Participant, orphans: usize) -> Result<Duration, Error> {
        let who = one.init.name();
        let workload = self.workload(&["orphans", "made", &orphans.to_string()]);
        let line = inits::line(&self.unshare, &one.tool, &workload, self.bench.place.is_root);
        let begin = Instant::now();
        let status = self.runner().command(&line).status().map_err(Error::of("run", who))?;
        let time = begin.elapsed();
        self.runner().look_for_interrupts()?;
        processes::wait_for_all(PATIENCE);
        if status.success() { Ok(time) } else { Err(Error::peer(who, format!("orphans: {status}"))) }
    }

    /// One signal to each in turn, from a processor to the next one: whoever chooses its processors is on the sender's or on
    /// another, for as long as it lives, and that makes more of a difference than what it does.
    fn measure_latency(&self, sheet: &mut Sheet, number: usize, latencies: usize) -> Result<(), Error> {
        let (from, to) = two_processors()?;
        let (arrivals, arrive) = std::io::pipe().map_err(Error::of("make", "a pipe"))?;
        let duplicate = || std::io::Result::Ok((arrivals.try_clone()?, arrive.try_clone()?));
        let mut all = Vec::new();
        for one in &self.participants {
            let pipe = duplicate().map_err(Error::of("duplicate", "a pipe"))?;
            let running = self.start_into(pipe, one, &["arrivals", "times"], 8)?;
            running.stay_on(to, one.init.name())?;
            all.push((one, running));
        }
        drop(arrive);
        for round in 0..number {
            let order = rounds::order(round, &vec![1; all.len()]);
            let mut words = vec!["times".into(), from.to_string(), latencies.to_string()];
            words.extend(order.iter().map(|who| all[*who].1.pid.to_string()));
            let said = self.send("signals", &arrivals, &words)?;
            let times: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            for (place, who) in order.into_iter().enumerate() {
                let mut times: Vec<f64> = times.iter().skip(place).step_by(all.len()).copied().collect();
                times.sort_by(f64::total_cmp);
                sheet.add(all[who].0.row, "p50", round, stats::quantile(&times, 0.5));
                sheet.add(all[who].0.row, "p99", round, stats::quantile(&times, 0.99));
            }
        }
        all.into_iter().try_for_each(|(one, running)| running.end(one.init.name()))
    }

    fn have_signals_forwarded(&self, sheet: &mut Sheet, signals: usize) -> Result<(), Error> {
        for one in &self.participants {
            let running = self.start(one, &["arrivals", "count"], 1)?;
            let words = ["count".into(), running.pid.to_string(), signals.to_string(), WINDOW.to_string()];
            let said = self.send(one.init.name(), &running.stdout, &words)?;
            let mut numbers = said.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
            if let (Some(arrived), Some(time)) = (numbers.next(), numbers.next()) {
                sheet.add(one.row, "arrived", 0, arrived);
                sheet.add(one.row, "lost", 0, signals as f64 - arrived);
                sheet.add(one.row, "signals", 0, arrived * 1e9 / time);
            }
            running.end(one.init.name())?;
        }
        Ok(())
    }

    /// Has signals sent; what the sender says.
    fn send(&self, who: &str, arrivals: &PipeReader, words: &[String]) -> Result<String, Error> {
        let mut line = self.workload(&["sender"]);
        line.extend(words.iter().map(OsString::from));
        let arrivals = arrivals.try_clone().map_err(Error::of("duplicate", "a pipe"))?;
        let mut command = self.runner().command(&line);
        let output = command.stdin(arrivals).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = output.map_err(Error::of("run", "sender"))?;
        self.runner().look_for_interrupts()?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(Error::peer(who, String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }
}

impl Running {
    fn says(&mut self, expected: u8, who: &str) -> Result<(), Error> {
        let mut byte = [0];
        self.stdout.read_exact(&mut byte).map_err(Error::of("hear", who))?;
        if byte[0] == expected {
            Ok(())
        } else {
            Err(Error::peer(who, format!("said {:?}", byte[0] as char)))
        }
    }

    /// It and its workload, on this processor from now on.
    fn stay_on(&self, processor: usize, who: &str) -> Result<(), Error> {
        let mut set = CpuSet::new();
        set.set(processor).map_err(Error::of("choose", "a processor"))?;
        let below = processes::descendants(&[self.pid]).concat();
        below.into_iter().chain([self.pid]).try_for_each(|pid| {
            sched_setaffinity(Pid::from_raw(pid), &set).map_err(Error::of("sched_setaffinity", who))
        })
    }

    fn end(mut self, who: &str) -> Result<(), Error> {
        kill(Pid::from_raw(self.pid), Signal::SIGKILL).map_err(Error::of("kill", who))?;
        self.child.wait().map_err(Error::of("wait for", who))?;
        Ok(())
    }
}

/// The first two that we may be on; twice the same where there is one.
fn two_processors() -> Result<(usize, usize), Error> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(Error::of("sched_getaffinity", "the bench"))?;
    let mut ours = (0..CpuSet::count()).filter(|processor| set.is_set(*processor).unwrap_or(false));
    let first = ours.next().unwrap_or(0);
    Ok((first, ours.next().unwrap_or(first)))
}

/// Waits until it sleeps: until it was not woken up for a while.
fn wait_until_idle(pid: i32, who: &str) -> Result<(), Error> {
    let mut last = None;
    wait_for(who, "does not come to rest", || {
        let now = processes::switches(pid);
        std::thread::sleep(Duration::from_millis(100));
        let is_idle = now.is_some() && now == last;
        last = now;
        is_idle
    })
}

fn wait_for(who: &str, otherwise: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > end {
            return Err(Error::peer(who, otherwise));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
