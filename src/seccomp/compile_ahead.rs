//! The filters that no profile is needed for, made when this program is compiled: to compile them took a fifth of a start.
//! What they refuse is builtin.rs's to say; their form is that of compile.rs, which tests hold against this.

#![forbid(unsafe_code)]

use libc::{ENOSYS, EPERM, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};

use launch_init::handoff::Instruction;

use super::Filter;
use super::abi::{Abi, X32_BIT, X32_IOCTL};
use super::builtin::{DENIED, TERMINAL_REQUESTS};
use super::compile::{
    ARCHITECTURE, END_OF_WALK, JUMP_IF_AT_LEAST, JUMP_IF_EQUAL, LOAD, NUMBER, RETURN, instruction,
};

/// Longer ones than this do not compile.
const MOST: usize = 256;
/// The lower half of the second argument; seccomp(2), struct seccomp_data.
const REQUEST: u32 = if cfg!(target_endian = "little") { 24 } else { 28 };

/// Above all numbers that an ABI has.
const NUMBERS: u32 = 512;

/// One filter.
pub(super) struct Program {
    steps: [Instruction; MOST],
    length: usize,
}

/// A program that is being made.
struct Draft {
    program: Program,
    /// The branches that end the search; what they lead to is appended once for all of them.
    ends: [End; MOST],
    ended: usize,
}

/// One of the two branches of the comparison at this place, and the filter's result there.
#[derive(Clone, Copy)]
struct End {
    at: usize,
    if_true: bool,
    result: u32,
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
    ///
    /// It is short, and its ways are: whenever it is installed, the kernel compiles it, and walks through it for each number
    /// of the machine's own ABI, the first of these.
    pub(super) const fn new(abis: [&Abi; 2], refuse_denied: bool, refuse_terminal: bool) -> Self {
        let foreign = if refuse_denied { SECCOMP_RET_KILL_PROCESS } else { SECCOMP_RET_ALLOW };
        let mut draft = Draft {
            program: Self { steps: [instruction(RETURN, 0); MOST], length: 0 },
            ends: [End { at: 0, if_true: false, result: 0 }; MOST],
            ended: 0,
        };
        draft.push(LOAD, ARCHITECTURE);
        let mut i = 0;
        while i < abis.len() {
            let is_this = draft.push(JUMP_IF_EQUAL, abis[i].audit);
            draft.push(LOAD, NUMBER);
            if i > 0 {
                draft.push(END_OF_WALK, 0);
            }
            let ranges = Ranges::of(abis[i], refuse_denied, refuse_terminal);
            draft.search(ranges.all.split_at(ranges.length).0, u32::MAX);
            i += 1;
            if i < abis.len() {
                draft.goes_on(is_this, false);
            } else {
                draft.ends(is_this, false, foreign);
            }
        }
        draft.append_results();
        draft.program
    }

    pub(super) fn to_filter(&self) -> Filter {
        self.steps[..self.length].to_vec()
    }
}

impl Draft {
    /// Returns where it stands.
    const fn push(&mut self, code: u16, operand: u32) -> usize {
        let at = self.program.length;
        self.program.steps[at] = instruction(code, operand);
        self.program.length += 1;
        at
    }

    /// This branch goes on with what is pushed next.
    const fn goes_on(&mut self, at: usize, if_true: bool) {
        let skipped = self.program.length - at - 1;
        assert!(skipped <= u8::MAX as usize, "too far for one jump");
        let step = &mut self.program.steps[at];
        if if_true {
            step.jump_true = skipped as u8;
        } else {
            step.jump_false = skipped as u8;
        }
    }

    /// This branch ends with the result.
    const fn ends(&mut self, at: usize, if_true: bool, result: u32) {
        self.ends[self.ended] = End { at, if_true, result };
        self.ended += 1;
    }

    const fn append_results(&mut self) {
        let mut waiting = self.ended;
        while waiting > 0 {
            let result = self.ends[waiting - 1].result;
            let mut kept = 0;
            let mut i = 0;
            while i < waiting {
                let end = self.ends[i];
                if end.result == result {
                    self.goes_on(end.at, end.if_true);
                } else {
                    self.ends[kept] = end;
                    kept += 1;
                }
                i += 1;
            }
            self.push(RETURN, result);
            waiting = kept;
        }
    }

    /// Appends the search for the number, which is loaded, among two or more ranges, the last of which goes up to `end`.
    const fn search(&mut self, ranges: &[Range], end: u32) {
        if let [below, Range { first, result: Some(result) }, above] = ranges
            && let (Some(outside), Some(same)) = (below.result, above.result)
            && outside == same
            && above.first == *first + 1
        {
            let at = self.push(JUMP_IF_EQUAL, *first);
            self.ends(at, true, *result);
            self.ends(at, false, outside);
            return;
        }
        let (lower, upper) = ranges.split_at(middle(ranges, end));
        let at = self.push(JUMP_IF_AT_LEAST, upper[0].first);
        self.search_on(at, false, lower, upper[0].first);
        self.search_on(at, true, upper, end);
    }

    /// This branch goes on with these ranges.
    const fn search_on(&mut self, at: usize, if_true: bool, ranges: &[Range], end: u32) {
        match ranges {
            [Range { result: Some(result), .. }] => self.ends(at, if_true, *result),
            [Range { result: None, .. }] => {
                self.goes_on(at, if_true);
                self.decide_by_request();
            }
            _ => {
                self.goes_on(at, if_true);
                self.search(ranges, end);
            }
        }
    }

    /// The kernel looks at no more than the lower half of a request (CVE-2019-10063).
    const fn decide_by_request(&mut self) {
        self.push(LOAD, REQUEST);
        let mut i = 0;
        while i < TERMINAL_REQUESTS.len() {
            let at = self.push(JUMP_IF_EQUAL, TERMINAL_REQUESTS[i]);
            self.ends(at, true, errno(EPERM));
            i += 1;
            if i == TERMINAL_REQUESTS.len() {
                self.ends(at, false, SECCOMP_RET_ALLOW);
            }
        }
    }
}

/// The first range of the upper part, where both parts have about as many numbers that there are. (Halves of the ranges would
/// make most numbers' ways longer: a few ranges have most of them.)
const fn middle(ranges: &[Range], end: u32) -> usize {
    let end = if end < NUMBERS { end } else { NUMBERS };
    let twice_the_middle = ranges[0].first as u64 + end as u64;
    let mut best = 1;
    let mut i = 2;
    while i < ranges.len() {
        let (this, that) = (2 * ranges[i].first as u64, 2 * ranges[best].first as u64);
        if this.abs_diff(twice_the_middle) < that.abs_diff(twice_the_middle) {
            best = i;
        }
        i += 1;
    }
    best
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
