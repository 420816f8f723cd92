//! Reads a file that the caller names and that is text: options, or a seccomp profile.

#![forbid(unsafe_code)]

use std::fmt::{self, Display, Formatter};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;

/// In bytes. Nothing that is written by hand is as long.
const LONGEST: u64 = 1 << 20;

/// Why there is no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotRead {
    /// The system's reason.
    System(Errno),
    /// What is wrong with the file.
    Wrong(String),
}

impl Display for NotRead {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(errno) => f.write_str(errno.desc()),
            Self::Wrong(reason) => f.write_str(reason),
        }
    }
}

/// The contents of a regular file.
#[cold]
pub(crate) fn read(path: &Path) -> Result<String, NotRead> {
    let of_io = |error: io::Error| NotRead::System(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
    // The open of a FIFO would wait for a writer, and that of a terminal could make it ours.
    let mut options = OpenOptions::new();
    let file =
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(of_io)?;
    let kind = file.metadata().map_err(of_io)?.file_type();
    if kind.is_dir() {
        return Err(NotRead::System(Errno::EISDIR));
    }
    if !kind.is_file() {
        return Err(NotRead::Wrong("is no regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(of_io)?;
    if bytes.len() as u64 > LONGEST {
        return Err(NotRead::Wrong("has more than 1 MiB, the most that it may have".into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        NotRead::Wrong(format!("line {line}: is not UTF-8"))
    })
}
