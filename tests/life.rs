//! The life of a sandbox from its clone to its end: whoever dies at whatever moment, in whatever surroundings, nobody
//! and nothing is left.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::unistd::Pid;
use support::{
    Caller, DEADLINE, Running, callers, cannot_run, code, code_and_stderr, is_alive, marker, processes_with,
    program, public_folder, run, stdout_of, text, until,
};
use tempfile::TempDir;

/// The lines that come from `reader`, as they come.
fn lines(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[track_caller]
fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(DEADLINE).expect("another line before the deadline")
}

/// A launch whose workload has started.
struct Launch {
    running: Running,
    /// Init's pid.
    init: i32,
    /// The workload's.
    workload: i32,
    /// What comes on stderr after the status line that says so.
    stderr: Receiver<String>,
}

impl Launch {
    /// `launch OPTIONS -- sh -c SCRIPT`, with status lines on stderr.
    fn start(command: &mut Command, options: &[&str], script: &str) -> Self {
        command.args(["--status-fd", "2"]).args(options).args(["--", "sh", "-c", script]);
        let mut running = Running::start(command.stderr(Stdio::piped()));
        let stderr = lines(running.child().stderr.take().expect("stderr"));
        let started: serde_json::Value = serde_json::from_str(&next(&stderr)).expect("a status line");
        let pid = |key: &str| started[key].as_i64().expect(key) as i32;
        Self { init: pid("init_pid"), workload: pid("pid"), running, stderr }
    }

    /// From then on PID 1 knows that it has ended; a zombie takes signals, and nothing comes of them.
    fn until_the_workload_is_reaped(&self) {
        let exists = || fs::exists(format!("/proc/{}", self.workload)).expect("/proc");
        until("the workload is reaped", || (!exists()).then_some(()));
    }
}

/// A name of its own for the program, by which the processes of one test, the inits too, are told from all others.
fn private_program() -> (TempDir, PathBuf) {
    let folder = public_folder();
    let file = folder.path().join("launch");
    fs::hard_link(program(), &file).expect("link");
    (folder, file)
}

/// The pids of those who execute this file. Only root sees it of an init.
fn executing(file: &Path) -> Vec<i32> {
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == file))
        .collect()
}

#[test]
fn a_launcher_killed_at_any_moment_of_its_start_leaves_no_process() {
    let (_folder, program) = private_program();
    let marker = marker("start");
    for caller in callers() {
        let command = |workload: &[&str]| {
            let mut command = caller.command(&program);
            command.arg("--").args(workload).env("MARKER", &marker).stdin(Stdio::null()).current_dir("/");
            command
        };
        let start = Instant::now();
        stdout_of(&mut command(&["true"]));
        let whole = start.elapsed();
        for step in 0..150 {
            let moment = whole * step / 100;
            let started = Instant::now();
            let mut running = Running::start(&mut command(&["sleep", "1000"]));
            while started.elapsed() < moment {
                std::hint::spin_loop();
            }
            running.signal(Signal::SIGKILL);
            running.wait();
            until("nobody is left", || {
                (executing(&program).is_empty() && processes_with(&marker).is_empty()).then_some(())
            });
        }
    }
}

/// Descendants of all kinds: in the background, orphaned, in other groups and sessions, deaf to SIGTERM.
const DESCENDANTS: &str = "
    sleep 1000 &
    (sleep 1000 & :)
    setsid sleep 1000 &
    setsid setsid -f sleep 1000 &
    (trap '' TERM HUP INT; exec sleep 1000) &
    setsid sh -c \"trap '' TERM HUP INT; sleep 1000; :\" &
    (kill -STOP $(exec sh -c 'echo $PPID')) &
    echo ready
    wait";

#[test]
fn a_launcher_killed_in_the_middle_leaves_no_process() {
    for caller in callers() {
        let marker = marker("middle");
        let mut command = caller.launch(["--env", &format!("MARKER={marker}")]);
        let mut launch = Launch::start(command.stdout(Stdio::piped()), &[], DESCENDANTS);
        let stdout = lines(launch.running.child().stdout.take().expect("stdout"));
        assert_eq!(next(&stdout), "ready");
        // The launcher, the workload and its descendants: seven, one of them under a shell.
        until("all run", || (processes_with(&marker).len() >= 10).then_some(()));
        launch.running.signal(Signal::SIGKILL);
        until("nobody is left", || {
            (processes_with(&marker).is_empty() && !is_alive(launch.init)).then_some(())
        });
        assert_eq!(stdout.recv().ok(), None, "and its stdout is closed");
    }
}

