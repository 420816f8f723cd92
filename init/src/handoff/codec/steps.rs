//! The form of a step of the set-up, with all that is mounted.
//!
//! Whether a step can be carried out is not asked here.

#![forbid(unsafe_code)]

use std::ffi::OsString;

use super::Malformed;
use super::values::{Reader, Writer};
use crate::handoff::{FileSystem, Overlay, Root, Source, Step, Upper};

impl Writer {
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::HostName(name) => self.tagged(0, name),
            Step::DomainName(name) => self.tagged(1, name),
            Step::LoopbackUp => self.u8(2),
            Step::TimeNamespace => self.u8(3),
            Step::PrivateMounts => self.u8(4),
            Step::NoUserNamespaces => self.u8(5),
            Step::Root(root) => {
                self.u8(6);
                self.root(root);
            }
            Step::ReadOnly => self.u8(7),
            Step::Mount { what, at } => {
                self.tagged(8, at);
                self.file_system(what);
            }
            Step::Directory { path, mode } => {
                self.tagged(9, path);
                self.u32(*mode);
            }
            Step::Symlink { target, path } => {
                self.tagged(10, path);
                self.os_string(target);
            }
            Step::Mask(path) => self.tagged(11, path),
            Step::RemountReadOnly(path) => self.tagged(12, path),
            Step::EnterRoot => self.u8(13),
            Step::Pty { callers } => {
                self.u8(14);
                self.option(callers.as_ref(), Self::os_string);
            }
            Step::ChangeDirectory(path) => self.tagged(15, path),
            Step::KeepDirectory(path) => self.tagged(16, path),
            Step::FindDirectory(path) => self.tagged(17, path),
            Step::Copy { source, path } => {
                self.tagged(18, path);
                self.os_string(source);
            }
        }
    }

    fn tagged(&mut self, tag: u8, value: &OsString) {
        self.u8(tag);
        self.os_string(value);
    }

    fn root(&mut self, root: &Root) {
        match root {
            Root::Directory { path, writable } => {
                self.tagged(0, path);
                self.bool(*writable);
            }
            Root::Overlay(overlay) => {
                self.u8(1);
                self.overlay(overlay);
            }
            Root::Empty => self.u8(2),
        }
    }

    fn file_system(&mut self, what: &FileSystem) {
        match what {
            FileSystem::Bind { source, read_only, devices, optional } => {
                self.u8(0);
                match source {
                    Source::Path(path) => self.tagged(0, path),
                    Source::Descriptor(number) => {
                        self.u8(1);
                        self.i32(*number);
                    }
                }
                self.bool(*read_only);
                self.bool(*devices);
                self.bool(*optional);
            }
            FileSystem::Tmpfs { size, mode } => {
                self.u8(1);
                self.option(*size, Self::u64);
                self.u32(*mode);
            }
            FileSystem::Overlay(overlay) => {
                self.u8(2);
                self.overlay(overlay);
            }
            FileSystem::Proc { masked, hide_pids, only_pids } => {
                self.u8(3);
                self.bool(*masked);
                self.option(*hide_pids, Self::u8);
                self.bool(*only_pids);
            }
            FileSystem::Dev => self.u8(4),
            FileSystem::MessageQueue => self.u8(5),
            FileSystem::File { descriptor } => {
                self.u8(6);
                self.i32(*descriptor);
            }
        }
    }

    fn overlay(&mut self, overlay: &Overlay) {
        self.list(&overlay.lower, Self::os_string);
        self.bool(overlay.optional);
        match &overlay.upper {
            Upper::None => self.u8(0),
            Upper::Discarded => self.u8(1),
            Upper::Kept { upper, work } => {
                self.tagged(2, upper);
                self.os_string(work);
            }
        }
    }
}

impl Reader<'_> {
    pub(super) fn step(&mut self) -> Result<Step, Malformed> {
        Ok(match self.u8()? {
            0 => Step::HostName(self.os_string()?),
            1 => Step::DomainName(self.os_string()?),
            2 => Step::LoopbackUp,
            3 => Step::TimeNamespace,
            4 => Step::PrivateMounts,
            5 => Step::NoUserNamespaces,
            6 => Step::Root(self.root()?),
            7 => Step::ReadOnly,
            8 => {
                let at = self.os_string()?;
                Step::Mount { what: self.file_system()?, at }
            }
            9 => Step::Directory { path: self.os_string()?, mode: self.u32()? },
            10 => {
                let path = self.os_string()?;
                Step::Symlink { target: self.os_string()?, path }
            }
            11 => Step::Mask(self.os_string()?),
            12 => Step::RemountReadOnly(self.os_string()?),
            13 => Step::EnterRoot,
            14 => Step::Pty { callers: self.option(Self::os_string)? },
            15 => Step::ChangeDirectory(self.os_string()?),
            16 => Step::KeepDirectory(self.os_string()?),
            17 => Step::FindDirectory(self.os_string()?),
            18 => {
                let path = self.os_string()?;
                Step::Copy { source: self.os_string()?, path }
            }
            _ => return Err(Malformed::Body),
        })
    }

    fn root(&mut self) -> Result<Root, Malformed> {
        Ok(match self.u8()? {
            0 => Root::Directory { path: self.os_string()?, writable: self.bool()? },
            1 => Root::Overlay(self.overlay()?),
            2 => Root::Empty,
            _ => return Err(Malformed::Body),
        })
    }

    fn file_system(&mut self) -> Result<FileSystem, Malformed> {
        Ok(match self.u8()? {
            0 => FileSystem::Bind {
                source: match self.u8()? {
                    0 => Source::Path(self.os_string()?),
                    1 => Source::Descriptor(self.i32()?),
                    _ => return Err(Malformed::Body),
                },
                read_only: self.bool()?,
                devices: self.bool()?,
                optional: self.bool()?,
            },
            1 => FileSystem::Tmpfs { size: self.option(Self::u64)?, mode: self.u32()? },
            2 => FileSystem::Overlay(self.overlay()?),
            3 => FileSystem::Proc {
                masked: self.bool()?,
                hide_pids: self.option(Self::u8)?,
                only_pids: self.bool()?,
            },
            4 => FileSystem::Dev,
            5 => FileSystem::MessageQueue,
            6 => FileSystem::File { descriptor: self.i32()? },
            _ => return Err(Malformed::Body),
        })
    }

    fn overlay(&mut self) -> Result<Overlay, Malformed> {
        let lower = self.list(Self::os_string)?;
        let optional = self.bool()?;
        let upper = match self.u8()? {
            0 => Upper::None,
            1 => Upper::Discarded,
            2 => Upper::Kept { upper: self.os_string()?, work: self.os_string()? },
            _ => return Err(Malformed::Body),
        };
        if lower.is_empty() { Err(Malformed::Body) } else { Ok(Overlay { lower, optional, upper }) }
    }
}
