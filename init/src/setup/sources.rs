//! What is mounted from the caller's tree, opened once and before anything is mounted: nobody can put something else in
//! its place afterwards, and no mount of one step hides the source of another.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::filesystems::{self, Layers};
use super::problem::Problem;
use super::staging::Staging;
use super::tree::path_of;
use crate::error::Error;
use crate::handoff::{FileSystem, Overlay, Root, Source, Step, Upper};
use crate::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};

/// The devices of a fresh /dev: names, and the numbers of Documentation/admin-guide/devices.txt.
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// How many descriptors init has besides those of the sources, at the most.
const OTHER_DESCRIPTORS: u64 = 64;

/// What one step needs of the caller's tree.
pub(super) enum Opened {
    /// Nothing.
    Nothing,
    /// A source that is missing and may be.
    Missing,
    /// A mount that is attached nowhere.
    Tree(OwnedFd),
    /// The directories of an overlay that is not mounted yet.
    Layers { lower: Vec<OwnedFd>, upper: Option<(OwnedFd, OwnedFd)>, discards: bool },
    /// Detached copies of device files, by their names.
    Devices(Vec<(&'static str, OwnedFd)>),
    /// A descriptor to be read.
    Content(OwnedFd),
}

/// Opens what each step needs; as many as there are steps. Overlays are mounted right away, attached nowhere: their layers
/// are named through /proc, which is the caller's own as long as nothing else is mounted.
///
/// # Errors
/// [`Error::Setup`]
pub(super) fn open_all(steps: &[Step], staging: &mut Staging) -> Result<Vec<Opened>, Error> {
    let of = |step: &Step, opened: Result<Opened, Problem>| {
        opened.map_err(|problem| Error::Setup(Box::new(step.clone()), problem))
    };
    let mut all = steps.iter().map(|step| of(step, open_for(step))).collect::<Result<Vec<_>, _>>()?;
    // After all copies of the caller's mounts, of which staging shall be in none.
    for (step, opened) in steps.iter().zip(&mut all) {
        if let Opened::Layers { lower, upper, discards } = opened {
            let mount = overlay(lower, upper.as_ref(), *discards, staging).map(Opened::Tree);
            *opened = of(step, mount)?;
        }
    }
    Ok(all)
}

fn open_for(step: &Step) -> Result<Opened, Problem> {
    match step {
        Step::Root(Root::Directory { path, .. }) => {
            clone(path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV).map(Opened::Tree)
        }
        Step::Root(Root::Overlay(overlay)) | Step::Mount { what: FileSystem::Overlay(overlay), .. } => {
            open_layers(overlay)
        }
        Step::Mount { what: FileSystem::Bind { source, read_only, devices, optional }, .. } => {
            let attributes = MOUNT_ATTR_NOSUID
                | if *devices { 0 } else { MOUNT_ATTR_NODEV }
                | if *read_only { MOUNT_ATTR_RDONLY } else { 0 };
            match source {
                Source::Path(path) => match clone(path, attributes) {
                    Err(Problem { errno: Errno::ENOENT, .. }) if *optional => Ok(Opened::Missing),
                    tree => tree.map(Opened::Tree),
                },
                Source::Descriptor(number) => clone_descriptor(*number, attributes).map(Opened::Tree),
            }
        }
        Step::Mount { what: FileSystem::Dev, .. } => {
            let devices =
                DEVICES.into_iter().map(|(name, major, minor)| Ok((name, device(name, major, minor)?)));
            devices.collect::<Result<_, Problem>>().map(Opened::Devices)
        }
        Step::Pty { callers: Some(_) } => {
            device("null", 1, 3).map(|null| Opened::Devices(vec![("null", null)]))
        }
        Step::Mount { what: FileSystem::File { descriptor }, .. } => {
            sys::duplicate(*descriptor).map(Opened::Content).map_err(Problem::about(descriptor))
        }
        Step::Copy { source, .. } => open_file(source),
        _ => Ok(Opened::Nothing),
    }
}

/// Without waiting for whoever would write to a FIFO that has taken its place.
fn open_file(path: &OsStr) -> Result<Opened, Problem> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(Opened::Missing),
        file => file.map_err(Problem::about(format_args!("source {}", path.display())))?,
    };
    if SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG {
        Ok(Opened::Content(file))
    } else {
        Err(Problem::new(format!("source {}: is no regular file", path.display())))
    }
}

