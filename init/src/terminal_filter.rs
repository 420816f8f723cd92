//! The seccomp filter that keeps a workload from typing into a terminal that it shares with its caller. Pure: the
//! filter as instructions; sys.rs installs it.
//!
//! TIOCSTI puts characters into the terminal's input, which the caller's shell reads as soon as the workload has
//! ended (CVE-2017-5226); TIOCLINUX can paste on a console (CVE-2023-28100).

#![forbid(unsafe_code)]

use libc::sock_filter;

/// ioctl(2)'s number for each architecture that this kernel may run a program for: linux/audit.h, asm/unistd.h.
#[cfg(target_arch = "x86_64")]
const IOCTL: [(u32, u32); 3] = [
    (0xc000_003e, 16),
    // x32: the same architecture with a bit in the number.
    (0xc000_003e, 0x4000_0000 | 514),
    // i386
    (0x4000_0003, 54),
];
#[cfg(target_arch = "aarch64")]
const IOCTL: [(u32, u32); 2] = [
    (0xc000_00b7, 29),
    // arm
    (0x4000_0028, 54),
];

/// Refused; asm-generic/ioctls.h.
const REFUSED: [u32; 2] = [0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */];

/// Offsets in seccomp_data; seccomp(2).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the second argument: the kernel looks at no more of a request (CVE-2019-10063).
const REQUEST: u32 = 24;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// The filter: EPERM for those requests, all else allowed.
pub(crate) fn instructions() -> Vec<sock_filter> {
    let mut program = Vec::new();
    // Three instructions to load the request and compare it, before the two that return.
    let check = [
        instruction(LOAD, REQUEST, 0, 0),
        instruction(JUMP_IF_EQUAL, REFUSED[0], 2, 0),
        instruction(JUMP_IF_EQUAL, REFUSED[1], 1, 0),
        instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        instruction(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
    ];
    for (left, (architecture, number)) in (0..IOCTL.len() as u8).rev().zip(IOCTL) {
        // Four instructions for each that is left, and the jump over the "allow" before the check.
        let to_check = left * 4 + 1;
        program.extend([
            instruction(LOAD, ARCHITECTURE, 0, 0),
            instruction(JUMP_IF_EQUAL, architecture, 0, 2),
            instruction(LOAD, NUMBER, 0, 0),
            instruction(JUMP_IF_EQUAL, number, to_check, 0),
        ]);
    }
    program.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program.extend(check);
    program
}

fn instruction(code: u32, operand: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: if_true, jf: if_false, k: operand }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer, by an interpreter of the four instructions that are used.
    fn answer(architecture: u32, number: u32, request: u64) -> u32 {
        let program = instructions();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            match u32::from(step.code) {
                LOAD => {
                    loaded = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        _ => request as u32,
                    }
                }
                JUMP_IF_EQUAL => at += usize::from(if loaded == step.k { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn the_two_requests_are_refused_on_every_architecture_and_with_high_bits_set() {
        for (architecture, number) in IOCTL {
            for request in [0x5412, 0x541c, 0xffff_ffff_0000_5412] {
                let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
                assert_eq!(answer(architecture, number, request), refused, "{architecture:x} {number}");
            }
            assert_eq!(answer(architecture, number, 0x5401), libc::SECCOMP_RET_ALLOW);
            assert_eq!(answer(architecture, number + 1, 0x5412), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(answer(1, 16, 0x5412), libc::SECCOMP_RET_ALLOW);
    }
}
