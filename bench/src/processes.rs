//! What /proc says about processes: who descends from whom, memory, wake-ups; and the end of all that were started.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::error::Error;

/// All processes with their parents'.
fn parents() -> HashMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            // Who has ended meanwhile is no process.
            Some((pid, parent_of(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

/// The parent in a line of /proc/PID/stat, where a name may have any bytes; see proc(5).
fn parent_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Those who descend from each of these, in the order of `roots`; the nearest first.
pub fn descendants(roots: &[i32]) -> Vec<Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in parents() {
        children.entry(parent).or_default().push(pid);
    }
    let below = |root: &i32| {
        let mut found = children.get(root).cloned().unwrap_or_default();
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            found.extend(children.get(pid).into_iter().flatten());
            next += 1;
        }
        found
    };
    roots.iter().map(below).collect()
}

/// A number in /proc/PID/FILE, behind `key:`.
fn number(pid: i32, file: &str, key: &str) -> Option<u64> {
    number_in(&fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?, key)
}

fn number_in(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What a process has of the memory, in bytes: RSS, and PSS (what it shares divided by with how many). None if it has ended or
/// may not be looked at; see proc(5), smaps_rollup.
pub fn memory(pid: i32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some((number_in(&text, "Rss")? * 1024, number_in(&text, "Pss")? * 1024))
}

/// How often a process was given a processor.
pub fn switches(pid: i32) -> Option<u64> {
    let voluntary = number(pid, "status", "voluntary_ctxt_switches")?;
    Some(voluntary + number(pid, "status", "nonvoluntary_ctxt_switches")?)
}

/// Whether a process is stopped.
pub fn is_stopped(pid: i32) -> bool {
    let state =
        |text: String| Some(text.lines().find(|line| line.starts_with("State:"))?.contains("T (stopped)"));
    fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(state).unwrap_or(false)
}

/// Whether this is PID 1 of a PID namespace below ours.
pub fn is_first(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    pids.split_whitespace().count() > 1 && pids.split_whitespace().last() == Some("1")
}

/// What the kernel uses for itself, as far as it says so by kind: slabs, stacks, page tables, per-processor memory. In bytes.
pub fn kernel_memory() -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/meminfo").map_err(Error::of("read", "/proc/meminfo"))?;
    let kinds = ["Slab", "KernelStack", "PageTables", "SecPageTables", "Percpu"];
    Ok(kinds.iter().filter_map(|kind| number_in(&text, kind)).sum::<u64>() * 1024)
}

/// Reaps whoever has ended, so that nobody's end falls into another's time. Returns whether somebody is still there.
pub fn reap() -> bool {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(nix::sys::wait::WaitStatus::StillAlive) => return true,
            Err(Errno::ECHILD) => return false,
            // EINVAL is a status that nix does not know: it was reaped all the same.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Waits until nobody is left of all that this process has started and their own, whom it adopts; kills them after that time.
/// How many had to be killed.
pub fn wait_for_all(patience: Duration) -> usize {
    let end = Instant::now() + patience;
    while reap() {
        if Instant::now() >= end {
            return end_all();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    0
}

/// Kills all that this process has started, and all whom they have left over.
pub fn end_all() -> usize {
    let ours = Pid::this().as_raw();
    let mut killed = 0;
    while reap() {
        for pid in descendants(&[ours]).concat() {
            // Who has ended meanwhile needs no end.
            killed += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_end_of_one() {
        assert_eq!(parent_of("12 (a) S 1) R 34 56 7"), Some(34));
        assert_eq!(parent_of("12 (a"), None);
    }

    #[test]
    fn numbers_are_found_behind_their_names() {
        let text = "Rss:               12 kB\nPss_Dirty:  1 kB\nPss:  7 kB\n";
        assert_eq!(number_in(text, "Pss"), Some(7));
        assert_eq!(number_in(text, "Swap"), None);
    }

    #[test]
    fn a_child_descends_from_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
        let found = descendants(&[Pid::this().as_raw()]);
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(found[0].contains(&(child.id() as i32)));
    }
}
