//! `launch ps` and the others, with sandboxes that have a name: as they should be, and in bad times.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use support::place::Place;
use support::session::Session;
use support::{Caller, Running, Talk, callers, code, program, refused, run, stdout_of, text, until};

const FOREVER: &str = "while :; do sleep 100; done";
const STUBBORN: &str = "trap '' TERM; while :; do sleep 100; done";

/// Kills the monitor of a sandbox, and waits until it is gone.
#[track_caller]
fn kill_monitor(place: &Place, name: &str) {
    kill(place.monitor(name), Signal::SIGKILL).expect("kill");
    place.has_ended(name);
}

/// Its line in a table, in words.
fn line_of<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.split(' ').next() == Some(name));
    line.map(|line| line.split_whitespace().collect()).unwrap_or_default()
}

fn cleared(name: &str) -> String {
    format!("launch: warning: {name}: its monitor was killed; cleared\n")
}

#[test]
fn what_is_known_of_a_sandbox_is_listed_and_inspected() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &["--label", "tier=front"], FOREVER);
        let table = place.says(&["ps"]);
        assert_eq!(
            table.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>(),
            ["NAME", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY", "COMMAND"]
        );
        let known = place.inspect(name);
        let pid = known["pid"].as_i64().expect("a pid").to_string();
        let line = line_of(&table, name);
        assert_eq!((line[1], line[2], line[4]), ("running", pid.as_str(), "0"), "{line:?}");
        assert!(line[3].ends_with('s') && line[5].ends_with(['K', 'M']), "{line:?}");
        assert_eq!(line[6..].join(" "), format!("sh -c '{FOREVER}'"));
        assert_eq!(known["name"], name);
        assert_eq!(known["phase"], "running");
        assert_eq!(known["labels"]["tier"], "front");
        assert!(known["usage"]["memory"].as_u64() > Some(100_000), "{known}");
        let base = if caller == Caller::Root { "/run".into() } else { place.folder.path("run") };
        assert_eq!(known["folder"], format!("{base}/launch/{name}"));
        let all: Value = serde_json::from_str(&place.says(&["ps", "--json"])).expect("JSON");
        let all = all.as_array().expect("an array");
        let row = all.iter().find(|row| row["name"] == name).expect("a row");
        assert_eq!((&row["state"], &row["pid"]), (&"running".into(), &known["pid"]));
        assert_eq!(row["restarts"], 0);
    }
}

#[test]
fn a_filter_hides_what_it_is_not_true_of() {
    for caller in callers() {
        let place = Place::of(caller);
        let (one, other) = ("one", "other");
        place.start(one, &["--label", &format!("test={one}")], FOREVER);
        place.start(other, &["--label", &format!("test={other}")], "exit 3");
        assert_eq!(code(place.run(&["wait", other]).status), 3);
        let names = |filters: &[&str]| {
            let words: Vec<_> =
                ["ps"].into_iter().chain(filters.iter().flat_map(|it| ["--filter", it])).collect();
            let table = place.says(&words);
            let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
            table.lines().skip(1).map(first).filter(|name| *name == one || *name == other).collect::<Vec<_>>()
        };
        assert_eq!(names(&[&format!("name={one}")]), [one]);
        assert_eq!(names(&[&format!("label=test={other}")]), [other]);
        assert_eq!(names(&["label=test", "state=exited"]), [other]);
        assert_eq!(names(&["label=test"]), [one, other]);
        assert!(names(&[&format!("label=test={other}"), "state=running"]).is_empty());
    }
}

#[test]
fn wait_has_the_exit_status_of_the_last_one_named() {
    for caller in callers() {
        let place = Place::of(caller);
        let (seven, killed) = ("seven", "killed");
        place.start(seven, &[], "exit 7");
        place.start(killed, &[], FOREVER);
        let waiting =
            Running::start(place.launch(&["wait", killed]).stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert_eq!(place.says(&["kill", "-s", "USR1", killed]), "");
        let waited = waiting.output();
        assert_eq!(
            (code(waited.status), text(&waited.stdout), text(&waited.stderr)),
            (138, "".into(), "".into())
        );
        let both = place.run(&["wait", killed, seven]);
        assert_eq!(code(both.status), 7);
        let mut lines: Vec<_> = text(&both.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, [format!("{killed} 138"), format!("{seven} 7")]);
    }
}

#[test]
fn stop_says_what_it_took_and_the_name_is_free_at_once() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        for _ in 0..5 {
            place.start(name, &[], FOREVER);
            assert_eq!(place.says(&["stop", name]), format!("{name}: ended by SIGTERM\n"));
        }
        place.start(name, &["--stop-signal", "INT"], "trap 'exit 4' INT; while :; do sleep 0.01; done");
        assert_eq!(place.says(&["stop", name]), format!("{name}: ended by SIGINT\n"));
        assert_eq!(code(place.run(&["wait", name]).status), 4);
        place.start(name, &[], STUBBORN);
        assert_eq!(place.says(&["stop", "--grace", "150ms", name]), format!("{name}: killed after 150ms\n"));
        assert_eq!(place.says(&["stop", name]), format!("{name}: had ended\n"));
    }
}

