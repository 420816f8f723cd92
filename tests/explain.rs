//! `--explain`: the plan in words and as data, of which nothing is done, and whose steps have the names of errors.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::Value;
use support::{Caller, callers, cannot_run, code_and_stderr, public_folder, run, stdout_of, text};

/// Options of every kind, and a command.
const MANY: [&str; 24] = [
    "--net=none",
    "--unshare=time",
    "--hostname=box",
    "--read-only",
    "--bind=/usr:/mnt/usr",
    "--try-ro-bind=/no/such:/mnt/no",
    "--bind-fd=3:/mnt/fd",
    "--tmpfs=/run:size=1M,mode=700",
    "--overlay=/mnt/o:lower=/usr:lower=/etc",
    "--tmp-overlay=/mnt/p:lower=/usr",
    "--proc=/mnt/proc",
    "--dev=/mnt/dev",
    "--mqueue=/mnt/mqueue",
    "--dir=/mnt/dir",
    "--file=4:/mnt/file",
    "--symlink=a:/mnt/link",
    "--mask=/etc/shadow",
    "--remount-ro=/usr",
    "--chdir=/mnt",
    "--env=TOKEN=do-not-print-this",
    "--timeout=30s",
    "--",
    "no-such-command",
    "x",
];

/// The numbered lines of the words.
fn lines(words: &str) -> Vec<&str> {
    words.lines().filter(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit())).collect()
}

/// The steps that `launch --explain --json OPTIONS… -- COMMAND` prints.
fn steps(caller: Caller, arguments: &[&str]) -> Vec<Value> {
    let printed = stdout_of(&mut caller.launch(["--explain", "--json"].iter().chain(arguments)));
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let data: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(data["version"], 1);
    data["steps"].as_array().expect("steps").clone()
}

#[test]
fn words_and_data_have_the_same_steps() {
    for caller in callers() {
        let words = stdout_of(&mut caller.launch(["--explain"].iter().chain(&MANY)));
        let data = steps(caller, &MANY);
        let lines = lines(&words);
        assert_eq!(lines.len(), data.len(), "{words}");
        assert!(data.len() > 30, "{words}");
        for ((line, step), number) in lines.iter().zip(&data).zip(1..) {
            let (name, object) =
                (step["step"].as_str().expect("step"), step["object"].as_str().expect("object"));
            assert!(line.trim_start().starts_with(&format!("{number}  {name} {object} ")), "{line}");
            assert!(line.ends_with(step["words"].as_str().expect("words")), "{line}\n{step}");
        }
    }
}

#[test]
fn no_value_of_the_environment_is_printed() {
    for caller in callers() {
        for form in [&["--explain"][..], &["--explain", "--json"]] {
            let mut command = caller.launch(form.iter().chain(&MANY));
            let printed = stdout_of(command.env("INHERITED", "nor-this"));
            assert!(printed.contains("TOKEN") && printed.contains("INHERITED"), "{printed}");
            assert!(!printed.contains("do-not-print-this") && !printed.contains("nor-this"), "{printed}");
        }
    }
}

#[test]
fn an_error_has_the_name_and_object_of_the_explained_step() {
    let cases: [(&[&str], &str, &str); 9] = [
        (&["--chdir", "/no/such", "--", "true"], "working directory", "/no/such"),
        (&["--chdir", "/etc/passwd", "--", "true"], "working directory", "/etc/passwd"),
        (&["--", "no-such-command"], "exec", "no-such-command"),
        (&["--", "/etc"], "exec", "/etc"),
        (&["--keep-fd", "77", "--", "true"], "descriptor", "77"),
        (&["--bind", "/no/such", "--", "true"], "mount", "/no/such"),
        (&["--ro-bind", "/no/such:/mnt", "--", "true"], "mount", "/mnt"),
        (&["--overlay", "/mnt:lower=/no/such", "--", "true"], "mount", "/mnt"),
        (&["--rootfs", "/no/such", "--", "true"], "root", "/no/such"),
    ];
    for caller in callers() {
        for (arguments, name, object) in cases {
            let steps = steps(caller, arguments);
            let named = |step: &&Value| step["step"] == name && step["object"] == object;
            assert_eq!(steps.iter().filter(named).count(), 1, "{arguments:?}: {steps:#?}");
            let (code, stderr) = code_and_stderr(&mut caller.launch(arguments));
            assert!(code >= 125, "{arguments:?}: {code}");
            assert!(stderr.starts_with(&format!("launch: {name}: {object}: ")), "{arguments:?}: {stderr}");
        }
    }
}

