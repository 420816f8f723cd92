//! What init does before the workload starts: its steps, one by one.
//!
//! Where on the caller's disk a step makes something, grounds.rs knows.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Write;

use launch_init::handoff::{FileSystem, Overlay, Root, Source, Step, Upper};
use serde_json::{Value, json};

use super::grounds::Grounds;
use super::spelling::{in_units, octal, spelled};

/// A step of the set-up, on what those before it have made.
pub(super) fn set_up(step: &Step, grounds: &Grounds) -> (String, Value) {
    let text = |path: &OsStr| path.to_string_lossy().into_owned();
    match step {
        Step::HostName(name) => {
            ("is set".into(), json!({ "action": "host_name", "name": spelled(name) }))
        }
        Step::DomainName(name) => {
            ("is set".into(), json!({ "action": "domain_name", "name": spelled(name) }))
        }
        Step::LoopbackUp => (
            "the new network has only a loopback interface, and it is up".into(),
            json!({ "action": "loopback_up" }),
        ),
        Step::TimeNamespace => (
            "a time namespace for the workload and all that it starts".into(),
            json!({ "action": "time_namespace" }),
        ),
        Step::PrivateMounts => (
            "from here on no mount or unmount spreads, neither in nor out".into(),
            json!({ "action": "private_mounts" }),
        ),
        Step::NoUserNamespaces => (
            "is 0: making a user namespace inside is refused from here on (ENOSPC)".into(),
            json!({ "action": "no_user_namespaces" }),
        ),
        Step::Root(root) => {
            let (words, details) = new_root(root);
            (words, json!({ "action": "root", "root": details }))
        }
        Step::ReadOnly => (
            "and all that is mounted below it: writing is refused (EROFS), but for what the steps below mount".into(),
            json!({ "action": "read_only" }),
        ),
        Step::Mount { what, at } => {
            let (words, details) = file_system(what);
            let (made, on_disk) = grounds.in_words(at);
            let action = json!({
                "action": "mount", "at": spelled(at), "what": details, "made_on_disk": on_disk,
            });
            (format!("{words}{made}"), action)
        }
        Step::Directory { path, mode } => {
            let (made, on_disk) = grounds.in_words(path);
            let action = json!({
                "action": "directory", "path": spelled(path), "mode": octal(*mode), "made_on_disk": on_disk,
            });
            (format!("with those above it, mode {}; one that exists stays as it is{made}", octal(*mode)), action)
        }
        Step::Symlink { target, path } => {
            let (made, on_disk) = grounds.in_words(path);
            let action = json!({
                "action": "symlink", "path": spelled(path), "target": spelled(target), "made_on_disk": on_disk,
            });
            (format!("leads to {}{made}", text(target)), action)
        }
        Step::Copy { source, path } => {
            let (made, on_disk) = grounds.in_words(path);
            let action = json!({
                "action": "copy", "path": spelled(path), "source": spelled(source), "made_on_disk": on_disk,
            });
            (format!("a file like the caller's {}, if it exists{made}", text(source)), action)
        }
        Step::Mask(path) => (
            "hidden behind an empty one, which only root may read; one that is missing needs none".into(),
            json!({ "action": "mask", "path": spelled(path) }),
        ),
        Step::RemountReadOnly(path) => (
            "writing is refused from here on (EROFS)".into(),
            json!({ "action": "remount_read_only", "path": spelled(path) }),
        ),
        Step::EnterRoot => (
            "the new root becomes /, and the caller's is gone".into(),
            json!({ "action": "enter_root" }),
        ),
        Step::Pty { callers } => {
            let hidden = callers.as_ref().map_or_else(String::new, |name| format!("; {} is hidden", text(name)));
            (
                format!("a pseudo-terminal of the sandbox's own{hidden}"),
                json!({ "action": "pty", "callers": callers.as_ref().map(|name| spelled(name)) }),
            )
        }
        Step::ChangeDirectory(path) => (
            "the workload starts there".into(),
            json!({ "action": "change_directory", "path": spelled(path) }),
        ),
        Step::KeepDirectory(path) => (
            "the workload starts there, in the caller's own, or in / where a mount hides it".into(),
            json!({ "action": "keep_directory", "path": spelled(path) }),
        ),
        Step::FindDirectory(path) => (
            "the workload starts in what has this name inside, or else in /".into(),
            json!({ "action": "find_directory", "path": spelled(path) }),
        ),
    }
}

