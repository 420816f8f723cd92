//! `launch exec`: a command that joins a running sandbox is in it as the workload is, with the same walls around it, and
//! is no way out.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::hostile::Hostile;
use support::session::Session;
use support::{
    Caller, Folder, Running, Talk, callers, code, code_and_stderr, install, marker, processes_with, program,
    run, stdout_of, text, until,
};

/// A named sandbox, whose command says `ready` and what else it has to say first.
struct Named {
    _left: Removed,
    caller: Caller,
    program: PathBuf,
    runtime: Folder,
    name: String,
    workload: Talk,
    /// What it said.
    said: Vec<String>,
}

/// What a workload does that lets others join it: it stays.
const STAY: &str = "echo ready; read -r line";

impl Named {
    /// `launch --name NAME OPTIONS… -- sh -c SCRIPT`
    #[track_caller]
    fn shell(caller: Caller, options: &[&str], script: &str) -> Self {
        Self::start(caller, program(), options, &["sh", "-c", script])
    }

    #[track_caller]
    fn start(caller: Caller, program: &Path, options: &[&str], command: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let runtime = Folder::of(caller);
        fs::set_permissions(runtime.path(""), fs::Permissions::from_mode(0o700)).expect("chmod");
        let name = format!("exec-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut launch = by(caller, program, &runtime);
        launch.args(["--name", &name]).args(options).arg("--").args(command);
        let workload = Talk::start(&mut launch);
        let mut said = Vec::new();
        loop {
            match workload.hear() {
                Some(line) if line == "ready" => break,
                Some(line) => said.push(line),
                None => panic!("{options:?} {command:?} said only {said:?}"),
            }
        }
        let mut rm = by(caller, program, &runtime);
        rm.args(["rm", "--force", &name]);
        Self { _left: Removed(rm), caller, program: program.into(), runtime, name, workload, said }
    }

    /// `launch exec OPTIONS… NAME -- COMMAND…`
    fn exec(&self, options: &[&str], command: &[&str]) -> Command {
        let mut exec = by(self.caller, &self.program, &self.runtime);
        exec.arg("exec").args(options).args([&self.name, "--"]).args(command).stdin(Stdio::null());
        exec
    }

    fn exec_shell(&self, options: &[&str], script: &str) -> Command {
        self.exec(options, &["sh", "-c", script])
    }

    /// Lets the workload end by itself.
    #[track_caller]
    fn end(mut self) -> i32 {
        self.workload.say("");
        code(self.workload.end().1)
    }
}

/// Removes what is left of a sandbox.
struct Removed(Command);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = self.0.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn by(caller: Caller, program: &Path, runtime: &Folder) -> Command {
    let mut command = caller.command(program);
    command.current_dir("/").env("XDG_RUNTIME_DIR", runtime.path("")).env_remove("LAUNCH_LOG");
    command
}

/// The options of sandboxes of many kinds; root's come last.
fn kinds(caller: Caller) -> Vec<Vec<&'static str>> {
    let mut kinds = vec![
        vec![],
        vec!["--net", "none"],
        vec!["--unshare", "time"],
        vec!["--share", "uts,ipc,cgroup"],
        vec!["--uid", "1000", "--gid", "100"],
        vec!["--keep-id"],
        vec!["--user", "0"],
        vec!["--read-only"],
        vec!["--volatile"],
        vec!["--profile", "strict"],
        vec!["--disable-userns", "--seccomp", "off"],
        vec!["--cap-add", "SYS_PTRACE,NET_RAW", "--uid", "7"],
        vec!["--cap-drop", "ALL"],
        vec!["--umask", "027", "--rlimit", "nofile=64:100", "--nice", "3", "--oom-score-adj", "300"],
        vec!["--keep-tmp", "--chdir", "/usr", "--env", "A=b c", "--unset-env", "HOME"],
    ];
    if caller == Caller::Root {
        kinds.push(vec!["--share", "user"]);
        // PID 1 takes root's ids, since the caller has none there.
        kinds.push(vec!["--map-users", "0:100000:10", "--map-groups", "0:100000:10", "--user", "5:6,7"]);
    }
    kinds
}

fn each_kind(mut test: impl FnMut(Caller, &[&str])) {
    for caller in callers() {
        kinds(caller).iter().for_each(|options| test(caller, options));
    }
}

