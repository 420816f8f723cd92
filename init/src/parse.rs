//! Numbers, durations, signals, users and the names of capabilities and limits as they are written on a command line. Pure.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crate::handoff::{Account, Name};
use crate::signals::REAL_TIME;
use crate::supervisor::{Readiness, Restart};

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

/// What a variable NAME=VALUE of an environment is called. The name may begin with `=`, as for Rust's std; one without another `=` is
/// nothing but a name.
pub fn variable_name(variable: &OsStr) -> &OsStr {
    let bytes = variable.as_bytes();
    let end = bytes.iter().skip(1).position(|byte| *byte == b'=').map_or(bytes.len(), |at| at + 1);
    OsStr::from_bytes(&bytes[..end])
}

/// NAME=VALUE, as it stands in an environment.
pub fn variable_of(name: &OsStr, value: &OsStr) -> OsString {
    let mut variable = OsString::with_capacity(name.len() + 1 + value.len());
    variable.push(name);
    variable.push("=");
    variable.push(value);
    variable
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
        .and_then(|n: i32| REAL_TIME.start().checked_add(n))
        .or_else(|| real_time("RTMAX", "-").and_then(|n: i32| REAL_TIME.end().checked_sub(n)))
        .filter(|number| REAL_TIME.contains(number));
    let by_number = number(text).and_then(|number| i32::try_from(number).ok());
    known
        .or(by_number)
        .or(from_an_end)
        .filter(|number| (1..=64).contains(number))
        .ok_or_else(|| format!("{text:?} is no signal: say TERM, 15 or RTMIN+1"))
}

/// `no`, `on-failure`, `on-failure:MAX`, `always` or `unless-stopped`.
///
/// # Errors
/// What is wrong, in words.
pub fn restart(text: &str) -> Result<Restart, String> {
    match text.split_once(':') {
        None if text == "no" => Ok(Restart::No),
        None if text == "on-failure" => Ok(Restart::OnFailure { most: None }),
        None if text == "always" => Ok(Restart::Always),
        None if text == "unless-stopped" => Ok(Restart::UnlessStopped),
        Some(("on-failure", most)) => match number(most).and_then(|most| u32::try_from(most).ok()) {
            Some(most) => Ok(Restart::OnFailure { most: Some(most) }),
            None => Err(format!("{most:?} is no number of restarts; say on-failure:5")),
        },
        _ => Err(format!("{text:?} is none of no, on-failure[:MAX], always, unless-stopped")),
    }
}

/// `notify`, `fd:N` or `exec:CMD`, with the command where there is one.
///
/// # Errors
/// What is wrong, in words.
pub fn readiness(text: &OsStr) -> Result<(Readiness, Option<OsString>), String> {
    let bytes = text.as_bytes();
    if bytes == b"notify" {
        return Ok((Readiness::Notify, None));
    }
    if let Some(command) = bytes.strip_prefix(b"exec:") {
        return match command {
            b"" => Err("exec: names no command; say exec:'test -e /ready'".into()),
            command => Ok((Readiness::Command, Some(OsStr::from_bytes(command).to_owned()))),
        };
    }
    if let Some(fd) = bytes.strip_prefix(b"fd:") {
        let fd = descriptor(&String::from_utf8_lossy(fd))?;
        return match fd {
            0..=2 => Err(format!("descriptor {fd} is stdin, stdout or stderr; say one above 2, as fd:3")),
            fd => Ok((Readiness::Descriptor(fd), None)),
        };
    }
    Err(format!("{:?} is none of notify, fd:N, exec:CMD", text.display().to_string()))
}

/// A user and the groups to run as, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// `UID[:GID][,GROUP...]`, each a number or a name; see [`Account`].
///
/// What is not all digits is a name, and a name begins with a letter or an underscore: a number in any other form
/// (`0x0`, `+1`, ` 1`) is refused here, and not looked up or cut short (CVE-2026-30892).
///
/// # Errors
/// What is wrong, in words.
pub fn account(text: &str) -> Result<Account, String> {
    let (ids, groups) = match text.split_once(',') {
        Some((ids, groups)) => (ids, groups.split(',').map(name).collect::<Result<_, _>>()?),
        None => (text, Vec::new()),
    };
    let (user, group) = match ids.split_once(':') {
        Some((user, group)) => (user, Some(name(group)?)),
        None => (ids, None),
    };
    Ok(Account { user: name(user)?, group, groups })
}

