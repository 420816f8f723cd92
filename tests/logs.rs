//! What a workload writes, and who reads it: log files, `launch logs`, `launch events`.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use support::*;

/// A name that no other test has, and what a sandbox of this name needs; it is removed at the end.
struct Named {
    caller: Caller,
    name: String,
    runtime: Folder,
}

impl Named {
    fn of(caller: Caller) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("logs-{}-{number}", std::process::id());
        let runtime = Folder::of(caller);
        runtime.directory("run");
        Self { caller, name, runtime }
    }

    /// `launch ARGUMENTS…`
    fn launch(&self, arguments: &[&str]) -> Command {
        let mut command = self.caller.launch(arguments);
        command.env("XDG_RUNTIME_DIR", self.runtime.path("run"));
        command
    }

    /// `launch --name NAME OPTIONS… -- sh -c SCRIPT`, detached.
    #[track_caller]
    fn detach(&self, options: &[&str], script: &str) {
        let start = ["--detach", "--name", &self.name];
        let arguments: Vec<_> =
            start.iter().chain(options).chain(&["--", "sh", "-c", script]).copied().collect();
        let output = run(&mut self.launch(&arguments));
        let (code, stderr) = (code(output.status), text(&output.stderr));
        assert_eq!((code, text(&output.stdout), stderr), (0, format!("{}\n", self.name), String::new()));
    }

    /// `launch logs OPTIONS… NAME`
    fn logs(&self, options: &[&str]) -> Command {
        let arguments: Vec<_> =
            ["logs"].iter().chain(options).chain(&[self.name.as_str()]).copied().collect();
        self.launch(&arguments)
    }

    /// Waits until it has ended.
    #[track_caller]
    fn wait(&self) {
        let output = run(&mut self.launch(&["wait", &self.name]));
        assert_eq!(text(&output.stderr), "");
    }

    /// Its folder.
    fn folder(&self) -> PathBuf {
        let runtime = if self.caller == Caller::Root { "/run".into() } else { self.runtime.path("run") };
        Path::new(&runtime).join("launch").join(&self.name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ =
            self.launch(&["rm", "--force", &self.name]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// What is in the log, without the times: `stdout F text`.
fn records(log: &str) -> Vec<&str> {
    log.lines().map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line:?}")).1).collect()
}

#[test]
fn what_was_written_is_printed_as_it_was_during_and_after_life() {
    for caller in callers() {
        let named = Named::of(caller);
        let go = named.runtime.path("go");
        let script = r#"printf 'a\0\377b\r\n\nname? '; printf 'oops\n' >&2; until [ -e GO ]; do sleep 0.01; done; printf 'me\nend'"#;
        named.detach(&[], &script.replace("GO", &go));
        // The end of the line is waited for for a second, no longer.
        until("the unfinished line is there", || {
            let output = run(&mut named.logs(&[]));
            (output.stdout == b"a\0\xffb\r\n\nname? " && output.stderr == b"oops\n").then_some(())
        });
        let mut following = named.logs(&["--follow"]);
        let following = Running::start(following.stdout(Stdio::piped()).stderr(Stdio::piped()));
        named.runtime.file("go", "");
        let output = following.output();
        assert_eq!(code(output.status), 0);
        assert_eq!(
            (text(&output.stderr), output.stdout),
            ("oops\n".into(), b"a\0\xffb\r\n\nname? me\nend".into())
        );
        named.wait();
        let output = run(&mut named.logs(&[]));
        assert_eq!(
            (text(&output.stderr), output.stdout),
            ("oops\n".into(), b"a\0\xffb\r\n\nname? me\nend".into())
        );
        assert_eq!(stdout_of(&mut named.logs(&["--stream", "stdout", "--tail", "2"])), "name? me\nend");
        assert_eq!(stdout_of(&mut named.logs(&["--follow", "--tail", "0"])), "");
        assert_eq!(stdout_of(&mut named.logs(&["--until", "1h"])), "");
        assert_eq!(stdout_of(&mut named.logs(&["--since", "0", "--follow"])), "");
        let stamped = stdout_of(&mut named.logs(&["--timestamps", "--stream", "stdout", "--since", "1h"]));
        let form =
            |line: &str| line.as_bytes()[..11].iter().all(u8::is_ascii_graphic) && &line[10..11] == "T";
        assert!(stamped.lines().all(form), "{stamped}");
    }
}

#[test]
fn a_hundred_thousand_lines_are_in_the_files_once_and_are_followed_over_every_rotation() {
    for caller in callers() {
        let named = Named::of(caller);
        let (go, log) = (named.runtime.path("go"), named.runtime.path("out.log"));
        let script = format!("until [ -e {go} ]; do sleep 0.01; done; seq 100000");
        named.detach(&["--log", &log, "--log-max-size", "100K", "--log-max-files", "1000"], &script);
        let following = Running::start(named.logs(&["-f"]).stdout(Stdio::piped()).stderr(Stdio::piped()));
        named.runtime.file("go", "");
        let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
        let output = following.output();
        assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()));
        assert!(text(&output.stdout) == expected, "{} bytes", output.stdout.len());
        named.wait();
        assert!(stdout_of(&mut named.logs(&[])) == expected);
        assert!(stdout_of(&mut named.logs(&["--tail", "2"])) == "99999\n100000\n");
        let mut numbers = Vec::new();
        let files = (0..).map(|number| if number == 0 { log.clone() } else { format!("{log}.{number}") });
        let files: Vec<_> = files.take_while(|file| Path::new(file).exists()).collect();
        assert!(files.len() > 40, "{files:?}");
        for file in files.iter().rev() {
            let content = fs::read_to_string(file).expect("log");
            assert!(content.len() <= 100 << 10 && content.ends_with('\n'));
            numbers.extend(records(&content).iter().map(|record| {
                record
                    .strip_prefix("stdout F ")
                    .and_then(|number| number.parse::<u32>().ok())
                    .expect("a number")
            }));
        }
        assert!(numbers.into_iter().eq(1..=100_000));
    }
}

