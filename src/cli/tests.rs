//! What command lines ask for, and what is said of those that are wrong.

#![forbid(unsafe_code)]

use launch_init::handoff::Group;

use super::options::{GRACE, HEALTH_TIME, LONG_GRACE};
use super::*;
use crate::named::name::Name;
use crate::plan::{HealthCheck, Identity, Options};

fn parse_words(line: &str) -> Result<Request, Error> {
    parse(std::iter::once("launch").chain(line.split_whitespace()).map(OsString::from))
}

fn options(line: &str) -> Options {
    match parse_words(line) {
        Ok(Request::Run(cli)) => cli.options(Group::Callers),
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    match parse_words(line) {
        Err(error) => error.to_string(),
        Ok(request) => panic!("{line}: {request:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    definition().debug_assert();
}

#[test]
fn all_behind_the_dashes_is_the_command() {
    assert_eq!(options("-- ls -l -- --net none").command, ["ls", "-l", "--", "--net", "none"]);
}

#[test]
fn without_the_dashes_the_error_says_so() {
    let expected =
        "command line: ls: a command must stand behind --, as in: launch [OPTIONS] -- CMD [ARG...]";
    assert_eq!(refused("ls"), expected);
    assert_eq!(refused("--net none ls -l"), expected);
}

#[test]
fn diff_is_a_request_of_its_own_but_behind_the_dashes_a_command() {
    assert!(matches!(parse_words("diff a/b"), Ok(Request::Diff(path)) if path.as_os_str() == "a/b"));
    assert_eq!(options("-- diff a b").command, ["diff", "a", "b"]);
    assert_eq!(
        refused("diff"),
        "command line: diff: says not of what; say launch diff DIR, the DIR of --keep"
    );
    assert!(refused("diff a b").starts_with("command line: b: "));
    assert!(refused("--net none diff a").starts_with("command line: diff: a command must stand behind --"));
}

#[test]
fn what_is_done_with_named_sandboxes_is_a_request_of_its_own() {
    let parsed = |line: &str| match parse_words(line) {
        Ok(Request::Sandboxes(sandboxes)) => sandboxes,
        other => panic!("{line}: {other:?}"),
    };
    let names =
        |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect::<Vec<Name>>();
    assert!(matches!(parsed("wait a b"), Sandboxes::Wait(it) if it.names == names(&["a", "b"])));
    assert!(matches!(parsed("kill a"), Sandboxes::Kill(it) if it.signal == libc::SIGTERM));
    assert!(matches!(parsed("kill -s int a"), Sandboxes::Kill(it) if it.signal == libc::SIGINT));
    assert!(matches!(parsed("stop --all"), Sandboxes::Stop(it) if it.all && it.names.is_empty()));
    assert!(
        matches!(parsed("stop --grace 1500ms a"), Sandboxes::Stop(it) if it.grace == Some(Duration::from_millis(1500)))
    );
    assert!(
        matches!(parsed("ps --filter state=exited --filter label=a"), Sandboxes::Ps(it) if it.filter.len() == 2)
    );
    assert_eq!(options("-- ps").command, ["ps"]);
    for (line, expected) in [
        ("stop", "stop: says not which sandbox; say launch stop NAME"),
        ("wait a b/c", "wait: \"b/c\" has a slash; a name is no path"),
        ("ps a", "a: is one too many; see launch ps --help"),
        ("rm --forse a", "--forse: no such option; did you mean --force?"),
        ("rm --xyz a", "--xyz: no such option; see launch rm --help"),
        ("stop --all a", "--all: cannot be used together with NAME"),
        ("kill -s 99 a", "--signal: \"99\" is no signal: say TERM, 15 or RTMIN+1"),
    ] {
        assert_eq!(refused(line), format!("command line: {expected}"), "{line}");
    }
}

#[test]
fn a_wrong_option_is_named_in_one_line() {
    assert_eq!(refused("--foo -- true"), "command line: --foo: no such option; see launch --help");
    assert_eq!(
        refused("--hostnam x -- true"),
        "command line: --hostnam: no such option; did you mean --hostname?"
    );
    assert_eq!(refused("--net moon -- true"), "command line: --net: \"moon\" is none of host, none");
    assert_eq!(refused("--uid 1 --uid 2 -- true"), "command line: --uid: was given more than once");
    assert_eq!(
        refused("--uid 1 --keep-id -- true"),
        "command line: --uid: cannot be used together with --keep-id"
    );
    assert!(refused("--chdir -- true").starts_with("command line: --chdir: "));
    assert_eq!(refused("--json -- true"), "command line: --explain: is missing: another option needs it");
}

#[test]
fn maps_make_an_identity_and_go_with_no_other() {
    let map = |inside, outside, count| IdMap { inside, outside, count };
    let users = vec![map(0, 1000, 1), map(1, 100000, 65536)];
    assert_eq!(
        options("--map-users 0:1000:1 --map-users 1:100000:65536 -- x").identity,
        Identity::Maps { users, groups: vec![] }
    );
    assert_eq!(options("--map auto -- x").identity, Identity::Auto);
    for other in ["--uid 1", "--gid 1", "--keep-id", "--map auto"] {
        assert!(refused(&format!("--map-groups 0:1:1 {other} -- x")).contains("cannot be used together"));
    }
    assert!(refused("--map auto --keep-id -- x").contains("cannot be used together"));
    assert_eq!(
        refused("--map-users 0:1 -- x"),
        "command line: --map-users: \"0:1\": say IN:OUT:COUNT, as in 0:100000:65536"
    );
}

#[test]
fn a_named_sandbox_is_a_service_and_has_a_longer_grace() {
    let plain = options("-- x");
    assert_eq!((plain.is_service, plain.tells, plain.grace), (false, false, GRACE));
    for line in ["--name a -- x", "--detach -- x", "-d -- x"] {
        let named = options(line);
        assert_eq!((named.is_service, named.tells, named.grace), (true, true, LONG_GRACE), "{line}");
    }
    assert_eq!(options("--name a --grace 3s -- x").grace, Duration::from_secs(3));
    assert!(options("--stop-signal QUIT -- x").is_service);
}

#[test]
fn runs_that_follow_each_other_are_in_a_group_of_their_own() {
    let group = |line: &str| match parse_words(line) {
        Ok(Request::Run(cli)) => cli.options(Group::Callers).group,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(group("--restart no -- x"), Group::Callers);
    assert_eq!(group("--restart always -- x"), Group::Own { foreground: false });
}

#[test]
fn a_long_life_is_read() {
    let read = options(
        "--restart on-failure:3 --ready fd:4 --ready-timeout 5s --watchdog 6s --health-cmd h --health-retries 7 -- x",
    );
    assert_eq!(read.restart, Restart::OnFailure { most: Some(3) });
    assert_eq!((read.ready, read.ready_timeout), (Ready::Descriptor(4), Some(Duration::from_secs(5))));
    let health = HealthCheck {
        command: "h".into(),
        interval: HEALTH_TIME,
        timeout: HEALTH_TIME,
        retries: 7,
        restarts: false,
    };
    assert_eq!(read.health, Some(health));
    for (line, reason) in [
        (
            "--restart often -- x",
            "--restart: \"often\" is none of no, on-failure[:MAX], always, unless-stopped",
        ),
        ("--ready yes -- x", "--ready: \"yes\" is none of notify, fd:N, exec:CMD"),
        ("--health-restart -- x", "--health-cmd: is missing: another option needs it"),
        ("--health-cmd h --health-retries 0 -- x", "--health-retries: \"0\" is no number above 0"),
        ("--ready-timeout 1s -- x", "--ready: is missing: another option needs it"),
        ("--log f --tty -- x", "--log: cannot be used together with --tty"),
    ] {
        assert_eq!(refused(line), format!("command line: {reason}"), "{line}");
    }
}

#[test]
fn what_the_launcher_does_beside_is_read() {
    let settings = |line: &str| match parse_words(line) {
        Ok(Request::Run(cli)) => cli.settings(),
        other => panic!("{line}: {other:?}"),
    };
    let read =
        settings("--name a --rm --label k=v=w --log l --log-max-size 1K --log-max-files 2 -- x").unwrap();
    assert_eq!(read.name.as_ref().map(Name::as_str), Some("a"));
    assert!(read.removes && !read.detach && read.log == Some("l".into()));
    assert_eq!((read.log_max_size, read.log_max_files, &*read.labels["k"]), (1024, 2, "v=w"));
    for (line, reason) in [
        ("-d -t -- x", "--detach: nobody is at the terminal of --tty; join it with launch exec --tty"),
        ("-d --keep-fd 3 -- x", "--detach: nothing of the caller's stays open: leave --keep-fd out"),
        ("--rm -- x", "--rm: concerns a sandbox with a name: say --name or --detach"),
        ("--label a=b -- x", "--label: concerns a sandbox with a name: say --name or --detach"),
        ("--log-max-size 1 -- x", "--log-max-size: says nothing without --log or --detach"),
        ("--name a --log-max-files 1 -- x", "--log-max-files: says nothing without --log or --detach"),
        ("--name a/b -- x", "--name: \"a/b\" has a slash; a name is no path"),
    ] {
        assert_eq!(settings(line).unwrap_err().to_string(), format!("command line: {reason}"), "{line}");
    }
}

#[test]
fn where_the_status_goes_is_found_in_a_wrong_command_line() {
    let found = |line: &str| status_fd_in(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
    assert_eq!(found("launch --foo --status-fd 3 -- x"), Some(3));
    assert_eq!(found("launch --status-fd=4 --foo"), Some(4));
    for line in ["launch --foo -- --status-fd 3", "launch --status-fd", "launch --status-fd x", "launch"] {
        assert_eq!(found(line), None, "{line}");
    }
}

#[test]
fn a_variable_is_split_at_its_first_equals_sign() {
    assert_eq!(
        options("--env A=b=c --env B= -- x").set,
        [("A".into(), "b=c".into()), ("B".into(), "".into())]
    );
    assert_eq!(refused("--env A -- x"), "command line: --env: \"A\" has no =; say --env NAME=VALUE");
    assert!(refused("--env =A -- x").contains("no name"));
}
