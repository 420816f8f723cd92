//! Which ids exist inside, who writes the maps, and who init is among them; see user_namespaces(7).
//!
//! What the caller may map besides its own ids is subids.rs's to say; idmap.rs writes the maps.

#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;

use super::capabilities::{CAP_SETGID, CAP_SETUID, init_capabilities};
use super::{Caller, Capabilities, Identity};
use crate::error::Error;
use crate::subids::{self, Kind, Owner};

/// The ids that init takes; none keeps the caller's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InitIds {
    /// The uid inside.
    pub user: Option<u32>,
    /// The gid inside.
    pub group: Option<u32>,
    /// Whether it leaves the caller's supplementary groups, which are somebody else's then.
    pub leaves_groups: bool,
}

/// Who writes an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The launcher: its caller may map any ids, or maps nothing but its own.
    Launcher,
    /// newuidmap(1) or newgidmap(1).
    Helper,
}

/// What is written for a new user namespace; see user_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// The uid map.
    pub users: Vec<IdMap>,
    /// Who writes it.
    pub users_by: Writer,
    /// The gid map.
    pub groups: Vec<IdMap>,
    /// Who writes it.
    pub groups_by: Writer,
    /// Whether setgroups(2) has to be given up: a caller without CAP_SETGID may not write a gid map before
    /// (user_namespaces(7)); newgidmap(1) may.
    pub deny_setgroups: bool,
}

/// One line of a map: ids inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The first in the new user namespace.
    pub inside: u32,
    /// The first in the caller's.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

pub(super) fn id_maps(identity: &Identity, caller: &Caller) -> Result<IdMaps, Error> {
    let alone = |inside, outside| vec![IdMap { inside, outside, count: 1 }];
    let or_alone = |map: &[IdMap], own| if map.is_empty() { alone(0, own) } else { map.to_vec() };
    let (files, owner) = (&caller.subordinate_ids, owner(caller));
    let (users, groups) = match identity {
        Identity::Root => (alone(0, caller.uid), alone(0, caller.gid)),
        Identity::Ids { uid, gid } => {
            (alone(uid.unwrap_or(0), caller.uid), alone(gid.unwrap_or(0), caller.gid))
        }
        Identity::Keep => (alone(caller.uid, caller.uid), alone(caller.gid, caller.gid)),
        Identity::Auto => (
            subids::map_all(Kind::Users, files, owner, caller.uid)?,
            subids::map_all(Kind::Groups, files, owner, caller.gid)?,
        ),
        Identity::Maps { users, groups } => (or_alone(users, caller.uid), or_alone(groups, caller.gid)),
    };
    let is_alone = |map: &[IdMap], own| matches!(map, [only] if only.count == 1 && only.outside == own);
    let writer = |map: &[IdMap], own, capability: u32| match caller.capabilities & 1 << capability {
        0 if !is_alone(map, own) => Writer::Helper,
        _ => Writer::Launcher,
    };
    let maps = IdMaps {
        users_by: writer(&users, caller.uid, CAP_SETUID),
        groups_by: writer(&groups, caller.gid, CAP_SETGID),
        deny_setgroups: caller.capabilities & 1 << CAP_SETGID == 0 && is_alone(&groups, caller.gid),
        users,
        groups,
    };
    if maps.users_by == Writer::Helper {
        subids::check(Kind::Users, files, owner, caller.uid, &maps.users)?;
    }
    if maps.groups_by == Writer::Helper {
        subids::check(Kind::Groups, files, owner, caller.gid, &maps.groups)?;
    }
    Ok(maps)
}

/// Somebody who is not in /etc/passwd, but in a directory service, is whom USER names: newuidmap, which knows, has the
/// last word. For a caller whose maps it does not write, nobody would have it.
fn owner(caller: &Caller) -> Owner<'_> {
    let user = || {
        let name = caller.environment.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"USER="));
        str::from_utf8(name?).ok()
    };
    let may_map_all = caller.capabilities & (1 << CAP_SETUID | 1 << CAP_SETGID) != 0;
    let name = caller.subordinate_ids.user_name.as_deref();
    Owner { name: name.or_else(|| user().filter(|_| !may_map_all)), uid: caller.uid }
}