/// Leaves a process behind that does not end by SIGTERM, and ends with 6.
const LEAVE_A_DEAF_ONE: &str = "trap '' TERM; sleep 1000 & exit 6";

#[test]
fn a_launcher_killed_during_the_grace_leaves_no_process() {
    for caller in callers() {
        let marker = marker("grace");
        let mut command = caller.launch(["--env", &format!("MARKER={marker}")]);
        let mut launch = Launch::start(&mut command, &["--grace", "1000s"], LEAVE_A_DEAF_ONE);
        launch.until_the_workload_is_reaped();
        assert!(is_alive(launch.init));
        launch.running.signal(Signal::SIGKILL);
        launch.running.wait();
        until("nobody is left", || {
            (processes_with(&marker).is_empty() && !is_alive(launch.init)).then_some(())
        });
    }
}

#[test]
fn the_death_of_pid_1_is_told_in_one_line_and_is_137() {
    for caller in callers() {
        let marker = marker("init");
        let mut command = caller.launch(["--env", &format!("MARKER={marker}")]);
        let mut launch = Launch::start(&mut command, &[], "sleep 1000; exit 5");
        kill(Pid::from_raw(launch.init), Signal::SIGKILL).expect("kill PID 1");
        assert_eq!(code(launch.running.wait()), 137);
        let (status, said): (Vec<_>, Vec<_>) = launch.stderr.iter().partition(|line| line.starts_with('{'));
        assert_eq!(status.len(), 1, "{status:?}");
        assert!(status[0].contains(r#""event":"exited""#), "{status:?}");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("launch: "), "{said:?}");
        assert!(said[0].ends_with("init: PID 1: was killed by SIGKILL, and all inside with it"), "{said:?}");
        assert_eq!(processes_with(&marker), Vec::<i32>::new());
    }
}

#[test]
fn those_left_over_are_asked_to_end_and_the_status_is_the_workloads() {
    for caller in callers() {
        // No SIGKILL comes before the deadline.
        for (script, expected) in [
            ("sleep 1000 & exit 3", ""),
            ("setsid setsid -f sleep 1000; exit 3", ""),
            ("sleep 1000 & kill -STOP $!; exit 3", ""),
            (
                "mkfifo /tmp/f; (sleep 1000 & trap 'echo tidied up; exit' TERM; echo > /tmp/f; wait) &
                 read x < /tmp/f; exit 3",
                "tidied up\n",
            ),
        ] {
            let output = run(&mut caller.launch(["--grace", "1000s", "--", "sh", "-c", script]));
            let said = (code(output.status), text(&output.stdout), text(&output.stderr));
            assert_eq!(said, (3, expected.into(), String::new()), "{script} as {caller:?}");
        }
    }
}

#[test]
fn one_who_entered_from_outside_is_asked_to_end_when_the_workload_has_ended_by_itself() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("who enters from outside", "that takes root");
    }
    // Root's sandbox: those of others may send nothing to whoever is root outside.
    for caller in callers().into_iter().filter(|caller| caller.uid() == 0) {
        let mut command = caller.launch([""; 0]);
        command.stdin(Stdio::piped());
        let mut launch = Launch::start(&mut command, &["--grace", "1000s"], "read -r line; exit 5");
        let folder = public_folder();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let script = format!(
            "trap \"echo tidied up > '{}'; exit 0\" TERM; : > '{}'; while :; do sleep 0.1; done",
            file("out"),
            file("ready")
        );
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &launch.init.to_string(), "--pid", "sh", "-c", &script]);
        let mut guest = Running::start(enter.stdin(Stdio::null()));
        until("it is ready", || Path::new(&file("ready")).exists().then_some(()));
        drop(launch.running.child().stdin.take());
        assert_eq!(code(launch.running.wait()), 5);
        assert_eq!(code(guest.wait()), 0);
        assert_eq!(fs::read_to_string(file("out")).expect("out"), "tidied up\n");
    }
}