#[test]
fn only_so_many_files_are_kept() {
    for caller in callers() {
        let named = Named::of(caller);
        named.detach(&["--log-max-size", "10K", "--log-max-files", "2"], "seq 10000");
        named.wait();
        let mut files: Vec<_> = fs::read_dir(named.folder())
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
            .filter(|name| name.starts_with("output"))
            .collect();
        files.sort();
        assert_eq!(files, ["output.log", "output.log.1"]);
        let shown = stdout_of(&mut named.logs(&[]));
        assert!(shown.lines().count() < 600 && shown.ends_with("9999\n10000\n"));
    }
}

#[test]
fn a_reader_who_does_not_read_holds_up_neither_the_workload_nor_its_log() {
    for caller in callers() {
        let named = Named::of(caller);
        let (done, log) = (named.runtime.path("done"), named.runtime.path("out.log"));
        let script =
            format!("head -c 99000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo written; : > {done}");
        let options = ["--name", &named.name, "--log", &log, "--log-max-size", "1M", "--log-max-files", "2"];
        let arguments: Vec<_> = options.iter().chain(&["--", "sh", "-c", &script]).copied().collect();
        let mut launch = named.launch(&arguments);
        let mut running = Running::start(launch.stdout(Stdio::piped()).stderr(Stdio::piped()));
        until("the workload has written all", || Path::new(&done).exists().then_some(()));
        let mut passed = Vec::new();
        running.child().stdout.take().expect("stdout").read_to_end(&mut passed).expect("read");
        let output = running.output();
        assert_eq!(code(output.status), 0);
        let warning = "launch: warning: stdout: its reader is slow: what it missed is in the log alone\n";
        assert_eq!(text(&output.stderr), warning);
        assert!(passed.len() < 10_000_000, "{}", passed.len());
        assert!(fs::read_to_string(log).expect("log").ends_with("stdout F written\n"));
    }
}

#[test]
fn a_reader_who_is_slow_at_the_end_misses_nothing_and_nobody_else_waits_for_it() {
    for caller in callers() {
        let named = Named::of(caller);
        let log = named.runtime.path("out.log");
        let expected: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
        let launch = || {
            let options = ["--name", &named.name, "--log", &log, "--", "seq", "50000"];
            let mut command = named.launch(&options);
            Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        };
        let slow = launch();
        let is_there = || named.folder().join("state.json").exists().then_some(());
        until("it is there", is_there);
        named.wait();
        // The name and the log are free.
        let next = launch();
        for running in [slow, next] {
            let output = running.output();
            assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()));
            assert!(text(&output.stdout) == expected, "{} bytes", output.stdout.len());
        }
    }
}

#[test]
fn a_file_is_the_log_of_one_sandbox_alone() {
    for caller in callers() {
        let (first, second) = (Named::of(caller), Named::of(caller));
        let log = first.runtime.path("out.log");
        first.detach(&["--log", &log], "sleep 1000");
        let message = format!(
            "launch: log: {log}: another sandbox is logged there; two would rotate each other's lines away"
        );
        assert_eq!(refused(&mut second.launch(&["--log", &log, "--", "true"])), message);
        let stopped = run(&mut first.launch(&["stop", &first.name]));
        assert_eq!(code(stopped.status), 0);
        assert_eq!(code(run(&mut second.launch(&["--log", &log, "--", "true"])).status), 0);
    }
}

