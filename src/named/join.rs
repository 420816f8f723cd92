//! A command that joins a running sandbox, on the monitor's side: what it is told, and the process that joins.
//!
//! That process is the monitor's child, so that it has the cgroup, the limits, the nice value and the groups that the
//! sandbox's own processes were started with, whoever the client is. What it does inside is launch-init's (its join.rs);
//! the client hands it the plan and speaks with it from then on (exec.rs).

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use launch_init::handoff::{self, Descriptors, Group, Plan, Probes, Step, Workload};
use launch_init::parse;
use launch_init::signals;
use launch_init::supervisor::Policy;
use launch_init::sys::{CStringArray, signal_process};
use launch_init::{JOIN_OPTION, NAME};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::control::Join;
use crate::executable::Executable;
use crate::plan::{self, InitIds};
use crate::sandbox::{above_stdio, failure_frame};
use crate::seccomp;
use crate::sys::{self, ChildsMemory, Cloned};

/// What a monitor keeps of its launch for those who join.
#[derive(Debug)]
pub struct JoinContext {
    name: OsString,
    namespaces: u64,
    time_namespace: bool,
    own_root: bool,
    ids: InitIds,
    /// Without its command.
    workload: Workload,
    /// Where the workload started.
    directory: OsString,
    /// Whether that directory was asked for by name.
    is_named: bool,
    /// What becomes the joining process, once one has been started.
    executable: Option<Executable>,
}

impl JoinContext {
    /// For the sandbox of this name that this plan is carried out for.
    pub fn new(name: impl Into<OsString>, plan: &plan::Plan) -> Self {
        let Plan { steps, workload, .. } = &plan.init;
        let directory = steps.iter().rev().find_map(|step| match step {
            Step::ChangeDirectory(path) => Some((path, true)),
            Step::KeepDirectory(path) | Step::FindDirectory(path) => Some((path, false)),
            _ => None,
        });
        let (directory, is_named) =
            directory.map_or_else(|| ("/".into(), true), |(path, is)| (path.clone(), is));
        Self {
            name: name.into(),
            namespaces: plan.namespaces,
            time_namespace: steps.contains(&Step::TimeNamespace),
            own_root: steps.contains(&Step::EnterRoot),
            ids: plan.init_ids,
            workload: Workload { command: Vec::new(), ..workload.clone() },
            directory,
            is_named,
            executable: None,
        }
    }

    /// What the joining process is told; `init` is the number of the descriptor that it has PID 1's pidfd as.
    ///
    /// # Errors
    /// What is wrong with the request, in words.
    fn plan(&self, request: &Join, init: i32) -> Result<handoff::Join, String> {
        if request.command.is_empty() {
            return Err("no command".into());
        }
        let user = match &request.user {
            Some(user) => Some(parse::account(user)?),
            None => self.workload.user.clone(),
        };
        let mut filters = self.workload.filters.clone();
        if self.workload.group == Group::Session && !request.tty {
            // The workload has a terminal for itself, this command may have the client's.
            filters.insert(0, seccomp::terminal_filter());
        }
        let step = match &request.directory {
            // A relative one is seen from where it would start otherwise.
            Some(path) => {
                let path = Path::new(&self.directory).join(OsStr::from_bytes(path));
                Step::ChangeDirectory(path.into())
            }
            None if self.is_named => Step::ChangeDirectory(self.directory.clone()),
            None => Step::FindDirectory(self.directory.clone()),
        };
        let command = request.command.iter().cloned().map(OsString::from_vec).collect();
        Ok(handoff::Join {
            sandbox: self.name.clone(),
            init,
            namespaces: self.namespaces,
            time_namespace: self.time_namespace,
            own_root: self.own_root,
            user: self.ids.user,
            group: self.ids.group,
            leaves_groups: self.ids.leaves_groups,
            plan: Plan {
                log_level: request.log_level,
                steps: vec![step],
                workload: Workload {
                    command,
                    environment: environment(&self.workload.environment, &request.environment),
                    descriptors: Descriptors::Only(Vec::new()),
                    group: if request.tty { Group::Session } else { Group::Own { foreground: false } },
                    user,
                    parent_death_signal: Some(libc::SIGKILL),
                    filters,
                    ..self.workload.clone()
                },
                policy: Policy::default(),
                probes: Probes::default(),
                report_namespaces: false,
                is_on_one_processor: false,
                ahead: false,
            },
        })
    }

    fn executable(&mut self) -> Result<&Executable, Errno> {
        let executable = match self.executable.take().filter(Executable::is_executable) {
            Some(executable) => executable,
            None => {
                sys::open_path(c"/proc/self/exe").and_then(above_stdio).and_then(Executable::for_joining)?
            }
        };
        Ok(self.executable.insert(executable))
    }
}