#[test]
fn where_nobody_is_left_over_the_kernel_does_not_look_at_every_process_of_the_machine() {
    if Command::new("strace").arg("--version").output().is_err() {
        return cannot_run("which signals PID 1 sends", "strace is missing");
    }
    for caller in callers() {
        for (options, script, expected) in [
            (&[][..], "exit 0", 0),
            (&[], "sleep 1000 & exit 0", 1),
            (&[], "(exit 0); exit 0", 1),
            // Who may unmount /proc does not find it in use.
            (&["--cap-add", "SYS_ADMIN"], "umount /proc", 1),
        ] {
            let folder = public_folder();
            let log = folder.path().join("calls");
            let mut command = caller.command("strace");
            command.args(["-f", "-e", "trace=kill", "-o"]).arg(&log).arg(program());
            let output = run(command.args(options).args(["--", "sh", "-c", script]).current_dir("/"));
            assert_eq!(code(output.status), 0, "{}", text(&output.stderr));
            let log = fs::read_to_string(&log).expect("strace's log");
            let to_all = log.lines().filter(|line| line.contains("kill(-1, SIGTERM")).count();
            assert_eq!(to_all, expected, "{script}: {log}");
        }
    }
}

#[test]
fn those_left_over_who_ignore_sigterm_are_killed_when_the_grace_is_over() {
    for caller in callers() {
        let start = Instant::now();
        let (code, stderr) =
            code_and_stderr(&mut caller.launch(["--grace", "300ms", "--", "sh", "-c", LEAVE_A_DEAF_ONE]));
        assert_eq!((code, stderr.as_str()), (6, ""));
        assert!(start.elapsed().as_millis() >= 300, "{:?}", start.elapsed());
        let none = code_and_stderr(&mut caller.launch(["--grace", "0", "--", "sh", "-c", LEAVE_A_DEAF_ONE]));
        assert_eq!(none, (6, String::new()));
    }
}

#[test]
fn a_sigterm_during_the_grace_ends_it() {
    for caller in callers() {
        let mut launch = Launch::start(&mut caller.launch([""; 0]), &["--grace", "1000s"], LEAVE_A_DEAF_ONE);
        launch.until_the_workload_is_reaped();
        assert!(is_alive(launch.init));
        launch.running.signal(Signal::SIGTERM);
        assert_eq!(code(launch.running.wait()), 6);
    }
}

#[test]
fn ten_thousand_orphans_leave_no_zombie_and_cost_pid_1_no_memory() {
    // A line of PID 1's memory before and after, and what `$!` of a new process is at the end.
    let script = "
        orphans() { i=0; while [ $i -lt $1 ]; do (: &); i=$((i+1)); done; }
        memory() { grep -E '^Vm(Data|RSS):' /proc/1/status | tr -dc '0-9\\n' | tr '\\n' ' '; }
        no_zombies() { while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done; }
        orphans 1000; no_zombies; memory; orphans 10000; no_zombies; memory; (sh -c 'echo $$')";
    for caller in callers() {
        let output = stdout_of(&mut caller.shell(script));
        let numbers: Vec<i64> =
            output.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let [data_before, resident_before, data_after, resident_after, last_pid] = numbers[..] else {
            panic!("{output}");
        };
        assert!(last_pid > 20_000, "so many processes were there: {last_pid}");
        assert_eq!(data_before, data_after, "KiB that PID 1 has allocated");
        // 64 KiB would be seven bytes for each of them; older kernels' counters are not more exact.
        assert!((resident_before - resident_after).abs() <= 64, "KiB of PID 1 in memory: {output}");
    }
}

