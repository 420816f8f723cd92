//! `launch serve` and `launch run`: a command in a sandbox that was made ahead is run as `launch` itself would run it, and is its
//! client's alone.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::hanging::Mounts;
use support::session::Session;
use support::{
    Caller, Folder, Running, Talk, callers, cannot_run, code, code_and_stderr, marker, processes_with,
    program, refused, run, stdout_of, text, until,
};

/// How many wait, unless a test says otherwise.
const POOL: usize = 2;

/// A server of somebody's.
struct Served {
    caller: Caller,
    folder: Folder,
    server: Running,
}

impl Served {
    /// `launch serve --pool 2 SOCKET -- OPTIONS…`
    #[track_caller]
    fn start(caller: Caller, options: &[&str]) -> Self {
        let folder = Folder::of(caller);
        let server = Running::start(&mut serve(caller, &folder, options));
        let served = Self { caller, folder, server };
        served.is_there();
        served
    }

    /// The same, and a service manager, which has heard that all wait.
    #[track_caller]
    fn that_tells(caller: Caller) -> (Self, Manager) {
        let folder = Folder::of(caller);
        let server = serve(caller, &folder, &[]);
        Self::that_tells_of(caller, folder, server)
    }

    #[track_caller]
    fn that_tells_of(caller: Caller, folder: Folder, mut server: Command) -> (Self, Manager) {
        let manager = Manager::at(&folder.path("notify"));
        let server = Running::start(server.env("NOTIFY_SOCKET", folder.path("notify")));
        assert_eq!(manager.hear(), "READY=1");
        (Self { caller, folder, server }, manager)
    }

    fn socket(&self) -> String {
        self.folder.path("socket")
    }

    #[track_caller]
    fn is_there(&self) {
        until("the sandboxes wait", || (self.waiting() == POOL).then_some(()));
    }

    /// How many children it has, dead or alive.
    fn waiting(&self) -> usize {
        children(self.server.pid().as_raw()).len()
    }

    /// `launch run OPTIONS… SOCKET -- COMMAND…`
    fn run(&self, options: &[&str], command: &[&str]) -> Command {
        let mut run = self.caller.launch(["run"]);
        run.args(options).args([&self.socket(), "--"]).args(command).current_dir("/");
        run
    }

    fn shell(&self, script: &str) -> Command {
        self.run(&[], &["sh", "-c", script])
    }
}

/// As systemd hears what a service tells: sd_notify(3).
struct Manager(UnixDatagram);

impl Manager {
    #[track_caller]
    fn at(path: &str) -> Self {
        let socket = UnixDatagram::bind(path).expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("chmod");
        Self(socket)
    }

    #[track_caller]
    fn hear(&self) -> String {
        let mut message = [0; 100];
        let length = self.0.recv(&mut message).expect("a message");
        text(&message[..length])
    }
}

const GIVE: &str = "{\"request\":\"give\"}";

/// Who has sent a request of his own to the server, and listens.
struct Asking(UnixStream);

impl Asking {
    #[track_caller]
    fn of(served: &Served, request: &str) -> Self {
        let mut stream = UnixStream::connect(served.socket()).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
        writeln!(stream, "{request}").expect("write");
        Self(stream)
    }

    #[track_caller]
    fn hear(&self) -> String {
        let mut answer = String::new();
        BufReader::new(&self.0).read_line(&mut answer).expect("an answer");
        answer
    }
}

fn serve(caller: Caller, folder: &Folder, options: &[&str]) -> Command {
    let mut serve = caller.launch(["serve", "--pool", &POOL.to_string(), &folder.path("socket")]);
    if !options.is_empty() {
        serve.arg("--").args(options);
    }
    serve.current_dir("/");
    serve
}

fn children(pid: i32) -> BTreeSet<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect::<Vec<_>>())
        .collect()
}

/// PID 1s that are stopped, and then killed: the end of their server would not end them.
struct Stopped(BTreeSet<i32>);

