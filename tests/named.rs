//! The life of a sandbox that has a name, as its monitor lives it: in the foreground and detached, in good times and bad.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use support::place::{Place, request};
use support::{
    Running, callers, cannot_run, code, code_and_stderr, marker, processes_with, run, stdout_of, text, until,
};

/// Waits until nobody has this text in its command line.
#[track_caller]
fn nobody_is_left(marker: &str) {
    until("all inside have ended", || processes_with(marker).is_empty().then_some(()));
}

#[test]
fn a_detached_sandbox_runs_when_launch_returns_and_its_folder_says_so() {
    for caller in callers() {
        let place = Place::of(caller);
        place.start("web", &["--label", "a=b", "--label", "c="], "exec sleep 1000");
        let state = place.state("web");
        let monitor = state["monitor_pid"].as_i64().unwrap();
        assert_eq!(place.holder("web").map(i64::from), Some(monitor));
        assert_eq!(state["phase"], "running");
        assert_eq!((&state["name"], &state["form"]), (&json!("web"), &json!(1)));
        assert_eq!(state["command"], json!(["sh", "-c", "exec sleep 1000"]));
        assert_eq!(state["labels"], json!({ "a": "b", "c": "" }));
        assert_eq!(
            (&state["ready"], &state["restarts"], &state["grace_ms"]),
            (&Value::Null, &json!(0), &json!(10000))
        );
        assert_eq!(state["id"].as_str().unwrap().len(), 32);
        let stat = fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
        let start: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
        assert_eq!(state["monitor_start"], start);
        let comm = |pid: &Value| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        until("the shell has become sleep", || (comm(&state["pid"]) == "sleep\n").then_some(()));
        assert_eq!(comm(&state["init_pid"]), "launch-init\n");
        let namespace = fs::metadata(format!("/proc/{}/ns/pid", state["pid"])).unwrap().ino();
        assert_eq!(state["namespaces"]["pid"], namespace);
        assert_eq!(place.events("web"), ["created", "started"]);
        for (file, mode) in [
            ("", 0o40700),
            ("control", 0o140600),
            ("lock", 0o100600),
            ("state.json", 0o100600),
            ("events.jsonl", 0o100600),
            ("output.log", 0o100600),
        ] {
            assert_eq!(fs::metadata(place.path("web", file)).unwrap().mode(), mode, "{file}");
        }
        let reply = place.ask("web", request("state"));
        assert_eq!((&reply["reply"], &reply["state"]), (&json!("state"), &state));
        let usage = &place.ask("web", request("usage"))["usage"];
        assert_eq!(usage["pids"], 2);
        assert!(usage["memory"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_monitor_is_in_a_session_of_its_own_and_has_nothing_of_its_callers_open() {
    for caller in callers() {
        let place = Place::of(caller);
        // A pipe that anybody kept open would not come to its end here.
        let script = "exec 7>&1 8>&2; cd /var/tmp; \"$@\"";
        let mut launch = place.launch_by(script, &["--name", "web", "-d", "--", "sleep", "1000"]);
        assert_eq!(stdout_of(&mut launch), "web\n");
        let monitor = place.monitor("web");
        let stat = fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let (session, terminal) = (fields[3], fields[4]);
        assert_eq!((session, terminal), (&*monitor.to_string(), "0"));
        assert_eq!(fs::read_link(format!("/proc/{monitor}/cwd")).unwrap().to_str(), Some("/"));
        for number in 0..3 {
            let link = fs::read_link(format!("/proc/{monitor}/fd/{number}")).unwrap();
            assert_eq!(link.to_str(), Some("/dev/null"));
        }
    }
}

#[test]
fn a_detached_sandbox_that_does_not_get_to_run_is_told_of_as_in_the_foreground() {
    for caller in callers() {
        let place = Place::of(caller);
        let not_found = "launch: exec: no-such-command: not found in PATH\n";
        let detached = |words: &[&str]| {
            let words: Vec<_> = ["--detach", "--name", "web"].iter().chain(words).copied().collect();
            code_and_stderr(&mut place.launch(&words))
        };
        assert_eq!(detached(&["--", "no-such-command"]), (127, not_found.into()));
        let state = place.state("web");
        assert_eq!((&state["phase"], &state["exit_status"]), (&json!("failed"), &json!(127)));
        assert_eq!(state["failure"], "exec: no-such-command: not found in PATH");
        assert_eq!(place.events("web"), ["created", "failed"]);
        assert_eq!(detached(&["--", "/"]).0, 126);
        assert_eq!(detached(&["--chdir", "/no-such-directory", "--", "true"]).0, 125);
        // A command line that is wrong makes nothing.
        let (status, stderr) = code_and_stderr(&mut place.launch(&[
            "--name",
            "other",
            "-d",
            "--uid",
            "4294967295",
            "--",
            "true",
        ]));
        assert_eq!(status, 125, "{stderr}");
        assert!(!place.path("other", "").exists());
        // Nobody knows the name of one that was given one.
        assert_eq!(code(run(&mut place.launch(&["-d", "--", "no-such-command"])).status), 127);
        assert_eq!(fs::read_dir(place.path("", "")).unwrap().count(), 1);
    }
}

#[test]
fn a_sandbox_that_ends_before_it_is_ready_is_a_failure_of_the_detached_launch() {
    for caller in callers() {
        let place = Place::of(caller);
        let refused = |script: &str| {
            place.refuses(&["-d", "--name", "web", "--ready", "fd:5", "--", "sh", "-c", script])
        };
        assert_eq!(refused("exit 3"), "launch: ready: web: the command exited with 3 before it was ready");
        assert_eq!(place.state("web")["exit_status"], 3);
        assert_eq!(
            refused("kill -9 $$"),
            "launch: ready: web: the command was killed by SIGKILL before it was ready"
        );
        let late = ["--ready", "fd:5", "--ready-timeout", "100ms"];
        let words: Vec<_> =
            ["-d", "--name", "web"].iter().chain(&late).chain(&["--", "sleep", "1000"]).copied().collect();
        let reason = place.refuses(&words);
        assert_eq!(reason, "launch: ready: web: the command was killed by SIGTERM before it was ready");
        let state = place.state("web");
        assert_eq!(state["last_run"]["why"], "not-ready", "{state}");
    }
}

#[test]
fn a_detached_launch_returns_when_the_sandbox_is_ready() {
    for caller in callers() {
        let place = Place::of(caller);
        let folder = place.folder.path("");
        let script = format!("until [ -e {folder}/go ]; do sleep 0.02; done; echo >&5; sleep 1000");
        let mut launch = place.launch(&["-d", "--name", "web", "--ready", "fd:5", "--", "sh", "-c", &script]);
        let mut launching = Running::start(launch.stdout(Stdio::piped()));
        let state = place.state_when("web", "running");
        assert_eq!(state["ready"], false);
        assert!(launching.child().try_wait().unwrap().is_none());
        let mut waiting = place.connect("web");
        waiting.say(request("wait-ready"));
        place.folder.file("go", "");
        assert_eq!(code(launching.wait()), 0);
        assert_eq!(place.state("web")["ready"], true);
        let reply = waiting.hear().unwrap();
        assert_eq!((&reply["reply"], &reply["state"]["ready"]), (&json!("state"), &json!(true)));
        assert_eq!(place.ask("web", request("wait-ready"))["state"]["ready"], true);
        assert_eq!(place.events("web"), ["created", "started", "ready"]);
    }
}

#[test]
fn a_sandbox_in_the_foreground_has_a_name_too_and_keeps_its_folder_when_it_has_ended() {
    for caller in callers() {
        let place = Place::of(caller);
        let output = place.run(&["--name", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!(
            (code(output.status), text(&output.stdout), text(&output.stderr)),
            (7, "out\n".into(), "err\n".into())
        );
        let state = place.state("web");
        assert_eq!((&state["phase"], &state["exit_status"]), (&json!("exited"), &json!(7)));
        assert_eq!((&state["last_run"]["row"], &state["last_run"]["code"]), (&json!("exited"), &json!(7)));
        assert_eq!(
            (&state["pid"], &state["init_pid"], &state["log"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(place.holder("web"), None);
        assert!(!place.path("web", "control").exists());
        // Another one takes the name over.
        assert_eq!(stdout_of(&mut place.launch(&["--name", "web", "--", "echo", "again"])), "again\n");
        assert_ne!(place.state("web")["id"], state["id"]);
        assert_eq!(place.events("web"), ["created", "started", "run-ended", "exited"]);
    }
}

#[test]
fn a_name_that_runs_is_refused() {
    for caller in callers() {
        let place = Place::of(caller);
        place.start("web", &[], "exec sleep 1000");
        let monitor = place.monitor("web");
        for words in [&["--name", "web", "--", "true"][..], &["-d", "--name", "web", "--", "true"]] {
            let expected = format!("launch: sandbox: web: is already running (pid {monitor})");
            assert_eq!(place.refuses(words), expected);
        }
        assert_eq!(place.state("web")["phase"], "running");
    }
}

#[test]
fn of_many_who_claim_a_name_at_once_one_gets_it() {
    for caller in callers() {
        let place = Place::of(caller);
        let launches: Vec<_> = (0..8)
            .map(|_| {
                let mut launch = place.launch(&["-d", "--name", "web", "--", "sleep", "1000"]);
                Running::start(launch.stdout(Stdio::null()).stderr(Stdio::null()))
            })
            .collect();
        let codes: Vec<_> = launches.into_iter().map(|mut launch| code(launch.wait())).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| **code == 125).count(), 7, "{codes:?}");
        assert_eq!(place.state("web")["phase"], "running");
    }
}

#[test]
fn a_term_to_the_monitor_stops_the_sandbox_by_its_stop_signal() {
    for caller in callers() {
        let place = Place::of(caller);
        let script = "trap 'exit 5' QUIT; trap 'exit 6' TERM; echo >&5; while :; do sleep 0.02; done";
        place.start("web", &["--stop-signal", "QUIT", "--restart", "always", "--ready", "fd:5"], script);
        assert_eq!(place.state("web")["stop_signal"], "SIGQUIT");
        kill(place.monitor("web"), Signal::SIGTERM).unwrap();
        let state = place.state_when("web", "exited");
        assert_eq!((&state["exit_status"], &state["restarts"]), (&json!(5), &json!(0)));
        assert_eq!(state["last_run"]["why"], "stop");
        place.has_ended("web");
    }
}

#[test]
fn an_order_to_stop_is_answered_when_all_have_ended() {
    for caller in callers() {
        let place = Place::of(caller);
        let marker = marker("stop");
        place.start("web", &["--env", &format!("M={marker}")], "sleep 1000 & exec sleep 1000");
        let monitor = place.monitor("web").as_raw();
        let reply = place.ask("web", json!({ "request": "stop", "grace_ms": null }));
        assert_eq!((&reply["reply"], &reply["killed"]), (&json!("ended"), &json!(false)), "{reply}");
        assert_eq!(reply["state"]["exit_status"], 143);
        assert!(processes_with(&marker).into_iter().all(|pid| pid == monitor));
        place.has_ended("web");

        let deaf = "trap '' TERM; echo >&5; while :; do sleep 0.02; done";
        place.start("web", &["--ready", "fd:5"], deaf);
        let reply = place.ask("web", json!({ "request": "stop", "grace_ms": 100 }));
        assert_eq!((&reply["reply"], &reply["killed"]), (&json!("ended"), &json!(true)), "{reply}");
        assert_eq!(reply["state"]["exit_status"], 137);
        let expected = ["created", "started", "ready", "ending", "grace-over", "run-ended", "exited"];
        assert_eq!(place.events("web"), expected);
    }
}

#[test]
fn a_restart_by_order_is_answered_when_the_next_run_is_ready() {
    for caller in callers() {
        let place = Place::of(caller);
        place.start("web", &["--ready", "fd:5"], "echo >&5; exec sleep 1000");
        let before = place.state("web");
        let reply = place.ask("web", json!({ "request": "restart", "grace_ms": null }));
        assert_eq!(reply["reply"], "state", "{reply}");
        let after = &reply["state"];
        assert_eq!((&after["restarts"], &after["ready"]), (&json!(1), &json!(true)));
        assert_ne!(after["pid"], before["pid"]);
        assert_eq!((&after["init_pid"], &after["namespaces"]), (&before["init_pid"], &before["namespaces"]));
        assert_eq!(after["last_run"]["why"], "restart");
    }
}

#[test]
fn a_signal_by_order_reaches_the_workload() {
    for caller in callers() {
        let place = Place::of(caller);
        let script = "trap 'exit 9' USR1; echo >&5; while :; do sleep 0.02; done";
        place.start("web", &["--ready", "fd:5"], script);
        let mut connection = place.connect("web");
        for wrong in [0, 65, -1] {
            let reply = connection.ask(json!({ "request": "signal", "signal": wrong }));
            assert_eq!(reply, json!({ "reply": "refused", "reason": "signals go from 1 to 64" }));
        }
        let mut waiting = place.connect("web");
        // It is known by then, so that its request is seen with the signal's at the latest.
        assert_eq!(waiting.ask(request("state"))["reply"], "state");
        waiting.say(request("wait"));
        assert_eq!(connection.ask(json!({ "request": "signal", "signal": 10 })), json!({ "reply": "done" }));
        let reply = waiting.hear().unwrap();
        assert_eq!((&reply["reply"], &reply["state"]["exit_status"]), (&json!("ended"), &json!(9)));
        assert!(place.events("web").contains(&"signal".into()));
    }
}

#[test]
fn orders_that_come_while_something_is_being_started_are_carried_out_afterwards() {
    for caller in callers() {
        let place = Place::of(caller);
        let probes = ["--health-cmd", "true", "--health-interval", "1ms"];
        let start = ["--restart", "always", "--restart-max-delay", "1ms"];
        // Probes are started all the time, and so are runs.
        place.start("web", &[&probes[..], &start].concat(), "exec sleep 0.02");
        let mut connection = place.connect("web");
        for _ in 0..2000 {
            let reply = connection.ask(json!({ "request": "signal", "signal": 28 }));
            assert_eq!(reply, json!({ "reply": "done" }));
        }
        let reply = connection.ask(json!({ "request": "stop", "grace_ms": null }));
        assert_eq!(reply["reply"], "ended");
    }
}

#[test]
fn whatever_clients_do_the_monitor_goes_on() {
    for caller in callers() {
        let place = Place::of(caller);
        place.start("web", &[], "exec sleep 1000");
        let alive = || assert_eq!(place.ask("web", request("state"))["reply"], "state");
        // Half a request, and one that is said in parts.
        let mut half = place.connect("web");
        half.send(b"{\"request\":");
        alive();
        half.send(b"\"state\"}\n{\"request\":\"state\"}\n");
        assert_eq!(half.hear().unwrap()["reply"], "state");
        assert_eq!(half.hear().unwrap()["reply"], "state");
        // Garbage is answered, and that was all.
        for garbage in [
            &b"garbage\n"[..],
            b"\n",
            b"{\"request\":\"fly\"}\n",
            b"\xff\xfe\x00\n",
            b"{\"request\":\"signal\"}\n",
        ] {
            let mut client = place.connect("web");
            client.send(garbage);
            let reply = client.hear().unwrap();
            assert_eq!(reply["reply"], "refused", "{reply}");
            assert_eq!(client.hear(), None);
        }
        // Those who go without a word, in the middle of one, and while they wait.
        for bytes in [&b""[..], b"{\"req", b"{\"request\":\"wait\"}\n", b"{\"request\":\"state\"}\n"] {
            place.connect("web").send(bytes);
        }
        alive();
        // Who takes no reply holds up nobody.
        let mut deaf = place.connect("web");
        deaf.send("{\"request\":\"state\"}\n".repeat(1000).as_bytes());
        alive();
        // Too many who wait are sent away; those who only hold a connection make room.
        let idle: Vec<_> = (0..64).map(|_| place.connect("web")).collect();
        alive();
        drop((idle, deaf, half));
        let mut waiting: Vec<_> = (0..64)
            .map(|_| {
                let mut client = place.connect("web");
                client.say(request("wait"));
                client
            })
            .collect();
        until("there is no room", || {
            let reply = place.connect("web").hear_or_ask(request("state"));
            (reply["reply"] == "refused").then(|| {
                assert_eq!(reply["reason"], "64 commands wait for it already");
            })
        });
        kill(place.monitor("web"), Signal::SIGTERM).unwrap();
        for client in &mut waiting {
            assert_eq!(client.hear().unwrap()["reply"], "ended");
        }
        place.has_ended("web");
    }
}

#[test]
fn a_monitor_without_a_free_descriptor_sends_clients_away_and_goes_on() {
    for caller in callers() {
        let place = Place::of(caller);
        let words = ["-d", "--name", "web", "--", "sleep", "1000"];
        stdout_of(&mut place.launch_by("ulimit -n 40; exec \"$@\"", &words));
        let monitor = place.monitor("web");
        let ticks = || {
            let stat = fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
            let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        let mut clients: Vec<_> = (0..60)
            .map(|_| {
                let mut client = place.connect("web");
                // It may have been sent away by now.
                client.try_send(b"{\"request\":\"wait\"}\n");
                client
            })
            .collect();
        let before = ticks();
        // Somebody is told that there is no room, or hears nothing; nobody is left waiting for ever.
        assert_eq!(clients.pop().unwrap().hear(), None);
        let start = Instant::now();
        drop(clients);
        until("there is room again", || {
            let mut client = place.connect("web");
            client.try_send(b"{\"request\":\"state\"}\n");
            client.hear().filter(|reply| reply["reply"] == "state").map(drop)
        });
        let spent = Duration::from_millis((ticks() - before) * 10);
        assert!(spent <= start.elapsed() + Duration::from_millis(500), "{spent:?}");
    }
}

#[test]
fn whoever_kills_the_monitor_kills_all_inside_and_the_name_is_free() {
    for caller in callers() {
        let place = Place::of(caller);
        for (round, moment) in ["", "lock", "control", "state.json", "events.jsonl", "output.log"]
            .into_iter()
            .cycle()
            .take(18)
            .enumerate()
        {
            let marker = format!("{}-{round}", marker("killed"));
            let environment = format!("M={marker}");
            let words = [
                "--name",
                "web",
                "--log",
                &place.folder.path("log"),
                "--env",
                &environment,
                "--",
                "sh",
                "-c",
                "trap '' TERM; while :; do sleep 0.02; done",
            ];
            let mut launch = place.launch(&words);
            let mut launching = Running::start(launch.stderr(Stdio::null()).stdout(Stdio::null()));
            match round % 3 {
                // As soon as there is something.
                0 => until("something of it is there", || {
                    place
                        .path("web", moment)
                        .exists()
                        .then_some(())
                        .or_else(|| (moment == "output.log").then_some(()))
                }),
                1 => drop(place.state_when("web", "running")),
                _ => {
                    place.state_when("web", "running");
                    kill(place.monitor("web"), Signal::SIGTERM).unwrap();
                }
            }
            // The launcher itself, whatever stands before it on its command line.
            let monitor = until("the launcher is there", || {
                place.try_holder("web").or_else(|| launching.child().try_wait().unwrap().map(|_| 0))
            });
            if monitor != 0 {
                kill(nix::unistd::Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
            }
            let _ = launching.wait();
            nobody_is_left(&marker);
            // A folder in which nothing but the lock had been made is that of nobody.
            let (code, stderr) = code_and_stderr(&mut place.launch(&["--name", "web", "--", "true"]));
            let warning = "launch: warning: web: its monitor was killed; cleared\n";
            assert!(
                code == 0 && (stderr == warning || stderr.is_empty() && round % 3 == 0),
                "{round}: {code} {stderr}"
            );
            assert_eq!(place.state("web")["phase"], "exited");
        }
    }
}

#[test]
fn whoever_kills_pid_1_ends_the_sandbox_by_that() {
    for caller in callers() {
        let place = Place::of(caller);
        place.start("web", &["--restart", "always"], "exec sleep 1000");
        let init = place.state("web")["init_pid"].as_i64().unwrap() as i32;
        kill(nix::unistd::Pid::from_raw(init), Signal::SIGKILL).unwrap();
        let state = place.state_when("web", "exited");
        assert_eq!((&state["exit_status"], &state["last_run"]["signal"]), (&json!(137), &json!(9)));
        place.has_ended("web");
    }
}

#[test]
fn a_launch_that_is_waited_for_is_stopped_by_a_signal_and_survives_a_kill() {
    for caller in callers() {
        let place = Place::of(caller);
        let marker = marker("waited");
        let environment = format!("M={marker}");
        let words = ["-d", "--name", "web", "--env", &environment, "--ready", "fd:5", "--", "sleep", "1000"];
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            let mut launch = place.launch_by("exec \"$@\"", &words);
            let launching = Running::start(launch.stdout(Stdio::piped()).stderr(Stdio::piped()));
            place.state_when("web", "running");
            launching.signal(signal);
            let output = launching.output();
            let expected = "launch: ready: web: the command was killed by SIGTERM before it was ready\n";
            assert_eq!((code(output.status), text(&output.stderr)), (125, expected.into()));
            nobody_is_left(&marker);
            place.has_ended("web");
        }
        let mut launch = place.launch(&words);
        let mut launching = Running::start(launch.stdout(Stdio::null()));
        place.state_when("web", "running");
        launching.signal(Signal::SIGKILL);
        let _ = launching.wait();
        assert_eq!(place.ask("web", request("state"))["state"]["phase"], "running");
    }
}

#[test]
fn a_caller_that_ignores_sigchld_or_has_closed_its_descriptors_can_detach() {
    for caller in callers() {
        let place = Place::of(caller);
        let words = ["-d", "--name", "web", "--", "sh", "-c", "exit 3"];
        stdout_of(&mut place.launch_by("trap '' CHLD; exec \"$@\"", &words));
        assert_eq!(place.state_when("web", "exited")["exit_status"], 3);
        let output = run(&mut place.launch_by("exec \"$@\" <&- >&- 2>&-", &words));
        assert_eq!(code(output.status), 0);
        assert_eq!(place.state_when("web", "exited")["exit_status"], 3);
        let words = ["-d", "--name", "web", "--", "no-such-command"];
        assert_eq!(code(run(&mut place.launch_by("exec \"$@\" <&- >&- 2>&-", &words)).status), 127);
    }
}

#[test]
fn rm_leaves_nothing() {
    for caller in callers() {
        let place = Place::of(caller);
        let words = ["--name", "web", "--rm", "--", "sh", "-c", "exit 4"];
        assert_eq!(code(place.run(&words).status), 4);
        assert!(!place.path("web", "").exists());
        place.start("web", &["--rm"], "exec sleep 1000");
        let reply = place.ask("web", json!({ "request": "stop", "grace_ms": null }));
        assert_eq!(reply["reply"], "ended");
        until("the folder is gone", || (!place.path("web", "").exists()).then_some(()));
    }
}

#[test]
fn a_pid_file_has_the_pid_while_the_workload_lives() {
    for caller in callers() {
        let place = Place::of(caller);
        let file = place.folder.path("pid");
        place.start("web", &["--pid-file", &file], "exec sleep 1000");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", place.state("web")["pid"]));
        let after = place.ask("web", json!({ "request": "restart", "grace_ms": null }));
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", after["state"]["pid"]));
        place.ask("web", json!({ "request": "stop", "grace_ms": null }));
        assert_eq!(place.folder.list(""), ["run"]);
        // One that cannot be is told before anything runs, as is one without a name.
        let reason = place.refuses(&["--pid-file", "/no-such-directory/pid", "--", "true"]);
        assert_eq!(reason, "launch: pid file: /no-such-directory/pid: No such file or directory");
        let script = format!("until [ -s {file} ]; do sleep 0.02; done; cat {file}");
        let words = ["--pid-file", &file, "--", "sh", "-c", &script];
        let shown = stdout_of(&mut place.launch(&words));
        assert!(shown.trim_end().parse::<i32>().is_ok(), "{shown}");
    }
}

#[test]
fn an_id_file_is_a_new_one() {
    for caller in callers() {
        let place = Place::of(caller);
        let file = place.folder.path("id");
        place.start("web", &["--id-file", &file], "exec sleep 1000");
        let id = fs::read_to_string(&file).unwrap();
        assert_eq!(Some(id.trim_end()), place.state("web")["id"].as_str());
        let reason = place.refuses(&["--id-file", &file, "--", "true"]);
        let expected =
            format!("launch: id file: {file}: exists already: another launch's id may stand there");
        assert_eq!(reason, expected);
        // A launch without a workload leaves none.
        let other = place.folder.path("other");
        assert_eq!(code(place.run(&["--id-file", &other, "--", "no-such-command"]).status), 127);
        assert!(!std::path::Path::new(&other).exists());
    }
}

#[test]
fn a_full_disk_costs_the_state_but_not_the_sandbox() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("full disks", "root alone can mount small ones");
    }
    let place = Place::of_size("256k");
    let fill = "cat /dev/zero >\"$0/fill\" 2>/dev/null; true";
    let root = place.path("", "").parent().unwrap().to_owned();
    let disk = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        run(shell.args(["-c", script]).arg(&root));
    };
    place.start("web", &["--restart", "always"], "echo one; exec sleep 1000");
    disk(fill);
    let reply = place.ask("web", json!({ "request": "restart", "grace_ms": null }));
    assert_eq!((&reply["reply"], &reply["state"]["restarts"]), (&json!("state"), &json!(1)));
    disk("rm \"$0/fill\"");
    let reply = place.ask("web", json!({ "request": "restart", "grace_ms": null }));
    assert_eq!(reply["state"]["restarts"], 2);
    until("the state is written again", || (place.state("web")["restarts"] == 2).then_some(()));
    // What there is of events and log is whole.
    assert_eq!(place.events("web")[..2], ["created", "started"]);
    place.ask("web", json!({ "request": "stop", "grace_ms": null }));
    place.has_ended("web");
    // What ended when the disk was full is known to have ended, and has its log.
    place.start("full", &[], "echo said; exec sleep 1000");
    until("its line is logged", || (text(&place.run(&["logs", "full"]).stdout) == "said\n").then_some(()));
    disk(fill);
    place.ask("full", json!({ "request": "stop", "grace_ms": null }));
    place.has_ended("full");
    assert_eq!(place.state("full")["exit_status"], 143);
    assert_eq!(text(&place.run(&["logs", "full"]).stdout), "said\n");
    // In the foreground it is warned of, and the exit status is the workload's.
    disk(fill);
    let output = place.run(&["--name", "other", "--", "sh", "-c", "exit 6"]);
    let stderr = text(&output.stderr);
    match code(output.status) {
        6 => assert!(
            stderr.contains("launch: warning: other: its state is not written: No space left on device"),
            "{stderr}"
        ),
        // Not even a folder fits.
        125 => assert!(stderr.contains("No space left on device"), "{stderr}"),
        other => panic!("{other}: {stderr}"),
    }
}

#[test]
fn a_log_in_the_foreground_has_what_is_passed_on() {
    for caller in callers() {
        let place = Place::of(caller);
        let log = place.folder.path("log");
        let script = "echo out; echo err >&2; printf end";
        let output = place.run(&["--log", &log, "--", "sh", "-c", script]);
        let shown = (code(output.status), text(&output.stdout), text(&output.stderr));
        assert_eq!(shown, (0, "out\nend".into(), "err\n".into()));
        let logged = fs::read_to_string(&log).unwrap();
        let mut lines: Vec<_> = logged.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P end"]);
        place.start("web", &["--log", &log], "echo again");
        assert_eq!(place.state_when("web", "exited")["log"], json!(log));
        assert!(fs::read_to_string(&log).unwrap().ends_with("stdout F again\n"));
    }
}

#[test]
fn runs_follow_each_other_without_a_name_too() {
    for caller in callers() {
        let place = Place::of(caller);
        let words = ["--restart", "on-failure:2", "--", "sh", "-c", "echo run; exit 3"];
        let output = place.run(&words);
        assert_eq!((code(output.status), text(&output.stdout)), (3, "run\nrun\nrun\n".into()));
        let folder = place.folder.path("");
        let script = format!("echo >>{folder}/runs; exec sleep 1000");
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let _ = fs::remove_file(format!("{folder}/runs"));
            let mut launch = place.launch(&["--restart", "always", "--", "sh", "-c", &script]);
            let mut launching = Running::start(&mut launch);
            until("it runs", || fs::metadata(format!("{folder}/runs")).ok().filter(|file| file.len() > 0));
            launching.signal(signal);
            assert_eq!(code(launching.wait()), 128 + signal as i32);
            assert_eq!(place.folder.read("runs"), "\n");
        }
        assert!(!place.path("", "").exists());
    }
}

#[test]
fn each_run_is_the_same_user_whatever_the_last_one_has_written() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("--user and runs", "only root has a second user to map");
    }
    let place = Place::of(support::Caller::Root);
    let users = place.folder.file("users", "somebody:x:7:8::/:/bin/sh\n");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o666)).unwrap();
    let bind = format!("{users}:/etc/passwd");
    let with = ["--share", "user", "--user", "somebody", "--bind", &bind, "--restart", "on-failure:1"];
    let script = "echo $(id -u):$(id -g):$(id -G); echo somebody:x:0:0::/:/bin/sh >/etc/passwd; exit 3";
    let output = place.run(&[&with[..], &["--", "sh", "-c", script]].concat());
    assert_eq!((code(output.status), text(&output.stdout)), (3, "7:8:8\n7:8:8\n".into()));
}

