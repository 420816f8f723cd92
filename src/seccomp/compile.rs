//! From tables (which system call, what arguments, what is done) to one BPF program. Where the tables come from is
//! others' work.
//!
//! `seccompiler` compiles what depends on arguments. Around that this module puts a search for the ABI and, by
//! halves, for the number: the library compares with one number after the other, and the kernel walks through that
//! for every number of both ABIs when a filter is installed, which takes it 0.9 ms for the size of Docker's profile.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use launch_init::handoff::Instruction;
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use super::abi::{Abi, X32_BIT};
use super::{Filter, Wrong};

/// BPF_MAXINSNS; linux/bpf_common.h.
const LONGEST: usize = 4096;

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Copies what is loaded to the other register, which nobody reads. The walk that the kernel makes through a filter, for each number
/// that an ABI has, ends at the first instruction that it does not follow (seccomp_is_const_allow in kernel/seccomp.c): each start
/// would pay for it, and programs of the second ABI, which are rare, would alone gain by it.
pub(super) const END_OF_WALK: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;

/// Offsets in seccomp_data; seccomp(2).
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;

/// AUDIT_ARCH_X86_64; linux/audit.h.
const AUDIT_X86_64: u32 = 0xc000_003e;

/// Stands in the library's programs for "none of these rules". No table has it: tracers are not supported.
const NONE_OF_THESE: SeccompAction = SeccompAction::Trace(0xffff);

/// What is done about one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Always(SeccompAction),
    /// What the first rule that fits says, or else what the table does by default.
    ByArguments(Vec<(SeccompRule, SeccompAction)>),
}

/// What is done about the system calls of one ABI.
pub(super) struct Table {
    /// By number.
    pub(super) calls: BTreeMap<u32, Decision>,
    pub(super) default: SeccompAction,
    /// Whether x32's system calls fail with ENOSYS.
    pub(super) refuse_x32: bool,
}

/// One program for these ABIs, the machine's own first; `foreign` is done about all others.
///
/// # Errors
/// [`Wrong`]: it would be longer than the kernel takes.
pub(super) fn program(tables: &[(&Abi, Table)], foreign: &SeccompAction) -> Result<Filter, Wrong> {
    let mut program = vec![instruction(LOAD, ARCHITECTURE)];
    for (place, (abi, table)) in tables.iter().enumerate() {
        let mut body = vec![instruction(LOAD, NUMBER)];
        if place > 0 {
            body.push(instruction(END_OF_WALK, 0));
        }
        search(&ranges(table), table, &mut body)?;
        branch(JUMP_IF_EQUAL, abi.audit, body, &mut program);
    }
    program.push(result(foreign));
    match program.len() {
        ..=LONGEST => Ok(program),
        length => {
            Err(Wrong::at("", format!("{length} instructions are more than a filter can have ({LONGEST})")))
        }
    }
}

/// The program's error for what the library refuses.
pub(super) fn library(error: BackendError) -> Wrong {
    Wrong::at("", format!("cannot be compiled: {error}"))
}

pub(super) const fn instruction(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

fn result(action: &SeccompAction) -> Instruction {
    instruction(RETURN, action.clone().into())
}

/// Appends `body`, which is skipped unless the comparison holds.
fn branch(comparison: u16, operand: u32, body: Filter, program: &mut Filter) {
    if let Ok(jump_false) = u8::try_from(body.len()) {
        program.push(Instruction { jump_false, ..instruction(comparison, operand) });
    } else {
        program.push(Instruction { jump_true: 1, ..instruction(comparison, operand) });
        program.push(instruction(JUMP, body.len() as u32));
    }
    program.extend(body);
}

/// What is done from which number on, up to the next.
fn ranges(table: &Table) -> Vec<(u32, Decision)> {
    let default = Decision::Always(table.default.clone());
    let mut ranges = vec![(0, default.clone())];
    let mut add = |first: u32, decision: &Decision| {
        if ranges.last().is_some_and(|(last, _)| *last == first) {
            ranges.pop();
        }
        // Of two decisions by arguments each is compiled for its own number.
        let goes_on =
            matches!(decision, Decision::Always(_)) && ranges.last().is_some_and(|(_, d)| d == decision);
        if !goes_on {
            ranges.push((first, decision.clone()));
        }
    };
    for (number, decision) in &table.calls {
        add(*number, decision);
        add(number + 1, &default);
    }
    if table.refuse_x32 {
        add(X32_BIT, &Decision::Always(SeccompAction::Errno(libc::ENOSYS as u32)));
        // That isn't a system call: a tracer sets it to skip one.
        add(u32::MAX, &default);
    }
    ranges
}

/// Appends the search for the number, which is loaded.
fn search(ranges: &[(u32, Decision)], table: &Table, program: &mut Filter) -> Result<(), Wrong> {
    match ranges {
        [] => {}
        [(number, decision)] => decide(*number, decision, table, program)?,
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let mut body = Vec::new();
            search(upper, table, &mut body)?;
            branch(JUMP_IF_AT_LEAST, upper[0].0, body, program);
            search(lower, table, program)?;
        }
    }
    Ok(())
}

/// Appends what is done about this system call.
fn decide(number: u32, decision: &Decision, table: &Table, program: &mut Filter) -> Result<(), Wrong> {
    let rules = match decision {
        Decision::Always(action) => {
            program.push(result(action));
            return Ok(());
        }
        Decision::ByArguments(rules) => rules,
    };
    // The library knows one action for all rules of a program: one program for each run of equal ones.
    for run in rules.chunk_by(|(_, one), (_, other)| one == other) {
        program.extend(compiled(number, run)?);
    }
    program.push(result(&table.default));
    Ok(())
}

/// The library's program for rules of one action. If none of them fits, it ends behind its last instruction.
fn compiled(number: u32, rules: &[(SeccompRule, SeccompAction)]) -> Result<Filter, Wrong> {
    let Some((_, action)) = rules.first() else { return Ok(Vec::new()) };
    let by_number = BTreeMap::from([(number.into(), rules.iter().map(|(rule, _)| rule.clone()).collect())]);
    // The architecture is only for the check that is taken off again.
    let filter =
        SeccompFilter::new(by_number, NONE_OF_THESE, action.clone(), TargetArch::x86_64).map_err(library)?;
    let program: BpfProgram = filter.try_into().map_err(library)?;
    let program: Filter = program
        .iter()
        .map(|i| Instruction { code: i.code, jump_true: i.jt, jump_false: i.jf, operand: i.k })
        .collect();
    let check = [
        instruction(LOAD, ARCHITECTURE),
        Instruction { jump_true: 1, ..instruction(JUMP_IF_EQUAL, AUDIT_X86_64) },
        result(&SeccompAction::KillProcess),
    ];
    let Some(rest) = program.strip_prefix(&check) else {
        return Err(Wrong::at("", "the library's program starts in an unknown way"));
    };
    let none = result(&NONE_OF_THESE);
    let to_end = |(at, step): (usize, &Instruction)| {
        if *step == none { instruction(JUMP, (rest.len() - 1 - at) as u32) } else { *step }
    };
    Ok(rest.iter().enumerate().map(to_end).collect())
}
