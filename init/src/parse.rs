//! Numbers, durations, signals and users as they are written on a command line. Pure.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// Digits only: Rust's own parser takes `+1`.
pub fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A user or group id: 0 to 4294967294, since 4294967295 is what chown(2) and others take for "no id".
///
/// # Errors
/// What is wrong, in words.
pub fn id(text: &str) -> Result<u32, String> {
    number(text)
        .and_then(|id| u32::try_from(id).ok())
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("{text:?} is no id: they go from 0 to 4294967294"))
}

/// The number of a descriptor.
///
/// # Errors
/// What is wrong, in words.
pub fn descriptor(text: &str) -> Result<i32, String> {
    number(text)
        .and_then(|fd| i32::try_from(fd).ok())
        .ok_or_else(|| format!("{text:?} is no descriptor's number: they go from 0 to 2147483647"))
}

/// `500ms`, `30s`, `5m`, `1h`, `2d`; a number without a unit is seconds.
///
/// # Errors
/// What is wrong, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit);
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => 0,
    };
    number(digits)
        .filter(|_| milliseconds != 0)
        .and_then(|number| number.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is no duration: say 500ms, 30s, 5m or 1h"))
}

/// `NAME=VALUE`, split at the first equals sign.
///
/// # Errors
/// What is wrong, in words.
pub fn variable(text: &OsStr) -> Result<(OsString, OsString), String> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        None => Err(format!("{:?} has no =; say --env NAME=VALUE", text.display().to_string())),
        Some(0) => Err(format!("{:?} has no name before the =", text.display().to_string())),
        Some(at) => {
            let (key, value) = (bytes[..at].to_vec(), bytes[at + 1..].to_vec());
            Ok((OsString::from_vec(key), OsString::from_vec(value)))
        }
    }
}

const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// A signal by its number (1 to 64), or its name with or without SIG, in any case: `TERM`, `SIGTERM`, `RTMIN+3`,
/// `RTMAX-1`.
///
/// # Errors
/// What is wrong, in words.
pub fn signal(text: &str) -> Result<i32, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: &str| {
        let rest = name.strip_prefix(prefix)?;
        if rest.is_empty() { Some(0) } else { number(rest.strip_prefix(sign)?)?.try_into().ok() }
    };
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let from_an_end = real_time("RTMIN", "+")
        .and_then(|n: i32| libc::SIGRTMIN().checked_add(n))
        .or_else(|| real_time("RTMAX", "-").and_then(|n: i32| libc::SIGRTMAX().checked_sub(n)))
        .filter(|number| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(number));
    let by_number = number(text).and_then(|number| i32::try_from(number).ok());
    known
        .or(by_number)
        .or(from_an_end)
        .filter(|number| (1..=64).contains(number))
        .ok_or_else(|| format!("{text:?} is no signal: say TERM, 15 or RTMIN+1"))
}

/// A user and a group to run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
}

/// `UID`, `UID:GID`, or names; `passwd` and `group` are the texts of /etc/passwd and /etc/group. Without a group it
/// is the user's own in passwd(5), or for an unknown uid the same number.
///
/// # Errors
/// What is wrong, in words.
pub fn user(text: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, group_name) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let numeric = user.bytes().all(|byte| byte.is_ascii_digit());
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 4 && if numeric { id(fields[2]) == id(user) } else { fields[0] == user }
    });
    let uid = match (&entry, numeric) {
        (_, true) => id(user)?,
        (Some(fields), false) => id(fields[2])?,
        (None, false) => return Err(format!("{user:?} is no id, and no name in /etc/passwd")),
    };
    let gid = match (group_name, &entry) {
        (Some(name), _) if name.bytes().all(|byte| byte.is_ascii_digit()) => id(name)?,
        (Some(name), _) => group
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.len() >= 3 && fields[0] == name)
            .ok_or_else(|| format!("{name:?} is no id, and no name in /etc/group"))
            .and_then(|fields| id(fields[2]))?,
        (None, Some(fields)) => id(fields[3])?,
        (None, None) => uid,
    };
    Ok(User { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_descriptors_out_of_range_and_in_other_forms_are_refused() {
        for text in
            ["", "-1", "+1", " 1", "0x0", "4294967295", "4294967296", "99999999999999999999", "1.5", "a"]
        {
            assert!(id(text).is_err(), "{text}");
        }
        assert_eq!(id("4294967294"), Ok(4294967294));
        assert!(descriptor("2147483648").is_err() && descriptor("2147483647").is_ok());
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, milliseconds) in
            [("3", 3000), ("1500ms", 1500), ("0", 0), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "1x", "1 s", "1.5s", "99999999999999999999", "999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_have_numbers_and_names() {
        let same =
            [("TERM", 15), ("sigterm", 15), ("15", 15), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)];
        for (text, number) in same {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "+9", "SIG", "FOO", "RTMIN-1", "RTMIN+31", "RTMAX-40", "RTMIN+"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_are_ids_or_names_of_the_files_given() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nme:x:1000:100::/:\nbroken\n";
        let group = "users:x:100:\nwheel:x:10:\n";
        let user = |text| user(text, passwd, group).map(|user| (user.uid, user.gid));
        assert_eq!(user("me"), Ok((1000, 100)));
        assert_eq!(user("1000"), Ok((1000, 100)));
        assert_eq!(user("7"), Ok((7, 7)));
        assert_eq!(user("7:8"), Ok((7, 8)));
        assert_eq!(user("me:wheel"), Ok((1000, 10)));
        for text in ["", "nobody", "me:nogroup", "+1", "1:", "1:-1", "4294967295", "0x0"] {
            assert!(user(text).is_err(), "{text:?}: {:?}", user(text));
        }
    }
}
