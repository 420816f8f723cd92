//! That all arrives as it was sent, and that what is damaged is refused.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::{HEADER, LARGEST_BODY, Malformed, first_body};
use crate::exit::Outcome;
use crate::handoff::{
    Account, CapabilitySets, Descriptors, Failure, FileSystem, Group, Happening, Instruction, Join, Limit,
    Name, Order, Overlay, Plan, Probes, Report, Root, SignalState, Source, Step, Task, Upper, Why, Workload,
};
use crate::supervisor::{Health, Leftovers, Policy, Readiness, Restart, Rewrites};

fn mount(what: FileSystem) -> Step {
    Step::Mount { what, at: "/at".into() }
}

fn plan() -> Plan {
    let mut rewrites = Rewrites::default();
    rewrites.set(15, 3);
    rewrites.set(1, 0);
    Plan {
        log_level: 4,
        steps: vec![
            Step::HostName("container".into()),
            Step::DomainName("example".into()),
            Step::LoopbackUp,
            Step::TimeNamespace,
            Step::PrivateMounts,
            Step::NoUserNamespaces,
            Step::Root(Root::Directory { path: "/root".into(), writable: true }),
            Step::Root(Root::Overlay(Overlay {
                lower: vec!["/a".into()],
                optional: true,
                upper: Upper::None,
            })),
            Step::Root(Root::Empty),
            Step::ReadOnly,
            mount(FileSystem::Bind {
                source: Source::Path("/a".into()),
                read_only: true,
                devices: false,
                optional: true,
            }),
            mount(FileSystem::Bind {
                source: Source::Descriptor(7),
                read_only: false,
                devices: true,
                optional: false,
            }),
            mount(FileSystem::Tmpfs { size: Some(1 << 40), mode: 0o1777 }),
            mount(FileSystem::Overlay(Overlay {
                lower: vec!["/a".into(), "/b".into()],
                optional: false,
                upper: Upper::Kept { upper: "/u".into(), work: "/w".into() },
            })),
            mount(FileSystem::Overlay(Overlay {
                lower: vec!["/a".into()],
                optional: true,
                upper: Upper::Discarded,
            })),
            mount(FileSystem::Proc { masked: true, hide_pids: Some(2), only_pids: false }),
            mount(FileSystem::Dev),
            mount(FileSystem::MessageQueue),
            mount(FileSystem::File { descriptor: 9 }),
            Step::Directory { path: "/d".into(), mode: 0o700 },
            Step::Symlink { target: "../x".into(), path: "/s".into() },
            Step::Copy { source: "/etc/x".into(), path: "/x".into() },
            Step::Mask("/m".into()),
            Step::RemountReadOnly("/r".into()),
            Step::EnterRoot,
            Step::Pty { callers: Some("/dev/tty1".into()) },
            Step::ChangeDirectory("/a b".into()),
            Step::KeepDirectory(OsString::from_vec(vec![b'/', 0xff, b'\n'])),
            Step::FindDirectory("/home".into()),
        ],
        workload: Workload {
            command: vec!["sh".into(), "".into(), OsString::from_vec((1..=255).collect())],
            environment: vec!["PATH=/bin".into()],
            signals: SignalState { mask: u64::MAX - 5, ignore_pipe: true, ignore_child: false },
            descriptors: Descriptors::Only(vec![3, 77]),
            group: Group::Own { foreground: true },
            user: Some(Account {
                user: Name::Named("me".into()),
                group: Some(Name::Id(8)),
                groups: vec![Name::Id(9), Name::Named("wheel".into())],
            }),
            parent_death_signal: Some(9),
            capabilities: Some(CapabilitySets { allowed: 1 << 40, ambient: 3 }),
            no_new_privileges: true,
            filters: vec![
                vec![Instruction { code: 6, jump_true: 1, jump_false: 2, operand: 0x7fff_0000 }],
                vec![],
            ],
            limits: vec![Limit { resource: 7, soft: 1, hard: u64::MAX }],
            oom_score: Some(-1000),
            niceness: Some(-20),
            umask: Some(0o77),
        },
        policy: Policy {
            grace: Duration::from_millis(1500),
            timeout: Some(Duration::from_secs(3)),
            kill_after: Some(Duration::from_millis(7)),
            forward_delay: Duration::from_secs(1),
            leftovers: Leftovers::WaitFor,
            rewrites,
            stop_signal: libc::SIGQUIT,
            term_stops: true,
            restart: Restart::OnFailure { most: Some(5) },
            longest_delay: Duration::from_secs(7),
            readiness: Readiness::Descriptor(3),
            ready_timeout: Some(Duration::from_secs(9)),
            watchdog: Some(Duration::from_millis(300)),
            health: Some(Health {
                interval: Duration::from_secs(30),
                timeout: Duration::from_secs(4),
                retries: 3,
                restarts: true,
            }),
            tells: true,
            dies_with_launcher: true,
        },
        probes: Probes { ready: Some("test -e /ready".into()), health: Some("true".into()) },
        report_namespaces: true,
        is_on_one_processor: true,
        ahead: false,
    }
}