#[test]
fn a_plan_that_makes_no_sense_is_an_error_as_ever() {
    for caller in callers() {
        let (code, stderr) = code_and_stderr(&mut caller.launch(["--explain", "--hostname", "", "--", "x"]));
        assert_eq!((code, stderr.as_str()), (125, "launch: command line: --hostname: is empty\n"));
        let (code, stderr) = code_and_stderr(&mut caller.launch(["--json", "--", "true"]));
        assert_eq!(code, 125);
        assert!(stderr.starts_with("launch: command line: --explain: "), "{stderr}");
    }
}

#[test]
fn nothing_of_a_path_is_obeyed_by_a_terminal() {
    let path = OsStr::from_bytes(b"/\x1b[2J\n\xff");
    for caller in callers() {
        let arguments = ["--explain".as_ref(), "--mask".as_ref(), path, "--".as_ref(), "true".as_ref()];
        let words = stdout_of(&mut caller.launch(arguments));
        assert!(words.contains("mask /\\u{1b}[2J\\n\u{fffd}  "), "{words}");
        let data = stdout_of(&mut caller.launch([&["--json".as_ref()], &arguments[..]].concat()));
        let data: Value = serde_json::from_str(&data).expect("JSON");
        let steps = data["steps"].as_array().expect("steps");
        let mask = steps.iter().find(|step| step["step"] == "mask").expect("mask");
        assert_eq!(mask["details"]["path"], "/\u{1b}[2J\n\\xff");
    }
}

#[test]
fn a_closed_reader_is_no_error_and_a_full_one_is() {
    for caller in callers() {
        let script = "\"$@\" --explain -- true | true; exit ${PIPESTATUS[0]}";
        let mut by_bash = caller.command("bash");
        by_bash.args(["-c", script, "bash"]).arg(support::program());
        assert_eq!(code_and_stderr(&mut by_bash), (0, String::new()));
        let full =
            caller.launch_by("exec \"$@\" --explain -- true > /dev/full", [""; 0]).output().expect("sh");
        assert_eq!(
            (full.status.code(), text(&full.stderr)),
            (Some(125), "launch: output: stdout: No space left on device\n".into())
        );
    }
}

/// What would make a process, a namespace or a mount, or change who or where this one is.
const DEEDS: [&str; 21] = [
    "clone",
    "clone3",
    "fork",
    "vfork",
    "unshare",
    "setns",
    "mount",
    "umount2",
    "fsopen",
    "fsconfig",
    "fsmount",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "pivot_root",
    "chroot",
    "chdir",
    "sethostname",
    "mkdir",
    "mkdirat",
    "socketpair",
];

/// The system calls of these that a command makes, in the words of strace.
fn deeds(caller: Caller, arguments: &[&str]) -> Vec<String> {
    let folder = public_folder();
    let log = folder.path().join("strace");
    let mut command = caller.command("strace");
    command.args(["-f", "-o"]).arg(&log).arg(support::program()).args(arguments).current_dir("/");
    let output = run(&mut command);
    let log = fs::read_to_string(&log).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    assert!(log.contains("execve("), "{log}");
    let name = |line: &str| line.split_whitespace().nth(1)?.split('(').next().map(str::to_owned);
    log.lines().filter_map(name).filter(|name| DEEDS.contains(&name.as_str())).collect()
}

#[test]
fn nothing_is_done() {
    if Command::new("strace").arg("--version").output().is_err() {
        return cannot_run("that --explain does nothing", "strace is missing");
    }
    for caller in callers() {
        let done = deeds(caller, &["--", "true"]);
        assert!(done.iter().any(|name| name == "clone"), "strace shows no clone: {done:?}");
        for form in [&["--explain"][..], &["--explain", "--json"]] {
            let arguments: Vec<_> = form.iter().chain(&MANY).copied().collect();
            assert_eq!(deeds(caller, &arguments), [""; 0], "{caller:?}");
        }
    }
}
