//! Carries out the steps of a plan inside the new namespaces, one after another, before the workload starts.
//!
//! What is to be done, and in which order, is the launcher's to decide (its plan/).

#![forbid(unsafe_code)]

mod dev;
mod directory;
mod filesystems;
mod names;
mod network;
mod plain;
mod problem;
mod proc;
mod pty;
mod root;
mod sources;
mod staging;
mod tree;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat, umask};

use crate::error::Error;
use crate::handoff::{FileSystem, Root, Step};
use crate::sys;
use problem::LAUNCHER_GONE;
pub use problem::Problem;
pub(crate) use pty::{Pty, of_sandbox as terminal_of_sandbox};
use root::Entered;
use sources::{Descriptors, Opened};
use staging::Staging;
use tree::{Kind, Tree, is_directory, too_many_links};

/// What the set-up leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// The sandbox's own terminal, if there is one.
    pub(crate) terminal: Option<Pty>,
    /// Whether the caller's root is still there, out of reach of everybody who cannot change roots.
    pub(crate) is_chrooted: bool,
}

/// Carries out every step, unless `launcher`, the channel to it, has its end of file meanwhile.
///
/// # Errors
/// [`Error::LauncherGone`]; [`Error::Setup`], of the first one that fails; nothing is undone, since the namespaces die with init.
pub(crate) fn carry_out(steps: &[Step], launcher: Option<BorrowedFd<'_>>) -> Result<Ready, Error> {
    let steps = &steps[plain::carry_out(steps)?..];
    if steps.is_empty() {
        return Ok(Ready::default());
    }
    let own = |what| move |errno| Error::Own(what, errno);
    let limit = Descriptors::for_steps(steps).map_err(own("descriptors"))?;
    // What is made has the permissions that the steps name.
    let callers_umask = umask(Mode::empty());
    let mut setup = Setup {
        tree: Tree::callers().map_err(own("/"))?,
        staging: Staging::new(),
        devpts: None,
        launcher,
        ready: Ready::default(),
    };
    // A copy of a mount that is still shared would go on to show what is mounted there outside.
    let private = steps.iter().position(|step| *step == Step::PrivateMounts).map_or(0, |at| at + 1);
    let (before, after) = steps.split_at(private);
    for step in before {
        setup.carry_out(step, Opened::Nothing)?;
    }
    let opened = sources::open_all(after, &mut setup.staging)?;
    setup.staging.end().map_err(own("staging"))?;
    for (step, opened) in after.iter().zip(opened) {
        setup.carry_out(step, opened)?;
    }
    setup.staging.end().map_err(own("staging"))?;
    umask(callers_umask);
    limit.give_back().map_err(own("descriptors"))?;
    Ok(setup.ready)
}

/// Goes to the directory in which a workload starts whose sandbox was made ahead. `here` is the caller's, for
/// [`Step::KeepDirectory`].
///
/// # Errors
/// [`Error::Setup`]
pub(crate) fn go_to(step: &Step, here: Option<(u64, u64)>) -> Result<(), Error> {
    let gone = match (step, here) {
        (Step::KeepDirectory(path), Some(here)) => directory::go_back(path, here),
        (Step::ChangeDirectory(path), _) => directory::change(path),
        (Step::KeepDirectory(path) | Step::FindDirectory(path), _) => directory::find(path),
        _ => Err(Errno::EINVAL.into()),
    };
    gone.map_err(|problem| Error::Setup(Box::new(step.clone()), problem))
}

/// What the set-up has to do with while it lasts.
struct Setup<'a> {
    tree: Tree,
    staging: Staging,
    /// The devpts instance of a fresh /dev.
    devpts: Option<OwnedFd>,
    /// Its end is looked out for where something may take for ever.
    launcher: Option<BorrowedFd<'a>>,
    ready: Ready,
}