impl Stopped {
    /// Those that wait.
    fn all_of(served: &Served) -> Self {
        let stopped = Self(children(served.server.pid().as_raw()));
        stopped.0.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGSTOP).expect("stop"));
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// What a process has of the kernel's, by its own telling, but for the namespaces.
const PORTRAIT: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Cpus_allowed:|SigBlk|SigIgn|THP)' /proc/self/status; \
    cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj; umask; nice; pwd; hostname; cat /proc/self/mountinfo | \
    cut -d' ' -f4-; ls /proc/$$/fd; env | sort | grep -v ^_=";

#[test]
fn it_is_run_as_launch_itself_would_run_it() {
    for caller in callers() {
        for options in [
            &[][..],
            &["--net", "none"],
            &["--keep-id"],
            &["--read-only"],
            &["--profile", "strict"],
            &["--cap-add", "SYS_PTRACE,NET_RAW", "--uid", "7"],
            &["--umask", "027", "--rlimit", "nofile=64:100", "--nice", "3", "--oom-score-adj", "300"],
            &["--keep-tmp", "--chdir", "/usr", "--env", "A=b c", "--unset-env", "HOME"],
        ] {
            let served = Served::start(caller, options);
            let cold = stdout_of(caller.shell_with(options, PORTRAIT).current_dir("/").env("FROM", "me"));
            let warm = stdout_of(served.shell(PORTRAIT).env("FROM", "me"));
            assert!(warm.contains("FROM=me") && warm.contains("Seccomp:"), "{warm}");
            // Others' lines are numbered through in the order of their making.
            let sorted = |text: &str| {
                let mut lines: Vec<_> = text.lines().map(without_peer_groups).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&warm), sorted(&cold), "{caller:?} {options:?}");
        }
    }
}

/// A line without the numbers of the groups that its mount hears from.
fn without_peer_groups(line: &str) -> String {
    let words = line.split(' ').filter(|word| !word.starts_with("master:") && !word.starts_with("shared:"));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn its_exit_status_is_that_of_launch_run() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        for status in [0, 1, 42, 125, 126, 255] {
            let end = code_and_stderr(&mut served.shell(&format!("exit {status}")));
            assert_eq!(end, (status, String::new()));
        }
        for signal in [1, 9, 15, 34] {
            let script = format!("ulimit -c 0; kill -{signal} $$");
            let end = code_and_stderr(&mut served.run(&[], &["bash", "-c", &script]));
            assert_eq!(end, (128 + signal, String::new()), "{signal}");
        }
        for (command, expected) in [
            ("no-such-command", (127, "launch: exec: no-such-command: not found in PATH\n")),
            ("/", (126, "launch: exec: /: Permission denied\n")),
        ] {
            let (status, error) = code_and_stderr(&mut served.run(&[], &[command]));
            assert_eq!((status, &*error), expected);
        }
    }
}

#[test]
fn options_change_its_environment_its_directory_and_its_time() {
    for caller in callers() {
        let served = Served::start(caller, &["--env", "A=1", "--env", "B=2", "--grace", "100ms"]);
        let shows =
            |options: &[&str], script: &str| stdout_of(&mut served.run(options, &["/bin/sh", "-c", script]));
        assert_eq!(
            shows(&["--env", "A=x=y", "--unset-env", "B"], "echo $A,${B-unset},$(pwd)"),
            "x=y,unset,/\n"
        );
        assert_eq!(shows(&["--chdir", "usr"], "pwd"), "/usr\n");
        assert_eq!(stdout_of(served.shell("pwd").current_dir("/etc")), "/etc\n");
        assert_eq!(
            shows(&["--clear-env", "--env", "PATH=/bin:/usr/bin"], "env | grep -v -e PWD= -e _="),
            "PATH=/bin:/usr/bin\n"
        );
        assert_eq!(run(&mut served.run(&["--timeout", "50ms"], &["sleep", "100"])).status.code(), Some(124));
        let end = code_and_stderr(&mut served.run(&["--chdir", "/no/where"], &["true"]));
        assert_eq!(end, (125, "launch: working directory: /no/where: No such file or directory\n".into()));
    }
}

