//! The values of the file-system options, as in `SRC:DEST` and `DEST:size=1M,mode=700`: text → steps of the plan.
//!
//! Values only. Relative sources stay as they are; plan/steps.rs knows the caller's directory.
//!
//! One spelling works for every path: a backslash takes `:`, `,` and itself literally, and `\xHH` is any byte.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use launch_init::handoff::{FileSystem, Overlay, Source, Step, Upper};
use launch_init::parse::{descriptor, id, number};

use crate::plan::IdMap;

/// What `--tmpfs` makes without a mode.
const TMPFS_MODE: u32 = 0o755;
/// What `--dir` makes.
const DIRECTORY_MODE: u32 = 0o755;

/// A value of `--bind` and its kin, `SRC[:DEST]`.
///
/// # Errors
/// What is wrong, in words.
pub fn bind(text: &OsStr, read_only: bool, devices: bool, optional: bool) -> Result<Step, String> {
    let (source, at) = match parts(text, b":")?.as_slice() {
        [source] => (source.clone(), source.clone()),
        [source, at] => (source.clone(), at.clone()),
        _ => return Err(say(text, "SRC or SRC:DEST; a colon in a path is written \\:")),
    };
    if source.is_empty() || at.is_empty() {
        return Err(say(text, "SRC or SRC:DEST, neither of them empty"));
    }
    Ok(Step::Mount {
        what: FileSystem::Bind { source: Source::Path(source), read_only, devices, optional },
        at,
    })
}

/// A value of `--map-users` and `--map-groups`, `IN:OUT:COUNT`.
///
/// # Errors
/// What is wrong, in words.
pub fn id_map(text: &str) -> Result<IdMap, String> {
    let fields: Vec<_> = text.split(':').collect();
    let [inside, outside, count] = fields[..] else {
        return Err(format!("{text:?}: say IN:OUT:COUNT, as in 0:100000:65536"));
    };
    let count = number(count)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("{text:?}: {count:?} is no count of ids: they go from 1 to 4294967295"))?;
    let id = |field| id(field).map_err(|reason| format!("{text:?}: {reason}"));
    Ok(IdMap { inside: id(inside)?, outside: id(outside)?, count })
}

/// A value of `--bind-fd`, `FD:DEST`.
///
/// # Errors
/// What is wrong, in words.
pub fn bind_descriptor(text: &OsStr) -> Result<Step, String> {
    let (number, at) = descriptor_and_path(text)?;
    let source = Source::Descriptor(number);
    Ok(Step::Mount {
        what: FileSystem::Bind { source, read_only: false, devices: false, optional: false },
        at,
    })
}

/// A value of `--file`, `FD:DEST`.
///
/// # Errors
/// What is wrong, in words.
pub fn file(text: &OsStr) -> Result<Step, String> {
    let (descriptor, at) = descriptor_and_path(text)?;
    Ok(Step::Mount { what: FileSystem::File { descriptor }, at })
}

/// A value of `--tmpfs`, `DEST[:size=SIZE,mode=MODE]`.
///
/// # Errors
/// What is wrong, in words.
pub fn tmpfs(text: &OsStr) -> Result<Step, String> {
    let mut parts = parts(text, b":,")?.into_iter();
    let at = parts.next().filter(|at| !at.is_empty());
    let at = at.ok_or_else(|| say(text, "DEST or DEST:size=SIZE,mode=MODE"))?;
    let (mut limit, mut permissions) = (None, TMPFS_MODE);
    for part in parts {
        match part.as_bytes().split(|byte| *byte == b'=').collect::<Vec<_>>().as_slice() {
            [b"size", value] => limit = Some(size(&String::from_utf8_lossy(value))?),
            [b"mode", value] => permissions = mode(&String::from_utf8_lossy(value))?,
            _ => return Err(say(text, "DEST or DEST:size=SIZE,mode=MODE")),
        }
    }
    Ok(Step::Mount { what: FileSystem::Tmpfs { size: limit, mode: permissions }, at })
}

/// A value of `--overlay`, `DEST:lower=A:lower=B[,upper=U,work=W]`; or, with `discards`, of `--tmp-overlay`, where
/// there is no upper one.
///
/// # Errors
/// What is wrong, in words.
pub fn overlay(text: &OsStr, discards: bool) -> Result<Step, String> {
    let form = if discards {
        "DEST:lower=DIR[:lower=DIR]..."
    } else {
        "DEST:lower=DIR[:lower=DIR]...[,upper=DIR,work=DIR]"
    };
    let mut parts = parts(text, b":,")?.into_iter();
    let at = parts.next().filter(|at| !at.is_empty()).ok_or_else(|| say(text, form))?;
    let (mut lower, mut upper, mut work) = (Vec::new(), None, None);
    for part in parts {
        let value = |key: &[u8]| {
            part.as_bytes()
                .strip_prefix(key)
                .filter(|value| !value.is_empty())
                .map(|v| OsStr::from_bytes(v).into())
        };
        if let Some(directory) = value(b"lower=") {
            lower.push(directory);
        } else if let (Some(directory), None, false) = (value(b"upper="), &upper, discards) {
            upper = Some(directory);
        } else if let (Some(directory), None, false) = (value(b"work="), &work, discards) {
            work = Some(directory);
        } else {
            return Err(say(text, form));
        }
    }
    if lower.is_empty() {
        return Err(say(text, form));
    }
    let upper = match (upper, work) {
        (None, None) if discards => Upper::Discarded,
        (None, None) => Upper::None,
        (Some(upper), Some(work)) => Upper::Kept { upper, work },
        _ => return Err("upper= and work= go together: two directories of one file system".into()),
    };
    Ok(Step::Mount { what: FileSystem::Overlay(Overlay { lower, optional: false, upper }), at })
}

