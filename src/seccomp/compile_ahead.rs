//! The filters that no profile is needed for, made when this program is compiled: to compile them took a fifth of a start.
//! What they refuse is builtin.rs's to say; their form is that of compile.rs, which tests hold against this.

#![forbid(unsafe_code)]

use libc::{ENOSYS, EPERM, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};

use launch_init::handoff::Instruction;

use super::Filter;
use super::abi::{Abi, X32_BIT, X32_IOCTL};
use super::builtin::{DENIED, TERMINAL_REQUESTS};
use super::compile::{ARCHITECTURE, JUMP_IF_AT_LEAST, JUMP_IF_EQUAL, LOAD, NUMBER, RETURN, instruction};

/// Longer ones than this do not compile.
const MOST: usize = 256;
/// The lower half of the second argument; seccomp(2), struct seccomp_data.
const REQUEST: u32 = if cfg!(target_endian = "little") { 24 } else { 28 };

/// Where the search begins, for as many numbers as the kernel has, or some more: it walks through the filter for each of them
/// when that is installed.
const CALLS: u32 = 512;
/// What a range can come to, but for what depends on the request.
const RESULTS: [u32; 3] = [SECCOMP_RET_ALLOW, errno(EPERM), errno(ENOSYS)];

/// One filter.
pub(super) struct Program {
    steps: [Instruction; MOST],
    length: usize,
}

/// What is done from one number on, up to the next range's.
#[derive(Clone, Copy)]
struct Range {
    first: u32,
    /// None: it depends on the request.
    result: Option<u32>,
}

/// In the order of their numbers.
struct Ranges {
    all: [Range; 2 * DENIED.len() + 8],
    length: usize,
}

impl Program {
    /// The filter of [`DENIED`] and of x32, or else of nothing; and of [`TERMINAL_REQUESTS`] if they are to be refused. x32
    /// is, as the kernels of many distributions do: programs of today have none of it, and its numbers are a second name for
    /// everything.
    pub(super) const fn new(abis: [&Abi; 2], refuse_denied: bool, refuse_terminal: bool) -> Self {
        let mut program = Self { steps: [instruction(RETURN, 0); MOST], length: 0 };
        program.push(LOAD, ARCHITECTURE);
        let mut i = 0;
        while i < abis.len() {
            let skip = program.branch(JUMP_IF_EQUAL, abis[i].audit);
            program.push(LOAD, NUMBER);
            let ranges = Ranges::of(abis[i], refuse_denied, refuse_terminal);
            program.search(ranges.all.split_at(ranges.length).0);
            program.ends_here(skip);
            i += 1;
        }
        program.push(RETURN, if refuse_denied { SECCOMP_RET_KILL_PROCESS } else { SECCOMP_RET_ALLOW });
        program
    }

    const fn push(&mut self, code: u16, operand: u32) {
        self.steps[self.length] = instruction(code, operand);
        self.length += 1;
    }

    /// Skips what follows unless the comparison holds, up to [`Self::ends_here`].
    const fn branch(&mut self, comparison: u16, operand: u32) -> usize {
        self.push(comparison, operand);
        self.length - 1
    }

    const fn ends_here(&mut self, branch: usize) {
        self.steps[branch].jump_false = distance(branch, self.length);
    }

    /// Appends the search for the number, which is loaded, and what it comes to. The kernel translates each instruction when the
    /// filter is installed, so that each result is there once only.
    const fn search(&mut self, ranges: &[Range]) {
        // A comparison is between two ranges.
        let results = self.length + ranges.len() - 1;
        let _ = self.compare(ranges, CALLS, results);
        let mut i = 0;
        while i < RESULTS.len() {
            self.push(RETURN, RESULTS[i]);
            i += 1;
        }
        self.decide_by_request();
    }

    /// Appends the comparisons between these ranges, of numbers below `end`, and returns where it goes on with them; at
    /// `results` begins what one range comes to.
    const fn compare(&mut self, ranges: &[Range], end: u32, results: usize) -> usize {
        if let [range] = ranges {
            return results + range.place();
        }
        let (lower, upper, middle) = halves(ranges, end);
        let here = self.length;
        self.push(JUMP_IF_AT_LEAST, upper[0].first);
        self.steps[here].jump_false = distance(here, self.compare(lower, middle, results));
        self.steps[here].jump_true = distance(here, self.compare(upper, end, results));
        here
    }