/// What a process has of the kernel's, by its own telling.
const PORTRAIT: &str = "for kind in /proc/self/ns/*; do readlink $kind; done; \
    grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|SigBlk|SigIgn|CoreDumping|THP)' /proc/self/status; \
    cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj; umask; nice; pwd; \
    readlink /proc/self/root; hostname; env | sort | grep -v -e ^_= -e ^SHLVL= -e ^PWD= -e ^OLDPWD=";

#[test]
fn it_has_the_namespaces_ids_rights_limits_and_environment_of_the_workload() {
    each_kind(|caller, options| {
        let named = Named::shell(caller, options, &format!("{PORTRAIT}; {STAY}"));
        let workload = named.said.join("\n");
        assert!(workload.contains("CapEff") && workload.contains("Seccomp:"), "{workload}");
        let joined = stdout_of(&mut named.exec_shell(&[], PORTRAIT));
        assert_eq!(joined.trim_end(), workload, "{caller:?} {options:?}");
        assert_eq!(named.end(), 0);
    });
}

#[test]
fn it_sees_the_files_of_the_inside() {
    for caller in callers() {
        let hostile = Hostile::new(caller);
        hostile.file("root/only-inside", "here");
        let root = hostile.name("root");
        for options in [
            &["--rootfs", &root, "--ro-bind", "/usr"][..],
            &["--rootfs", &root, "--ro-bind", "/usr", "--volatile"],
        ] {
            let named = Named::shell(caller, options, &format!("ls /; {STAY}"));
            assert_eq!(stdout_of(&mut named.exec_shell(&[], "cat /only-inside")), "here");
            let seen = stdout_of(&mut named.exec_shell(&[], "cd /..; ls"));
            assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), named.said);
            let writes = run(&mut named.exec_shell(&[], "touch /new")).status.success();
            assert_eq!(writes, options.contains(&"--volatile"));
            // A fresh /tmp is the sandbox's, and one for all in it.
            assert_eq!(stdout_of(&mut named.exec_shell(&[], "echo 5 > /tmp/x")), "");
            assert_eq!(stdout_of(&mut named.exec_shell(&[], "cat /tmp/x")), "5\n");
            assert_eq!(named.end(), 0);
        }
    }
}

