//! What `/` is put together from: which of the caller's directories become layers, and which are made anew above them.
//!
//! How that is made is steps.rs's to say.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Kept, Listing, Mounts, Node, Tree, inside, outside};

/// File systems that overlayfs takes as a lower layer. The others are shown read-only: among them are those that don't
/// tell upper from lower case, which it refuses.
const LAYERABLE: [&str; 26] = [
    "9p", "bcachefs", "btrfs", "ceph", "cramfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "fuse", "fuseblk",
    "gfs2", "jfs", "minix", "nfs", "nfs4", "nilfs2", "ocfs2", "overlay", "ramfs", "rootfs", "squashfs",
    "tmpfs", "virtiofs", "xfs",
];
/// Not on a disk: what is written there is for the kernel, or is memory.
const VIEWS: [&str; 26] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];

/// Directories of the inside that get a mount or a file system of the sandbox's own, whatever is there outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// /tmp.
    pub tmp: bool,
}

impl Fresh {
    fn is(self, path: &Path) -> bool {
        path == Path::new("/proc") || path == Path::new("/dev") || self.tmp && path == Path::new("/tmp")
    }
}

/// Whether it is shown as it is, with all that is below; read-only, since what is written there stays.
fn is_view(kind: Option<&String>) -> bool {
    kind.is_some_and(|kind| VIEWS.contains(&kind.as_str()))
}

fn is_leaf(path: &Path, mounts: &Mounts, fresh: Fresh) -> bool {
    fresh.is(path) || is_view(mounts.below.get(path))
}

/// What does not follow from the mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Directories that are layers of their own.
    pub layers: Vec<PathBuf>,
    /// Directories that are made anew.
    pub anew: Vec<PathBuf>,
}

/// The directories that are made anew, since something is mounted below or one below is a layer of its own: those whose
/// listings [`assemble`] needs, each before what is below it.
pub fn directories_to_list(mounts: &Mounts, wanted: &Wanted, fresh: Fresh) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let points = mounts.below.keys().chain(&wanted.layers).map(|point| (point, 1));
    for (point, first) in points.chain(wanted.anew.iter().map(|path| (path, 0))) {
        let mut above: Vec<_> = point.ancestors().skip(first).collect();
        above.reverse();
        let above = above.into_iter().take_while(|path| !is_leaf(path, mounts, fresh));
        directories.extend(above.map(Path::to_path_buf));
    }
    directories
}

/// What `/` is put together from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// As [`Tree::base`].
    pub base: PathBuf,
    /// Every part, `/` first and each before what is below it.
    pub parts: Vec<Part>,
    /// What the workload will find different from what it may expect, a line each.
    pub warnings: Vec<String>,
}

/// A part of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Inside.
    pub path: PathBuf,
    /// What is there.
    pub what: What,
}

/// What a [`Part`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A layer above the caller's directory.
    Overlay,
    /// A directory made anew, with these permissions.
    Directory(u32),
    /// A symbolic link with this text.
    Link(OsString),
    /// A file like the caller's.
    Copy,
    /// The caller's, read-only.
    Bind {
        /// Whether it is a directory.
        directory: bool,
    },
    /// A directory for what a sandbox mounts anyway, with these permissions.
    MountPoint(u32),
}

/// The most that one file has to be copied, in bytes.
pub(super) const LARGEST_COPY: u64 = 1 << 20;
/// The most that is copied, in bytes.
const ALL_COPIES: u64 = 64 << 20;

/// Puts `/` together from a tree.
pub fn assemble(tree: &Tree, fresh: Fresh) -> Layout {
    let mut assembly = Assembly {
        tree,
        fresh,
        copied: 0,
        layout: Layout { base: tree.base.clone(), parts: Vec::new(), warnings: Vec::new() },
    };
    assembly.directory(Path::new("/"), None, &tree.mounts.base);
    assembly.layout
}

struct Assembly<'a> {
    tree: &'a Tree,
    fresh: Fresh,
    /// In bytes, of which an empty file counts for some.
    copied: u64,
    layout: Layout,
}

/// What a small file costs besides its bytes.
const OVERHEAD: u64 = 4096;

impl Assembly<'_> {
    fn put(&mut self, path: &Path, what: What) {
        self.layout.parts.push(Part { path: path.into(), what });
    }

    fn warn(&mut self, path: &Path, reason: &str) {
        self.layout.warnings.push(format!("{}: {reason}", outside(&self.tree.base, path).display()));
    }

    /// `kind`: the type of the file system that it is on.
    fn directory(&mut self, path: &Path, mode: Option<u32>, kind: &str) {
        let mounted = self.tree.mounts.below.get(path);
        let read_only = What::Bind { directory: true };
        if let Some(mode) = mode.filter(|_| self.fresh.is(path)) {
            self.put(path, What::MountPoint(mode));
        } else if is_view(mounted) {
            self.put(path, read_only);
        } else {
            match self.tree.listings.get(path) {
                Some(Listing::Entries(mode, entries)) => {
                    self.put(path, What::Directory(*mode));
                    for (name, node) in entries {
                        self.entry(&path.join(name), node, kind);
                    }
                }
                Some(Listing::Unreadable) => {
                    self.put(path, read_only);
                    self.warn(
                        path,
                        "is read-only: something is mounted below, but the directory may not be read",
                    );
                }
                None if LAYERABLE.contains(&kind) => self.put(path, What::Overlay),
                None => {
                    self.put(path, read_only);
                    self.warn(path, &format!("is read-only: overlayfs takes no {kind} below it"));
                }
            }
        }
    }

    fn entry(&mut self, path: &Path, node: &Node, kind: &str) {
        // Its place is not for those inside.
        let keeps =
            |kept: &Kept| inside(&self.tree.base, &kept.directory).is_some_and(|directory| directory == path);
        if self.tree.kept.as_ref().is_some_and(keeps) {
            return;
        }
        let kind = self.tree.mounts.below.get(path).map_or(kind, String::as_str);
        match node {
            Node::Directory(mode) => self.directory(path, Some(*mode), kind),
            Node::Link(target) => self.put(path, What::Link(target.clone())),
            Node::File(size) => {
                let is_view = VIEWS.contains(&kind);
                let size = size.filter(|size| !is_view && *size <= LARGEST_COPY).map(|size| size + OVERHEAD);
                match size.filter(|size| self.copied + size <= ALL_COPIES) {
                    Some(size) => {
                        self.copied += size;
                        self.put(path, What::Copy);
                    }
                    None => self.put(path, What::Bind { directory: false }),
                }
            }
            Node::Closed => self.warn(path, "is left out: it may not be looked at"),
        }
    }
}
