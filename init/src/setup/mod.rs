//! Carries out the steps of a plan inside the new namespaces, one after another, before the workload starts.
//!
//! What is to be done, and in which order, is the launcher's to decide (its plan.rs).

#![forbid(unsafe_code)]

mod directory;
mod mounts;
mod names;
mod network;
mod pty;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use crate::error::Error;
use crate::handoff::{FileSystem, Step};
use crate::proc;
pub(crate) use pty::Pty;

/// Carries out every step; returns the terminal if one of them made it.
///
/// # Errors
/// [`Error::Setup`], of the first one that fails; nothing is undone, since the namespaces die with init.
pub(crate) fn carry_out(steps: &[Step]) -> Result<Option<Pty>, Error> {
    let mut terminal = None;
    for step in steps {
        log::debug!("{}: {}", step.name(), step.object().display());
        let failed = |errno| Error::Setup(Box::new(step.clone()), errno);
        match step {
            Step::HostName(name) => names::set_host_name(name),
            Step::DomainName(name) => names::set_domain_name(name),
            Step::LoopbackUp => network::set_loopback_up(),
            Step::TimeNamespace => enter_time_namespace_with_the_next_child(),
            Step::NoUserNamespaces => proc::forbid_user_namespaces(),
            Step::PrivateMounts => mounts::make_private(),
            Step::Mount { what: FileSystem::Proc { .. }, .. } => mounts::mount_proc(),
            Step::Mount { what: FileSystem::Tmpfs { size, .. }, .. } => mounts::mount_tmp(*size),
            Step::Pty { callers } => pty::make(callers.as_deref()).map(|pty| terminal = Some(pty)),
            Step::ChangeDirectory(path) => nix::unistd::chdir(path.as_os_str()),
            Step::KeepDirectory(path) => directory::keep(path),
            _ => Err(Errno::ENOSYS),
        }
        .map_err(failed)?;
    }
    Ok(terminal)
}

/// A time namespace cannot be entered by the process that makes it, only by the children that it forks from then
/// on, so PID 1 stays outside and everything else is inside; see time_namespaces(7).
fn enter_time_namespace_with_the_next_child() -> Result<(), Errno> {
    unshare(CloneFlags::from_bits_retain(libc::CLONE_NEWTIME))
}
