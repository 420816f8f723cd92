//! Writes the id maps of a new user namespace from outside, itself or by newuidmap(1); see user_namespaces(7).
//!
//! Which ids they name, and who writes them, is plan/ids.rs's to decide.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use launch_init::sys::{open, read_short};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, Pid, access};

use crate::error::Error;
use crate::plan::{IdMap, IdMaps, Writer};
use crate::subids::Kind;
use crate::sys;

/// Where the helpers are on every system that has them, whatever the PATH.
const HELPERS_FOLDER: &str = "/usr/bin";
/// How long a helper may take once the launcher was asked to end. It takes milliseconds, unless it asks a directory
/// service that hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// The machine's own PID namespace, whose number never changes: PROC_PID_INIT_INO in include/linux/proc_ns.h.
const INITIAL_NAMESPACE: &str = "pid:[4026531836]";
/// As much as is kept of what a helper says.
const LONGEST_MESSAGE: usize = 1000;

/// The programs that write maps for an ordinary user, where they are needed.
#[derive(Debug, Default)]
pub struct Helpers {
    users: Option<PathBuf>,
    groups: Option<PathBuf>,
}

impl Helpers {
    /// Looks for those that `maps` need.
    ///
    /// # Errors
    /// [`Error::Ids`], of one that is missing.
    pub fn find(maps: &IdMaps) -> Result<Self, Error> {
        let find = |kind: Kind, writer| match writer {
            Writer::Launcher => Ok(None),
            Writer::Helper => helper(kind).map(Some).ok_or_else(|| {
                let reason = format!(
                    "not found in PATH and {HELPERS_FOLDER}; install the package uidmap (Debian, Ubuntu) or \
                     shadow-utils (Fedora)"
                );
                Error::Ids(kind.helper().into(), reason)
            }),
        };
        Ok(Self { users: find(Kind::Users, maps.users_by)?, groups: find(Kind::Groups, maps.groups_by)? })
    }
}

/// The helper for such a map, if there is one.
fn helper(kind: Kind) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([HELPERS_FOLDER.into()]);
    folders
        .map(|folder| folder.join(kind.helper()))
        .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}

/// What keeps a helper from doing what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Powerless {
    /// It has neither the set-uid bit nor capabilities.
    Unprivileged,
    /// It lies on a file system that gives none.
    NoSuid,
}

/// Why the helpers have no power, where that can be seen.
pub fn powerless_helper() -> Option<Powerless> {
    [Kind::Users, Kind::Groups].into_iter().filter_map(helper).find_map(|file| {
        let flags = nix::sys::statvfs::statvfs(&file).ok()?.flags();
        let mode = file.metadata().ok()?.permissions().mode();
        let name = CString::new(file.as_os_str().as_bytes()).ok()?;
        if mode & libc::S_ISUID == 0 && !sys::has_file_capabilities(&name) {
            Some(Powerless::Unprivileged)
        } else {
            flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID).then_some(Powerless::NoSuid)
        }
    })
}

/// Writes them for the process behind `pidfd`, a child of the number `pid`. The tutorial's order, with what it left out: setgroups first. A helper
/// runs with the signal mask `mask`.
///
/// # Errors
/// [`Error::ForeignProc`]; [`Error::IdMap`], with the file; [`Error::IdHelper`]. Each is one write; the kernel takes a map
/// whole or not at all.
pub fn write(
    pid: Pid,
    pidfd: BorrowedFd<'_>,
    maps: &IdMaps,
    helpers: &Helpers,
    mask: u64,
) -> Result<(), Error> {
    let pid = if is_in_initial_namespace() { pid.as_raw().unsigned_abs() } else { number_in_proc(pidfd)? };
    let mut files = Vec::with_capacity(3);
    if maps.deny_setgroups {
        files.push(write_file(pid, "setgroups", "deny")?);
    }
    let mut write_map = |kind: Kind, map: &[IdMap], helper: &Option<PathBuf>| match helper {
        None => {
            files.push(write_file(pid, kind.map_file(), &lines(map))?);
            Ok(())
        }
        Some(program) => {
            log::debug!("id map: {} {pid}: {}", program.display(), lines(map).trim_end().replace('\n', ", "));
            run(program, pid, kind, map, mask).map_err(|reason| Error::IdHelper(program.into(), reason))
        }
    };
    write_map(Kind::Users, &maps.users, &helpers.users)?;
    write_map(Kind::Groups, &maps.groups, &helpers.groups)?;
    launch_init::sys::close(files);
    Ok(())
}

/// Whether this process is in the machine's own PID namespace, and /proc is that one's: in a proc of any other, it would not
/// have a self. Then a child has the number there that it has here.
fn is_in_initial_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == INITIAL_NAMESPACE)
}