impl std::str::FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        account(text)
    }
}

fn name(text: &str) -> Result<Name, String> {
    if text.is_empty() {
        return Err("a part of it is empty: say UID[:GID][,GROUP...]".into());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return id(text).map(Name::Id);
    }
    let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    // What separates fields in passwd(5), and what no user's name has.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
    if !begins || text.contains(is_odd) {
        return Err(format!("{text:?} is neither an id (0 to 4294967294, in decimal digits) nor a name"));
    }
    Ok(Name::Named(text.into()))
}

/// The numbers of an account; `passwd` and `group` are the texts of passwd(5) and group(5). Without a group it is the
/// user's own in `passwd`, or for a uid that is not there the same number. Lines that are not in the files' form are
/// skipped; the first that fits counts.
///
/// # Errors
/// What is wrong, in words.
pub fn resolve(account: &Account, passwd: &str, group: &str) -> Result<User, String> {
    let users = || {
        passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            Some((name, id(uid).ok()?, id(gid).ok()?))
        })
    };
    let group_id = |wanted: &Name| match wanted {
        Name::Id(id) => Ok(*id),
        Name::Named(wanted) => group
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
                if name == wanted { id(gid).ok() } else { None }
            })
            .ok_or_else(|| format!("{wanted:?} is no id, and no name in /etc/group")),
    };
    let entry = match &account.user {
        Name::Id(wanted) => users().find(|(_, uid, _)| uid == wanted),
        Name::Named(wanted) => users().find(|(name, ..)| name == wanted),
    };
    let uid = match (&account.user, entry) {
        (Name::Id(uid), _) => *uid,
        (Name::Named(_), Some((_, uid, _))) => uid,
        (Name::Named(name), None) => return Err(format!("{name:?} is no id, and no name in /etc/passwd")),
    };
    let gid = match (&account.group, entry) {
        (Some(group), _) => group_id(group)?,
        (None, Some((.., gid))) => gid,
        (None, None) => uid,
    };
    Ok(User { uid, gid, groups: account.groups.iter().map(group_id).collect::<Result<_, _>>()? })
}

/// The resources of setrlimit(2), by their names in prlimit(1), with their numbers.
#[allow(clippy::unnecessary_cast)] // They are signed with musl.
pub const LIMITS: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS as u32),
    ("core", libc::RLIMIT_CORE as u32),
    ("cpu", libc::RLIMIT_CPU as u32),
    ("data", libc::RLIMIT_DATA as u32),
    ("fsize", libc::RLIMIT_FSIZE as u32),
    ("locks", libc::RLIMIT_LOCKS as u32),
    ("memlock", libc::RLIMIT_MEMLOCK as u32),
    ("msgqueue", libc::RLIMIT_MSGQUEUE as u32),
    ("nice", libc::RLIMIT_NICE as u32),
    ("nofile", libc::RLIMIT_NOFILE as u32),
    ("nproc", libc::RLIMIT_NPROC as u32),
    ("rss", libc::RLIMIT_RSS as u32),
    ("rtprio", libc::RLIMIT_RTPRIO as u32),
    ("rttime", libc::RLIMIT_RTTIME as u32),
    ("sigpending", libc::RLIMIT_SIGPENDING as u32),
    ("stack", libc::RLIMIT_STACK as u32),
];

