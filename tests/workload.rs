//! What the workload is given: its place below PID 1, arguments, environment, directory and descriptors, and
//! nothing of the launcher's own.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use support::{
    Caller, Running, Talk, callers, cannot_run, code, code_and_stderr, executable,
    on_all_and_on_some_processors, processors_of, program, public_folder, run, stdout_of, text, until,
};
use tempfile::TempDir;

#[test]
fn it_is_a_child_of_pid_1_and_never_pid_1_itself() {
    for caller in callers() {
        assert_eq!(stdout_of(&mut caller.shell("echo $$ $PPID")), "2 1\n");
    }
}

/// A folder with a program `tool` that says `word`.
fn folder_with_tool(word: &str) -> TempDir {
    let folder = public_folder();
    executable(&folder.path().join("tool"), format!("#!/bin/sh\necho {word} $*\n"));
    folder
}

#[test]
fn the_command_is_looked_for_in_the_path_it_will_have() {
    let (first, second) = (folder_with_tool("first"), folder_with_tool("second"));
    let [first, second] = [&first, &second].map(|folder| folder.path().to_str().expect("text"));
    let missing = (127, "launch: exec: tool: not found in PATH\n".to_owned());
    for caller in callers() {
        let callers_path = format!("{second}:/usr/bin:/bin");
        let launch = |options: &[&str]| {
            let mut command = caller.launch(options.iter().chain(&["--", "tool", "x"]));
            // For setpriv too, which is looked for in the same PATH.
            command.env("PATH", &callers_path);
            command
        };
        assert_eq!(stdout_of(&mut launch(&[])), "second x\n");
        assert_eq!(stdout_of(&mut launch(&["--env", &format!("PATH={first}")])), "first x\n");
        assert_eq!(stdout_of(&mut launch(&["--env", &format!("PATH={second}:{first}")])), "second x\n");
        assert_eq!(stdout_of(&mut launch(&["--clear-env", "--env", &format!("PATH={first}")])), "first x\n");
        assert_eq!(code_and_stderr(&mut launch(&["--clear-env"])), missing);
        assert_eq!(code_and_stderr(&mut launch(&["--unset-env", "PATH"])), missing);
        assert_eq!(code_and_stderr(&mut launch(&["--env", "PATH=/usr/bin:/bin"])), missing);
    }
}

#[test]
fn without_a_path_it_is_looked_for_in_bin_and_usr_bin() {
    for caller in callers() {
        assert_eq!(stdout_of(&mut caller.launch(["--clear-env", "--", "env"])), "");
        assert_eq!(stdout_of(&mut caller.launch(["--unset-env", "PATH", "--", "echo", "found"])), "found\n");
    }
}

#[test]
fn arguments_are_passed_on_byte_for_byte() {
    let every_byte: Vec<u8> = (1..=255).collect();
    let arguments: [&[u8]; 9] =
        [b"", b" ", b"\n", b"a\nb\\", b"\xff\xfe", b"--", b"--net", b"-v", &every_byte];
    for caller in callers() {
        let mut command = caller.launch(["--", "printf", "%s\\0"]);
        let output = run(command.args(arguments.map(OsStr::from_bytes)));
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.stdout, [arguments.join(&0), vec![0]].concat());
    }
}