#[test]
fn a_workload_that_never_ceases_to_send_signals_to_pid_1_holds_up_nobody() {
    for caller in callers() {
        let place = Place::of(caller);
        let flood = r#"exec perl -e '
            $SIG{$_} = "IGNORE" for qw(TERM NUM40); open(my $ready, ">&=", 5) or die $!;
            fork; fork; syswrite $ready, "\n"; while () { kill "NUM40", 1 }'"#;
        place.start("web", &["--ready", "fd:5"], flood);
        let began = Instant::now();
        let reply = place.ask("web", json!({ "request": "stop", "grace_ms": 500 }));
        assert_eq!((&reply["reply"], &reply["killed"]), (&json!("ended"), &json!(true)));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn a_workload_that_never_ceases_to_tell_of_itself_holds_up_nobody() {
    for caller in callers() {
        let place = Place::of(caller);
        let flood = r#"perl -MSocket -e '
            $name = $ENV{NOTIFY_SOCKET}; $name =~ s/^@/\0/;
            socket(S, AF_UNIX, SOCK_DGRAM, 0) or die $!; connect(S, pack_sockaddr_un($name)) or die $!;
            send(S, "READY=1", 0); while () { send(S, "STATUS=" . $i++, 0) }'"#;
        place.start("web", &["--ready", "notify"], flood);
        let mut connection = place.connect("web");
        let mut statuses = Vec::new();
        until("it tells of itself", || {
            statuses.push(connection.ask(request("state"))["state"]["status"].clone());
            statuses.dedup();
            (statuses.len() > 3).then_some(())
        });
        let events = fs::metadata(place.path("web", "events.jsonl")).unwrap().len();
        assert!(events <= 1 << 20, "{events}");
        let reply = connection.ask(json!({ "request": "stop", "grace_ms": null }));
        assert_eq!((&reply["reply"], &reply["killed"]), (&json!("ended"), &json!(false)));
    }
}

/// How many its monitor has given to init, while it may be about to write of another.
fn given_signals(place: &Place, name: &str) -> usize {
    let events = fs::read_to_string(place.path(name, "events.jsonl")).expect("events");
    events.matches("\"event\":\"signal\"").count()
}

/// As somebody may, by SIGSTOP; returns its pid.
fn stop_pid_1(place: &Place, name: &str) -> nix::unistd::Pid {
    let init = nix::unistd::Pid::from_raw(place.state(name)["init_pid"].as_i64().unwrap() as i32);
    kill(init, Signal::SIGSTOP).unwrap();
    init
}

#[test]
fn a_pid_1_that_somebody_has_stopped_does_not_stop_the_monitor() {
    for caller in callers() {
        let place = Place::of(caller);
        place.start("web", &[], "exec sleep 1000");
        let init = stop_pid_1(&place, "web");
        // More than it is sent before it goes on. Nobody is refused, and who only asks is answered.
        let mut connection = place.connect("web");
        let signals = std::thread::spawn(move || {
            (0..1000).all(|_| connection.ask(json!({ "request": "signal", "signal": 28 }))["reply"] == "done")
        });
        let given = || given_signals(&place, "web");
        until("some were given", || (given() > 100).then_some(()));
        assert_eq!(place.ask("web", request("state"))["state"]["phase"], "running");
        assert!(!signals.is_finished());
        kill(init, Signal::SIGCONT).unwrap();
        assert!(signals.join().unwrap());
        assert_eq!(given(), 1000);
        let reply = place.ask("web", json!({ "request": "stop", "grace_ms": null }));
        assert_eq!((&reply["reply"], &reply["state"]["exit_status"]), (&json!("ended"), &json!(143)));
    }
}

#[test]
fn a_pid_1_that_takes_no_more_orders_is_killed_where_it_does_not_stop() {
    for caller in callers() {
        let place = Place::of(caller);
        place.start("web", &[], "exec sleep 1000");
        stop_pid_1(&place, "web");
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let mut client = place.connect("web");
                std::thread::spawn(move || {
                    std::iter::repeat_with(|| client.ask(json!({ "request": "signal", "signal": 28 })))
                        .find(|reply| reply["reply"] != "done")
                })
            })
            .collect();
        let given = || given_signals(&place, "web");
        until("many were given", || (given() > 250).then_some(()));
        let reply = place.ask("web", json!({ "request": "stop", "grace_ms": 0 }));
        assert_eq!((&reply["reply"], &reply["killed"]), (&json!("ended"), &json!(true)));
        for sender in senders {
            let reply = sender.join().unwrap().unwrap();
            assert_eq!(reply, json!({ "reply": "refused", "reason": "has ended (exit status 137)" }));
        }
    }
}