#[test]
fn its_stdin_stdout_and_stderr_are_the_clients_byte_for_byte() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        let bytes: Vec<u8> =
            (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut client = served.run(&[], &["bash", "-c", "tee >(cat >&2); wait $!"]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut client);
        let mut stdin = running.child().stdin.take().expect("stdin");
        let given = bytes.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&given));
        let output = running.output();
        writer.join().expect("no panic").expect("write");
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout == bytes && output.stderr == bytes);
        // Whoever reads its output sees its end when the command closes it: neither client nor server has it open.
        let mut client = served.shell("exec >&- 2>&-; read -r line; exit 3");
        let mut running = Running::start(client.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut nothing = Vec::new();
        running.child().stdout.take().expect("stdout").read_to_end(&mut nothing).expect("end of file");
        drop(running.child().stdin.take());
        assert_eq!(code(running.wait()), 3);
        // What the client has not got, it has as from a launch of its own.
        let seen = |launch: &str| {
            let script = format!(
                "{launch} -- sh -c 'for fd in /proc/$$/fd/*; do echo ${{fd##*/}} $(readlink $fd); done' <&- 2>&-"
            );
            stdout_of(caller.command("sh").args(["-c", &script]).stdout(Stdio::piped()).current_dir("/"))
        };
        let pipe = |text: String| text.replace(|c: char| c.is_ascii_digit(), "");
        let warm = seen(&format!("{} run {}", program().display(), served.socket()));
        assert_eq!(pipe(warm), pipe(seen(&program().display().to_string())));
    }
}

#[test]
fn signals_to_launch_run_reach_it() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1] {
            let name = &signal.as_str()[3..];
            let script = format!("trap 'echo got; exit 9' {name}; echo on; while :; do sleep 0.01; done");
            let talk = Talk::start(&mut served.shell(&script));
            assert_eq!(talk.hear().as_deref(), Some("on"));
            kill(talk.pid(), signal).expect("kill");
            assert_eq!(talk.hear().as_deref(), Some("got"));
            assert_eq!(code(talk.end().1), 9);
        }
        let talk = Talk::start(&mut served.shell("echo on; exec sleep 100"));
        assert_eq!(talk.hear().as_deref(), Some("on"));
        kill(talk.pid(), Signal::SIGTERM).expect("kill");
        assert_eq!(code(talk.end().1), 143);
    }
}

#[test]
fn signals_that_a_shell_has_its_servers_ignore_are_not_ignored_by_commands() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let socket = folder.path("socket");
        let script = format!("trap '' INT QUIT HUP; exec {} serve {socket}", program().display());
        let _server = Running::start(caller.command("sh").args(["-c", &script]).current_dir("/"));
        until("it listens", || fs::exists(&socket).expect("a folder").then_some(()));
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            let words = ["run", &socket, "--", "sh", "-c", "ulimit -c 0; echo on; exec sleep 100"];
            let talk = Talk::start(caller.launch(words).current_dir("/"));
            assert_eq!(talk.hear().as_deref(), Some("on"));
            kill(talk.pid(), signal).expect("kill");
            assert_eq!(code(talk.end().1), 128 + signal as i32);
        }
    }
}

#[test]
fn a_pool_whose_sandboxes_were_all_killed_is_filled_again() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        assert_eq!(stdout_of(&mut served.shell("echo up")), "up\n");
        served.is_there();
        for pid in children(served.server.pid().as_raw()) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
        }
        assert_eq!(stdout_of(&mut served.shell("echo here")), "here\n");
        served.is_there();
    }
}

#[test]
fn a_command_that_no_killed_sandbox_has_read_is_run_in_another() {
    for caller in callers() {
        let (served, _manager) = Served::that_tells(caller);
        // They cannot read it, and seem to wait.
        let stopped = Stopped::all_of(&served);
        let mut talk = Talk::start(&mut served.shell("echo here; read -r line; echo $line; exit 5"));
        until("one is given out, and another made", || (served.waiting() > POOL).then_some(()));
        drop(stopped);
        assert_eq!(talk.hear().as_deref(), Some("here"));
        talk.say("once");
        assert_eq!(talk.hear().as_deref(), Some("once"));
        let (rest, status) = talk.end();
        assert_eq!((rest, code(status)), (vec![], 5));
        served.is_there();
    }
}

