//! The built-in list of what a workload has no business with, and the two requests that would type into a shared
//! terminal. docs/security.md shows the same list.

#![forbid(unsafe_code)]

use libc::{ENOSYS, EPERM};

/// One system call that is refused by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Its name.
    pub name: &'static str,
    /// What it fails with: EPERM where programs know that it may not be permitted, ENOSYS where they know that a
    /// kernel may not have it.
    pub errno: i32,
    /// Why.
    pub reason: &'static str,
}

const fn denied(name: &'static str, errno: i32, reason: &'static str) -> Denied {
    Denied { name, errno, reason }
}

const KEYS: &str = "keyrings belong to a user, not to a namespace: a sandbox could read or fill its caller's";
const MODULES: &str = "code in the kernel";
const OBSOLETE_MODULES: &str = "old kernels' modules; no kernel of today has it";
const KEXEC: &str = "another kernel in place of this one";
const RING: &str =
    "a second way to most system calls, which no filter sees, and a source of many kernel bugs";
const CLOCK: &str = "the time of the whole machine; reading it and time namespaces are not affected";
const SWAP: &str = "memory of the whole machine";
const QUOTA: &str = "other users' limits on the machine's file systems";
const PORTS: &str = "the machine's devices, past their drivers";
const VM86: &str = "16-bit mode of the processor: rarely used and rarely tested";
const OBSOLETE: &str = "replaced long ago, kept by the kernel for old programs only";

/// What is refused unless something else is asked for; sorted by name.
///
/// Not in it, though others refuse it: what a capability in a user namespace allows on purpose (mount, unshare,
/// setns, chroot: a sandbox in the sandbox needs them), what is guarded by the rules of ptrace(2) and needed by
/// debuggers (ptrace, process_vm_readv, kcmp, pidfd_getfd, personality), and what concerns the caller only (mbind,
/// move_pages, modify_ldt).
pub const DENIED: &[Denied] = &[
    denied("acct", EPERM, "writes about every process of the machine into a file of the caller's choice"),
    denied("add_key", EPERM, KEYS),
    denied("bpf", EPERM, "programs in the kernel, and a verifier with a history of mistakes"),
    denied("clock_settime", EPERM, CLOCK),
    denied("clock_settime64", EPERM, CLOCK),
    denied("create_module", ENOSYS, OBSOLETE_MODULES),
    denied("delete_module", EPERM, MODULES),
    denied("finit_module", EPERM, MODULES),
    denied("get_kernel_syms", ENOSYS, OBSOLETE_MODULES),
    denied("init_module", EPERM, MODULES),
    denied("io_uring_enter", EPERM, RING),
    denied("io_uring_register", EPERM, RING),
    denied("io_uring_setup", EPERM, RING),
    denied("ioperm", EPERM, PORTS),
    denied("iopl", EPERM, PORTS),
    denied("kexec_file_load", EPERM, KEXEC),
    denied("kexec_load", EPERM, KEXEC),
    denied("keyctl", EPERM, KEYS),
    denied("lookup_dcookie", ENOSYS, "paths of other processes' files, for a profiler that is gone"),
    denied("nfsservctl", ENOSYS, OBSOLETE),
    denied(
        "open_by_handle_at",
        EPERM,
        "opens files by number, past every directory, bind and root in the way",
    ),
    denied("perf_event_open", EPERM, "measures the kernel and other processes; many kernel bugs"),
    denied("query_module", ENOSYS, OBSOLETE_MODULES),
    denied("quotactl", EPERM, QUOTA),
    denied("quotactl_fd", EPERM, QUOTA),
    denied("reboot", EPERM, "ends the machine, or the sandbox without its clean-up"),
    denied("request_key", EPERM, KEYS),
    denied("settimeofday", EPERM, CLOCK),
    denied("stime", EPERM, CLOCK),
    denied("swapoff", EPERM, SWAP),
    denied("swapon", EPERM, SWAP),
    denied("sysfs", ENOSYS, OBSOLETE),
    denied("syslog", EPERM, "the kernel's log, with addresses and other users' doings"),
    denied("uselib", ENOSYS, OBSOLETE),
    denied("userfaultfd", EPERM, "stops the kernel in the middle of its work, which makes races easy to win"),
    denied("ustat", ENOSYS, OBSOLETE),
    denied("vhangup", EPERM, "takes the terminal away from everybody who has it, the caller too"),
    denied("vm86", EPERM, VM86),
    denied("vm86old", EPERM, VM86),
];

/// The rows of a table in Markdown: name, errno, reason of each of [`DENIED`].
pub fn table() -> String {
    let row = |denied: &Denied| {
        let errno = if denied.errno == ENOSYS { "ENOSYS" } else { "EPERM" };
        format!("| `{}` | {errno} | {} |\n", denied.name, denied.reason)
    };
    DENIED.iter().map(row).collect()
}

/// The requests that put characters into a terminal's input, which the caller's shell reads as soon as the workload
/// has ended: TIOCSTI (CVE-2017-5226), and on a console TIOCLINUX (CVE-2023-28100). asm-generic/ioctls.h.
pub(super) const TERMINAL_REQUESTS: [u32; 2] = [0x5412, 0x541c];
