//! Which namespaces are new, and what they are called in words.
//!
//! Which ids a new user namespace has, ids.rs decides.

#![forbid(unsafe_code)]

use super::{Network, Options, Share};

/// Every namespace kind with its flag, in the order in which errors name them.
///
/// Time is not among them: init makes that one, since only the children of whoever makes it enter it.
const KINDS: [(&str, u64); 7] = [
    ("user", libc::CLONE_NEWUSER as u64),
    ("mount", libc::CLONE_NEWNS as u64),
    ("uts", libc::CLONE_NEWUTS as u64),
    ("ipc", libc::CLONE_NEWIPC as u64),
    ("pid", libc::CLONE_NEWPID as u64),
    ("cgroup", libc::CLONE_NEWCGROUP as u64),
    ("net", libc::CLONE_NEWNET as u64),
];

/// The kinds of the namespaces in these clone flags.
pub fn kinds_of(namespaces: u64) -> Vec<&'static str> {
    KINDS.iter().filter(|(_, flag)| namespaces & flag != 0).map(|(name, _)| *name).collect()
}

/// Their names in a sentence, as in `user, mount and pid`.
pub fn names_of(namespaces: u64) -> String {
    match kinds_of(namespaces).split_last() {
        Some((last, [])) => (*last).into(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "no namespaces".into(),
    }
}

pub(super) fn namespaces(options: &Options) -> u64 {
    let is_new = |kind: &str| match kind {
        "user" => !options.share.contains(&Share::User),
        "uts" => !options.share.contains(&Share::Uts),
        "ipc" => !options.share.contains(&Share::Ipc),
        "cgroup" => !options.share.contains(&Share::Cgroup),
        "net" => options.network == Network::None,
        _ => true,
    };
    KINDS.iter().filter(|(kind, _)| is_new(kind)).fold(0, |flags, (_, flag)| flags | flag)
}
