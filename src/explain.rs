//! What a plan will do, step by step: Plan → words, or data (`--explain`).
//!
//! It is the plan itself that is printed. Every struct is taken apart and every variant matched, so that the compiler
//! names this file when a plan gets something new. docs/explain.md describes the form.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use launch_init::handoff::{
    self, Account, CapabilitySets, Descriptors, FileSystem, Group, Instruction, Limit, Name, Overlay, Probes,
    Root, SignalState, Source, Step, Upper, Workload,
};
use launch_init::parse::{CAPABILITIES, LIMITS, variable_name};
use launch_init::signals;
use launch_init::supervisor::{Health, Leftovers, Policy, Readiness, Restart};
use serde_json::{Value, json};

use crate::error::printable;
use crate::plan::{IdMap, IdMaps, InitIds, KeptLayers, Plan, Writer, kinds_of, names_of};
use crate::subids::Kind;

/// The version of the data's form: another one where a reader of the former would misread it.
pub const VERSION: u32 = 1;

/// The steps' names and objects stand in a column, but for those that are longer than this, in characters.
const WIDEST: usize = 36;

/// The plan in words, a line a step in the order in which they are carried out, below a heading for each process that
/// does so. No line has anything in it that a terminal would obey.
pub fn words(plan: &Plan) -> String {
    let steps = explain(plan);
    let titles: Vec<String> = steps.iter().map(Explained::title).collect();
    let lengths = titles.iter().map(|title| title.chars().count());
    let column = lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
    let digits = steps.len().to_string().len();
    let mut text = String::new();
    let mut doer = None;
    for ((number, step), title) in (1..).zip(&steps).zip(&titles) {
        if doer.replace(step.by) != Some(step.by) {
            let _ = writeln!(text, "{}:", step.by.in_words());
        }
        let line = format!("{number:>digits$}  {title:column$}  {}", step.words);
        text.push_str(&printable(&line));
        text.push('\n');
    }
    text
}

/// The plan as data: one JSON object in one line; see docs/explain.md. Of the environment it has the names alone.
pub fn json(plan: &Plan) -> String {
    let steps: Vec<Value> = (1..)
        .zip(explain(plan))
        .map(|(number, step)| {
            json!({
                "number": number,
                "by": step.by.name(),
                "step": step.name,
                "object": spelled(&step.object),
                "words": step.words,
                "details": step.details,
            })
        })
        .collect();
    let mut text = json!({ "version": VERSION, "steps": steps }).to_string();
    text.push('\n');
    text
}

/// Any bytes as text, in the options' own spelling of a path (spec.rs): a backslash is `\\`, and a byte that is not
/// UTF-8 is `\xHH`.
pub fn spelled(text: &OsStr) -> String {
    let mut spelled = String::with_capacity(text.len());
    for chunk in text.as_bytes().utf8_chunks() {
        spelled.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            let _ = write!(spelled, "\\x{byte:02x}"); // A String takes all that is written to it.
        }
    }
    spelled
}

/// Who carries a step out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Launcher,
    Init,
    Workload,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Launcher => "launcher",
            Self::Init => "init",
            Self::Workload => "workload",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Launcher => "the launcher",
            Self::Init => "init, PID 1 inside",
            Self::Workload => "the process that becomes the command",
        }
    }
}

/// A step, with the name and object that its error has.
#[derive(Debug)]
struct Explained {
    by: By,
    name: &'static str,
    object: OsString,
    words: String,
    details: Value,
}

impl Explained {
    fn new(
        by: By,
        name: &'static str,
        object: impl AsRef<OsStr>,
        words: impl Into<String>,
        details: Value,
    ) -> Self {
        Self { by, name, object: object.as_ref().into(), words: words.into(), details }
    }

    fn title(&self) -> String {
        let object = if self.object.is_empty() { "''".into() } else { self.object.to_string_lossy() };
        printable(&format!("{} {object}", self.name))
    }
}

fn explain(plan: &Plan) -> Vec<Explained> {
    let Plan { namespaces, maps, init_capabilities, init_ids, kept: layers, warnings: _, init } = plan;
    // What is made ahead is explained by nobody: no command line asks for it.
    let handoff::Plan {
        log_level,
        steps,
        workload,
        policy,
        probes,
        report_namespaces,
        is_on_one_processor: _,
        ahead: _,
    } = init;
    let mut explained = kept(&workload.descriptors);
    explained.extend(layers.iter().map(kept_layers));
    explained.push(clone(*namespaces, maps.is_some(), init_capabilities));
    explained.extend(maps.iter().flat_map(id_maps));
    explained.push(Explained::new(
        By::Launcher,
        "handoff",
        "plan",
        "init is told all that follows",
        json!({
            "log_level": log_level,
            "report_namespaces": report_namespaces,
            "tells": policy.tells,
            "dies_with_launcher": policy.dies_with_launcher,
        }),
    ));
    explained.extend(ids(*init_ids));
    let mut grounds = Grounds::default();
    for step in steps {
        let (words, details) = set_up(step, &grounds);
        explained.push(Explained::new(By::Init, step.name(), step.object(), words, details));
        grounds.after(step);
    }
    explained.extend(start(workload));
    explained.extend(look_after(policy, probes));
    explained
}

