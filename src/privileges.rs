//! The values of the options about privileges, as in `NET_ADMIN` and `nofile=1024:4096`: text → values of [`Options`].
//!
//! Values only; whether they make sense together is plan/checks.rs's to say, and init makes them true.
//!
//! [`Options`]: crate::plan::Options

#![forbid(unsafe_code)]

use std::ffi::OsStr;

use launch_init::handoff::Limit;
use launch_init::parse::{CAPABILITIES, LIMITS, number};

use crate::plan::Seccomp;

/// Those limits that count bytes, and may be written with K, M, G or T; setrlimit(2).
const IN_BYTES: [&str; 8] = ["as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"];

/// A name of linux/capability.h in any case, with or without `CAP_`, or `ALL`: as bits, bit n for capability n.
///
/// # Errors
/// What is wrong, in words.
pub fn capability(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if upper == "ALL" {
        return Ok(u64::MAX);
    }
    match CAPABILITIES.iter().position(|known| *known == name) {
        Some(number) => Ok(1 << number),
        None => Err(unknown(text, "capability", nearest(name, CAPABILITIES))),
    }
}

/// `NAME=SOFT[:HARD]`: a name of prlimit(1) in any case, with or without `RLIMIT_`; numbers in the resource's own unit,
/// those of bytes also with K, M, G or T; or `unlimited`. SOFT alone is both.
///
/// # Errors
/// What is wrong, in words.
pub fn limit(text: &str) -> Result<Limit, String> {
    let (name, values) =
        text.split_once('=').ok_or_else(|| format!("{text:?} has no =; say NAME=SOFT or NAME=SOFT:HARD"))?;
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let (name, resource) = LIMITS
        .into_iter()
        .find(|(known, _)| *known == bare)
        .ok_or_else(|| unknown(name, "limit", nearest(bare, LIMITS.map(|(name, _)| name))))?;
    let value = |text| limit_value(text, IN_BYTES.contains(&name));
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (value(soft)?, value(hard)?),
        None => (value(values)?, value(values)?),
    };
    if soft > hard {
        return Err(format!("{text:?}: the soft limit is above the hard one"));
    }
    Ok(Limit { resource, soft, hard })
}

fn limit_value(text: &str, in_bytes: bool) -> Result<u64, String> {
    if text == "unlimited" || text == "infinity" {
        return Ok(u64::MAX);
    }
    let unit = |letter: char| "KMGT".find(letter.to_ascii_uppercase()).map(|at| 10 * (at + 1));
    let (digits, shift) = match text.char_indices().last() {
        Some((at, letter)) if in_bytes && unit(letter).is_some() => (&text[..at], unit(letter).unwrap_or(0)),
        _ => (text, 0),
    };
    let units = if in_bytes { " (K, M, G or T may follow it)" } else { "" };
    number(digits)
        .and_then(|number| number.checked_mul(1 << shift))
        // The kernel's own "unlimited".
        .filter(|number| *number != u64::MAX)
        .ok_or_else(|| format!("{text:?} is no limit: say a number{units} or unlimited"))
}

/// -1000 to 1000; see proc_pid_oom_score_adj(5).
///
/// # Errors
/// What is wrong, in words.
pub fn oom_score(text: &str) -> Result<i32, String> {
    within(text, -1000, 1000)
}

/// -20 to 19; see setpriority(2).
///
/// # Errors
/// What is wrong, in words.
pub fn niceness(text: &str) -> Result<i32, String> {
    within(text, -20, 19)
}

fn within(text: &str, least: i32, most: i32) -> Result<i32, String> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    number(digits)
        .and_then(|number| i32::try_from(number).ok())
        .map(|number| sign * number)
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{text:?} is no number from {least} to {most}"))
}

/// Octal, 0 to 777; see umask(2).
///
/// # Errors
/// What is wrong, in words.
pub fn umask(text: &str) -> Result<u32, String> {
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| is_octal && *mask <= 0o777)
        .ok_or_else(|| format!("{text:?} is no umask: say octal digits, 0 to 777, as in 022"))
}

/// `default`, `off`, or the path of a profile; one of such a name is `./off`.
///
/// # Errors
/// What is wrong, in words.
pub fn seccomp(text: &OsStr) -> Result<Seccomp, String> {
    match text.to_str() {
        Some("") => Err("is empty: say default, off or a file".into()),
        Some("default") => Ok(Seccomp::Default),
        Some("off") => Ok(Seccomp::Off),
        _ => Ok(Seccomp::File(text.into())),
    }
}

