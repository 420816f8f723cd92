//! `--status-fd`: what happens, as JSON lines.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use support::{
    Caller, Running, Talk, callers, code, code_and_stderr, executable, marker, public_folder, run, stdout_of,
    text, until,
};

/// `launch --status-fd 3 ARGUMENTS…`, descriptor 3 being this file.
fn launch_to(caller: Caller, file: &Path, arguments: &[&str]) -> Command {
    let script = format!("exec \"$@\" 3>>{}", file.display());
    caller.launch_by(&script, ["--status-fd", "3"].iter().chain(arguments))
}

/// Each line, and nothing else.
fn parse(lines: &str) -> Vec<Value> {
    assert!(lines.is_empty() || lines.ends_with('\n'), "{lines}");
    lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The exit code, stderr, and the status lines.
fn status_of(caller: Caller, arguments: &[&str]) -> (i32, String, Vec<Value>) {
    let folder = public_folder();
    let file = folder.path().join("status");
    let (code, stderr) = code_and_stderr(&mut launch_to(caller, &file, arguments));
    (code, stderr, parse(&fs::read_to_string(file).expect("status lines")))
}

#[test]
fn each_run_has_its_lines() {
    for caller in callers() {
        let arguments = ["--restart", "on-failure:1", "--", "sh", "-c", "exit 3"];
        let (code, stderr, lines) = status_of(caller, &arguments);
        assert_eq!((code, stderr.as_str()), (3, ""));
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().expect("text")).collect();
        assert_eq!(events, ["started", "run-ended", "started", "exited"]);
        let ended =
            json!({ "event": "run-ended", "row": "exited", "code": 3, "signal": null, "exit_status": 3 });
        assert_eq!(lines[1], ended);
        assert_eq!(lines[0]["namespaces"], lines[2]["namespaces"]);
        assert_ne!(lines[0]["pid"], lines[2]["pid"]);
    }
}

/// The second of two lines, the first being `started`.
#[track_caller]
fn exited(lines: &[Value]) -> &Value {
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["event"], "started");
    &lines[1]
}

/// The pids of a process, from here to the innermost PID namespace.
fn pids(pid: &Value) -> Vec<i64> {
    let pids = status_field(pid, "NSpid");
    pids.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

fn status_field(pid: &Value, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let field = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(":\t")?.to_owned());
    status.lines().find_map(field).expect(name)
}

