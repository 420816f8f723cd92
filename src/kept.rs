//! The directory of `--keep`: layers.json, tree/ with the directories that were made anew, and N/upper and N/work for
//! layer N.
//!
//! What belongs into it is volatile/manifest.rs's to decide; diff.rs reads it.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::sys::statfs::{
    FUSE_SUPER_MAGIC, MSDOS_SUPER_MAGIC, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, fstatfs,
};
use nix::unistd::{Gid, Uid, fchown, symlinkat};

use crate::error::Error;
use crate::volatile::{Kept, Kind, Layout, Manifest, Part, VERSION, What, outside};

/// The name of the manifest.
const MANIFEST: &str = "layers.json";
/// What it is called while it is written.
const NEW_MANIFEST: &str = "layers.json.new";

/// A directory of `--keep` that no other launch uses as long as this is there.
#[derive(Debug)]
pub struct Lock(File);

impl AsRawFd for Lock {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What `directory` holds; nothing if it does not exist.
///
/// # Errors
/// [`Error::Kept`]
pub fn look(directory: &Path) -> Result<Kept, Error> {
    let failed = |error: &io::Error| wrong(directory, reason(error));
    let path = match fs::canonicalize(directory) {
        Ok(path) => path,
        // It will be made, but not those above it: a slip of the pen shall not leave a trail.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = directory.file_name().ok_or_else(|| failed(&error))?;
            let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
            let above = fs::canonicalize(above.unwrap_or(Path::new("."))).map_err(|error| failed(&error))?;
            above.join(name)
        }
        Err(error) => return Err(failed(&error)),
    };
    let manifest = read_manifest(&path)?;
    let mut kept = Kept { directory: path, manifest, unchanged: BTreeSet::new() };
    let layers = kept.manifest.iter().flat_map(|manifest| manifest.paths_of(Kind::Overlay));
    kept.unchanged = layers.filter(|path| is_unchanged(&kept, path)).map(Into::into).collect();
    Ok(kept)
}

/// A layer that cannot be read may have changes.
fn is_unchanged(kept: &Kept, path: &Path) -> bool {
    let number = kept.manifest.as_ref().and_then(|manifest| manifest.number(path));
    let upper = number.map(|number| fs::read_dir(kept.layer(number).upper));
    upper.is_some_and(|entries| entries.is_ok_and(|mut entries| entries.next().is_none()))
}

/// The same, of a directory that will be written to.
///
/// # Errors
/// [`Error::Kept`]
pub fn look_before_use(directory: &Path) -> Result<Kept, Error> {
    let kept = look(directory)?;
    match fs::metadata(&kept.directory) {
        Ok(status) => check_owner(&kept.directory, &status)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(directory, reason(&error))),
    }
    Ok(kept)
}

/// Somebody else's layers could be links to where the caller may write.
fn check_owner(directory: &Path, status: &fs::Metadata) -> Result<(), Error> {
    if status.uid() == nix::unistd::geteuid().as_raw() && status.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(wrong(directory, "must be the caller's, and writable for nobody else".into()))
}

fn read_manifest(directory: &Path) -> Result<Option<Manifest>, Error> {
    let path = directory.join(MANIFEST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&path, reason(&error))),
    };
    match serde_json::from_slice::<Manifest>(&text) {
        Ok(manifest) if manifest.version == VERSION => Ok(Some(manifest)),
        Ok(manifest) => {
            Err(wrong(&path, format!("is of version {}, but this launch knows {VERSION}", manifest.version)))
        }
        Err(error) => Err(wrong(&path, format!("is no list of layers: {error}"))),
    }
}

/// Makes the directory and what is missing in it, so that it holds what `manifest` says, and reserves it.
///
/// # Errors
/// [`Error::Kept`]
pub fn prepare(kept: &Kept, manifest: &Manifest, layout: &Layout) -> Result<Lock, Error> {
    let directory = &kept.directory;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(wrong(directory, reason(&error)));
        }
        _ => {}
    }
    let lock = reserve(directory)?;
    if read_manifest(directory)? != kept.manifest {
        return Err(wrong(directory, "was used by another launch at this very moment; try again".into()));
    }
    if kept.manifest.is_none() {
        check_empty(directory)?;
    }
    make(kept, manifest, layout)?;
    if kept.manifest.as_ref() != Some(manifest) {
        write_manifest(directory, manifest)?;
    }
    Ok(lock)
}

fn reserve(directory: &Path) -> Result<Lock, Error> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(directory);
    let file = opened.map_err(|error| wrong(directory, reason(&error)))?;
    let status = file.metadata().map_err(|error| wrong(directory, reason(&error)))?;
    check_owner(directory, &status)?;
    let kind = fstatfs(&file).map_err(|errno| wrong(directory, errno.desc().into()))?.filesystem_type();
    if [OVERLAYFS_SUPER_MAGIC, NFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, MSDOS_SUPER_MAGIC].contains(&kind) {
        let reason = "is on a file system that overlayfs writes no layers to (overlay, NFS, FUSE or FAT); name a \
                      directory on a disk, or in a volume";
        return Err(wrong(directory, reason.into()));
    }
    // Nobody unlocks it: it is when the last copy of the descriptor is closed (flock(2)), which is PID 1's.
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(wrong(directory, "is in use by another launch".into())),
        Err(TryLockError::Error(error)) => Err(wrong(directory, reason(&error))),
    }
}

