//! Which capabilities a workload has by default, and which PID 1 keeps.
//!
//! What is added and taken is asked for in options.rs; the launcher and init make it so.

#![forbid(unsafe_code)]

use super::Capabilities;

/// What PID 1 needs of a root's capabilities; the numbers of linux/capability.h. A workload that is root inside
/// gets its own by its exec, and any other has none.
pub(super) const INIT_CAPABILITIES: [u32; 10] = [
    CAP_CHOWN,        // the terminal of the workload's user
    CAP_DAC_OVERRIDE, // mount points in directories of others
    CAP_KILL,
    CAP_SETGID, // the workload's user
    CAP_SETUID,
    CAP_SETPCAP,    // the workload's bounding set
    CAP_NET_ADMIN,  // lo
    CAP_SYS_CHROOT, // a root that cannot be pivoted to
    CAP_SYS_ADMIN,
    CAP_SYS_RESOURCE, // user.max_user_namespaces
];
pub(super) const CAP_CHOWN: u32 = 0;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_FOWNER: u32 = 3;
const CAP_FSETID: u32 = 4;
pub(super) const CAP_KILL: u32 = 5;
pub(super) const CAP_SETGID: u32 = 6;
pub(super) const CAP_SETUID: u32 = 7;
const CAP_SETPCAP: u32 = 8;
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_CHROOT: u32 = 18;
pub(super) const CAP_SYS_ADMIN: u32 = 21;
pub(super) const CAP_SYS_RESOURCE: u32 = 24;
pub(super) const CAP_SETFCAP: u32 = 31;

/// What a root inside needs to build, install and run software, and no more. CAP_SYS_ADMIN could undo the walls.
/// CAP_SYS_PTRACE would open PID 1 to it (ptrace(2), "Ptrace access mode checking"); debuggers do not need it for the
/// processes of their own user. CAP_SETFCAP is what maps root's id into a nested user namespace (user_namespaces(7)).
pub const DEFAULT_CAPABILITIES: u64 = 1 << CAP_CHOWN
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_FOWNER
    | 1 << CAP_FSETID
    | 1 << CAP_KILL
    | 1 << CAP_SETGID
    | 1 << CAP_SETUID
    | 1 << CAP_SETPCAP
    | 1 << CAP_NET_BIND_SERVICE
    | 1 << CAP_SYS_CHROOT
    | 1 << CAP_SETFCAP;

/// Init's own, and those that it hands on.
pub(super) fn init_capabilities(asked: Capabilities) -> Vec<u32> {
    (0..u64::BITS).filter(|n| INIT_CAPABILITIES.contains(n) || asked.add & 1 << n != 0).collect()
}
