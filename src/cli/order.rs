//! Options that are carried out in the order in which they stand, whatever their kinds.
//!
//! clap gives each kind's values by themselves; what these are is values.rs's and spec.rs's to read.

#![forbid(unsafe_code)]

use clap::ArgMatches;

use crate::plan::Capabilities;

/// The options that are carried out in the order in which they stand.
pub(super) const ORDERED: [&str; 17] = [
    "bind",
    "ro_bind",
    "dev_bind",
    "try_bind",
    "try_ro_bind",
    "bind_fd",
    "tmpfs",
    "overlay",
    "tmp_overlay",
    "proc",
    "dev",
    "mqueue",
    "dir",
    "file",
    "symlink",
    "mask",
    "remount_ro",
];

/// Whether the paths in the values of this option are spelled as spec.rs reads them.
pub(crate) fn takes_spelled_paths(option: &str) -> bool {
    option == "rootfs" || ORDERED.contains(&option.replace('-', "_").as_str())
}

/// A file's are before those of the command line, which thus can take what a file adds.
pub(super) fn capabilities(matches: &mut ArgMatches) -> Capabilities {
    let mut sets = Capabilities::default();
    for (option, bits) in take_in_order(matches, &["cap_add", "cap_drop"]) {
        change(&mut sets, bits, option == "cap_add");
    }
    sets
}

pub(super) fn change(sets: &mut Capabilities, bits: u64, is_added: bool) {
    sets.add = if is_added { sets.add | bits } else { sets.add & !bits };
    sets.drop = if is_added { sets.drop & !bits } else { sets.drop | bits };
}

/// Takes the values of these options, in the order in which they stand, each with its option.
pub(super) fn take_in_order<T: Clone + Send + Sync + 'static>(
    matches: &mut ArgMatches,
    options: &[&'static str],
) -> Vec<(&'static str, T)> {
    let mut all = Vec::new();
    for id in options {
        let indices: Vec<_> = matches.indices_of(id).into_iter().flatten().collect();
        let values = matches.remove_many::<T>(id).into_iter().flatten();
        all.extend(indices.into_iter().zip(values).map(|(index, value)| (index, (*id, value))));
    }
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, value)| value).collect()
}