/// The capabilities of linux/capability.h, each at the place of its number.
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variables_name_goes_to_the_first_equals_sign_that_is_not_its_beginning() {
        for (variable, name) in [("A=1=2", "A"), ("A", "A"), ("=A=1", "=A"), ("=", "="), ("", "")] {
            assert_eq!(variable_name(variable.as_ref()), name, "{variable:?}");
        }
    }

    #[test]
    fn a_variable_is_its_name_and_its_value_byte_for_byte_and_no_larger() {
        for (name, value, whole) in
            [("A", "1=2", "A=1=2"), ("A", "", "A="), ("=A", "1", "=A=1"), ("", "", "=")]
        {
            let variable = variable_of(name.as_ref(), value.as_ref());
            assert_eq!((&*variable, variable.capacity()), (OsStr::new(whole), whole.len()));
        }
        let odd = OsStr::from_bytes(b"\xff\n");
        assert_eq!(variable_of(odd, odd).as_bytes(), b"\xff\n=\xff\n");
    }

    #[test]
    fn policies_of_restarts_are_read() {
        assert_eq!(restart("no"), Ok(Restart::No));
        assert_eq!(restart("on-failure"), Ok(Restart::OnFailure { most: None }));
        assert_eq!(restart("on-failure:0"), Ok(Restart::OnFailure { most: Some(0) }));
        assert_eq!(restart("always"), Ok(Restart::Always));
        assert_eq!(restart("unless-stopped"), Ok(Restart::UnlessStopped));
        for wrong in ["", "yes", "on-failure:", "on-failure:-1", "on-failure:4294967296", "always:3"] {
            assert!(restart(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_of_readiness_are_read() {
        let read = |text: &str| readiness(OsStr::new(text));
        assert_eq!(read("notify"), Ok((Readiness::Notify, None)));
        assert_eq!(read("fd:3"), Ok((Readiness::Descriptor(3), None)));
        assert_eq!(read("exec:a b:c"), Ok((Readiness::Command, Some("a b:c".into()))));
        for wrong in ["", "fd", "fd:", "fd:2", "fd:x", "exec:", "exec", "notified"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

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

    const PASSWD: &str = "broken\nx:x:y:z\nroot:x:0:0:root:/root:/bin/sh\nme:x:1000:100::/:\n\
                          me:x:5:5::/:\n+::::::\nDOM\\é.d-e_$:x:7:0x8\nDOM\\é.d-e_$:x:7:8\n";
    const GROUP: &str = "\nusers:x:100:\nbroken:x\nwheel:x:+10:\nwheel:x:10:\nlarge:x:4294967295:\n";

    #[test]
    fn users_are_ids_or_names_of_the_files_given() {
        let user = |text: &str| {
            account(text)
                .and_then(|account| resolve(&account, PASSWD, GROUP))
                .map(|user| (user.uid, user.gid, user.groups))
        };
        for (text, uid, gid, groups) in [
            ("me", 1000, 100, &[][..]),
            ("1000", 1000, 100, &[]),
            ("9", 9, 9, &[]),
            ("9:8", 9, 8, &[]),
            ("me:wheel", 1000, 10, &[]),
            ("DOM\\é.d-e_$", 7, 8, &[]),
            ("0:0,5,wheel", 0, 0, &[5, 10]),
            ("me,users", 1000, 100, &[100]),
            ("007", 7, 8, &[]),
            ("4294967294:4294967294", 4294967294, 4294967294, &[]),
        ] {
            assert_eq!(user(text), Ok((uid, gid, groups.to_vec())), "{text}");
        }
        for text in ["nobody", "me:nogroup", "me,nogroup", "broken", "x", "large", "me:large"] {
            assert!(user(text).unwrap_err().contains("no name in /etc/"), "{text:?}: {:?}", user(text));
        }
    }

    #[test]
    fn what_is_neither_an_id_nor_a_name_is_no_user() {
        for wrong in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "\t1",
            "1\n",
            "0x0",
            "0X0",
            "1e3",
            "1.0",
            "1_000",
            "٣",
            "²",
            "1a",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "a b",
            "a\nb",
            "a/b",
            "../x",
            "$x",
            "-x",
            "\0",
        ] {
            for text in
                [wrong.to_owned(), format!("0:{wrong}"), format!("0,{wrong}"), format!("0:0,1,{wrong}")]
            {
                assert!(account(&text).is_err(), "{text:?}: {:?}", account(&text));
            }
        }
        for text in [":", ",", "0:", ":0", "0,", ",0", "0:0:0", "0,1,,2", "0,1:2", "root:root:root"] {
            assert!(account(text).is_err(), "{text:?}: {:?}", account(text));
        }
    }

    #[test]
    fn the_capabilities_stand_at_their_numbers() {
        let numbers =
            [(0, "CHOWN"), (8, "SETPCAP"), (21, "SYS_ADMIN"), (31, "SETFCAP"), (40, "CHECKPOINT_RESTORE")];
        for (number, name) in numbers {
            assert_eq!(CAPABILITIES[number], name);
        }
    }
}