#[test]
fn a_pid_1_that_is_held_up_outlives_neither_a_stop_nor_its_monitor() {
    for caller in callers() {
        let place = Place::of(caller);
        let marker = marker("held");
        let script = format!("sleep 1000; : {marker}");
        for name in ["stop", "kill"] {
            place.start(name, &[], &script);
            stop_pid_1(&place, name);
        }
        let reply = place.ask("stop", json!({ "request": "stop", "grace_ms": 0 }));
        assert_eq!((&reply["reply"], &reply["killed"]), (&json!("ended"), &json!(true)));
        kill(place.monitor("kill"), Signal::SIGKILL).unwrap();
        nobody_is_left(&marker);
    }
}

#[test]
fn what_a_detached_launch_is_given_by_descriptors_is_used_and_closed() {
    for caller in callers() {
        let place = Place::of(caller);
        let folder = place.folder.directory("bound");
        let script = "exec 5<\"$0\" 6<<-end 9<\"$0\"\n\tthe text\n\tend\nexec \"$@\"";
        let mut launch = place.command("sh");
        let words =
            ["-d", "--name", "web", "--bind-fd", "5:/tmp/a", "--file", "6:/tmp/b", "--status-fd", "7"];
        let script = script.replace("exec \"$@\"", "exec \"$@\" 7>\"$0/status\"");
        launch.args(["-c", &script, &folder]).arg(support::program()).args(words);
        launch.args(["--", "sh", "-c", "ls -d /tmp/a/status; cat /tmp/b; ls /proc/self/fd"]);
        assert_eq!(stdout_of(&mut launch), "web\n");
        assert_eq!(place.state_when("web", "exited")["exit_status"], 0);
        place.has_ended("web");
        let shown = stdout_of(&mut place.launch(&["logs", "web"]));
        assert_eq!(shown, "/tmp/a/status\nthe text\n0\n1\n2\n3\n");
        let status = place.folder.read("bound/status");
        let events = status.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone());
        assert!(events.eq(["started", "exited"]), "{status}");
    }
}
