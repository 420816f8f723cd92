//! What is planned for whom: whole options, and the part of the plan that each test is about.

use std::time::Duration;

use launch_init::handoff::{Account, Name};
use launch_init::supervisor::Readiness;

use super::capabilities::{
    CAP_CHOWN, CAP_KILL, CAP_SETFCAP, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, INIT_CAPABILITIES,
};
use super::*;

fn caller() -> Caller {
    Caller {
        uid: 1000,
        gid: 100,
        capabilities: 0,
        subordinate_ids: subids::Files::default(),
        directory: Ok(Some("/home/me".into())),
        environment: ["PATH=/bin", "A=1", "LAUNCH_LOG=debug"].map(Into::into).into(),
        terminal: Some("/dev/tty1".into()),
        signals: SignalState::default(),
        kernel: (6, 1),
        seccomp: seccomp::Choice::Default,
        log_level: 0,
        tree: None,
    }
}

fn root() -> Caller {
    Caller { uid: 0, gid: 0, capabilities: u64::MAX, ..caller() }
}

fn options() -> Options {
    Options { command: vec!["true".into()], ..Options::default() }
}

fn refused(options: &Options, caller: &Caller) -> String {
    plan(options, caller).unwrap_err().to_string()
}

fn health() -> HealthCheck {
    let second = Duration::from_secs(1);
    HealthCheck { command: "true".into(), interval: second, timeout: second, retries: 1, restarts: false }
}

#[test]
fn whoever_is_the_caller_inside_can_reach_what_the_caller_can() {
    let user = Some(Account { user: Name::Id(0), group: None, groups: Vec::new() });
    for (options, caller, expected) in [
        (options(), caller(), Some(&["/proc", "/tmp"][..])),
        (options(), root(), Some(&["/proc", "/tmp"])),
        (Options { tmp: Tmp::Callers, ..options() }, caller(), Some(&["/proc"])),
        (Options { user, ..options() }, root(), None),
        (Options { read_only: true, ..options() }, caller(), None),
    ] {
        let plan = plan(&options, &caller).unwrap();
        let expected = expected.map(|paths| paths.iter().map(OsStr::new).collect());
        assert_eq!(plan.hides_only(), expected, "{options:?}");
    }
}

#[test]
fn what_everybody_has_is_not_mounted_below_the_same_that_was_asked_for() {
    let mount = |what, at: &str| Step::Mount { what, at: at.into() };
    let tmpfs = |size| FileSystem::Tmpfs { size, mode: 0o755 };
    let mounted = |root: bool, files: Vec<Step>| -> Vec<String> {
        let root = root.then(|| RootDirectory { path: "/r".into(), writable: false });
        let plan = plan(&Options { root, files, ..options() }, &caller()).unwrap();
        let mounts = plan.init.steps.iter().filter(|step| matches!(step, Step::Mount { .. }));
        mounts.map(|step| step.object().display().to_string()).collect()
    };
    assert_eq!(mounted(true, vec![]), ["/proc", "/dev", "/tmp"]);
    assert_eq!(mounted(true, vec![mount(FileSystem::Dev, "/dev/")]), ["/proc", "/tmp", "/dev/"]);
    assert_eq!(mounted(false, vec![mount(tmpfs(Some(9)), "/tmp")]), ["/proc", "/tmp"]);
    assert_eq!(mounted(false, vec![mount(tmpfs(None), "/tmp/a")]), ["/proc", "/tmp", "/tmp/a"]);
    let below_first = vec![mount(tmpfs(None), "/tmp/a"), mount(tmpfs(None), "/tmp")];
    assert_eq!(mounted(false, below_first), ["/proc", "/tmp", "/tmp/a", "/tmp"]);
    assert_eq!(mounted(true, vec![mount(tmpfs(None), "/dev")]), ["/proc", "/dev", "/tmp", "/dev"]);
}

#[test]
fn a_long_life_is_init_s_to_look_after() {
    let minute = Duration::from_secs(60);
    let options = Options {
        restart: Restart::Always,
        ready: Ready::Command("test -e /r".into()),
        ready_timeout: Some(minute),
        stop_signal: libc::SIGQUIT,
        kill_after: Some(minute),
        health: Some(health()),
        ..options()
    };
    let handoff::Plan { policy, probes, .. } = plan(&options, &caller()).unwrap().init;
    assert_eq!((policy.restart, policy.readiness), (Restart::Always, Readiness::Command));
    assert_eq!((policy.ready_timeout, policy.kill_after), (Some(minute), Some(minute)));
    assert_eq!(policy.health.map(|health| (health.retries, health.restarts)), Some((1, false)));
    assert_eq!(probes, Probes { ready: Some("test -e /r".into()), health: Some("true".into()) });
    assert!(policy.term_stops && policy.tells && policy.stop_signal == libc::SIGQUIT);
}

