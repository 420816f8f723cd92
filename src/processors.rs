//! Keeps a start on one processor: launcher, init and workload follow each other, and to wake up a processor that sleeps, or to
//! move a process to it, takes longer than each of them.
//!
//! Only for a caller that may run on every processor of its cpuset. Its own choice could not be given back as it was: a
//! process that has chosen no longer follows when its cpuset grows; see cpuset(7) and sched_setaffinity(2).

#![forbid(unsafe_code)]

use launch_init::sys;

/// Whether the calling thread may run on every processor that its cpuset lets it, and these are several. That is tried: the
/// list of those that are online takes longer to read, and is not its cpuset's.
fn may_use_all() -> bool {
    let Ok(own) = sys::processors() else { return false };
    if own.iter().map(|byte| byte.count_ones()).sum::<u32>() < 2 || sys::use_all_processors().is_err() {
        return false;
    }
    if sys::processors().is_ok_and(|all| all == own) {
        return true;
    }
    if let Err(errno) = sys::use_processors(&own) {
        log::warn!("processors: on more than before: {}", errno.desc());
    }
    false
}

/// The calling thread stays on its processor, and so does what it starts, until this is dropped.
#[derive(Debug)]
pub struct Stay(());

impl Stay {
    /// Begins it; none where the thread may not run everywhere anyway, or the kernel does not let it.
    pub fn begin() -> Option<Self> {
        if may_use_all() && sys::stay_on_this_processor().is_ok() { Some(Self(())) } else { None }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Err(errno) = sys::use_all_processors() {
            log::warn!("processors: still on one: {}", errno.desc());
        }
    }
}