#[test]
fn its_exit_status_is_that_of_launch_exec() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        for status in [0, 1, 42, 124, 125, 126, 127, 128, 255] {
            let exec = code_and_stderr(&mut named.exec_shell(&[], &format!("exit {status}")));
            assert_eq!(exec, (status, String::new()));
        }
        for signal in [1, 6, 9, 11, 15, 34, 64] {
            let exec = code_and_stderr(
                &mut named.exec(&[], &["bash", "-c", &format!("ulimit -c 0; kill -{signal} $$")]),
            );
            assert_eq!(exec, (128 + signal, String::new()), "{signal}");
        }
        let folder = Folder::of(caller);
        let odd = folder.file("odd", "");
        for (command, expected) in [
            ("no-such-command", (127, "launch: exec: no-such-command: not found in PATH\n".to_owned())),
            (&*odd, (126, format!("launch: exec: {odd}: Permission denied\n"))),
            ("/", (126, "launch: exec: /: Permission denied\n".into())),
        ] {
            assert_eq!(code_and_stderr(&mut named.exec(&[], &[command])), expected);
        }
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn options_change_its_environment_its_directory_and_its_user() {
    for caller in callers() {
        let named = Named::shell(caller, &["--env", "A=1", "--env", "B=2", "--chdir", "/usr"], STAY);
        let shows =
            |options: &[&str], script: &str| stdout_of(&mut named.exec(options, &["/bin/sh", "-c", script]));
        assert_eq!(shows(&["--env", "A=x=y", "--env", "C="], "echo $A,$B,${C-unset}"), "x=y,2,\n");
        assert_eq!(
            shows(&["--env", "PATH=/nowhere", "--env", "A=", "--env", "A=3"], "echo $PATH $A"),
            "/nowhere 3\n"
        );
        assert_eq!(shows(&[], "pwd"), "/usr\n");
        assert_eq!(shows(&["--chdir", "/proc/sys"], "pwd"), "/proc/sys\n");
        // From where it would be without.
        assert_eq!(
            shows(&["--chdir", "bin"], "pwd"),
            stdout_of(Command::new("sh").args(["-c", "cd /usr/bin && pwd"]))
        );
        assert_eq!(
            code_and_stderr(&mut named.exec_shell(&["--chdir", "/no/where"], "true")),
            (125, "launch: working directory: /no/where: No such file or directory\n".into())
        );
        assert_eq!(shows(&["--user", "0"], "id -u"), "0\n");
        let (status, refusal) = code_and_stderr(&mut named.exec_shell(&["--user", "77"], "true"));
        assert_eq!(status, 125);
        assert!(
            refusal.starts_with("launch: workload: user: gid 77 is not mapped in this user namespace\n"),
            "{refusal}"
        );
        let (status, refusal) = code_and_stderr(&mut named.exec_shell(&["--user", "no-such-user"], "true"));
        assert_eq!(status, 125);
        assert!(refusal.contains("no-such-user"), "{refusal}");
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn what_was_told_to_the_workload_alone_is_not_told_to_it() {
    for caller in callers() {
        let options =
            ["NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1", "WATCHDOG_PID=2", "LISTEN_FDS=1", "LISTEN_PID=2"];
        let options: Vec<_> = options.iter().flat_map(|variable| ["--env", variable]).collect();
        let named = Named::shell(caller, &options, STAY);
        let seen = stdout_of(&mut named.exec_shell(&[], "env"));
        assert!(!["NOTIFY", "WATCHDOG", "LISTEN"].iter().any(|name| seen.contains(name)), "{seen}");
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn its_stdin_stdout_and_stderr_are_the_clients_byte_for_byte() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let bytes: Vec<u8> =
            (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut exec = named.exec(&[], &["bash", "-c", "tee >(cat >&2)"]);
        let mut running =
            Running::start(exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut stdin = running.child().stdin.take().expect("stdin");
        let given = bytes.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&given));
        let output = running.output();
        writer.join().expect("no panic").expect("write");
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout == bytes && output.stderr == bytes);
        // Whoever reads its output sees its end when the command closes it.
        let mut exec = named.exec_shell(&[], "exec >&- 2>&-; read -r line; exit 3");
        let mut running = Running::start(exec.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut nothing = Vec::new();
        running.child().stdout.take().expect("stdout").read_to_end(&mut nothing).expect("end of file");
        assert_eq!(nothing, b"");
        drop(running.child().stdin.take());
        assert_eq!(code(running.wait()), 3);
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn it_inherits_no_other_descriptor_of_anybody() {
    each_kind(|caller, options| {
        let list = "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done";
        let named = Named::shell(caller, options, &format!("{list}; {STAY}"));
        let mut careless = caller.command("bash");
        careless.args(["-c", "exec 3< / 5<> /dev/null 77< /etc/passwd; exec \"$@\"", "bash"]);
        careless.arg(&named.program).args(["exec", &named.name, "--", "sh", "-c", list]);
        careless.stdin(Stdio::null()).current_dir("/").env("XDG_RUNTIME_DIR", named.runtime.path(""));
        let seen = stdout_of(&mut careless);
        // The last one is the directory that is listed.
        assert_eq!(seen, "0\n1\n2\n3\n", "{options:?}");
        assert_eq!(seen.trim_end(), named.said.join("\n"));
        assert_eq!(named.end(), 0);
    });
}

#[test]
fn signals_to_launch_exec_reach_it() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGQUIT] {
            let script = format!(
                "trap 'echo got; exit 9' {}; echo on; while :; do sleep 0.01; done",
                &signal.as_str()[3..]
            );
            let mut exec = named.exec_shell(&[], &script);
            let talk = Talk::start(&mut exec);
            assert_eq!(talk.hear().as_deref(), Some("on"));
            kill(talk.pid(), signal).expect("kill");
            assert_eq!(talk.hear().as_deref(), Some("got"));
            assert_eq!(code(talk.end().1), 9);
            // Not the workload.
        }
        let talk = Talk::start(&mut named.exec_shell(&[], "echo on; exec sleep 100"));
        assert_eq!(talk.hear().as_deref(), Some("on"));
        kill(talk.pid(), Signal::SIGTERM).expect("kill");
        assert_eq!(code(talk.end().1), 143);
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn it_ends_with_launch_exec_and_with_the_process_that_joined() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let marker = marker(&format!("exec-end-{caller:?}"));
        let start = || {
            let mut exec = named.exec_shell(
                &["--env", &format!("TEST={marker}")],
                "sleep 100 > /dev/null 2>&1 & echo on; exec sleep 100",
            );
            // Of the client it has nothing that holds its reader.
            let talk = Talk::start(exec.stderr(Stdio::piped()));
            assert_eq!(talk.hear().as_deref(), Some("on"));
            talk
        };
        let talk = start();
        assert!(!processes_with(&marker).is_empty());
        kill(talk.pid(), Signal::SIGKILL).expect("kill");
        assert_eq!(talk.end().1.signal(), Some(9));
        until("all of it has ended", || processes_with(&marker).is_empty().then_some(()));

        let talk = start();
        // The monitor's child that is not PID 1, which has none of the sandbox's environment.
        let joiner = joiners(named.workload.pid()).pop().expect("the joining process");
        kill(Pid::from_raw(joiner), Signal::SIGKILL).expect("kill");
        assert_eq!(code(talk.end().1), 125);
        let is_main = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.contains("sleep") && !stat.contains(") Z"))
        };
        // Whom the command has started is the sandbox's.
        until("the command has ended", || {
            (processes_with(&marker).iter().filter(|pid| is_main(pid)).count() <= 1).then_some(())
        });
        assert_eq!(named.end(), 0);
        until("all has ended", || processes_with(&marker).is_empty().then_some(()));
    }
}

