//! Writes the id maps of a new user namespace from outside; see user_namespaces(7).
//!
//! Which ids they name is plan.rs's to decide.

#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::error::Error;
use crate::plan::{IdMap, IdMaps};

/// Writes them for the process behind `pidfd`. The tutorial's order, with what it left out: setgroups first.
///
/// # Errors
/// [`Error::ForeignProc`]; [`Error::IdMap`], with the file. Each is one write; the kernel takes a map whole or not at all.
pub fn write(pidfd: BorrowedFd<'_>, maps: &IdMaps) -> Result<(), Error> {
    let pid = number_in_proc(pidfd)?;
    if maps.deny_setgroups {
        write_file(pid, "setgroups", "deny")?;
    }
    write_file(pid, "uid_map", &lines(&maps.users))?;
    write_file(pid, "gid_map", &lines(&maps.groups))
}

/// The number that the process has in /proc, which may be that of an outer PID namespace. Its own in ours could be
/// another's there. See pidfd_open(2), "Pid" in /proc/self/fdinfo.
fn number_in_proc(pidfd: BorrowedFd<'_>) -> Result<u32, Error> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let number = info
        .ok()
        .and_then(|info| info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()));
    // 0 is a process that this /proc does not show, -1 (which is no u32) one that has been reaped.
    number.filter(|number| *number != 0).ok_or(Error::ForeignProc)
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.inside, map.outside, map.count)).collect()
}

fn write_file(pid: u32, name: &str, content: &str) -> Result<(), Error> {
    let path = format!("/proc/{pid}/{name}");
    log::debug!("id map: {path}: {}", content.trim_end());
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(content.as_bytes()));
    written.map_err(|error| {
        Error::IdMap(path.into(), Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    })
}
