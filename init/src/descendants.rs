//! Everybody below this process, for an init that is no PID 1 and so cannot mean them by kill(2)'s -1.

#![forbid(unsafe_code)]

/// The pids of all descendants, as /proc shows them now. Orphans are among them: they are our own children, as we
/// are a subreaper.
pub(crate) fn of_this_process() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut parents: Vec<(i32, i32)> = entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect();
    parents.sort_unstable();
    below(nix::unistd::getpid().as_raw(), &parents)
}

/// The parent's pid in the text of /proc/PID/stat. The command's name before it may have any character; proc(5).
fn parent_in(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// Who has `ancestor` above him, of these pids, in ascending order, with their parents'.
fn below(ancestor: i32, parents: &[(i32, i32)]) -> Vec<i32> {
    let parent_of = |pid| parents.binary_search_by_key(&pid, |(pid, _)| *pid).map_or(0, |at| parents[at].1);
    let is_below = |pid: i32| {
        let mut above = pid;
        // A chain is no longer than there are processes, even in a picture that was taken while they moved.
        (0..parents.len()).any(|_| {
            above = parent_of(above);
            above == ancestor
        })
    };
    parents.iter().map(|(pid, _)| *pid).filter(|pid| is_below(*pid)).collect()
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
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 6), (7, 99)];
        assert_eq!(below(2, &parents), [3, 4]);
    }
}
