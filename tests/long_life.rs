//! What weeks do to a sandbox, in a minute: real servers that are killed again and again, thousands of restarts and of
//! orphans, and many sandboxes at once.
//!
//! `LAUNCH_TEST_DAY=1` makes it a day's worth: 10,000 restarts, 1,000,000 orphans, 500 sandboxes. The figures of
//! docs/performance.md come from there (`-- --nocapture`).

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::Value;
use support::place::{Place, request};
use support::{callers, cannot_run, code, public_folder, run, stdout_of, text, until};

/// What is measured, or disturbed by load, is measured alone.
static ALONE: Mutex<()> = Mutex::new(());

fn is_a_day() -> bool {
    std::env::var_os("LAUNCH_TEST_DAY").is_some()
}

/// `usual`, or a day's worth.
fn count(usual: usize, day: usize) -> usize {
    if is_a_day() { day } else { usual }
}

/// A client of a server on this port that asks again and again, each time anew, and measures for how long in a row it got no
/// answer.
struct Client {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Duration>>,
}

impl Client {
    fn start(port: u16, question: &'static [u8], answer: &'static [u8]) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                if answers(port, question, answer) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
            longest.max(last.elapsed())
        });
        Self { stop, thread: Some(thread) }
    }

    /// The longest time without an answer.
    fn end(mut self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("a thread").join().expect("no panic")
    }
}

fn answers(port: u16, question: &[u8], answer: &[u8]) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(question)?;
        let mut start = vec![0; answer.len()];
        stream.read_exact(&mut start)?;
        Ok(start == answer)
    };
    ask().unwrap_or(false)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port()
}

/// Kills the server inside so many times, by a process that joined, and waits until it is back each time.
#[track_caller]
fn is_back(
    place: &Place,
    server: &str,
    port: u16,
    question: &'static [u8],
    answer: &'static [u8],
    times: usize,
) {
    until("the server answers", || answers(port, question, answer).then_some(()));
    let client = Client::start(port, question, answer);
    for time in 1..=times {
        let pid = place.state("web")["pid"].clone();
        let killed = run(&mut place.launch(&["exec", "web", "--", "pkill", "-9", "-o", "-x", server]));
        // It may be killed itself, as one of those who are ended before the next run.
        assert!([0, 137, 143].contains(&code(killed.status)), "{killed:?}");
        until("another run is ready", || {
            let state = fs::read(place.path("web", "state.json")).ok()?;
            let state: Value = serde_json::from_slice(&state).ok()?;
            (state["restarts"] == time && state["ready"] == true && state["pid"] != pid).then_some(())
        });
        until("the server answers", || answers(port, question, answer).then_some(()));
    }
    let longest = client.end();
    eprintln!("{server} as {:?}: killed {times} times, away for {longest:?} at the most", place.caller);
    // A tenth of a second is the back-off; a start of the server comes to it.
    assert!(longest < Duration::from_millis(1500), "{longest:?}");
    assert_eq!(place.state("web")["restarts"], times);
    let stopped = text(&run(&mut place.launch(&["stop", "web"])).stdout);
    assert!(stopped.starts_with("web: ended by SIG"), "{stopped}");
}

const SERVICE: [&str; 7] =
    ["--detach", "--name", "web", "--restart", "always", "--restart-max-delay", "100ms"];

#[test]
fn a_redis_that_is_killed_a_hundred_times_is_back_a_hundred_times() {
    let Some(server) = program("redis-server") else { return };
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for caller in callers() {
        let place = Place::of(caller);
        let port = free_port();
        let number = port.to_string();
        let ready = format!("exec:redis-cli -p {port} ping | grep -q PONG");
        let mut words = [&SERVICE[..], &["--ready", &ready, "--", &server]].concat();
        words.extend(["--port", &number, "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"]);
        assert_eq!(stdout_of(&mut place.launch(&words)), "web\n");
        is_back(&place, "redis-server", port, b"PING\r\n", b"+PONG", 100);
    }
}

#[test]
fn an_nginx_that_is_killed_with_all_its_workers_is_back() {
    let Some(server) = program("nginx") else { return };
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for caller in callers() {
        let place = Place::of(caller);
        let port = free_port();
        let configuration = format!(
            "daemon off; user root root; worker_processes 2; pid /tmp/nginx.pid; error_log /dev/null;
             events {{}} http {{ access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p;
             fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
             server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }} }}"
        );
        let file = place.folder.file("nginx.conf", configuration);
        let ready = format!("exec:bash -c '</dev/tcp/127.0.0.1/{port}'");
        let words = [&SERVICE[..], &["--ready", &ready, "--stop-signal", "QUIT", "--", &server, "-c", &file]]
            .concat();
        assert_eq!(stdout_of(&mut place.launch(&words)), "web\n");
        is_back(&place, "nginx", port, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200", 20);
    }
}

