//! The exit status, by the table of docs/exit-codes.md, and the one line that says what went wrong.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use support::{
    Caller, callers, cannot_run, code_and_stderr, executable, install, program, public_folder, run,
    stdout_of, text,
};

/// Does `check` to each of these, some at once.
fn for_each<T: Copy + Sync>(items: &[T], check: impl Fn(T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(*item);
                }
            });
        }
    });
}

#[test]
fn every_exit_code_of_the_workload_is_returned() {
    let codes: Vec<i32> = (0..=255).collect();
    for caller in callers() {
        for_each(&codes, |code| {
            let ended = code_and_stderr(&mut caller.shell(&format!("exit {code}")));
            assert_eq!(ended, (code, String::new()));
        });
    }
}

/// The signals that stop a process, continue it, or do nothing to it by default: CHLD, CONT, STOP, TSTP, TTIN,
/// TTOU, URG and WINCH. See signal(7).
const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];

/// The signals that this caller already ignores outside: bit n-1 stands for signal n. A child of glibc's
/// posix_spawn, as cargo's are, ignores glibc's two internal ones, 32 and 33.
fn ignored_outside(caller: Caller) -> u64 {
    let line = stdout_of(&mut caller.launch_by("grep SigIgn: /proc/self/status", [""; 0]));
    u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16).expect("a set")
}

#[test]
fn every_signal_that_kills_the_workload_is_128_more() {
    let signals: Vec<i32> = (1..=64).filter(|signal| !HARMLESS.contains(signal)).collect();
    for caller in callers() {
        let ignored = ignored_outside(caller);
        for_each(&signals, |signal| {
            // Some of them would write a core file. One that is ignored outside is ignored inside too.
            let script = format!("ulimit -c 0; kill -{signal} $$; exit 9");
            let code = if ignored & 1 << (signal - 1) == 0 { 128 + signal } else { 9 };
            assert_eq!(code_and_stderr(&mut caller.shell(&script)), (code, String::new()));
        });
    }
}

#[test]
fn a_workload_that_runs_out_of_time_is_124_however_it_ends() {
    for caller in callers() {
        for script in [
            "exec sleep 1000",
            // Sees SIGTERM, and makes a code of its own of it.
            "trap 'exit 3' TERM; while :; do sleep 1000 & wait; done",
            // Ignores it, and so do its children.
            "trap '' TERM; sleep 1000; exit 3",
            "kill -STOP $$; exit 3",
        ] {
            let options = ["--timeout", "100ms", "--grace", "100ms"];
            let ended = code_and_stderr(&mut caller.shell_with(&options, script));
            assert_eq!(ended, (124, String::new()), "{script}");
        }
    }
}

#[test]
fn a_workload_that_ends_in_time_has_its_own_code() {
    for caller in callers() {
        let ended = code_and_stderr(&mut caller.shell_with(&["--timeout", "1h"], "exit 5"));
        assert_eq!(ended, (5, String::new()));
        let killed = code_and_stderr(&mut caller.shell_with(&["--timeout", "1h"], "kill -TERM $$; exit 9"));
        assert_eq!(killed, (128 + 15, String::new()));
    }
}

/// Nothing but these lines on stderr, nothing on stdout, and this code.
#[track_caller]
fn fails(command: &mut Command, code: i32, lines: &[&str]) {
    let output = run(command);
    let stderr: String = lines.iter().map(|line| format!("launch: {line}\n")).collect();
    let found = (output.status.code(), text(&output.stderr), text(&output.stdout));
    assert_eq!(found, (Some(code), stderr, String::new()), "{command:?}");
}

/// The same for a command line, `true` being the command, which no caller gets to run.
#[track_caller]
fn refuses(options: &[&str], line: &str) {
    for caller in callers() {
        fails(&mut caller.launch(options.iter().chain(&["--", "true"])), 125, &[line]);
    }
}

