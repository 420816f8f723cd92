//! What a directory of `--keep` holds, and whether that still fits to what the caller has today.
//!
//! Values only: kept.rs reads and writes them.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Layout, What, escaped_path, outside};

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

/// What a directory of `--keep` holds; its layers.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this format.
    pub version: u32,
    /// As [`Tree::base`](super::Tree::base).
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

    pub(super) fn kind(&self, path: &Path) -> Option<Kind> {
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

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
