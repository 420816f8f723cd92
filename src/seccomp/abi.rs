//! The system call ABIs that a kernel may run programs of: their audit numbers, and their system calls' names and
//! numbers, which the crate `syscalls` knows. Which calls are refused is left to others.

#![forbid(unsafe_code)]

use super::builtin;
use super::compile_ahead::Program;

/// One ABI.
pub(super) struct Abi {
    /// AUDIT_ARCH_*, as in seccomp_data; linux/audit.h.
    pub(super) audit: u32,
    /// As profiles name it.
    pub(super) architecture: &'static str,
    /// Whether arguments have 64 bits.
    pub(super) is_wide: bool,
    /// Whether the same audit number has x32's system calls, told by [`X32_BIT`].
    pub(super) has_x32: bool,
    /// Whether socketcall(2) and ipc(2) are ways to other system calls.
    pub(super) has_multiplexers: bool,
    /// execve(2)'s number.
    pub(super) execve: u32,
    /// ioctl(2)'s number.
    pub(super) ioctl: u32,
    /// The numbers of [`builtin::DENIED`], where it has those system calls.
    pub(super) denied: &'static [Option<u32>; builtin::DENIED.len()],
    /// All that it has.
    pub(super) names: fn() -> Vec<(&'static str, u32)>,
}

/// What a kernel can run.
pub(super) struct Machine {
    /// As profiles name it in `arches`: Go's name.
    pub(super) name: &'static str,
    pub(super) native: &'static Abi,
    pub(super) compatible: &'static Abi,
    /// The filter of [`builtin::DENIED`], and of x32.
    pub(super) denied: Program,
    /// That and [`builtin::TERMINAL_REQUESTS`].
    pub(super) denied_and_terminal: Program,
    /// These alone: all else is allowed, x32 and unknown architectures too.
    pub(super) terminal: Program,
}

impl Machine {
    const fn new(name: &'static str, native: &'static Abi, compatible: &'static Abi) -> Self {
        let abis = [native, compatible];
        Self {
            name,
            native,
            compatible,
            denied: Program::new(abis, true, false),
            denied_and_terminal: Program::new(abis, true, true),
            terminal: Program::new(abis, false, true),
        }
    }
}

/// Set in the number of every system call of x32; asm/unistd.h, __X32_SYSCALL_BIT.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// x32's own ioctl(2).
pub(super) const X32_IOCTL: u32 = X32_BIT | 514;

#[cfg(target_arch = "x86_64")]
pub(super) use X86_64 as MACHINE;

#[cfg(target_arch = "aarch64")]
pub(super) use AARCH64 as MACHINE;

#[cfg(any(target_arch = "x86_64", test))]
pub(super) static X86_64: Machine = Machine::new(
    "amd64",
    &Abi {
        audit: 0xc000_003e,
        architecture: "SCMP_ARCH_X86_64",
        is_wide: true,
        has_x32: true,
        has_multiplexers: false,
        execve: 59,
        ioctl: 16,
        denied: &x86_64::DENIED,
        names: x86_64::names,
    },
    &Abi {
        audit: 0x4000_0003,
        architecture: "SCMP_ARCH_X86",
        is_wide: false,
        has_x32: false,
        has_multiplexers: true,
        execve: 11,
        ioctl: 54,
        denied: &x86::DENIED,
        names: x86::names,
    },
);

#[cfg(any(target_arch = "aarch64", test))]
pub(super) static AARCH64: Machine = Machine::new(
    "arm64",
    &Abi {
        audit: 0xc000_00b7,
        architecture: "SCMP_ARCH_AARCH64",
        is_wide: true,
        has_x32: false,
        has_multiplexers: false,
        execve: 221,
        ioctl: 29,
        denied: &aarch64::DENIED,
        names: aarch64::names,
    },
    &Abi {
        audit: 0x4000_0028,
        architecture: "SCMP_ARCH_ARM",
        is_wide: false,
        has_x32: false,
        has_multiplexers: false,
        execve: 11,
        ioctl: 54,
        denied: &arm::DENIED,
        names: arm::names,
    },
);

/// The numbers of one ABI: those that `syscalls` knows, and some that it doesn't.
macro_rules! numbers {
    ($module:ident, $more:expr) => {
        mod $module {
            use super::{builtin, same};
            use syscalls::$module::Sysno;

            const MORE: &[(&str, u32)] = &$more;

            /// Known when this is compiled: to look up every name at every start would take longer than all the rest.
            pub(super) static DENIED: [Option<u32>; builtin::DENIED.len()] = {
                let mut numbers = [None; builtin::DENIED.len()];
                let mut i = 0;
                while i < numbers.len() {
                    numbers[i] = number(builtin::DENIED[i].name);
                    i += 1;
                }
                numbers
            };

            const fn number(name: &str) -> Option<u32> {
                let mut id = 0;
                while id < Sysno::table_size() {
                    if let Some(call) = Sysno::new(id) {
                        if same(call.name(), name) {
                            return Some(id as u32);
                        }
                    }
                    id += 1;
                }
                None
            }

            pub(super) fn names() -> Vec<(&'static str, u32)> {
                let known = (0..Sysno::table_size()).filter_map(Sysno::new);
                known.map(|call| (call.name(), call.id() as u32)).chain(MORE.iter().copied()).collect()
            }
        }
    };
}

#[cfg(any(target_arch = "x86_64", test))]
numbers!(x86_64, []);
#[cfg(any(target_arch = "x86_64", test))]
numbers!(x86, []);
#[cfg(any(target_arch = "aarch64", test))]
numbers!(aarch64, []);
// What only ARM has starts at __ARM_NR_BASE (arm's asm/unistd.h); sync_file_range2 is another name of number 341.
#[cfg(any(target_arch = "aarch64", test))]
numbers!(
    arm,
    [("sync_file_range2", 341), ("breakpoint", 0xf_0001), ("cacheflush", 0xf_0002), ("set_tls", 0xf_0005)]
);

/// `==`, which is not const.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut i = 0;
    while i < one.len() {
        if one[i] != other[i] {
            return false;
        }
        i += 1;
    }
    true
}
