//! What becomes of the workload's process until it is the workload.
//!
//! What init does around it is set_up.rs's to say before, and look_after.rs's after.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use launch_init::handoff::{
    Account, CapabilitySets, Descriptors, Group, Instruction, Limit, Name, SignalState, Workload,
};
use launch_init::parse::variable_name;
use launch_init::signals;
use serde_json::{Value, json};

use super::spelling::{capabilities_in, limit, octal, spelled};
use super::{By, Explained};

/// What the workload's process does before it is the workload, in spawn.rs's order.
pub(super) fn start(workload: &Workload) -> Vec<Explained> {
    let Workload {
        command,
        environment,
        signals: SignalState { mask, ignore_pipe, ignore_child },
        descriptors,
        group,
        user,
        parent_death_signal,
        capabilities,
        no_new_privileges,
        filters,
        limits,
        oom_score,
        niceness,
        umask,
    } = workload;
    let mut steps = Vec::new();
    let mut step = |object: &str, words: String, details: Value| {
        steps.push(Explained::new(By::Workload, "workload", object, words, details));
    };
    let (object, words, details) = process_group(*group);
    step(object, words, details);
    for (name, is_ignored) in [("SIGPIPE", ignore_pipe), ("SIGCHLD", ignore_child)] {
        let words = if *is_ignored { "is ignored, as by the caller" } else { "has its default" };
        step(name, words.into(), json!({ "ignored": is_ignored }));
    }
    let (words, details) = match descriptors {
        Descriptors::Inherited => ("all that init has".into(), json!({ "inherited": true })),
        Descriptors::Only(keep) => {
            let numbers: String = keep.iter().filter(|fd| **fd > 2).map(|fd| format!(", {fd}")).collect();
            (format!("0, 1, 2{numbers}; every other is closed"), json!({ "inherited": false, "keep": keep }))
        }
    };
    step("descriptors", words, details);
    if let Some(umask) = umask {
        step("umask", octal(*umask), json!({ "umask": octal(*umask) }));
    }
    for Limit { resource, soft, hard } in limits {
        let name = limit(*resource);
        let value = |value: u64| if value == u64::MAX { "unlimited".into() } else { value.to_string() };
        let number = |value: u64| if value == u64::MAX { Value::Null } else { value.into() };
        step(
            &name,
            format!("at most {}, which it may raise to {}", value(*soft), value(*hard)),
            json!({ "resource": resource, "name": name, "soft": number(*soft), "hard": number(*hard) }),
        );
    }
    if let Some(nice) = niceness {
        step("nice", nice.to_string(), json!({ "nice": nice }));
    }
    if let Some(score) = oom_score {
        step("oom_score_adj", score.to_string(), json!({ "oom_score_adj": score }));
    }
    if let Some(CapabilitySets { allowed, .. }) = capabilities {
        let allowed = capabilities_in(*allowed);
        let words = match allowed.is_empty() {
            true => "no capability can ever be had".into(),
            false => format!("no other capability can ever be had than {}", allowed.join(", ")),
        };
        step("bounding set", words, json!({ "allowed": allowed }));
    }
    if let Some(Account { user, group, groups }) = user {
        let (words, details) = account(user, group.as_ref(), groups);
        step("user", words, details);
    }
    if let Some(CapabilitySets { ambient, .. }) = capabilities {
        let ambient = capabilities_in(*ambient);
        let words = match ambient.is_empty() {
            true => "inheritable and ambient: none".into(),
            false => format!("inheritable and ambient: {}, for one who is not root", ambient.join(", ")),
        };
        step("capabilities", words, json!({ "ambient": ambient }));
    }
    if let Some(signal) = parent_death_signal {
        step(
            "PR_SET_PDEATHSIG",
            format!("{} when init ends", signals::name(*signal)),
            json!({ "signal": signal }),
        );
    }
    if *no_new_privileges {
        let words = "no exec gives it more rights than it has: setuid programs run without";
        step("no_new_privs", words.into(), json!({ "no_new_privs": true }));
    }
    for filter in filters {
        let instructions = <[Instruction]>::len(filter);
        step(
            "seccomp",
            format!("a filter of system calls, {instructions} instructions"),
            json!({ "instructions": instructions }),
        );
    }
    let blocked: Vec<_> = (1..=64).filter(|n| mask & 1 << (n - 1) != 0).map(signals::name).collect();
    let words = if blocked.is_empty() { "none".into() } else { format!("blocked: {}", blocked.join(", ")) };
    step("signal mask", words, json!({ "blocked": blocked }));
    steps.push(exec(command, environment));
    steps
}

fn process_group(group: Group) -> (&'static str, String, Value) {
    match group {
        Group::Own { foreground } => (
            "process group",
            format!("of its own{}", if foreground { ", in the terminal's foreground" } else { "" }),
            json!({ "kind": "own", "foreground": foreground }),
        ),
        Group::Callers => ("process group", "the caller's".into(), json!({ "kind": "callers" })),
        Group::Session => {
            ("session", "of its own, on the sandbox's terminal".into(), json!({ "kind": "session" }))
        }
    }
}

fn account(user: &Name, group: Option<&Name>, groups: &[Name]) -> (String, Value) {
    let words = |name: &Name| match name {
        Name::Id(id) => id.to_string(),
        Name::Named(name) => format!("{name:?}"),
    };
    let data = |name: &Name| match name {
        Name::Id(id) => json!(id),
        Name::Named(name) => json!(name),
    };
    let others: Vec<_> = groups.iter().map(words).collect();
    (
        format!(
            "{}, group {}, {}; names are those of the inside's own /etc/passwd and /etc/group",
            words(user),
            group.map_or_else(|| "of its entry there".into(), words),
            if others.is_empty() {
                "no other groups".into()
            } else {
                format!("groups {}", others.join(", "))
            }
        ),
        json!({
            "user": data(user), "group": group.map(data), "groups": groups.iter().map(data).collect::<Vec<_>>(),
        }),
    )
}

/// The environment may hold secrets: its names alone.
fn exec(command: &[OsString], environment: &[OsString]) -> Explained {
    let name = command.first().cloned().unwrap_or_default();
    let variables: Vec<_> = environment.iter().map(|variable| spelled(variable_name(variable))).collect();
    let arguments: Vec<_> = command.iter().map(|argument| argument.to_string_lossy()).collect();
    let found = if name.as_bytes().contains(&b'/') { "" } else { ", looked for in its PATH" };
    let words = match variables.as_slice() {
        [] => format!("{arguments:?}{found}; its environment is empty"),
        names => format!("{arguments:?}{found}; its environment: {}", names.join(" ")),
    };
    let arguments: Vec<_> = command.iter().map(|argument| spelled(argument)).collect();
    Explained::new(
        By::Workload,
        "exec",
        name,
        words,
        json!({ "command": arguments, "environment": variables }),
    )
}