#[test]
fn a_megabyte_of_arguments_arrives() {
    let arguments: Vec<String> = (0..10).map(|n| n.to_string().repeat(100_000)).collect();
    for caller in callers() {
        let mut command = caller.launch(["--", "printf", "%s"]);
        command.args(&arguments);
        assert!(stdout_of(&mut command) == arguments.concat(), "not the same");
    }
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_sh() {
    let folder = public_folder();
    let script = folder.path().join("script");
    executable(&script, "readlink /proc/$$/exe; echo \"$0\" \"$@\"");
    let shell = fs::canonicalize("/bin/sh").expect("/bin/sh");
    let expected = format!("{}\n{} a b  c\n", shell.display(), script.display());
    for caller in callers() {
        let arguments = [OsStr::new("--"), script.as_os_str(), OsStr::new("a"), OsStr::new("b  c")];
        assert_eq!(stdout_of(&mut caller.launch(arguments)), expected);
    }
}

#[test]
fn stdin_stdout_and_stderr_are_passed_through() {
    // Every byte, in an order that does not repeat with any buffer's size.
    let bytes: Vec<u8> = (0..4_000_037_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    for caller in callers() {
        for (script, to_stderr) in [("exec cat", false), ("exec cat >&2", true)] {
            let mut command = caller.shell(script);
            let mut running =
                Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
            let mut stdin = running.child().stdin.take().expect("stdin");
            let input = bytes.clone();
            let writer = std::thread::spawn(move || stdin.write_all(&input));
            let output = running.output();
            writer.join().expect("join").expect("write");
            let (full, empty) =
                if to_stderr { (output.stderr, output.stdout) } else { (output.stdout, output.stderr) };
            assert_eq!((text(&empty), output.status.code()), (String::new(), Some(0)));
            assert!(full == bytes, "{} bytes arrived, and not the same", full.len());
        }
    }
}

/// The workload's descriptors: another process looks, since a look needs a descriptor itself.
const LIST_DESCRIPTORS: [&str; 4] = ["--", "sh", "-c", "ls /proc/$$/fd; :"];

#[test]
fn it_sees_exactly_the_descriptors_0_1_and_2() {
    for caller in callers() {
        let script = "exec 4>/dev/null 7</dev/null 9>/dev/null; exec \"$@\"";
        assert_eq!(stdout_of(&mut caller.launch(LIST_DESCRIPTORS)), "0\n1\n2\n");
        assert_eq!(stdout_of(&mut caller.launch_by(script, LIST_DESCRIPTORS)), "0\n1\n2\n");
    }
}

#[test]
fn a_kept_descriptor_is_handed_on_and_no_other() {
    let folder = public_folder();
    let file = folder.path().join("file");
    fs::write(&file, "content\n").expect("write");
    let script = format!("exec 4>/dev/null 7<{} 9>/dev/null; exec \"$@\"", file.display());
    for caller in callers() {
        let launch = |options: &[&str], command: &[&str]| {
            stdout_of(&mut caller.launch_by(&script, options.iter().chain(command)))
        };
        assert_eq!(launch(&["--keep-fd", "7"], &LIST_DESCRIPTORS), "0\n1\n2\n7\n");
        assert_eq!(launch(&["--keep-fd", "7"], &["--", "sh", "-c", "cat <&7"]), "content\n");
        assert_eq!(launch(&["--keep-fd", "9", "--keep-fd", "4"], &LIST_DESCRIPTORS), "0\n1\n2\n4\n9\n");
        assert_eq!(
            launch(&["--keep-fd", "7", "--keep-fd", "7", "--keep-fd", "1"], &LIST_DESCRIPTORS),
            "0\n1\n2\n7\n"
        );
    }
}

#[test]
fn whoever_reads_its_output_sees_the_end_when_it_closes_it() {
    for caller in callers() {
        for (descriptor, redirection) in [("1", "7>/dev/null"), ("7", "7>&1 >/dev/null")] {
            let folder = public_folder();
            let ended = folder.path().join("ended").display().to_string();
            // It goes on until its reader has seen the end, which neither launcher nor PID 1 may put off.
            let workload = format!("exec {descriptor}>&-; read -r word < {ended}; echo $word >&8");
            let pipeline = format!("\"$@\" {redirection} | {{ cat; echo on > {ended}; }}");
            let script = format!("mkfifo {ended}; {{ {pipeline}; }} 8>&1");
            let arguments = ["--keep-fd", "7", "--keep-fd", "8", "--", "sh", "-c", &workload];
            assert_eq!(stdout_of(&mut caller.launch_by(&script, arguments)), "on\n", "{descriptor}");
        }
    }
}

/// What the workload finds behind its descriptors 0, 1 and 2, when the caller did `redirections` first.
fn behind_descriptors(caller: Caller, redirections: &str) -> Vec<String> {
    let folder = public_folder();
    let report = folder.path().join("report");
    let inside = format!("found=$(cd /proc/$$/fd; readlink 0 1 2); echo \"$found\" > {}", report.display());
    let mut command =
        caller.launch_by(&format!("exec {redirections}; exec \"$@\""), ["--", "sh", "-c", &inside]);
    let output = run(command.stdin(Stdio::piped()));
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(0), String::new(), String::new())
    );
    fs::read_to_string(report).expect("report").lines().map(Into::into).collect()
}

