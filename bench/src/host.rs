//! A process with a large heap and threads that starts things when it is told to, and says how long each took: what a service
//! is that runs commands for others. The bench runs itself as one.

#![forbid(unsafe_code)]

use crate::error::Error;

/// The first word of its command line.
pub const WORD: &str = "--host";

/// Serves its stdin.
pub fn serve() -> Result<(), Error> {
    Ok(())
}