#[test]
fn started_names_the_pids_outside_and_inside() {
    for caller in callers() {
        let folder = public_folder();
        let file = folder.path().join("status");
        let marker = marker("started");
        let arguments = ["--", "sh", "-c", "echo $$; read -r _", &marker];
        let sandbox = Talk::start(&mut launch_to(caller, &file, &arguments));
        let pid_inside: i64 = sandbox.hear().expect("a pid").parse().expect("a pid");
        let lines = until("started is written", || {
            let lines = fs::read_to_string(&file).ok()?;
            lines.ends_with('\n').then(|| parse(&lines))
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let started = lines[0].as_object().expect("an object");
        let keys: Vec<_> = started.keys().map(String::as_str).collect();
        assert_eq!(keys, ["event", "init_pid", "namespaces", "pid", "pid_inside"]);
        assert_eq!(started["event"], "started");
        assert_eq!(started["pid_inside"], pid_inside);
        let (pid, init) = (&started["pid"], &started["init_pid"]);
        assert_eq!(pids(pid), [pid.as_i64().expect("a number"), pid_inside]);
        assert_eq!(pids(init), [init.as_i64().expect("a number"), 1]);
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).expect("cmdline");
        assert_eq!(text(&command_line), format!("sh\0-c\0echo $$; read -r _\0{marker}\0"));
        assert_eq!(status_field(pid, "PPid"), init.to_string());
        assert_eq!(status_field(init, "PPid"), sandbox.pid().to_string());
        let (_, status) = sandbox.end();
        // read(1) met the end of file.
        assert_eq!(code(status), 1);
    }
}

#[test]
fn started_names_the_workloads_namespaces() {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    for caller in callers() {
        for options in [&[][..], &["--net", "none", "--unshare", "time"], &["--share", "uts,ipc,cgroup"]] {
            let folder = public_folder();
            let file = folder.path().join("status");
            let files = kinds.map(|kind| format!("/proc/self/ns/{kind}"));
            let mut arguments = options.to_vec();
            arguments.extend(["--", "stat", "-Lc", "%i"]);
            arguments.extend(files.iter().map(String::as_str));
            let inside = stdout_of(&mut launch_to(caller, &file, &arguments));
            let inside =
                kinds.into_iter().zip(inside.lines().map(|inode| inode.parse::<u64>().expect("a number")));
            let lines = parse(&fs::read_to_string(file).expect("status lines"));
            assert_eq!(lines[0]["namespaces"], json!(inside.collect::<std::collections::BTreeMap<_, _>>()));
        }
    }
}

#[test]
fn exited_says_how_the_workload_ended() {
    for caller in callers() {
        for n in [0, 7, 124, 125, 126, 127, 137, 255] {
            let (code, stderr, lines) = status_of(caller, &["--", "sh", "-c", &format!("exit {n}")]);
            assert_eq!((code, stderr), (n, String::new()));
            let expected =
                json!({"event": "exited", "row": "exited", "code": n, "signal": null, "exit_status": n});
            assert_eq!(*exited(&lines), expected);
        }
        for n in [9, 15, 34, 64] {
            let script = format!("kill -{n} $$; exit 3");
            let (code, stderr, lines) = status_of(caller, &["--", "sh", "-c", &script]);
            assert_eq!((code, stderr), (128 + n, String::new()));
            let expected = json!({"event": "exited", "row": "killed", "code": null, "signal": n, "exit_status": 128 + n});
            assert_eq!(*exited(&lines), expected);
        }
    }
}

#[test]
fn exited_says_when_the_time_ran_out() {
    for caller in callers() {
        let (code, stderr, lines) = status_of(caller, &["--timeout", "100ms", "--", "sleep", "1000"]);
        assert_eq!((code, stderr), (124, String::new()));
        let expected =
            json!({"event": "exited", "row": "timed-out", "code": null, "signal": null, "exit_status": 124});
        assert_eq!(*exited(&lines), expected);
    }
}

/// There is one line, with these fields, and what it says is what stderr says.
#[track_caller]
fn fails(
    arguments: &[&str],
    row: &str,
    exit_status: i32,
    step: &str,
    object: &str,
    errno: Option<i32>,
    message: &str,
) {
    for caller in callers() {
        let (code, stderr, lines) = status_of(caller, arguments);
        let object_on_stderr = if object.is_empty() { "''" } else { object };
        let line = format!("launch: {step}: {object_on_stderr}: {message}");
        assert_eq!((code, stderr.lines().next()), (exit_status, Some(line.as_str())));
        let expected = json!({
            "event": "failed",
            "row": row,
            "step": step,
            "object": object,
            "errno": errno,
            "message": message,
            "exit_status": exit_status,
        });
        assert_eq!(lines, [expected]);
    }
}

#[test]
fn failed_says_that_the_command_was_not_found() {
    let enoent = Some(libc::ENOENT);
    fails(
        &["--", "no-such-command"],
        "not-found",
        127,
        "exec",
        "no-such-command",
        enoent,
        "not found in PATH",
    );
    fails(&["--", "/missing"], "not-found", 127, "exec", "/missing", enoent, "No such file or directory");
    fails(&["--", ""], "not-found", 127, "exec", "", enoent, "No such file or directory");
    let folder = public_folder();
    let script = folder.path().join("script");
    executable(&script, "#!/missing/interpreter\n");
    let script = script.to_str().expect("text");
    let message = "its interpreter /missing/interpreter does not exist";
    fails(&["--", script], "not-found", 127, "exec", script, enoent, message);
}

#[test]
fn failed_says_that_the_command_could_not_be_executed() {
    fails(&["--", "/usr"], "not-executable", 126, "exec", "/usr", Some(libc::EACCES), "Permission denied");
}

#[test]
fn failed_says_which_step_failed_before() {
    let directory = ["--chdir", "/missing", "--", "true"];
    let enoent = Some(libc::ENOENT);
    fails(&directory, "failed", 125, "working directory", "/missing", enoent, "No such file or directory");
    let name = ["--hostname", "", "--", "true"];
    fails(&name, "failed", 125, "command line", "--hostname", None, "is empty");
    let nothing = "no command; say launch [OPTIONS] -- CMD [ARG...]";
    fails(&[], "failed", 125, "command line", "CMD", None, nothing);
}

#[test]
fn failed_says_that_a_descriptor_is_not_open() {
    let keep = ["--keep-fd", "9", "--", "true"];
    fails(&keep, "failed", 125, "descriptor", "9", Some(libc::EBADF), "is not open");
}

#[test]
fn stdout_and_stderr_can_be_the_status_descriptor() {
    for caller in callers() {
        for number in ["1", "2"] {
            let output = run(&mut caller.launch(["--status-fd", number, "--", "sh", "-c", "exit 7"]));
            let (said, silent) =
                if number == "1" { (output.stdout, output.stderr) } else { (output.stderr, output.stdout) };
            assert_eq!((output.status.code(), text(&silent)), (Some(7), String::new()));
            assert_eq!(exited(&parse(&text(&said)))["code"], 7);
        }
    }
}

#[test]
fn the_workload_does_not_get_the_status_descriptor() {
    for caller in callers() {
        let folder = public_folder();
        let list = ["--", "sh", "-c", "ls /proc/$$/fd; :"];
        let listed = stdout_of(&mut launch_to(caller, &folder.path().join("status"), &list));
        assert_eq!(listed, "0\n1\n2\n");
    }
}

#[test]
fn the_status_descriptor_may_be_kept_for_the_workload_too() {
    for caller in callers() {
        let workload = ["--keep-fd", "3", "--", "sh", "-c", "echo '{\"event\": \"mine\"}' >&3; exit 7"];
        let (code, stderr, lines) = status_of(caller, &workload);
        assert_eq!((code, stderr), (7, String::new()));
        let mut events: Vec<_> = lines.iter().map(|line| line["event"].as_str().expect("text")).collect();
        assert_eq!(events.pop(), Some("exited"));
        // The launcher and the workload write at the same time.
        events.sort_unstable();
        assert_eq!(events, ["mine", "started"]);
    }
}

#[test]
fn a_reader_who_goes_away_is_told_of_once_and_does_not_end_the_workload() {
    for caller in callers() {
        let folder = public_folder();
        let (said, found_out) = (folder.path().join("said"), folder.path().join("found-out"));
        mkfifo(&found_out, Mode::S_IRWXU | Mode::S_IROTH).expect("mkfifo");
        let (reader, writer) = std::io::pipe().expect("pipe");
        drop(reader);
        let script = format!("exec \"$@\" 3>&1 >/dev/null 2>{}", said.display());
        // It goes on until the launcher has found out.
        let workload = format!("read -r code < {}; exit $code", found_out.display());
        let arguments = ["--status-fd", "3", "--", "sh", "-c", &workload];
        let mut launcher = Running::start(caller.launch_by(&script, arguments).stdout(writer));
        let warning = "launch: warning: status descriptor: write: Broken pipe (os error 32)\n";
        until("the launcher warns", || {
            fs::read_to_string(&said).is_ok_and(|said| said == warning).then_some(())
        });
        fs::write(found_out, "7\n").expect("write");
        assert_eq!(code(launcher.wait()), 7);
        assert_eq!(fs::read_to_string(said).expect("stderr"), warning);
    }
}
