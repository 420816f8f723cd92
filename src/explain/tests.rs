//! What is said of whole plans, in words and as data.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use launch_init::handoff::{
    Account, CapabilitySets, Descriptors, FileSystem, Group, Instruction, Limit, Name, Overlay, Probes, Root,
    SignalState, Source, Step, Upper, Workload,
};
use launch_init::supervisor::{Health, Policy, Readiness, Restart};

use super::*;
use crate::plan::{IdMap, IdMaps, InitIds, Writer};

fn workload() -> Workload {
    Workload {
        command: vec!["sh".into(), "-c".into(), "printf 'a\n\\n'".into()],
        environment: vec!["PATH=/bin".into(), "TOKEN=hidden=too".into()],
        signals: SignalState { mask: 1 << 14, ignore_pipe: true, ignore_child: false },
        descriptors: Descriptors::Only(vec![7]),
        group: Group::Own { foreground: true },
        user: Some(Account {
            user: Name::Named("me".into()),
            group: Some(Name::Id(7)),
            groups: vec![Name::Named("audio".into())],
        }),
        parent_death_signal: Some(9),
        capabilities: Some(CapabilitySets { allowed: 1 | 1 << 40, ambient: 1 << 63 }),
        no_new_privileges: true,
        filters: vec![vec![Instruction { code: 6, jump_true: 0, jump_false: 0, operand: 0 }; 3]],
        limits: vec![Limit { resource: libc::RLIMIT_NOFILE, soft: 10, hard: u64::MAX }],
        oom_score: Some(-5),
        niceness: Some(19),
        umask: Some(0o27),
    }
}

fn bind(path: &str, at: &str) -> Step {
    let source = Source::Path(path.into());
    mount(FileSystem::Bind { source, read_only: false, devices: true, optional: true }, at)
}

fn mount(what: FileSystem, at: &str) -> Step {
    Step::Mount { what, at: at.into() }
}

fn tmpfs(at: &str) -> Step {
    mount(FileSystem::Tmpfs { size: Some(64 << 20), mode: 0o700 }, at)
}

fn layers(upper: Upper) -> Overlay {
    Overlay { lower: vec!["/l1".into(), "/l2".into()], optional: false, upper }
}

fn every_step() -> Vec<Step> {
    let kept = || Upper::Kept { upper: "/u".into(), work: "/w".into() };
    let descriptor =
        FileSystem::Bind { source: Source::Descriptor(8), read_only: true, devices: false, optional: false };
    vec![
        Step::HostName("box".into()),
        Step::DomainName("x\x1b[2J\ny".into()),
        Step::LoopbackUp,
        Step::TimeNamespace,
        Step::PrivateMounts,
        Step::NoUserNamespaces,
        Step::Root(Root::Directory { path: "/srv/root".into(), writable: false }),
        Step::Root(Root::Overlay(layers(Upper::None))),
        Step::Root(Root::Empty),
        Step::ReadOnly,
        bind("/a", "/b"),
        mount(descriptor, "/c"),
        tmpfs("/d"),
        mount(FileSystem::Overlay(layers(Upper::Discarded)), "/e"),
        mount(FileSystem::Overlay(layers(kept())), "/f"),
        mount(FileSystem::Proc { masked: true, hide_pids: Some(2), only_pids: true }, "/proc"),
        mount(FileSystem::Dev, "/dev"),
        mount(FileSystem::MessageQueue, "/dev/mqueue"),
        mount(FileSystem::File { descriptor: 9 }, "/g"),
        Step::Directory { path: "/h".into(), mode: 0o755 },
        Step::Symlink { target: "../i".into(), path: "/j".into() },
        Step::Copy { source: "/k".into(), path: "/l".into() },
        Step::Mask("/k".into()),
        Step::RemountReadOnly("/l".into()),
        Step::EnterRoot,
        Step::Pty { callers: Some("/dev/tty1".into()) },
        Step::ChangeDirectory("/m".into()),
        Step::KeepDirectory("/n".into()),
        Step::FindDirectory(OsStr::from_bytes(b"/o\xff\\").into()),
    ]
}