#[test]
fn a_plain_launch_forwards_sigterm_and_is_told_nothing() {
    let policy = |options| plan(&options, &caller()).unwrap().init.policy;
    assert!(!policy(options()).term_stops && !policy(options()).tells);
    assert!(policy(Options { is_service: true, ..options() }).term_stops);
    assert!(policy(Options { tells: true, ..options() }).tells);
}

#[test]
fn what_a_service_manager_tells_the_launcher_is_not_for_a_workload_that_has_a_socket_of_its_own() {
    let names = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
    let caller = Caller { environment: names.map(|name| format!("{name}=1").into()).into(), ..caller() };
    let environment = |options| plan(&options, &caller).unwrap().init.workload.environment;
    assert_eq!(environment(options()).len(), 3);
    assert!(environment(Options { ready: Ready::Notify, ..options() }).is_empty());
    assert!(environment(Options { watchdog: Some(Duration::from_secs(1)), ..options() }).is_empty());
    assert_eq!(environment(Options { ready: Ready::Descriptor(3), ..options() }).len(), 3);
}

#[test]
fn what_makes_no_sense_of_a_long_life_is_refused() {
    let zero = Some(Duration::ZERO);
    let with = |change: fn(&mut HealthCheck)| {
        let mut health = health();
        change(&mut health);
        Options { health: Some(health), ..options() }
    };
    let on = |fd| Options { ready: Ready::Descriptor(fd), ..options() };
    let cases = [
        (
            Options { restart: Restart::Always, group: Group::Session, ..options() },
            "--restart: the terminal of --tty is one run's: leave one of the two out",
        ),
        (Options { stop_signal: 65, ..options() }, "--stop-signal: signals go from 1 to 64"),
        (on(2), "--ready: descriptor 2 is the workload's stdin, stdout or stderr"),
        (
            Options { keep: vec![5], ..on(5) },
            "--ready: descriptor 5 is one of the caller's that is handed on; choose another number",
        ),
        (Options { ready: Ready::Command("".into()), ..options() }, "--ready: exec: names no command"),
        (Options { ready_timeout: zero, ..on(3) }, "--ready-timeout: must be more than no time"),
        (
            Options { ready_timeout: Some(Duration::from_secs(1)), ..options() },
            "--ready-timeout: says nothing without --ready",
        ),
        (Options { watchdog: zero, ..options() }, "--watchdog: must be more than no time"),
        (with(|health| health.command.clear()), "--health-cmd: is empty"),
        (with(|health| health.interval = Duration::ZERO), "--health-interval: must be more than no time"),
        (with(|health| health.timeout = Duration::ZERO), "--health-timeout: must be more than no time"),
        (with(|health| health.retries = 0), "--health-retries: must be at least 1"),
    ];
    for (options, reason) in cases {
        assert_eq!(refused(&options, &caller()), format!("command line: {reason}"));
    }
}