fn task() -> Task {
    Task {
        command: vec!["sh".into(), OsString::from_vec((1..=255).collect())],
        environment: vec!["A=1".into(), "".into()],
        signals: SignalState { mask: 5, ignore_pipe: false, ignore_child: true },
        directory: Some(Step::KeepDirectory("/home".into())),
        here: Some((u64::MAX, 7)),
        timeout: Some(Duration::from_millis(3)),
        stdio: [true, false, true],
    }
}

fn reports() -> Vec<Report> {
    vec![
        Report::Log { level: 2, message: "häuser".into() },
        Report::Started { pid: 2, namespaces: vec![("pid".into(), 4026531836)] },
        Report::Terminal,
        Report::Stopped { signal: 20 },
        Report::Ended(Outcome::Exited(255)),
        Report::SetUp,
        Report::Ended(Outcome::Killed(64)),
        Report::Ended(Outcome::TimedOut),
        Report::Failed(failure()),
    ]
}

fn happenings() -> Vec<Happening> {
    let whys = [Why::Stop, Why::Restart, Why::Timeout, Why::NotReady, Why::Watchdog, Why::Unhealthy];
    let mut all = vec![
        Happening::Ready,
        Happening::Status("3 of 7".into()),
        Happening::Reloading,
        Happening::Stopping,
        Happening::Alive,
        Happening::MainPid(77),
        Happening::Healthy,
        Happening::Unhealthy { failures: 3 },
        Happening::GraceOver,
        Happening::RunEnded { outcome: Outcome::Killed(9), why: None, again: true },
        Happening::StartsIn(Duration::from_millis(100)),
        Happening::NotStarted(failure()),
    ];
    all.extend(whys.map(Happening::Ending));
    all
}

fn failure() -> Failure {
    Failure {
        code: 127,
        step: "exec".into(),
        object: OsString::from_vec(vec![0xfe]),
        detail: String::new(),
        errno: libc::ENOENT,
    }
}

#[test]
fn a_plan_arrives_as_it_was_sent() {
    let own = [true, false].map(|foreground| Group::Own { foreground });
    for group in own.into_iter().chain([Group::Callers, Group::Session]) {
        let mut plan = plan();
        plan.workload.group = group;
        if group == Group::Callers {
            plan.workload.descriptors = Descriptors::Inherited;
        }
        let frame = plan.encode().unwrap();
        assert_eq!(Plan::decode(first_body(&frame).unwrap().unwrap()), Ok(plan));
    }
}

#[test]
fn that_it_could_not_be_kept_on_one_processor_is_sent_in_place_of_what_was_planned() {
    let planned = Plan { is_on_one_processor: true, ..plan() };
    let frame = planned.encode_with(false).unwrap();
    let seen = Plan { is_on_one_processor: false, ..planned };
    assert_eq!(Plan::decode(first_body(&frame).unwrap().unwrap()), Ok(seen));
}

#[test]
fn what_a_joining_process_is_told_arrives_as_it_was_sent() {
    let join = Join {
        sandbox: "web".into(),
        init: 7,
        namespaces: 0x7e02_0000,
        time_namespace: true,
        own_root: true,
        user: Some(0),
        group: None,
        leaves_groups: true,
        plan: plan(),
    };
    let frame = join.encode().unwrap();
    let body = first_body(&frame).unwrap().unwrap();
    assert_eq!(Join::decode(body), Ok(join));
    for end in 0..body.len() {
        assert_eq!(Join::decode(&body[..end]), Err(Malformed::Body), "{end}");
    }
}

#[test]
fn a_task_arrives_as_it_was_sent_and_is_refused_where_it_ends_early_or_has_no_command() {
    let frame = task().encode().unwrap();
    assert_eq!(Task::decode(first_body(&frame).unwrap().unwrap()), Ok(task()));
    for end in HEADER..frame.len() {
        assert_eq!(Task::decode(&frame[HEADER..end]), Err(Malformed::Body), "{end}");
    }
    let none = Task { command: Vec::new(), ..task() }.encode().unwrap();
    assert_eq!(Task::decode(&none[HEADER..]), Err(Malformed::Body));
}

