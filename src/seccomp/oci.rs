//! Profiles in JSON, as the OCI runtime specification has them (config-linux.md, "Seccomp") and as Docker and Podman
//! write them, with `archMap`, `includes` and `excludes`. Reading the file is the caller's work.
//!
//! Where rules of one system call contradict each other: a rule without `args` beats those with some, and of several
//! such the first counts, as with libseccomp. Of rules with `args` the first that fits counts (libseccomp leaves
//! that open). A rule that says what the default says is left out, as runc and crun do. Of a rule that has several
//! conditions on one argument any has to hold, again as there; of others all have to.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use launch_init::parse::CAPABILITIES;
use nix::errno::Errno;
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use serde::Deserialize;

use super::abi::{Abi, Machine};
use super::compile::{Decision, Table, library, program};
use super::{Facts, Filter, Wrong};

/// Keys that aren't here are ignored, such as comments, and what only matters for a listener or for the log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    names: Option<Vec<String>>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    includes: Option<When>,
    excludes: Option<When>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct When {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// A rule that applies here.
struct Rule<'a> {
    names: Vec<&'a str>,
    action: SeccompAction,
    /// Any of these has to hold, and of one all conditions.
    alternatives: Vec<Vec<Condition>>,
}

struct Condition {
    index: u8,
    op: SeccompCmpOp,
    value: u64,
}

/// Arguments of which the kernel takes 32 bits only, as their types in its SYSCALL_DEFINE say. The rest of the
/// register says nothing, and must not lead past a comparison (CVE-2019-10063).
const SHORT_ARGUMENTS: [(&str, u8); 10] = [
    ("clone", 0),
    ("fcntl", 1),
    ("ioctl", 1),
    ("keyctl", 0),
    ("personality", 0),
    ("prctl", 0),
    ("socket", 0),
    ("socket", 1),
    ("socket", 2),
    ("socketpair", 0),
];

/// The numbers of socketcall(2); linux/net.h.
const SOCKET_CALLS: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// The numbers of ipc(2); linux/ipc.h.
const IPC_CALLS: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// The largest that the kernel returns; linux/err.h, MAX_ERRNO.
const LARGEST_ERRNO: u32 = 4095;

/// The filter that a profile asks for. Any other architecture than those it names kills the process; the machine's
/// own needs no naming. x32 is refused even if it is named. A name that an ABI has no system call of is skipped.
///
/// # Errors
/// [`Wrong`]
#[cold]
pub(super) fn filter(machine: &Machine, text: &str, facts: &Facts) -> Result<Filter, Wrong> {
    let profile: Profile = serde_json::from_str(text)
        .map_err(|error| Wrong::at("", format!("not a seccomp profile in JSON: {error}")))?;
    let (errno, number) = (profile.default_errno.as_deref(), profile.default_errno_ret);
    let default = action(None, &profile.default_action, errno, number)?;
    let rules = rules(&profile, &default, machine, facts)?;
    let mut tables = vec![(machine.native, table(machine.native, &rules, &default)?)];
    if wants_compatible(&profile, machine)? {
        tables.push((machine.compatible, table(machine.compatible, &rules, &default)?));
    }
    if !may_execute(machine.native, &tables[0].1) {
        return Err(Wrong::at("syscalls", "execve is refused, so no program could be started; allow it"));
    }
    program(&tables, &SeccompAction::KillProcess)
}

fn may_execute(abi: &Abi, table: &Table) -> bool {
    let permits = |action: &SeccompAction| matches!(action, SeccompAction::Allow | SeccompAction::Log);
    match table.calls.get(&abi.execve) {
        None => permits(&table.default),
        Some(Decision::Always(action)) => permits(action),
        // Arguments that fit may be among those of the command.
        Some(Decision::ByArguments(rules)) => {
            permits(&table.default) || rules.iter().any(|(_, action)| permits(action))
        }
    }
}

/// Whether programs of the machine's other ABI may run.
fn wants_compatible(profile: &Profile, machine: &Machine) -> Result<bool, Wrong> {
    let named = profile.architectures.as_deref().unwrap_or_default();
    let map = profile.arch_map.as_deref().unwrap_or_default();
    if !named.is_empty() && !map.is_empty() {
        return Err(Wrong::at("archMap", "there is architectures too; use one of them"));
    }
    for (i, name) in named.iter().enumerate() {
        if !name.starts_with("SCMP_ARCH_") {
            let reason =
                format!("{name:?} is no architecture; they are named like {}", machine.native.architecture);
            return Err(Wrong::at(format!("architectures[{i}]"), reason));
        }
    }
    let of_map = map.iter().filter(|entry| entry.architecture == machine.native.architecture);
    let mut all = of_map.flat_map(|entry| entry.sub_architectures.iter().flatten()).chain(named);
    Ok(all.any(|name| name == machine.compatible.architecture))
}

