//! Writes the id maps of a new user namespace from outside; see user_namespaces(7).
//!
//! Which ids they name is plan.rs's to decide.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

use crate::error::Error;
use crate::plan::{IdMap, IdMaps};

/// Writes them for process `pid`. The tutorial's order, with what it left out: setgroups first.
///
/// # Errors
/// [`Error::ForeignProc`]; [`Error::IdMap`], with the file. Each is one write; the kernel takes a map whole or not at all.
pub fn write(pid: Pid, maps: &IdMaps) -> Result<(), Error> {
    // Where /proc is another PID namespace's, the number is some other process's.
    let ourselves = std::fs::read_link("/proc/self").ok();
    if ourselves.as_deref() != Some(Path::new(&getpid().to_string())) {
        return Err(Error::ForeignProc);
    }
    if maps.deny_setgroups {
        write_file(pid, "setgroups", "deny")?;
    }
    write_file(pid, "uid_map", &line(maps.users))?;
    write_file(pid, "gid_map", &line(maps.groups))
}

fn line(map: IdMap) -> String {
    format!("{} {} 1\n", map.inside, map.outside)
}

fn write_file(pid: Pid, name: &str, content: &str) -> Result<(), Error> {
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
