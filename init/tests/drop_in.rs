//! Init called by the name of tini, dumb-init or catatonit, beside the real program: the same command lines, variables
//! and signals, as PID 1 and not. What they write and how they end is the same, but for docs/drop-in.md's table.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use launch_init::sys;
use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use tempfile::TempDir;

/// Long enough for any machine; what takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drop-in.md");

/// Each name, and the program that Debian has for it.
const NAMES: [(&str, &str); 5] = [
    ("tini", "tini"),
    ("tini-static", "tini"),
    ("docker-init", "tini"),
    ("dumb-init", "dumb-init"),
    ("catatonit", "catatonit"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Theirs,
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pid1,
    Other,
}

const BOTH: &[Mode] = &[Mode::Pid1, Mode::Other];

/// How the two of them differ.
#[derive(Debug, Clone, Copy)]
enum Difference {
    /// Only ours says this.
    Says(&'static str),
    /// Only theirs says this.
    Lacks(&'static str),
    /// Ours ends with this code.
    Code(i32),
}

/// One command line, and all that is done to it.
#[derive(Debug, Clone)]
struct Case {
    words: Vec<&'static str>,
    environment: &'static [(&'static str, &'static str)],
    /// Sent to init when the workload has said that it is ready. Each but the last is heard, which is waited for; a
    /// negative number is a signal that isn't.
    signals: Vec<i32>,
    modes: &'static [Mode],
    /// The row of the document.
    differs: Option<(&'static str, Difference)>,
}

impl Case {
    fn with(self, environment: &'static [(&'static str, &'static str)]) -> Self {
        Self { environment, ..self }
    }

    fn sent(self, signals: &[i32]) -> Self {
        Self { signals: signals.to_vec(), ..self }
    }

    fn only(self, modes: &'static [Mode]) -> Self {
        Self { modes, ..self }
    }

    fn differs(self, row: &'static str, how: Difference) -> Self {
        Self { differs: Some((row, how)), ..self }
    }
}

fn case(words: &[&'static str]) -> Case {
    Case { words: words.to_vec(), environment: &[], signals: Vec::new(), modes: BOTH, differs: None }
}

/// Each of these programs with `sh -c SCRIPT`.
fn shells(programs: &[&[&'static str]], script: &'static str) -> Vec<Case> {
    programs.iter().map(|words| case(&[*words, &["sh", "-c", script]].concat())).collect()
}

const ALL: &[&[&str]] = &[
    &["tini", "-s", "--"],
    &["tini", "-sg", "--"],
    &["dumb-init"],
    &["dumb-init", "-c"],
    &["catatonit", "--"],
    &["catatonit", "-g", "--"],
];

/// Ends when it is killed, or when the test lets go of its stdin.
const READY: &str = "echo ready; exec cat";

/// Says which of these it got, and ends by the last one in the order of signals.
const TRAPS: &str = "exec 3<&0; for s in TSTP TTIN TTOU WINCH CONT USR1 URG TERM ABRT SYS; do trap \"echo $s\" $s; done; \
    trap 'echo the last; exit 3' 64; echo ready; while :; do cat <&3 & wait; done";

const LAST: i32 = 64;

/// The same, with a process in its group that says what it got itself.
const GROUP: &str = "exec 3<&0; trap 'wait $member; echo the last; exit 3' 64; trap : USR1; \
    (trap '' 64; trap 'echo one of the group; exit' USR1; echo ready; cat <&3 & wait) & member=$!; \
    while :; do wait; done";

/// Says where init is.
const PLACE: &str = "trap 'readlink /proc/$PPID/cwd; exit 3' 64; exec 3<&0; echo ready; cat <&3 & wait";

const SIGNAL_STATE: &str = "exec grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";

fn cases() -> Vec<Case> {
    let mut cases = command_lines();
    cases.extend(endings());
    cases.extend(signals());
    cases.extend(differences());
    cases
}

fn command_lines() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        // tini
        &["tini", "true"] as &[_],
        &["tini", "--", "true"],
        &["tini", "echo", "--", "a"],
        &["tini", "-g", "true"],
        &["tini", "-svv", "true"],
        &["tini", "-svvv", "true"],
        &["tini", "-v", "nonexistent"],
        &["tini", "-p", "SIGTERM", "-s", "true"],
        &["tini", "-pSIGKILL", "-s", "true"],
        &["tini", "-p", "TERM", "true"],
        &["tini", "-p", "15", "true"],
        &["tini", "-e", "300", "true"],
        &["tini", "-e", "-1", "true"],
        &["tini", "-e", "0x1", "true"],
        &["tini", "-se", "", "--", "false"],
        &["tini", "-se", "1", "--", "false"],
        &["tini", "-s", "-e", " +1", "-e2", "false"],
        &["tini", "-s", "-e", "127", "nonexistent"],
        &["tini", "-s", ""],
        &["docker-init", "-s", "--", "true"],
        &["tini-static", "nonexistent"],
        // dumb-init
        &["dumb-init"],
        &["dumb-init", "--"],
        &["dumb-init", "-z", "true"],
        &["dumb-init", "--foo", "true"],
        &["dumb-init", "--foo=bar", "true"],
        &["dumb-init", "--ver", "true"],
        &["dumb-init", "--verb", "true"],
        &["dumb-init", "-v", "true"],
        &["dumb-init", "-vc", "true"],
        &["dumb-init", "--single-child=3", "true"],
        &["dumb-init", "-c=3", "true"],
        &["dumb-init", "-r"],
        &["dumb-init", "--rewrite"],
        &["dumb-init", "-r", "1:32", "true"],
        &["dumb-init", "-r", "TERM:INT", "true"],
        &["dumb-init", "-r", "0:1", "true"],
        &["dumb-init", "-r15:2x", "-v", "true"],
        &["dumb-init", "--rewrite=15:0", "-v", "true"],
        &["dumb-init", "-v", "nonexistent"],
        &["dumb-init", "--", "echo", "--", "-v"],
        // catatonit
        &["catatonit"],
        &["catatonit", "--"],
        &["catatonit", "-z"],
        &["catatonit", "--foo"],
        &["catatonit", "--version=2"],
        &["catatonit", "true"],
        &["catatonit", "--", "echo", "-n", "a"],
        &["catatonit", "-gP", "x", "y"],
    ]
    .into_iter()
    .filter(|words| !words.contains(&"-gP"))
    .map(case)
    .collect();
    for (words, environment) in [
        (&["tini", "true"] as &[_], &[("TINI_SUBREAPER", "")] as &'static [_]),
        (&["tini", "true"], &[("TINI_VERBOSITY", "0")]),
        (&["tini", "true"], &[("TINI_VERBOSITY", "x")]),
        (&["tini", "-v", "true"], &[("TINI_VERBOSITY", "1")]),
        (&["tini", "-s", "true"], &[("TINI_VERBOSITY", "3")]),
        (&["tini", "-s", "true"], &[("TINI_VERBOSITY", "-1")]),
        (&["dumb-init", "true"], &[("DUMB_INIT_DEBUG", "1")]),
        (&["dumb-init", "true"], &[("DUMB_INIT_DEBUG", "0")]),
        (&["dumb-init", "-v", "true"], &[("DUMB_INIT_SETSID", "0")]),
        (&["dumb-init", "true"], &[("DUMB_INIT_DEBUG", "1"), ("DUMB_INIT_SETSID", "1")]),
        (&["catatonit", "-h"], &[("CATATONIT_LOG", "")]),
    ] {
        cases.push(case(words).with(environment));
    }
    cases
}

fn endings() -> Vec<Case> {
    let mut cases = Vec::new();
    for script in [
        "exit 0",
        "exit 3",
        "exit 255",
        "kill -KILL $$",
        "kill -TERM $$",
        "kill -USR1 $$",
        "kill -34 $$",
        "kill -64 $$",
        // What it is given.
        "echo $0 $$ $PPID | cut -d' ' -f1; pwd; env | grep -v -e PWD= -e PATH= -e _=",
        "test $(cut -d' ' -f5 /proc/self/stat) = $$ && echo leads its group; \
         test $(cut -d' ' -f6 /proc/self/stat) = $$ && echo leads its session",
    ] {
        cases.extend(shells(ALL, script));
    }
    // The names of signals are said by -v alone.
    cases.extend(shells(&[&["tini", "-sv", "--"], &["dumb-init", "-v"]], "kill -SEGV $$"));
    cases
        .extend(shells(&[&["tini", "-se", "143", "--"], &["tini", "-s", "-e", "15", "--"]], "kill -TERM $$"));
    // Orphans.
    let orphan =
        "orphan=$(sh -c 'sleep 0.1 >/dev/null & echo $!'); while test -e /proc/$orphan; do :; done; exit 4";
    cases.extend(shells(&[&["tini", "-sw", "--"], &["tini", "-sv", "--"], &["catatonit", "--"]], orphan));
    cases.extend(shells(&[&["dumb-init"]], orphan).into_iter().map(|case| case.only(&[Mode::Pid1])));
    for program in ["tini", "dumb-init", "catatonit"] {
        for command in ["nonexistent", "/nonexistent", "/etc/passwd", "/", "/etc/passwd/x", ""] {
            let words: &[_] = if program == "tini" { &["tini", "-s"] } else { &[program] };
            cases.push(case(&[words, &[command]].concat()));
        }
    }
    let state: &[&[&str]] = &[&["tini", "-s", "--"], &["dumb-init"], &["dumb-init", "-c"]];
    cases.extend(shells(state, SIGNAL_STATE));
    // Where init is afterwards.
    cases.extend(shells(&ALL[..4], PLACE).into_iter().map(|case| case.sent(&[LAST])));
    // What scripts in containers do.
    let output = "trap 'echo to the container > /proc/1/fd/1; tr \"\\0\" \"\\n\" < /proc/1/environ | grep X=; exit 3' 64; \
        exec 3<&0; echo ready; cat <&3 & wait";
    cases.extend(
        shells(ALL, output)
            .into_iter()
            .map(|case| case.sent(&[LAST]).only(&[Mode::Pid1]).with(&[("X", "1")])),
    );
    // Whose LISTEN_PID it is.
    for program in ["tini", "dumb-init", "catatonit"] {
        let script = "test \"$LISTEN_PID\" = $$ && echo mine; test \"$LISTEN_PID\" = 1 && echo of PID 1";
        let words: &[_] = if program == "tini" { &["tini", "-s", "--"] } else { &[program, "--"] };
        cases.extend(shells(&[words], script).into_iter().map(|case| case.with(&[("LISTEN_PID", "1")])));
    }
    cases
}

fn signals() -> Vec<Case> {
    let mut cases = Vec::new();
    for number in [1, 2, 3, 10, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 34, 64] {
        cases.extend(shells(ALL, READY).into_iter().map(|case| case.sent(&[number])));
    }
    for number in [libc::SIGWINCH, libc::SIGCONT, libc::SIGUSR1, libc::SIGURG, libc::SIGTERM] {
        cases.extend(shells(ALL, TRAPS).into_iter().map(|case| case.sent(&[number, LAST])));
    }
    // Those that a terminal stops with; dumb-init has a test of its own.
    cases.extend(
        shells(&ALL[..2], TRAPS)
            .into_iter()
            .map(|case| case.sent(&[libc::SIGTSTP, -libc::SIGTTIN, -libc::SIGTTOU, LAST])),
    );
    cases.extend(
        shells(&ALL[4..], TRAPS)
            .into_iter()
            .map(|case| case.sent(&[-libc::SIGTSTP, -libc::SIGTTIN, -libc::SIGTTOU, LAST])),
    );
    // To whom.
    let group = shells(&[ALL[1], ALL[2], ALL[5]], GROUP).into_iter();
    cases.extend(group.map(|case| case.sent(&[libc::SIGUSR1, LAST])));
    cases.push(
        case(&["tini", "-s", "--", "sh", "-c", GROUP])
            .with(&[("TINI_KILL_PROCESS_GROUP", "")])
            .sent(&[libc::SIGUSR1, LAST]),
    );
    // Init's own, which as PID 1 it doesn't notice.
    for number in [libc::SIGABRT, libc::SIGSYS] {
        let own = shells(&[ALL[0], ALL[4]], TRAPS).into_iter();
        cases.extend(own.map(|case| case.sent(&[-number, LAST]).only(&[Mode::Pid1])));
        let forwarded = shells(&[ALL[2]], TRAPS).into_iter();
        cases.extend(forwarded.map(|case| case.sent(&[number, LAST])));
    }
    for number in [4, 5, 6, 7, 8, 11, 31] {
        let own = shells(&[ALL[0], ALL[4]], READY).into_iter();
        cases.extend(own.map(|case| case.sent(&[number]).only(&[Mode::Other])));
    }
    // Rewrites, and what is said.
    for options in [&["dumb-init", "-v"] as &[_], &["dumb-init", "-vr15:10"]] {
        cases.extend(shells(&[options], TRAPS).into_iter().map(|case| case.sent(&[libc::SIGTERM, LAST])));
    }
    let dropped = shells(&[&["dumb-init", "-cvr", "15:0"]], TRAPS).into_iter();
    cases.extend(dropped.map(|case| case.sent(&[-libc::SIGTERM, LAST])));
    cases.extend(
        shells(&[&["tini", "-svv", "--"]], TRAPS)
            .into_iter()
            .map(|case| case.sent(&[libc::SIGTERM, libc::SIGUSR1, LAST])),
    );
    // The pause.
    for number in [libc::SIGTERM, libc::SIGINT] {
        cases.push(case(&["catatonit", "-P"]).sent(&[-libc::SIGHUP, -libc::SIGTSTP, number]));
        cases.push(case(&["catatonit", "-gP", "ignored"]).sent(&[number]));
    }
    cases
}

fn differences() -> Vec<Case> {
    use Difference::{Code, Lacks, Says};
    let ours = "launch-init";
    let mut cases = vec![
        case(&["tini", "--version"]).differs("tini-version", Says("tini version 0.19.0_launch-init-")),
        case(&["docker-init", "--version"]).differs("tini-version", Says("tini version 0.19.0_launch-init-")),
        case(&["tini", "-h"]).differs("tini-help", Says(ours)),
        case(&["tini"]).differs("tini-help", Says(ours)),
        case(&["tini", "--"]).differs("tini-help", Says(ours)),
        case(&["tini", "-z", "true"]).differs("tini-help", Says(ours)),
        case(&["tini", "-e"]).differs("tini-help", Says(ours)),
        case(&["tini", "--version", "x"]).differs("tini-help", Says(ours)),
        case(&["tini-static", "-h"]).differs("tini-help", Says(ours)),
        case(&["tini", "-l"]).differs("tini-license", Says(ours)),
        case(&["tini", "-s", "sh", "-c", "exit 3"]).differs("tini-options-of-the-program", Code(3)),
        case(&["tini", "-s", "folder"]).differs("folder-in-path", Code(127)),
        case(&["tini", "-svv", "nonexistent"]).differs("tini-terminal-debug", Lacks("tcsetpgrp failed")),
        case(&["tini", "-svvv", "--", "sh", "-c", TRAPS])
            .sent(&[libc::SIGWINCH, LAST])
            .differs("tini-trace", Lacks("No child to reap")),
        case(&["dumb-init", "-V"]).differs("dumb-init-version", Says("dumb-init v1.2.5_launch-init-")),
        case(&["dumb-init", "--version"]).differs("dumb-init-version", Says("dumb-init v1.2.5_launch-init-")),
        case(&["dumb-init", "--help"]).differs("dumb-init-version", Says("dumb-init v1.2.5_launch-init-")),
        case(&["catatonit", "-V"])
            .differs("catatonit-version", Says("tini version 0.1.7_catatonit_launch-init-")),
        case(&["catatonit", "-h"]).differs("catatonit-help", Says(ours)),
        case(&["catatonit", "-L"]).differs("catatonit-license", Says(ours)),
        case(&["catatonit", "sh", "-c", "exit 3"]).differs("catatonit-options-of-the-program", Code(3)),
        case(&["catatonit", "--", "sh", "-c", SIGNAL_STATE])
            .differs("catatonit-blocked", Says("SigBlk:\t0000000000000000")),
        case(&["catatonit", "true"])
            .with(&[("CATATONIT_DEBUG", "")])
            .differs("catatonit-debug", Lacks("no tty present")),
    ];
    // Descriptor 9 comes from whoever starts init.
    let held = "trap 'test -e /proc/$PPID/fd/9 && echo held || echo closed; exit 3' 64; \
        exec 3<&0; echo ready; cat <&3 & wait";
    for (words, row) in [(ALL[0], "tini-descriptors"), (ALL[2], "dumb-init-descriptors")] {
        for case in shells(&[words], held) {
            cases.push(case.sent(&[LAST]).differs(row, Says("closed")));
        }
    }
    for case in shells(&[ALL[4]], PLACE) {
        cases.push(case.sent(&[LAST]).differs("catatonit-directory", Lacks("/usr")));
    }
    for case in shells(&[ALL[4]], held) {
        cases.push(case.sent(&[LAST]));
    }
    cases
}

/// Rows that have a test of their own.
const ELSEWHERE: [&str; 3] = ["tini-ignored-sigchld", "catatonit-ignored-sigchld", "tini-ctrl-z"];

/// A folder with a link for each name, and an empty folder that is called like a program.
static LINKS: LazyLock<[PathBuf; 2]> = LazyLock::new(|| {
    let real = |program: &str| Path::new("/usr/bin").join(program);
    let folder = std::env::var_os("LAUNCH_TEST_BIN_DIR").map(|folder| Path::new(&folder).join("launch-init"));
    let ours = |_: &str| folder.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_launch-init").into());
    [folder_of_links("theirs", &real), folder_of_links("ours", &ours)]
});

fn folder_of_links(name: &str, target: &dyn Fn(&str) -> PathBuf) -> PathBuf {
    let links = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drop-in").join(name);
    fs::create_dir_all(links.join("folder")).expect("mkdir");
    for (name, program) in NAMES {
        // An earlier run, or another one at this moment, may have made the same.
        match symlink(target(program), links.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("symlink: {error}"),
            _ => {}
        }
    }
    links
}

fn links(whose: Whose) -> &'static Path {
    &LINKS[usize::from(whose == Whose::Ours)]
}

/// Whether the real program is here; if not, that is said loudly, and a failure in CI.
fn is_installed(name: &str) -> bool {
    let is = links(Whose::Theirs).join(name).exists();
    if !is {
        cannot_run(&format!("{name} beside the real one"), "it is not installed");
    }
    is
}

fn cannot_run(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot test {what}: {why}");
    eprintln!("\n*** NOT TESTED: {what}: {why} ***\n");
}

/// Waits until `condition` gives something, at most until the deadline.
#[track_caller]
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "in vain until: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// How a program ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Result {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// A program that runs, with files for its output: whom it leaves over may keep those open.
struct Running {
    child: Child,
    mode: Mode,
    folder: TempDir,
}

impl Running {
    fn start(whose: Whose, mode: Mode, case: &Case) -> Self {
        Self::start_by(whose, mode, case, "exec 9</dev/null; exec \"$@\"")
    }

    /// As the leader of a session on a terminal, which is its stdin; with the terminal's other end.
    fn start_on_terminal(whose: Whose, case: &Case) -> (Self, File) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (keyboard, terminal) = terminal();
        let mut command = Command::new("/usr/bin/setsid");
        let path = format!("{}:/usr/bin:/bin", links(whose).display());
        let file = |name: &str| File::create(folder.path().join(name)).expect("create");
        command.arg("--ctty").args(&case.words).env_clear().env("PATH", path);
        command.stdin(terminal).stdout(file("stdout")).stderr(file("stderr")).current_dir("/usr");
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        (Self { child, mode: Mode::Other, folder }, keyboard)
    }

    /// By this script of a shell, whose arguments are the command.
    fn start_by(whose: Whose, mode: Mode, case: &Case, script: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut command = Command::new("/bin/sh");
        match mode {
            Mode::Pid1 => {
                let user = if nix::unistd::geteuid().is_root() { "" } else { "--user --map-root-user" };
                let unshare =
                    format!("unshare {user} --pid --fork --mount-proc --kill-child sh -c '{script}' sh");
                command.args(["-c", &format!("exec {unshare} \"$@\""), "sh"]);
            }
            Mode::Other => drop(command.args(["-c", script, "sh"])),
        }
        let path = format!("{}:/usr/bin:/bin", links(whose).display());
        let file = |name: &str| File::create(folder.path().join(name)).expect("create");
        command.args(&case.words).env_clear().env("PATH", path).envs(case.environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(file("stdout")).stderr(file("stderr")).current_dir("/usr");
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, mode, folder }
    }

    fn written(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).expect("read");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Init's pid, as seen from here.
    fn init(&self) -> i32 {
        let pid = self.child.id() as i32;
        match self.mode {
            Mode::Other => pid,
            Mode::Pid1 => until("unshare has a child", || children(pid).first().copied()),
        }
    }

    fn wait_until_ready(&self, case: &Case) {
        if case.words.contains(&READY) || case.words.iter().any(|word| word.contains("echo ready")) {
            until("the workload is ready", || self.written("stdout").contains("ready\n").then_some(()));
        } else {
            // Nothing shows that a pause has begun but its wait for signals, all of them blocked.
            let init = self.init();
            until("it waits", || {
                let is_named =
                    fs::read_to_string(format!("/proc/{init}/comm")).is_ok_and(|c| c == "catatonit\n");
                let stat = fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
                (is_named && stat.contains(") S ") && has_signal(init, "SigBlk", libc::SIGTERM)).then_some(())
            });
        }
    }

    fn send(&self, signals: &[i32]) {
        let init = self.init();
        let is_pending = |signal| has_signal(init, "ShdPnd", signal);
        // What giving up a terminal caused.
        until("nothing is pending", || {
            (!is_pending(libc::SIGHUP) && !is_pending(libc::SIGCONT)).then_some(())
        });
        for (index, signal) in signals.iter().enumerate() {
            let heard = self.heard();
            sys::kill(init, signal.abs()).expect("kill");
            until("init has taken the signal", || (!is_pending(signal.abs())).then_some(()));
            if index + 1 < signals.len() && *signal > 0 {
                until(&format!("{signal} is heard"), || (self.heard() > heard).then_some(()));
            }
        }
    }

    /// How many lines the workload has written.
    fn heard(&self) -> usize {
        self.written("stdout").lines().filter(|line| !line.contains(" tini (")).count()
    }

    #[track_caller]
    fn status(&mut self) -> ExitStatus {
        let (stdout, stderr) = (self.written("stdout"), self.written("stderr"));
        let what = format!("the program ends that wrote {stdout:?} and {stderr:?}");
        until(&what, || self.child.try_wait().expect("wait"))
    }

    fn end(mut self) -> Result {
        let status = self.status();
        // Whoever is left ends now.
        drop(self.child.stdin.take());
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| without_pids(&self.written(name)));
        // tini writes what is not for a terminal when it ends, and may reap before it looks at SIGCHLD.
        let lines = stdout.lines().filter(|line| !line.ends_with("] Received SIGCHLD"));
        let (tinis, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(" tini (N)] "));
        let stdout = [others, tinis].concat().join("\n");
        // dumb-init's parent and child both write; here those lines are the child's, in this order.
        const CHILDS: [&str; 3] = ["Child spawned", "Unable to attach", "setsid complete"];
        let is_childs = |line: &&str| {
            let text = line.strip_prefix("[dumb-init] ");
            text.is_some_and(|text| CHILDS.iter().any(|start| text.starts_with(start)))
        };
        let (childs, mut others): (Vec<_>, Vec<_>) = stderr.lines().partition(is_childs);
        // Of SIGCHLDs at the same time the kernel makes one (signal(7)), and whether two ends are is a matter of microseconds.
        let of_ends = format!("[dumb-init] Received signal {}.", libc::SIGCHLD);
        others.dedup_by(|line, before| line == before && *line == of_ends);
        let (spawned, childs): (Vec<_>, Vec<_>) =
            childs.into_iter().partition(|line| line.contains("spawned"));
        let stderr = [spawned, childs, others].concat().join("\n");
        Result { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A new terminal: the end of whoever types, and its own.
fn terminal() -> (File, File) {
    let keyboard = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a terminal");
    grantpt(&keyboard).expect("grantpt");
    unlockpt(&keyboard).expect("unlockpt");
    let name = ptsname_r(&keyboard).expect("ptsname");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let terminal = open(name.as_str(), flags, nix::sys::stat::Mode::empty()).expect("open the terminal");
    (File::from(OwnedFd::from(keyboard)), File::from(terminal))
}

fn is_in_state(pid: i32, state: char) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(state))
}

fn children(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

/// Whether this set of /proc/PID/status has the signal; one that is gone has none.
fn has_signal(pid: i32, set: &str, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
    line.is_some_and(|set| u64::from_str_radix(set, 16).expect("a set") & 1 << (signal - 1) != 0)
}

/// The same with N for each number that is a pid.
fn without_pids(text: &str) -> String {
    const BEFORE: [&str; 7] = ["pid ", "pid=", "pid: '", "pid '", "tini (", "catatonit:", "pid1 ("];
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let length = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let is_pid = BEFORE.iter().any(|before| result.to_lowercase().ends_with(before));
        result.push_str(if is_pid { "N" } else { &from[..length] });
        rest = &from[length..];
    }
    result + rest
}

fn run(whose: Whose, mode: Mode, case: &Case) -> Result {
    let running = Running::start(whose, mode, case);
    if !case.signals.is_empty() {
        running.wait_until_ready(case);
        running.send(&case.signals);
    }
    running.end()
}

/// Why a case is not as it should be, if it isn't.
fn wrong(case: &Case, mode: Mode) -> Option<String> {
    let [theirs, ours] = [Whose::Theirs, Whose::Ours].map(|whose| run(whose, mode, case));
    let both = |text: &str| [&theirs, &ours].map(|r| r.stdout.contains(text) || r.stderr.contains(text));
    let is_right = match case.differs {
        None => theirs == ours,
        Some((_, Difference::Says(text))) => both(text) == [false, true] && theirs.status == ours.status,
        Some((_, Difference::Lacks(text))) => both(text) == [true, false] && theirs.status == ours.status,
        Some((_, Difference::Code(code))) => {
            theirs.status.code() != Some(code) && ours.status.code() == Some(code)
        }
    };
    let why = || format!("{mode:?}: {case:?}\n  theirs: {theirs:?}\n  ours:   {ours:?}");
    (!is_right).then(why)
}

#[test]
fn with_each_name_it_does_what_that_program_does() {
    let mut wrongs = Vec::new();
    let mut count = 0;
    let cases: Vec<Case> = cases().into_iter().filter(|case| is_installed(case.words[0])).collect();
    for case in &cases {
        for mode in case.modes {
            count += 1;
            // A panic says nothing of the case, whose name goes before it.
            eprintln!("{mode:?}: {:?} {:?} {:?}", case.words, case.environment, case.signals);
            wrongs.extend(wrong(case, *mode));
        }
    }
    assert!(wrongs.is_empty(), "{} of {count}:\n{}", wrongs.len(), wrongs.join("\n"));
}

#[test]
fn the_document_has_a_row_for_each_difference_and_no_other() {
    let document = fs::read_to_string(DOCUMENT).expect(DOCUMENT);
    let rows: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(id, _)| id)
        .collect();
    let documented: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(rows.len(), documented.len(), "a row is there twice: {rows:?}");
    let all = cases();
    let tested = all.iter().filter_map(|case| Some(case.differs?.0));
    assert_eq!(documented, tested.chain(ELSEWHERE).collect::<BTreeSet<&str>>());
}

/// Rows tini-ignored-sigchld and catatonit-ignored-sigchld.
#[test]
fn it_ends_though_sigchld_came_ignored_and_they_do_not() {
    let ignoring = "exec env --ignore-signal=CHLD \"$@\"";
    for words in [ALL[0], ALL[2], ALL[4]] {
        let case = case(&[words, &["sh", "-c", READY]].concat());
        let start = |whose, mode| {
            let mut running = Running::start_by(whose, mode, &case, ignoring);
            running.wait_until_ready(&case);
            // catatonit asks after the fork whether its child is there, and ends where it is gone already.
            if whose == Whose::Theirs {
                let init = running.init();
                until("init waits", || is_in_state(init, 'S').then_some(()));
            }
            drop(running.child.stdin.take());
            running
        };
        for mode in BOTH {
            assert_eq!(start(Whose::Ours, *mode).status().code(), Some(0), "{words:?}");
        }
        if !is_installed(words[0]) {
            continue;
        }
        let mut theirs = start(Whose::Theirs, Mode::Other);
        if words[0] == "dumb-init" {
            assert_eq!(theirs.status().code(), Some(0));
            continue;
        }
        let init = theirs.init();
        let waits_for_nobody = || {
            let stat = fs::read_to_string(format!("/proc/{init}/stat")).expect("stat");
            (stat.contains(&format!("({}) S ", words[0])) && children(init).is_empty()).then_some(())
        };
        until("it waits for nobody", waits_for_nobody);
        // Nor does it end by a signal, which is for the workload.
        theirs.send(&[libc::SIGUSR1]);
        until("it waits for nobody", waits_for_nobody);
        assert_eq!(theirs.child.try_wait().expect("wait"), None, "{words:?}");
    }
}

#[test]
fn dumb_init_stops_itself_and_its_group_and_both_go_on() {
    for whose in [Whose::Theirs, Whose::Ours] {
        if whose == Whose::Theirs && !is_installed("dumb-init") {
            continue;
        }
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            let case = case(&["dumb-init", "sh", "-c", READY]);
            let mut running = Running::start(whose, Mode::Other, &case);
            running.wait_until_ready(&case);
            let init = running.init();
            let workload = *children(init).first().expect("a child");
            let both_are = |state| (is_in_state(init, state) && is_in_state(workload, state)).then_some(());
            sys::kill(init, signal).expect("kill");
            until("both are stopped", || both_are('T'));
            sys::kill(init, libc::SIGCONT).expect("kill");
            until("both go on", || both_are('S'));
            sys::kill(init, libc::SIGTERM).expect("kill");
            assert_eq!(running.status().code(), Some(128 + libc::SIGTERM), "{whose:?}: {signal}");
        }
    }
}

#[test]
fn tini_gets_the_signal_that_it_asked_for_when_its_parent_ends() {
    for whose in [Whose::Theirs, Whose::Ours] {
        if whose == Whose::Theirs && !is_installed("tini") {
            continue;
        }
        let case = case(&["tini", "-s", "-p", "SIGUSR1", "--", "sh", "-c", TRAPS_PARENT]);
        // The shell stays tini's parent until it reads the end of its own stdin.
        let mut running = Running::start_by(
            whose,
            Mode::Other,
            &case,
            "exec 4<&0; \"$@\" </dev/null 4<&- & exec cat <&4 >/dev/null",
        );
        running.wait_until_ready(&case);
        drop(running.child.stdin.take());
        assert_eq!(running.status().code(), Some(0));
        until("the workload is told", || running.written("stdout").contains("parent ended").then_some(()));
    }
}

const TRAPS_PARENT: &str =
    "trap 'echo parent ended; kill $!; exit' USR1; tail -f /dev/null & echo ready; while :; do wait; done";

/// Says where on the terminal it is, then as the other scripts.
const ON_TERMINAL: &str = "exec 3<&0; trap 'echo HUP' HUP; trap 'echo the last; exit 3' 64; \
    set -- $(cut -d' ' -f5,6,7,8 /proc/self/stat); \
    for is in \"group:$1\" \"session:$2\" \"foreground:$4\"; do test ${is#*:} = $$ && echo ${is%:*}; done; \
    test $3 = 0 || echo terminal; echo ready; while :; do cat <&3 & wait; done";

#[test]
fn on_a_terminal_the_workload_is_where_theirs_is_and_a_hang_up_comes_once() {
    for words in
        [&["tini", "-s", "--"] as &[_], &["dumb-init", "-v"], &["dumb-init", "-vc"], &["catatonit", "--"]]
    {
        if !is_installed(words[0]) {
            continue;
        }
        let case = case(&[words, &["sh", "-c", ON_TERMINAL]].concat()).sent(&[libc::SIGHUP, LAST]);
        let [theirs, ours] = [Whose::Theirs, Whose::Ours].map(|whose| {
            let (running, keyboard) = Running::start_on_terminal(whose, &case);
            running.wait_until_ready(&case);
            running.send(&case.signals);
            let result = running.end();
            drop(keyboard);
            result
        });
        assert_eq!(theirs, ours, "{words:?}");
        assert!(ours.stdout.contains("terminal") && ours.stdout.contains("HUP"), "{ours:?}");
    }
}

#[test]
fn ctrl_c_reaches_the_workload() {
    for words in ALL {
        for whose in [Whose::Theirs, Whose::Ours] {
            if whose == Whose::Theirs && !is_installed(words[0]) {
                continue;
            }
            let case = case(&[*words, &["sh", "-c", READY]].concat());
            let (mut running, mut keyboard) = Running::start_on_terminal(whose, &case);
            running.wait_until_ready(&case);
            keyboard.write_all(b"\x03").expect("write to the terminal");
            assert_eq!(running.status().code(), Some(128 + libc::SIGINT), "{whose:?}: {words:?}");
        }
    }
}

/// Row tini-ctrl-z.
#[test]
fn ctrl_z_stops_nobody_where_no_shell_waits_though_theirs_leaves_the_workload_stopped() {
    for whose in [Whose::Theirs, Whose::Ours] {
        if whose == Whose::Theirs && !is_installed("tini") {
            continue;
        }
        let case = case(&["tini", "-s", "--", "sh", "-c", READY]);
        let (mut running, mut keyboard) = Running::start_on_terminal(whose, &case);
        running.wait_until_ready(&case);
        let init = running.init();
        let workload = *children(init).first().expect("a child");
        keyboard.write_all(b"\x1a").expect("write to the terminal");
        if whose == Whose::Theirs {
            until("the workload is stopped", || is_in_state(workload, 'T').then_some(()));
            sys::kill(init, libc::SIGCONT).expect("kill");
        }
        until("both go on", || (is_in_state(init, 'S') && is_in_state(workload, 'S')).then_some(()));
        keyboard.write_all(b"\x03").expect("write to the terminal");
        assert_eq!(running.status().code(), Some(128 + libc::SIGINT), "{whose:?}");
    }
}

#[test]
fn a_status_shows_the_signal_of_a_real_death() {
    // Init that dies of its own signal is not an exit code that looks like one.
    let case = case(&["tini", "-s", "--", "sh", "-c", READY]).sent(&[libc::SIGABRT]).only(&[Mode::Other]);
    assert_eq!(run(Whose::Ours, Mode::Other, &case).status.signal(), Some(libc::SIGABRT));
}
