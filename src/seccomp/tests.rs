//! What the filters answer, by an interpreter of their instructions, for both machines' ABIs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use libc::{EINVAL, ENOSYS, EPERM};
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::abi::{AARCH64, Abi, Machine, X32_BIT, X32_IOCTL, X86_64};
use super::compile::{Decision, END_OF_WALK, Table, program};
use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const KILL_THREAD: u32 = libc::SECCOMP_RET_KILL_THREAD;
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

fn facts() -> Facts {
    Facts { capabilities: 0, kernel: (6, 1), shares_terminal: false }
}

fn with_capability(number: u32) -> Facts {
    Facts { capabilities: 1 << number, ..facts() }
}

/// What one filter returns.
fn run(filter: &[Instruction], audit: u32, number: u32, arguments: [u64; 6]) -> u32 {
    trace(filter, audit, number, arguments).0
}

/// The same, and the codes of the instructions on the way.
fn trace(filter: &[Instruction], audit: u32, number: u32, arguments: [u64; 6]) -> (u32, Vec<u16>) {
    let data: Vec<u8> = [number, audit, 0, 0]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .chain(arguments.into_iter().flat_map(u64::to_le_bytes))
        .collect();
    let (mut at, mut loaded, mut codes) = (0, 0u32, Vec::new());
    loop {
        let step = filter[at];
        codes.push(step.code);
        at += 1;
        let (skip, operand) =
            (|is: bool| usize::from(if is { step.jump_true } else { step.jump_false }), step.operand);
        match step.code {
            // Loads a word; seccomp(2): only from aligned offsets.
            0x20 => {
                let from = operand as usize;
                assert_eq!(from % 4, 0);
                loaded = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
            }
            0x05 => at += operand as usize,
            0x15 => at += skip(loaded == operand),
            0x25 => at += skip(loaded > operand),
            0x35 => at += skip(loaded >= operand),
            0x54 => loaded &= operand,
            // To the other register, which no instruction here reads.
            0x07 => {}
            0x06 => return (operand, codes),
            code => panic!("an instruction of code {code:#x}"),
        }
    }
}

/// What the kernel does with the filters' results: the most restrictive, of equal ones the last.
fn answer(filters: &[Filter], abi: &Abi, number: u32, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let results = filters.iter().map(|filter| run(filter, abi.audit, number, all));
    // The kernel compares the actions as signed numbers; linux/seccomp.h.
    let order = |result: &u32| (result & libc::SECCOMP_RET_ACTION_FULL) as i32;
    results.rev().min_by_key(order).unwrap_or(ALLOW)
}

fn number(abi: &Abi, name: &str) -> u32 {
    (abi.names)().into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn by_name(filters: &[Filter], abi: &Abi, name: &str, arguments: &[u64]) -> u32 {
    answer(filters, abi, number(abi, name), arguments)
}

fn abis() -> [(&'static Machine, &'static Abi); 4] {
    [
        (&X86_64, X86_64.native),
        (&X86_64, X86_64.compatible),
        (&AARCH64, AARCH64.native),
        (&AARCH64, AARCH64.compatible),
    ]
}

fn profile_for(machine: &Machine, facts: &Facts, text: &str) -> Result<Vec<Filter>, Wrong> {
    filters_for(machine, &Choice::Profile(text.into()), facts)
}

/// Filters of a profile with these entries, of which the rest is allowed.
fn allowing_but(entries: &str) -> Vec<Filter> {
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [{entries}]}}"#
    );
    profile_for(&X86_64, &facts(), &text).unwrap()
}

fn wrong(text: &str) -> String {
    profile_for(&X86_64, &facts(), text).unwrap_err().to_string()
}

