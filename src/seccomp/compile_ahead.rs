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

/// As many calls are looked for one after the other, in the machine's own ABI and in the second. Fewer would be more instructions to
/// compile; more, a longer way for each number of the first, which the kernel's walk goes. Measured: docs/performance.md.
const IN_A_ROW: [usize; 2] = [5, 20];

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

/// One of the two branches of the comparison at this place, and what is done there.
#[derive(Clone, Copy)]
struct End {
    at: usize,
    if_true: bool,
    result: Result,
}

/// The filter's result; none: it depends on the request.
type Result = Option<u32>;
const ALLOW: Result = Some(SECCOMP_RET_ALLOW);

/// Calls of consecutive numbers about which the same is done. All others are allowed.
#[derive(Clone, Copy)]
struct Calls {
    first: u32,
    last: u32,
    result: Result,
}

/// In the order of their numbers.
struct List {
    all: [Calls; DENIED.len() + 3],
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
            ends: [End { at: 0, if_true: false, result: ALLOW }; MOST],
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
            let list = List::of(abis[i], refuse_denied, refuse_terminal);
            draft.search(list.all.split_at(list.length).0, IN_A_ROW[i]);
            i += 1;
            if i < abis.len() {
                draft.goes_on(is_this, false);
            } else {
                draft.ends(is_this, false, Some(foreign));
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

    /// This branch ends the search.
    const fn ends(&mut self, at: usize, if_true: bool, result: Result) {
        self.ends[self.ended] = End { at, if_true, result };
        self.ended += 1;
    }

    const fn append_results(&mut self) {
        let ended = self.ended;
        self.lead_here(None);
        if self.ended < ended {
            self.decide_by_request();
        }
        while self.ended > 0 {
            let result = self.ends[self.ended - 1].result;
            self.lead_here(result);
            self.push(RETURN, result.expect("that of requests came first"));
        }
    }

    /// The branches that end so go on with what is pushed next.
    const fn lead_here(&mut self, result: Result) {
        let mut kept = 0;
        let mut i = 0;
        while i < self.ended {
            let end = self.ends[i];
            if is_same(end.result, result) {
                self.goes_on(end.at, end.if_true);
            } else {
                self.ends[kept] = end;
                kept += 1;
            }
            i += 1;
        }
        self.ended = kept;
    }

    /// Appends the search for the number, which is loaded: by halves, and then for at most so many one after the other.
    const fn search(&mut self, calls: &[Calls], in_a_row: usize) {
        if calls.len() <= in_a_row {
            return self.look_for_each(calls);
        }
        let (lower, upper) = calls.split_at(calls.len() / 2);
        let is_upper = self.push(JUMP_IF_AT_LEAST, upper[0].first);
        self.search(lower, in_a_row);
        self.goes_on(is_upper, true);
        self.search(upper, in_a_row);
    }

    /// One branch of a comparison is that to the next instruction, wherever that can be: of two jumps the kernel makes two.
    const fn look_for_each(&mut self, calls: &[Calls]) {
        let mut i = 0;
        while i < calls.len() {
            let Calls { first, last, result } = calls[i];
            i += 1;
            if last - first < 2 {
                let mut number = first;
                while number <= last {
                    let at = self.push(JUMP_IF_EQUAL, number);
                    self.ends(at, true, result);
                    if i == calls.len() && number == last {
                        self.ends(at, false, ALLOW);
                    }
                    number += 1;
                }
            } else {
                let is_above = self.push(JUMP_IF_AT_LEAST, last + 1);
                let at = self.push(JUMP_IF_AT_LEAST, first);
                self.ends(at, true, result);
                self.ends(at, false, ALLOW);
                if i == calls.len() {
                    self.ends(is_above, true, ALLOW);
                } else {
                    self.goes_on(is_above, true);
                }
            }
        }
    }

    /// The kernel looks at no more than the lower half of a request (CVE-2019-10063).
    const fn decide_by_request(&mut self) {
        self.push(LOAD, REQUEST);
        let mut i = 0;
        while i < TERMINAL_REQUESTS.len() {
            let at = self.push(JUMP_IF_EQUAL, TERMINAL_REQUESTS[i]);
            self.ends(at, true, Some(errno(EPERM)));
            i += 1;
            if i == TERMINAL_REQUESTS.len() {
                self.ends(at, false, ALLOW);
            }
        }
    }
}

impl List {
    const fn of(abi: &Abi, refuse_denied: bool, refuse_terminal: bool) -> Self {
        let none = Calls { first: 0, last: 0, result: ALLOW };
        let mut list = Self { all: [none; DENIED.len() + 3], length: 0 };
        let mut number = 0;
        loop {
            // The lowest that has not had its turn.
            let mut next: Option<Calls> = None;
            let mut i = 0;
            while refuse_denied && i < DENIED.len() {
                if let Some(denied) = abi.denied[i] {
                    next = lower(next, one(denied, Some(errno(DENIED[i].errno))), number);
                }
                i += 1;
            }
            if refuse_terminal {
                next = lower(next, one(abi.ioctl, None), number);
                if abi.has_x32 && !refuse_denied {
                    next = lower(next, one(X32_IOCTL, None), number);
                }
            }
            let Some(call) = next else { break };
            list.add(call);
            number = call.first + 1;
        }
        if abi.has_x32 && refuse_denied {
            // The last number isn't a system call: a tracer sets it to skip one.
            list.add(Calls { first: X32_BIT, last: u32::MAX - 1, result: Some(errno(ENOSYS)) });
        }
        list
    }

    const fn add(&mut self, call: Calls) {
        if self.length > 0 {
            let before = &mut self.all[self.length - 1];
            if before.last + 1 == call.first && is_same(before.result, call.result) {
                before.last = call.last;
                return;
            }
        }
        self.all[self.length] = call;
        self.length += 1;
    }
}

const fn one(number: u32, result: Result) -> Calls {
    Calls { first: number, last: number, result }
}

/// The lower of two numbers, none below `least`.
const fn lower(one: Option<Calls>, other: Calls, least: u32) -> Option<Calls> {
    match one {
        _ if other.first < least => one,
        Some(one) if one.first <= other.first => Some(one),
        _ => Some(other),
    }
}

const fn is_same(one: Result, other: Result) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        (None, None) => true,
        _ => false,
    }
}

const fn errno(number: i32) -> u32 {
    SECCOMP_RET_ERRNO | number as u32
}
