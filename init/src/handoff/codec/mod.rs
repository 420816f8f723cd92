//! The form on the channel of all that launcher and init say: frames with a header, encode and decode.
//!
//! Pure: no descriptor is read or written here. This file has the frame, values.rs the single values in it, and each of the
//! others the form of what its name says.

#![forbid(unsafe_code)]

mod orders;
mod plan;
mod reports;
mod steps;
#[cfg(test)]
mod tests;
mod values;
mod workload;

/// The format of the frames below. It changes whenever one of the types changes.
pub const VERSION: u16 = 4;

const MAGIC: [u8; 4] = *b"lnch";
/// Magic, version, length of the body.
pub const HEADER: usize = 4 + 2 + 4;
/// No body is larger: it would be a mistake, and is refused before anything is allocated for it. The arguments
/// and environment of one exec are limited to 6 MiB (execve(2)).
const LARGEST_BODY: usize = 16 << 20;

/// A frame that the other end did not write in this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It doesn't begin like a frame.
    NotAFrame,
    /// It is of another version.
    Version(u16),
    /// It is larger than any frame.
    TooLarge(usize),
    /// Its body ends early, goes on too long, or has a value out of range.
    Body,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAFrame => f.write_str("not a frame of launch"),
            Self::Version(theirs) => write!(f, "its format is version {theirs}, this program's {VERSION}"),
            Self::TooLarge(length) => write!(f, "{length} bytes are more than any frame has"),
            Self::Body => f.write_str("damaged frame"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The length of the body that follows this header.
pub fn body_length(header: [u8; HEADER]) -> Result<usize, Malformed> {
    let [m0, m1, m2, m3, v0, v1, l0, l1, l2, l3] = header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(Malformed::NotAFrame);
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > LARGEST_BODY { Err(Malformed::TooLarge(length)) } else { Ok(length) }
}

/// The body of the first whole frame in `bytes`, if it is all there.
pub fn first_body(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    Ok(rest.get(..body_length(*header)?))
}
