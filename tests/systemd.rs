//! launch as a service: what it passes on to the manager that has started it.

mod support;

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};

use support::place::Place;
use support::{Caller, DEADLINE, Running, callers, cannot_run, code, program, run, stdout_of, text};

/// A shell function `notify MESSAGE…`, which says these messages as sd_notify(3) does.
const NOTIFY: &str = r#"notify() { perl -MSocket -e '
    $name = $ENV{NOTIFY_SOCKET}; $name =~ s/^@/\0/;
    socket(S, AF_UNIX, SOCK_DGRAM, 0) or die $!;
    for (@ARGV) { send(S, $_, 0, pack_sockaddr_un($name)) or die $! }' "$@"; }
"#;

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    /// NOTIFY_SOCKET.
    name: String,
}

impl Manager {
    fn at(address: &SocketAddr, name: String) -> Self {
        let socket = UnixDatagram::bind_addr(address).expect("bind");
        socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
        Self { socket, name }
    }

    fn with_path(path: &str) -> Self {
        let manager = Self::at(&SocketAddr::from_pathname(path).expect("address"), path.into());
        fs::set_permissions(path, Permissions::from_mode(0o777)).expect("chmod");
        manager
    }

    fn with_abstract_name(name: &str) -> Self {
        Self::at(&SocketAddr::from_abstract_name(name).expect("address"), format!("@{name}"))
    }

    #[track_caller]
    fn hear(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message");
        text(&buffer[..length])
    }

    /// What it hears until this, other than that somebody is alive.
    #[track_caller]
    fn hear_until(&self, last: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|message| message != last) {
            let message = self.hear();
            if message != "WATCHDOG=1" {
                heard.push(message);
            }
        }
        heard
    }

    /// `launch WORDS… -- sh -c SCRIPT`, with `notify` in the script.
    fn launch(&self, place: &Place, words: &[&str], script: &str) -> Command {
        let script = format!("{NOTIFY}{script}");
        let words: Vec<&str> = words.iter().chain(&["--", "sh", "-c", &script]).copied().collect();
        let mut launch = place.launch(&words);
        launch.env("NOTIFY_SOCKET", &self.name);
        launch
    }
}

fn managers(place: &Place, test: &str) -> [Manager; 2] {
    [
        Manager::with_path(&place.folder.path("notify")),
        Manager::with_abstract_name(&format!("launch-{test}-{}-{:?}", std::process::id(), place.caller)),
    ]
}

#[test]
fn what_the_workload_says_of_itself_is_passed_on() {
    for caller in callers() {
        let place = Place::of(caller);
        for manager in managers(&place, "passed") {
            let script = "[ \"$NOTIFY_SOCKET\" != \"$OUTER\" ] || exit 9
                notify STATUS=begins READY=1 STATUS=works RELOADING=1 READY=1 STOPPING=1; exit 0";
            let outer = format!("OUTER={}", manager.name);
            let mut launch = manager.launch(&place, &["--ready", "notify", "--env", &outer], script);
            let output = run(&mut launch);
            assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()));
            let heard = manager.hear_until("STOPPING=1");
            let reloading = heard[3].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a reload");
            assert!(reloading.parse::<u64>().is_ok(), "{reloading}");
            let rest = [&heard[..3], &heard[4..]].concat();
            assert_eq!(rest, ["STATUS=begins", "READY=1", "STATUS=works", "READY=1", "STOPPING=1"]);
        }
    }
}

#[test]
fn the_other_kinds_of_readiness_are_passed_on_too() {
    for caller in callers() {
        let place = Place::of(caller);
        let [manager, _] = managers(&place, "kinds");
        for (ready, script) in [("fd:5", "echo >&5; exec sleep 1000"), ("exec:true", "exec sleep 1000")] {
            let mut launch = manager.launch(&place, &["--name", "web", "--ready", ready], script);
            let mut launching = Running::start(launch.stdout(Stdio::null()));
            assert_eq!(manager.hear(), "READY=1");
            // As systemd stops a service.
            nix::sys::signal::kill(place.monitor("web"), nix::sys::signal::Signal::SIGTERM).unwrap();
            assert_eq!(manager.hear(), "STOPPING=1");
            assert_eq!(code(launching.wait()), 143);
        }
    }
}

