//! What init does to make a layout: a root, and the mounts, directories, links and files in it, in their order.
//!
//! Nothing is decided here of what `/` is like; that is layout.rs's.

#![forbid(unsafe_code)]

use std::path::Path;

use launch_init::handoff::{FileSystem, Overlay, Root, Source, Step, Upper};

use super::{Kept, Kind, Layout, Manifest, Part, What, inside, outside};

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
