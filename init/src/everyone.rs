//! Every process inside but init: signals to all of them, and whether there is anybody.
//!
//! When that is to be, event_loop/ knows. Who is below an init that is no PID 1 is found by descendants.rs.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Pid, getpid};

use crate::signals::{self, Received};
use crate::{descendants, sys};

/// The kernel begins again with this number when its pids have run out: RESERVED_PIDS in kernel/pid.c.
const LOWEST_OF_A_SECOND_ROUND: u32 = 300;

/// Says in its last field which pid was the last of the PID namespace of whoever reads it; see proc(5).
static LAST_PID: OnceLock<File> = OnceLock::new();

/// Prepares [`is_nobody`]: before the workload runs, while what is mounted at /proc is the launch's own doing. It is kept open.
pub(crate) fn keep_in_view() {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let is_the_kernels =
        |file: &OwnedFd| fstatfs(file).is_ok_and(|it| it.filesystem_type() == PROC_SUPER_MAGIC);
    if let Ok(file) = sys::open("/proc/loadavg", flags)
        && is_the_kernels(&file)
    {
        let _ = LAST_PID.set(file.into());
    }
}

/// Whether it is certain that there is nobody in our PID namespace but us. Who asks kill(2) with pid -1, has the kernel look at
/// every process of the machine, of which there may be thousands.
pub(crate) fn is_nobody() -> bool {
    // Then nobody has ever been here but our own children, unless somebody chose a pid (clone(2), set_tid), which is no later one.
    let were_all_ours = |last| sys::forked() + 1 == last && last < LOWEST_OF_A_SECOND_ROUND;
    !sys::has_children() && last_pid().is_some_and(were_all_ours)
}

fn last_pid() -> Option<u32> {
    let mut buffer = [0; 128];
    let length = LAST_PID.get()?.read_at(&mut buffer, 0).ok()?;
    str::from_utf8(&buffer[..length]).ok()?.split_whitespace().nth(4)?.parse().ok()
}

/// Sends a signal to every process but ourselves: in the whole PID namespace if we are its PID 1 (kill(2), pid -1), else those
/// below. Returns whether there may be anybody.
pub(crate) fn signal(signal: i32) -> bool {
    let is_there = |sent| match sent {
        Ok(()) => true,
        Err(Errno::ESRCH) => false,
        Err(errno) => {
            log::warn!("{}: to those left over: {}", signals::name(signal), Errno::desc(errno));
            true
        }
    };
    if is_pid_one() {
        return is_there(sys::kill(-1, signal));
    }
    // Some may fork while we look; the dead ones cannot, so a second look finds who was born meanwhile.
    let mut told = Vec::new();
    loop {
        let new: Vec<i32> =
            descendants::of_this_process().into_iter().filter(|pid| !told.contains(pid)).collect();
        if new.is_empty() {
            return !told.is_empty();
        }
        for pid in &new {
            is_there(sys::kill(*pid, signal));
        }
        told.extend(new);
    }
}

/// The same with the sender's value, which kill(2) has none of: to one after another of those below us.
pub(crate) fn queue(signal: Received) {
    for pid in descendants::of_this_process() {
        let pidfd = sys::open_pidfd(Pid::from_raw(pid));
        match pidfd.and_then(|pidfd| sys::signal_process(pidfd.as_fd(), signal.number, signal.value)) {
            // ESRCH: it has ended meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => log::warn!("{}: to {pid}: {}", signals::name(signal.number), errno.desc()),
        }
    }
}

/// Whether there are others in our PID namespace although we have no children: those who entered it from outside
/// (setns(2); podman exec), whose parents are there, so that no SIGCHLD tells of their end. See kill(2), signal 0.
pub(crate) fn has_guests() -> bool {
    is_pid_one() && sys::kill(-1, 0).is_ok()
}

/// Of its PID namespace.
pub(crate) fn is_pid_one() -> bool {
    own_pid().as_raw() == 1
}

/// Asked for once, since neither libc remembers it.
pub(crate) fn own_pid() -> Pid {
    static OWN_PID: OnceLock<Pid> = OnceLock::new();
    *OWN_PID.get_or_init(getpid)
}
