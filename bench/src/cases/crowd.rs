//! Many at once: how many starts there are in a second with 64 in parallel, and what 1,000 cost that are alive.

#![forbid(unsafe_code)]

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Bench, Participant};
use crate::error::Error;
use crate::figures::{Case, Sheet, Unit};
use crate::measure::Runner;
use crate::peers::{OURS, Peer, Setup, Workload};
use crate::processes;

/// How many rounds of those in parallel, all and quick.
pub const PARALLEL_ROUNDS: (usize, usize) = (15, 5);
/// And of those that are alive.
pub const ALIVE_ROUNDS: (usize, usize) = (3, 1);
/// How many are in parallel.
const ABREAST: usize = 64;
/// Whose start takes longer than this starts 64 times, others eight times as often.
const SLOW: Duration = Duration::from_millis(8);
/// How many are alive.
const CROWD: usize = 1_000;
/// How many of those that take much time or memory.
const HEAVY_CROWD: usize = 50;
/// The kernel's memory has settled if it shrinks by less than this in a quarter of a second.
const SETTLED: u64 = 1 << 20;
/// How long all of them may take to be there.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts per second.
pub fn parallel(bench: &mut Bench<'_>) -> Result<Vec<Case>, Error> {
    bench.progress.begin("parallel");
    let title = format!("{ABREAST} in parallel: starts of a command that does nothing, in a second");
    let mut sheet = Sheet::new("parallel", title, &[("rate", "starts", Unit::PerSecond)], OURS);
    let can = |peer| !matches!(peer, Peer::Nspawn | Peer::Firejail);
    let participants = bench.participants(&mut sheet, Setup::SHARED, can)?;
    for peer in [Peer::Nspawn, Peer::Firejail] {
        if bench.options.wants_row(peer.name()) {
            sheet.skip(peer.name(), "locks what it starts from, one after another");
        }
    }
    let rounds = bench.options.rounds(PARALLEL_ROUNDS);
    sheet.measured(bench.measured(Some(rounds)));
    bench.rounds(rounds, Duration::from_secs(180), &participants, |runner, one, round| {
        let number = ABREAST * if one.time > SLOW { 1 } else { 8 };
        let time = all_of(number, runner, one)?;
        sheet.add(one.row, "rate", round, number as f64 / time.as_secs_f64());
        Ok(())
    })?;
    Ok(vec![sheet.finish()])
}