#[test]
fn a_command_line_without_a_command_is_125() {
    for caller in callers() {
        let line = "command line: CMD: no command; say launch [OPTIONS] -- CMD [ARG...]";
        fails(&mut caller.launch([""; 0]), 125, &[line]);
        fails(&mut caller.launch(["--"]), 125, &[line]);
        fails(&mut caller.launch(["--net", "none"]), 125, &[line]);
    }
}

#[test]
fn a_command_that_does_not_stand_behind_the_dashes_is_125() {
    for caller in callers() {
        let line =
            "command line: true: a command must stand behind --, as in: launch [OPTIONS] -- CMD [ARG...]";
        fails(&mut caller.launch(["true"]), 125, &[line]);
        fails(&mut caller.launch(["--net", "none", "true", "--", "x"]), 125, &[line]);
    }
}

#[test]
fn an_unknown_option_is_125() {
    refuses(&["--foo"], "command line: --foo: no such option; see launch --help");
    refuses(&["-x"], "command line: -x: no such option; see launch --help");
    refuses(&["--a\nb"], "command line: --a\\nb: no such option; see launch --help");
    refuses(&["--hostnam=x"], "command line: --hostnam: no such option; did you mean --hostname?");
}

#[test]
fn an_option_without_its_value_or_with_a_wrong_one_is_125() {
    refuses(&["--chdir"], "command line: --chdir: needs a value");
    refuses(&["--net", "moon"], "command line: --net: \"moon\" is none of host, none");
    refuses(&["--uid", "1", "--keep-id"], "command line: --uid: cannot be used together with --keep-id");
    refuses(
        &["--timeout", "soon"],
        "command line: --timeout: \"soon\" is no duration: say 500ms, 30s, 5m or 1h",
    );
}

#[test]
fn a_number_out_of_range_is_125() {
    for option in ["--uid", "--gid"] {
        for number in ["4294967295", "4294967296", "-1", "+1", "0x0", "1.0", "", " 1"] {
            let line = format!("command line: {option}: {number:?} is no id: they go from 0 to 4294967294");
            refuses(&[&format!("{option}={number}")], &line);
        }
    }
    for option in ["--keep-fd", "--status-fd"] {
        for number in ["2147483648", "-1", "+1", "0x0"] {
            let line = format!(
                "command line: {option}: {number:?} is no descriptor's number: they go from 0 to 2147483647"
            );
            refuses(&[&format!("{option}={number}")], &line);
        }
    }
    for size in ["0", "0K", "-1", "1.5M", "9223372036854775808", "9999999999G", "M"] {
        let line = format!(
            "command line: --tmp-size: {size:?} is no size: say a number of bytes above 0, or one with K, M, G or T"
        );
        refuses(&[&format!("--tmp-size={size}")], &line);
    }
}

#[test]
fn a_negative_number_is_called_no_number_and_not_an_option() {
    refuses(&["--uid", "-1"], "command line: --uid: \"-1\" is no id: they go from 0 to 4294967294");
}

/// The two lines for a descriptor that is not open.
fn not_open(number: &str) -> [String; 2] {
    [
        format!("descriptor: {number}: is not open"),
        "hint: open it in the calling shell, as in: launch ... 5</a/file".into(),
    ]
}

#[test]
fn a_descriptor_that_is_not_open_is_125() {
    for caller in callers() {
        for option in ["--keep-fd", "--status-fd"] {
            // Those numbers are the first that anything opened meanwhile would get.
            for number in ["3", "4", "5", "2147483647"] {
                let lines = not_open(number);
                let script = "exec 3>&- 4>&- 5>&-; exec \"$@\"";
                let mut command = caller.launch_by(script, [option, number, "--", "true"]);
                fails(&mut command, 125, &[&lines[0], &lines[1]]);
            }
        }
    }
}

