//! What is refused: options that make no sense, alone, together, or for this caller.
//!
//! Values only. What is wrong with an id map is ids.rs's to say, and what cannot be mounted steps.rs's.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use launch_init::handoff::{FileSystem, Group, Name, Step};
use launch_init::supervisor::Restart;

use super::capabilities::{CAP_SYS_ADMIN, CAP_SYS_RESOURCE};
use super::ids::check_map;
use super::{Caller, Identity, Options, Ready, Share, Tmp, Volatile};
use crate::error::Error;
use crate::subids::Kind;

/// HOST_NAME_MAX of limits.h; the domain name's limit is the same (`__NEW_UTS_LEN`).
const LONGEST_NAME: usize = 64;

pub(super) fn check(options: &Options, caller: &Caller) -> Result<(), Error> {
    let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
    if options.command.is_empty() {
        return wrong("CMD", "no command; say launch [OPTIONS] -- CMD [ARG...]");
    }
    check_name("--hostname", options.host_name.as_deref())?;
    check_name("--domainname", options.domain_name.as_deref())?;
    if options.share.contains(&Share::Uts) && (options.host_name.is_some() || options.domain_name.is_some()) {
        return wrong("--share uts", "a host or domain name would change the caller's own");
    }
    if options.share.contains(&Share::User) {
        if caller.capabilities & 1 << CAP_SYS_ADMIN == 0 {
            return wrong(
                "--share user",
                "only a caller with CAP_SYS_ADMIN can make namespaces without a new user one",
            );
        }
        // To keep the caller's ids is what it comes to.
        if !matches!(options.identity, Identity::Root | Identity::Keep) {
            return wrong("--share user", "ids can only be chosen in a user namespace of its own");
        }
    }
    let ids = match options.identity {
        Identity::Ids { uid, gid } => [uid, gid],
        _ => [None, None],
    };
    for (option, id) in ["--uid", "--gid"].into_iter().zip(ids) {
        if id == Some(u32::MAX) {
            return wrong(option, "is no id: they go from 0 to 4294967294");
        }
    }
    if let Identity::Maps { users, groups } = &options.identity {
        check_map(Kind::Users, users)?;
        check_map(Kind::Groups, groups)?;
    }
    check_privileges(options)?;
    check_long_life(options)?;
    let has_queues = |step: &Step| matches!(step, Step::Mount { what: FileSystem::MessageQueue, .. });
    if options.share.contains(&Share::Ipc)
        && !options.share.contains(&Share::User)
        && options.files.iter().any(has_queues)
    {
        return wrong("--mqueue", "shows the queues of an IPC namespace of its own: leave out --share ipc");
    }
    if let Some(volatile) = &options.volatile {
        let option = if *volatile == Volatile::Discard { "--volatile" } else { "--keep" };
        if options.read_only {
            return wrong(option, "makes all of / writable, and --read-only nothing: leave one out");
        }
        if options.root.as_ref().is_some_and(|root| root.writable) {
            return wrong(option, "writes to layers above the --rootfs, never to it: leave :rw out");
        }
    }
    if options.tmp == (Tmp::Fresh { size: Some(0) }) {
        return wrong("--tmp-size", "must be more than nothing");
    }
    check_variables(&options.set)
}

pub(super) fn check_variables(set: &[(OsString, OsString)]) -> Result<(), Error> {
    for (key, _) in set {
        if key.is_empty() || key.as_bytes().contains(&b'=') {
            return Err(Error::Option(
                "--env".into(),
                format!("{:?} is no name of a variable", key.display().to_string()),
            ));
        }
    }
    Ok(())
}

fn check_privileges(options: &Options) -> Result<(), Error> {
    let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
    if options.no_user_namespaces && options.share.contains(&Share::User) {
        return wrong("--disable-userns", "would hold for the whole machine with --share user");
    }
    if options.no_user_namespaces && options.capabilities.add & 1 << CAP_SYS_RESOURCE != 0 {
        return wrong(
            "--disable-userns",
            "could be undone with CAP_SYS_RESOURCE; --cap-add must not have it, nor ALL",
        );
    }
    let account = options.user.iter();
    let mut names = account.flat_map(|user| [&user.user].into_iter().chain(&user.group).chain(&user.groups));
    if names.any(|name| *name == Name::Id(u32::MAX)) {
        return wrong("--user", "4294967295 is no id: they go from 0 to 4294967294");
    }
    if options.limits.iter().any(|limit| limit.soft > limit.hard) {
        return wrong("--rlimit", "a soft limit is above its hard one");
    }
    if options.oom_score.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return wrong("--oom-score-adj", "goes from -1000 to 1000");
    }
    if options.niceness.is_some_and(|value| !(-20..=19).contains(&value)) {
        return wrong("--nice", "goes from -20 to 19");
    }
    if options.umask.is_some_and(|mask| mask > 0o777) {
        return wrong("--umask", "goes from 0 to 777");
    }
    Ok(())
}

fn check_long_life(options: &Options) -> Result<(), Error> {
    let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
    let no_time = |option, time: Option<Duration>| match time {
        Some(Duration::ZERO) => wrong(option, "must be more than no time"),
        _ => Ok(()),
    };
    if options.restart != Restart::No && options.group == Group::Session {
        return wrong("--restart", "the terminal of --tty is one run's: leave one of the two out");
    }
    if options.health.as_ref().is_some_and(|health| health.restarts) && options.group == Group::Session {
        return wrong("--health-restart", "the terminal of --tty is one run's: leave one of the two out");
    }
    if !(1..=64).contains(&options.stop_signal) {
        return wrong("--stop-signal", "signals go from 1 to 64");
    }
    match &options.ready {
        Ready::Descriptor(fd @ ..=2) => {
            return wrong("--ready", &format!("descriptor {fd} is the workload's stdin, stdout or stderr"));
        }
        Ready::Descriptor(fd) if options.descriptors().contains(fd) => {
            let reason =
                format!("descriptor {fd} is one of the caller's that is handed on; choose another number");
            return wrong("--ready", &reason);
        }
        Ready::Command(command) if command.is_empty() => return wrong("--ready", "exec: names no command"),
        _ => {}
    }
    no_time("--ready-timeout", options.ready_timeout)?;
    if options.ready_timeout.is_some() && options.ready == Ready::Started {
        return wrong("--ready-timeout", "says nothing without --ready");
    }
    no_time("--watchdog", options.watchdog)?;
    let Some(health) = &options.health else { return Ok(()) };
    if health.command.is_empty() {
        return wrong("--health-cmd", "is empty");
    }
    no_time("--health-interval", Some(health.interval))?;
    no_time("--health-timeout", Some(health.timeout))?;
    if health.retries == 0 {
        return wrong("--health-retries", "must be at least 1");
    }
    Ok(())
}

fn check_name(option: &str, name: Option<&OsStr>) -> Result<(), Error> {
    let Some(name) = name else { return Ok(()) };
    let reason = match name.len() {
        0 => "is empty".into(),
        length if length > LONGEST_NAME => {
            format!("{length} bytes are more than the {LONGEST_NAME} a name may have")
        }
        _ if name.as_bytes().contains(&0) => "has a NUL byte".into(),
        _ => return Ok(()),
    };
    Err(Error::Option(option.into(), reason))
}