#[test]
fn who_cannot_hand_its_command_over_is_ended_by_a_signal_as_any_other() {
    for caller in callers() {
        let (served, _manager) = Served::that_tells(caller);
        let stopped = Stopped::all_of(&served);
        // More than a socket holds.
        let variables: Vec<String> = (0..8).map(|n| format!("V{n}={}", "x".repeat(100_000))).collect();
        let options: Vec<&str> = variables.iter().flat_map(|variable| ["--env", variable]).collect();
        let mut client = Running::start(&mut served.run(&options, &["true"]));
        until("one is given out, and another made", || (served.waiting() > POOL).then_some(()));
        let status = format!("/proc/{}/status", client.pid());
        until("it has come", || {
            let status = fs::read_to_string(&status).expect("status");
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask");
            let blocked = u64::from_str_radix(blocked.trim(), 16).expect("a mask");
            (blocked & 1 << (Signal::SIGTERM as u32 - 1) != 0).then_some(())
        });
        client.signal(Signal::SIGTERM);
        assert_eq!(client.wait().signal(), Some(libc::SIGTERM));
        drop(stopped);
        served.is_there();
    }
}

#[test]
fn it_ends_with_launch_run_and_the_server_reaps_it() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        let marker = marker(&format!("serve-end-{caller:?}"));
        let mut client =
            served.run(&["--env", &format!("TEST={marker}")], &["sh", "-c", "sleep 100 & echo on; wait"]);
        let talk = Talk::start(&mut client);
        assert_eq!(talk.hear().as_deref(), Some("on"));
        kill(talk.pid(), Signal::SIGKILL).expect("kill");
        until("nobody is left", || processes_with(&marker).is_empty().then_some(()));
        served.is_there();
        assert_eq!(stdout_of(&mut served.shell("echo next")), "next\n");
    }
}

#[test]
fn it_goes_on_without_the_server_and_its_status_is_told() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        let waiting = children(served.server.pid().as_raw());
        let mut talk = Talk::start(&mut served.shell("echo on; read -r line; echo $line; exit 5"));
        assert_eq!(talk.hear().as_deref(), Some("on"));
        served.server.signal(Signal::SIGKILL);
        let is_there = |pid: &&i32| fs::exists(format!("/proc/{pid}/fd/0")).unwrap_or(false);
        // The one that was given away lives.
        until("those that waited have ended", || {
            (waiting.iter().filter(is_there).count() <= 1).then_some(())
        });
        talk.say("still here");
        assert_eq!(talk.hear().as_deref(), Some("still here"));
        assert_eq!(code(talk.end().1), 5);
        let refusal = refused(&mut served.shell("true"));
        assert_eq!(
            refusal,
            format!("launch: server: {}: nobody listens there; launch serve does", served.socket())
        );
    }
}

#[test]
fn a_server_that_is_asked_to_end_leaves_nothing_behind() {
    for caller in callers() {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            let mut served = Served::start(caller, &[]);
            let waiting = children(served.server.pid().as_raw());
            assert_eq!(waiting.len(), POOL);
            served.server.signal(signal);
            assert_eq!(code(served.server.wait()), 0, "{signal}");
            assert!(!fs::exists(served.socket()).expect("a folder"));
            assert!(waiting.iter().all(|pid| !fs::exists(format!("/proc/{pid}")).expect("/proc")));
        }
    }
}

#[test]
fn a_set_up_that_hangs_is_in_nobodys_way() {
    if !Mounts::can_hang() {
        return cannot_run("a file system that hangs", "that takes root and FUSE");
    }
    for caller in callers() {
        let folder = Folder::of(caller);
        let (data, inside) = (folder.directory("data"), folder.directory("data/inside"));
        let mounts = Mounts::new();
        let server = mounts.inside(&serve(caller, &folder, &["--bind", &inside]));
        let (served, _manager) = Served::that_tells_of(caller, folder, server);
        let mut hanging = mounts.hang(&data);
        for _ in 0..POOL {
            assert_eq!(stdout_of(&mut served.shell("echo here")), "here\n");
        }
        let asking = Asking::of(&served, GIVE);
        let mut impatient = Running::start(&mut served.shell("true"));
        impatient.signal(Signal::SIGTERM);
        assert_eq!(impatient.wait().signal(), Some(libc::SIGTERM));
        assert!(Asking::of(&served, "what?").hear().contains("no request"));
        // More than are taken in at a time.
        let others: Vec<_> = (0..100).map(|_| Asking::of(&served, GIVE)).collect();
        // Who waits hears why there is none, and who comes later has one.
        hanging.fail();
        let answer = asking.hear();
        assert!(answer.contains("refused") && answer.contains(&inside), "{answer}");
        drop(hanging);
        for other in others {
            let answer = other.hear();
            assert!(answer.contains("given") || answer.contains(&inside), "{answer}");
        }
        assert_eq!(stdout_of(&mut served.shell("echo here")), "here\n");
        served.is_there();
    }
}