/// A manifest that was begun tells that a first launch was interrupted here, before it had a workload.
fn check_empty(directory: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| wrong(directory, reason(&error));
    let marker = directory.join(NEW_MANIFEST);
    let is_ours = |entry: io::Result<fs::DirEntry>| {
        let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
        let is_layer = !name.is_empty() && name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        is_layer || [MANIFEST, NEW_MANIFEST, "tree"].iter().any(|ours| name == *ours)
    };
    if marker.exists() && fs::read_dir(directory).map_err(failed)?.all(is_ours) {
        return match fs::remove_dir_all(directory.join("tree")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        };
    }
    if fs::read_dir(directory).map_err(failed)?.next().is_some() {
        return Err(wrong(directory, "is neither empty nor one that --keep has made".into()));
    }
    File::create_new(&marker).map(drop).map_err(failed)
}

fn make(kept: &Kept, manifest: &Manifest, layout: &Layout) -> Result<(), Error> {
    let known = |part: &Part| kept.manifest.as_ref().is_some_and(|old| old.has(&part.path));
    let mut tree = None;
    for part in &layout.parts {
        let path = outside(&layout.base, &part.path);
        if let Some(layer) = manifest.number(&part.path).map(|number| kept.layer(number)) {
            make_layer(&layer.upper, &path)
                .and_then(|()| make_all(&layer.work))
                .map_err(|error| wrong(&layer.upper, reason(&error)))?;
        }
        if part.path == Path::new("/") {
            if matches!(part.what, What::Directory(_)) {
                make_layer(&kept.tree(), &path).map_err(|error| wrong(&kept.tree(), reason(&error)))?;
                tree = Some(File::open(kept.tree()).map_err(|error| wrong(&kept.tree(), reason(&error)))?);
            }
        } else if let Some(tree) = tree.as_ref().filter(|_| !known(part)) {
            match place(tree.as_fd(), part, &path) {
                // The workload has taken away what it would be in.
                Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) if kept.manifest.is_some() => Ok(()),
                Err(Errno::EEXIST) => {
                    Err(format!("has a {} of its own, but now there is one outside too", path.display()))
                }
                other => other.map_err(|errno| format!("{}: {}", part.path.display(), errno.desc())),
            }
            .map_err(|reason| wrong(&kept.directory, reason))?;
        }
    }
    Ok(())
}

/// Makes a directory that is to be shown instead of `like`, with its permissions and, as far as the caller may, its owner.
fn make_layer(path: &Path, like: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    make_all(path)?;
    match fs::metadata(like) {
        Ok(like) => give_away(&File::open(path)?, &like),
        // It has gone since it was seen.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn make_all(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn give_away(new: &File, like: &fs::Metadata) -> io::Result<()> {
    match fchown(new, Some(Uid::from_raw(like.uid())), Some(Gid::from_raw(like.gid()))) {
        // It stays the caller's: only root gives files away, and only to those who have an id here.
        Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    // Afterwards, since chown(2) takes setuid and setgid bits.
    let kept = if like.is_dir() { 0o7777 } else { 0o1777 };
    new.set_permissions(Permissions::from_mode(like.mode() & kept))
}

/// Makes one part in the tree. The workload may have put links into it, and they may lead anywhere: none is followed.
fn place(tree: BorrowedFd<'_>, part: &Part, like: &Path) -> Result<(), Errno> {
    let relative = part.path.strip_prefix("/").unwrap_or(&part.path);
    let (Some(above), Some(name)) = (relative.parent(), relative.file_name()) else {
        return Err(Errno::EINVAL);
    };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let above = open_beneath(tree, above)?;
    match &part.what {
        What::Link(target) => symlinkat(target.as_os_str(), &above, name),
        What::Copy => copy(above.as_fd(), name, like),
        What::Bind { directory: false, .. } => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(&above, name, flags | OFlag::O_WRONLY, Mode::from_bits_truncate(0o600)).map(drop)
        }
        What::Directory(mode) | What::MountPoint(mode) => {
            mkdirat(&above, name, Mode::from_bits_truncate(0o700))?;
            let new = File::from(open_beneath(above.as_fd(), Path::new(name))?);
            match fs::metadata(like) {
                Ok(like) => give_away(&new, &like).map_err(|error| errno(&error)),
                Err(_) => fchmod(&new, Mode::from_bits_truncate(*mode)),
            }
        }
        What::Overlay | What::Bind { directory: true, .. } => {
            mkdirat(&above, name, Mode::from_bits_truncate(0o755))
        }
    }
}

fn copy(directory: BorrowedFd<'_>, name: &OsStr, like: &Path) -> Result<(), Errno> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut original = match OpenOptions::new().read(true).custom_flags(flags).open(like) {
        // It has gone since it was seen.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        original => original.map_err(|error| errno(&error))?,
    };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut new = File::from(openat(directory, name, flags, Mode::from_bits_truncate(0o600))?);
    let mut fill = || -> io::Result<()> {
        let status = original.metadata()?;
        if !status.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        io::copy(&mut original, &mut new)?;
        give_away(&new, &status)?;
        new.set_modified(status.modified()?)
    };
    fill().map_err(|error| errno(&error))
}

fn open_beneath(directory: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(directory, path, how)
}

/// By a rename, so that there is never half a manifest.
fn write_manifest(directory: &Path, manifest: &Manifest) -> Result<(), Error> {
    let path = directory.join(MANIFEST);
    let new: PathBuf = directory.join(NEW_MANIFEST);
    let write = || -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        fs::rename(&new, &path)
    };
    write().map_err(|error| wrong(&path, reason(&error)))
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Kept(path.into(), reason)
}

fn reason(error: &io::Error) -> String {
    errno(error).desc().into()
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