fn new_root(root: &Root) -> (String, Value) {
    match root {
        Root::Directory { path, writable } => (
            format!(
                "the sandbox's root is this directory of the caller's, with all below it, {}",
                if *writable { "writable" } else { "read-only: writing is refused (EROFS)" }
            ),
            json!({ "kind": "directory", "path": spelled(path), "writable": writable }),
        ),
        Root::Overlay(layers) => {
            let (words, details) = overlay(layers);
            (format!("the sandbox's root is {words}"), details)
        }
        Root::Empty => ("the sandbox's root is an empty tmpfs".into(), json!({ "kind": "empty" })),
    }
}

fn file_system(what: &FileSystem) -> (String, Value) {
    match what {
        FileSystem::Bind { source, read_only, devices, optional } => {
            let (what, source) = match source {
                Source::Path(path) => {
                    (format!("the caller's {}", path.display()), json!({ "path": spelled(path) }))
                }
                Source::Descriptor(number) => {
                    (format!("what descriptor {number} stands for"), json!({ "descriptor": number }))
                }
            };
            let access = if *read_only { "read-only" } else { "writable" };
            let devices_work = if *devices { "; device files work" } else { "" };
            let if_it_exists = if *optional { "; if it exists" } else { "" };
            (
                format!("{what}, with all below it, {access}{devices_work}{if_it_exists}"),
                json!({
                    "kind": "bind", "source": source, "read_only": read_only, "devices": devices,
                    "optional": optional,
                }),
            )
        }
        FileSystem::Tmpfs { size, mode } => {
            let most = size.map_or_else(|| "half of the memory".into(), in_units);
            (
                format!("an empty tmpfs, mode {}, of at most {most}", octal(*mode)),
                json!({ "kind": "tmpfs", "size": size, "mode": octal(*mode) }),
            )
        }
        FileSystem::Overlay(layers) => overlay(layers),
        FileSystem::Proc { masked, hide_pids, only_pids } => {
            let mut words = String::from("a proc of the sandbox's processes");
            if *masked {
                words.push_str("; what shows or changes the whole machine is hidden or read-only");
            }
            if let Some(mode) = hide_pids {
                let _ = write!(words, "; hidepid={mode}");
            }
            if *only_pids {
                words.push_str("; nothing but the processes");
            }
            let details =
                json!({ "kind": "proc", "masked": masked, "hide_pids": hide_pids, "only_pids": only_pids });
            (words, details)
        }
        FileSystem::Dev => (
            "a tmpfs with the devices that every program expects, and no other; pts and shm".into(),
            json!({ "kind": "dev" }),
        ),
        FileSystem::MessageQueue => {
            ("the message queues of the IPC namespace".into(), json!({ "kind": "message_queue" }))
        }
        FileSystem::File { descriptor } => (
            format!("a file with what descriptor {descriptor} gives until its end"),
            json!({ "kind": "file", "descriptor": descriptor }),
        ),
    }
}

fn overlay(layers: &Overlay) -> (String, Value) {
    let Overlay { lower, optional, upper } = layers;
    let names: Vec<_> = lower.iter().map(|directory| directory.to_string_lossy()).collect();
    let (changes, upper) = match upper {
        Upper::None => ("writing is refused (EROFS)".into(), json!({ "kind": "none" })),
        Upper::Discarded => {
            ("what is written is gone with the sandbox".into(), json!({ "kind": "discarded" }))
        }
        Upper::Kept { upper, work } => (
            format!("what is written goes to the caller's {}", upper.display()),
            json!({ "kind": "kept", "upper": spelled(upper), "work": spelled(work) }),
        ),
    };
    let missing = if *optional { ", if it exists" } else { "" };
    let lower: Vec<_> = lower.iter().map(|directory| spelled(directory)).collect();
    (
        format!("the caller's {} as one{missing}; {changes}", names.join(" over ")),
        json!({ "kind": "overlay", "lower": lower, "optional": optional, "upper": upper }),
    )
}