/// The processes that join by this monitor.
fn joiners(monitor: Pid) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).expect("children");
    let is_joiner = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.windows(6).any(|part| part == b"--join"))
    };
    children.split_whitespace().map(|pid| pid.parse().expect("pid")).filter(is_joiner).collect()
}

#[test]
fn it_ends_with_the_sandbox() {
    for caller in callers() {
        // By itself, by a signal, and by the death of the monitor.
        for (signal, of_the_workload, of_the_command) in [
            (None, Some(0), 143),
            (Some(Signal::SIGTERM), Some(143), 143),
            (Some(Signal::SIGKILL), None, 137),
        ] {
            let mut named = Named::shell(caller, &[], STAY);
            let talk = Talk::start(&mut named.exec_shell(&[], "echo on; exec sleep 100"));
            assert_eq!(talk.hear().as_deref(), Some("on"));
            match signal {
                None => named.workload.say(""),
                Some(signal) => kill(named.workload.pid(), signal).expect("kill"),
            }
            assert_eq!(code(talk.end().1), of_the_command, "{signal:?}");
            assert_eq!(named.workload.end().1.code(), of_the_workload, "{signal:?}");
        }
    }
}

#[test]
fn what_it_leaves_behind_stays_in_the_sandbox_and_ends_with_it() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let marker = marker(&format!("exec-left-{caller:?}"));
        let script = "setsid sleep 100 > /dev/null 2>&1 < /dev/null & exit 4";
        assert_eq!(
            code_and_stderr(&mut named.exec_shell(&["--env", &format!("TEST={marker}")], script)),
            (4, String::new())
        );
        // Between two of its execs, a process has no environment.
        until("it is left", || (processes_with(&marker).len() == 1).then_some(()));
        assert_eq!(joiners(named.workload.pid()), [0; 0]);
        assert_eq!(named.end(), 0);
        until("it has ended", || processes_with(&marker).is_empty().then_some(()));
    }
}

#[test]
fn sixty_four_at_once_all_come_through() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let all: Vec<_> = (0..64)
            .map(|n| {
                let mut exec = named.exec_shell(&[], &format!("echo {n}; exit {n}"));
                Running::start(exec.stdout(Stdio::piped()).stderr(Stdio::piped()))
            })
            .collect();
        for (n, running) in all.into_iter().enumerate() {
            let output = running.output();
            assert_eq!(
                (output.status.code(), text(&output.stdout), text(&output.stderr)),
                (Some(n as i32), format!("{n}\n"), String::new())
            );
        }
        until("the monitor has reaped them", || joiners(named.workload.pid()).is_empty().then_some(()));
        assert_eq!(named.end(), 0);
    }
}

impl Named {
    /// `launch exec --tty`, on a terminal.
    #[track_caller]
    fn session(&self, options: &[&str], command: &[&str]) -> Session {
        let mut words = vec!["env".to_owned(), format!("XDG_RUNTIME_DIR={}", self.runtime.path(""))];
        words.extend([self.program.display().to_string(), "exec".into()]);
        words
            .extend(options.iter().chain(&[&*self.name, "--"]).chain(command).map(|word| (*word).to_owned()));
        Session::start(self.caller, &words)
    }
}