fn kept(descriptors: &Descriptors) -> Vec<Explained> {
    let numbers = match descriptors {
        Descriptors::Inherited => &[][..],
        Descriptors::Only(keep) => keep,
    };
    let explain = |number: &i32| {
        let words = "has to be open; the command gets it";
        Explained::new(By::Launcher, "descriptor", number.to_string(), words, json!({ "descriptor": number }))
    };
    numbers.iter().map(explain).collect()
}

fn kept_layers(layers: &KeptLayers) -> Explained {
    let KeptLayers { kept, manifest, layout: _ } = layers;
    let words = match kept.manifest {
        Some(_) => "what was kept there is used again, and this launch adds to it",
        None => "what is written to / will be kept there: it is made, with a directory for each layer",
    };
    let details = json!({ "layers": manifest.parts });
    Explained::new(By::Launcher, "kept layers", &kept.directory, words, details)
}

fn clone(namespaces: u64, has_maps: bool, init_capabilities: &[u32]) -> Explained {
    let mut words = String::from("PID 1 of new namespaces: this program, executed again as init");
    if !has_maps {
        words.push_str("; users, groups and capabilities are the caller's own");
    }
    let kept: Vec<_> = init_capabilities.iter().map(|number| capability(*number)).collect();
    if !kept.is_empty() {
        let _ = write!(words, "; of its capabilities it keeps {}", kept.join(", "));
    }
    let details = json!({ "namespaces": kinds_of(namespaces), "init_capabilities": kept });
    Explained::new(By::Launcher, "clone", names_of(namespaces), words, details)
}

fn id_maps(maps: &IdMaps) -> Vec<Explained> {
    let IdMaps { users, users_by, groups, groups_by, deny_setgroups } = maps;
    let file = |name: &str, words: String, details| {
        Explained::new(By::Launcher, "id map", format!("/proc/PID/{name}"), words, details)
    };
    let map = |kind: Kind, id: &str, lines: &[IdMap], writer: &Writer| {
        let mut in_words = lines.iter().map(|line| in_words(id, line)).collect::<Vec<_>>().join("; ");
        let writer = match writer {
            Writer::Launcher => "launcher",
            Writer::Helper => {
                let _ = write!(in_words, "; {} writes it", kind.helper());
                kind.helper()
            }
        };
        let as_data = |IdMap { inside, outside, count }: &IdMap| json!({ "inside": inside, "outside": outside, "count": count });
        let lines: Vec<_> = lines.iter().map(as_data).collect();
        file(kind.map_file(), in_words, json!({ "lines": lines, "written_by": writer }))
    };
    let denied = deny_setgroups.then(|| {
        let words = "setgroups(2) is refused inside: this caller may not write a gid map otherwise";
        file("setgroups", words.into(), json!({ "deny": true }))
    });
    let maps = [map(Kind::Users, "uid", users, users_by), map(Kind::Groups, "gid", groups, groups_by)];
    denied.into_iter().chain(maps).collect()
}

/// What init becomes before its exec.
fn ids(ids: InitIds) -> Option<Explained> {
    let InitIds { user, group, leaves_groups } = ids;
    let taken = [("uid", user), ("gid", group)];
    let taken: Vec<_> = taken.into_iter().filter_map(|(kind, id)| Some(format!("{kind} {}", id?))).collect();
    if taken.is_empty() {
        return None;
    }
    let groups = if leaves_groups { ", and leaves the caller's groups" } else { "" };
    let words = format!("the maps leave out the caller: PID 1 becomes {}{groups}", taken.join(" and "));
    let details = json!({ "uid": user, "gid": group, "leaves_groups": leaves_groups });
    Some(Explained::new(By::Init, "init", "ids", words, details))
}

/// `uid 0 inside is 1000 outside`.
fn in_words(kind: &str, map: &IdMap) -> String {
    let IdMap { inside, outside, count } = *map;
    let last = |first: u32| u64::from(first) + u64::from(count).saturating_sub(1);
    match count {
        1 => format!("{kind} {inside} inside is {outside} outside"),
        _ => {
            let (last_inside, last_outside) = (last(inside), last(outside));
            format!("{kind}s {inside} to {last_inside} inside are {outside} to {last_outside} outside")
        }
    }
}