#[test]
fn a_set_up_that_hangs_is_given_up_and_who_waits_hears_of_it() {
    if !Mounts::can_hang() {
        return cannot_run("a file system that hangs", "that takes root and FUSE");
    }
    let folder = Folder::of(Caller::Root);
    let (data, inside) = (folder.directory("data"), folder.directory("data/inside"));
    let mounts = Mounts::new();
    let server = mounts.inside(&serve(Caller::Root, &folder, &["--bind", &inside]));
    let (served, _manager) = Served::that_tells_of(Caller::Root, folder, server);
    let hanging = mounts.hang(&data);
    for _ in 0..POOL {
        assert_eq!(stdout_of(&mut served.shell("echo here")), "here\n");
    }
    // Those of the same name wait for each other in the kernel, where a SIGKILL does not reach them.
    let asking: Vec<_> = (0..20).map(|_| Asking::of(&served, GIVE)).collect();
    for one in asking {
        let answer = one.hear();
        assert!(answer.contains("set-up: Connection timed out"), "{answer}");
    }
    drop(hanging);
    assert_eq!(stdout_of(&mut served.shell("echo here")), "here\n");
    served.is_there();
}

#[test]
fn a_server_whose_set_ups_hang_ends_when_it_is_asked_to() {
    if !Mounts::can_hang() {
        return cannot_run("a file system that hangs", "that takes root and FUSE");
    }
    for caller in callers() {
        for hangs_from_the_start in [true, false] {
            let folder = Folder::of(caller);
            let (data, inside) = (folder.directory("data"), folder.directory("data/inside"));
            let mounts = Mounts::new();
            let mut server = mounts.inside(&serve(caller, &folder, &["--bind", &inside]));
            let (mut served, hanging) = if hangs_from_the_start {
                let hanging = mounts.hang(&data);
                (Served { caller, folder, server: Running::start(&mut server) }, hanging)
            } else {
                let (served, _manager) = Served::that_tells_of(caller, folder, server);
                let hanging = mounts.hang(&data);
                for _ in 0..POOL {
                    assert_eq!(stdout_of(&mut served.shell("echo here")), "here\n");
                }
                (served, hanging)
            };
            until("it listens, and has some made", || {
                (fs::exists(served.socket()).expect("a folder") && served.waiting() > 0).then_some(())
            });
            let asking = Running::start(served.shell("true").stderr(Stdio::piped()));
            served.server.signal(Signal::SIGTERM);
            assert_eq!(code(served.server.wait()), 0);
            assert!(!fs::exists(served.socket()).expect("a folder"));
            let output = asking.output();
            assert_eq!(code(output.status), 125, "{}", text(&output.stderr));
            drop(hanging);
        }
    }
}

