//! What strace(1) writes down → how many system calls there were, and how many of them outside of the workload.

#![forbid(unsafe_code)]

use std::collections::HashSet;

/// System calls of a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All of them.
    pub total: usize,
    /// Those that the workload made, after it was executed.
    pub of_workload: usize,
}

impl Calls {
    /// Those that it took to start it, and to end.
    pub fn outside(self) -> usize {
        self.total - self.of_workload
    }
}

/// Counts the calls in what `strace -f -o FILE` wrote, where the workload is a file of this name. A call that was interrupted by
/// another process's in the trace is one; signals and ends are none.
pub fn count(trace: &str, workload: &str) -> Calls {
    let mut calls = Calls::default();
    let mut executing = HashSet::new();
    let mut is_workload = HashSet::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        let has_succeeded = rest.ends_with("= 0");
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if resumed.starts_with("execve") && executing.remove(pid) && has_succeeded {
                is_workload.insert(pid);
            }
            continue;
        }
        if !rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        calls.total += 1;
        calls.of_workload += usize::from(is_workload.contains(pid));
        if is_exec_of(rest, workload) {
            if has_succeeded {
                is_workload.insert(pid);
            } else if rest.ends_with("<unfinished ...>") {
                executing.insert(pid);
            }
        }
    }
    calls
}

fn is_exec_of(call: &str, workload: &str) -> bool {
    let path = match call.split_once('(') {
        Some(("execve", arguments)) => arguments.strip_prefix('"'),
        Some(("execveat", arguments)) => arguments.split_once('"').map(|(_, path)| path),
        _ => None,
    };
    path.and_then(|path| path.split('"').next()).is_some_and(|path| path.rsplit('/').next() == Some(workload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_once_and_the_workloads_own_are_told_apart() {
        let trace = "\
10    execve(\"/bin/launch\", [\"launch\"], 0x7ffe /* 4 vars */) = 0
10    brk(NULL)                         = 0x1
10    clone3({flags=CLONE_NEWPID} => {parent_tid=[0]}, 88 <unfinished ...>
11    read(3,  <unfinished ...>
10    <... clone3 resumed>)             = 11
10    ppoll([{fd=3}], 1, NULL, NULL, 8 <unfinished ...>
11    <... read resumed>\"\", 1)        = 0
11    execve(\"/nowhere/true\", [\"true\"], 0x7ffe /* 4 vars */) = -1 ENOENT (No such file or directory)
11    execve(\"/bin/true\", [\"true\"], 0x7ffe /* 4 vars */ <unfinished ...>
10    <... ppoll resumed>)              = 1
11    <... execve resumed>)             = 0
11    exit_group(0)                     = ?
11    +++ exited with 0 +++
10    --- SIGCHLD {si_signo=SIGCHLD} ---
10    wait4(11, NULL, 0, NULL)          = 11
";
        let calls = count(trace, "true");
        assert_eq!(calls, Calls { total: 9, of_workload: 1 });
        assert_eq!(calls.outside(), 8);
    }

    #[test]
    fn a_workload_that_is_executed_by_descriptor_is_known_too() {
        let trace = "1 execveat(5, \"true\", [\"true\"], NULL, 0) = 0\n1 exit_group(0) = ?\n";
        assert_eq!(count(trace, "true"), Calls { total: 2, of_workload: 1 });
    }

    #[test]
    fn another_program_is_not_the_workload() {
        let trace = "1 execve(\"/bin/true-glibc\", [], NULL) = 0\n1 exit_group(0) = ?\n";
        assert_eq!(count(trace, "true"), Calls { total: 2, of_workload: 0 });
    }
}
