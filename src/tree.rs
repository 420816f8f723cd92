//! Reads what the layers of `--volatile` and `--keep` stand on: the caller's mounts, and the directories above them.
//!
//! What becomes of them is volatile/layout.rs's to decide.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::error::Error;
use crate::volatile::{
    Fresh, Kept, Kind, Listing, Node, Tree, Wanted, directories_to_list, inside, mounts, outside,
};

/// Reads the tree below `base`. `own` are directories that the caller wants to write to.
///
/// # Errors
/// [`Error::Tree`]
#[cold]
pub fn read(base: &Path, own: &[PathBuf], fresh: Fresh, kept: Option<Kept>) -> Result<Tree, Error> {
    let base = fs::canonicalize(base).map_err(|error| failed(base, &error))?;
    let table = "/proc/self/mountinfo";
    let mountinfo = fs::read(table).map_err(|error| failed(Path::new(table), &error))?;
    let mounts = mounts(&mountinfo, &base);
    let wanted = match kept.as_ref().and_then(|kept| kept.manifest.as_ref()) {
        // What was one layer stays one, and what was made anew is so again.
        Some(manifest) => {
            let of = |kind| {
                let is_there = |path: &&Path| outside(&base, path).is_dir();
                manifest.paths_of(kind).filter(is_there).map(Into::into).collect()
            };
            Wanted { layers: of(Kind::Overlay), anew: of(Kind::Tree) }
        }
        None => Wanted {
            layers: own.iter().filter_map(|path| layer_for(path, &base)).collect(),
            anew: Vec::new(),
        },
    };
    let mut listings = BTreeMap::new();
    for directory in directories_to_list(&mounts, &wanted, fresh) {
        let path = outside(&base, &directory);
        match listing(&path) {
            Ok(listing) => listings.insert(directory, listing),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                listings.insert(directory, Listing::Unreadable)
            }
            // It has gone since the mounts were read.
            Err(error) if error.kind() == ErrorKind::NotFound && directory != Path::new("/") => None,
            Err(error) => return Err(failed(&path, &error)),
        };
    }
    Ok(Tree { base, mounts, listings, kept })
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Tree(path.into(), nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

fn listing(path: &Path) -> io::Result<Listing> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let node = match entry.metadata() {
            Ok(status) if status.is_dir() => Node::Directory(status.permissions().mode() & 0o7777),
            Ok(status) if status.is_symlink() => match fs::read_link(entry.path()) {
                Ok(target) => Node::Link(target.into()),
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            },
            Ok(status) => Node::File(Some(status.len()).filter(|_| status.is_file() && is_readable(&status))),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            // As of a FUSE mount of somebody else's, or of one whose server is gone.
            Err(_) => Node::Closed,
        };
        entries.insert(entry.file_name(), node);
    }
    Ok(Listing::Entries(mode, entries))
}

/// By its ids, which it has inside as well, and not by its capabilities, which count for nothing there with files of ids
/// that don't exist inside.
fn is_readable(status: &fs::Metadata) -> bool {
    let is = |bits: u32| status.mode() & bits != 0;
    let is_ours = status.uid() == nix::unistd::geteuid().as_raw();
    let is_groups = status.gid() == nix::unistd::getegid().as_raw();
    if is_ours {
        is(0o400)
    } else if is_groups {
        is(0o040)
    } else {
        is(0o004)
    }
}

/// The directory that must be the root of a layer for this caller to be able to write to `path`, inside.
///
/// Nothing of a user or group that has no id inside is copied up into a layer (EOVERFLOW, ovl_copy_up_one in
/// fs/overlayfs/copy_up.c), and what has changed is copied up with all directories above it but the layer's root.
fn layer_for(path: &Path, base: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok().filter(|path| access(path, AccessFlags::W_OK).is_ok())?;
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let is_ours = |path: &&Path| fs::metadata(path).is_ok_and(|is| is.uid() == uid && is.gid() == gid);
    let root = path.ancestors().find(|path| !is_ours(path))?;
    // Only those above it that can be read can be made anew.
    let can_be_made = root.ancestors().skip(1).all(|above| access(above, AccessFlags::R_OK).is_ok());
    inside(base, root).filter(|root| can_be_made && root != Path::new("/"))
}
