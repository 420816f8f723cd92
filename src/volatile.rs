//! `--volatile` and `--keep`: from the caller's mounts and directories to a `/` that is writable and never reaches the
//! caller's disk. See docs/volatile.md.
//!
//! Values only: tree.rs reads the facts, kept.rs makes the directories, and init mounts.
//!
//! One overlay above `/` would do, but in a user namespace every mount is locked to what it covers, and overlayfs takes
//! no lower directory that has such mounts below (clone_private_mount in fs/namespace.c: EINVAL). So the directories on
//! the way to a mount are made anew, and each of the others is an overlay of its own.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use launch_init::handoff::{FileSystem, Overlay, Root, Source, Step, Upper};
use serde::{Deserialize, Serialize};

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

/// The mounts that can be reached below a base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The type of the file system that the base is on.
    pub base: String,
    /// The type of each that is below it, by mount point.
    pub below: BTreeMap<PathBuf, String>,
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

/// A directory of `--keep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The caller's path: absolute, without symbolic links.
    pub directory: PathBuf,
    /// What it already holds.
    pub manifest: Option<Manifest>,
    /// The directories of which nothing has changed in their layers.
    pub unchanged: BTreeSet<PathBuf>,
}

/// The mounts below `base` by proc_pid_mountinfo(5): the uppermost of those on one mount point, and none that another
/// one hides.
pub fn mounts(mountinfo: &[u8], base: &Path) -> Mounts {
    let table: Vec<_> = mountinfo.split(|byte| *byte == b'\n').filter_map(mount).collect();
    let by_id: HashMap<_, _> = table.iter().enumerate().map(|(i, mount)| (mount.id, i)).collect();
    let places: HashSet<_> = table
        .iter()
        .filter(|mount| mount.parent != mount.id)
        .map(|mount| (mount.parent, mount.point.as_path()))
        .collect();
    // What a mount has at and below the place of another one on it is out of reach.
    let is_hidden =
        |mount: &Mount| mount.point.ancestors().skip(1).any(|above| places.contains(&(mount.parent, above)));
    let mut reachable: Vec<Option<bool>> = vec![None; table.len()];
    for mount in 0..table.len() {
        let mut way = vec![mount];
        let above = loop {
            let parent = by_id.get(&table[way[way.len() - 1]].parent);
            match parent.map(|parent| (*parent, reachable[*parent])) {
                Some((_, Some(known))) => break known,
                Some((parent, None)) if way.len() <= table.len() => way.push(parent),
                _ => break true,
            }
        };
        way.into_iter().rev().fold(above, |above, i| *reachable[i].insert(above && !is_hidden(&table[i])));
    }
    let mut found = Mounts::default();
    let mut closest: Option<&Path> = None;
    for (mount, reachable) in table.iter().zip(reachable) {
        let is_covered = places.contains(&(mount.id, mount.point.as_path()));
        if reachable != Some(true) || is_covered {
            continue;
        }
        if base.starts_with(&mount.point) {
            if closest.is_none_or(|closest| mount.point.starts_with(closest)) {
                closest = Some(&mount.point);
                found.base.clone_from(&mount.kind);
            }
        } else if let Some(path) = inside(base, &mount.point) {
            found.below.insert(path, mount.kind.clone());
        }
    }
    found
}