#[test]
fn several_are_stopped_at_the_same_time_and_their_number_is_told() {
    for caller in callers() {
        let place = Place::of(caller);
        let names: Vec<_> = (0..4).map(|i| format!("s{i}")).collect();
        names.iter().for_each(|name| place.start(name, &["--grace", "1s"], STUBBORN));
        let words: Vec<_> = ["stop"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let begin = Instant::now();
        let output = place.run(&words);
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        assert_eq!(code(output.status), 0);
        let mut lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        let mut expected: Vec<_> = names.iter().map(|name| format!("{name}: killed after 1s")).collect();
        expected.sort();
        assert_eq!(lines, expected);
        let counts: Vec<_> = text(&output.stderr)
            .lines()
            .filter_map(|line| Some(line.split_once(" (")?.1.to_owned()))
            .collect();
        assert_eq!(counts, ["1 of 4)", "2 of 4)", "3 of 4)", "4 of 4)"]);
    }
}

#[test]
fn stop_all_stops_all_that_are_running() {
    for caller in callers() {
        let place = Place::of(caller);
        assert_eq!(place.says(&["stop", "--all"]), "");
        place.start("a", &[], FOREVER);
        place.start("b", &[], FOREVER);
        place.start("c", &[], "true");
        place.run(&["wait", "c"]);
        let said = place.says(&["stop", "--all"]);
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["a: ended by SIGTERM", "b: ended by SIGTERM"]);
        let table = place.says(&["ps"]);
        let states = ["a", "b", "c"].map(|name| line_of(&table, name)[1..3].join(" "));
        assert_eq!(states, ["exited (143)", "exited (143)", "exited (0)"]);
        assert_eq!(
            place.refuses(&["stop", "--all", "a"]),
            "launch: command line: --all: cannot be used together with NAME"
        );
    }
}

#[test]
fn a_restart_is_a_new_run_in_the_same_namespaces() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let before = place.inspect(name);
        let said = place.says(&["restart", name]);
        let after = place.inspect(name);
        assert_eq!(said, format!("{name}: restarted (pid {})\n", after["pid"]));
        assert_ne!(before["pid"], after["pid"]);
        assert_eq!(before["init_pid"], after["init_pid"]);
        assert_eq!(before["namespaces"], after["namespaces"]);
        assert_eq!(after["restarts"], 1);
        place.says(&["stop", name]);
        assert_eq!(
            place.refuses(&["restart", name]),
            format!("launch: sandbox: {name}: has ended (exit status 143)")
        );
    }
}

#[test]
fn of_several_names_all_are_done_and_the_first_error_decides() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let almost = format!("{name}x");
        assert_eq!(
            place.refuses(&["kill", &almost, name]),
            format!("launch: sandbox: {almost}: no such sandbox; did you mean {name}?")
        );
        assert_eq!(code(place.run(&["wait", name]).status), 143);
        assert_eq!(
            place.refuses(&["kill", name]),
            format!("launch: sandbox: {name}: has ended (exit status 143)")
        );
        let known: Value =
            serde_json::from_str(&text(&place.run(&["inspect", "no-such-1", name]).stdout)).expect("JSON");
        assert_eq!(known["exit_status"], 143);
    }
}

#[test]
fn a_name_that_is_none_is_a_wrong_command_line() {
    for caller in callers() {
        let place = Place::of(caller);
        let long = "x".repeat(65);
        for command in ["inspect", "wait", "kill", "stop", "restart", "stats", "rm"] {
            for (name, reason) in [
                ("", "a name has at least one character"),
                ("a/b", "\"a/b\" has a slash; a name is no path"),
                ("..", "\"..\" is a directory's name in every directory, and none of a sandbox"),
                (&long, &format!("{long:?} has 65 bytes; a name has at most 64")),
            ] {
                assert_eq!(
                    place.refuses(&[command, name]),
                    format!("launch: command line: {command}: {reason}")
                );
            }
        }
        assert_eq!(
            place.refuses(&["stop"]),
            "launch: command line: stop: says not which sandbox; say launch stop NAME"
        );
        assert_eq!(
            place.refuses(&["ps", "web"]),
            "launch: command line: web: is one too many; see launch ps --help"
        );
    }
}