fn wrong_entry(entry: &str) -> String {
    wrong(
        &format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": []}}, {entry}]}}"#)
            .replace(r#""names": []"#, r#""names": ["sync"], "action": "SCMP_ACT_LOG""#),
    )
}

const DOCKER: &str = include_str!("../../tests/profiles/docker.json");
const PODMAN: &str = include_str!("../../tests/profiles/podman.json");

#[test]
fn by_default_each_abi_refuses_the_denied_calls_it_has_and_allows_all_others() {
    let mut refused = BTreeSet::new();
    for (machine, abi) in abis() {
        let filters = filters_for(machine, &Choice::Default, &facts()).unwrap();
        for (name, number) in (abi.names)() {
            let denied = DENIED.iter().find(|denied| denied.name == name);
            refused.extend(denied.map(|denied| denied.name));
            let expected = denied.map_or(ALLOW, |denied| errno(denied.errno));
            assert_eq!(answer(&filters, abi, number, &[]), expected, "{name} on {}", abi.architecture);
        }
        assert_eq!(answer(&filters, abi, 4095, &[]), ALLOW);
    }
    // None of them is misspelt.
    assert_eq!(refused, DENIED.iter().map(|denied| denied.name).collect());
}

#[test]
fn the_kernel_walks_through_a_filter_for_the_machines_own_abi_alone() {
    for (machine, abi) in abis() {
        let ahead = [&machine.denied, &machine.denied_and_terminal, &machine.terminal]
            .map(compile_ahead::Program::to_filter);
        for filter in profile_for(machine, &facts(), DOCKER).unwrap().iter().chain(&ahead) {
            for number in 0..512 {
                let (_, codes) = trace(filter, abi.audit, number, [0; 6]);
                let end = codes.iter().position(|code| *code == END_OF_WALK);
                if abi.audit == machine.native.audit {
                    assert_eq!(end, None, "{number}");
                } else {
                    // After no more than which ABI it is.
                    assert!(end.is_some_and(|end| end <= 4), "{number}: {codes:x?}");
                }
            }
        }
    }
}

#[test]
fn what_is_compiled_ahead_answers_as_what_the_compiler_makes() {
    let by_request = || {
        let rules = builtin::TERMINAL_REQUESTS.map(|request| {
            let (length, is) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
            let condition = SeccompCondition::new(1, length, is, request.into()).unwrap();
            (SeccompRule::new(vec![condition]).unwrap(), SeccompAction::Errno(EPERM as u32))
        });
        Decision::ByArguments(rules.into())
    };
    let table = |abi: &'static Abi, refuse_denied: bool, refuse_terminal: bool| {
        let denied = DENIED.iter().filter_map(|denied| {
            let (_, number) = (abi.names)().into_iter().find(|(name, _)| *name == denied.name)?;
            Some((number, Decision::Always(SeccompAction::Errno(denied.errno as u32))))
        });
        let mut calls: BTreeMap<_, _> = denied.filter(|_| refuse_denied).collect();
        calls.extend(refuse_terminal.then(|| (abi.ioctl, by_request())));
        let has_x32_alone = refuse_terminal && !refuse_denied && abi.has_x32;
        calls.extend(has_x32_alone.then(|| (X32_IOCTL, by_request())));
        (abi, Table { calls, default: SeccompAction::Allow, refuse_x32: refuse_denied && abi.has_x32 })
    };
    for machine in [&X86_64, &AARCH64] {
        for (ahead, refuse_denied, refuse_terminal) in [
            (&machine.denied, true, false),
            (&machine.denied_and_terminal, true, true),
            (&machine.terminal, false, true),
        ] {
            let tables =
                [machine.native, machine.compatible].map(|abi| table(abi, refuse_denied, refuse_terminal));
            let foreign = if refuse_denied { SeccompAction::KillProcess } else { SeccompAction::Allow };
            let (ahead, expected) = (ahead.to_filter(), program(&tables, &foreign).unwrap());
            let edges = [X32_BIT, X32_IOCTL, 0x7fff_ffff, u32::MAX];
            let numbers = (0..1000).chain(edges.into_iter().flat_map(|n| n - 1..=n.saturating_add(1)));
            for (_, abi) in abis() {
                for number in numbers.clone() {
                    for request in [0, TIOCSTI, TIOCLINUX, 1 << 32 | TIOCSTI, TIOCSTI << 32] {
                        let answer = |filter| run(filter, abi.audit, number, [0, request, 0, 0, 0, 0]);
                        let place = (machine.name, abi.architecture, refuse_denied, refuse_terminal, number);
                        assert_eq!(answer(&ahead), answer(&expected), "{place:?} {request:#x}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_list_of_denied_calls_is_sorted_and_the_table_has_a_row_for_each() {
    assert!(DENIED.is_sorted_by(|one, other| one.name < other.name));
    let table = table();
    assert_eq!(table.lines().count(), DENIED.len());
    for (row, denied) in table.lines().zip(DENIED) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let errno = if denied.errno == ENOSYS { "ENOSYS" } else { "EPERM" };
        assert_eq!(cells, ["", &format!("`{}`", denied.name), errno, denied.reason, ""]);
        assert!([ENOSYS, EPERM].contains(&denied.errno));
    }
}

#[test]
fn x32_is_refused_by_the_default_and_by_a_profile_that_names_it() {
    let x86_64 = X86_64.native;
    for choice in [Choice::Default, Choice::Profile(DOCKER.into())] {
        let filters = filters_for(&X86_64, &choice, &facts()).unwrap();
        for number in [X32_BIT, X32_BIT | 1, X32_IOCTL, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1] {
            assert_eq!(answer(&filters, x86_64, number, &[]), errno(ENOSYS), "{choice:?} {number:#x}");
        }
    }
    // What a tracer sets to skip a call.
    let filters = filters_for(&X86_64, &Choice::Default, &facts()).unwrap();
    assert_eq!(answer(&filters, x86_64, u32::MAX, &[]), ALLOW);
}

#[test]
fn a_program_of_an_unknown_architecture_is_killed() {
    for choice in [Choice::Default, Choice::Profile(PODMAN.into())] {
        for (machine, other) in [(&X86_64, AARCH64.native), (&AARCH64, X86_64.native)] {
            let filters = filters_for(machine, &choice, &facts()).unwrap();
            assert_eq!(answer(&filters, other, 0, &[]), KILL_PROCESS);
        }
    }
}

#[test]
fn a_shared_terminal_cannot_be_typed_into_whatever_was_chosen() {
    let sharing = Facts { shares_terminal: true, ..facts() };
    let choices = [Choice::Default, Choice::Off, Choice::Profile(DOCKER.into())];
    for ((machine, abi), choice) in
        abis().into_iter().flat_map(|abi| choices.clone().map(|choice| (abi, choice)))
    {
        let filters = filters_for(machine, &choice, &sharing).unwrap();
        for high in [0, 1 << 32, 0xffff_ffff << 32] {
            for request in [TIOCSTI, TIOCLINUX] {
                assert_eq!(
                    answer(&filters, abi, abi.ioctl, &[0, high | request]),
                    errno(EPERM),
                    "{choice:?}"
                );
            }
            assert_eq!(answer(&filters, abi, abi.ioctl, &[TIOCSTI, high | 0x5401, TIOCSTI]), ALLOW);
        }
        assert_eq!(answer(&filters, abi, abi.ioctl + 1, &[0, TIOCSTI]), ALLOW);
        let not_sharing = filters_for(machine, &choice, &facts()).unwrap();
        assert_eq!(answer(&not_sharing, abi, abi.ioctl, &[0, TIOCSTI]), ALLOW);
    }
    let off = filters_for(&X86_64, &Choice::Off, &sharing).unwrap();
    assert_eq!(answer(&off, X86_64.native, X32_IOCTL, &[0, TIOCSTI]), errno(EPERM));
    assert_eq!(answer(&off, X86_64.native, X32_IOCTL + 1, &[0, TIOCSTI]), ALLOW);
    assert_eq!(filters_for(&X86_64, &Choice::Off, &facts()), Ok(Vec::new()));
}

#[test]
fn a_profile_that_refuses_seccomp_itself_is_the_last_filter() {
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "seccomp", "action": "SCMP_ACT_ERRNO"}]}"#;
    let sharing = Facts { shares_terminal: true, ..facts() };
    let filters = profile_for(&X86_64, &sharing, text).unwrap();
    assert_eq!(by_name(&filters[..filters.len() - 1], X86_64.native, "seccomp", &[]), ALLOW);
    assert_eq!(by_name(&filters, X86_64.native, "seccomp", &[]), errno(EPERM));
}

#[test]
fn dockers_default_profile_loads_and_answers_as_under_docker() {
    for (machine, abi) in abis() {
        let filters = profile_for(machine, &facts(), DOCKER).unwrap();
        let says = |name: &str, arguments: &[u64]| by_name(&filters, abi, name, arguments);
        for name in ["read", "execve", "openat", "rt_sigprocmask", "exit_group", "futex", "socket", "ptrace"]
        {
            assert_eq!(says(name, &[]), ALLOW, "{name}");
        }
        for name in
            ["keyctl", "bpf", "mount", "unshare", "setns", "open_by_handle_at", "reboot", "init_module"]
        {
            assert_eq!(says(name, &[]), errno(EPERM), "{name}");
        }
        assert_eq!(says("clone3", &[]), errno(ENOSYS));
        assert_eq!(says("clone", &[0x0120_0011]), ALLOW, "fork");
        assert_eq!(says("clone", &[0x1000_0011]), errno(EPERM), "CLONE_NEWUSER");
        assert_eq!(says("personality", &[8]), ALLOW);
        assert_eq!(says("personality", &[0xffff_ffff]), ALLOW);
        assert_eq!(says("personality", &[0x0040_0000]), errno(EPERM));
        assert_eq!(answer(&filters, abi, 4095, &[]), errno(EPERM));

        let admin = profile_for(machine, &with_capability(21), DOCKER).unwrap();
        for name in ["bpf", "clone", "clone3", "mount", "unshare"] {
            assert_eq!(by_name(&admin, abi, name, &[0x1000_0011]), ALLOW, "{name}");
        }
        let search = profile_for(machine, &with_capability(2), DOCKER).unwrap();
        assert_eq!(by_name(&search, abi, "open_by_handle_at", &[]), ALLOW);
        let old = profile_for(machine, &Facts { kernel: (4, 7), ..facts() }, DOCKER).unwrap();
        assert_eq!(by_name(&old, abi, "ptrace", &[]), errno(EPERM));
    }
    let filters = profile_for(&X86_64, &facts(), DOCKER).unwrap();
    assert_eq!(by_name(&filters, X86_64.native, "arch_prctl", &[]), ALLOW);
    let filters = profile_for(&AARCH64, &facts(), DOCKER).unwrap();
    assert_eq!(by_name(&filters, AARCH64.compatible, "set_tls", &[]), ALLOW);
}

#[test]
fn podmans_default_profile_loads_and_answers_as_under_podman() {
    for (machine, abi) in abis() {
        let filters = profile_for(machine, &facts(), PODMAN).unwrap();
        let says = |name: &str, arguments: &[u64]| by_name(&filters, abi, name, arguments);
        // setns is in two rules that contradict each other, and the first allows it.
        for name in
            ["read", "execve", "openat", "clone", "clone3", "mount", "unshare", "rseq", "keyctl", "setns"]
        {
            assert_eq!(says(name, &[]), ALLOW, "{name}");
        }
        for name in ["bpf", "kexec_load", "open_by_handle_at", "userfaultfd", "acct", "swapon"] {
            assert_eq!(says(name, &[]), errno(EPERM), "{name}");
        }
        assert_eq!(answer(&filters, abi, 4095, &[]), errno(ENOSYS));
        // Audit's netlink, with and without CAP_AUDIT_WRITE.
        assert_eq!(says("socket", &[16, 3, 9]), errno(EINVAL));
        assert_eq!(says("socket", &[16, 3, 0]), ALLOW);
        assert_eq!(says("socket", &[2, 1, 9]), ALLOW);
        let audit = profile_for(machine, &with_capability(29), PODMAN).unwrap();
        assert_eq!(by_name(&audit, abi, "socket", &[16, 3, 9]), ALLOW);
    }
}

#[test]
fn every_comparison_looks_at_all_64_bits_but_of_ints_at_32() {
    let value = 0x5_0000_0007u64;
    let (less, more, other_half) = (value - 1, value + 1, 0x4_ffff_ffffu64);
    // Comparison, what it holds for, what it doesn't hold for.
    let cases: [(&str, &[u64], &[u64]); 7] = [
        ("EQ", &[value], &[less, more, 7, 0x6_0000_0007]),
        ("NE", &[less, more, 7, 0x6_0000_0007], &[value]),
        ("LT", &[less, other_half, 7], &[value, more, 0x6_0000_0000]),
        ("LE", &[less, value, other_half], &[more, 0x6_0000_0000]),
        ("GT", &[more, 0x6_0000_0000], &[value, less, other_half, 0xffff_ffff]),
        ("GE", &[value, more, 0x6_0000_0000], &[less, other_half, 0xffff_ffff]),
        ("MASKED_EQ", &[0x5_0000_0007, 0xf_0000_000f], &[0x5_0000_0003, 0x1_0000_0007, 7]),
    ];
    for (op, holds, fails) in cases {
        let rule = |name: &str, index: u8| {
            let two = if op == "MASKED_EQ" { format!(r#", "valueTwo": {value}"#) } else { String::new() };
            format!(
                r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
                    "args": [{{"index": {index}, "value": {value}{two}, "op": "SCMP_CMP_{op}"}}]}}"#
            )
        };
        let filters = allowing_but(&rule("lseek", 1));
        for argument in holds {
            assert_eq!(
                by_name(&filters, X86_64.native, "lseek", &[0, *argument]),
                errno(99),
                "{op} {argument:#x}"
            );
        }
        for argument in fails {
            assert_eq!(
                by_name(&filters, X86_64.native, "lseek", &[0, *argument]),
                ALLOW,
                "{op} {argument:#x}"
            );
        }
    }
    let high = allowing_but(
        r#"{"names": ["ioctl", "lseek"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": 21522, "op": "SCMP_CMP_EQ"}]}"#,
    );
    let argument = 0xdead_0000_5412;
    assert_eq!(by_name(&high, X86_64.native, "ioctl", &[0, argument]), errno(EPERM));
    assert_eq!(by_name(&high, X86_64.native, "lseek", &[0, argument]), ALLOW);
    // An ABI of 32 bits: its -1 is the profile's.
    let minus_one = allowing_but(
        r#"{"names": ["lseek"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_EQ"}]}"#,
    );
    assert_eq!(by_name(&minus_one, X86_64.compatible, "lseek", &[0, 0xffff_ffff]), errno(EPERM));
    assert_eq!(by_name(&minus_one, X86_64.native, "lseek", &[0, 0xffff_ffff]), ALLOW);
}

#[test]
fn a_masked_comparison_without_a_second_value_compares_with_0() {
    let filters = allowing_but(
        r#"{"names": ["lseek"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 240, "op": "SCMP_CMP_MASKED_EQ"}]}"#,
    );
    assert_eq!(by_name(&filters, X86_64.native, "lseek", &[0xf0f]), errno(EPERM));
    assert_eq!(by_name(&filters, X86_64.native, "lseek", &[0x010]), ALLOW);
}

#[test]
fn conditions_on_several_arguments_must_all_hold_and_on_one_argument_any() {
    let condition =
        |index: u8, value: u64| format!(r#"{{"index": {index}, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
    let rule = |args: &str| format!(r#"{{"names": ["lseek"], "action": "SCMP_ACT_TRAP", "args": [{args}]}}"#);
    let all: Vec<String> = (0..6).map(|index| condition(index, 10 + u64::from(index))).collect();
    let filters = allowing_but(&rule(&all.join(",")));
    let fitting = [10, 11, 12, 13, 14, 15];
    assert_eq!(by_name(&filters, X86_64.native, "lseek", &fitting), libc::SECCOMP_RET_TRAP);
    for index in 0..6 {
        let mut arguments = fitting;
        arguments[index] += 1;
        assert_eq!(by_name(&filters, X86_64.native, "lseek", &arguments), ALLOW);
    }
    let filters = allowing_but(&rule(&[condition(0, 1), condition(1, 2), condition(0, 3)].join(",")));
    for arguments in [[1, 0], [0, 2], [3, 0]] {
        assert_eq!(by_name(&filters, X86_64.native, "lseek", &arguments), libc::SECCOMP_RET_TRAP);
    }
    assert_eq!(by_name(&filters, X86_64.native, "lseek", &[2, 1]), ALLOW);
}

#[test]
fn of_rules_that_contradict_each_other_the_one_without_conditions_or_else_the_first_counts() {
    let rule = |errno: u32, args: &str| {
        format!(
            r#"{{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": {errno}, "args": [{args}]}}"#
        )
    };
    let one = r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}"#;
    let two = r#"{"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}"#;
    let lseek = |rules: &[String], arguments: &[u64]| {
        by_name(&allowing_but(&rules.join(",")), X86_64.native, "lseek", arguments)
    };
    for rules in [[rule(5, one), rule(6, "")], [rule(6, ""), rule(5, one)], [rule(6, ""), rule(7, "")]] {
        assert_eq!(lseek(&rules, &[1]), errno(6));
    }
    assert_eq!(lseek(&[rule(5, one), rule(6, two)], &[1, 2]), errno(5));
    assert_eq!(lseek(&[rule(6, two), rule(5, one)], &[1, 2]), errno(6));
    assert_eq!(lseek(&[rule(6, two), rule(5, one)], &[1, 0]), errno(5));
    assert_eq!(lseek(&[rule(6, two), rule(5, one)], &[0, 0]), ALLOW);
    // What only repeats the default takes nothing back.
    let allow = rule(0, one).replace("ERRNO", "ALLOW");
    assert_eq!(lseek(&[allow, rule(6, two)], &[1, 2]), errno(6));
}

#[test]
fn each_action_becomes_the_kernels_own_and_an_errno_comes_from_name_number_or_eperm() {
    let cases = [
        (r#""action": "SCMP_ACT_KILL""#, KILL_THREAD),
        (r#""action": "SCMP_ACT_KILL_THREAD""#, KILL_THREAD),
        (r#""action": "SCMP_ACT_KILL_PROCESS""#, KILL_PROCESS),
        (r#""action": "SCMP_ACT_TRAP""#, libc::SECCOMP_RET_TRAP),
        (r#""action": "SCMP_ACT_LOG""#, libc::SECCOMP_RET_LOG),
        (r#""action": "SCMP_ACT_ERRNO""#, errno(EPERM)),
        (r#""action": "SCMP_ACT_ERRNO", "errnoRet": 0"#, errno(0)),
        (r#""action": "SCMP_ACT_ERRNO", "errnoRet": 4095"#, errno(4095)),
        (r#""action": "SCMP_ACT_ERRNO", "errno": "ENOSYS", "errnoRet": 7"#, errno(ENOSYS)),
        (r#""action": "SCMP_ACT_ERRNO", "errno": "ENOTSUP""#, errno(libc::ENOTSUP)),
        (r#""action": "SCMP_ACT_ERRNO", "errno": "", "errnoRet": 7"#, errno(7)),
    ];
    for (action, expected) in cases {
        let filters = allowing_but(&format!(r#"{{"names": ["sync"], {action}}}"#));
        for abi in [X86_64.native, X86_64.compatible] {
            assert_eq!(by_name(&filters, abi, "sync", &[]), expected, "{action}");
        }
    }
    for (default, expected) in
        [("", EPERM), (r#""defaultErrnoRet": 38,"#, 38), (r#""defaultErrno": "EINTR","#, 4)]
    {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", {default}
                "syscalls": [{{"name": "execve", "action": "SCMP_ACT_ALLOW"}}]}}"#
        );
        let filters = profile_for(&X86_64, &facts(), &text).unwrap();
        assert_eq!(by_name(&filters, X86_64.native, "sync", &[]), errno(expected));
        assert_eq!(by_name(&filters, X86_64.native, "execve", &[]), ALLOW);
    }
}

#[test]
fn rules_apply_by_capabilities_architecture_and_kernel() {
    let cases = [
        (
            r#""includes": {"caps": ["CAP_KILL", "CAP_SYS_TIME"]}"#,
            vec![(1 << 5 | 1 << 25, true), (1 << 5, false)],
        ),
        (r#""includes": {"caps": ["CAP_OF_TOMORROW"]}"#, vec![(u64::MAX, false)]),
        (
            r#""excludes": {"caps": ["CAP_KILL", "CAP_BPF"]}"#,
            vec![(0, true), (1 << 5, false), (1 << 39, false)],
        ),
        (r#""includes": {"arches": ["s390x", "amd64"]}"#, vec![(0, true)]),
        (r#""includes": {"arches": ["arm64", "x86"]}"#, vec![(0, false)]),
        (r#""excludes": {"arches": ["amd64"]}"#, vec![(0, false)]),
        (r#""includes": {"minKernel": "6.1"}, "excludes": {}"#, vec![(0, true)]),
        (r#""includes": {"minKernel": "6.2"}"#, vec![(0, false)]),
        (r#""includes": {"minKernel": "5.19.3"}"#, vec![(0, true)]),
        (r#""excludes": {"minKernel": "6.1"}"#, vec![(0, false)]),
        (r#""excludes": {"minKernel": "6.10"}, "includes": null"#, vec![(0, true)]),
    ];
    for (when, expected) in cases {
        for (capabilities, applies) in expected {
            let text = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{{"names": ["sync"], "action": "SCMP_ACT_ERRNO", {when}}}]}}"#
            );
            let filters = profile_for(&X86_64, &Facts { capabilities, ..facts() }, &text).unwrap();
            let result = by_name(&filters, X86_64.native, "sync", &[]);
            assert_eq!(result, if applies { errno(EPERM) } else { ALLOW }, "{when} with {capabilities:#x}");
        }
    }
}

#[test]
fn programs_of_the_other_abi_are_killed_unless_the_profile_names_it() {
    let text = |more: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW" {more}}}"#);
    let read = |more: &str| {
        let filters = profile_for(&X86_64, &facts(), &text(more)).unwrap();
        assert_eq!(by_name(&filters, X86_64.native, "read", &[]), ALLOW);
        by_name(&filters, X86_64.compatible, "read", &[])
    };
    assert_eq!(read(""), KILL_PROCESS);
    assert_eq!(read(r#", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]"#), KILL_PROCESS);
    assert_eq!(read(r#", "architectures": ["SCMP_ARCH_ARM", "SCMP_ARCH_X86"]"#), ALLOW);
    let map = |of: &str| {
        format!(
            r#", "archMap": [{{"architecture": "{of}", "subArchitectures": ["SCMP_ARCH_X86"]}}], "architectures": []"#
        )
    };
    assert_eq!(read(&map("SCMP_ARCH_X86_64")), ALLOW);
    assert_eq!(read(&map("SCMP_ARCH_S390X")), KILL_PROCESS);
}

#[test]
fn on_i386_a_refused_socket_call_is_refused_by_way_of_socketcall_too() {
    let filters = allowing_but(
        r#"{"names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO"},
           {"names": ["accept"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9}"#,
    );
    let i386 = X86_64.compatible;
    for name in ["socket", "shmget"] {
        assert_eq!(by_name(&filters, i386, name, &[]), errno(EPERM));
    }
    assert_eq!(by_name(&filters, i386, "socketcall", &[1]), errno(EPERM));
    assert_eq!(by_name(&filters, i386, "socketcall", &[5]), errno(9));
    assert_eq!(by_name(&filters, i386, "socketcall", &[2]), ALLOW);
    // The upper half of ipc's call is a version.
    assert_eq!(by_name(&filters, i386, "ipc", &[0x1_0017]), errno(EPERM));
    assert_eq!(by_name(&filters, i386, "ipc", &[24]), ALLOW);
}

#[test]
fn unknown_keys_and_unknown_system_calls_are_skipped() {
    let filters = profile_for(
        &X86_64,
        &facts(),
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "x-made-by": {"a": [1]},
            "syscalls": [{"names": ["call_of_tomorrow", "sync"], "comment": "", "id": 7, "args": null,
                          "action": "SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    assert_eq!(by_name(&filters, X86_64.native, "sync", &[]), errno(EPERM));
    assert_eq!(by_name(&filters, X86_64.native, "fsync", &[]), ALLOW);
}

#[test]
fn an_error_names_what_in_the_profile_is_wrong() {
    assert_eq!(
        wrong(r#"{"defaultAction": "ALLOW"}"#),
        "defaultAction: \"ALLOW\" is no action; known are SCMP_ACT_ALLOW, ERRNO, KILL, KILL_PROCESS, KILL_THREAD, \
         LOG and TRAP"
    );
    let cases = [
        (r#"{"action": "SCMP_ACT_TRACE"}"#, "syscalls[1].action: \"SCMP_ACT_TRACE\" needs a tracer"),
        (r#"{"action": "SCMP_ACT_NOTIFY"}"#, "syscalls[1].action: \"SCMP_ACT_NOTIFY\" needs a listener"),
        (r#"{"action": "SCMP_ACT_ERRNO", "errnoRet": 4096}"#, "syscalls[1].errnoRet: 4096 is no errno"),
        (r#"{"action": "SCMP_ACT_ERRNO", "errno": "EGAL"}"#, "syscalls[1].errno: \"EGAL\" is no errno"),
        (
            r#"{"action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}"#,
            "syscalls[1].includes.minKernel: \"new\" is no version",
        ),
        (
            r#"{"action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
            "syscalls[1].args[0].index: 6 is too large",
        ),
        (
            r#"{"action": "SCMP_ACT_LOG", "args": [{"index": 5, "value": 0, "op": "SCMP_CMP_IS"}]}"#,
            "syscalls[1].args[0].op: \"SCMP_CMP_IS\" is no comparison",
        ),
    ];
    for (entry, expected) in cases {
        let message = wrong_entry(entry);
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains('\n'));
    }
    let cases = [
        ("{", "not a seccomp profile in JSON: EOF while parsing"),
        ("{}", "not a seccomp profile in JSON: missing field `defaultAction`"),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#, "syscalls: execve is refused"),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "E"}"#, "defaultErrno: \"E\" is no errno"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["amd64"]}"#,
            "architectures[0]: \"amd64\" is no",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
                "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#,
            "archMap: there is architectures too",
        ),
    ];
    for (text, expected) in cases {
        let message = wrong(text);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_profile_that_is_longer_than_a_filter_can_be_is_refused() {
    let mut entries = String::new();
    for value in 0..1200 {
        let separator = if value == 0 { "" } else { "," };
        write!(
            entries,
            r#"{separator}{{"names": ["lseek"], "action": "SCMP_ACT_ERRNO",
                "args": [{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}]}}"#
        )
        .unwrap();
    }
    let message = wrong(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{entries}]}}"#));
    assert!(message.contains("instructions"), "{message}");
}

#[test]
fn a_profile_with_many_rules_for_one_call_finds_the_last_of_them() {
    let rule = |value: u64| {
        format!(
            r#"{{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": {value},
                "args": [{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}]}}"#
        )
    };
    let rules: Vec<String> = (1..150).map(rule).collect();
    let filters = allowing_but(&rules.join(","));
    for value in 1..150 {
        assert_eq!(by_name(&filters, X86_64.native, "lseek", &[value]), errno(value as i32));
    }
    assert_eq!(by_name(&filters, X86_64.native, "lseek", &[150]), ALLOW);
}
