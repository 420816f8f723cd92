//! `launch diff DIR`: what the launches with `--keep DIR` have changed, by comparing DIR with the caller's tree of now.
//!
//! The format of the layers is overlayfs's own; see "whiteouts and opaque directories" in the kernel's
//! Documentation/filesystems/overlayfs.rst. How DIR is laid out is volatile/manifest.rs's to say.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::kept;
use crate::volatile::{Kept, Kind, Manifest, escaped, outside};

/// What the launches with one directory of `--keep` have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// In ascending order of the bytes of their paths.
    pub changes: Vec<Change>,
    /// What could not be compared, and why.
    pub failures: Vec<(PathBuf, String)>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As the path is inside.
    pub path: PathBuf,
    /// Which.
    pub what: Changed,
}

/// What has become of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is new.
    Added,
    /// It is another one, or has other content, permissions, owner, attributes or time.
    Changed,
    /// It is gone, with all that was in it.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.what {
            Changed::Added => "added",
            Changed::Changed => "changed",
            Changed::Removed => "removed",
        };
        write!(f, "{word} {}", escaped(self.path.as_os_str()))
    }
}

/// Compares what `directory` holds with the tree that it was kept of.
///
/// # Errors
/// [`Error::Kept`] if it holds nothing of the kind.
pub fn diff(directory: &Path) -> Result<Diff, Error> {
    let kept = kept::look(directory)?;
    let Some(manifest) = &kept.manifest else {
        return Err(Error::Kept(directory.into(), "is no directory that --keep has made".into()));
    };
    let mut comparison = Comparison { base: &manifest.base, diff: Diff::default() };
    for part in &manifest.parts {
        match (part.kind, part.number) {
            (Kind::Overlay, Some(number)) => {
                let upper = kept.layer(number).upper;
                let lower = outside(&manifest.base, &part.path);
                comparison.permissions_of_root(&upper, &lower, &part.path);
                comparison.layer(&upper, &lower, &part.path);
            }
            (Kind::Tree, _) => comparison.tree(&kept, manifest, &part.path),
            _ => {}
        }
    }
    let mut diff = comparison.diff;
    diff.changes.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(diff)
}

struct Comparison<'a> {
    base: &'a Path,
    diff: Diff,
}