fn plan(steps: Vec<Step>) -> Plan {
    let mut policy = Policy {
        grace: Duration::from_millis(1500),
        timeout: Some(Duration::from_secs(60)),
        kill_after: Some(Duration::from_secs(5)),
        forward_delay: Duration::from_secs(3),
        ..Policy::default()
    };
    policy.rewrites.set(libc::SIGTERM, libc::SIGINT);
    policy.rewrites.set(libc::SIGHUP, 0);
    Plan {
        kept: None,
        warnings: Vec::new(),
        namespaces: (libc::CLONE_NEWUSER | libc::CLONE_NEWPID) as u64,
        maps: Some(IdMaps {
            users: vec![
                IdMap { inside: 0, outside: 1000, count: 1 },
                IdMap { inside: 1, outside: 100_000, count: u32::MAX },
            ],
            users_by: Writer::Helper,
            groups: vec![IdMap { inside: 0, outside: 100, count: 1 }],
            groups_by: Writer::Launcher,
            deny_setgroups: true,
        }),
        init_capabilities: vec![21],
        init_ids: InitIds::default(),
        init: handoff::Plan {
            log_level: 4,
            steps,
            workload: workload(),
            policy,
            probes: Probes::default(),
            report_namespaces: true,
            is_on_one_processor: false,
            ahead: false,
        },
    }
}

fn as_data(plan: &Plan) -> Vec<Value> {
    let text = json(plan);
    assert_eq!(text.lines().count(), 1);
    let data: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(data["version"], 1);
    data["steps"].as_array().unwrap().clone()
}

/// The lines of the words that are steps.
fn lines(plan: &Plan) -> Vec<String> {
    let is_step = |line: &&str| line.trim_start().starts_with(|first: char| first.is_ascii_digit());
    words(plan).lines().filter(is_step).map(Into::into).collect()
}

/// The details of the first step with this name and object.
#[track_caller]
fn details(plan: &Plan, name: &str, object: &str) -> Value {
    let steps = as_data(plan);
    let found = steps.iter().find(|step| step["step"] == name && step["object"] == object);
    found.unwrap_or_else(|| panic!("{name} {object}: none of {steps:#?}"))["details"].clone()
}

#[test]
fn whom_pid_1_becomes_is_said_where_it_becomes_somebody() {
    let init_ids = InitIds { user: Some(0), group: Some(0), leaves_groups: true };
    let plan = Plan { init_ids, ..plan(Vec::new()) };
    let line = lines(&plan).into_iter().find(|line| line.contains("init ids")).unwrap();
    assert!(line.ends_with("PID 1 becomes uid 0 and gid 0, and leaves the caller's groups"), "{line}");
    assert_eq!(details(&plan, "init", "ids"), json!({ "uid": 0, "gid": 0, "leaves_groups": true }));
    assert_eq!(details(&plan, "id map", "/proc/PID/uid_map")["written_by"], "newuidmap");
}

#[test]
fn words_and_data_have_the_same_steps_with_the_names_that_errors_have() {
    let plan = plan(every_step());
    let (lines, data) = (lines(&plan), as_data(&plan));
    assert_eq!(lines.len(), data.len());
    for ((line, step), number) in lines.iter().zip(&data).zip(1..) {
        assert_eq!(step["number"], number);
        assert!(!step["words"].as_str().unwrap().is_empty(), "{step}");
        assert!(line.trim_start().starts_with(&format!("{number}  ")), "{line}");
        assert!(line.contains(step["step"].as_str().unwrap()), "{line}");
        assert!(line.chars().all(|char| !char.is_control()), "{line:?}");
    }
    let of_init = data.iter().filter(|step| step["by"] == "init" && step["step"] != "look after");
    let of_init: Vec<_> = of_init.collect();
    assert_eq!(of_init.len(), plan.init.steps.len());
    for (explained, step) in of_init.into_iter().zip(&plan.init.steps) {
        assert_eq!(explained["step"], step.name());
        assert_eq!(explained["object"], spelled(step.object()));
    }
}