impl Setup<'_> {
    fn carry_out(&mut self, step: &Step, opened: Opened) -> Result<(), Error> {
        log::debug!("{}: {}", step.name(), step.object().display());
        self.try_to(step, opened).map_err(|problem| match problem {
            Problem { errno: LAUNCHER_GONE, .. } => Error::LauncherGone,
            problem => Error::Setup(Box::new(step.clone()), problem),
        })
    }

    fn try_to(&mut self, step: &Step, opened: Opened) -> Result<(), Problem> {
        if matches!(step, Step::ChangeDirectory(_) | Step::KeepDirectory(_) | Step::FindDirectory(_)) {
            // Its end leads to `/`, and the workload starts where these steps lead to.
            self.staging.end()?;
        }
        match step {
            Step::HostName(name) => names::set_host_name(name)?,
            Step::DomainName(name) => names::set_domain_name(name)?,
            Step::LoopbackUp => network::set_loopback_up()?,
            Step::TimeNamespace => enter_time_namespace_with_the_next_child()?,
            Step::PrivateMounts => make_mounts_private()?,
            Step::NoUserNamespaces => crate::proc::forbid_user_namespaces()?,
            Step::Root(what) => self.start_root(what, opened)?,
            Step::ReadOnly => self.tree.make_read_only()?,
            Step::Mount { what, at } => self.mount(what, at, opened)?,
            Step::Directory { path, mode } => {
                let found = self.tree.find_or_make(path, Kind::Directory(Mode::from_bits_truncate(*mode)))?;
                if !is_directory(&fstat(&found)?) {
                    return Err(Errno::ENOTDIR.into());
                }
            }
            Step::Symlink { target, path } => self.tree.make_link(target, path)?,
            Step::Copy { path, .. } => {
                if let Opened::Content(original) = opened {
                    self.tree.make_copy(original, path)?;
                }
            }
            Step::Mask(path) => self.mask(path)?,
            Step::RemountReadOnly(path) => self.make_read_only(path)?,
            Step::EnterRoot => {
                let entered = root::enter(&self.tree, &mut self.staging)?;
                self.ready.is_chrooted = entered == Entered::Chrooted;
            }
            Step::Pty { callers } => {
                let null = match opened {
                    Opened::Devices(devices) => devices.into_iter().next().map(|(_, null)| null),
                    _ => None,
                };
                let callers = callers.as_deref().zip(null);
                self.ready.terminal = Some(pty::make(&self.tree, self.devpts.take(), callers)?);
            }
            Step::ChangeDirectory(path) => directory::change(path)?,
            Step::KeepDirectory(path) => directory::keep(path)?,
            Step::FindDirectory(path) => directory::find(path)?,
        }
        Ok(())
    }

    fn start_root(&mut self, what: &Root, opened: Opened) -> Result<(), Problem> {
        let mount = match (what, opened) {
            (Root::Directory { .. } | Root::Overlay(_), Opened::Tree(tree)) => {
                if !is_directory(&fstat(&tree)?) {
                    return Err(Errno::ENOTDIR.into());
                }
                tree
            }
            (Root::Empty, _) => filesystems::tmpfs(None, 0o755)?,
            (Root::Directory { .. } | Root::Overlay(_), _) => return Err(Errno::EBADF.into()),
        };
        self.tree = root::attach(mount)?;
        if matches!(what, Root::Directory { writable: false, .. }) {
            self.tree.make_read_only()?;
        }
        Ok(())
    }

    fn mount(&mut self, what: &FileSystem, at: &OsStr, opened: Opened) -> Result<(), Problem> {
        let mount = match (what, opened) {
            (_, Opened::Missing) => {
                log::debug!("mount: {}: its source is missing, and may be", at.display());
                return Ok(());
            }
            (FileSystem::Bind { .. } | FileSystem::Overlay(_), Opened::Tree(tree)) => tree,
            (FileSystem::File { descriptor }, Opened::Content(content)) => {
                self.staging.file(content, self.launcher).map_err(|problem| match problem.errno {
                    errno @ (Errno::EBADF | Errno::EISDIR) => {
                        Problem { errno, detail: format!("descriptor {descriptor} cannot be read") }
                    }
                    _ => problem,
                })?
            }
            (FileSystem::Tmpfs { size, mode }, _) => filesystems::tmpfs(*size, *mode)?,
            (FileSystem::MessageQueue, _) => filesystems::message_queues()?,
            (FileSystem::Proc { masked, hide_pids, only_pids }, _) => {
                return proc::mount(&self.tree, at, *masked, (*hide_pids, *only_pids), &mut self.staging);
            }
            (FileSystem::Dev, Opened::Devices(devices)) => {
                self.devpts = Some(dev::mount(&self.tree, at, &devices)?);
                return Ok(());
            }
            // Every source has been opened above.
            (
                FileSystem::Bind { .. } | FileSystem::Overlay(_) | FileSystem::File { .. } | FileSystem::Dev,
                _,
            ) => return Err(Errno::EBADF.into()),
        };
        let point = self.tree.find_or_make(at, Kind::of(&fstat(&mount)?))?;
        self.tree.attach(mount.as_fd(), point.as_fd())
    }

    fn mask(&mut self, path: &OsStr) -> Result<(), Problem> {
        let point = match self.tree.find(path) {
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ELOOP) => return Err(too_many_links()),
            point => point?,
        };
        let mask = self.staging.mask(is_directory(&fstat(&point)?))?;
        self.tree.attach(mask.as_fd(), point.as_fd())
    }

    /// A path that nothing is mounted on is made a mount of its own for it.
    fn make_read_only(&mut self, path: &OsStr) -> Result<(), Problem> {
        let found = self.tree.find(path)?;
        match sys::mount_setattr(found.as_fd(), false, sys::MOUNT_ATTR_RDONLY) {
            Err(Errno::EINVAL) => {}
            result => return Ok(result?),
        }
        let copy = sys::clone_tree(Some(found.as_fd()), c"")?;
        sys::mount_setattr(copy.as_fd(), false, sys::MOUNT_ATTR_RDONLY)?;
        Ok(sys::move_mount(copy.as_fd(), found.as_fd())?)
    }
}

/// Nothing mounted here is seen outside, and nothing mounted outside appears here: what the workload sees is
/// settled now. See mount_namespaces(7).
fn make_mounts_private() -> Result<(), Errno> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// A time namespace cannot be entered by the process that makes it, only by the children that it forks from then
/// on, so PID 1 stays outside and everything else is inside; see time_namespaces(7).
fn enter_time_namespace_with_the_next_child() -> Result<(), Errno> {
    unshare(CloneFlags::from_bits_retain(libc::CLONE_NEWTIME))
}
