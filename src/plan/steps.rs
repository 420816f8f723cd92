//! What init does before the workload starts, in order: names, the file system, where the workload starts.
//!
//! The steps of a `/` that is all writable are volatile.rs's.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use launch_init::handoff::{FileSystem, Group, Overlay, Root, Source, Step, Upper};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{Caller, Layers, Network, Options, Share, Tmp};
use crate::error::Error;
use crate::volatile;

pub(super) fn steps(
    options: &Options,
    caller: &Caller,
    layers: Option<&Layers>,
    has_root: bool,
) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::with_capacity(8);
    if !options.share.contains(&Share::Uts) {
        steps.push(Step::HostName(options.host_name.clone().unwrap_or_else(|| "container".into())));
    }
    steps.extend(options.domain_name.clone().map(Step::DomainName));
    if options.network == Network::None {
        steps.push(Step::LoopbackUp);
    }
    if options.time_namespace {
        steps.push(Step::TimeNamespace);
    }
    steps.push(Step::PrivateMounts);
    if options.no_user_namespaces {
        steps.push(Step::NoUserNamespaces);
    }
    steps.extend(files(options, caller, layers, has_root)?);
    if options.group == Group::Session {
        steps.push(Step::Pty { callers: caller.terminal.clone().map(PathBuf::into_os_string) });
    }
    // After the mounts, so that it is looked for where the workload will find it.
    steps.extend(Start::of(options).step(&caller.directory)?);
    Ok(steps)
}

/// The file system: first what it all stands on, then what every sandbox has, then what was asked for, in that order.
fn files(
    options: &Options,
    caller: &Caller,
    layers: Option<&Layers>,
    has_root: bool,
) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut rest = options.files.iter();
    if let Some(Layers { layout, kept }) = layers {
        steps.extend(volatile::steps(layout, kept.as_ref().map(|(kept, manifest)| (kept, manifest))));
    } else if let Some(root) = &options.root {
        let path = absolute(root.path.as_os_str(), caller)?;
        steps.push(Step::Root(Root::Directory { path, writable: root.writable }));
    } else if let Some(root) = options.files.first().and_then(root_of) {
        steps.push(Step::Root(match root {
            Root::Directory { path, writable } => {
                Root::Directory { path: absolute(&path, caller)?, writable }
            }
            Root::Overlay(overlay) => Root::Overlay(with_absolute_layers(overlay, caller)?),
            Root::Empty => Root::Empty,
        }));
        rest.next();
    }
    // What is on layers above the caller's `/` is the caller's still.
    let is_new = if layers.is_some() { options.root.is_some() } else { !steps.is_empty() };
    if options.read_only {
        steps.push(Step::ReadOnly);
    }
    // What a root outside does there is done to the whole machine, whatever else is read-only.
    let has_walls = options.read_only || options.volatile.is_some();
    let proc = FileSystem::Proc {
        masked: is_new || has_walls && has_root,
        hide_pids: options.proc.hide_pids,
        only_pids: options.proc.only_pids,
    };
    let everybodys = [
        Some((proc.clone(), "/proc")),
        (is_new || has_walls).then_some((FileSystem::Dev, "/dev")),
        match options.tmp {
            Tmp::Fresh { size } => Some((FileSystem::Tmpfs { size, mode: 0o1777 }, "/tmp")),
            Tmp::Callers => None,
        },
    ];
    for (what, at) in
        everybodys.into_iter().flatten().filter(|(what, at)| !comes_anyway(what, at, rest.as_slice()))
    {
        steps.push(Step::Mount { what, at: at.into() });
    }
    for step in rest {
        steps.push(match with_absolute_paths(step.clone(), caller)? {
            Step::Mount { at, .. } if at == "/" => {
                let reason = "only a directory, layers, or a tmpfs without a size can be mounted here, before all \
                              other mounts and without --rootfs; --bind . in / would be such a mount, too";
                return Err(Error::Option("/".into(), reason.into()));
            }
            Step::Mount { what: FileSystem::Proc { .. }, at } => Step::Mount { what: proc.clone(), at },
            Step::Mask(path) | Step::RemountReadOnly(path) if is_of_one_process(Path::new(&path)) => {
                let reason = "is another file for each process, and this would hold for PID 1's alone; for all, say \
                              --proc-mode";
                return Err(Error::Option(path, reason.into()));
            }
            step => step,
        });
    }
    if is_new || options.volatile.is_some() {
        steps.push(Step::EnterRoot);
    }
    Ok(steps)
}

/// Whether the first of these steps that has to do with this place mounts the same kind there, which would only cover it.
fn comes_anyway(what: &FileSystem, at: &str, steps: &[Step]) -> bool {
    let place = Path::new(at);
    let first = steps.iter().find(|step| Path::new(step.object()).starts_with(place));
    first.is_some_and(|step| match step {
        Step::Mount { what: other, at } => {
            Path::new(at) == place && discriminant(what) == discriminant(other)
        }
        _ => false,
    })
}