#[test]
fn a_log_that_is_moved_away_is_followed_at_its_name() {
    for caller in callers() {
        let named = Named::of(caller);
        let (go, log) = (named.runtime.path("go"), named.runtime.path("out.log"));
        let script = format!("echo one; until [ -e {go} ]; do sleep 0.01; done; echo two; exec sleep 1000");
        named.detach(&["--log", &log], &script);
        let following = Talk::start(&mut named.logs(&["--follow"]));
        assert_eq!(following.hear().as_deref(), Some("one"));
        fs::rename(&log, named.runtime.path("elsewhere")).expect("rename");
        named.runtime.file("out.log", "");
        named.runtime.file("go", "");
        assert_eq!(following.hear().as_deref(), Some("two"));
    }
}

#[test]
fn a_full_disk_ends_logging_until_there_is_place_and_never_the_workload() {
    for caller in callers() {
        // The inner one runs in an outer one for its small disk alone; the workload frees it.
        let script = r#"
            dd if=/dev/zero of=/small/filler bs=1k count=40 2>/dev/null
            export XDG_RUNTIME_DIR=/tmp/run; mkdir -m 700 -p $XDG_RUNTIME_DIR
            "$0" --rm --name "$1" --log /small/log -- sh -c '
                for i in $(seq 1000); do echo "line $i, which is one of those that are too many for it"; done
                until [ "$(stat -f -c %a /small)" = 0 ]; do sleep 0.01; done
                rm /small/filler
                until grep -q missing /small/log; do sleep 0.01; done
                echo after'
            echo "status $?"
            cat /small/log"#;
        let mut launch =
            caller.launch(["--tmpfs", "/small:size=64K,mode=777", "--keep-id", "--", "sh", "-c", script]);
        // A root inside is root still, and has its folder in the machine's /run.
        launch.arg(program()).arg(format!("logs-full-{}", std::process::id()));
        let output = run(&mut launch);
        let warning = "launch: warning: log: /small/log: No space left on device; nothing more is logged until there is\n";
        assert_eq!(text(&output.stderr), warning);
        let stdout = text(&output.stdout);
        let (passed, log) = stdout.split_once("status 0\n").expect("it ended well");
        let lines: Vec<_> =
            (1..=1000).map(|i| format!("line {i}, which is one of those that are too many for it")).collect();
        assert_eq!(passed, format!("{}\nafter\n", lines.join("\n")));
        let records = records(log);
        let logged = records.len() - 2;
        assert!((1..1000).contains(&logged), "{logged}");
        for (record, line) in records.iter().zip(&lines[..logged]) {
            assert_eq!(*record, format!("stdout F {line}"));
        }
        let missing: usize = lines[logged..].iter().map(|line| line.len() + 1).sum();
        let said = format!("launch: warning: log: {missing} bytes are missing here: No space left on device");
        assert_eq!(records[logged..], [format!("stderr F {said}"), "stdout F after".into()]);
    }
}

#[test]
fn a_workload_of_another_user_opens_its_stdout_anew() {
    let (other, all) = (["--user", "7"], ["--map-users", "0:100000:65536", "--map-groups", "0:100000:65536"]);
    let both = [&all[..], &other].concat();
    for caller in callers() {
        // An ordinary user's other ids take subordinate ones.
        let tables: &[&[&str]] =
            if caller == Caller::Root { &[&[], &all, &both] } else { &[&[], &["--uid", "7"]] };
        for options in tables {
            let named = Named::of(caller);
            let script = "echo one > /dev/stdout; echo two >> /proc/self/fd/1; echo three > /dev/stderr; echo four >> /dev/fd/2";
            named.detach(options, script);
            named.wait();
            let output = run(&mut named.logs(&[]));
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            assert_eq!((stdout.as_str(), stderr.as_str()), ("one\ntwo\n", "three\nfour\n"), "{options:?}");
        }
    }
}

#[test]
fn what_there_is_no_log_of_is_said() {
    for caller in callers() {
        let named = Named::of(caller);
        let unknown = format!("launch: sandbox: {}: no such sandbox", named.name);
        assert!(refused(&mut named.logs(&[])).starts_with(&unknown));
        assert!(refused(&mut named.launch(&["events", &named.name])).starts_with(&unknown));
        let mut running = Talk::start(&mut named.launch(&["--name", &named.name, "--", "cat"]));
        running.say("hello");
        assert_eq!(running.hear().as_deref(), Some("hello"));
        let no_log = format!(
            "launch: sandbox: {}: has no log: what it writes goes where its launcher's stdout and stderr go; launch it with --log FILE, or with --detach",
            named.name
        );
        assert_eq!(refused(&mut named.logs(&[])), no_log);
        running.end();
        assert_eq!(refused(&mut named.logs(&[])), no_log);
    }
}