#[test]
fn with_tty_it_has_a_terminal_of_the_sandbox_as_large_as_the_callers() {
    for caller in callers() {
        for options in [&[][..], &["--profile", "strict"], &["--user", "0"], &["--uid", "1000"]] {
            let named = Named::shell(caller, options, STAY);
            let script =
                "stty size; tty; echo $TERM; test -t 0 && test -t 1 && test -t 2 && : < /dev/tty && echo all";
            let session = named.session(&["--tty"], &["sh", "-c", script]);
            let (shown, status) = session.ends();
            let lines: Vec<_> = shown.split_whitespace().collect();
            let ["40", "100", name, "dumb", "all"] = lines[..] else { panic!("{options:?}: {shown}") };
            assert!(name.starts_with("/dev/pts/"), "{name}");
            assert_eq!(code(status), 0);
            assert_eq!(named.end(), 0);
        }
    }
}

#[test]
fn a_shell_with_tty_has_job_control() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let mut session =
            named.session(&["-t", "--env", "PS1=inside> "], &["bash", "--norc", "--noprofile", "-i"]);
        session.shows("inside> ");
        session.types("sh -c 'echo on $((1+1)).; exec sleep 100'\n");
        session.shows("on 2.");
        session.types("\x03");
        session.shows("inside> ");
        session.types("echo code $?.\n");
        session.shows("code 130.");
        session.types("sh -c 'echo on $((1+1)).; exec cat'\n");
        session.shows("on 2.");
        session.types("\x1a");
        session.shows("Stopped");
        session.shows("inside> ");
        session.types("fg\n");
        session.shows("exec cat'");
        session.types("again\n");
        // The terminal's echo, and what cat(1) writes.
        session.shows("again\r\n");
        session.shows("again\r\n");
        session.types("\x04");
        session.shows("inside> ");
        session.types("exit 7\n");
        assert_eq!(code(session.ends().1), 7);
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn without_tty_ctrl_c_ends_it_and_ctrl_z_stops_both() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let mut session = named.session(
            &[],
            &["sh", "-c", "trap 'echo got; exit 9' INT; echo on; while :; do sleep 0.01; done"],
        );
        session.shows("on");
        session.types("\x03");
        session.shows("got");
        assert_eq!(code(session.ends().1), 9);
        // A shell outside, whose job launch exec is.
        let words = ["bash", "--norc", "--noprofile", "-i"];
        let mut session = Session::start(caller, &words);
        session.shows("inside> ");
        session.types(&format!(
            "XDG_RUNTIME_DIR={} {} exec {} -- sh -c 'echo on $((1+1)).; exec sleep 100'\n",
            named.runtime.path(""),
            named.program.display(),
            named.name
        ));
        session.shows("on 2.");
        session.types("\x1a");
        session.shows("Stopped");
        session.shows("inside> ");
        session.types("kill -TERM %1; fg\n");
        session.shows("inside> ");
        session.types("echo code $?.\n");
        session.shows("code 143.");
        session.types("exit 7\n");
        assert_eq!(code(session.ends().1), 7);
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn without_tty_it_has_no_controlling_terminal_and_cannot_type_into_the_callers() {
    for caller in callers() {
        // The filter of a sandbox with a terminal of its own allows it there.
        let named = Named::shell(caller, &["--profile", "strict"], STAY);
        // TIOCSTI
        let attack = "open(my $t, '+<', '/dev/tty') and print \"tty \"; my $c = 'x'; \
            print ioctl(STDIN, 0x5412, $c) ? 'typed' : 'refused', \"\\n\"; \
            print ioctl(STDIN, 0x540e, 0) ? 'taken' : 'kept', \"\\n\";";
        let mut session = named.session(&[], &["perl", "-e", attack]);
        session.shows("refused");
        session.shows("kept");
        assert_eq!(code(session.ends().1), 0);
        assert_eq!(named.end(), 0);
    }
}

/// Whom nobody inside may have rewritten: the caller's own program.
fn own_program(hostile: &Hostile) -> PathBuf {
    let path = hostile.path("own-launch");
    install(program(), &path);
    chown(&path, Some(hostile.caller.uid()), Some(hostile.caller.gid())).expect("chown");
    path
}

