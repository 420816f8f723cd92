//! The files that a launch leaves where its caller wants them: `--pid-file` and `--id-file`.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::Error;

/// A file in which the workload's pid stands while it lives.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Beside it: what becomes it by being renamed, so that nobody reads a part of a number.
    new: PathBuf,
    /// What we have written there last.
    pid: Option<i32>,
}

impl PidFile {
    /// Sees whether there can be one.
    ///
    /// # Errors
    /// [`Error::PidFile`]
    #[cold]
    pub fn prepare(path: &Path) -> Result<Self, Error> {
        let failed = |errno| Error::PidFile(path.into(), errno);
        let absolute = std::path::absolute(path).map_err(|error| failed(errno_of(&error)))?;
        let name = absolute.file_name().map(OsStr::to_owned).ok_or_else(|| failed(Errno::EISDIR))?;
        let mut new = OsString::from(".");
        new.push(name);
        new.push(format!(".{}", std::process::id()));
        let file = Self { new: absolute.with_file_name(new), path: absolute, pid: None };
        if file.path.is_dir() {
            return Err(failed(Errno::EISDIR));
        }
        file.make().map_err(|error| failed(errno_of(&error)))?;
        Ok(file)
    }

    /// The workload has this pid. What cannot be written is warned of: the workload runs.
    #[cold]
    pub fn write(&mut self, pid: i32) {
        let written = self
            .make()
            .and_then(|mut file| file.write_all(format!("{pid}\n").as_bytes()))
            .and_then(|()| fs::rename(&self.new, &self.path));
        match written {
            Ok(()) => self.pid = Some(pid),
            Err(error) => log::warn!("pid file: {}: {error}", self.path.display()),
        }
    }

    /// Nobody has it any more.
    #[cold]
    pub fn remove(&mut self) {
        let Some(pid) = self.pid.take() else { return };
        // Somebody else may have put another one there, who is not us.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == format!("{pid}\n"))
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("pid file: {}: not removed: {error}", self.path.display());
        }
    }

    #[cold]
    fn make(&self) -> Result<File, std::io::Error> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.new)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It is there only until it has been renamed.
        let _ = fs::remove_file(&self.new);
        self.remove();
    }
}

/// A new file with the id of a launch. It stays if the workload has run.
#[derive(Debug)]
pub struct IdFile {
    path: PathBuf,
    stays: bool,
}

impl IdFile {
    /// Makes it.
    ///
    /// # Errors
    /// [`Error::IdFile`]: it exists, or cannot be made.
    #[cold]
    pub fn make(path: &Path, id: &str) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::IdFile(path.into(), errno_of(&error));
        let absolute = std::path::absolute(path).map_err(failed)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
        let made = Self { path: absolute, stays: false };
        file.write_all(format!("{id}\n").as_bytes()).map_err(failed)?;
        Ok(made)
    }

    /// The workload runs.
    pub fn stay(&mut self) {
        self.stays = true;
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("id file: {}: not removed: {error}", self.path.display());
        }
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