#[test]
fn a_plan_has_a_command_unless_it_is_made_ahead() {
    let mut ahead = Plan { ahead: true, ..plan() };
    let mut changed = |command: Vec<OsString>, is_ahead| {
        ahead.workload.command = command;
        ahead.ahead = is_ahead;
        let frame = ahead.encode().unwrap();
        Plan::decode(&frame[HEADER..]).map(|plan| plan == ahead)
    };
    assert_eq!(changed(vec![], true), Ok(true));
    assert_eq!(changed(vec!["sh".into()], true), Err(Malformed::Body));
    assert_eq!(changed(vec![], false), Err(Malformed::Body));
}

#[test]
fn every_report_arrives_as_it_was_sent() {
    for report in happenings().into_iter().map(Report::Happened).chain(reports()) {
        let frame = report.encode().unwrap();
        assert_eq!(Report::decode(first_body(&frame).unwrap().unwrap()), Ok(report));
    }
}

#[test]
fn every_order_arrives_as_it_was_sent() {
    let grace = Some(Duration::from_secs(1));
    for order in [Order::Stop { grace }, Order::Restart { grace: None }, Order::Signal { signal: 64 }] {
        let frame = order.encode().unwrap();
        assert_eq!(Order::decode(first_body(&frame).unwrap().unwrap()), Ok(order));
        assert_eq!(Order::decode(&frame[HEADER..frame.len() - 1]), Err(Malformed::Body));
    }
}

#[test]
fn every_policy_of_restarts_and_readiness_arrives_as_it_was_sent() {
    let restarts = [
        Restart::No,
        Restart::OnFailure { most: None },
        Restart::OnFailure { most: Some(0) },
        Restart::Always,
        Restart::UnlessStopped,
    ];
    let kinds = [Readiness::Started, Readiness::Notify, Readiness::Descriptor(9), Readiness::Command];
    for (restart, readiness) in restarts.into_iter().zip(kinds.into_iter().cycle()) {
        let mut plan = plan();
        plan.policy.restart = restart;
        plan.policy.readiness = readiness;
        let frame = plan.encode().unwrap();
        assert_eq!(Plan::decode(&frame[HEADER..]), Ok(plan));
    }
}

#[test]
fn a_frame_cut_short_anywhere_is_waited_for_and_a_body_cut_short_is_refused() {
    let frame = plan().encode().unwrap();
    for end in 0..frame.len() {
        assert_eq!(first_body(&frame[..end]), Ok(None));
    }
    for end in HEADER..frame.len() {
        assert_eq!(Plan::decode(&frame[HEADER..end]), Err(Malformed::Body));
    }
    for report in reports() {
        let frame = report.encode().unwrap();
        for end in HEADER..frame.len() {
            assert_eq!(Report::decode(&frame[HEADER..end]), Err(Malformed::Body), "{report:?}");
        }
    }
}

#[test]
fn a_changed_byte_anywhere_never_panics() {
    let frame = plan().encode().unwrap();
    for at in HEADER..frame.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = frame.clone();
            changed[at] = value;
            // Whether it is refused depends on the byte; that it returns is what is tested.
            let _ = Plan::decode(&changed[HEADER..]);
        }
    }
}

#[test]
fn another_version_another_beginning_and_a_giant_are_refused() {
    let mut frame = plan().encode().unwrap();
    frame[4] = 9;
    assert_eq!(first_body(&frame), Err(Malformed::Version(9)));
    frame[0] = b'X';
    assert_eq!(first_body(&frame), Err(Malformed::NotAFrame));
    let mut giant = plan();
    giant.workload.environment = vec![OsString::from_vec(vec![b'x'; LARGEST_BODY])];
    assert!(matches!(giant.encode(), Err(Malformed::TooLarge(_))));
}

#[test]
fn the_errno_of_a_failure_is_its_last_four_bytes() {
    let mut frame = reports().pop().unwrap().encode().unwrap();
    let end = frame.len();
    frame[end - 4..].copy_from_slice(&libc::EACCES.to_ne_bytes());
    let Ok(Report::Failed(failure)) = Report::decode(&frame[HEADER..]) else { panic!("not a failure") };
    assert_eq!(failure.errno, libc::EACCES);
}