/// What the kernel would refuse without a word (user_namespaces(7)): at most this many lines.
const MOST_LINES: usize = 340;
/// And fewer bytes than a page, the smallest of which has these.
const PAGE: usize = 4096;

pub(super) fn check_map(kind: Kind, map: &[IdMap]) -> Result<(), Error> {
    let words = |line: &IdMap| format!("{}:{}:{}", line.inside, line.outside, line.count);
    let wrong = |line: &IdMap, reason: &str| {
        Err(Error::Option(format!("{} {}", kind.option(), words(line)).into(), reason.into()))
    };
    let overlap = |a: u32, b: u32, line: &IdMap, other: &IdMap| {
        u64::from(a) < u64::from(b) + u64::from(other.count)
            && u64::from(b) < u64::from(a) + u64::from(line.count)
    };
    for (i, line) in map.iter().enumerate() {
        if line.count == 0 {
            return wrong(line, "a map has at least one id");
        }
        for (first, side) in [(line.inside, "inside"), (line.outside, "outside")] {
            if first.checked_add(line.count).is_none() {
                return wrong(line, &format!("the last id {side} would be more than 4294967294"));
            }
        }
        for other in &map[..i] {
            for (a, b, side) in
                [(line.inside, other.inside, "inside"), (line.outside, other.outside, "outside")]
            {
                if overlap(a, b, line, other) {
                    return wrong(line, &format!("has ids {side} that {} has too", words(other)));
                }
            }
        }
    }
    // Each line is written as it is spelled here, and with a line feed.
    let bytes: usize = map.iter().map(|line| words(line).len() + 1).sum();
    if map.len() > MOST_LINES || bytes >= PAGE {
        let reason = format!(
            "{} lines of {bytes} bytes are more than the {MOST_LINES} lines, or {} bytes, that the kernel takes",
            map.len(),
            PAGE - 1
        );
        return Err(Error::Option(kind.option().into(), reason));
    }
    Ok(())
}

/// Who init is inside: whom the map makes of the caller, or else root. And the capabilities that it must keep.
pub(super) fn init_within(
    maps: &IdMaps,
    caller: &Caller,
    asked: Capabilities,
) -> Result<(InitIds, Vec<u32>), Error> {
    let is_mapped = |map: &[IdMap], own: u32| {
        map.iter()
            .find(|line| (line.outside..line.outside + line.count).contains(&own))
            .map(|line| line.inside + (own - line.outside))
    };
    let taken = |kind: Kind, map: &[IdMap], own| match is_mapped(map, own) {
        Some(_) => Ok(None),
        None if map.iter().any(|line| line.inside == 0) => Ok(Some(0)),
        None => Err(Error::Option(
            kind.option().into(),
            format!("PID 1 would be nobody: map 0 inside, or your own id ({own}) outside"),
        )),
    };
    let user = taken(Kind::Users, &maps.users, caller.uid)?;
    let group = taken(Kind::Groups, &maps.groups, caller.gid)?;
    let is_changed = user.is_some() || group.is_some();
    let uid = user.or_else(|| is_mapped(&maps.users, caller.uid));
    let capabilities = if uid == Some(0) { Vec::new() } else { init_capabilities(asked) };
    Ok((InitIds { user, group, leaves_groups: is_changed && !maps.deny_setgroups }, capabilities))
}

/// Whether somebody inside can be the uid that is 0 outside.
pub(super) fn has_root(maps: Option<&IdMaps>, caller: &Caller) -> bool {
    maps.map_or(caller.uid == 0, |maps| maps.users.iter().any(|map| map.outside == 0))
}
