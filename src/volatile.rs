//! `--volatile` and `--keep`: from the caller's mounts and directories to a `/` that is writable and never reaches the
//! caller's disk. See docs/volatile.md.
//!
//! Values only: tree.rs reads the facts, kept.rs makes the directories, and init mounts. This file and mountinfo.rs have what is
//! read; what is decided from it stands in layout.rs, steps.rs and manifest.rs.
//!
//! One overlay above `/` would do, but in a user namespace every mount is locked to what it covers, and overlayfs takes
//! no lower directory that has such mounts below (clone_private_mount in fs/namespace.c: EINVAL). So the directories on
//! the way to a mount are made anew, and each of the others is an overlay of its own.

#![forbid(unsafe_code)]

mod escaped_path;
mod layout;
mod manifest;
mod mountinfo;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use self::escaped_path::escaped;
pub use self::layout::{Fresh, Layout, Part, Wanted, What, assemble, directories_to_list};
pub use self::manifest::{Kept, KeptPart, Kind, Layer, Manifest, VERSION};
pub use self::mountinfo::{Mounts, mounts};
pub use self::steps::steps;

/// What the layers stand on. Paths in it are those of the inside, which start at the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The directory of the caller's that `/` is made of: absolute, without symbolic links.
    pub base: PathBuf,
    /// The mounts.
    pub mounts: Mounts,
    /// Each directory of [`directories_to_list`].
    pub listings: BTreeMap<PathBuf, Listing>,
    /// Where changes are kept; none: nowhere.
    pub kept: Option<Kept>,
}

/// What a directory of the caller's is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// Its permissions, and what is in it by name.
    Entries(u32, BTreeMap<OsString, Node>),
    /// The caller may not read it.
    Unreadable,
}

/// What has a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory with these permissions.
    Directory(u32),
    /// A symbolic link with this text.
    Link(OsString),
    /// A file of whatever kind; the size in bytes of a regular one that the caller may read by its own ids.
    File(Option<u64>),
    /// A mount point that the caller may not look at, such as another user's FUSE mount.
    Closed,
}

/// The path that a path of the caller's has below `base`; none if it is not below.
pub fn inside(base: &Path, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(base).ok().map(|rest| Path::new("/").join(rest))
}

/// The caller's path for one of the inside.
pub fn outside(base: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(rest) if !rest.as_os_str().is_empty() => base.join(rest),
        _ => base.into(),
    }
}