#[test]
fn rm_refuses_one_that_is_running_unless_it_is_forced() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &["--restart", "always"], FOREVER);
        let monitor = place.monitor(name);
        assert_eq!(
            place.refuses(&["rm", name]),
            format!("launch: sandbox: {name}: is running (pid {monitor}); stop it first, or say rm --force")
        );
        assert_eq!(place.says(&["rm", "--force", name]), format!("{name}: killed\n"));
        assert!(!place.path(name, "").exists());
        place.start(name, &[], "exit 1");
        place.run(&["wait", name]);
        assert_eq!(place.says(&["rm", name]), "");
        assert!(!place.path(name, "").exists());
        assert_eq!(
            place.refuses(&["rm", name]).split(';').next(),
            Some(&*format!("launch: sandbox: {name}: no such sandbox"))
        );
    }
}

#[test]
fn what_a_killed_monitor_leaves_is_told_and_cleared_by_the_next_command() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        let unknown = format!("launch: sandbox: {name}: no such sandbox\n");
        for (words, expected, error) in [
            (vec!["ps", "--filter", "name=no-such"], 0, ""),
            (vec!["stop", name], 0, ""),
            (vec!["rm", name], 0, ""),
            (vec!["inspect", name], 125, unknown.as_str()),
            (vec!["kill", name], 125, unknown.as_str()),
            (vec!["wait", name], 125, unknown.as_str()),
            (vec!["restart", name], 125, unknown.as_str()),
            (vec!["stats", name], 125, unknown.as_str()),
            (vec!["--name", name, "--rm", "--", "true"], 0, ""),
        ] {
            place.start(name, &[], FOREVER);
            kill_monitor(&place, name);
            assert!(place.path(name, "").exists());
            let output = place.run(&words);
            let said = (code(output.status), text(&output.stderr));
            assert_eq!(said, (expected, format!("{}{error}", cleared(name))), "{words:?}");
            assert!(!place.path(name, "").exists(), "{words:?}");
        }
    }
}

#[test]
fn who_waits_for_one_whose_monitor_is_killed_is_told() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let mut command = place.launch(&["wait", name]);
        let waiting = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let monitor = place.monitor(name);
        until("it is connected", || {
            let sockets = fs::read_dir(format!("/proc/{}/fd", waiting.pid())).ok()?;
            let has = |fd: &fs::DirEntry| {
                fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
            };
            sockets.filter_map(Result::ok).any(|fd| has(&fd)).then_some(())
        });
        kill(monitor, Signal::SIGKILL).expect("kill");
        let output = waiting.output();
        let expected = format!("{}launch: sandbox: {name}: no such sandbox\n", cleared(name));
        assert_eq!((code(output.status), text(&output.stderr)), (125, expected));
    }
}

#[test]
fn a_truncated_state_is_none_of_one_that_has_ended_and_does_not_matter_of_one_that_runs() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let file = place.path(name, "state.json");
        let truncate = || {
            let whole = fs::read(&file).expect("read");
            fs::write(&file, &whole[..whole.len() / 2]).expect("write");
        };
        truncate();
        assert_eq!(line_of(&place.says(&["ps"]), name)[1], "running");
        place.says(&["stop", name]);
        assert_eq!(line_of(&place.says(&["ps"]), name)[1], "exited");
        truncate();
        let output = place.run(&["ps"]);
        assert!(text(&output.stderr).contains(&cleared(name)), "{}", text(&output.stderr));
        assert!(!place.path(name, "").exists());
    }
}