/// So many starts, as many as may be at once.
fn all_of(number: usize, runner: &Runner, one: &Participant) -> Result<Duration, Error> {
    let mut commands: Vec<_> = (0..number).map(|_| runner.of_line(&one.line)).collect();
    let each = number / ABREAST;
    let failures = AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for commands in commands.chunks_mut(each) {
            scope.spawn(|| {
                for command in commands {
                    // Its own stderr went nowhere; that it failed is what counts.
                    if !command.status().is_ok_and(|status| status.success()) {
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let time = begin.elapsed();
    runner.look_for_interrupts()?;
    processes::wait_for_all(Duration::from_secs(10));
    match failures.into_inner() {
        0 => Ok(time),
        failed => Err(Error::peer(one.peer.name(), format!("{failed} of {number} in parallel failed"))),
    }
}

/// Memory of each, and the time to end all.
pub fn alive(bench: &mut Bench<'_>) -> Result<Vec<Case>, Error> {
    bench.progress.begin("alive");
    let columns = [
        ("pss", "memory of each (PSS)", Unit::Bytes),
        ("kernel", "of the kernel for each", Unit::Bytes),
        ("end", "time to end one of all", Unit::Time),
        ("start", "time to start one", Unit::Time),
        ("processes", "processes of each", Unit::Count),
    ];
    let title = format!("{CROWD} alive, each with a command that sleeps ({HEAVY_CROWD} of the heavy ones)");
    let mut sheet = Sheet::new("alive", title, &columns, OURS);
    sheet.note(
        "Memory is that of all processes of a sandbox, its starter and the workload (some KB) too; the kernel's is what Slab, \
         KernelStack, PageTables and Percpu of /proc/meminfo grow by. All are ended by SIGKILL for each PID 1 inside, and \
         the time is that until nobody is left, divided by their number.",
    );
    let setup = Setup { workload: Workload::Hold, ..Setup::SHARED };
    // podman's containers are not its own children, and systemd-nspawn and firejail have one at a time.
    let can = |peer: Peer| !matches!(peer, Peer::Podman | Peer::Nspawn | Peer::Firejail);
    let participants = bench.participants(&mut sheet, setup, can)?;
    let rounds = bench.options.rounds(ALIVE_ROUNDS);
    sheet.measured(bench.measured(Some(rounds)));
    for round in 0..rounds {
        for who in crate::rounds::order(round, &vec![1; participants.len()]) {
            let one = &participants[who];
            let number = if one.peer.is_heavy() { HEAVY_CROWD } else { CROWD };
            bench.progress.tell(|| format!("round {}: {}", round + 1, one.peer.name()));
            let crowd = gather(number, bench.runner, one)?;
            let each = |value: f64| value / number as f64;
            sheet.add(one.row, "pss", round, each(crowd.pss));
            sheet.add(one.row, "kernel", round, each(crowd.kernel));
            sheet.add(one.row, "end", round, each(crowd.end.as_nanos() as f64));
            sheet.add(one.row, "start", round, each(crowd.start.as_nanos() as f64));
            sheet.add(one.row, "processes", round, each(crowd.processes as f64));
        }
    }
    Ok(vec![sheet.finish()])
}

/// What all of them took together.
struct Crowd {
    pss: f64,
    kernel: f64,
    start: Duration,
    end: Duration,
    processes: usize,
}

fn gather(number: usize, runner: &Runner, one: &Participant) -> Result<Crowd, Error> {
    let who = one.peer.name();
    let kernel_before = settled_kernel_memory(runner)?;
    let (mut said, says) = std::io::pipe().map_err(Error::of("make", "a pipe"))?;
    let begin = Instant::now();
    let mut children = Vec::new();
    for _ in 0..number {
        let stdout = says.try_clone().map_err(Error::of("duplicate", "a pipe"))?;
        let child = runner.of_line(&one.line).stdout(Stdio::from(stdout)).spawn();
        children.push(child.map_err(Error::of("run", who))?);
        runner.look_for_interrupts()?;
    }
    drop(says);
    hear(&mut said, number, who)?;
    let start = begin.elapsed();
    let below = processes::descendants(&children.iter().map(pid).collect::<Vec<_>>());
    let mut everybody: Vec<i32> = below.concat();
    everybody.extend(children.iter().map(pid));
    let memory = everybody.iter().map(|pid| processes::memory(*pid).map_or(0, |(_, pss)| pss));
    let pss = memory.sum::<u64>() as f64;
    let kernel = processes::kernel_memory()?.saturating_sub(kernel_before) as f64;
    let firsts: Vec<i32> = below.concat().into_iter().filter(|pid| processes::is_first(*pid)).collect();
    if firsts.len() != number {
        return Err(Error::peer(who, format!("has {} PID 1 of {number}", firsts.len())));
    }
    let begin = Instant::now();
    for pid in firsts {
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(Error::of("kill", who))?;
    }
    for mut child in children {
        child.wait().map_err(Error::of("wait for", who))?;
    }
    processes::wait_for_all(PATIENCE);
    let end = begin.elapsed();
    runner.look_for_interrupts()?;
    Ok(Crowd { pss, kernel, start, end, processes: everybody.len() })
}

/// What was there before ends late: namespaces are taken down after their last process has gone. Waits until no more of it goes, or
/// for a while: others may be at work.
fn settled_kernel_memory(runner: &Runner) -> Result<u64, Error> {
    let mut last = processes::kernel_memory()?;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(250));
        runner.look_for_interrupts()?;
        let now = processes::kernel_memory()?;
        if now + SETTLED > last {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn pid(child: &Child) -> i32 {
    child.id() as i32
}

/// Waits for so many bytes.
fn hear(said: &mut std::io::PipeReader, number: usize, who: &str) -> Result<(), Error> {
    let (mut heard, end) = (0, Instant::now() + PATIENCE);
    let mut buffer = [0; 4096];
    while heard < number {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(said.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(Error::peer(who, format!("only {heard} of {number} were there in time"))),
            Err(nix::errno::Errno::EINTR) => return Err(Error::Interrupted),
            Err(errno) => return Err(Error::of("poll", who)(errno)),
            Ok(_) => match said.read(&mut buffer).map_err(Error::of("read", who))? {
                0 => return Err(Error::peer(who, format!("only {heard} of {number} started"))),
                length => heard += length,
            },
        }
    }
    Ok(())
}