#[test]
fn nobody_elses_commands_are_run_and_nobody_elses_server_is_trusted() {
    let [root, user] = callers()[..] else { return cannot_run("two users", "there is only one") };
    let served = Served::start(root, &[]);
    let folder = served.folder.path("");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("chmod");
    let as_user = || user.launch(["run", &served.socket(), "--", "true"]);
    assert_eq!(refused(&mut as_user()), format!("launch: server: {}: Permission denied", served.socket()));
    // Even where the file lets them.
    fs::set_permissions(served.socket(), fs::Permissions::from_mode(0o666)).expect("chmod");
    let reason = "has closed the connection without an answer";
    assert_eq!(refused(&mut as_user()), format!("launch: server: {}: {reason}", served.socket()));
    let of_user = Served::start(user, &[]);
    let mut as_root = root.launch(["run", &of_user.socket(), "--", "true"]);
    let reason = format!("is another user's (uid {})", user.uid());
    assert_eq!(refused(&mut as_root), format!("launch: server: {}: {reason}", of_user.socket()));
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        let second = refused(&mut serve(caller, &served.folder, &[]));
        assert_eq!(second, format!("launch: server: {}: somebody listens there already", served.socket()));
        served.server.signal(Signal::SIGKILL);
        let Served { folder, server, .. } = served;
        drop(server);
        assert_eq!(folder.list(""), ["socket"]);
        let next = Served { caller, server: Running::start(&mut serve(caller, &folder, &[])), folder };
        next.is_there();
        assert_eq!(stdout_of(&mut next.shell("echo here")), "here\n");
        let folder = Folder::of(caller);
        folder.file("socket", "precious");
        let refusal = refused(&mut serve(caller, &folder, &[]));
        assert_eq!(
            refusal,
            format!("launch: server: {}: is there already, and is no socket", folder.path("socket"))
        );
        assert_eq!(folder.read("socket"), "precious");
    }
}

#[test]
fn of_servers_that_begin_at_once_one_has_the_socket() {
    for caller in callers() {
        for left_behind in [false, true] {
            let folder = Folder::of(caller);
            let socket = folder.path("socket");
            if left_behind {
                drop(UnixListener::bind(&socket).expect("bind"));
                fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("chmod");
            }
            let mut servers: Vec<_> = (0..16)
                .map(|_| {
                    let mut server = serve(caller, &folder, &[]);
                    Running::start(server.stdout(Stdio::null()).stderr(Stdio::piped()))
                })
                .collect();
            let mut refused = Vec::new();
            until("all but one have ended", || {
                let has_ended = |server: &mut Running| server.child().try_wait().expect("wait").is_some();
                refused.extend(servers.extract_if(.., has_ended).map(Running::output));
                (servers.len() == 1).then_some(())
            });
            for output in refused {
                assert_eq!(code(output.status), 125);
                let expected = format!("launch: server: {socket}: somebody listens there already\n");
                assert_eq!(text(&output.stderr), expected);
            }
            assert_eq!(folder.list(""), ["socket"]);
            let mut client = caller.launch(["run", &socket, "--", "true"]);
            assert_eq!(stdout_of(client.current_dir("/")), "");
        }
    }
}

#[test]
fn who_waits_for_the_sockets_file_may_connect_at_once() {
    for caller in callers() {
        for _ in 0..20 {
            let folder = Folder::of(caller);
            let mut server = Running::start(&mut serve(caller, &folder, &[]));
            let deadline = Instant::now() + Duration::from_secs(30);
            while !fs::exists(folder.path("socket")).expect("a folder") {
                assert!(Instant::now() < deadline, "no socket");
                std::hint::spin_loop();
            }
            drop(UnixStream::connect(folder.path("socket")).expect("it listens"));
            server.signal(Signal::SIGTERM);
            assert_eq!(code(server.wait()), 0);
            assert_eq!(folder.list(""), [""; 0]);
        }
    }
}

#[test]
fn a_hundred_at_once_have_a_sandbox_each_and_the_server_keeps_nothing() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        let descriptors =
            || fs::read_dir(format!("/proc/{}/fd", served.server.pid())).map_or(0, Iterator::count);
        let before = descriptors();
        let mut clients: Vec<_> = (0..100)
            .map(|_| Talk::start(&mut served.shell("readlink /proc/self/ns/pid; read -r line")))
            .collect();
        let namespaces: BTreeSet<_> = clients.iter().map(|client| client.hear().expect("a line")).collect();
        assert_eq!(namespaces.len(), 100);
        clients.iter_mut().for_each(|client| client.say(""));
        assert!(clients.into_iter().all(|client| code(client.end().1) == 0));
        // One for each of them would be far more than those that come and go while one is made.
        until("it has let go of them", || {
            (served.waiting() == POOL && descriptors() < before + 10).then_some(())
        });
    }
}