#[test]
fn readers_and_writers_see_the_end_when_the_workload_closes_its_stdin_and_stdout() {
    for caller in callers() {
        let mut command = caller.launch([""; 0]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut launch = Launch::start(&mut command, &[], "echo last; exec sleep 1000 <&- >&-");
        let child = launch.running.child();
        let (mut stdin, stdout) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
        let stdout = lines(stdout);
        assert_eq!(next(&stdout), "last");
        assert_eq!(stdout.recv_timeout(DEADLINE), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
        until("a write to its stdin fails", || stdin.write_all(b"x").err());
        assert_eq!(launch.running.child().try_wait().expect("wait"), None, "the launcher runs");
        assert!(is_alive(launch.workload));
    }
}

#[test]
fn pid_1_holds_nothing_of_the_workloads_open() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("the descriptors of PID 1", "only root sees them");
    }
    for caller in callers() {
        let mut command = caller.launch([""; 0]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut launch = Launch::start(&mut command, &[], "echo ready; sleep 1000");
        let stdout = launch.running.child().stdout.take().expect("stdout");
        let pipe = format!("pipe:[{}]", fstat(stdout.as_fd()).expect("fstat").st_ino);
        let stdout = lines(stdout);
        assert_eq!(next(&stdout), "ready");
        let open = |pid: i32| -> Vec<String> {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd");
            // Some may be closed meanwhile.
            let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            links.map(|link| link.display().to_string()).collect()
        };
        assert!(open(launch.workload).contains(&pipe));
        let null_only = ["/dev/null"; 3].map(String::from);
        let expected = until("PID 1 has let go", || {
            let mut open = open(launch.init);
            open.sort();
            (open.len() == 7 && open[..3] == null_only).then_some(open)
        });
        // The workload's pidfd, which older kernels and newer ones show in two ways.
        assert!(expected.iter().any(|file| file.contains("pidfd")), "{expected:?}");
        assert!(expected.contains(&"anon_inode:[signalfd]".into()), "{expected:?}");
        assert!(expected.iter().any(|file| file.ends_with("/loadavg")), "{expected:?}");
        assert!(expected.iter().any(|file| file.starts_with("socket:[")), "{expected:?}");
    }
}

#[test]
fn sixty_four_at_once_return_each_its_own_code() {
    for caller in callers() {
        let mut all: Vec<_> = (100..164)
            .map(|code| {
                let mut command = caller.shell(&format!("echo {code}; read x; exit {code}"));
                Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
            })
            .collect();
        for (running, expected) in all.iter_mut().zip(100..) {
            let said = lines(running.child().stdout.take().expect("stdout"));
            assert_eq!(next(&said), expected.to_string());
        }
        for (running, expected) in all.iter_mut().zip(100..) {
            drop(running.child().stdin.take());
            assert_eq!(code(running.wait()), expected, "as {caller:?}");
        }
    }
}

/// `launch` this many times over, around a command.
fn nested(caller: Caller, levels: usize, command: &[&str]) -> Command {
    let mut nested = caller.launch(["--"]);
    for _ in 1..levels {
        nested.arg(program()).arg("--");
    }
    nested.args(command);
    nested
}

#[test]
fn four_levels_nested_return_the_innermost_code() {
    for caller in callers() {
        let script = "echo $$ $(id -u); exit 42";
        let output = run(&mut nested(caller, 4, &["sh", "-c", script]));
        let said = (code(output.status), text(&output.stdout), text(&output.stderr));
        assert_eq!(said, (42, "2 0\n".into(), String::new()));
    }
}

#[test]
fn nesting_that_is_too_deep_fails_with_a_hint_about_the_limit() {
    for caller in callers() {
        let (code, stderr) = code_and_stderr(&mut nested(caller, 40, &["true"]));
        assert_eq!(code, 125);
        let lines: Vec<_> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert_eq!(lines[0], "launch: clone: user, mount, uts, ipc, pid and cgroup: No space left on device");
        assert!(
            lines[1].starts_with("launch: hint: a limit of namespaces is reached: they nest 32 deep"),
            "{stderr}"
        );
    }
}

#[test]
fn a_thousand_in_a_row_leave_nothing() {
    let marker = marker("thousand");
    for caller in callers() {
        // In a mount namespace whose folders for temporary files nobody else uses meanwhile.
        let script = "
            set -e
            for folder in /tmp /var/tmp /run /dev/shm; do mount -t tmpfs none $folder; chmod 1777 $folder; done
            cat > /var/tmp/launch
            chmod 755 /var/tmp/launch
            look() { find /tmp /var/tmp /run /dev/shm; ls -A /; cat /proc/self/mountinfo; }
            before=$(look)
            i=0
            while [ $i -lt 1000 ]; do \"$@\" /var/tmp/launch -- true; i=$((i+1)); done
            after=$(look)
            test \"$before\" = \"$after\" || printf '%s\n' \"$before\" 'and then' \"$after\"";
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--propagation", "private", "sh", "-c", script, "sh"]);
        if nix::unistd::geteuid().is_root() {
            let uid = caller.uid().to_string();
            command.args(["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]);
        }
        let program = fs::File::open(program()).expect("program");
        command.env("MARKER", &marker).stdin(program).current_dir("/");
        assert_eq!(stdout_of(&mut command), "", "as {caller:?}");
        assert_eq!(processes_with(&marker), Vec::<i32>::new());
    }
}

#[test]
fn a_low_limit_of_descriptors_is_enough_or_is_named() {
    for caller in callers() {
        for limit in 3..=20 {
            let mut command = caller.command("sh");
            let script = format!("ulimit -n {limit}; exec \"$1\" -- sh -c 'exit 9'");
            command.args(["-c", &script, "sh"]).arg(program()).stdin(Stdio::null()).current_dir("/");
            let (code, stderr) = code_and_stderr(&mut command);
            if limit == 20 || code == 9 {
                assert_eq!((code, stderr.as_str()), (9, ""), "{limit}");
            } else {
                let (line, hint) = stderr.split_once('\n').expect("a line");
                assert_eq!(code, 125, "{limit}: {stderr}");
                let is_named = line.starts_with("launch: ") && line.ends_with(": Too many open files");
                assert!(is_named && (hint.is_empty() || hint.contains("ulimit")), "{limit}: {stderr}");
            }
        }
    }
}

#[test]
fn with_stderr_closed_a_failure_is_an_exit_code_and_no_crash() {
    for caller in callers() {
        for (arguments, expected) in [
            ("--nope -- true", 125),
            ("--chdir /nowhere -- true", 125),
            ("-- /nowhere", 127),
            ("-- /", 126),
            ("-v -- sh -c 'exit 4'", 4),
        ] {
            let mut command = caller.command("sh");
            let script = format!("exec \"$1\" {arguments} 2>&-");
            command.args(["-c", &script, "sh"]).arg(program()).stdin(Stdio::null()).current_dir("/");
            assert_eq!(code(run(&mut command).status), expected, "{arguments} as {caller:?}");
        }
    }
}

/// `launch` in a sandbox in which, as its root with every capability, this has been done.
fn launch_after(caller: Caller, preparation: &str) -> (i32, String) {
    let script = format!("{preparation} && exec \"$0\" -- true");
    let mut command = caller.launch(["--cap-add", "ALL", "--", "sh", "-c", &script]);
    code_and_stderr(command.arg(program()))
}

#[test]
fn where_user_namespaces_are_switched_off_the_hint_names_the_sysctl() {
    for caller in callers() {
        assert_eq!(launch_after(caller, "true"), (0, String::new()));
        let (code, stderr) = launch_after(caller, "echo 0 > /proc/sys/user/max_user_namespaces");
        assert_eq!(code, 125);
        assert_eq!(
            stderr,
            "launch: clone: user, mount, uts, ipc, pid and cgroup: No space left on device\n\
             launch: hint: these namespaces are switched off here; as root: sysctl -w \
             user.max_user_namespaces=10000\n"
        );
    }
}

#[test]
fn where_proc_is_covered_the_hint_says_so() {
    for caller in callers() {
        for cover in ["mount -t tmpfs none /proc/sys/kernel", "mount --bind /dev/null /proc/meminfo"] {
            let (code, stderr) = launch_after(caller, cover);
            let (failure, hint) = stderr.split_once('\n').expect("a line");
            assert_eq!((code, failure), (125, "launch: mount: /proc: Operation not permitted"), "{cover}");
            assert!(hint.starts_with("launch: hint: part of /proc is covered here"), "{stderr}");
            assert_eq!(hint.lines().count(), 1, "{stderr}");
        }
    }
}

/// How often the launcher of a short workload, as this caller, was woken up to look at what has happened.
fn wake_ups(caller: Caller, options: &[&str]) -> usize {
    let folder = public_folder();
    let log = folder.path().join("calls");
    let mut command = caller.command("strace");
    // Of the launcher alone: nobody inside shall take longer than untraced.
    command.args(["-e", "trace=ppoll", "-o"]).arg(&log).arg(program()).args(options).args(["--", "true"]);
    let output = run(command.stdin(Stdio::null()).current_dir("/").env_remove("LAUNCH_LOG"));
    assert_eq!(code(output.status), 0, "{}", text(&output.stderr));
    let log = fs::read_to_string(&log).expect("strace's log");
    log.lines().filter(|line| line.starts_with("ppoll(")).count()
}

#[test]
fn a_start_that_nobody_waits_for_wakes_the_launcher_up_once_with_its_end() {
    if Command::new("strace").arg("--version").output().is_err() {
        return cannot_run("how often the launcher is woken up", "strace is missing");
    }
    for caller in callers() {
        // Told apart, they can never be taken for one: they have different senders, and are not read together (unix(7),
        // SO_PASSCRED). So it shows what it is to show if it is one only once, and on a busy machine the workload may live for
        // longer than the moment for which its start is held back.
        assert_eq!(wake_ups(caller, &["--status-fd", "2"]), 2, "who waits for the start is told");
        until("start and end are told together", || (wake_ups(caller, &[]) == 1).then_some(()));
    }
}
