//! How a path is written where it has to be text on one line: in layers.json, and by launch diff.
//!
//! It is the spelling of the options' paths, which spec.rs reads.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serializer};

/// Any path as text on one line, in the options' own spelling of a path (spec.rs): a backslash is `\\`, and a control
/// character or a byte that is not UTF-8 is `\xHH`.
pub fn escaped(path: &OsStr) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.as_bytes().utf8_chunks() {
        for char in chunk.valid().chars() {
            if char == '\\' {
                text.push_str("\\\\");
            } else if char.is_control() {
                let mut bytes = [0; 4];
                escape(char.encode_utf8(&mut bytes).as_bytes(), &mut text);
            } else {
                text.push(char);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escaped(path.as_os_str()))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if let Some(after) = rest.strip_prefix(b"\\\\") {
            bytes.push(b'\\');
            rest = after;
        } else if *first == b'\\' {
            let digits = behind.strip_prefix(b"x").and_then(|digits| digits.get(..2));
            let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(byte.ok_or_else(|| serde::de::Error::custom("a backslash without xHH"))?);
            rest = &behind[3..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    // It is joined to other paths, which must not lead elsewhere.
    let is_plain = path.is_absolute() && path.components().all(|part| part.as_os_str() != "..");
    is_plain.then_some(path).ok_or_else(|| serde::de::Error::custom("a path that is not absolute and plain"))
}