#[test]
fn a_watchdog_is_fed_by_the_workload() {
    for caller in callers() {
        let place = Place::of(caller);
        let [manager, _] = managers(&place, "watchdog");
        let script = "notify READY=1; while :; do notify WATCHDOG=1; sleep 0.05; done";
        let words = ["--name", "web", "--ready", "notify", "--watchdog", "20s"];
        // For itself, and for somebody else.
        for (pid, is_fed) in [(None, true), (Some("1"), false)] {
            let mut launch = manager.launch(&place, &words, script);
            launch.env("WATCHDOG_USEC", "30000000");
            pid.map(|pid| launch.env("WATCHDOG_PID", pid));
            let mut launching = Running::start(&mut launch);
            if is_fed {
                assert!(
                    (0..4).map(|_| manager.hear()).filter(|message| message == "WATCHDOG=1").count() >= 3
                );
            } else {
                assert_eq!(manager.hear(), "READY=1");
            }
            nix::sys::signal::kill(place.monitor("web"), nix::sys::signal::Signal::SIGTERM).unwrap();
            let mut last = manager.hear();
            while last != "STOPPING=1" {
                assert!(is_fed, "{last}");
                last = manager.hear();
            }
            launching.wait();
            // What was said while it ended.
            manager.socket.set_nonblocking(true).unwrap();
            while manager.socket.recv(&mut [0; 64]).is_ok() {}
            manager.socket.set_nonblocking(false).unwrap();
        }
    }
}

#[test]
fn a_detached_monitor_says_who_it_is() {
    for caller in callers() {
        let place = Place::of(caller);
        let [manager, _] = managers(&place, "detached");
        let script = "echo >&5; exec sleep 1000";
        let words = ["--detach", "--name", "web", "--ready", "fd:5"];
        assert_eq!(stdout_of(&mut manager.launch(&place, &words, script)), "web\n");
        assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}", place.monitor("web")));
    }
}

#[test]
fn a_manager_that_is_gone_or_does_not_read_holds_up_nobody() {
    for caller in callers() {
        let place = Place::of(caller);
        let [manager, _] = managers(&place, "gone");
        // More than its socket takes (net.unix.max_dgram_qlen).
        let script = "i=0; set --; while [ $i -lt 600 ]; do set -- \"$@\" STATUS=$i; i=$((i + 1)); done
            notify READY=1 \"$@\"; exit 5";
        let output = run(&mut manager.launch(&place, &["--ready", "notify"], script));
        assert_eq!((code(output.status), text(&output.stderr)), (5, String::new()));
        fs::remove_file(place.folder.path("notify")).unwrap();
        let output = run(&mut manager.launch(&place, &["--ready", "notify"], "notify READY=1; exit 5"));
        assert_eq!((code(output.status), text(&output.stderr)), (5, String::new()));
        let mut launch = place.launch(&["--ready", "fd:5", "--", "sh", "-c", "exit 5"]);
        let output = run(launch.env("NOTIFY_SOCKET", "relative"));
        let warning = "launch: warning: NOTIFY_SOCKET: relative: is neither an absolute path nor an abstract name; the service manager is told nothing\n";
        assert_eq!((code(output.status), text(&output.stderr)), (5, warning.into()));
    }
}

#[test]
fn the_unit_in_the_documentation_is_valid() {
    if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_err() {
        return cannot_run("the unit", "systemd-analyze is not installed");
    }
    let place = Place::of(*callers().last().unwrap_or(&Caller::User));
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/launch@.service");
    let unit = fs::read_to_string(unit).expect("unit");
    // It is looked whether what is to be executed is there.
    let installed = "ExecStart=launch ";
    assert_eq!(unit.matches(installed).count(), 1);
    let path = place
        .folder
        .file("launch@web.service", unit.replace(installed, &format!("ExecStart={} ", program().display())));
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", &path]);
    let output = run(&mut verify);
    let said = text(&output.stderr) + &text(&output.stdout);
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("launch@")).collect();
    assert!(output.status.success() && of_ours.is_empty(), "{said}");
}