#[test]
fn a_folder_that_is_somebody_elses_is_not_touched() {
    for caller in callers() {
        let place = Place::of(caller);
        let (name, other) = ("web", "other");
        place.start(name, &[], "true");
        place.run(&["wait", name]);
        place.start(other, &[], FOREVER);
        let path = place.path(name, "");
        let stranger = if caller == Caller::Root { support::USER } else { 0 };
        if nix::unistd::geteuid().is_root() {
            chown(&path, Some(stranger), None).expect("chown");
            let expected = format!(
                "launch: sandbox: {name}: its folder belongs to somebody else (uid {stranger}, not {})",
                caller.uid()
            );
            for command in ["inspect", "kill", "stop", "rm"] {
                assert_eq!(place.refuses(&[command, name]), expected);
            }
            assert_eq!(place.refuses(&["--name", name, "--", "true"]), expected);
            let output = place.run(&["ps"]);
            assert_eq!(code(output.status), 125);
            assert!(text(&output.stderr).contains(&expected));
            assert_eq!(line_of(&text(&output.stdout), other)[1], "running", "the others are listed");
            assert!(path.join("state.json").exists());
            chown(&path, Some(caller.uid()), None).expect("chown");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("chmod");
        assert_eq!(
            place.refuses(&["inspect", name]),
            format!(
                "launch: sandbox: {name}: its folder can be written to by others (mode 0777); chmod go-w it"
            )
        );
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("chmod");
        let elsewhere = place.path(&format!("{name}.elsewhere"), "");
        fs::rename(&path, &elsewhere).expect("rename");
        symlink(&elsewhere, &path).expect("symlink");
        for words in [&["inspect", name][..], &["rm", name], &["--name", name, "--", "true"]] {
            assert_eq!(
                place.refuses(words),
                format!("launch: sandbox: {name}: its folder is a symbolic link")
            );
        }
        fs::remove_file(&path).expect("unlink");
        fs::write(&path, "").expect("write");
        assert_eq!(
            place.refuses(&["inspect", name]),
            format!("launch: sandbox: {name}: its folder is no directory")
        );
        fs::remove_file(&path).expect("unlink");
        fs::rename(&elsewhere, &path).expect("rename");
    }
}

#[test]
fn an_unfit_runtime_directory_is_told_with_what_helps() {
    let place = Place::of(Caller::User);
    let with = |directory: Option<&str>, words: &[&str]| {
        let mut command = place.caller.launch(words);
        match directory {
            Some(path) => command.env("XDG_RUNTIME_DIR", path),
            None => command.env_remove("XDG_RUNTIME_DIR"),
        };
        refused(&mut command)
    };
    let open = place.folder.directory("open");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("chmod");
    let file = place.folder.file("file", "");
    let missing = place.folder.path("missing");
    let log_in = "log in anew, or set it to a directory of your own with mode 0700";
    let make = "make it, with mode 0700, or set XDG_RUNTIME_DIR to one that there is";
    let mut cases = vec![
        (None, format!("$XDG_RUNTIME_DIR: is not set; {log_in}")),
        (Some(""), format!("$XDG_RUNTIME_DIR: is empty; {log_in}")),
        (Some("run"), "$XDG_RUNTIME_DIR: \"run\" is relative; set it to an absolute path".into()),
        (Some(&*missing), format!("{missing}: does not exist; {make}")),
        (Some(&*file), format!("{file}: is no directory; {make}")),
        (Some(&*open), format!("{open}: can be written to by others (mode 0777); chmod go-w it")),
    ];
    if nix::unistd::geteuid().is_root() {
        let reason = format!("/run: belongs to somebody else (uid 0, not {})", Caller::User.uid());
        cases.push((Some("/run"), reason));
    }
    for (directory, expected) in cases {
        for words in [&["ps"][..], &["stop", "web"], &["--name", "web", "--", "true"]] {
            assert_eq!(with(directory, words), format!("launch: runtime directory: {expected}"), "{words:?}");
        }
    }
    // A link in its place leads nowhere.
    symlink("/tmp", place.folder.path("run/launch")).expect("symlink");
    let launch = place.folder.path("run/launch");
    assert_eq!(place.refuses(&["ps"]), format!("launch: runtime directory: {launch}: is a symbolic link"));
    fs::remove_file(&launch).expect("unlink");
    assert_eq!(place.says(&["ps", "--json"]), "[]\n", "where nothing was launched, there is nothing");
    assert!(!Path::new(&launch).exists(), "and nothing is made");
}

#[test]
fn a_path_longer_than_an_address_works() {
    let place = Place::of(Caller::User);
    let long = format!("run/{}", "x".repeat(150));
    let directory = place.folder.directory(&long);
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("chmod");
    let with = |words: &[&str]| stdout_of(place.caller.launch(words).env("XDG_RUNTIME_DIR", &directory));
    assert_eq!(with(&["--name", "web", "--detach", "--", "sleep", "1000"]), "web\n");
    assert_eq!(line_of(&with(&["ps"]), "web")[1], "running");
    assert_eq!(with(&["stop", "web"]), "web: ended by SIGTERM\n");
}

#[test]
fn a_control_socket_that_somebody_else_bound_is_not_talked_to() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let monitor = place.monitor(name);
        let path = place.path(name, "control");
        let moved = place.path(name, "moved");
        fs::rename(&path, &moved).expect("rename");
        let socket = UnixListener::bind(&path).expect("bind");
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("chmod");
        let (pid, uid) = (std::process::id(), nix::unistd::geteuid());
        let expected = format!(
            "launch: sandbox: {name}: control socket: is somebody else's (pid {pid}, uid {uid}), not that of its \
             monitor (pid {monitor})"
        );
        for words in [&["inspect", name][..], &["kill", name], &["stop", name], &["rm", "--force", name]] {
            assert_eq!(place.refuses(words), expected, "{words:?}");
        }
        drop(socket);
        fs::rename(&moved, &path).expect("rename");
        assert_eq!(place.says(&["stop", name]), format!("{name}: ended by SIGTERM\n"));
    }
}