#[test]
fn each_process_has_its_steps_in_the_order_of_their_doing() {
    let by: Vec<_> = as_data(&plan(every_step())).iter().map(|step| step["by"].clone()).collect();
    let mut turns = by.clone();
    turns.dedup();
    assert_eq!(turns, ["launcher", "init", "workload", "init"]);
    let text = words(&plan(vec![Step::LoopbackUp]));
    let expected = "\
the launcher:
 1  descriptor 7                has to be open; the command gets it
 2  clone user and pid          PID 1 of new namespaces: this program, executed again as init; of its capabilities it keeps CAP_SYS_ADMIN
 3  id map /proc/PID/setgroups  setgroups(2) is refused inside: this caller may not write a gid map otherwise
 4  id map /proc/PID/uid_map    uid 0 inside is 1000 outside; uids 1 to 4294967295 inside are 100000 to 4295067294 outside; newuidmap writes it
 5  id map /proc/PID/gid_map    gid 0 inside is 100 outside
 6  handoff plan                init is told all that follows
init, PID 1 inside:
 7  network lo                  the new network has only a loopback interface, and it is up
";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn privileges_fall_last() {
    let data = as_data(&plan(Vec::new()));
    let objects = data.iter().filter(|step| step["by"] == "workload").map(|step| step["object"].as_str());
    let expected = [
        "process group",
        "SIGPIPE",
        "SIGCHLD",
        "descriptors",
        "umask",
        "limit nofile",
        "nice",
        "oom_score_adj",
        "bounding set",
        "user",
        "capabilities",
        "PR_SET_PDEATHSIG",
        "no_new_privs",
        "seccomp",
        "signal mask",
        "sh",
    ];
    assert_eq!(objects.map(Option::unwrap).collect::<Vec<_>>(), expected);
}

