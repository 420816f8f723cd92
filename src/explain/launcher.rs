//! What the launcher does until init is told its plan, and whom init becomes by the id maps.

#![forbid(unsafe_code)]

use std::fmt::Write;

use launch_init::handoff::Descriptors;
use serde_json::json;

use super::spelling::capability;
use super::{By, Explained};
use crate::plan::{IdMap, IdMaps, InitIds, KeptLayers, Writer, kinds_of, names_of};
use crate::subids::Kind;

pub(super) fn kept(descriptors: &Descriptors) -> Vec<Explained> {
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

pub(super) fn kept_layers(layers: &KeptLayers) -> Explained {
    let KeptLayers { kept, manifest, layout: _ } = layers;
    let words = match kept.manifest {
        Some(_) => "what was kept there is used again, and this launch adds to it",
        None => "what is written to / will be kept there: it is made, with a directory for each layer",
    };
    let details = json!({ "layers": manifest.parts });
    Explained::new(By::Launcher, "kept layers", &kept.directory, words, details)
}

pub(super) fn clone(namespaces: u64, has_maps: bool, init_capabilities: &[u32]) -> Explained {
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

pub(super) fn id_maps(maps: &IdMaps) -> Vec<Explained> {
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
pub(super) fn ids(ids: InitIds) -> Option<Explained> {
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