#[test]
fn a_monitor_that_is_stopped_holds_nobody_up() {
    for caller in callers() {
        let place = Place::of(caller);
        let (name, other) = ("web", "other");
        place.start(name, &[], FOREVER);
        place.start(other, &[], FOREVER);
        let monitor = place.monitor(name);
        kill(monitor, Signal::SIGSTOP).expect("kill");
        let begin = Instant::now();
        let output = place.run(&["ps"]);
        assert!(begin.elapsed() < Duration::from_secs(10));
        let table = text(&output.stdout);
        assert_eq!((line_of(&table, name)[1], line_of(&table, other)[1]), ("running", "running"));
        let remark = format!(
            "launch: warning: {name}: its monitor (pid {monitor}) does not answer; this is how it was before\n"
        );
        assert!(text(&output.stderr).contains(&remark), "{}", text(&output.stderr));
        let silent = format!(
            "launch: sandbox: {name}: its monitor (pid {monitor}) does not answer; if it is stopped, kill -CONT {monitor}"
        );
        assert_eq!(place.refuses(&["kill", name]), silent);
        // Of several, it is told once; and what was handed to it is not kept open by it: who reads stderr sees its end.
        let output = place.run(&["stats"]);
        assert_eq!((code(output.status), text(&output.stderr)), (125, format!("{silent}\n")));
        assert_eq!(place.refuses(&["exec", name, "--", "true"]), silent);
        let output = place.run(&["stop", name, other]);
        assert_eq!(
            (code(output.status), text(&output.stdout)),
            (125, format!("{other}: ended by SIGTERM\n"))
        );
        assert!(text(&output.stderr).contains(&silent));
        assert_eq!(place.says(&["rm", "--force", other]), "");
        let forced = place.run(&["rm", "--force", name]);
        assert_eq!(
            (code(forced.status), text(&forced.stdout), text(&forced.stderr)),
            (0, format!("{name}: killed\n"), cleared(name))
        );
        assert!(!place.path(name, "").exists());
    }
}

#[test]
fn a_stopped_pid_1_has_the_time_of_who_gives_it_the_least() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let init = place.inspect(name)["init_pid"].as_i64().expect("a pid");
        kill(Pid::from_raw(init as i32), Signal::SIGSTOP).expect("kill");
        let patient = Running::start(place.launch(&["stop", "--grace", "1h", name]).stdout(Stdio::piped()));
        until("it is stopping", || (place.inspect(name)["phase"] == "stopping").then_some(()));
        assert_eq!(place.says(&["rm", "--force", name]), format!("{name}: killed\n"));
        assert!(text(&patient.output().stdout).starts_with(&format!("{name}: killed after")));
    }
}

#[test]
fn a_command_of_any_length_is_listed() {
    for caller in callers() {
        let place = Place::of(caller);
        let (long, name) = ("x".repeat(100_000), "web");
        assert_eq!(
            place.says(&["--name", name, "--detach", "--", "sh", "-c", FOREVER, &long]),
            format!("{name}\n")
        );
        assert!(line_of(&place.says(&["ps"]), name).contains(&&*long));
    }
}