#[test]
fn a_closed_standard_descriptor_is_dev_null_inside() {
    for caller in callers() {
        for (redirections, closed) in [
            ("<&-", [true, false, false]),
            (">&-", [false, true, false]),
            ("2>&-", [false, false, true]),
            ("<&- >&-", [true, true, false]),
            ("<&- 2>&-", [true, false, true]),
            (">&- 2>&-", [false, true, true]),
            ("<&- >&- 2>&-", [true, true, true]),
        ] {
            let found = behind_descriptors(caller, redirections);
            assert_eq!(found.len(), 3, "{redirections}: {found:?}");
            for (found, closed) in found.iter().zip(closed) {
                let is_the_callers = found.starts_with("pipe:[");
                assert!(
                    if closed { found == "/dev/null" } else { is_the_callers },
                    "{redirections}: {found}"
                );
            }
        }
    }
}

#[test]
fn chdir_starts_it_there() {
    for caller in callers() {
        let directory = |options: &[&str], from: &str| {
            stdout_of(caller.launch(options.iter().chain(&["--", "pwd", "-P"])).current_dir(from))
        };
        assert_eq!(directory(&["--chdir", "/usr/share"], "/"), "/usr/share\n");
        assert_eq!(directory(&["--chdir", "share"], "/usr"), "/usr/share\n");
        assert_eq!(directory(&["--chdir", ".."], "/usr/share"), "/usr\n");
        assert_eq!(directory(&["--chdir", "/proc/self"], "/"), "/proc/1\n");
        assert_eq!(directory(&["--chdir", "/tmp"], "/tmp"), "/tmp\n");
    }
}

#[test]
fn without_chdir_it_starts_in_the_callers_directory() {
    let folder = public_folder();
    for caller in callers() {
        let mut command = caller.launch(["--", "pwd", "-P"]);
        assert_eq!(stdout_of(command.current_dir(folder.path())), format!("{}\n", folder.path().display()));
    }
}

#[test]
fn from_a_directory_that_tmp_hides_it_starts_in_the_root_and_one_warning_says_so() {
    let folder =
        tempfile::Builder::new().prefix("launch-test-").tempdir_in("/tmp").expect("a folder in /tmp");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    for caller in callers() {
        for directory in [folder.path(), Path::new("/tmp")] {
            let output = run(caller.launch(["--", "pwd", "-P"]).current_dir(directory));
            let warning = format!(
                "launch: warning: working directory: {}: hidden by a fresh mount, starting in /\n",
                directory.display()
            );
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "/\n".into()));
            assert_eq!(text(&output.stderr), warning);
            let mut keeps = caller.launch(["--keep-tmp", "--", "pwd", "-P"]);
            assert_eq!(stdout_of(keeps.current_dir(directory)), format!("{}\n", directory.display()));
        }
    }
}

/// The workload's environment, in its order, with `options`, when the caller's is PATH and these.
fn environment(caller: Caller, callers: &[(&str, &str)], options: &[&str]) -> String {
    let mut command = caller.launch(options.iter().chain(&["--", "/usr/bin/env"]));
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(callers.iter().copied());
    stdout_of(&mut command)
}