#[test]
fn whoever_is_made_to_execute_the_joining_program_again_gives_nobody_its_file() {
    for caller in callers() {
        let hostile = Hostile::new(caller);
        let own = own_program(&hostile);
        let (bytes, time) = (fs::read(&own).expect("read"), own.metadata().expect("metadata").mtime_nsec());
        // Opens every executable that it can reach, writes to it and changes its mode.
        let attack = "for my $link (glob('/proc/[0-9]*/exe')) { next unless (readlink($link) // '') =~ /launch/; \
                      for my $mode ('<', '>>', '+<') { open(my $f, $mode, $link) or next; my $n = fileno $f; \
                      for my $again ('>>', '+<') { open(my $g, $again, \"/proc/self/fd/$n\") or next; print $g 'overwritten'; } } \
                      chmod(0777, $link); open(my $f, '+<', $link) and print $f 'overwritten'; chmod(0, $link); }";
        hostile.file("root/attack", attack);
        for (name, script) in [
            ("script", "#!/proc/self/exe\n"),
            ("script-with-option", "#!/proc/self/exe --\n"),
            ("script-version", "#!/proc/self/exe --version\n"),
            ("script-join", "#!/proc/self/exe --join\n"),
        ] {
            hostile.file(&format!("root/{name}"), script);
            fs::set_permissions(hostile.path(&format!("root/{name}")), fs::Permissions::from_mode(0o755))
                .expect("chmod");
        }
        hostile.link("/proc/self/exe", "root/link");
        let root = hostile.name("root:rw");
        for options in [&[][..], &["--cap-add", "ALL"], &["--uid", "1000"]] {
            let options: Vec<_> =
                ["--rootfs", &root, "--ro-bind", "/usr"].iter().chain(options).copied().collect();
            // Attacks all the time.
            let script = "echo ready; while :; do perl /attack; done & read -r line";
            let named = Named::start(caller, &own, &options, &["sh", "-c", script]);
            for command in [
                &["/script"][..],
                &["/script-with-option"],
                &["/script-version"],
                &["/script-join"],
                &["/link", "--", "perl", "/attack"],
                &["/proc/self/exe", "--", "perl", "/attack"],
                &["perl", "/attack"],
                &["sh", "-c", "for f in /script* /link; do $f & done; perl /attack; wait"],
            ] {
                // Most of them do not run; none may have done anything.
                run(&mut named.exec(&[], command));
                assert!(fs::read(&own).expect("read") == bytes, "{options:?} {command:?}");
                assert_eq!(own.metadata().expect("metadata").mtime_nsec(), time, "{options:?} {command:?}");
            }
            // Nor is anybody kept out who comes afterwards.
            assert_eq!(stdout_of(&mut named.exec_shell(&[], "echo well")), "well\n");
            named.end();
        }
    }
}

#[test]
fn nobody_inside_looks_into_a_process_that_joins() {
    for caller in callers() {
        for options in [&[][..], &["--cap-add", "ALL"], &["--uid", "1000"]] {
            // Whatever can be had of a process that is not yet what was asked for: its name tells.
            let watch = "$| = 1; print \"ready\\n\"; my (%got, $seen); \
                while (!-e '/tmp/stop') { for my $p (glob('/proc/[0-9]*')) { \
                open(my $c, '<', \"$p/comm\") or next; my $name = <$c> // ''; next unless $name =~ /launch/; next if $p eq '/proc/1'; $seen++; \
                for my $what ('exe', 'root', 'cwd', 'fd/0', 'fd/1', 'fd/3', 'fd/4', 'fd/5', 'fd/6', 'fd/7') { \
                my $to = readlink(\"$p/$what\"); open($c, '<', \"$p/comm\") or next; my $now = <$c> // ''; \
                $got{\"$what -> $to\"} = 1 if defined $to && $now eq $name; } \
                for my $what ('mem', 'environ', 'maps', 'auxv') { open(my $f, '<', \"$p/$what\") or next; \
                my $n = sysread($f, my $b, 1); open($c, '<', \"$p/comm\") or next; my $now = <$c> // ''; \
                $got{$what} = 1 if $n && $now eq $name; } } } \
                print \"seen \", ($seen > 0 ? 'some' : 'none'), \"\\n\"; print \"$_\\n\" for sort keys %got; print \"end\\n\";";
            let named = Named::start(caller, program(), options, &["perl", "-e", watch]);
            for _ in 0..100 {
                assert_eq!(stdout_of(&mut named.exec(&[], &["true"])), "");
            }
            // The workload may have seen it, and ended, before this has: it is ended too, then.
            let touched = run(&mut named.exec(&[], &["touch", "/tmp/stop"]));
            assert!(matches!(touched.status.code(), Some(0 | 143 | 137)), "{touched:?}");
            let mut said = Vec::new();
            while let Some(line) = named.workload.hear()
                && line != "end"
            {
                said.push(line);
            }
            assert_eq!(said, ["seen some"], "{caller:?} {options:?}");
            assert_eq!(code(named.workload.end().1), 0);
        }
    }
}