/// One line of mountinfo.
struct Mount {
    id: u64,
    parent: u64,
    point: PathBuf,
    kind: String,
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let point = unescaped(fields.nth(2)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    // The part behind the dot is the file system's own name for itself, as in fuse.sshfs.
    let kind = kind.split(|byte| *byte == b'.').next()?;
    Some(Mount { id, parent, point, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// Blanks, tabs, newlines and backslashes are written in octal, as in `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let digits =
            behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
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
const LARGEST_COPY: u64 = 1 << 20;
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

/// The steps that make it: the root, and what is mounted and made in it.
pub fn steps(layout: &Layout, kept: Option<(&Kept, &Manifest)>) -> Vec<Step> {
    let overlay = |path: &Path| Overlay {
        lower: vec![outside(&layout.base, path).into()],
        // It may have been removed since it was seen.
        optional: path != Path::new("/"),
        upper: match kept.and_then(|(kept, manifest)| Some(kept.layer(manifest.number(path)?))) {
            Some(layer) => Upper::Kept { upper: layer.upper.into(), work: layer.work.into() },
            None => Upper::Discarded,
        },
    };
    let bind = |path: &Path, directory: bool| Step::Mount {
        what: FileSystem::Bind {
            source: Source::Path(outside(&layout.base, path).into()),
            read_only: true,
            devices: false,
            // A file may vanish at any time; a directory is never missed in silence.
            optional: !directory,
        },
        at: path.into(),
    };
    let in_tree = |path: &Path| {
        kept.and_then(|(_, manifest)| manifest.kind(path))
            .is_some_and(|kind| kind != Kind::Overlay && kind != Kind::Mount)
    };
    let mut steps = Vec::with_capacity(layout.parts.len() + 1);
    for Part { path, what } in &layout.parts {
        let at = || path.clone().into_os_string();
        match what {
            What::Overlay if path == Path::new("/") => steps.push(Step::Root(Root::Overlay(overlay(path)))),
            What::Overlay => steps.push(Step::Mount { what: FileSystem::Overlay(overlay(path)), at: at() }),
            What::Directory(_) if path == Path::new("/") => steps.push(Step::Root(match kept {
                Some((kept, _)) => Root::Directory { path: kept.tree().into(), writable: true },
                None => Root::Empty,
            })),
            What::Bind { .. } if path == Path::new("/") => {
                let path = layout.base.clone().into();
                steps.push(Step::Root(Root::Directory { path, writable: false }));
            }
            // The tree that is kept has it, unless the workload has removed it.
            _ if in_tree(path) => {}
            What::Directory(_) | What::MountPoint(_) | What::Link(_) if kept.is_some() => {}
            What::Bind { directory } => steps.push(bind(path, *directory)),
            // Once bound, always bound.
            What::Copy if kept.is_some() => steps.push(bind(path, false)),
            What::Copy => {
                steps.push(Step::Copy { source: outside(&layout.base, path).into(), path: at() });
            }
            What::Directory(mode) | What::MountPoint(mode) => {
                steps.push(Step::Directory { path: at(), mode: *mode });
            }
            What::Link(target) => steps.push(Step::Symlink { target: target.clone(), path: at() }),
        }
    }
    // Whoever changed the layers below an overlay would change what it shows, in undefined ways (overlayfs.rst).
    let kept_inside = kept.and_then(|(kept, _)| inside(&layout.base, &kept.directory));
    steps.extend(kept_inside.map(|path| Step::Mask(path.into())));
    steps
}

/// What a directory of `--keep` holds; its layers.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this format.
    pub version: u32,
    /// As [`Tree::base`].
    #[serde(with = "escaped_path")]
    pub base: PathBuf,
    /// The parts, in ascending order of their paths.
    pub parts: Vec<KeptPart>,
}

/// A part of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptPart {
    /// Inside.
    #[serde(with = "escaped_path")]
    pub path: PathBuf,
    /// What is there.
    pub kind: Kind,
    /// The number of the layer, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
}

/// What a part of a [`Manifest`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A layer above a directory of the caller's, in a directory of its number.
    Overlay,
    /// A directory of the tree.
    Tree,
    /// A symbolic link in the tree.
    Link,
    /// A file in the tree.
    File,
    /// A place in the tree that something is mounted on.
    Mount,
}

impl Kind {
    fn is_layer(self) -> bool {
        matches!(self, Self::Overlay | Self::Tree)
    }
}

/// The version of the format that is written and read.
pub const VERSION: u32 = 1;

/// The directories of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What was changed.
    pub upper: PathBuf,
    /// The kernel's own.
    pub work: PathBuf,
}

impl Kept {
    /// The directories of the layer of this number.
    pub fn layer(&self, number: u32) -> Layer {
        let directory = self.directory.join(number.to_string());
        Layer { upper: directory.join("upper"), work: directory.join("work") }
    }

    /// The directories that were made anew.
    pub fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }
}