/// The known name that is most like the text, if one is like it at all.
fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(text, known);
    known.into_iter().min_by_key(distance).filter(|known| 2 * distance(known) <= known.len())
}

fn unknown(text: &str, what: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("{text:?} is no {what}; did you mean {nearest}?"),
        None => format!("{text:?} is no {what}; see launch(1)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_names_and_no_numbers() {
        for (text, bits) in [
            ("CHOWN", 1),
            ("cap_chown", 1),
            ("CAP_SYS_ADMIN", 1 << 21),
            ("sys_Admin", 1 << 21),
            ("checkpoint_restore", 1 << 40),
            ("ALL", u64::MAX),
            ("all", u64::MAX),
        ] {
            assert_eq!(capability(text), Ok(bits), "{text}");
        }
        for text in
            ["", "0", "21", "CAP_", "CAP_ALL", "CAP_CAP_CHOWN", "CHOWN ", " CHOWN", "SYS_ADMIN,CHOWN", "é"]
        {
            assert!(capability(text).is_err(), "{text:?}: {:?}", capability(text));
        }
        let reason = "\"SYS_AMDIN\" is no capability; did you mean SYS_ADMIN?";
        assert_eq!(capability("SYS_AMDIN"), Err(reason.into()));
        assert!(capability("cap_net_row").unwrap_err().ends_with("did you mean NET_RAW?"));
    }

    #[test]
    fn limits_are_a_name_and_one_or_two_numbers() {
        const NONE: u64 = u64::MAX;
        for (text, name, soft, hard) in [
            ("nofile=64", "nofile", 64, 64),
            ("RLIMIT_NOFILE=64:128", "nofile", 64, 128),
            ("core=0", "core", 0, 0),
            ("as=1G", "as", 1 << 30, 1 << 30),
            ("fsize=1k:2M", "fsize", 1 << 10, 2 << 20),
            ("stack=8M:unlimited", "stack", 8 << 20, NONE),
            ("cpu=infinity", "cpu", NONE, NONE),
            ("rttime=18446744073709551614", "rttime", NONE - 1, NONE - 1),
        ] {
            let resource = LIMITS.iter().find(|(known, _)| *known == name).unwrap().1;
            assert_eq!(limit(text), Ok(Limit { resource, soft, hard }), "{text}");
        }
        for text in [
            "",
            "nofile",
            "nofile=",
            "=1",
            "nofile=1:",
            "nofile=:1",
            "nofile=1:2:3",
            "nofile=-1",
            "nofile=+1",
            "nofile= 1",
            "nofile=0x10",
            "nofile=1K",
            "cpu=1m",
            "as=K",
            "as=1KK",
            "as=1é",
            "as=99999999999999999999",
            "as=18446744073709551615",
            "as=16777216T",
            "nofile=2:1",
            "nofile=unlimited:1",
            "nofile =1",
            "7=1",
        ] {
            assert!(limit(text).is_err(), "{text:?}: {:?}", limit(text));
        }
        assert_eq!(limit("nofiles=1"), Err("\"nofiles\" is no limit; did you mean nofile?".into()));
    }

    #[test]
    fn numbers_keep_to_their_ranges() {
        for (text, value) in [("-1000", -1000), ("0", 0), ("-0", 0), ("1000", 1000), ("500", 500)] {
            assert_eq!(oom_score(text), Ok(value), "{text}");
        }
        for text in ["", "-", "--1", "+1", " 1", "1001", "-1001", "1.5", "0x1", "99999999999"] {
            assert!(oom_score(text).is_err(), "{text:?}");
        }
        for (text, value) in [("-20", -20), ("19", 19), ("5", 5)] {
            assert_eq!(niceness(text), Ok(value), "{text}");
        }
        for text in ["", "-21", "20", "+5", "5 "] {
            assert!(niceness(text).is_err(), "{text:?}");
        }
        for (text, value) in [("0", 0), ("022", 0o22), ("77", 0o77), ("0777", 0o777)] {
            assert_eq!(umask(text), Ok(value), "{text}");
        }
        for text in ["", "8", "1000", "00022", "-1", "+22", "0o22", "u=rwx"] {
            assert!(umask(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_seccomp_profile_is_a_word_or_a_file() {
        assert_eq!(seccomp("default".as_ref()), Ok(Seccomp::Default));
        assert_eq!(seccomp("off".as_ref()), Ok(Seccomp::Off));
        assert_eq!(seccomp("./off".as_ref()), Ok(Seccomp::File("./off".into())));
        assert!(seccomp("".as_ref()).is_err());
    }
}