/// With the attributes, which hold for everything in it.
fn clone(path: &OsStr, attributes: u64) -> Result<OwnedFd, Problem> {
    let name = CString::new(path.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let tree =
        sys::clone_tree(None, &name).map_err(Problem::about(format_args!("source {}", path.display())))?;
    sys::mount_setattr(tree.as_fd(), true, attributes)?;
    Ok(tree)
}

/// The caller's descriptor is one of a mount in the caller's mount namespace, which cannot be copied into this one: the
/// same file or directory is opened here by its path.
fn clone_descriptor(number: i32, attributes: u64) -> Result<OwnedFd, Problem> {
    let meant = sys::duplicate(number).map_err(Problem::about(format_args!("descriptor {number}")))?;
    let path = path_of(number)?;
    if !Path::new(&path).is_absolute() {
        let detail =
            format!("descriptor {number} is {}: only files and directories have a path", path.display());
        return Err(Problem::new(detail));
    }
    let tree = clone(&path, attributes)?;
    let (meant, found) = (fstat(&meant)?, fstat(&tree)?);
    if (meant.st_dev, meant.st_ino) == (found.st_dev, found.st_ino) {
        Ok(tree)
    } else {
        Err(Problem::new(format!("descriptor {number}: its path leads to something else by now")))
    }
}

fn open_layers(overlay: &Overlay) -> Result<Opened, Problem> {
    let open_directory = |path: &OsStr| {
        open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(Problem::about(format_args!("layer {}", path.display())))
    };
    let lower: Result<Vec<_>, Problem> = overlay.lower.iter().map(|path| open_directory(path)).collect();
    if overlay.optional && lower.as_ref().is_err_and(|problem| problem.errno == Errno::ENOENT) {
        return Ok(Opened::Missing);
    }
    Ok(Opened::Layers {
        lower: lower?,
        upper: match &overlay.upper {
            Upper::Kept { upper, work } => Some((open_directory(upper)?, open_directory(work)?)),
            Upper::None | Upper::Discarded => None,
        },
        discards: overlay.upper == Upper::Discarded,
    })
}

/// The mount of an overlay. What is to be thrown away is written to a directory of `staging`.
fn overlay(
    lower: &[OwnedFd],
    upper: Option<&(OwnedFd, OwnedFd)>,
    discards: bool,
    staging: &mut Staging,
) -> Result<OwnedFd, Problem> {
    let mounted = match (discards, upper) {
        (true, _) => {
            // Its root's mode and owner are what the overlay's root has.
            let top = lower.first().map(fstat).transpose()?;
            let (upper, work) = staging.layers(top.as_ref())?;
            writable(filesystems::overlay(&Layers { lower, upper: Some((&upper, &work)) })?)
        }
        (_, Some((upper, work))) => {
            writable(filesystems::overlay(&Layers { lower, upper: Some((upper, work)) })?)
        }
        // The kernel takes no single layer: an empty one below changes nothing.
        (_, None) if lower.len() == 1 => {
            let empty = staging.empty_directory()?;
            let both = [lower[0].try_clone().map_err(|_| Errno::EMFILE)?, empty];
            filesystems::overlay(&Layers { lower: &both, upper: None })
        }
        (_, None) => filesystems::overlay(&Layers { lower, upper: None }),
    };
    mounted.map_err(|problem| match problem {
        // clone_private_mount in fs/namespace.c, and ovl_make_workdir in fs/overlayfs/super.c say no more.
        Problem { errno: Errno::EINVAL, detail } if detail.is_empty() => Problem {
            errno: Errno::EINVAL,
            detail:
                "overlayfs does not take these layers: one has something mounted below it, or upper and work \
                     are not on one file system that can be written to"
                    .into(),
        },
        problem => problem,
    })
}

/// The kernel makes an overlay whose work directory it cannot use a read-only one, and says so in its log alone
/// (ovl_make_workdir in fs/overlayfs/super.c).
fn writable(overlay: OwnedFd) -> Result<OwnedFd, Problem> {
    if fstatvfs(&overlay)?.flags().contains(FsFlags::ST_RDONLY) {
        return Err(Problem::new(
            "the upper and the work directory cannot be written to; they must be the caller's",
        ));
    }
    Ok(overlay)
}

/// The caller's device file, if it is the device that it should be.
fn device(name: &'static str, major: u64, minor: u64) -> Result<OwnedFd, Problem> {
    let path = format!("/dev/{name}");
    let tree = clone(OsStr::new(&path), MOUNT_ATTR_NOSUID)?;
    let status = fstat(&tree)?;
    let is_device = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
        && (libc::major(status.st_rdev).into(), libc::minor(status.st_rdev).into()) == (major, minor);
    if is_device { Ok(tree) } else { Err(Problem::new(format!("{path} is not the device {major}:{minor}"))) }
}

/// As many as a step has open at the same time.
fn most_descriptors(step: &Step) -> usize {
    match step {
        Step::Root(Root::Overlay(overlay)) | Step::Mount { what: FileSystem::Overlay(overlay), .. } => {
            overlay.lower.len() + 3
        }
        Step::Mount { what: FileSystem::Dev, .. } => DEVICES.len(),
        _ => 1,
    }
}

/// Room for so many descriptors until it is dropped, which gives the old limit back; none if there is enough.
pub(super) struct Descriptors {
    old: Option<(u64, u64)>,
}

impl Descriptors {
    /// See setrlimit(2), RLIMIT_NOFILE.
    pub(super) fn for_steps(steps: &[Step]) -> Result<Self, Errno> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let needed: usize = steps.iter().map(most_descriptors).sum();
        if needed as u64 + OTHER_DESCRIPTORS <= soft || soft == hard {
            return Ok(Self { old: None });
        }
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(Self { old: Some((soft, hard)) })
    }

    /// The old limit again.
    pub(super) fn give_back(self) -> Result<(), Errno> {
        self.old.map_or(Ok(()), |(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, soft, hard))
    }
}