impl Manifest {
    /// What will be held when `layout` has been used: what was, and what is new.
    ///
    /// # Errors
    /// Why what is kept does not fit to the caller's tree of today, in words.
    pub fn of(layout: &Layout, kept: &Kept) -> Result<Self, String> {
        let old = kept.manifest.as_ref();
        let mut parts: BTreeMap<&Path, (Kind, Option<u32>)> = BTreeMap::new();
        let mut last = 0;
        if let Some(old) = old {
            if old.base != layout.base {
                return Err(format!("was kept of another root, {}", old.base.display()));
            }
            for part in &old.parts {
                parts.insert(&part.path, (part.kind, part.number));
                last = last.max(part.number.unwrap_or_default());
            }
        }
        let now: HashSet<_> = layout.parts.iter().map(|part| part.path.as_path()).collect();
        let gone = |(path, (kind, _)): &(&&Path, &(Kind, _))| {
            *kind == Kind::Overlay && !now.contains(**path) && !kept.unchanged.contains(**path)
        };
        if let Some((path, _)) = parts.iter().find(gone) {
            let path = outside(&layout.base, path);
            return Err(format!(
                "has changes to {}, which is gone or lies within another layer now",
                path.display()
            ));
        }
        for part in &layout.parts {
            let kind = part.what.kind();
            match parts.get(part.path.as_path()) {
                Some((known, _)) if *known != kind && (known.is_layer() || kind.is_layer()) => {
                    return Err(format!(
                        "fits no longer: something was mounted or replaced at or below {} since",
                        outside(&layout.base, &part.path).display()
                    ));
                }
                Some(_) => {}
                None => {
                    let number = (kind == Kind::Overlay).then(|| last + 1);
                    last = number.unwrap_or(last);
                    parts.insert(&part.path, (kind, number));
                }
            }
        }
        let parts = parts.into_iter();
        let parts =
            parts.map(|(path, (kind, number))| KeptPart { path: path.into(), kind, number }).collect();
        Ok(Self { version: VERSION, base: layout.base.clone(), parts })
    }

    /// The number of the layer above this directory.
    pub fn number(&self, path: &Path) -> Option<u32> {
        self.part(path)?.number
    }

    /// The paths of the parts of this kind.
    pub fn paths_of(&self, kind: Kind) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter(move |part| part.kind == kind).map(|part| part.path.as_path())
    }

    /// Whether this path is one of its parts.
    pub fn has(&self, path: &Path) -> bool {
        self.part(path).is_some()
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        Some(self.part(path)?.kind)
    }

    fn part(&self, path: &Path) -> Option<&KeptPart> {
        let found = self.parts.binary_search_by(|part| part.path.as_path().cmp(path)).ok()?;
        self.parts.get(found)
    }

    /// The parts that lie directly in this directory.
    pub fn below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = &'a KeptPart> {
        let first = self.parts.partition_point(|part| part.path.as_path() <= directory);
        let below = self.parts[first..].iter().take_while(move |part| part.path.starts_with(directory));
        below.filter(move |part| part.path.parent() == Some(directory))
    }
}

impl What {
    fn kind(&self) -> Kind {
        match self {
            Self::Overlay => Kind::Overlay,
            Self::Directory(_) => Kind::Tree,
            Self::Link(_) => Kind::Link,
            Self::Copy => Kind::File,
            Self::Bind { .. } | Self::MountPoint(_) => Kind::Mount,
        }
    }
}

