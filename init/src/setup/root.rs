//! A root of the sandbox's own: attached where only init sees it, filled, and then entered.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::problem::Problem;
use super::staging::Staging;
use super::tree::Tree;
use crate::sys;

/// Attaches it on top of `/`, where no lookup of ours finds it.
pub(super) fn attach(mount: OwnedFd) -> Result<Tree, Errno> {
    sys::move_mount(mount.as_fd(), Tree::callers()?.root())?;
    Ok(Tree::new(mount))
}

/// How the root was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// The old root is gone.
    Pivoted,
    /// The old root is below, out of reach of everybody who cannot change roots.
    Chrooted,
}

/// `pivot_root(".", ".")` puts the old root on top of the new one, from where it is detached; pivot_root(2), NOTES. It is
/// refused where `/` is the initramfs, which nothing can be moved away from: there the new root covers it.
///
/// Whatever is attached to the old root goes with it: for each mount that is detached by itself, or has no place when its last
/// descriptor is closed, the kernel waits until every processor has been elsewhere.
pub(super) fn enter(tree: &Tree, staging: &mut Staging) -> Result<Entered, Problem> {
    fchdir(tree.root())?;
    let entered = match pivot_root(".", ".") {
        Ok(()) => {
            staging.goes_with_the_old_root(tree.maker());
            umount2(".", MntFlags::MNT_DETACH).map_err(Problem::about("detach the old root"))?;
            Entered::Pivoted
        }
        Err(Errno::EINVAL) => {
            staging.end()?;
            fchdir(tree.root())?;
            chroot(".").map_err(Problem::about("chroot"))?;
            Entered::Chrooted
        }
        Err(errno) => return Err(errno.into()),
    };
    chdir("/")?;
    Ok(entered)
}