/// A value of `--symlink`, `TARGET:DEST`.
///
/// # Errors
/// What is wrong, in words.
pub fn symlink(text: &OsStr) -> Result<Step, String> {
    match parts(text, b":")?.as_slice() {
        [target, path] if !target.is_empty() && !path.is_empty() => {
            Ok(Step::Symlink { target: target.clone(), path: path.clone() })
        }
        _ => Err(say(text, "TARGET:DEST; a colon in a path is written \\:")),
    }
}

/// A value of `--dir`.
///
/// # Errors
/// What is wrong, in words.
pub fn directory(text: &OsStr) -> Result<Step, String> {
    path(text).map(|path| Step::Directory { path, mode: DIRECTORY_MODE })
}

/// A value of `--rootfs`, `DIR[:rw]`: the directory, and whether it is writable.
///
/// # Errors
/// What is wrong, in words.
pub fn rootfs(text: &OsStr) -> Result<(OsString, bool), String> {
    match parts(text, b":")?.as_slice() {
        [path] if !path.is_empty() => Ok((path.clone(), false)),
        [path, rw] if !path.is_empty() && rw == "rw" => Ok((path.clone(), true)),
        _ => Err(say(text, "DIR or DIR:rw; a colon in a path is written \\:")),
    }
}

/// A single path.
///
/// # Errors
/// What is wrong, in words.
pub fn path(text: &OsStr) -> Result<OsString, String> {
    match parts(text, b"")?.pop() {
        Some(path) if !path.is_empty() => Ok(path),
        _ => Err("is empty".into()),
    }
}

/// A path in the spelling of these values.
pub fn spelled(path: &OsStr) -> OsString {
    let mut text = Vec::with_capacity(path.len());
    for byte in path.as_bytes() {
        if b":,\\".contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    OsString::from_vec(text)
}

/// A size in bytes above 0, or one with K, M, G or T.
///
/// # Errors
/// What is wrong, in words.
pub fn size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        Some((at, 't' | 'T')) => (&text[..at], 1 << 40),
        _ => (text, 1),
    };
    number(digits)
        .and_then(|number| number.checked_mul(factor))
        // The kernel counts a file system's size in a signed number.
        .filter(|size| (1..=i64::MAX as u64).contains(size))
        .ok_or_else(|| {
            format!("{text:?} is no size: say a number of bytes above 0, or one with K, M, G or T")
        })
}

/// Permissions in octal, 0 to 7777.
///
/// # Errors
/// What is wrong, in words.
pub fn mode(text: &str) -> Result<u32, String> {
    let is_octal = (1..=5).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| is_octal && *mode <= 0o7777)
        .ok_or_else(|| format!("{text:?} is no mode: say three or four octal digits, as in 755"))
}

fn descriptor_and_path(text: &OsStr) -> Result<(i32, OsString), String> {
    match parts(text, b":")?.as_slice() {
        [number, at] if !at.is_empty() => {
            let number = descriptor(&number.to_string_lossy())?;
            Ok((number, at.clone()))
        }
        _ => Err(say(text, "FD:DEST; a colon in a path is written \\:")),
    }
}

fn say(text: &OsStr, form: &str) -> String {
    format!("{:?}: say {form}", text.display().to_string())
}