/// Any path as text on one line, in the options' own spelling of a path (spec.rs): a backslash is `\\`, and a control
/// character or a byte that is not UTF-8 is `\xHH`.
pub fn escaped(path: &OsStr) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.as_bytes().utf8_chunks() {
        for char in chunk.valid().chars() {
            if char == '\\' {
                text.push_str("\\\\");
            } else if char.is_control() {
                let mut bytes = [0; 4];
                escape(char.encode_utf8(&mut bytes).as_bytes(), &mut text);
            } else {
                text.push(char);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

mod escaped_path {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::escaped(path.as_os_str()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, behind @ ..] = rest {
            if let Some(after) = rest.strip_prefix(b"\\\\") {
                bytes.push(b'\\');
                rest = after;
            } else if *first == b'\\' {
                let digits = behind.strip_prefix(b"x").and_then(|digits| digits.get(..2));
                let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or_else(|| serde::de::Error::custom("a backslash without xHH"))?);
                rest = &behind[3..];
            } else {
                bytes.push(*first);
                rest = behind;
            }
        }
        let path = PathBuf::from(OsString::from_vec(bytes));
        // It is joined to other paths, which must not lead elsewhere.
        let is_plain = path.is_absolute() && path.components().all(|part| part.as_os_str() != "..");
        is_plain
            .then_some(path)
            .ok_or_else(|| serde::de::Error::custom("a path that is not absolute and plain"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Fresh = Fresh { tmp: true };

    /// Lines of mountinfo from (id, parent, mount point, type).
    fn table(mounts: &[(u32, u32, &str, &str)]) -> Vec<u8> {
        let line = |(id, parent, point, kind): &(u32, u32, &str, &str)| {
            format!("{id} {parent} 0:{id} / {point} rw,relatime shared:1 master:2 - {kind} source rw\n")
        };
        mounts.iter().map(line).collect::<String>().into_bytes()
    }

    fn below(mounts: &[(u32, u32, &str, &str)], base: &str) -> Vec<(String, String)> {
        let found = super::mounts(&table(mounts), Path::new(base));
        found.below.into_iter().map(|(path, kind)| (path.display().to_string(), kind)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(path, kind)| ((*path).into(), (*kind).into())).collect()
    }

    #[test]
    fn only_the_uppermost_mount_on_a_mount_point_counts() {
        let mounts = [
            (1, 0, "/", "ext4"),
            (2, 1, "/dev", "devtmpfs"),
            (3, 2, "/dev/pts", "devpts"),
            (4, 3, "/dev/pts", "tmpfs"),
        ];
        assert_eq!(below(&mounts, "/"), pairs(&[("/dev", "devtmpfs"), ("/dev/pts", "tmpfs")]));
    }

    #[test]
    fn what_a_later_mount_hides_is_not_there() {
        let hidden_by_a_sibling =
            [(1, 0, "/", "ext4"), (2, 1, "/a/b", "xfs"), (3, 1, "/a", "tmpfs"), (4, 2, "/a/b/c", "nfs")];
        assert_eq!(below(&hidden_by_a_sibling, "/"), pairs(&[("/a", "tmpfs")]));
        let hidden_by_one_on_top =
            [(1, 0, "/", "ext4"), (2, 1, "/a", "xfs"), (3, 2, "/a/b", "nfs"), (4, 2, "/a", "tmpfs")];
        assert_eq!(below(&hidden_by_one_on_top, "/"), pairs(&[("/a", "tmpfs")]));
        let moved_in_later = [(4, 3, "/a/b", "nfs"), (3, 1, "/a", "tmpfs"), (1, 0, "/", "ext4")];
        assert_eq!(below(&moved_in_later, "/"), pairs(&[("/a", "tmpfs"), ("/a/b", "nfs")]));
    }

    #[test]
    fn a_table_of_cycles_and_rubbish_ends() {
        assert_eq!(
            below(&[(1, 1, "/", "rootfs"), (2, 3, "/a", "x"), (3, 2, "/b", "y")], "/"),
            pairs(&[("/a", "x"), ("/b", "y")])
        );
        assert_eq!(mounts(b"\n1\n1 2 3\n\xff \xff\n1 0 0:1 / /a rw\n", Path::new("/")), Mounts::default());
    }

    #[test]
    fn mount_points_are_bytes_and_fuse_has_one_type() {
        let found = mounts(b"2 1 0:2 / /a\\040b\\134\\011\xff rw - fuse.sshfs me@there rw\n", Path::new("/"));
        let point = PathBuf::from(OsString::from_vec(b"/a b\\\t\xff".to_vec()));
        assert_eq!(found.below, BTreeMap::from([(point, "fuse".into())]));
        assert_eq!(unescaped(b"\\04"), Path::new("\\04"));
    }

    #[test]
    fn a_base_has_the_mounts_below_it_and_the_type_of_the_one_above() {
        let mounts = [
            (1, 0, "/", "ext4"),
            (2, 1, "/srv", "xfs"),
            (3, 2, "/srv/root/data", "nfs"),
            (4, 1, "/srv2", "tmpfs"),
        ];
        assert_eq!(below(&mounts, "/srv/root"), pairs(&[("/data", "nfs")]));
        assert_eq!(super::mounts(&table(&mounts), Path::new("/srv/root")).base, "xfs");
    }

    /// A tree of the base `/`: directories are listed by their entries, `d` for a directory, `l` a link, `f`, `F` and `s` a small file, a large one and a socket, `x`
    /// what may not be looked at.
    fn tree(mounts: &[(&str, &str)], listings: &[(&str, &str)]) -> Tree {
        let node = |kind: &str| match kind {
            "d" => Node::Directory(0o755),
            "l" => Node::Link("usr/bin".into()),
            "f" => Node::File(Some(10)),
            "F" => Node::File(Some(LARGEST_COPY + 1)),
            "s" => Node::File(None),
            _ => Node::Closed,
        };
        let listing = |text: &str| match text {
            "unreadable" => Listing::Unreadable,
            text => Listing::Entries(
                0o750,
                text.split(' ')
                    .map(|entry| entry.split_once(':').expect("kind:name"))
                    .map(|(kind, name)| (name.into(), node(kind)))
                    .collect(),
            ),
        };
        Tree {
            base: "/".into(),
            mounts: Mounts {
                base: "ext4".into(),
                below: mounts.iter().map(|(path, kind)| (path.into(), (*kind).into())).collect(),
            },
            listings: listings.iter().map(|(path, text)| (path.into(), listing(text))).collect(),
            kept: None,
        }
    }

    fn parts(tree: &Tree) -> Vec<String> {
        let part = |part: &Part| {
            let path = part.path.display();
            match &part.what {
                What::Overlay => format!("overlay {path}"),
                What::Directory(mode) => format!("directory {mode:o} {path}"),
                What::Link(target) => format!("link {path} {}", target.display()),
                What::Bind { directory } => {
                    format!("{} read-only {path}", if *directory { "tree" } else { "file" })
                }
                What::Copy => format!("copy {path}"),
                What::MountPoint(_) => format!("mount point {path}"),
            }
        };
        assemble(tree, FRESH).parts.iter().map(part).collect()
    }

    #[test]
    fn without_mounts_below_one_layer_is_enough() {
        let tree = Tree { base: "/srv/root".into(), ..tree(&[], &[]) };
        let layout = assemble(&tree, FRESH);
        let overlay = Overlay { lower: vec!["/srv/root".into()], optional: false, upper: Upper::Discarded };
        assert_eq!(steps(&layout, None), [Step::Root(Root::Overlay(overlay))]);
    }

    #[test]
    fn each_directory_without_a_mount_below_is_a_layer_and_the_others_are_made_anew() {
        let mounts = [
            ("/proc", "proc"),
            ("/sys", "sysfs"),
            ("/sys/fs/bpf", "bpf"),
            ("/dev", "devtmpfs"),
            ("/home", "xfs"),
            ("/var/lib/x", "btrfs"),
        ];
        let tree = tree(
            &mounts,
            &[
                ("/", "l:bin d:dev d:etc F:swap s:socket f:.env d:home d:proc d:sys d:tmp d:var"),
                ("/var", "d:lib d:log"),
                ("/var/lib", "d:x d:y"),
            ],
        );
        assert_eq!(
            directories_to_list(&tree.mounts, &Wanted::default(), FRESH),
            ["/", "/var", "/var/lib"].map(PathBuf::from).into()
        );
        let expected = [
            "directory 750 /",
            "copy /.env",
            "link /bin usr/bin",
            "mount point /dev",
            "overlay /etc",
            "overlay /home",
            "mount point /proc",
            "file read-only /socket",
            "file read-only /swap",
            "tree read-only /sys",
            "mount point /tmp",
            "directory 750 /var",
            "directory 750 /var/lib",
            "overlay /var/lib/x",
            "overlay /var/lib/y",
            "overlay /var/log",
        ];
        assert_eq!(parts(&tree), expected);
    }

    #[test]
    fn a_directory_can_be_made_a_layer_of_its_own_or_anew() {
        let wanted = Wanted { layers: vec!["/var/tmp".into(), "/proc/x".into()], anew: vec!["/mnt".into()] };
        let tree = tree(&[], &[("/", "d:usr d:var"), ("/var", "d:log d:tmp")]);
        let expected =
            ["directory 750 /", "overlay /usr", "directory 750 /var", "overlay /var/log", "overlay /var/tmp"];
        assert_eq!(parts(&tree), expected);
        assert_eq!(
            directories_to_list(&tree.mounts, &wanted, FRESH),
            ["/", "/mnt", "/var"].map(PathBuf::from).into()
        );
    }

    #[test]
    fn what_can_be_no_layer_is_shown_read_only_and_said() {
        let tree = tree(
            &[("/boot", "vfat"), ("/root/x", "ext4"), ("/run/doc", "fuse"), ("/etc/hosts", "ext4")],
            &[
                ("/", "d:boot d:dev d:etc d:root d:run"),
                ("/root", "unreadable"),
                ("/run", "x:doc"),
                ("/etc", "f:hosts"),
            ],
        );
        let expected = [
            "directory 750 /",
            "tree read-only /boot",
            "mount point /dev",
            "directory 750 /etc",
            "copy /etc/hosts",
            "tree read-only /root",
            "directory 750 /run",
        ];
        assert_eq!(parts(&tree), expected);
        let warnings = assemble(&tree, FRESH).warnings;
        assert_eq!(warnings.len(), 3);
        for (warning, path) in warnings.iter().zip(["/boot: ", "/root: ", "/run/doc: "]) {
            assert!(warning.starts_with(path), "{warning}");
        }
    }

    fn kept(manifest: Option<Manifest>) -> Kept {
        Kept { directory: "/home/me/kept".into(), manifest, unchanged: BTreeSet::new() }
    }

    #[test]
    fn what_is_kept_is_written_beside_the_tree_and_hidden_inside() {
        let tree = tree(&[("/home", "ext4")], &[("/", "l:bin d:etc d:home")]);
        let layout = assemble(&tree, FRESH);
        let manifest = Manifest::of(&layout, &kept(None)).unwrap();
        let overlay = |path: &str, number: u32| Step::Mount {
            what: FileSystem::Overlay(Overlay {
                lower: vec![path.into()],
                optional: true,
                upper: Upper::Kept {
                    upper: format!("/home/me/kept/{number}/upper").into(),
                    work: format!("/home/me/kept/{number}/work").into(),
                },
            }),
            at: path.into(),
        };
        let expected = [
            Step::Root(Root::Directory { path: "/home/me/kept/tree".into(), writable: true }),
            overlay("/etc", 1),
            overlay("/home", 2),
            Step::Mask("/home/me/kept".into()),
        ];
        assert_eq!(steps(&layout, Some((&kept(None), &manifest))), expected);
    }

    #[test]
    fn the_kept_directory_itself_is_left_out_of_a_directory_made_anew() {
        let mut tree = tree(
            &[("/home/me/x", "ext4")],
            &[("/", "d:home"), ("/home", "d:me"), ("/home/me", "d:kept d:x")],
        );
        tree.kept = Some(kept(None));
        assert!(!parts(&tree).iter().any(|part| part.contains("kept")));
    }

    #[test]
    fn a_manifest_grows_and_keeps_its_numbers_or_says_what_no_longer_fits() {
        let before = tree(&[("/home", "ext4")], &[("/", "d:etc d:home l:bin")]);
        let old = Manifest::of(&assemble(&before, FRESH), &kept(None)).unwrap();
        let of = |mounts: &[_], listings: &[_]| {
            Manifest::of(&assemble(&tree(mounts, listings), FRESH), &kept(Some(old.clone())))
        };
        assert_eq!(of(&[("/home", "ext4")], &[("/", "d:etc d:home l:bin")]), Ok(old.clone()));
        let grown = of(&[("/home", "ext4")], &[("/", "d:aaa d:etc d:home")]).unwrap();
        let numbers = ["/aaa", "/etc", "/home", "/bin"].map(|path| grown.number(Path::new(path)));
        assert_eq!(numbers, [Some(3), Some(1), Some(2), None]);
        assert!(grown.has(Path::new("/bin")), "what was made once is known for ever");
        let gone = of(&[("/home", "ext4")], &[("/", "d:home")]).unwrap_err();
        assert_eq!(gone, "has changes to /etc, which is gone or lies within another layer now");
        let unchanged = Kept { unchanged: ["/etc".into()].into(), ..kept(Some(old.clone())) };
        let without = assemble(&tree(&[("/home", "ext4")], &[("/", "d:home")]), FRESH);
        assert_eq!(Manifest::of(&without, &unchanged), Ok(old.clone()), "nothing is lost with it");
        let split = of(&[("/etc/x", "ext4")], &[("/", "d:etc d:home"), ("/etc", "d:x")]).unwrap_err();
        assert_eq!(split, "fits no longer: something was mounted or replaced at or below /etc since");
        let other = Manifest { base: "/srv".into(), ..old.clone() };
        assert_eq!(
            Manifest::of(&assemble(&before, FRESH), &kept(Some(other))).unwrap_err(),
            "was kept of another root, /srv"
        );
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_whatever_the_bytes_of_its_paths() {
        let path = PathBuf::from(OsString::from_vec(b"/a\\b\n\xff\xc3\xa9".to_vec()));
        let part = KeptPart { path, kind: Kind::Overlay, number: Some(1) };
        let manifest = Manifest { version: VERSION, base: "/".into(), parts: vec![part] };
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(text.contains(r#""/a\\\\b\\x0a\\xffé""#), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }

    #[test]
    fn a_manifest_with_a_path_that_leads_elsewhere_is_refused() {
        for path in ["../x", "/a/../b", "x", r"/\\xg", ""] {
            let text = format!(r#"{{"version":1,"base":"/","parts":[{{"path":"{path}","kind":"link"}}]}}"#);
            assert!(serde_json::from_str::<Manifest>(&text).is_err(), "{path}");
        }
    }
}
