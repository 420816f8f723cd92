//! Everybody below this process, for an init that is no PID 1 and so cannot mean them by kill(2)'s -1.

#![forbid(unsafe_code)]

use std::collections::HashMap;

/// The pids of all descendants, as /proc shows them now. Orphans are among them: they are our own children, as we
/// are a subreaper.
pub(crate) fn of_this_process() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let parents: HashMap<i32, i32> = entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect();
    below(nix::unistd::getpid().as_raw(), &parents)
}

/// The parent's pid in the text of /proc/PID/stat. The command's name before it may have any character; proc(5).
fn parent_in(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// Who has `ancestor` above him.
fn below(ancestor: i32, parents: &HashMap<i32, i32>) -> Vec<i32> {
    let is_below = |pid: i32| {
        let mut above = pid;
        // A chain is no longer than there are processes, even in a picture that was taken while they moved.
        (0..parents.len()).any(|_| {
            above = parents.get(&above).copied().unwrap_or(0);
            above == ancestor
        })
    };
    parents.keys().copied().filter(|pid| is_below(*pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_in("7 (a) b) S 3 7 7 0"), Some(3));
        assert_eq!(parent_in("7 (sh"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_others_are_not() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 6), (7, 99)]);
        let mut found = below(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
    }
}