/// Where a server is that a package brings.
fn program(name: &str) -> Option<String> {
    let path = ["/usr/sbin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
    let found = path.iter().find(|path| path.exists()).map(|path| path.display().to_string());
    if found.is_none() {
        cannot_run(&format!("a sandbox with {name}"), "it is not installed");
    }
    found
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Its memory without what it shares with files, in KiB: RssAnon of proc_pid_status(5).
    memory: u64,
    descriptors: usize,
}

fn held(pid: Pid) -> Held {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    let memory = line.trim().trim_end_matches(" kB").parse().expect("a number");
    Held { memory, descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").count() }
}

/// The bytes in a sandbox's folder.
fn size(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").metadata().expect("stat").len())
        .sum()
}

/// A program that makes so many orphans, and says so. In C, and static: what is measured is not its own forking.
const ORPHANS: &str = r#"
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/wait.h>
    #include <unistd.h>
    int main(int argc, char **argv) {
        for (long left = atol(argv[1]); left > 0;) {
            pid_t parent = fork();
            if (parent == 0) { fork(); _exit(0); }
            if (parent > 0 && waitpid(parent, 0, 0) == parent) left--;
        }
        return puts("made") < 0;
    }
"#;

/// The program, in a folder that everybody can look into.
fn orphan_maker(folder: &Path) -> Option<String> {
    let (source, program) = (folder.join("orphans.c"), folder.join("orphans"));
    fs::write(&source, ORPHANS).expect("write");
    let mut cc = std::process::Command::new("cc");
    match cc.args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status() {
        Ok(status) => assert!(status.success(), "cc"),
        Err(error) => {
            cannot_run("a day of orphans", &format!("cc: {error}"));
            return None;
        }
    }
    program.into_os_string().into_string().ok()
}

#[test]
fn a_day_of_restarts_and_orphans_leaves_nothing_behind() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("what PID 1 holds", "only root sees its descriptors");
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = public_folder();
    let Some(maker) = orphan_maker(folder.path()) else { return };
    let (restarts, orphans) = (count(300, 10_000), count(20_000, 1_000_000));
    for caller in callers() {
        let place = Place::of(caller);
        place.start("day", &["--restart", "always"], "echo run; exec sleep 100000");
        let both = || {
            let state = place.state("day");
            let pid = |key: &str| Pid::from_raw(state[key].as_i64().expect("a pid") as i32);
            [pid("monitor_pid"), pid("init_pid")]
        };
        let restart = || assert!(run(&mut place.launch(&["restart", "day"])).status.success());
        // The first ones fill what is kept: buffers, the files of events.
        (0..100).for_each(|_| restart());
        assert!(run(&mut place.launch(&["exec", "day", "--", "true"])).status.success());
        let before = both().map(held);
        let began = Instant::now();
        (100..restarts).for_each(|_| restart());
        let restarting = began.elapsed();
        // The file is a moment behind.
        assert_eq!(place.ask("day", request("state"))["state"]["restarts"], restarts);
        let began = Instant::now();
        let words = ["exec", "day", "--", &maker, &orphans.to_string()];
        let mut making = place.launch(&words);
        assert_eq!(text_of_long(&mut making), "made\n");
        let reaping = began.elapsed();
        until("all orphans have been reaped", || {
            (usage(&place, "day")["pids"].as_u64() == Some(2)).then_some(())
        });
        // The last connections to the monitor are being closed.
        until("nobody is connected", || {
            (both().map(|pid| held(pid).descriptors) == before.map(|held| held.descriptors)).then_some(())
        });
        let after = both().map(held);
        let folder = size(&place.path("day", ""));
        eprintln!(
            "as {caller:?}: {restarts} restarts in {restarting:?}, {orphans} orphans in {reaping:?}; monitor and PID 1 \
             before: {before:?}, after: {after:?}; the folder has {folder} bytes"
        );
        for (before, after) in before.into_iter().zip(after) {
            assert!(after.memory <= before.memory + 256, "{before:?} {after:?}");
        }
        // Two files of events, and a line of the log for each run.
        assert!(folder < (2 << 20) + 64 * restarts as u64 + (64 << 10), "{folder}");
    }
}

/// The stdout of a command that may take minutes.
fn text_of_long(command: &mut std::process::Command) -> String {
    let output = command.output().expect("start");
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn many_at_once_are_listed_at_once_and_stopped_at_once() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let many = count(60, 500);
    for caller in callers() {
        let place = Place::of(caller);
        let began = Instant::now();
        (0..many).for_each(|n| place.start(&format!("s{n}"), &[], "exec sleep 100000"));
        let starting = began.elapsed();
        let began = Instant::now();
        let listed = stdout_of(&mut place.launch(&["ps"]));
        let listing = began.elapsed();
        assert_eq!(listed.lines().filter(|line| line.contains(" running ")).count(), many, "{listed}");
        let memory: u64 =
            (0..many).map(|n| usage(&place, &format!("s{n}"))["memory"].as_u64().expect("bytes")).sum();
        let monitors: u64 = (0..many).map(|n| pss(place.monitor(&format!("s{n}")))).sum();
        let began = Instant::now();
        // On stderr is how far it has got, where it takes its time.
        let stopped = text(&run(&mut place.launch(&["stop", "--all"])).stdout);
        let stopping = began.elapsed();
        assert_eq!(
            stopped.lines().filter(|line| line.ends_with(": ended by SIGTERM")).count(),
            many,
            "{stopped}"
        );
        eprintln!(
            "as {caller:?}: {many} sandboxes: started in {starting:?}, ps {listing:?}, stop --all {stopping:?}; memory of \
             each: inside {} KiB, the monitor {} KiB",
            memory / 1024 / many as u64,
            monitors / many as u64
        );
        assert!(listing < Duration::from_secs(5), "{listing:?}");
        assert!(stopping < Duration::from_secs(20), "{stopping:?}");
    }
}

/// What a sandbox uses, by its monitor's word.
#[track_caller]
fn usage(place: &Place, name: &str) -> Value {
    place.ask(name, request("usage"))["usage"].clone()
}

/// In KiB; see proc_pid_smaps_rollup(5).
fn pss(pid: Pid) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