#[test]
fn its_environment_is_the_callers_but_for_what_is_set_unset_or_cleared() {
    for caller in callers() {
        let of = |options: &[&str]| environment(caller, &[("A", "1"), ("B", "2 3")], options);
        let path = "PATH=/usr/bin:/bin\n";
        let mut lines: Vec<_> = of(&[]).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["A=1", "B=2 3", "PATH=/usr/bin:/bin"]);
        assert_eq!(of(&["--unset-env", "A", "--unset-env", "B"]), path);
        assert_eq!(of(&["--unset-env", "A", "--unset-env", "B", "--env", "C=x=y"]), format!("{path}C=x=y\n"));
        assert_eq!(of(&["--clear-env"]), "");
        assert_eq!(of(&["--env", "A=", "--clear-env", "--env", "C=4", "--env", "C=5"]), "A=\nC=5\n");
        assert_eq!(of(&["--unset-env", "A", "--env", "A=new", "--unset-env", "B"]), format!("{path}A=new\n"));
    }
}

#[test]
fn a_variable_may_have_any_bytes() {
    let variable = OsStr::from_bytes(b"K\xfe=a\n\xff b");
    for caller in callers() {
        let arguments = ["--clear-env", "--env"].map(OsStr::new).into_iter().chain([variable]);
        let output = run(&mut caller.launch(arguments.chain(["--", "env", "-0"].map(OsStr::new))));
        assert_eq!((output.stdout, text(&output.stderr)), (b"K\xfe=a\n\xff b\0".to_vec(), String::new()));
    }
}

#[test]
fn launch_log_is_the_launchers_and_rust_log_the_workloads() {
    for caller in callers() {
        let callers = [("LAUNCH_LOG", "warn"), ("RUST_LOG", "trace")];
        let found = environment(caller, &callers, &["--unset-env", "PATH"]);
        assert_eq!(found, "RUST_LOG=trace\n");
    }
}

#[test]
fn nothing_is_logged_unless_asked_for() {
    for caller in callers() {
        let mut command = caller.launch(["--net", "none", "--", "true"]);
        assert_eq!(code_and_stderr(command.env("RUST_LOG", "trace")), (0, String::new()));
    }
}

/// Every step of this caller's `launch --net none --hostname here -- true` from /usr.
fn steps(caller: Caller, init: &str) -> Vec<String> {
    let [setgroups, uid_map, gid_map] =
        ["setgroups", "uid_map", "gid_map"].map(|file| format!("id map: /proc/{init}/{file}"));
    let mut steps = vec![format!(
        "clone: init is pid {init}, with new user, mount, uts, ipc, pid, cgroup and net namespaces"
    )];
    if caller == Caller::User {
        steps.push(format!("{setgroups}: deny"));
    }
    steps.extend([format!("{uid_map}: 0 {} 1", caller.uid()), format!("{gid_map}: 0 {} 1", caller.gid())]);
    steps.extend(
        ["host name: here", "network: lo", "mount: /", "mount: /proc", "mount: /tmp"].map(Into::into),
    );
    steps.extend(["working directory: /usr", "workload: true: started as pid 2"].map(Into::into));
    steps
}

#[test]
fn v_and_launch_log_log_every_step() {
    for caller in callers() {
        for (option, variable) in [(Some("-v"), ""), (Some("--verbose"), ""), (None, "debug")] {
            let options = ["--net", "none", "--hostname", "here", "--", "true"];
            let mut command = caller.launch(option.iter().chain(&options));
            let (code, stderr) = code_and_stderr(command.env("LAUNCH_LOG", variable).current_dir("/usr"));
            let lines: Vec<_> =
                stderr.lines().map(|line| line.strip_prefix("launch: log: ").expect(line)).collect();
            let init = lines[0].split([' ', ',']).nth(4).expect("a pid");
            assert_eq!((code, lines), (0, steps(caller, init).iter().map(String::as_str).collect()));
        }
    }
}

