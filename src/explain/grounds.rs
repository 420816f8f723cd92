//! What of the steps is made on the caller's own disk.
//!
//! set_up.rs says it with the step that makes it.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use launch_init::handoff::{FileSystem, Overlay, Root, Source, Step, Upper};

use super::spelling::spelled;

/// On what the paths of the inside lie, as far as the plan alone tells: symbolic links are not followed.
#[derive(Debug, Default)]
pub(super) struct Grounds(Vec<Ground>);

#[derive(Debug)]
struct Ground {
    at: PathBuf,
    place: Place,
}

/// Where something is made that is made below a mount.
#[derive(Debug)]
enum Place {
    /// Here in the caller's own tree.
    Disk(PathBuf),
    /// In memory, or nowhere.
    Elsewhere,
}

impl Grounds {
    /// Notes what a step has mounted.
    pub(super) fn after(&mut self, step: &Step) {
        let (at, place) = match step {
            Step::Root(root) => (Path::new("/"), Place::of_root(root)),
            Step::Mount { what, at } => (Path::new(at), Place::of(what)),
            Step::HostName(_)
            | Step::DomainName(_)
            | Step::LoopbackUp
            | Step::TimeNamespace
            | Step::PrivateMounts
            | Step::NoUserNamespaces
            | Step::ReadOnly
            | Step::Directory { .. }
            | Step::Symlink { .. }
            | Step::Copy { .. }
            | Step::Mask(_)
            | Step::RemountReadOnly(_)
            | Step::EnterRoot
            | Step::Pty { .. }
            | Step::ChangeDirectory(_)
            | Step::KeepDirectory(_)
            | Step::FindDirectory(_) => return,
        };
        self.0.push(Ground { at: without_dots(at), place });
    }

    /// Where on the caller's disk `path` is made if it is missing.
    fn on_disk(&self, path: &OsStr) -> Option<PathBuf> {
        let path = without_dots(Path::new(path));
        // The last mount above a path hides all that was mounted before it.
        match self.0.iter().rev().find(|ground| path.starts_with(&ground.at)) {
            None => Some(path),
            // It is there already.
            Some(ground) if path == ground.at => None,
            Some(Ground { at, place: Place::Disk(base) }) => {
                Some(base.join(path.strip_prefix(at).unwrap_or(&path)))
            }
            Some(Ground { place: Place::Elsewhere, .. }) => None,
        }
        .filter(|path| path.parent().is_some())
    }

    /// That in words, and as data.
    pub(super) fn in_words(&self, path: &OsStr) -> (String, Option<String>) {
        const MADE: &str = "; made on the caller's disk if missing";
        match self.on_disk(path) {
            None => (String::new(), None),
            Some(on_disk) => {
                let spelled = spelled(on_disk.as_os_str());
                let words = if on_disk == Path::new(path) {
                    MADE.into()
                } else {
                    format!("{MADE}: {}", on_disk.display())
                };
                (words, Some(spelled))
            }
        }
    }
}

impl Place {
    fn of_root(root: &Root) -> Self {
        match root {
            Root::Directory { path, .. } => Self::Disk(path.into()),
            Root::Overlay(layers) => Self::of_layers(layers),
            Root::Empty => Self::Elsewhere,
        }
    }

    fn of(what: &FileSystem) -> Self {
        match what {
            FileSystem::Bind { source: Source::Path(path), read_only: false, .. } => Self::Disk(path.into()),
            FileSystem::Bind { source: Source::Descriptor(number), read_only: false, .. } => {
                Self::Disk(format!("/proc/self/fd/{number}").into())
            }
            FileSystem::Overlay(layers) => Self::of_layers(layers),
            FileSystem::Bind { read_only: true, .. }
            | FileSystem::Tmpfs { .. }
            | FileSystem::Proc { .. }
            | FileSystem::Dev
            | FileSystem::MessageQueue
            | FileSystem::File { .. } => Self::Elsewhere,
        }
    }

    fn of_layers(layers: &Overlay) -> Self {
        match &layers.upper {
            Upper::Kept { upper, .. } => Self::Disk(upper.into()),
            Upper::None | Upper::Discarded => Self::Elsewhere,
        }
    }
}

/// The path with its dots resolved by name.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}