/// The parts between separators, with their escapes resolved.
fn parts(text: &OsStr, separators: &[u8]) -> Result<Vec<OsString>, String> {
    let mut parts = vec![Vec::new()];
    let mut bytes = text.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b'\\' => match bytes.next() {
                Some(b'x') => {
                    let digits = [bytes.next(), bytes.next()].map(|digit| {
                        digit.and_then(|digit| char::from(digit).to_digit(16)).map(|digit| digit as u8)
                    });
                    match digits {
                        [Some(high), Some(low)] => high << 4 | low,
                        _ => return Err(say(text, "\\xHH with two hexadecimal digits for a byte")),
                    }
                }
                Some(escaped @ (b':' | b',' | b'\\')) => escaped,
                _ => return Err(say(text, "\\\\ for a backslash, \\: for a colon, \\, for a comma")),
            },
            byte if separators.contains(&byte) => {
                parts.push(Vec::new());
                continue;
            }
            byte => byte,
        };
        if literal == 0 {
            return Err("no path has a NUL byte".into());
        }
        if let Some(part) = parts.last_mut() {
            part.push(literal);
        }
    }
    Ok(parts.into_iter().map(OsString::from_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps_are_three_numbers() {
        assert_eq!(id_map("0:100000:65536"), Ok(IdMap { inside: 0, outside: 100000, count: 65536 }));
        assert!(id_map("4294967294:0:4294967295").is_ok());
        for text in [
            "",
            "0",
            "0:1",
            "0:1:2:3",
            "0:1:0",
            "0:1:4294967296",
            "4294967295:0:1",
            "0:4294967295:1",
            "0x0:0:1",
            "+0:0:1",
            " 0:0:1",
            "0:0:+1",
            "-1:0:1",
            "a:0:1",
            "0::1",
        ] {
            assert!(id_map(text).is_err(), "{text:?}");
        }
    }

    fn mounted(step: Result<Step, String>) -> (FileSystem, OsString) {
        match step {
            Ok(Step::Mount { what, at }) => (what, at),
            other => panic!("{other:?}"),
        }
    }

    fn os(bytes: &[u8]) -> OsString {
        OsStr::from_bytes(bytes).into()
    }

    #[test]
    fn a_bind_goes_to_its_own_path_unless_told_otherwise() {
        let bound = |text: &[u8]| match mounted(bind(OsStr::from_bytes(text), true, false, false)) {
            (FileSystem::Bind { source: Source::Path(source), .. }, at) => (source, at),
            other => panic!("{other:?}"),
        };
        assert_eq!(bound(b"/a"), (os(b"/a"), os(b"/a")));
        assert_eq!(bound(b"a b:/c"), (os(b"a b"), os(b"/c")));
        assert_eq!(bound(b"/a\\:b\\,c\\\\:/d"), (os(b"/a:b,c\\"), os(b"/d")));
        assert_eq!(bound(b"/\xff\\xff\\x3A:/d"), (os(b"/\xff\xff:"), os(b"/d")));
    }

    #[test]
    fn every_path_has_one_spelling_whatever_its_bytes() {
        let every: Vec<u8> = (1..=255).collect();
        let spelled: String = every.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        assert_eq!(path(OsStr::new(&spelled)), Ok(os(&every)));
        assert_eq!(path(&super::spelled(&os(&every))), Ok(os(&every)));
    }

    #[test]
    fn wrong_forms_are_refused_with_the_right_one() {
        for text in ["", ":", "/a:", ":/b", "/a:/b:/c", "a\\", "a\\b", "a\\xg0", "a\\x0", "a\\x00"] {
            assert!(bind(OsStr::new(text), false, false, false).is_err(), "{text}");
        }
        for text in ["", ":size=1M", "/a:size=0", "/a:mode=8", "/a:mode=77777", "/a:mode=+7", "/a:x=1", "/a:"]
        {
            assert!(tmpfs(OsStr::new(text)).is_err(), "{text}");
        }
        for text in
            ["/a", "/a:lower=", "/a:upper=/u,work=/w", "/a:lower=/l,upper=/u", ":lower=/l", "/a:lower=/l,x"]
        {
            assert!(overlay(OsStr::new(text), false).is_err(), "{text}");
        }
        assert!(overlay(OsStr::new("/a:lower=/l,upper=/u,work=/w"), true).is_err());
        for text in ["", "/a", "-1:/a", "x:/a", "3:", "3:/a:/b"] {
            assert!(bind_descriptor(OsStr::new(text)).is_err() && file(OsStr::new(text)).is_err(), "{text}");
        }
        for text in ["", "/a", ":/b", "a:", "a:/b:/c"] {
            assert!(symlink(OsStr::new(text)).is_err(), "{text}");
        }
        for text in ["", ":rw", "/a:ro", "/a:rw:rw"] {
            assert!(rootfs(OsStr::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tmpfs_has_a_size_and_a_mode_in_any_order() {
        let expected = FileSystem::Tmpfs { size: Some(1 << 20), mode: 0o1777 };
        assert_eq!(mounted(tmpfs(OsStr::new("/a:size=1M,mode=1777"))), (expected.clone(), os(b"/a")));
        assert_eq!(mounted(tmpfs(OsStr::new("/a:mode=1777,size=1M"))).0, expected);
    }

    #[test]
    fn an_overlay_has_its_layers_in_their_order() {
        let layers = Overlay {
            lower: vec![os(b"/a,b"), os(b"/c")],
            optional: false,
            upper: Upper::Kept { upper: os(b"/u"), work: os(b"/w") },
        };
        let text = "/o:lower=/a\\,b:lower=/c,upper=/u,work=/w";
        assert_eq!(mounted(overlay(OsStr::new(text), false)), (FileSystem::Overlay(layers), os(b"/o")));
        let (what, _) = mounted(overlay(OsStr::new("/o:lower=/a"), true));
        assert_eq!(
            what,
            FileSystem::Overlay(Overlay { lower: vec![os(b"/a")], optional: false, upper: Upper::Discarded })
        );
    }

    #[test]
    fn sizes_out_of_range_and_in_other_forms_are_refused() {
        for text in ["0", "0K", "K", "", "-1M", "1.5G", "9999999999G", "1 M", "1é"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!((size("7"), size("64m"), size("1G")), (Ok(7), Ok(64 << 20), Ok(1 << 30)));
    }
}