#[test]
fn what_a_step_has_is_in_its_data() {
    let plan = plan(every_step());
    let expected = [
        (
            "mount",
            "/b",
            json!({
                "action": "mount", "at": "/b", "made_on_disk": null,
                "what": {
                    "kind": "bind", "source": { "path": "/a" }, "read_only": false, "devices": true,
                    "optional": true,
                },
            }),
        ),
        (
            "mount",
            "/d",
            json!({
                "action": "mount", "at": "/d", "made_on_disk": null,
                "what": { "kind": "tmpfs", "size": 64 << 20, "mode": "700" },
            }),
        ),
        (
            "mount",
            "/f",
            json!({
                "action": "mount", "at": "/f", "made_on_disk": null,
                "what": {
                    "kind": "overlay", "lower": ["/l1", "/l2"], "optional": false,
                    "upper": { "kind": "kept", "upper": "/u", "work": "/w" },
                },
            }),
        ),
        ("working directory", "/o\\xff\\\\", json!({ "action": "find_directory", "path": "/o\\xff\\\\" })),
        (
            "workload",
            "limit nofile",
            json!({
                "resource": libc::RLIMIT_NOFILE, "name": "limit nofile", "soft": 10, "hard": null,
            }),
        ),
        ("workload", "bounding set", json!({ "allowed": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"] })),
        ("workload", "capabilities", json!({ "ambient": ["63"] })),
        ("workload", "user", json!({ "user": "me", "group": 7, "groups": ["audio"] })),
        ("workload", "seccomp", json!({ "instructions": 3 })),
        ("workload", "signal mask", json!({ "blocked": ["SIGTERM"] })),
        ("workload", "descriptors", json!({ "inherited": false, "keep": [7] })),
        ("look after", "timeout", json!({ "seconds": 60.0 })),
        ("look after", "leftovers", json!({ "leftovers": "end", "grace_seconds": 1.5 })),
        (
            "look after",
            "signals",
            json!({
                "forward_delay_seconds": 3.0, "rewrites": [{ "from": 1, "to": 0 }, { "from": 15, "to": 2 }],
            }),
        ),
    ];
    for (name, object, expected) in expected {
        assert_eq!(details(&plan, name, object), expected, "{name} {object}");
    }
}

#[test]
fn a_long_life_is_explained() {
    let mut plan = plan(Vec::new());
    plan.init.policy = Policy {
        stop_signal: libc::SIGQUIT,
        term_stops: true,
        restart: Restart::OnFailure { most: Some(5) },
        longest_delay: Duration::from_secs(7),
        readiness: Readiness::Command,
        ready_timeout: Some(Duration::from_secs(9)),
        watchdog: Some(Duration::from_secs(7)),
        health: Some(Health {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(3),
            retries: 2,
            restarts: true,
        }),
        tells: true,
        dies_with_launcher: true,
        ..plan.init.policy
    };
    plan.init.probes = Probes { ready: Some("test -e /r".into()), health: Some("true".into()) };
    let expected = [
        ("stop", json!({ "signal": "SIGQUIT", "by_sigterm": true, "grace_seconds": 1.5 })),
        (
            "ready",
            json!({
                "by": "command", "descriptor": null, "command": "test -e /r", "timeout_seconds": 9.0,
            }),
        ),
        ("watchdog", json!({ "seconds": 7.0 })),
        (
            "health",
            json!({
                "command": "true", "interval_seconds": 30.0, "timeout_seconds": 3.0, "retries": 2,
                "restarts": true,
            }),
        ),
        ("restart", json!({ "policy": "on-failure", "most": 5, "longest_delay_seconds": 7.0 })),
    ];
    for (object, expected) in expected {
        assert_eq!(details(&plan, "look after", object), expected, "{object}");
    }
    assert_eq!(details(&plan, "handoff", "plan")["tells"], true);
    let words = words(&plan);
    for line in [
        "the workload is asked to stop by SIGQUIT; 1.5s later all get SIGKILL",
        "the workload is ready when this command succeeds: test -e /r; a run that isn't after 9s is ended, as a failure",
        "a new run follows after a failure, 5 times in a row at most,",
    ] {
        assert!(words.contains(line), "{words}");
    }
}

#[test]
fn of_the_environment_there_are_only_names() {
    let plan = plan(Vec::new());
    assert_eq!(details(&plan, "exec", "sh")["environment"], json!(["PATH", "TOKEN"]));
    for text in [words(&plan), json(&plan)] {
        assert!(!text.contains("hidden") && !text.contains("too\""), "{text}");
    }
    assert!(words(&plan).contains("; its environment: PATH TOKEN\n"));
}

/// Where each step's object would be made on the caller's disk.
fn made(steps: Vec<Step>) -> Vec<Option<String>> {
    let data = as_data(&plan(steps));
    let of_init = data.iter().filter(|step| step["by"] == "init" && step["step"] != "look after");
    of_init.map(|step| step["details"]["made_on_disk"].as_str().map(Into::into)).collect()
}

#[test]
fn what_may_be_made_on_the_callers_disk_is_said() {
    let some = |path: &str| Some(path.to_owned());
    let below = |path: &str| Step::Directory { path: path.into(), mode: 0o755 };
    assert_eq!(made(vec![tmpfs("/t"), below("/t/x"), below("/tx")]), [some("/t"), None, some("/tx")]);
    // A bind leads to the caller's disk again, and there to its source.
    let through = vec![tmpfs("/t"), bind("/home/me", "/t/b"), below("/t/b/c/../d"), below("/t/c")];
    assert_eq!(made(through), [some("/t"), None, some("/home/me/d"), None]);
    // A later mount hides what was mounted below it, and stands on what it is mounted on.
    let hidden = vec![bind("/a", "/t/b"), tmpfs("/t"), below("/t/b/c"), tmpfs("/t"), tmpfs("/")];
    assert_eq!(made(hidden), [some("/t/b"), some("/t"), None, None, None]);
    let link = Step::Symlink { target: "x".into(), path: "/l".into() };
    let root = Step::Root(Root::Directory { path: "/srv/r".into(), writable: false });
    assert_eq!(made(vec![root, tmpfs("/tmp"), link.clone()])[1..], [some("/srv/r/tmp"), some("/srv/r/l")]);
    let volatile = |upper| Step::Root(Root::Overlay(layers(upper)));
    assert_eq!(made(vec![volatile(Upper::Discarded), link.clone()]), [None, None]);
    let kept = Upper::Kept { upper: "/u".into(), work: "/w".into() };
    assert_eq!(made(vec![volatile(kept), link.clone()]), [None, some("/u/l")]);
    let text = words(&plan(vec![Step::Root(Root::Directory { path: "/r".into(), writable: true }), link]));
    assert!(text.contains("leads to x; made on the caller's disk if missing: /r/l\n"), "{text}");
}

#[test]
fn without_a_user_namespace_the_words_say_so() {
    let plan = Plan { maps: None, ..plan(Vec::new()) };
    assert!(words(&plan).contains("; users, groups and capabilities are the caller's own"));
    assert!(!words(&plan).contains("id map"));
}