#[test]
fn it_is_no_child_of_the_client_and_the_process_that_joined_is_not_inside() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let mut talk = Talk::start(&mut named.exec_shell(
            &[],
            "echo $$ $(ps ax | grep -c '[-]-join') $(awk '/^PPid/ {print $2}' /proc/$$/status); read -r line",
        ));
        let said = talk.hear().expect("a line");
        let words: Vec<_> = said.split(' ').collect();
        assert_eq!(words[1..], ["0", "0"], "{said}");
        let joiner = joiners(named.workload.pid());
        assert_eq!(joiner.len(), 1);
        let pid_namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid"));
        if nix::unistd::geteuid().is_root() {
            assert_eq!(
                pid_namespace(joiner[0]).expect("namespace"),
                fs::read_link("/proc/self/ns/pid").expect("own")
            );
            let status: BTreeMap<_, _> = fs::read_to_string(format!("/proc/{}/status", joiner[0]))
                .expect("status")
                .lines()
                .filter_map(|line| {
                    line.split_once(":\t").map(|(key, value)| (key.to_owned(), value.to_owned()))
                })
                .collect();
            assert_eq!(status["Name"], "launch-init");
        }
        talk.say("");
        assert_eq!(code(talk.end().1), 0);
        assert_eq!(named.end(), 0);
    }
}

#[test]
fn a_terminal_is_made_whatever_the_inside_has_at_its_place() {
    for caller in callers() {
        let hostile = Hostile::new(caller);
        let root = hostile.name("root:rw");
        let options = ["--rootfs", &root, "--ro-bind", "/usr", "--tmpfs", "/dev"];
        for made in [
            "mkdir /dev/pts; mkfifo /dev/pts/ptmx /dev/ptmx",
            "ln -s /proc/self/fd /dev/pts; ln -s /dev/null /dev/ptmx",
            "ln -s /proc/1/root/dev/pts /dev/pts; mkfifo /dev/ptmx",
            "touch /dev/pts; echo x > /dev/ptmx",
            "true",
        ] {
            let script = format!("{made}; {STAY}");
            let named = Named::start(caller, program(), &options, &["sh", "-c", &script]);
            let session = named.session(&["--tty"], &["sh", "-c", "stty size; test -t 0 && echo terminal"]);
            let (shown, status) = session.ends();
            assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["40", "100", "terminal"], "{made}");
            assert_eq!(code(status), 0);
            assert_eq!(named.end(), 0);
        }
    }
}

#[test]
fn a_sandbox_that_cannot_be_joined_is_told_apart() {
    for caller in callers() {
        let named = Named::shell(caller, &[], STAY);
        let other = |name: &str| {
            let mut exec = by(caller, program(), &named.runtime);
            exec.args(["exec", name, "--", "true"]).stdin(Stdio::null());
            code_and_stderr(&mut exec)
        };
        let near = format!("{}x", named.name);
        let reason = format!("launch: sandbox: {near}: no such sandbox; did you mean {}?\n", named.name);
        assert_eq!(other(&near), (125, reason));
        let (status, refusal) = other("a/b");
        assert_eq!(status, 125);
        assert!(refusal.starts_with("launch: command line: ") && refusal.lines().count() == 1, "{refusal}");
        let Named { runtime, name, mut workload, .. } = named;
        workload.say("");
        assert_eq!(code(workload.end().1), 0);
        let mut exec = by(caller, program(), &runtime);
        exec.args(["exec", &name, "--", "true"]).stdin(Stdio::null());
        let reason = format!("launch: sandbox: {name}: has ended (exit status 0)\n");
        assert_eq!(code_and_stderr(&mut exec), (125, reason));
    }
}