impl Comparison<'_> {
    fn note(&mut self, what: Changed, path: &Path) {
        self.diff.changes.push(Change { path: path.into(), what });
    }

    /// None if it failed, which is noted.
    fn tried<T>(&mut self, path: &Path, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.diff.failures.push((path.into(), reason(&error)))).ok()
    }

    /// None if there is no such file, or if it cannot be told.
    fn status(&mut self, path: &Path) -> Option<Metadata> {
        match fs::symlink_metadata(path) {
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => None,
            result => self.tried(path, result),
        }
    }

    fn names(&mut self, directory: &Path) -> BTreeSet<OsString> {
        let names = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect());
        self.tried(directory, names).unwrap_or_default()
    }

    /// Whom the root of a layer belongs to isn't compared: an ordinary user cannot give it the owner that it stands for.
    fn permissions_of_root(&mut self, new: &Path, old: &Path, path: &Path) {
        if let (Some(new), Some(old)) = (self.status(new), self.status(old))
            && new.mode() != old.mode()
        {
            self.note(Changed::Changed, path);
        }
    }

    fn layer(&mut self, upper: &Path, lower: &Path, path: &Path) {
        let is_opaque = has_overlay_attribute(upper, "opaque", Some(b"y"));
        let Some(is_opaque) = self.tried(upper, is_opaque) else { return };
        self.directory(upper, lower, path, is_opaque);
    }

    /// `is_opaque`: nothing of the lower directory is seen through the upper one.
    fn directory(&mut self, upper: &Path, lower: &Path, path: &Path, is_opaque: bool) {
        let names = self.names(upper);
        for name in &names {
            let (upper, lower, path) = (upper.join(name), lower.join(name), path.join(name));
            let Some(new) = self.status(&upper) else { continue };
            let is_whiteout = is_whiteout(&upper, &new);
            let Some(is_whiteout) = self.tried(&upper, is_whiteout) else { continue };
            match (self.status(&lower), is_whiteout) {
                (Some(_), true) => self.note(Changed::Removed, &path),
                (None, true) => {}
                (None, false) => self.added(&upper, &new, &path),
                (Some(old), false) if new.is_dir() && old.is_dir() => {
                    let is_same = is_same(&upper, &new, &lower, &old);
                    if self.tried(&upper, is_same) == Some(false) {
                        self.note(Changed::Changed, &path);
                    }
                    let hides = has_overlay_attribute(&upper, "opaque", Some(b"y"));
                    let hides = self.tried(&upper, hides).unwrap_or_default();
                    self.directory(&upper, &lower, &path, is_opaque || hides);
                }
                (Some(old), false) => self.replaced(&upper, &new, &lower, &old, &path),
            }
        }
        if is_opaque {
            for name in self.names(lower).difference(&names) {
                self.note(Changed::Removed, &path.join(name));
            }
        }
    }

    /// A file of whatever kind, or what has become a directory or none.
    fn replaced(&mut self, new_path: &Path, new: &Metadata, old_path: &Path, old: &Metadata, path: &Path) {
        let is_same = is_same(new_path, new, old_path, old);
        if self.tried(new_path, is_same) == Some(false) {
            self.note(Changed::Changed, path);
        }
        if new.is_dir() {
            self.all_added(new_path, path);
        }
    }

    fn added(&mut self, file: &Path, status: &Metadata, path: &Path) {
        self.note(Changed::Added, path);
        if status.is_dir() {
            self.all_added(file, path);
        }
    }

    fn all_added(&mut self, directory: &Path, path: &Path) {
        for name in self.names(directory) {
            let (file, path) = (directory.join(&name), path.join(&name));
            let Some(status) = self.status(&file) else { continue };
            let is_whiteout = is_whiteout(&file, &status);
            if self.tried(&file, is_whiteout) == Some(false) {
                self.added(&file, &status, &path);
            }
        }
    }

    /// A directory that was made anew. What lies on the disk in it is what was made, what the workload has added, and
    /// where something was mounted.
    fn tree(&mut self, kept: &Kept, manifest: &Manifest, path: &Path) {
        let tree = outside(&kept.tree(), path);
        let made: BTreeMap<_, _> = manifest
            .below(path)
            .filter_map(|part| Some((part.path.file_name()?.to_os_string(), part.kind)))
            .collect();
        // The workload may have put a link in its place, or in that of one above.
        let way = tree.ancestors().take_while(|above| *above != kept.directory);
        let is_there = way.into_iter().all(|above| fs::symlink_metadata(above).is_ok_and(|is| is.is_dir()));
        if !is_there {
            return;
        }
        self.permissions_of_root(&tree, &outside(self.base, path), path);
        let names = self.names(&tree);
        for name in &names {
            let (new_path, path) = (tree.join(name), path.join(name));
            let old_path = outside(self.base, &path);
            let Some(new) = self.status(&new_path) else { continue };
            let old = self.status(&old_path);
            match (made.get(name), old) {
                (Some(Kind::Overlay | Kind::Mount), _) => {}
                (Some(Kind::Tree), _) if new.is_dir() => {}
                (Some(Kind::Link), Some(old)) if new.is_symlink() && old.is_symlink() => {
                    let targets =
                        fs::read_link(&new_path).and_then(|new| Ok(new == fs::read_link(&old_path)?));
                    if self.tried(&new_path, targets) == Some(false) {
                        self.note(Changed::Changed, &path);
                    }
                }
                (Some(Kind::File), Some(old)) if new.is_file() && old.is_file() => {
                    let is_same = is_same_copy(&new_path, &new, &old_path, &old);
                    if self.tried(&new_path, is_same) == Some(false) {
                        self.note(Changed::Changed, &path);
                    }
                }
                (_, Some(old)) => self.replaced(&new_path, &new, &old_path, &old, &path),
                // Made in the likeness of what is gone by now.
                (Some(Kind::Link), None) if new.is_symlink() => {}
                (Some(Kind::File), None) if new.is_file() => {}
                (_, None) => self.added(&new_path, &new, &path),
            }
        }
        for name in made.keys().filter(|name| !names.contains(*name)) {
            let path = path.join(name);
            if self.status(&outside(self.base, &path)).is_some() {
                self.note(Changed::Removed, &path);
            }
        }
    }
}

