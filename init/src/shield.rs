//! What the kernel does for a real PID 1, done for the workload: a signal that it has no handler for and that would
//! kill it is not delivered. Pure.

#![forbid(unsafe_code)]

/// Whether `signal` would kill a process whose /proc/PID/status is `status`: it neither catches nor ignores it, and
/// the default is to die.
pub(crate) fn would_kill(signal: i32, status: &str) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok()).unwrap_or(0)
    };
    let bit = 1_u64.checked_shl(signal.unsigned_abs().wrapping_sub(1)).unwrap_or(0);
    dies_by_default(signal) && (mask("SigCgt:") | mask("SigIgn:")) & bit == 0
}

/// See signal(7), the column of default actions.
fn dies_by_default(signal: i32) -> bool {
    let others = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    !others.contains(&signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t8000000000000002\n";

    #[test]
    fn what_is_caught_or_ignored_or_harmless_is_let_through() {
        let killing = (1..=64).filter(|signal| would_kill(*signal, STATUS)).collect::<Vec<_>>();
        for harmless in [libc::SIGHUP, libc::SIGINT, 64, libc::SIGCONT, libc::SIGWINCH, libc::SIGTSTP] {
            assert!(!killing.contains(&harmless), "{harmless}");
        }
        assert!(
            killing.contains(&libc::SIGTERM) && killing.contains(&libc::SIGUSR1) && killing.contains(&34)
        );
    }
}
