//! What was asked for, on stdout.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Write};

use nix::errno::Errno;

use crate::error::Error;

/// Prints a text.
///
/// # Errors
/// [`Error::Output`]
pub fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever reads it has read enough: `launch --explain ... | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Error::Output(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))),
        Ok(()) => Ok(()),
    }
}