#[test]
fn a_pool_may_be_larger_than_the_soft_limit_of_descriptors_which_commands_have_all_the_same() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let socket = folder.path("socket");
        let script = format!("ulimit -Sn 40; exec {} serve --pool 60 {socket}", program().display());
        let server = Running::start(caller.command("sh").args(["-c", &script]).current_dir("/"));
        until("sixty wait", || (children(server.pid().as_raw()).len() == 60).then_some(()));
        let mut client = caller.launch(["run", &socket, "--", "sh", "-c", "ulimit -Sn"]);
        assert_eq!(stdout_of(client.current_dir("/")), "40\n");
    }
}

#[test]
fn who_says_nothing_or_nonsense_is_in_nobodys_way() {
    for caller in callers() {
        let served = Served::start(caller, &[]);
        let connect = || UnixStream::connect(served.socket());
        // Only root may connect to another's.
        if caller.uid() == nix::unistd::getuid().as_raw() || nix::unistd::getuid().is_root() {
            let silent: Vec<_> = (0..100).map(|_| connect().expect("connect")).collect();
            let mut nonsense = connect().expect("connect");
            nonsense.write_all(b"{\"request\":\"state\"}\nwhat?\n").expect("write");
            let mut answers = String::new();
            nonsense.read_to_string(&mut answers).expect("answers");
            assert_eq!(answers.matches("refused").count(), 2, "{answers}");
            let begin = Instant::now();
            assert_eq!(stdout_of(&mut served.shell("echo here")), "here\n");
            assert!(begin.elapsed() < Duration::from_secs(5));
            drop(silent);
        }
    }
}

#[test]
fn what_only_a_launch_of_its_own_can_have_is_refused() {
    for caller in callers() {
        let folder = Folder::of(caller);
        for (options, expected) in [
            (&["--tty"][..], "command line: --tty: is for a launch of its own, not for a pool"),
            (&["--name", "a"], "command line: --name: is for a launch of its own, not for a pool"),
            (&["--restart", "always"], "command line: --restart: is for a launch of its own, not for a pool"),
            (
                &["--overlay", "/mnt:lower=/l,upper=/u,work=/w"],
                "command line: --overlay: with upper= is one sandbox's at a time, in a pool",
            ),
            (&["--keep", "/k"], "command line: --keep: is one sandbox's at a time, in a pool"),
            (&["ps"], "command line: OPTION: only options of launch itself stand behind the dashes"),
            (&["--nonsense"], "command line: --nonsense: no such option; see launch --help"),
        ] {
            assert_eq!(
                refused(&mut serve(caller, &folder, options)),
                format!("launch: {expected}"),
                "{options:?}"
            );
            assert!(!fs::exists(folder.path("socket")).expect("a folder"));
        }
        for (words, expected) in [
            (&["serve"][..], "serve: says not which socket; say launch serve SOCKET"),
            (&["run"], "run: says not which socket; say launch run SOCKET"),
            (&["run", "s"], "run: says not which command; it stands behind --"),
            (&["serve", "--pool", "0", "s"], "--pool: 0 is not in 1..=65535"),
        ] {
            let refusal = refused(&mut caller.launch(words.iter()));
            assert_eq!(refusal, format!("launch: command line: {expected}"));
        }
    }
}

#[test]
fn the_servers_terminal_is_not_the_commands_and_ends_the_server() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let socket = folder.path("socket");
        let launch = program().display().to_string();
        // Also where it leads the session.
        for script in ["exec \"$@\"", "\"$@\"; exit"] {
            let words = ["sh", "-c", script, "sh", &launch, "serve", &socket];
            let mut session = Session::start(caller, &words);
            until("it listens", || fs::exists(&socket).expect("a folder").then_some(()));
            let script = "(: < /dev/tty) 2> /dev/null && echo reached || echo none";
            let mut client = caller.launch(["run", &socket, "--", "sh", "-c", script]);
            assert_eq!(stdout_of(client.current_dir("/")), "none\n");
            session.types("\x03");
            session.ends();
            assert!(!fs::exists(&socket).expect("a folder"));
        }
    }
}

#[test]
fn the_service_manager_hears_when_the_sandboxes_wait_and_when_the_server_ends() {
    for caller in callers() {
        let (mut served, manager) = Served::that_tells(caller);
        assert_eq!(served.waiting(), POOL);
        served.server.signal(Signal::SIGTERM);
        assert_eq!(manager.hear(), "STOPPING=1");
        assert_eq!(code(served.server.wait()), 0);
    }
}