/// A step of the set-up, on what those before it have made.
fn set_up(step: &Step, grounds: &Grounds) -> (String, Value) {
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

/// On what the paths of the inside lie, as far as the plan alone tells: symbolic links are not followed.
#[derive(Debug, Default)]
struct Grounds(Vec<Ground>);

#[derive(Debug)]
struct Ground {
    at: PathBuf,
    place: Place,
}

/// Where something is made that is made below a mount.
#[derive(Debug)]
enum Place {
    /// Here in the caller's own tree.
    Disk(PathBuf),
    /// In memory, or nowhere.
    Elsewhere,
}

impl Grounds {
    /// Notes what a step has mounted.
    fn after(&mut self, step: &Step) {
        let (at, place) = match step {
            Step::Root(root) => (Path::new("/"), Place::of_root(root)),
            Step::Mount { what, at } => (Path::new(at), Place::of(what)),
            Step::HostName(_)
            | Step::DomainName(_)
            | Step::LoopbackUp
            | Step::TimeNamespace
            | Step::PrivateMounts
            | Step::NoUserNamespaces
            | Step::ReadOnly
            | Step::Directory { .. }
            | Step::Symlink { .. }
            | Step::Copy { .. }
            | Step::Mask(_)
            | Step::RemountReadOnly(_)
            | Step::EnterRoot
            | Step::Pty { .. }
            | Step::ChangeDirectory(_)
            | Step::KeepDirectory(_)
            | Step::FindDirectory(_) => return,
        };
        self.0.push(Ground { at: without_dots(at), place });
    }

    /// Where on the caller's disk `path` is made if it is missing.
    fn on_disk(&self, path: &OsStr) -> Option<PathBuf> {
        let path = without_dots(Path::new(path));
        // The last mount above a path hides all that was mounted before it.
        match self.0.iter().rev().find(|ground| path.starts_with(&ground.at)) {
            None => Some(path),
            // It is there already.
            Some(ground) if path == ground.at => None,
            Some(Ground { at, place: Place::Disk(base) }) => {
                Some(base.join(path.strip_prefix(at).unwrap_or(&path)))
            }
            Some(Ground { place: Place::Elsewhere, .. }) => None,
        }
        .filter(|path| path.parent().is_some())
    }

    /// That in words, and as data.
    fn in_words(&self, path: &OsStr) -> (String, Option<String>) {
        const MADE: &str = "; made on the caller's disk if missing";
        match self.on_disk(path) {
            None => (String::new(), None),
            Some(on_disk) => {
                let spelled = spelled(on_disk.as_os_str());
                let words = if on_disk == Path::new(path) {
                    MADE.into()
                } else {
                    format!("{MADE}: {}", on_disk.display())
                };
                (words, Some(spelled))
            }
        }
    }
}

impl Place {
    fn of_root(root: &Root) -> Self {
        match root {
            Root::Directory { path, .. } => Self::Disk(path.into()),
            Root::Overlay(layers) => Self::of_layers(layers),
            Root::Empty => Self::Elsewhere,
        }
    }

    fn of(what: &FileSystem) -> Self {
        match what {
            FileSystem::Bind { source: Source::Path(path), read_only: false, .. } => Self::Disk(path.into()),
            FileSystem::Bind { source: Source::Descriptor(number), read_only: false, .. } => {
                Self::Disk(format!("/proc/self/fd/{number}").into())
            }
            FileSystem::Overlay(layers) => Self::of_layers(layers),
            FileSystem::Bind { read_only: true, .. }
            | FileSystem::Tmpfs { .. }
            | FileSystem::Proc { .. }
            | FileSystem::Dev
            | FileSystem::MessageQueue
            | FileSystem::File { .. } => Self::Elsewhere,
        }
    }

    fn of_layers(layers: &Overlay) -> Self {
        match &layers.upper {
            Upper::Kept { upper, .. } => Self::Disk(upper.into()),
            Upper::None | Upper::Discarded => Self::Elsewhere,
        }
    }
}

/// The path with its dots resolved by name.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

/// What the workload's process does before it is the workload, in spawn.rs's order.
fn start(workload: &Workload) -> Vec<Explained> {
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

/// What init does until the end. None of this has an error.
fn look_after(policy: &Policy, probes: &Probes) -> Vec<Explained> {
    let Policy {
        grace,
        timeout,
        kill_after,
        forward_delay,
        leftovers,
        rewrites,
        stop_signal,
        term_stops,
        restart,
        longest_delay,
        readiness,
        ready_timeout,
        watchdog,
        health,
        // Said of the handoff.
        tells: _,
        dies_with_launcher: _,
    } = policy;
    let stop = signals::name(*stop_signal);
    let mut steps = Vec::new();
    let mut step = |object: &str, words: String, details: Value| {
        steps.push(Explained::new(By::Init, "look after", object, words, details));
    };
    let mut words = String::from("every one that the launcher gets is forwarded to the workload");
    if *term_stops {
        words.push_str("; SIGTERM asks it to stop");
    }
    let mut changed = Vec::new();
    for (from, to) in rewrites.changed() {
        let name = signals::name(from.into());
        match to {
            0 => _ = write!(words, "; {name} is not"),
            to => _ = write!(words, "; {name} as {}", signals::name(to.into())),
        }
        changed.push(json!({ "from": from, "to": to }));
    }
    if !forward_delay.is_zero() {
        let _ = write!(words, "; SIGTERM after {forward_delay:?}");
    }
    step("signals", words, json!({ "rewrites": changed, "forward_delay_seconds": seconds(*forward_delay) }));
    if *term_stops || *stop_signal != libc::SIGTERM {
        step(
            "stop",
            format!("the workload is asked to stop by {stop}; {grace:?} later all get SIGKILL"),
            json!({ "signal": stop, "by_sigterm": term_stops, "grace_seconds": seconds(*grace) }),
        );
    }
    let ready = match readiness {
        Readiness::Started => None,
        Readiness::Notify => Some(("notify", "it says READY=1 to its NOTIFY_SOCKET".into())),
        Readiness::Descriptor(fd) => {
            Some(("descriptor", format!("it has written a newline to its descriptor {fd}")))
        }
        Readiness::Command => Some(("command", "this command succeeds".into())),
    };
    if let Some((kind, mut words)) = ready {
        words.insert_str(0, "the workload is ready when ");
        if let Some(command) = &probes.ready {
            let _ = write!(words, ": {}", command.display());
        }
        if let Some(timeout) = ready_timeout {
            let _ = write!(words, "; a run that isn't after {timeout:?} is ended, as a failure");
        }
        let descriptor = if let Readiness::Descriptor(fd) = readiness { Some(fd) } else { None };
        let command = probes.ready.as_deref().map(spelled);
        step(
            "ready",
            words,
            json!({
                "by": kind, "descriptor": descriptor, "command": command,
                "timeout_seconds": ready_timeout.map(seconds),
            }),
        );
    }
    if let Some(interval) = watchdog {
        step(
            "watchdog",
            format!("a run that doesn't say WATCHDOG=1 for {interval:?} is ended by SIGABRT, as a failure"),
            json!({ "seconds": seconds(*interval) }),
        );
    }
    if let Some(Health { interval, timeout, retries, restarts }) = health {
        let command = probes.health.as_deref().unwrap_or_default();
        let then = if *restarts { "and started again" } else { "and left to run" };
        step(
            "health",
            format!(
                "{interval:?} after one check the next one, for {timeout:?} at most; after {retries} failures in a row \
                 it counts as unhealthy, {then}: {}",
                command.display()
            ),
            json!({
                "command": spelled(command), "interval_seconds": seconds(*interval),
                "timeout_seconds": seconds(*timeout), "retries": retries, "restarts": restarts,
            }),
        );
    }
    if *restart != Restart::No {
        let (kind, when, most) = match restart {
            Restart::No => ("no", "never", None),
            Restart::OnFailure { most } => ("on-failure", "after a failure", *most),
            Restart::Always => ("always", "always", None),
            Restart::UnlessStopped => ("unless-stopped", "unless a signal sent to it by name ended it", None),
        };
        let at_most = most.map_or_else(String::new, |most| format!(", {most} times in a row at most"));
        step(
            "restart",
            format!(
                "a new run follows {when}{at_most}, once nobody is left of the last one, after 100 ms and twice as \
                 long each time up to {longest_delay:?}"
            ),
            json!({ "policy": kind, "most": most, "longest_delay_seconds": seconds(*longest_delay) }),
        );
    }
    if let Some(after) = kill_after {
        step(
            "kill",
            format!("SIGKILL to all, {after:?} after the first signal that asks to stop"),
            json!({ "seconds": seconds(*after) }),
        );
    }
    if let Some(timeout) = timeout {
        step(
            "timeout",
            format!("after {timeout:?} all get {stop}, and {grace:?} later SIGKILL; launch exits with 124"),
            json!({ "seconds": seconds(*timeout) }),
        );
    }
    let (kind, words) = match leftovers {
        Leftovers::End => (
            "end",
            format!("whom the workload leaves over get SIGTERM and SIGCONT, and {grace:?} later SIGKILL"),
        ),
        Leftovers::WaitFor => ("wait_for", "whom the workload leaves over are waited for".into()),
        Leftovers::Leave => ("leave", "whom the workload leaves over are left as they are".into()),
        Leftovers::Tell => (
            "tell",
            "the workload's process group gets SIGTERM when the workload has ended, and is left".into(),
        ),
    };
    step("leftovers", words, json!({ "leftovers": kind, "grace_seconds": seconds(*grace) }));
    step(
        "end",
        "init exits with the workload's status, and at once if the launcher ends; the kernel then kills all that is \
         left inside"
            .into(),
        json!({}),
    );
    steps
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn octal(mode: u32) -> String {
    format!("{mode:03o}")
}

/// As `--tmpfs` takes it: `64M`.
fn in_units(size: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.into_iter().find(|(bits, _)| size != 0 && size.trailing_zeros() >= *bits) {
        Some((bits, unit)) => format!("{}{unit}", size >> bits),
        None => format!("{size} B"),
    }
}

fn capabilities_in(set: u64) -> Vec<String> {
    (0..64).filter(|number| set & 1 << number != 0).map(capability).collect()
}

/// The name of a capability, or its number where it is newer than this list.
fn capability(number: u32) -> String {
    CAPABILITIES.get(number as usize).map_or_else(|| number.to_string(), |name| format!("CAP_{name}"))
}

/// The name of a resource, or its number.
fn limit(resource: u32) -> String {
    let known = LIMITS.iter().find(|(_, number)| *number == resource);
    known.map_or_else(|| format!("limit {resource}"), |(name, _)| format!("limit {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    fn workload() -> Workload {
        Workload {
            command: vec!["sh".into(), "-c".into(), "printf 'a\n\\n'".into()],
            environment: vec!["PATH=/bin".into(), "TOKEN=hidden=too".into()],
            signals: SignalState { mask: 1 << 14, ignore_pipe: true, ignore_child: false },
            descriptors: Descriptors::Only(vec![7]),
            group: Group::Own { foreground: true },
            user: Some(Account {
                user: Name::Named("me".into()),
                group: Some(Name::Id(7)),
                groups: vec![Name::Named("audio".into())],
            }),
            parent_death_signal: Some(9),
            capabilities: Some(CapabilitySets { allowed: 1 | 1 << 40, ambient: 1 << 63 }),
            no_new_privileges: true,
            filters: vec![vec![Instruction { code: 6, jump_true: 0, jump_false: 0, operand: 0 }; 3]],
            limits: vec![Limit { resource: libc::RLIMIT_NOFILE, soft: 10, hard: u64::MAX }],
            oom_score: Some(-5),
            niceness: Some(19),
            umask: Some(0o27),
        }
    }

    fn bind(path: &str, at: &str) -> Step {
        let source = Source::Path(path.into());
        mount(FileSystem::Bind { source, read_only: false, devices: true, optional: true }, at)
    }

    fn mount(what: FileSystem, at: &str) -> Step {
        Step::Mount { what, at: at.into() }
    }

    fn tmpfs(at: &str) -> Step {
        mount(FileSystem::Tmpfs { size: Some(64 << 20), mode: 0o700 }, at)
    }

    fn layers(upper: Upper) -> Overlay {
        Overlay { lower: vec!["/l1".into(), "/l2".into()], optional: false, upper }
    }

    fn every_step() -> Vec<Step> {
        let kept = || Upper::Kept { upper: "/u".into(), work: "/w".into() };
        let descriptor = FileSystem::Bind {
            source: Source::Descriptor(8),
            read_only: true,
            devices: false,
            optional: false,
        };
        vec![
            Step::HostName("box".into()),
            Step::DomainName("x\x1b[2J\ny".into()),
            Step::LoopbackUp,
            Step::TimeNamespace,
            Step::PrivateMounts,
            Step::NoUserNamespaces,
            Step::Root(Root::Directory { path: "/srv/root".into(), writable: false }),
            Step::Root(Root::Overlay(layers(Upper::None))),
            Step::Root(Root::Empty),
            Step::ReadOnly,
            bind("/a", "/b"),
            mount(descriptor, "/c"),
            tmpfs("/d"),
            mount(FileSystem::Overlay(layers(Upper::Discarded)), "/e"),
            mount(FileSystem::Overlay(layers(kept())), "/f"),
            mount(FileSystem::Proc { masked: true, hide_pids: Some(2), only_pids: true }, "/proc"),
            mount(FileSystem::Dev, "/dev"),
            mount(FileSystem::MessageQueue, "/dev/mqueue"),
            mount(FileSystem::File { descriptor: 9 }, "/g"),
            Step::Directory { path: "/h".into(), mode: 0o755 },
            Step::Symlink { target: "../i".into(), path: "/j".into() },
            Step::Copy { source: "/k".into(), path: "/l".into() },
            Step::Mask("/k".into()),
            Step::RemountReadOnly("/l".into()),
            Step::EnterRoot,
            Step::Pty { callers: Some("/dev/tty1".into()) },
            Step::ChangeDirectory("/m".into()),
            Step::KeepDirectory("/n".into()),
            Step::FindDirectory(OsStr::from_bytes(b"/o\xff\\").into()),
        ]
    }

    fn plan(steps: Vec<Step>) -> Plan {
        let mut policy = Policy {
            grace: Duration::from_millis(1500),
            timeout: Some(Duration::from_secs(60)),
            kill_after: Some(Duration::from_secs(5)),
            forward_delay: Duration::from_secs(3),
            ..Policy::default()
        };
        policy.rewrites.set(libc::SIGTERM, libc::SIGINT);
        policy.rewrites.set(libc::SIGHUP, 0);
        Plan {
            kept: None,
            warnings: Vec::new(),
            namespaces: (libc::CLONE_NEWUSER | libc::CLONE_NEWPID) as u64,
            maps: Some(IdMaps {
                users: vec![
                    IdMap { inside: 0, outside: 1000, count: 1 },
                    IdMap { inside: 1, outside: 100_000, count: u32::MAX },
                ],
                users_by: Writer::Helper,
                groups: vec![IdMap { inside: 0, outside: 100, count: 1 }],
                groups_by: Writer::Launcher,
                deny_setgroups: true,
            }),
            init_capabilities: vec![21],
            init_ids: InitIds::default(),
            init: handoff::Plan {
                log_level: 4,
                steps,
                workload: workload(),
                policy,
                probes: Probes::default(),
                report_namespaces: true,
                is_on_one_processor: false,
                ahead: false,
            },
        }
    }

    fn as_data(plan: &Plan) -> Vec<Value> {
        let text = json(plan);
        assert_eq!(text.lines().count(), 1);
        let data: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(data["version"], 1);
        data["steps"].as_array().unwrap().clone()
    }

    /// The lines of the words that are steps.
    fn lines(plan: &Plan) -> Vec<String> {
        let is_step = |line: &&str| line.trim_start().starts_with(|first: char| first.is_ascii_digit());
        words(plan).lines().filter(is_step).map(Into::into).collect()
    }

    /// The details of the first step with this name and object.
    #[track_caller]
    fn details(plan: &Plan, name: &str, object: &str) -> Value {
        let steps = as_data(plan);
        let found = steps.iter().find(|step| step["step"] == name && step["object"] == object);
        found.unwrap_or_else(|| panic!("{name} {object}: none of {steps:#?}"))["details"].clone()
    }

    #[test]
    fn whom_pid_1_becomes_is_said_where_it_becomes_somebody() {
        let init_ids = InitIds { user: Some(0), group: Some(0), leaves_groups: true };
        let plan = Plan { init_ids, ..plan(Vec::new()) };
        let line = lines(&plan).into_iter().find(|line| line.contains("init ids")).unwrap();
        assert!(line.ends_with("PID 1 becomes uid 0 and gid 0, and leaves the caller's groups"), "{line}");
        assert_eq!(details(&plan, "init", "ids"), json!({ "uid": 0, "gid": 0, "leaves_groups": true }));
        assert_eq!(details(&plan, "id map", "/proc/PID/uid_map")["written_by"], "newuidmap");
    }

    #[test]
    fn words_and_data_have_the_same_steps_with_the_names_that_errors_have() {
        let plan = plan(every_step());
        let (lines, data) = (lines(&plan), as_data(&plan));
        assert_eq!(lines.len(), data.len());
        for ((line, step), number) in lines.iter().zip(&data).zip(1..) {
            assert_eq!(step["number"], number);
            assert!(!step["words"].as_str().unwrap().is_empty(), "{step}");
            assert!(line.trim_start().starts_with(&format!("{number}  ")), "{line}");
            assert!(line.contains(step["step"].as_str().unwrap()), "{line}");
            assert!(line.chars().all(|char| !char.is_control()), "{line:?}");
        }
        let of_init = data.iter().filter(|step| step["by"] == "init" && step["step"] != "look after");
        let of_init: Vec<_> = of_init.collect();
        assert_eq!(of_init.len(), plan.init.steps.len());
        for (explained, step) in of_init.into_iter().zip(&plan.init.steps) {
            assert_eq!(explained["step"], step.name());
            assert_eq!(explained["object"], spelled(step.object()));
        }
    }

    #[test]
    fn each_process_has_its_steps_in_the_order_of_their_doing() {
        let by: Vec<_> = as_data(&plan(every_step())).iter().map(|step| step["by"].clone()).collect();
        let mut turns = by.clone();
        turns.dedup();
        assert_eq!(turns, ["launcher", "init", "workload", "init"]);
        let text = words(&plan(vec![Step::LoopbackUp]));
        let expected = "\
the launcher:
 1  descriptor 7                has to be open; the command gets it
 2  clone user and pid          PID 1 of new namespaces: this program, executed again as init; of its capabilities it keeps CAP_SYS_ADMIN
 3  id map /proc/PID/setgroups  setgroups(2) is refused inside: this caller may not write a gid map otherwise
 4  id map /proc/PID/uid_map    uid 0 inside is 1000 outside; uids 1 to 4294967295 inside are 100000 to 4295067294 outside; newuidmap writes it
 5  id map /proc/PID/gid_map    gid 0 inside is 100 outside
 6  handoff plan                init is told all that follows
init, PID 1 inside:
 7  network lo                  the new network has only a loopback interface, and it is up
";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn privileges_fall_last() {
        let data = as_data(&plan(Vec::new()));
        let objects = data.iter().filter(|step| step["by"] == "workload").map(|step| step["object"].as_str());
        let expected = [
            "process group",
            "SIGPIPE",
            "SIGCHLD",
            "descriptors",
            "umask",
            "limit nofile",
            "nice",
            "oom_score_adj",
            "bounding set",
            "user",
            "capabilities",
            "PR_SET_PDEATHSIG",
            "no_new_privs",
            "seccomp",
            "signal mask",
            "sh",
        ];
        assert_eq!(objects.map(Option::unwrap).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_a_step_has_is_in_its_data() {
        let plan = plan(every_step());
        let expected = [
            (
                "mount",
                "/b",
                json!({
                    "action": "mount", "at": "/b", "made_on_disk": null,
                    "what": {
                        "kind": "bind", "source": { "path": "/a" }, "read_only": false, "devices": true,
                        "optional": true,
                    },
                }),
            ),
            (
                "mount",
                "/d",
                json!({
                    "action": "mount", "at": "/d", "made_on_disk": null,
                    "what": { "kind": "tmpfs", "size": 64 << 20, "mode": "700" },
                }),
            ),
            (
                "mount",
                "/f",
                json!({
                    "action": "mount", "at": "/f", "made_on_disk": null,
                    "what": {
                        "kind": "overlay", "lower": ["/l1", "/l2"], "optional": false,
                        "upper": { "kind": "kept", "upper": "/u", "work": "/w" },
                    },
                }),
            ),
            (
                "working directory",
                "/o\\xff\\\\",
                json!({ "action": "find_directory", "path": "/o\\xff\\\\" }),
            ),
            (
                "workload",
                "limit nofile",
                json!({
                    "resource": libc::RLIMIT_NOFILE, "name": "limit nofile", "soft": 10, "hard": null,
                }),
            ),
            ("workload", "bounding set", json!({ "allowed": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"] })),
            ("workload", "capabilities", json!({ "ambient": ["63"] })),
            ("workload", "user", json!({ "user": "me", "group": 7, "groups": ["audio"] })),
            ("workload", "seccomp", json!({ "instructions": 3 })),
            ("workload", "signal mask", json!({ "blocked": ["SIGTERM"] })),
            ("workload", "descriptors", json!({ "inherited": false, "keep": [7] })),
            ("look after", "timeout", json!({ "seconds": 60.0 })),
            ("look after", "leftovers", json!({ "leftovers": "end", "grace_seconds": 1.5 })),
            (
                "look after",
                "signals",
                json!({
                    "forward_delay_seconds": 3.0, "rewrites": [{ "from": 1, "to": 0 }, { "from": 15, "to": 2 }],
                }),
            ),
        ];
        for (name, object, expected) in expected {
            assert_eq!(details(&plan, name, object), expected, "{name} {object}");
        }
    }

    #[test]
    fn a_long_life_is_explained() {
        let mut plan = plan(Vec::new());
        plan.init.policy = Policy {
            stop_signal: libc::SIGQUIT,
            term_stops: true,
            restart: Restart::OnFailure { most: Some(5) },
            longest_delay: Duration::from_secs(7),
            readiness: Readiness::Command,
            ready_timeout: Some(Duration::from_secs(9)),
            watchdog: Some(Duration::from_secs(7)),
            health: Some(Health {
                interval: Duration::from_secs(30),
                timeout: Duration::from_secs(3),
                retries: 2,
                restarts: true,
            }),
            tells: true,
            dies_with_launcher: true,
            ..plan.init.policy
        };
        plan.init.probes = Probes { ready: Some("test -e /r".into()), health: Some("true".into()) };
        let expected = [
            ("stop", json!({ "signal": "SIGQUIT", "by_sigterm": true, "grace_seconds": 1.5 })),
            (
                "ready",
                json!({
                    "by": "command", "descriptor": null, "command": "test -e /r", "timeout_seconds": 9.0,
                }),
            ),
            ("watchdog", json!({ "seconds": 7.0 })),
            (
                "health",
                json!({
                    "command": "true", "interval_seconds": 30.0, "timeout_seconds": 3.0, "retries": 2,
                    "restarts": true,
                }),
            ),
            ("restart", json!({ "policy": "on-failure", "most": 5, "longest_delay_seconds": 7.0 })),
        ];
        for (object, expected) in expected {
            assert_eq!(details(&plan, "look after", object), expected, "{object}");
        }
        assert_eq!(details(&plan, "handoff", "plan")["tells"], true);
        let words = words(&plan);
        for line in [
            "the workload is asked to stop by SIGQUIT; 1.5s later all get SIGKILL",
            "the workload is ready when this command succeeds: test -e /r; a run that isn't after 9s is ended, as a failure",
            "a new run follows after a failure, 5 times in a row at most,",
        ] {
            assert!(words.contains(line), "{words}");
        }
    }

    #[test]
    fn of_the_environment_there_are_only_names() {
        let plan = plan(Vec::new());
        assert_eq!(details(&plan, "exec", "sh")["environment"], json!(["PATH", "TOKEN"]));
        for text in [words(&plan), json(&plan)] {
            assert!(!text.contains("hidden") && !text.contains("too\""), "{text}");
        }
        assert!(words(&plan).contains("; its environment: PATH TOKEN\n"));
    }

    #[test]
    fn every_string_of_the_data_is_one_that_options_take() {
        let every: Vec<u8> = (1..=255).chain("é\\x41".bytes()).collect();
        let every = OsStr::from_bytes(&every);
        assert_eq!(spec::path(OsStr::new(&spelled(every))).as_deref(), Ok(every));
        assert_eq!(spelled(OsStr::new("/a:b é")), "/a:b é");
    }

    /// Where each step's object would be made on the caller's disk.
    fn made(steps: Vec<Step>) -> Vec<Option<String>> {
        let data = as_data(&plan(steps));
        let of_init = data.iter().filter(|step| step["by"] == "init" && step["step"] != "look after");
        of_init.map(|step| step["details"]["made_on_disk"].as_str().map(Into::into)).collect()
    }

    #[test]
    fn what_may_be_made_on_the_callers_disk_is_said() {
        let some = |path: &str| Some(path.to_owned());
        let below = |path: &str| Step::Directory { path: path.into(), mode: 0o755 };
        assert_eq!(made(vec![tmpfs("/t"), below("/t/x"), below("/tx")]), [some("/t"), None, some("/tx")]);
        // A bind leads to the caller's disk again, and there to its source.
        let through = vec![tmpfs("/t"), bind("/home/me", "/t/b"), below("/t/b/c/../d"), below("/t/c")];
        assert_eq!(made(through), [some("/t"), None, some("/home/me/d"), None]);
        // A later mount hides what was mounted below it, and stands on what it is mounted on.
        let hidden = vec![bind("/a", "/t/b"), tmpfs("/t"), below("/t/b/c"), tmpfs("/t"), tmpfs("/")];
        assert_eq!(made(hidden), [some("/t/b"), some("/t"), None, None, None]);
        let link = Step::Symlink { target: "x".into(), path: "/l".into() };
        let root = Step::Root(Root::Directory { path: "/srv/r".into(), writable: false });
        assert_eq!(
            made(vec![root, tmpfs("/tmp"), link.clone()])[1..],
            [some("/srv/r/tmp"), some("/srv/r/l")]
        );
        let volatile = |upper| Step::Root(Root::Overlay(layers(upper)));
        assert_eq!(made(vec![volatile(Upper::Discarded), link.clone()]), [None, None]);
        let kept = Upper::Kept { upper: "/u".into(), work: "/w".into() };
        assert_eq!(made(vec![volatile(kept), link.clone()]), [None, some("/u/l")]);
        let text =
            words(&plan(vec![Step::Root(Root::Directory { path: "/r".into(), writable: true }), link]));
        assert!(text.contains("leads to x; made on the caller's disk if missing: /r/l\n"), "{text}");
    }

    #[test]
    fn without_a_user_namespace_the_words_say_so() {
        let plan = Plan { maps: None, ..plan(Vec::new()) };
        assert!(words(&plan).contains("; users, groups and capabilities are the caller's own"));
        assert!(!words(&plan).contains("id map"));
    }

    #[test]
    fn sizes_are_in_the_largest_unit_that_is_exact() {
        assert_eq!(
            [1, 1 << 10, 3 << 20, (1 << 40) + 1].map(in_units),
            ["1 B", "1K", "3M", "1099511627777 B"]
        );
    }
}