#[test]
fn the_default_is_the_tutorials_namespaces_and_steps() {
    let plan = plan(&options(), &caller()).unwrap();
    assert_eq!(names_of(plan.namespaces), "user, mount, uts, ipc, pid and cgroup");
    let steps: Vec<_> =
        plan.init.steps.iter().map(|step| (step.name(), step.object().to_str().unwrap())).collect();
    let expected = [
        ("host name", "container"),
        ("mount", "/"),
        ("mount", "/proc"),
        ("mount", "/tmp"),
        ("working directory", "/home/me"),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn every_namespace_but_mount_and_pid_can_be_shared_and_net_can_be_new() {
    let share = vec![Share::Uts, Share::Ipc, Share::Cgroup, Share::User];
    let shared = plan(&Options { share, ..options() }, &root()).unwrap();
    assert_eq!(names_of(shared.namespaces), "mount and pid");
    assert_eq!(shared.maps, None);
    assert!(shared.init_capabilities.is_empty());
    let net = plan(&Options { network: Network::None, ..options() }, &caller()).unwrap();
    assert_eq!(names_of(net.namespaces), "user, mount, uts, ipc, pid, cgroup and net");
    assert!(net.init.steps.contains(&Step::LoopbackUp));
}

#[test]
fn the_caller_is_root_inside_or_who_it_asks_to_be() {
    let map = |identity| {
        let maps = plan(&Options { identity, ..options() }, &caller()).unwrap().maps.unwrap();
        let pair = |maps: &[IdMap]| (maps[0].inside, maps[0].outside);
        (pair(&maps.users), pair(&maps.groups))
    };
    assert_eq!(map(Identity::Root), ((0, 1000), (0, 100)));
    assert_eq!(map(Identity::Ids { uid: Some(7), gid: None }), ((7, 1000), (0, 100)));
    assert_eq!(map(Identity::Keep), ((1000, 1000), (100, 100)));
}

#[test]
fn init_keeps_capabilities_of_its_own_only_where_its_exec_gives_it_none() {
    let kept = |identity| plan(&Options { identity, ..options() }, &caller()).unwrap().init_capabilities;
    assert!(kept(Identity::Root).is_empty());
    assert!(kept(Identity::Ids { uid: None, gid: Some(7) }).is_empty());
    assert_eq!(kept(Identity::Keep), INIT_CAPABILITIES);
    let asked = Capabilities { add: 1 << CAP_SETFCAP | 1 << CAP_KILL, drop: u64::MAX };
    let with = Options { identity: Identity::Keep, capabilities: asked, ..options() };
    let expected: Vec<_> = INIT_CAPABILITIES.into_iter().chain([CAP_SETFCAP]).collect();
    assert_eq!(plan(&with, &caller()).unwrap().init_capabilities, expected);
}

#[test]
fn what_is_added_is_had_even_if_it_is_dropped_too() {
    let sets = |add, drop| {
        let options = Options { capabilities: Capabilities { add, drop }, ..options() };
        plan(&options, &caller()).unwrap().init.workload.capabilities.unwrap()
    };
    let own = |allowed, ambient| CapabilitySets { allowed, ambient };
    assert_eq!(sets(0, 0), own(DEFAULT_CAPABILITIES, 0));
    assert_eq!(sets(0, 1 << CAP_CHOWN), own(DEFAULT_CAPABILITIES & !1, 0));
    assert_eq!(sets(0, u64::MAX), own(0, 0));
    assert_eq!(sets(1 << CAP_SYS_ADMIN, u64::MAX), own(1 << CAP_SYS_ADMIN, 1 << CAP_SYS_ADMIN));
    assert_eq!(sets(1, 1), own(DEFAULT_CAPABILITIES, 1));
    assert_eq!(sets(u64::MAX, 1), own(u64::MAX, u64::MAX));
}

#[test]
fn user_namespaces_are_forbidden_only_where_that_reaches_nobody_else_and_cannot_be_undone() {
    let none = Options { no_user_namespaces: true, ..options() };
    assert!(plan(&none, &caller()).unwrap().init.steps.contains(&Step::NoUserNamespaces));
    let shared = Options { share: vec![Share::User], ..none.clone() };
    assert!(refused(&shared, &root()).contains("the whole machine"));
    for add in [1 << CAP_SYS_RESOURCE, u64::MAX] {
        let undone = Options { capabilities: Capabilities { add, drop: 0 }, ..none.clone() };
        assert!(refused(&undone, &root()).contains("CAP_SYS_RESOURCE"));
    }
}

#[test]
fn privileges_out_of_range_are_refused_and_the_last_limit_counts() {
    let user = |user, group, groups| Options { user: Some(Account { user, group, groups }), ..options() };
    let (own, none) = (Name::Id(1), Name::Id(u32::MAX));
    let limit = |soft, hard| Limit { resource: 7, soft, hard };
    for wrong in [
        user(none.clone(), None, vec![]),
        user(own.clone(), Some(none.clone()), vec![]),
        user(own.clone(), Some(own.clone()), vec![own, none]),
        Options { limits: vec![limit(2, 1)], ..options() },
        Options { oom_score: Some(1001), ..options() },
        Options { niceness: Some(-21), ..options() },
        Options { umask: Some(0o1000), ..options() },
    ] {
        assert!(plan(&wrong, &root()).is_err(), "{wrong:?}");
    }
    let twice =
        Options { limits: vec![limit(1, 1), Limit { resource: 4, ..limit(3, 3) }, limit(2, 2)], ..options() };
    let limits = plan(&twice, &caller()).unwrap().init.workload.limits;
    assert_eq!(limits, [Limit { resource: 4, ..limit(3, 3) }, limit(2, 2)]);
}

fn line(inside: u32, outside: u32, count: u32) -> IdMap {
    IdMap { inside, outside, count }
}

fn mapped(users: &[IdMap], groups: &[IdMap]) -> Options {
    Options { identity: Identity::Maps { users: users.into(), groups: groups.into() }, ..options() }
}

/// One with subordinate ids.
fn trusted() -> Caller {
    let text = || Ok("me:100000:65536\n".into());
    let subordinate_ids = subids::Files {
        user_name: Some("me".into()),
        users: text(),
        groups: text(),
        ..subids::Files::default()
    };
    Caller { subordinate_ids, ..caller() }
}

#[test]
fn maps_of_more_than_the_caller_are_written_by_helpers_but_for_root() {
    let maps = |options: &Options, caller: &Caller| plan(options, caller).unwrap().maps.unwrap();
    let auto = Options { identity: Identity::Auto, ..options() };
    let by_user = maps(&auto, &trusted());
    assert_eq!(by_user.users, [line(0, 1000, 1), line(1, 100000, 65536)]);
    assert_eq!(by_user.groups, [line(0, 100, 1), line(1, 100000, 65536)]);
    assert_eq!((by_user.users_by, by_user.groups_by), (Writer::Helper, Writer::Helper));
    assert!(!by_user.deny_setgroups);
    let users_only = mapped(&[line(0, 100000, 65536)], &[]);
    let by_user = maps(&users_only, &trusted());
    assert_eq!((by_user.users_by, by_user.groups_by), (Writer::Helper, Writer::Launcher));
    assert_eq!((by_user.groups.as_slice(), by_user.deny_setgroups), (&[line(0, 100, 1)][..], true));
    let by_root = maps(&mapped(&[line(0, 5, 10)], &[line(0, 7, 10)]), &root());
    assert_eq!((by_root.users_by, by_root.groups_by), (Writer::Launcher, Writer::Launcher));
    assert!(!by_root.deny_setgroups);
}

#[test]
fn init_is_whom_the_map_makes_of_the_caller_or_else_root() {
    let init = |users: &[IdMap], groups: &[IdMap]| {
        let plan = plan(&mapped(users, groups), &root()).unwrap();
        let InitIds { user, group, leaves_groups } = plan.init_ids;
        ((user, group, leaves_groups), plan.init_capabilities.is_empty())
    };
    let far = line(0, 100000, 65536);
    assert_eq!(init(&[far], &[far]), ((Some(0), Some(0), true), true));
    assert_eq!(init(&[far], &[]), ((Some(0), None, true), true));
    assert_eq!(init(&[line(70000, 0, 1), far], &[]), ((None, None, false), false));
    assert_eq!(init(&[], &[far]), ((None, Some(0), true), true));
    assert!(
        refused(&mapped(&[line(1, 100000, 5)], &[]), &root())
            .starts_with("command line: --map-users: PID 1 would be nobody")
    );
    assert!(refused(&mapped(&[], &[line(1, 100000, 5)]), &root()).contains("--map-groups: PID 1"));
    let denied = plan(&mapped(&[line(0, 100000, 5)], &[]), &trusted()).unwrap();
    assert!(!denied.init_ids.leaves_groups);
}

#[test]
fn what_the_kernel_would_refuse_of_a_map_is_named() {
    let refused = |users: &[IdMap]| refused(&mapped(users, &[]), &root());
    let last = u32::MAX - 1;
    assert!(plan(&mapped(&[line(0, 0, u32::MAX)], &[line(last, last, 1), line(0, 0, 1)]), &root()).is_ok());
    assert_eq!(refused(&[line(0, 0, 0)]), "command line: --map-users 0:0:0: a map has at least one id");
    assert_eq!(
        refused(&[line(last, 0, 2)]),
        "command line: --map-users 4294967294:0:2: the last id inside would be more than 4294967294"
    );
    assert!(refused(&[line(0, last, 2)]).contains("the last id outside"));
    assert_eq!(
        refused(&[line(0, 0, 10), line(9, 20, 1)]),
        "command line: --map-users 9:20:1: has ids inside that 0:0:10 has too"
    );
    assert!(refused(&[line(10, 5, 10), line(0, 0, 6)]).contains("has ids outside that 10:5:10 has too"));
    let short: Vec<_> = (0..341).map(|i| line(i, i, 1)).collect();
    assert!(plan(&mapped(&short[..340], &[]), &root()).is_ok());
    assert!(refused(&short).starts_with("command line: --map-users: 341 lines of"));
    let long: Vec<_> = (0..200).map(|i| line(1_000_000_000 + i, i, 1)).chain([line(0, 1000, 1)]).collect();
    assert!(plan(&mapped(&long, &[]), &root()).is_ok());
    let longer: Vec<_> =
        (0..200).map(|i| line(1_000_000_000 + i, 2_000_000_000 + i, 1)).chain([line(0, 1000, 1)]).collect();
    assert!(refused(&longer).contains("4095 bytes"));
}

#[test]
fn a_user_of_no_passwd_file_is_known_by_user_unless_nothing_would_check_that() {
    let nameless = |capabilities| {
        let mut caller = Caller { capabilities, ..trusted() };
        caller.subordinate_ids.user_name = None;
        caller.environment.push("USER=me".into());
        caller
    };
    let auto = Options { identity: Identity::Auto, ..options() };
    assert!(plan(&auto, &nameless(0)).is_ok());
    assert!(refused(&auto, &nameless(u64::MAX)).contains("gives 1000 no ids"));
}

#[test]
fn setgroups_is_given_up_only_by_those_who_have_no_right_to_it() {
    assert!(plan(&options(), &caller()).unwrap().maps.unwrap().deny_setgroups);
    assert!(!plan(&options(), &root()).unwrap().maps.unwrap().deny_setgroups);
}

#[test]
fn names_of_wrong_length_or_with_nul_are_refused() {
    let with = |name: &str| Options { host_name: Some(name.into()), ..options() };
    assert!(plan(&with(&"x".repeat(64)), &caller()).is_ok());
    assert_eq!(
        refused(&with(&"x".repeat(65)), &caller()),
        "command line: --hostname: 65 bytes are more than the 64 a name may have"
    );
    assert_eq!(refused(&with(""), &caller()), "command line: --hostname: is empty");
    assert_eq!(refused(&with("a\0b"), &caller()), "command line: --hostname: has a NUL byte");
}

#[test]
fn what_would_reach_outside_is_refused() {
    let share = |share| Options { share: vec![share], ..options() };
    assert!(refused(&share(Share::User), &caller()).contains("CAP_SYS_ADMIN"));
    let named = Options { host_name: Some("x".into()), ..share(Share::Uts) };
    assert!(refused(&named, &root()).contains("the caller's own"));
    let ids = Identity::Ids { uid: Some(7), gid: None };
    for identity in [ids, Identity::Auto, Identity::Maps { users: vec![], groups: vec![] }] {
        let chosen = Options { identity, ..share(Share::User) };
        assert!(refused(&chosen, &root()).contains("user namespace"));
    }
}

#[test]
fn who_shares_the_callers_user_namespace_keeps_its_ids() {
    let share = Options { share: vec![Share::User], ..options() };
    let keep = Options { identity: Identity::Keep, ..share.clone() };
    assert_eq!(plan(&keep, &root()), plan(&share, &root()));
}

#[test]
fn a_deleted_working_directory_matters_only_without_another() {
    let caller = Caller { directory: Err(Errno::ENOENT), ..caller() };
    assert_eq!(
        refused(&options(), &caller),
        "working directory: the caller's: it has been deleted; name another with --chdir"
    );
    assert!(plan(&Options { directory: Some("/".into()), ..options() }, &caller).is_ok());
}

#[test]
fn the_environment_is_cleared_then_unset_then_set() {
    let variables = |options: &Options| environment(&Variables::of(options), &caller().environment);
    assert_eq!(variables(&options()), ["PATH=/bin", "A=1"]);
    let set = vec![("A".into(), "2".into()), ("B".into(), "".into()), ("A".into(), "3".into())];
    let options = Options { unset: vec!["PATH".into(), "B".into()], set, ..options() };
    assert_eq!(variables(&options), ["B=", "A=3"]);
    assert_eq!(variables(&Options { clear_environment: true, ..options }), ["B=", "A=3"]);
}

#[test]
fn what_of_the_environment_has_no_name_or_no_value_is_handed_on_too() {
    let caller = Caller { environment: ["A", "=", "A=2", "B"].map(Into::into).into(), ..caller() };
    let variables = |options: &Options| environment(&Variables::of(options), &caller.environment);
    assert_eq!(variables(&options()), ["A", "=", "A=2", "B"]);
    assert_eq!(variables(&Options { unset: vec!["A".into()], ..options() }), ["=", "B"]);
}