fn reason(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
    errno.map_or_else(|| error.to_string(), |errno| errno.desc().into())
}

/// A file that stands for one that was removed: a device 0:0, or, where none could be made, an empty file.
fn is_whiteout(path: &Path, status: &Metadata) -> io::Result<bool> {
    if status.file_type().is_char_device() {
        return Ok(status.rdev() == 0);
    }
    Ok(status.is_file() && status.len() == 0 && has_overlay_attribute(path, "whiteout", None)?)
}

/// `value`: which it must have; none: any.
fn has_overlay_attribute(path: &Path, name: &str, value: Option<&[u8]>) -> io::Result<bool> {
    // Those of a user namespace, and root's own.
    for space in ["user", "trusted"] {
        let found = without_support(xattr::get(path, format!("{space}.overlay.{name}")), None)?;
        if found.is_some_and(|found| value.is_none_or(|value| found == value)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A file system without attributes has none. EPERM: neither links nor devices have user attributes (xattr(7)).
fn without_support<T>(result: io::Result<T>, none: T) -> io::Result<T> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => Ok(none),
        result => result,
    }
}

/// Of directories only what they are is compared, not what is in them.
fn is_same(new_path: &Path, new: &Metadata, old_path: &Path, old: &Metadata) -> io::Result<bool> {
    let facts = |status: &Metadata| (status.mode(), status.uid(), status.gid(), status.rdev());
    if facts(new) != facts(old) {
        return Ok(false);
    }
    let moments = |status: &Metadata| (status.len(), status.mtime(), status.mtime_nsec());
    if !new.is_dir() && moments(new) != moments(old) {
        return Ok(false);
    }
    if attributes(new_path)? != attributes(old_path)? {
        return Ok(false);
    }
    if new.is_symlink() {
        return Ok(fs::read_link(new_path)? == fs::read_link(old_path)?);
    }
    if new.is_file() { has_same_content(new_path, old_path) } else { Ok(true) }
}

/// A copy has no setuid bit, no attributes, and not always the owner.
fn is_same_copy(new_path: &Path, new: &Metadata, old_path: &Path, old: &Metadata) -> io::Result<bool> {
    let facts =
        |status: &Metadata| (status.mode() & 0o1777, status.len(), status.mtime(), status.mtime_nsec());
    Ok(facts(new) == facts(old) && has_same_content(new_path, old_path)?)
}

/// All but those of overlayfs.
fn attributes(path: &Path) -> io::Result<BTreeMap<OsString, Option<Vec<u8>>>> {
    let Some(names) = without_support(xattr::list(path).map(Some), None)? else { return Ok(BTreeMap::new()) };
    let is_overlays = |name: &OsString| {
        let name = name.as_bytes();
        name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.")
    };
    let names = names.filter(|name| !is_overlays(name));
    names.map(|name| Ok((name.clone(), without_support(xattr::get(path, &name), None)?))).collect()
}

fn has_same_content(new: &Path, old: &Path) -> io::Result<bool> {
    let (mut new, mut old) = (BufReader::new(File::open(new)?), BufReader::new(File::open(old)?));
    loop {
        let (ours, theirs) = (new.fill_buf()?, old.fill_buf()?);
        let length = ours.len().min(theirs.len());
        if length == 0 {
            return Ok(ours.len() == theirs.len());
        }
        if ours[..length] != theirs[..length] {
            return Ok(false);
        }
        new.consume(length);
        old.consume(length);
    }
}