fn rules<'a>(
    profile: &'a Profile,
    default: &SeccompAction,
    machine: &Machine,
    facts: &Facts,
) -> Result<Vec<Rule<'a>>, Wrong> {
    let mut rules = Vec::new();
    for (i, entry) in profile.syscalls.iter().flatten().enumerate() {
        // All of it is checked even if it doesn't apply: whether a profile is right depends on no machine.
        let action = action(Some(i), &entry.action, entry.errno.as_deref(), entry.errno_ret)?;
        let alternatives = alternatives(i, entry.args.as_deref().unwrap_or_default())?;
        if applies(i, entry, machine, facts)? && action != *default {
            let names = entry.names.iter().flatten().chain(&entry.name).map(String::as_str).collect();
            rules.push(Rule { names, action, alternatives });
        }
    }
    Ok(rules)
}

/// Something about an action that is wrong: of the entry of this index, or of the default.
fn wrong_action(entry: Option<usize>, key: &str, reason: String) -> Wrong {
    let place = match (entry, key) {
        (Some(i), key) => format!("syscalls[{i}].{key}"),
        (None, "errno") => "defaultErrno".into(),
        (None, "errnoRet") => "defaultErrnoRet".into(),
        (None, _) => "defaultAction".into(),
    };
    Wrong { place, reason }
}

fn action(
    entry: Option<usize>,
    name: &str,
    errno: Option<&str>,
    number: Option<u32>,
) -> Result<SeccompAction, Wrong> {
    let wrong = |reason: &str| Err(wrong_action(entry, "action", format!("{name:?} {reason}")));
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno_of(entry, errno, number)?),
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRACE" => {
            return wrong("needs a tracer, and there is none; use SCMP_ACT_ERRNO or SCMP_ACT_LOG");
        }
        "SCMP_ACT_NOTIFY" => {
            return wrong("needs a listener, and there is none; use SCMP_ACT_ERRNO or SCMP_ACT_LOG");
        }
        _ => {
            return wrong(
                "is no action; known are SCMP_ACT_ALLOW, ERRNO, KILL, KILL_PROCESS, KILL_THREAD, LOG and TRAP",
            );
        }
    })
}

/// The name goes first, as in Podman, then the number, then EPERM.
fn errno_of(entry: Option<usize>, name: Option<&str>, number: Option<u32>) -> Result<u32, Wrong> {
    match (name, number) {
        (Some(name), _) if !name.is_empty() => by_name(name)
            .ok_or_else(|| wrong_action(entry, "errno", format!("{name:?} is no errno; see errno(3)"))),
        (_, Some(number)) if number > LARGEST_ERRNO => Err(wrong_action(
            entry,
            "errnoRet",
            format!("{number} is no errno; the largest is {LARGEST_ERRNO}"),
        )),
        (_, number) => Ok(number.unwrap_or(libc::EPERM as u32)),
    }
}

fn by_name(name: &str) -> Option<u32> {
    // Second names, which nix has as constants only.
    let name = match name {
        "EWOULDBLOCK" => "EAGAIN",
        "ENOTSUP" => "EOPNOTSUPP",
        "EDEADLOCK" => "EDEADLK",
        name => name,
    };
    let known = (1..=libc::EHWPOISON).map(Errno::from_raw).filter(|errno| *errno != Errno::UnknownErrno);
    known.into_iter().find(|errno| format!("{errno:?}") == name).map(|errno| errno as u32)
}

fn alternatives(entry: usize, arguments: &[Argument]) -> Result<Vec<Vec<Condition>>, Wrong> {
    let mut conditions = Vec::new();
    for (i, argument) in arguments.iter().enumerate() {
        if argument.index > 5 {
            let reason = format!("{} is too large; a system call has arguments 0 to 5", argument.index);
            return Err(Wrong::at(format!("syscalls[{entry}].args[{i}].index"), reason));
        }
        let (op, value) = match argument.op.as_str() {
            "SCMP_CMP_NE" => (SeccompCmpOp::Ne, argument.value),
            "SCMP_CMP_LT" => (SeccompCmpOp::Lt, argument.value),
            "SCMP_CMP_LE" => (SeccompCmpOp::Le, argument.value),
            "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, argument.value),
            "SCMP_CMP_GE" => (SeccompCmpOp::Ge, argument.value),
            "SCMP_CMP_GT" => (SeccompCmpOp::Gt, argument.value),
            "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two.unwrap_or(0)),
            op => {
                let reason = format!(
                    "{op:?} is no comparison; known are SCMP_CMP_NE, LT, LE, EQ, GE, GT and MASKED_EQ"
                );
                return Err(Wrong::at(format!("syscalls[{entry}].args[{i}].op"), reason));
            }
        };
        conditions.push(Condition { index: argument.index, op, value });
    }
    let repeats =
        (1..conditions.len()).any(|i| conditions[..i].iter().any(|other| other.index == conditions[i].index));
    Ok(if repeats {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    })
}

