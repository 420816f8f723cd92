//! The short way of a set-up that changes little: the caller's own root with a fresh /proc and /tmp. It opens nothing and
//! makes nothing, so that each step is one system call or two.
//!
//! What does not work so is left to the long way, which makes what is missing and says why something cannot be.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::ffi::OsStr;

use nix::mount::{MsFlags, mount};

use super::{directory, enter_time_namespace_with_the_next_child, make_mounts_private, names, network};
use crate::error::Error;
use crate::handoff::{FileSystem, Step};

/// Carries out as many steps as it can, from the first on, and returns how many. None, if there is one among them that is
/// not of this kind: sources are opened before anything is mounted.
///
/// # Errors
/// [`Error::Setup`], of a step that has no other way.
pub(super) fn carry_out(steps: &[Step]) -> Result<usize, Error> {
    if !steps.iter().all(is_plain) {
        return Ok(0);
    }
    for (done, step) in steps.iter().enumerate() {
        log::debug!("{}: {}", step.name(), step.object().display());
        let result = match step {
            Step::HostName(name) => names::set_host_name(name),
            Step::DomainName(name) => names::set_domain_name(name),
            Step::LoopbackUp => network::set_loopback_up(),
            Step::TimeNamespace => enter_time_namespace_with_the_next_child(),
            Step::PrivateMounts => make_mounts_private(),
            Step::KeepDirectory(path) => directory::keep(path),
            Step::Mount { what, at } if is_mounted(what, at) => Ok(()),
            _ => return Ok(done),
        };
        result.map_err(|errno| Error::Setup(Box::new(step.clone()), errno.into()))?;
    }
    Ok(steps.len())
}

fn is_plain(step: &Step) -> bool {
    match step {
        Step::HostName(_)
        | Step::DomainName(_)
        | Step::LoopbackUp
        | Step::TimeNamespace
        | Step::PrivateMounts
        | Step::KeepDirectory(_) => true,
        Step::Mount { what: FileSystem::Proc { masked, .. }, at } => !masked && at == "/proc",
        Step::Mount { what: FileSystem::Tmpfs { .. }, at } => at == "/tmp",
        _ => false,
    }
}

/// Mounts it in the caller's tree, whose paths nobody inside has made.
fn is_mounted(what: &FileSystem, at: &OsStr) -> bool {
    let (kind, options, flags): (_, Cow<'_, str>, _) = match what {
        FileSystem::Proc { hide_pids, only_pids, .. } => {
            let hidden = hide_pids.map(|mode| format!("hidepid={mode}"));
            let options: Vec<_> = hidden.into_iter().chain(only_pids.then(|| "subset=pid".into())).collect();
            ("proc", options.join(",").into(), MsFlags::MS_NOEXEC)
        }
        // The usual one, written out: nothing else that a usual start does inside formats numbers, and what does lies elsewhere.
        FileSystem::Tmpfs { size: None, mode: 0o1777 } => ("tmpfs", "mode=1777".into(), MsFlags::empty()),
        FileSystem::Tmpfs { size, mode } => {
            let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
            ("tmpfs", format!("mode={mode:o}{size}").into(), MsFlags::empty())
        }
        _ => return false,
    };
    let options = Some(&*options).filter(|options| !options.is_empty());
    mount(Some(kind), at, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | flags, options).is_ok()
}