#[test]
fn on_a_terminal_too_a_descriptor_that_is_not_open_is_125() {
    for caller in callers() {
        for option in ["--keep-fd", "--status-fd"] {
            let launch = format!("{} {option} 3 -- true 3>&-", program().display());
            let output = run(caller.command("script").args(["-qec", &launch, "/dev/null"]));
            let lines = not_open("3").map(|line| format!("launch: {line}\r\n"));
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), lines.concat()), "{option}");
        }
    }
}

#[test]
fn a_host_or_domain_name_that_is_empty_or_too_long_is_125() {
    for option in ["--hostname", "--domainname"] {
        refuses(&[option, ""], &format!("command line: {option}: is empty"));
        let line = format!("command line: {option}: 65 bytes are more than the 64 a name may have");
        refuses(&[option, &"x".repeat(65)], &line);
    }
}

#[test]
fn a_variable_without_an_equals_sign_or_a_name_is_125() {
    refuses(&["--env", "A"], "command line: --env: \"A\" has no =; say --env NAME=VALUE");
    refuses(&["--env", ""], "command line: --env: \"\" has no =; say --env NAME=VALUE");
    refuses(&["--env", "=A"], "command line: --env: \"=A\" has no name before the =");
}

#[test]
fn a_directory_that_is_missing_or_none_is_125() {
    refuses(&["--chdir", "/missing"], "working directory: /missing: No such file or directory");
    refuses(&["--chdir", "/etc/passwd"], "working directory: /etc/passwd: Not a directory");
    refuses(&["--chdir", "/a\nb"], "working directory: /a\\nb: No such file or directory");
    // As it is inside.
    let folder =
        tempfile::Builder::new().prefix("launch-test-").tempdir_in("/tmp").expect("a folder in /tmp");
    let path = folder.path().to_str().expect("text");
    refuses(&["--chdir", path], &format!("working directory: {path}: No such file or directory"));
}

#[test]
fn a_deleted_working_directory_is_125_unless_another_is_named() {
    for caller in callers() {
        let folder = public_folder();
        let script =
            format!("mkdir {0}/gone && cd {0}/gone && rmdir ../gone && exec \"$@\"", folder.path().display());
        let line = "working directory: the caller's: it has been deleted; name another with --chdir";
        fails(&mut caller.launch_by(&script, ["--", "true"]), 125, &[line]);
        let elsewhere = code_and_stderr(&mut caller.launch_by(&script, ["--chdir", "/", "--", "true"]));
        assert_eq!(elsewhere, (0, String::new()));
    }
}

/// The command fails to be executed, with this line, as every caller.
#[track_caller]
fn not_executed(path: impl AsRef<OsStr>, code: i32, line: &str) {
    for caller in callers() {
        fails(&mut caller.launch([OsStr::new("--"), path.as_ref(), OsStr::new("x")]), code, &[line]);
    }
}

#[test]
fn a_command_that_is_not_found_is_127() {
    not_executed("no-such-command", 127, "exec: no-such-command: not found in PATH");
    not_executed("/missing/command", 127, "exec: /missing/command: No such file or directory");
    not_executed("./missing", 127, "exec: ./missing: No such file or directory");
    not_executed("/etc/passwd/command", 127, "exec: /etc/passwd/command: Not a directory");
    not_executed("", 127, "exec: '': No such file or directory");
}

#[test]
fn whatever_its_name_it_takes_one_line() {
    not_executed("a\nb", 127, "exec: a\\nb: not found in PATH");
    not_executed("/a\nb", 127, "exec: /a\\nb: No such file or directory");
    not_executed("\x1b[31m", 127, "exec: \\u{1b}[31m: not found in PATH");
    not_executed(OsStr::from_bytes(b"/\xff"), 127, "exec: /\u{fffd}: No such file or directory");
}

#[test]
fn whatever_the_path_is_a_command_that_is_not_in_it_is_127() {
    for caller in callers() {
        for path in ["/usr/bin", "/missing", "/etc/passwd", "/missing:/etc/passwd", ""] {
            let arguments = ["--env", &format!("PATH={path}"), "--", "no-such-command"];
            fails(&mut caller.launch(arguments), 127, &["exec: no-such-command: not found in PATH"]);
        }
    }
}

