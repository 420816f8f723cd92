//! The names of sandboxes: what is one, and which is meant by one that is not known.
//!
//! Values only; registry.rs knows which there are.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// How long a name may be, in bytes.
pub const LONGEST: usize = 64;

/// A name of a sandbox, which is that of its folder too: 1 to 64 letters, digits, `_`, `.` and `-` of ASCII; the first one
/// is a letter, a digit or `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn read(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err("a name has at least one character".into());
        }
        if bytes == b"." || bytes == b".." {
            return Err(format!("{text:?} is a directory's name in every directory, and none of a sandbox"));
        }
        if bytes.contains(&b'/') {
            return Err(format!("{text:?} has a slash; a name is no path"));
        }
        if bytes.len() > LONGEST {
            return Err(format!("{text:?} has {} bytes; a name has at most {LONGEST}", bytes.len()));
        }
        if let Some(byte) = bytes.iter().find(|byte| !is_allowed(**byte)) {
            let shown = char::from(*byte);
            let what =
                if shown.is_ascii_graphic() { format!("{shown:?}") } else { format!("byte 0x{byte:02x}") };
            return Err(format!("{text:?} has {what}; a name is of letters, digits, _, . and -"));
        }
        if matches!(bytes[0], b'.' | b'-') {
            return Err(format!(
                "{text:?} begins with {}; a name begins with a letter, a digit or _",
                text_of(bytes[0])
            ));
        }
        // Every byte is ASCII.
        Ok(Self(String::from_utf8_lossy(bytes).into_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn text_of(byte: u8) -> String {
    char::from(byte).to_string()
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // With the width that a table asks for.
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(OsStr::new(text))
    }
}

impl AsRef<OsStr> for Name {
    fn as_ref(&self) -> &OsStr {
        OsStr::new(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The one of `known` that was probably meant by `name`, if one is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a Name>) -> Option<&'a Name> {
    // Two neighbours that have changed places are one slip; clap's measure sees two in a name as short as "wbe".
    let slips = |known: &Name| strsim::osa_distance(name, known.as_str());
    let is_near = |slips: usize, known: &Name| {
        let longer = name.len().max(known.as_str().len());
        slips < longer && slips <= (longer / 3).max(1)
    };
    known
        .into_iter()
        .map(|known| (slips(known), known))
        .filter(|(slips, known)| is_near(*slips, known))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_name_is_read_as_it_is() {
        let longest = "a".repeat(64);
        for name in ["a", "web", "web-1", "Web_2.x", "_", "0", "a..b", "a-", longest.as_str()] {
            assert_eq!(Name::read(OsStr::new(name)).map(|name| name.to_string()).as_deref(), Ok(name));
        }
    }

    #[test]
    fn each_way_of_being_none_has_its_reason() {
        let too_long = "a".repeat(65);
        for (text, reason) in [
            (&b""[..], "at least one character"),
            (b".", "is a directory's name"),
            (b"..", "is a directory's name"),
            (b"a/b", "has a slash"),
            (b"/", "has a slash"),
            (b"../x", "has a slash"),
            (too_long.as_bytes(), "has 65 bytes; a name has at most 64"),
            (b"a b", "has byte 0x20"),
            (b"a\0b", "has byte 0x00"),
            (b"a\nb", "has byte 0x0a"),
            (b"a\xffb", "has byte 0xff"),
            ("é".as_bytes(), "has byte 0xc3"),
            (b"a:b", "has ':'"),
            (b"a=b", "has '='"),
            (b".a", "begins with ."),
            (b"-a", "begins with -"),
        ] {
            let refused = Name::read(OsStr::from_bytes(text)).expect_err("no name");
            assert!(refused.contains(reason), "{text:?}: {refused:?} does not say {reason:?}");
        }
    }

    #[test]
    fn the_nearest_is_suggested_and_nothing_that_is_far() {
        let known: Vec<Name> =
            ["web", "worker", "redis-1", "redis-2"].iter().map(|name| name.parse().expect(name)).collect();
        for (name, expected) in [
            ("wbe", Some("web")),
            ("wev", Some("web")),
            ("wroker", Some("worker")),
            ("redis", Some("redis-1")),
            ("redis-22", Some("redis-2")),
            ("zzz", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known).map(Name::as_str), expected, "{name}");
        }
    }
}