/// `includes`: all that it names must be so (of the architectures one); `excludes`: nothing of it may.
fn applies(index: usize, entry: &Entry, machine: &Machine, facts: &Facts) -> Result<bool, Wrong> {
    // A capability that isn't known is too new to be given.
    let has = |name: &String| {
        CAPABILITIES
            .iter()
            .position(|known| name.strip_prefix("CAP_") == Some(known))
            .is_some_and(|bit| facts.capabilities & 1 << bit != 0)
    };
    let is_new_enough = |key: &str, when: &When| match when.min_kernel.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match version(text) {
            Some(version) => Ok(Some(facts.kernel >= version)),
            None => {
                let reason = format!("{text:?} is no version of the kernel; they are written like 4.8");
                Err(Wrong::at(format!("syscalls[{index}].{key}.minKernel"), reason))
            }
        },
    };
    let mut applies = true;
    if let Some(when) = &entry.includes {
        let arches = when.arches.as_deref().unwrap_or_default();
        applies &= arches.is_empty() || arches.iter().any(|arch| arch == machine.name);
        applies &= when.caps.iter().flatten().all(has);
        applies &= is_new_enough("includes", when)? != Some(false);
    }
    if let Some(when) = &entry.excludes {
        applies &= !when.arches.iter().flatten().any(|arch| arch == machine.name);
        applies &= !when.caps.iter().flatten().any(has);
        applies &= is_new_enough("excludes", when)? != Some(true);
    }
    Ok(applies)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// What the rules say about one ABI's system calls.
fn table(abi: &Abi, rules: &[Rule<'_>], default: &SeccompAction) -> Result<Table, Wrong> {
    let numbers: HashMap<&str, u32> = (abi.names)().into_iter().collect();
    let mut calls = BTreeMap::new();
    for rule in rules {
        for name in &rule.names {
            if let Some(number) = numbers.get(name) {
                for conditions in &rule.alternatives {
                    add(&mut calls, *number, compiled(abi, name, conditions)?, &rule.action);
                }
            }
            // Conditions are left out there: what they are on lies in memory, out of a filter's sight.
            let is_always = rule.alternatives.iter().any(Vec::is_empty);
            if abi.has_multiplexers && is_always {
                for (multiplexer, calls_of_it, mask) in
                    [("socketcall", &SOCKET_CALLS[..], u32::MAX), ("ipc", &IPC_CALLS[..], 0xffff)]
                {
                    let Some(number) = numbers.get(multiplexer) else { continue };
                    let Some((_, call)) = calls_of_it.iter().find(|(of_it, _)| of_it == name) else {
                        continue;
                    };
                    let condition = Condition {
                        index: 0,
                        op: SeccompCmpOp::MaskedEq(mask.into()),
                        value: (*call).into(),
                    };
                    add(&mut calls, *number, compiled(abi, multiplexer, &[condition])?, &rule.action);
                }
            }
        }
    }
    Ok(Table { calls, default: default.clone(), refuse_x32: abi.has_x32 })
}

/// Adds a rule behind those that are there; one without conditions takes their place.
fn add(calls: &mut BTreeMap<u32, Decision>, number: u32, rule: Option<SeccompRule>, action: &SeccompAction) {
    match (calls.get_mut(&number), rule) {
        (Some(Decision::Always(_)), _) => {}
        (_, None) => {
            calls.insert(number, Decision::Always(action.clone()));
        }
        (Some(Decision::ByArguments(rules)), Some(rule)) => rules.push((rule, action.clone())),
        (None, Some(rule)) => {
            calls.insert(number, Decision::ByArguments(vec![(rule, action.clone())]));
        }
    }
}

/// No rule if there are no conditions.
fn compiled(abi: &Abi, name: &str, conditions: &[Condition]) -> Result<Option<SeccompRule>, Wrong> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let condition = |Condition { index, op, value }: &Condition| {
        let is_short = !abi.is_wide || SHORT_ARGUMENTS.contains(&(name, *index));
        let length = if is_short { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
        SeccompCondition::new(*index, length, op.clone(), *value).map_err(library)
    };
    let conditions = conditions.iter().map(condition).collect::<Result<_, _>>()?;
    SeccompRule::new(conditions).map(Some).map_err(library)
}