#[test]
fn a_command_that_may_not_be_executed_is_126() {
    let folder = public_folder();
    let file = folder.path().join("some-file");
    fs::write(&file, "#!/bin/sh\n").expect("write");
    not_executed("/usr", 126, "exec: /usr: Permission denied");
    not_executed(&file, 126, &format!("exec: {}: Permission denied", file.display()));
    let variable = format!("PATH={}:/usr/bin", folder.path().display());
    for caller in callers() {
        let arguments = ["--env", &variable, "--", "some-file"];
        fails(&mut caller.launch(arguments), 126, &["exec: some-file: Permission denied"]);
    }
}

#[test]
fn what_cannot_be_the_command_does_not_end_the_search_for_it() {
    let first = public_folder();
    let second = public_folder();
    fs::write(first.path().join("not-executable"), "#!/bin/sh\n").expect("write");
    fs::create_dir(first.path().join("folder")).expect("mkdir");
    let variable =
        format!("PATH={}:/missing:/etc/passwd:{}", first.path().display(), second.path().display());
    for caller in callers() {
        let line = "exec: folder: not found in PATH";
        fails(&mut caller.launch(["--env", &variable, "--", "folder"]), 127, &[line]);
    }
    for name in ["not-executable", "folder"] {
        executable(&second.path().join(name), "#!/bin/sh\nexit 7\n");
        for caller in callers() {
            let ended = code_and_stderr(&mut caller.launch(["--env", &variable, "--", name]));
            assert_eq!(ended, (7, String::new()));
        }
    }
}

#[test]
fn a_script_whose_interpreter_is_missing_is_127_and_the_line_says_so() {
    let folder = public_folder();
    let script = |name: &str, content: &str| -> PathBuf {
        let path = folder.path().join(name);
        executable(&path, content);
        path
    };
    let says = |path: &Path, interpreter: &str| {
        let line = format!("exec: {}: its interpreter {interpreter} does not exist", path.display());
        not_executed(path, 127, &line);
    };
    says(&script("plain", "#!/missing/interpreter\n"), "/missing/interpreter");
    says(&script("argument", "#! /missing/interpreter -x y\n"), "/missing/interpreter");
    says(&script("endless", "#!/missing/interpreter"), "/missing/interpreter");
    // The carriage return is part of the name: /bin/sh does exist.
    says(&script("windows", "#!/bin/sh\r\nexit 0\r\n"), "/bin/sh\\r");
    // In PATH it is found all the same.
    for caller in callers() {
        let variable = format!("PATH={}:/usr/bin", folder.path().display());
        let line = "exec: plain: its interpreter /missing/interpreter does not exist";
        fails(&mut caller.launch(["--env", &variable, "--", "plain"]), 127, &[line]);
    }
}

#[test]
fn a_program_whose_loader_is_missing_is_127_and_the_line_says_so() {
    // The loader's path is in the file as it is, with a NUL behind it.
    let mut program = fs::read("/bin/true").expect("/bin/true");
    let loader = b"/lib64/ld-linux-x86-64.so.2\0";
    let Some(at) = program.windows(loader.len()).position(|bytes| bytes == loader) else {
        return cannot_run("a missing loader", "/bin/true has another, or none");
    };
    program[at + 1] = b'X';
    let folder = public_folder();
    let path = folder.path().join("program");
    executable(&path, program);
    let line = format!(
        "exec: {}: the dynamic loader that it names as its interpreter does not exist",
        path.display()
    );
    not_executed(&path, 127, &line);
}

#[test]
fn a_program_that_somebody_writes_to_is_126() {
    let folder = public_folder();
    let path = folder.path().join("program");
    install(Path::new("/bin/true"), &path);
    let open = fs::OpenOptions::new().append(true).open(&path).expect("open");
    not_executed(&path, 126, &format!("exec: {}: Text file busy", path.display()));
    drop(open);
}