#[test]
fn nobody_joins_a_sandbox_that_is_stopping() {
    for caller in callers() {
        let script = "trap 'echo stopping' TERM; echo ready; while :; do sleep 0.01; done";
        let named = Named::shell(caller, &["--grace", "100s"], script);
        let mut stop = by(caller, program(), &named.runtime);
        stop.args(["stop", &named.name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut stop = Running::start(&mut stop);
        assert_eq!(named.workload.hear().as_deref(), Some("stopping"));
        let reason = format!("launch: sandbox: {}: is stopping\n", named.name);
        assert_eq!(code_and_stderr(&mut named.exec_shell(&[], "true")), (125, reason));
        kill(named.workload.pid(), Signal::SIGKILL).expect("kill");
        stop.wait();
    }
}

#[test]
fn joining_and_stopping_at_the_same_time_ends_well_whoever_is_first() {
    for caller in callers() {
        for _ in 0..20 {
            let mut named = Named::shell(caller, &[], STAY);
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let mut exec = named.exec_shell(&[], "exec sleep 100");
                    Running::start(exec.stdout(Stdio::piped()).stderr(Stdio::piped()))
                })
                .collect();
            named.workload.say("");
            for client in clients {
                let output = client.output();
                let stderr = text(&output.stderr);
                match output.status.code() {
                    // It was in.
                    Some(143 | 137) => assert_eq!(stderr, ""),
                    Some(125) => {
                        let ways = ["is stopping", "has ended (exit status 0)"];
                        let lines = ways.map(|way| format!("launch: sandbox: {}: {way}\n", named.name));
                        assert!(lines.contains(&stderr), "{stderr}");
                    }
                    other => panic!("{other:?}: {stderr}"),
                }
            }
            assert_eq!(code(named.workload.end().1), 0);
        }
    }
}

#[test]
fn it_joins_a_detached_sandbox_without_having_its_monitors_descriptors_or_terminal() {
    for caller in callers() {
        let runtime = Folder::of(caller);
        fs::set_permissions(runtime.path(""), fs::Permissions::from_mode(0o700)).expect("chmod");
        let name = format!("exec-detached-{}-{caller:?}", std::process::id());
        let launch = |arguments: &[&str]| {
            let mut launch = by(caller, program(), &runtime);
            launch.args(arguments).stdin(Stdio::null());
            launch
        };
        let start = ["--name", &name, "--detach", "--rm", "--", "sleep", "100"];
        assert_eq!(stdout_of(&mut launch(&start)), format!("{name}\n"));
        let list = "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; cat /proc/$$/cgroup /proc/1/cgroup | sort | uniq -u";
        let said = stdout_of(&mut launch(&["exec", &name, "--", "sh", "-c", list]));
        assert_eq!(said, "0\n1\n2\n3\n");
        let mut words = vec!["env".to_owned(), format!("XDG_RUNTIME_DIR={}", runtime.path(""))];
        words.extend([program().display().to_string()]);
        words.extend(["exec", "-t", &name, "--", "sh", "-c", "tty; exit 5"].map(String::from));
        let (shown, status) = Session::start(caller, &words).ends();
        assert!(shown.contains("/dev/pts/"), "{shown}");
        assert_eq!(code(status), 5);
        assert!(run(&mut launch(&["stop", &name])).status.success());
    }
}

#[test]
fn it_ends_with_the_run_that_it_joined() {
    for caller in callers() {
        let named = Named::shell(caller, &["--restart", "always"], STAY);
        let talk = Talk::start(&mut named.exec_shell(&[], "echo on; exec sleep 100"));
        assert_eq!(talk.hear().as_deref(), Some("on"));
        let mut restart = by(caller, program(), &named.runtime);
        assert!(run(restart.args(["restart", &named.name]).stdin(Stdio::null())).status.success());
        assert_eq!(named.workload.hear().as_deref(), Some("ready"));
        assert_eq!(code(talk.end().1), 143);
        assert_eq!(stdout_of(&mut named.exec_shell(&[], "echo well")), "well\n");
        kill(named.workload.pid(), Signal::SIGTERM).expect("kill");
        named.workload.end();
    }
}