#[test]
fn what_somebody_else_has_put_into_a_log_is_shown_as_it_is() {
    for caller in callers() {
        let named = Named::of(caller);
        named.detach(&[], "echo one");
        named.wait();
        let log = named.folder().join("output.log");
        let mut file = fs::OpenOptions::new().append(true).open(log).expect("log");
        file.write_all(b"what \xff is\n2026-11-24T21:25:00.123456789Z stdo").expect("write");
        let output = run(&mut named.logs(&[]));
        assert_eq!(output.stdout, b"one\nwhat \xff is\n2026-11-24T21:25:00.123456789Z stdo\n");
        assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()));
    }
}

#[test]
fn a_reader_who_has_read_enough_is_no_error() {
    for caller in callers() {
        let named = Named::of(caller);
        named.detach(&[], "seq 100000; sleep 1000");
        for command in ["logs -f", "events"] {
            let script = format!("\"$0\" {command} {} | head -n 1", named.name);
            let mut shell = caller.command("sh");
            shell.args(["-c", &script]).arg(program()).env("XDG_RUNTIME_DIR", named.runtime.path("run"));
            assert_eq!(stdout_of(shell.stdin(Stdio::null())).lines().count(), 1);
        }
    }
}

#[test]
fn the_log_of_one_whose_monitor_was_killed_is_read_before_it_is_cleared() {
    for caller in callers() {
        for command in ["logs", "events"] {
            let named = Named::of(caller);
            named.detach(&[], "echo last words; exec sleep 1000");
            until("it is logged", || stdout_of(&mut named.logs(&[])).contains("words").then_some(()));
            let state = fs::read_to_string(named.folder().join("state.json")).expect("state");
            let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
            let monitor = state["monitor_pid"].as_i64().expect("pid") as i32;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), Signal::SIGKILL).expect("kill");
            until("it is gone", || (!Path::new(&format!("/proc/{monitor}/fd/0")).exists()).then_some(()));
            let output = run(&mut named.launch(&[command, &named.name]));
            let warning = format!("launch: warning: {}: its monitor was killed; cleared\n", named.name);
            assert_eq!((code(output.status), text(&output.stderr)), (0, warning));
            let expected = if command == "logs" { "last words" } else { "\"event\":\"started\"" };
            assert!(text(&output.stdout).contains(expected));
            assert!(!named.folder().exists());
        }
    }
}

#[test]
fn events_are_told_by_their_time_of_those_too_that_come_later() {
    for caller in callers() {
        let (first, second) = (Named::of(caller), Named::of(caller));
        let launch = |arguments: &[&str]| {
            let mut command = caller.launch(arguments);
            command.env("XDG_RUNTIME_DIR", first.runtime.path("run"));
            command
        };
        first.detach(&[], "sleep 1000");
        let events = Talk::start(&mut launch(&["events"]));
        let heard = |name: &str, event: &str| loop {
            let line = events.hear().expect("an event");
            let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if value["name"] == name && value["event"] == event {
                return;
            }
        };
        heard(&first.name, "started");
        let launched = launch(&["--detach", "--name", &second.name, "--", "true"]);
        assert_eq!(code(run(&mut { launched }).status), 0);
        heard(&second.name, "exited");
        assert_eq!(code(run(&mut launch(&["rm", &second.name])).status), 0);
        let launched = launch(&["--detach", "--name", &second.name, "--", "true"]);
        assert_eq!(code(run(&mut { launched }).status), 0);
        heard(&second.name, "exited");
        let of_first =
            Running::start(launch(&["events", &first.name]).stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert_eq!(code(run(&mut launch(&["stop", &first.name])).status), 0);
        heard(&first.name, "exited");
        let output = of_first.output();
        assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()));
        let told = text(&output.stdout);
        assert!(told.lines().last().expect("events").contains("\"event\":\"exited\""), "{told}");
        let all = stdout_of(&mut launch(&["events", "--no-follow"]));
        let ours = all.lines().filter(|line| line.contains(&first.name) || line.contains(&second.name));
        let times: Vec<_> = ours.map(|line| line.split('"').nth(3).expect("a time")).collect();
        assert!(times.len() > 4 && times.is_sorted(), "{all}");
        assert_eq!(code(run(&mut launch(&["rm", &second.name])).status), 0);
    }
}
