//! How values are spelled in words and data: any bytes, modes, sizes, and the names of numbers.
//!
//! Text that goes to a terminal is made printable in mod.rs, whole lines at once.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use launch_init::parse::{CAPABILITIES, LIMITS};

/// Any bytes as text, in the options' own spelling of a path (spec.rs): a backslash is `\\`, and a byte that is not
/// UTF-8 is `\xHH`.
pub fn spelled(text: &OsStr) -> String {
    let mut spelled = String::with_capacity(text.len());
    for chunk in text.as_bytes().utf8_chunks() {
        spelled.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            let _ = write!(spelled, "\\x{byte:02x}"); // A String takes all that is written to it.
        }
    }
    spelled
}

pub(super) fn octal(mode: u32) -> String {
    format!("{mode:03o}")
}

/// As `--tmpfs` takes it: `64M`.
pub(super) fn in_units(size: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.into_iter().find(|(bits, _)| size != 0 && size.trailing_zeros() >= *bits) {
        Some((bits, unit)) => format!("{}{unit}", size >> bits),
        None => format!("{size} B"),
    }
}

pub(super) fn capabilities_in(set: u64) -> Vec<String> {
    (0..64).filter(|number| set & 1 << number != 0).map(capability).collect()
}

/// The name of a capability, or its number where it is newer than this list.
pub(super) fn capability(number: u32) -> String {
    CAPABILITIES.get(number as usize).map_or_else(|| number.to_string(), |name| format!("CAP_{name}"))
}

/// The name of a resource, or its number.
pub(super) fn limit(resource: u32) -> String {
    let known = LIMITS.iter().find(|(_, number)| *number == resource);
    known.map_or_else(|| format!("limit {resource}"), |(name, _)| format!("limit {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    #[test]
    fn every_string_of_the_data_is_one_that_options_take() {
        let every: Vec<u8> = (1..=255).chain("é\\x41".bytes()).collect();
        let every = OsStr::from_bytes(&every);
        assert_eq!(spec::path(OsStr::new(&spelled(every))).as_deref(), Ok(every));
        assert_eq!(spelled(OsStr::new("/a:b é")), "/a:b é");
    }

    #[test]
    fn sizes_are_in_the_largest_unit_that_is_exact() {
        assert_eq!(
            [1, 1 << 10, 3 << 20, (1 << 40) + 1].map(in_units),
            ["1 B", "1K", "3M", "1099511627777 B"]
        );
    }
}
