//! What a sandbox uses, by what /proc says of the processes below its monitor.
//!
//! Processes come and go while it looks; who is gone is not counted.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs;

use nix::unistd::{Pid, SysconfVar, sysconf};

use super::state::Usage;

/// The sum over the descendants of `monitor`. Those in `except` are not counted, who is below them is.
pub fn usage(monitor: Pid, except: &[Pid]) -> Usage {
    let mut used = Usage::default();
    let mut ticks = 0;
    for pid in descendants(monitor.as_raw()) {
        if except.contains(&Pid::from_raw(pid)) {
            continue;
        }
        let Some(spent) = read(pid, "stat").and_then(|stat| ticks_in(&stat)) else { continue };
        ticks += spent;
        used.memory += memory(pid);
        used.pids += 1;
    }
    used.cpu_ms = ticks * 1000 / system(SysconfVar::CLK_TCK, 100);
    used
}

/// The children of each thread, and theirs. A process that changed its parent meanwhile may be met twice.
fn descendants(ancestor: i32) -> HashSet<i32> {
    let mut found = HashSet::new();
    let mut unseen = vec![ancestor];
    while let Some(pid) = unseen.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.filter_map(Result::ok) {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
            unseen.extend(children.filter(|pid| found.insert(*pid)));
        }
    }
    found
}

/// In bytes.
fn memory(pid: i32) -> u64 {
    let shared_out = read(pid, "smaps_rollup").and_then(|rollup| pss_in(&rollup));
    // Who is not ours to trace shows how much is resident, and not with whom it is shared.
    let resident = || {
        let pages = read(pid, "statm").and_then(|statm| resident_in(&statm));
        pages.unwrap_or(0) * system(SysconfVar::PAGE_SIZE, 4096)
    };
    shared_out.unwrap_or_else(resident)
}

/// What a file in /proc/PID has; a name in it may be any bytes.
fn read(pid: i32, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn system(variable: SysconfVar, default: u64) -> u64 {
    sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(default)
}

/// Processor time of a process and of the children that it has waited for, in clock ticks: fields 14 to 17 of
/// proc_pid_stat(5). The name before them may have any character.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let times: Vec<_> = after_name.split_ascii_whitespace().skip(14 - 3).take(4).collect();
    // The times of children are signed; see fs/proc/array.c.
    let parse = |time: &&str| time.parse::<i64>().ok().map(|time| time.max(0).unsigned_abs());
    if times.len() == 4 { times.iter().map(parse).sum() } else { None }
}

/// See proc_pid_smaps(5). A zombie has no memory, and an empty file.
fn pss_in(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The second field of proc_pid_statm(5), in pages.
fn resident_in(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) S 1) R 3 7 7 0 -1 4194560 90 80 0 1 21 34 -5 8 20 0 1 0 100";
        assert_eq!(ticks_in(stat), Some(21 + 34 + 8));
        assert_eq!(ticks_in("7 (sh) S 1 2"), None);
        assert_eq!(ticks_in("7 (sh"), None);
    }

    #[test]
    fn memory_is_found_where_it_is_said() {
        let rollup =
            "55d0-7ffc ---p 00000000 00:00 0  [rollup]\nRss:  900 kB\nPss:   123 kB\nPss_Dirty: 7 kB\n";
        assert_eq!(pss_in(rollup), Some(123 * 1024));
        assert_eq!(pss_in(""), None);
        assert_eq!(resident_in("100 25 3 1 0 9 0\n"), Some(25));
        assert_eq!(resident_in(""), None);
    }

    #[test]
    fn descendants_are_counted_but_for_those_excepted() {
        let script = "exec 3<&0; cat <&3 & cat <&3 & wait";
        let mut shell = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("sh");
        let pid = Pid::from_raw(shell.id() as i32);
        let end = Instant::now() + Duration::from_secs(60);
        while usage(pid, &[]).pids < 2 {
            assert!(Instant::now() < end, "two children");
            std::thread::yield_now();
        }
        let one = descendants(pid.as_raw()).into_iter().next().expect("a child");
        assert_eq!(usage(pid, &[Pid::from_raw(one)]).pids, 1);
        assert!(usage(pid, &[]).memory > 0);
        drop(shell.stdin.take());
        shell.wait().expect("wait");
        assert_eq!(usage(pid, &[]), Usage::default());
    }
}