    /// The kernel looks at no more than the lower half of a request (CVE-2019-10063).
    const fn decide_by_request(&mut self) {
        self.push(LOAD, REQUEST);
        let mut i = 0;
        while i < TERMINAL_REQUESTS.len() {
            let skip = self.branch(JUMP_IF_EQUAL, TERMINAL_REQUESTS[i]);
            self.push(RETURN, errno(EPERM));
            self.ends_here(skip);
            i += 1;
        }
        self.push(RETURN, SECCOMP_RET_ALLOW);
    }

    pub(super) fn to_filter(&self) -> Filter {
        self.steps[..self.length].to_vec()
    }
}

impl Range {
    /// Which of [`RESULTS`] it has, or what comes behind them.
    const fn place(self) -> usize {
        let Some(result) = self.result else { return RESULTS.len() };
        let mut i = 0;
        while RESULTS[i] != result {
            i += 1;
        }
        i
    }
}

/// How many instructions a jump skips.
const fn distance(from: usize, to: usize) -> u8 {
    let skipped = to - from - 1;
    assert!(skipped <= u8::MAX as usize, "too far for one jump");
    skipped as u8
}

/// Two parts with about as many system calls each, and where the first one ends; the second one ends at `end`.
const fn halves(ranges: &[Range], end: u32) -> (&[Range], &[Range], u32) {
    let middle = (ranges[0].first + end) / 2;
    let mut at = 1;
    while at + 1 < ranges.len() && ranges[at + 1].first <= middle {
        at += 1;
    }
    if at + 1 < ranges.len() && ranges[at + 1].first.abs_diff(middle) < ranges[at].first.abs_diff(middle) {
        at += 1;
    }
    let (lower, upper) = ranges.split_at(at);
    let first = upper[0].first;
    (lower, upper, if first < end { first } else { end })
}

impl Ranges {
    const fn of(abi: &Abi, refuse_denied: bool, refuse_terminal: bool) -> Self {
        let first = Range { first: 0, result: Some(SECCOMP_RET_ALLOW) };
        let mut ranges = Self { all: [first; 2 * DENIED.len() + 8], length: 1 };
        let mut number = 0;
        loop {
            // The lowest that has not had its turn.
            let mut next: Option<Range> = None;
            let mut i = 0;
            while refuse_denied && i < DENIED.len() {
                if let Some(denied) = abi.denied[i] {
                    next = lower(next, Range { first: denied, result: Some(errno(DENIED[i].errno)) }, number);
                }
                i += 1;
            }
            if refuse_terminal {
                next = lower(next, Range { first: abi.ioctl, result: None }, number);
                if abi.has_x32 && !refuse_denied {
                    next = lower(next, Range { first: X32_IOCTL, result: None }, number);
                }
            }
            let Some(call) = next else { break };
            ranges.add(call);
            number = call.first + 1;
            ranges.add(Range { first: number, result: Some(SECCOMP_RET_ALLOW) });
        }
        if abi.has_x32 && refuse_denied {
            ranges.add(Range { first: X32_BIT, result: Some(errno(ENOSYS)) });
            // That isn't a system call: a tracer sets it to skip one.
            ranges.add(Range { first: u32::MAX, result: Some(SECCOMP_RET_ALLOW) });
        }
        ranges
    }

    const fn add(&mut self, range: Range) {
        if self.all[self.length - 1].first == range.first {
            self.length -= 1;
        }
        let goes_on = match (self.all[self.length.saturating_sub(1)].result, range.result) {
            (Some(one), Some(other)) => self.length > 0 && one == other,
            _ => false,
        };
        if !goes_on {
            self.all[self.length] = range;
            self.length += 1;
        }
    }
}

/// The lower of two numbers, none below `least`.
const fn lower(one: Option<Range>, other: Range, least: u32) -> Option<Range> {
    match one {
        _ if other.first < least => one,
        Some(one) if one.first <= other.first => Some(one),
        _ => Some(other),
    }
}

const fn errno(number: i32) -> u32 {
    SECCOMP_RET_ERRNO | number as u32
}