/// The number that the process has in /proc, which may be that of an outer PID namespace. Its own in ours could be
/// another's there. See pidfd_open(2), "Pid" in /proc/self/fdinfo.
fn number_in_proc(pidfd: BorrowedFd<'_>) -> Result<u32, Error> {
    let mut buffer = [0; 1024];
    let info = read_short(&format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()), &mut buffer).ok();
    let number =
        info.and_then(|info| info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()));
    // 0 is a process that this /proc does not show, -1 (which is no u32) one that has been reaped.
    number.filter(|number| *number != 0).ok_or(Error::ForeignProc)
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.inside, map.outside, map.count)).collect()
}

/// Returns the file, which is to be closed.
fn write_file(pid: u32, name: &str, content: &str) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/{name}");
    log::debug!("id map: {path}: {}", content.trim_end().replace('\n', ", "));
    let written = open(&path, OFlag::O_WRONLY)
        .and_then(|file| nix::unistd::write(&file, content.as_bytes()).map(|length| (file, length)));
    match written {
        Ok((file, length)) if length == content.len() => Ok(file),
        // The kernel takes a map as a whole.
        Ok(_) => Err(Error::IdMap(path.into(), Errno::EIO)),
        Err(errno) => Err(Error::IdMap(path.into(), errno)),
    }
}

/// Has a helper write a map; or why it did not, in words.
#[cold]
fn run(program: &Path, pid: u32, kind: Kind, map: &[IdMap], mask: u64) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for line in map {
        command.args([line.inside, line.outside, line.count].map(|number| number.to_string()));
    }
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A Ctrl-C is the workload's, as at any moment of the launch; the terminal shall not end the helper with it.
    command.process_group(0);
    sys::start_with_mask(&mut command, mask);
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(errno) => Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    };
    let mut child = command.spawn().map_err(failed)?;
    let heard = listen(&mut child);
    let status = match child.wait() {
        Ok(status) => Some(status),
        // Somebody else reaps here: the caller ignores SIGCHLD. It has ended all the same.
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => None,
        Err(error) => return Err(failed(error)),
    };
    let said = heard.map_err(failed)?;
    let is_written =
        || std::fs::read(format!("/proc/{pid}/{}", kind.map_file())).is_ok_and(|map| !map.is_empty());
    if status.is_none_or(|status| status.success()) && is_written() {
        if !said.is_empty() {
            log::warn!("id map: {}: {said}", program.display());
        }
        return Ok(());
    }
    Err(if said.is_empty() { silent_end(status) } else { said })
}

fn silent_end(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => format!("was killed by {}", launch_init::signals::name(signal)),
        Some((None, Some(code))) if code != 0 => format!("exited with {code} and said nothing"),
        _ => "has not written the map".into(),
    }
}

/// What it says until it ends, in one line and without its name. The signals that ask the launcher to end are only looked
/// at: they stay pending, for the workload.
fn listen(child: &mut Child) -> io::Result<String> {
    let asked = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    let asked = launch_init::sys::signal_descriptor(asked.iter().fold(0, |set, n| set | 1_u64 << (n - 1)))?;
    let Some(mut stderr) = child.stderr.take() else { return Ok(String::new()) };
    let mut heard = Vec::new();
    let mut give_up_at: Option<Instant> = None;
    let mut buffer = [0; 512];
    loop {
        let mut polled = vec![PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
        if give_up_at.is_none() {
            polled.push(PollFd::new(asked.as_fd(), PollFlags::POLLIN));
        }
        let left = give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
        match ppoll(&mut polled, left.map(TimeSpec::from_duration), None) {
            Ok(0) => {
                // With whatever it has started. ESRCH: it has just ended.
                let _ = launch_init::sys::kill(-(child.id() as i32), libc::SIGKILL);
                return Ok("was still at work 2 seconds after launch was asked to end, and killed".into());
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if polled.get(1).is_some_and(|asked| asked.any() == Some(true)) {
            give_up_at = Some(Instant::now() + PATIENCE);
        }
        if polled[0].any() == Some(true) {
            match stderr.read(&mut buffer)? {
                0 => break,
                length if heard.len() < LONGEST_MESSAGE => heard.extend_from_slice(&buffer[..length]),
                _ => {}
            }
        }
    }
    let heard = String::from_utf8_lossy(&heard);
    let without_name = |line: &str| match line.split_once(": ") {
        Some((name, rest)) if name.ends_with("idmap") => rest.trim().to_owned(),
        _ => line.trim().to_owned(),
    };
    Ok(heard.lines().map(without_name).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; "))
}