/// /proc/self and its like lead every process to its own directory.
fn is_of_one_process(path: &Path) -> bool {
    ["/proc/self", "/proc/thread-self"].iter().any(|own| path.starts_with(own))
}

/// A mount on `/` that comes before all others is a root of the sandbox's own.
fn root_of(first: &Step) -> Option<Root> {
    match first {
        Step::Mount { what, at } if at == "/" => match what {
            FileSystem::Bind { source: Source::Path(path), read_only, .. } => {
                Some(Root::Directory { path: path.clone(), writable: !read_only })
            }
            FileSystem::Overlay(overlay) => Some(Root::Overlay(overlay.clone())),
            FileSystem::Tmpfs { size: None, .. } => Some(Root::Empty),
            _ => None,
        },
        _ => None,
    }
}

fn has_root_of_its_own(options: &Options) -> bool {
    options.root.is_some() || options.files.first().and_then(root_of).is_some()
}

/// Where the workload starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Start {
    /// In this directory; a relative one is one of the caller's.
    In(OsString),
    /// At the top of a root of its own.
    Top,
    /// In the caller's, which is to be found behind walls.
    Found,
    /// In the caller's.
    Kept,
}

impl Start {
    pub(super) fn of(options: &Options) -> Self {
        let has_walls = options.volatile.is_some() || options.read_only || !options.files.is_empty();
        match &options.directory {
            Some(directory) => Self::In(directory.into()),
            None if has_root_of_its_own(options) => Self::Top,
            None if has_walls => Self::Found,
            None => Self::Kept,
        }
    }

    /// The step to it, from the caller's.
    pub(super) fn step(&self, callers: &Result<Option<PathBuf>, Errno>) -> Result<Option<Step>, Error> {
        let here = || Ok(callers.clone().map_err(Error::WorkingDirectory)?.map(PathBuf::into_os_string));
        Ok(match self {
            Self::In(directory) => Some(Step::ChangeDirectory(absolute_from(callers, directory)?)),
            Self::Top => Some(Step::ChangeDirectory("/".into())),
            Self::Found => Some(match here()? {
                Some(path) => Step::FindDirectory(path),
                // Where it has no name, nothing tells that it lies inside the walls.
                None => Step::ChangeDirectory("/".into()),
            }),
            Self::Kept => here()?.map(Step::KeepDirectory),
        })
    }
}

fn with_absolute_paths(step: Step, caller: &Caller) -> Result<Step, Error> {
    let absolute = |path: OsString| absolute(&path, caller);
    Ok(match step {
        Step::Mount { what, at } => Step::Mount {
            what: match what {
                FileSystem::Bind { source: Source::Path(path), read_only, devices, optional } => {
                    FileSystem::Bind { source: Source::Path(absolute(path)?), read_only, devices, optional }
                }
                FileSystem::Overlay(overlay) => FileSystem::Overlay(with_absolute_layers(overlay, caller)?),
                what => what,
            },
            at: absolute(at)?,
        },
        Step::Directory { path, mode } => Step::Directory { path: absolute(path)?, mode },
        Step::Symlink { target, path } => Step::Symlink { target, path: absolute(path)? },
        Step::Mask(path) => Step::Mask(absolute(path)?),
        Step::RemountReadOnly(path) => Step::RemountReadOnly(absolute(path)?),
        step => step,
    })
}

fn with_absolute_layers(overlay: Overlay, caller: &Caller) -> Result<Overlay, Error> {
    let absolute = |path: OsString| absolute(&path, caller);
    Ok(Overlay {
        optional: overlay.optional,
        lower: overlay.lower.into_iter().map(absolute).collect::<Result<_, _>>()?,
        upper: match overlay.upper {
            Upper::Kept { upper, work } => Upper::Kept { upper: absolute(upper)?, work: absolute(work)? },
            upper => upper,
        },
    })
}

/// A relative path is one from the caller's directory, by its name: the directory itself may be hidden by a mount.
pub(super) fn absolute(path: &OsStr, caller: &Caller) -> Result<OsString, Error> {
    absolute_from(&caller.directory, path)
}

fn absolute_from(directory: &Result<Option<PathBuf>, Errno>, path: &OsStr) -> Result<OsString, Error> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(path.into());
    }
    let directory = directory.clone().map_err(Error::WorkingDirectory)?.unwrap_or_else(|| "/".into());
    // Without the dots that stand for nothing; those that stand for a parent are the kernel's to follow.
    Ok(directory.join(path).components().collect::<PathBuf>().into())
}