/// The variables of the workload and those that were asked for, the last of each name. What a service manager or init
/// told the workload alone is not among them.
fn environment(workload: &[OsString], set: &[(Vec<u8>, Vec<u8>)]) -> Vec<OsString> {
    let is_the_workloads = |name: &[u8]| {
        name == b"NOTIFY_SOCKET" || name.starts_with(b"WATCHDOG_") || name.starts_with(b"LISTEN_")
    };
    let kept = workload.iter().filter(|variable| {
        let name = parse::variable_name(variable).as_bytes();
        !is_the_workloads(name) && !set.iter().any(|(key, _)| key == name)
    });
    let is_last = |i: &usize| !set[i + 1..].iter().any(|(later, _)| *later == set[*i].0);
    let set = (0..set.len()).filter(is_last).map(|i| {
        let (key, value) = &set[i];
        parse::variable_of(OsStr::from_bytes(key), OsStr::from_bytes(value))
    });
    kept.cloned().chain(set).collect()
}

/// A process that joins: a child of the monitor's, which has to reap it.
#[derive(Debug)]
pub struct Joiner {
    pid: Pid,
    pidfd: OwnedFd,
    memory: ChildsMemory,
}

impl Joiner {
    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its pidfd: readable (poll(2)) once it has ended. The client gets a copy.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Everybody inside is asked to end. Who is on the way in would not hear of it.
    pub fn tell_of_the_end(&self) {
        // ESRCH: it has ended.
        let _ = signal_process(self.pidfd(), libc::SIGTERM, None);
    }

    /// Reaps it; to be called when [`Self::pidfd`] is readable, else it waits. Its client has been told all there is to
    /// be told.
    pub fn reap(self) {
        // ECHILD: somebody else has.
        let _ = sys::wait_for(self.pidfd.as_fd());
        self.memory.free();
    }
}

/// Starts a process that joins the sandbox behind `init`, PID 1's pidfd; it waits for its plan, which is returned as a
/// frame for the client. `descriptors` are what came with the request: stdin, stdout and stderr, and the process's end of
/// the channel. Every signal must be blocked.
///
/// # Errors
/// Why it cannot be, in words.
pub fn start(
    context: &mut JoinContext,
    init: BorrowedFd<'_>,
    request: &Join,
    descriptors: Vec<OwnedFd>,
) -> Result<(Joiner, Vec<u8>), String> {
    let words = |what: &'static str| move |errno: Errno| format!("{what}: {}", errno.desc());
    // None of a standard one's number, which would be overwritten by another.
    let raised = descriptors.into_iter().map(above_stdio).collect::<Result<Vec<_>, _>>();
    let [stdin, stdout, stderr, channel] = <[OwnedFd; 4]>::try_from(raised.map_err(words("descriptors"))?)
        .map_err(|came| format!("descriptors: {} came with the request, and it takes four", came.len()))?;
    let plan = context.plan(request, init.as_raw_fd())?;
    let frame = plan.encode().map_err(|malformed| malformed.to_string())?;
    let file = context.executable().map_err(words("/proc/self/exe"))?;
    let number = channel.as_raw_fd().to_string();
    let arguments = [NAME, JOIN_OPTION, &number].map(|text| CString::new(text).unwrap_or_default());
    let stdio = [&stdin, &stdout, &stderr].map(|fd| Some(fd.as_raw_fd()));
    let mut open = vec![channel.as_raw_fd(), init.as_raw_fd()];
    open.extend(file.file().map(|file| file.as_raw_fd()));
    open.extend(stdio.iter().flatten());
    open.sort_unstable();
    let failed = |object| failure_frame("exec", object).map_err(|error| error.to_string());
    let image = sys::InitImage {
        file: file.in_image(),
        arguments: CStringArray::new(arguments.into()),
        environment: CStringArray::new(Vec::new()),
        stdio,
        channel: channel.as_raw_fd(),
        open,
        // It makes a session.
        leaves: sys::Leaves::Nothing,
        keep: vec![init.as_raw_fd()],
        ambient: Vec::new(),
        ids: InitIds::default(),
        failure: failed(NAME)?,
        ids_failure: failed("ids")?,
    };
    let mask = signals::block_all().map_err(words("signals"))?;
    let cloned = sys::clone_init(0, image);
    signals::set_mask(mask).map_err(words("signals"))?;
    let Cloned { pid, pidfd, memory } = cloned.map_err(words("clone"))?;
    log::debug!("exec: {} joins as pid {pid}", OsStr::from_bytes(&request.command[0]).display());
    Ok((Joiner { pid, pidfd, memory }, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(values: &[&str]) -> Vec<OsString> {
        values.iter().map(OsString::from).collect()
    }

    fn set(values: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        values.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn the_environment_is_the_workloads_but_what_was_told_to_it_alone() {
        let workloads = strings(&[
            "PATH=/bin",
            "NOTIFY_SOCKET=/x",
            "A=1",
            "WATCHDOG_USEC=5",
            "WATCHDOG_PID=2",
            "LISTEN_FDS=1",
            "LISTENER=2",
        ]);
        let all = environment(&workloads, &set(&[("A", "2"), ("B", "x=y"), ("A", "3"), ("TERM", "")]));
        assert_eq!(all, strings(&["PATH=/bin", "LISTENER=2", "B=x=y", "A=3", "TERM="]));
    }
}