#[test]
fn of_two_launches_of_one_name_one_is_refused() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        for _ in 0..5 {
            let words = ["--name", name, "--detach", "--", "sleep", "1000"];
            let mut both: Vec<_> = (0..4)
                .map(|_| Running::start(place.launch(&words).stdout(Stdio::piped()).stderr(Stdio::piped())))
                .map(Running::output)
                .collect();
            both.sort_by_key(|output| code(output.status));
            assert_eq!(both.iter().map(|output| code(output.status)).collect::<Vec<_>>(), [0, 125, 125, 125]);
            let monitor = place.monitor(name);
            for refused in &both[1..] {
                let expected = format!("launch: sandbox: {name}: is already running (pid {monitor})\n");
                assert_eq!(text(&refused.stderr), expected);
            }
            let stopping: Vec<_> = (0..3)
                .map(|_| {
                    let mut command = place.launch(&["stop", name]);
                    Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
                })
                .collect();
            for stopping in stopping {
                let output = stopping.output();
                let said = text(&output.stdout);
                assert_eq!(code(output.status), 0, "{}", text(&output.stderr));
                let expected = [format!("{name}: ended by SIGTERM\n"), format!("{name}: had ended\n")];
                assert!(expected.contains(&said), "{said}");
            }
        }
    }
}

/// Whoever is first, nobody is left with a sandbox that has no folder, or a folder without a sandbox.
#[test]
fn launches_and_removals_at_the_same_time_leave_nothing_behind() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        let launch: &[&str] = &["--name", name, "--", "true"];
        let remove: &[&str] = &["rm", name];
        let list: &[&str] = &["ps", "--filter", "name=no-such"];
        for _ in 0..10 {
            let running: Vec<_> = [launch, remove, list, launch, remove, launch, list, remove]
                .into_iter()
                .map(|words| {
                    let mut command = place.launch(words);
                    (words, Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())))
                })
                .collect();
            for (words, running) in running {
                let output = running.output();
                let error = text(&output.stderr);
                let is_known = match code(output.status) {
                    0 => error.is_empty(),
                    125 => {
                        let reasons = [
                            "is already running (pid ",
                            "is running (pid ",
                            "has ended, and another one has its name now",
                            "no such sandbox",
                        ];
                        words != list
                            && error.lines().count() == 1
                            && reasons.iter().any(|it| error.contains(it))
                    }
                    _ => false,
                };
                assert!(is_known, "{words:?}: {:?}: {error}", output.status);
            }
        }
        place.run(&["rm", name]);
        assert!(!place.path(name, "").exists());
    }
}

#[test]
fn stats_tells_how_busy_a_sandbox_is() {
    for caller in callers() {
        let place = Place::of(caller);
        let (busy, idle) = ("busy", "idle");
        place.start(busy, &[], "while :; do :; done");
        place.start(idle, &[], FOREVER);
        let lines = place.says(&["stats", "--json", busy, idle]);
        let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let row = |name: &str| rows.iter().find(|row| row["name"] == name).expect("a row");
        assert!(row(busy)["cpu_percent"].as_f64() > Some(5.0), "{lines}");
        assert!(row(idle)["cpu_percent"].as_f64() < Some(5.0), "{lines}");
        assert!(
            row(idle)["memory"].as_u64() > Some(100_000) && row(idle)["pids"].as_u64() >= Some(2),
            "{lines}"
        );
        let table = place.says(&["stats", busy]);
        assert!(table.starts_with("NAME"), "{table}");
        assert!(line_of(&table, busy)[1].ends_with('%'), "{table}");
        // Lines, as long as it lives and somebody reads them.
        let watching = Talk::start(&mut place.launch(&["stats", "--watch", "--json", busy]));
        for _ in 0..2 {
            let line = watching.hear().expect("a line");
            let row: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(row["name"], busy);
        }
        place.says(&["rm", "--force", busy]);
        let (_, status) = watching.end();
        assert_eq!(code(status), 125);
    }
}

#[test]
fn stats_ends_with_its_reader() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let mut command = place.command("sh");
        command.args(["-c", "\"$0\" stats --watch \"$1\" | head -n 1; echo read"]).arg(program()).arg(name);
        let output = run(&mut command);
        assert!(text(&output.stdout).ends_with("read\n"), "{output:?}");
    }
}

#[test]
fn on_a_terminal_a_line_tells_that_it_waits() {
    for caller in callers() {
        let place = Place::of(caller);
        let name = "web";
        place.start(name, &[], FOREVER);
        let mut words = place.words();
        // On a dumb one nothing is drawn.
        words.extend(["env".into(), "TERM=xterm".into()]);
        words.extend([program().to_str().expect("text").into(), "wait".into(), name.into()]);
        let mut session = Session::start(caller, &words);
        session.shows("waiting for its end (");
        place.says(&["stop", name]);
        assert_eq!(code(session.running.wait()), 143);
    }
}