#[test]
fn a_launch_inside_a_launch_works_the_same() {
    for caller in callers() {
        let launch = program().to_str().expect("text");
        let arguments = ["--", launch, "--hostname", "inner", "--", "sh", "-c", "uname -n; echo $$ $PPID"];
        assert_eq!(stdout_of(&mut caller.launch(arguments)), "inner\n2 1\n");
    }
}

#[test]
fn a_relative_directory_is_looked_for_inside() {
    for caller in callers() {
        let folder = tempfile::Builder::new().prefix("launch-test-").tempdir_in("/tmp").expect("folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
        fs::create_dir(folder.path().join("sub")).expect("mkdir");
        // The fresh /tmp hides it.
        let mut command = caller.launch(["--chdir", "sub", "--", "true"]);
        let expected = format!(
            "launch: working directory: {}: No such file or directory\n",
            folder.path().join("sub").display()
        );
        assert_eq!(code_and_stderr(command.current_dir(folder.path())), (125, expected));
        let there = stdout_of(caller.launch(["--chdir", "share", "--", "pwd"]).current_dir("/usr"));
        assert_eq!(there, "/usr/share\n");
    }
}

#[test]
fn a_directory_that_root_may_not_search_inside_is_kept() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("somebody else's directory", "only root can be there");
    }
    let folder = public_folder();
    let private = folder.path().join("private");
    fs::create_dir(&private).expect("mkdir");
    std::os::unix::fs::chown(&private, Some(12345), Some(12345)).expect("chown");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).expect("chmod");
    let status = run(Caller::Root.launch(["--", "true"]).current_dir(&private)).status;
    assert_eq!(code(status), 0);
}

#[test]
fn a_program_for_another_machine_is_not_taken_for_a_script() {
    let folder = public_folder();
    let program = folder.path().join("foreign");
    let mut elf = fs::read("/bin/true").expect("read");
    // e_machine; see elf(5). No machine has this one.
    elf[18..20].copy_from_slice(&[0xfe, 0xfe]);
    executable(&program, elf);
    for caller in callers() {
        let (code, stderr) = code_and_stderr(&mut caller.launch(["--".as_ref(), program.as_os_str()]));
        let expected = format!("launch: exec: {}: Exec format error\n", program.display());
        assert_eq!((code, stderr), (126, expected));
    }
}

#[test]
fn a_wrong_command_line_is_a_status_line_too() {
    for caller in callers() {
        let output = run(&mut caller.launch(["--status-fd", "1", "--uid", "abc", "--", "true"]));
        let line = text(&output.stdout);
        assert!(line.starts_with("{\"event\":\"failed\"") && line.contains("\"--uid\""), "{line}");
        assert_eq!(code(output.status), 125);
    }
}

#[test]
fn it_may_run_on_the_callers_processors_and_no_others() {
    on_all_and_on_some_processors(|| {
        for caller in callers() {
            let callers = processors_of("thread-self");
            // Who starts launch looks at itself afterwards.
            let look = ["--", "grep", "^Cpus_allowed:", "/proc/self/status"];
            let mut command = caller.launch_by("\"$@\" && grep ^Cpus_allowed: /proc/$$/status", look);
            assert_eq!(stdout_of(&mut command), format!("{callers}\n{callers}\n"), "{caller:?}");
        }
    });
}

#[test]
fn launcher_and_pid_1_may_run_where_the_caller_may_once_it_runs() {
    on_all_and_on_some_processors(|| {
        for caller in callers() {
            let launcher = Talk::start(&mut caller.launch(["--status-fd", "1", "--", "sleep", "1000"]));
            let started: serde_json::Value =
                serde_json::from_str(&launcher.hear().expect("a line")).expect("JSON");
            for process in [launcher.pid().to_string(), started["init_pid"].to_string()] {
                until("the processors are given back", || {
                    (processors_of(&process) == processors_of("thread-self")).then_some(())
                });
            }
        }
    });
}
