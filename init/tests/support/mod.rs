//! What every test of `launch-init` needs: the program, as PID 1 or not, what it says, deadlines, and no leftovers.
//!
//! The launcher's tests have a module of their own like this: cargo names `launch` to them alone, and `launch-init`
//! to these.

#![allow(dead_code)] // Each test file uses a part of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use launch_init::sys;
use tempfile::TempDir;

/// Long enough for any machine; what takes longer hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The ordinary user's uid and gid; nobody else has it.
pub const USER: &str = "54321";

/// A copy of the program where every user can execute it, wherever the checkout is.
static PROGRAM: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = public_folder();
    let program = folder.path().join("launch-init");
    // A process of its own copies: while this one has a file open for writing, and with it whatever another thread
    // forks at that moment, nobody can execute it (ETXTBSY).
    let mut install = Command::new("install");
    install.args(["-m", "755"]).arg(built("launch-init")).arg(&program);
    assert!(install.status().expect("install").success());
    remove_at_exit(folder.path());
    (folder, program)
});

/// A program that cargo has built for the tests, or that of the folder LAUNCH_TEST_BIN_DIR.
pub fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("LAUNCH_TEST_BIN_DIR").map(|folder| Path::new(&folder).join(name));
    folder.unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_launch-init")).with_file_name(name))
}

/// The program under test.
pub fn program() -> &'static Path {
    &PROGRAM.1
}

/// A temporary folder for every user.
pub fn public_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("launch-init-test-").tempdir_in("/var/tmp").expect("folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
    folder
}

/// Removes a folder when this process is gone, however it ends: nothing static is dropped.
fn remove_at_exit(folder: &Path) {
    let mut waiting = Command::new("setsid");
    waiting.args(["sh", "-c", "read -r _; exec rm -rf -- \"$0\""]).arg(folder);
    waiting.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::mem::forget(waiting.spawn().expect("sh"));
}

/// Whether the tests were started by root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// For a test that only root can run: whether it can.
pub fn needs_root(what: &str) -> bool {
    if !is_root() {
        cannot_run(what, "the tests were not started by root");
    }
    is_root()
}

/// Says that a part of the tests cannot run here. In CI that is a failure.
pub fn cannot_run(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot test {what}: {why}");
    eprintln!("\n*** NOT TESTED: {what}: {why} ***\n");
}

/// Where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// As PID 1 of a PID namespace, with a /proc of that.
    Pid1,
    /// As any process.
    Anywhere,
}

pub const PLACES: [Place; 2] = [Place::Pid1, Place::Anywhere];

impl Place {
    /// `BEFORE… launch-init ARGUMENTS…` here. `BEFORE…` are programs that execute what follows them, such as env(1).
    pub fn command_by(self, before: &[&str], arguments: &[&str]) -> Command {
        let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut words: Vec<&OsStr> = Vec::new();
        if self == Place::Pid1 {
            words.extend(unshare.map(OsStr::new));
            if !is_root() {
                words.extend(["--user", "--map-root-user"].map(OsStr::new));
            }
        }
        words.extend(before.iter().map(OsStr::new));
        words.push(program().as_os_str());
        words.extend(arguments.iter().map(OsStr::new));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir("/").stdin(Stdio::null());
        command
    }

    /// `launch-init ARGUMENTS…` here.
    pub fn command(self, arguments: &[&str]) -> Command {
        self.command_by(&[], arguments)
    }

    /// Starts `launch-init ARGUMENTS…` here.
    #[track_caller]
    pub fn start(self, arguments: &[&str]) -> Life {
        Life::start(self, &mut self.command(arguments))
    }

    /// Starts `launch-init OPTIONS… -- sh -c SCRIPT` here.
    #[track_caller]
    pub fn shell(self, options: &[&str], script: &str) -> Life {
        self.start(&[options, &["--", "sh", "-c", script]].concat())
    }

    /// Starts `launch-init OPTIONS… -- perl -e SCRIPT ARGUMENTS…` here.
    #[track_caller]
    pub fn perl(self, options: &[&str], script: &str, arguments: &[&str]) -> Life {
        self.start(&[options, &["--", "perl", "-e", script], arguments].concat())
    }
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub code: i32,
    /// What had not been heard yet.
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn new(code: i32, stdout: &str, stderr: &str) -> Self {
        Self { code, stdout: stdout.into(), stderr: stderr.into() }
    }
}

/// A `launch-init` that runs. It is told apart by a variable in its environment, and so is all that descends from it.
pub struct Life {
    child: Child,
    place: Place,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    marker: String,
    is_over: bool,
}

impl Life {
    /// What `command` starts. If its stdin is a pipe, [`Life::say`] writes to it.
    #[track_caller]
    pub fn start(place: Place, command: &mut Command) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let marker = format!("LAUNCH_INIT_TEST={}-{number}.", std::process::id());
        let (key, value) = marker.split_once('=').expect("an equals sign");
        command.env(key, value).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            place,
            stdin: child.stdin.take(),
            stdout: lines(child.stdout.take().expect("stdout")),
            stderr: lines(child.stderr.take().expect("stderr")),
            child,
            marker,
            is_over: false,
        }
    }

    /// Init's pid here, once it has been forked.
    #[track_caller]
    pub fn init(&self) -> i32 {
        let started = self.child.id() as i32;
        match self.place {
            Place::Anywhere => started,
            Place::Pid1 => until("init is forked", || children(started).first().copied()),
        }
    }

    /// Whether what was started has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Sends a signal of this number to init.
    #[track_caller]
    pub fn signal(&self, number: i32) {
        sys::kill(self.init(), number).expect("kill");
    }

    /// A line to the workload's stdin.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin"), "{line}").expect("write to stdin");
    }

    /// The next line of stdout, before the deadline; none at its end.
    #[track_caller]
    pub fn hear(&self) -> Option<String> {
        next(&self.stdout)
    }

    /// The next line of stderr, before the deadline; none at its end.
    #[track_caller]
    pub fn hear_error(&self) -> Option<String> {
        next(&self.stderr)
    }

    /// The next line of stdout is this.
    #[track_caller]
    pub fn says(&self, expected: &str) {
        assert_eq!(self.hear().as_deref(), Some(expected));
    }

    /// The next lines of stdout are these, in any order.
    #[track_caller]
    pub fn says_all(&self, expected: &[&str]) {
        let mut heard: Vec<_> = expected.iter().filter_map(|_| self.hear()).collect();
        heard.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(heard, expected);
    }

    /// Those who descend from it, and itself: (pid here, command line).
    pub fn processes(&self) -> Vec<(i32, String)> {
        let has_marker = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == self.marker.as_bytes())
        };
        let command_line = |pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned()
        };
        pids().filter(has_marker).map(|pid| (pid, command_line(pid))).collect()
    }

    /// The pid here of the last process whose command line ends so, the one that no program executed.
    #[track_caller]
    pub fn process(&self, end: &str) -> i32 {
        until(&format!("{end:?} runs"), || {
            let found = self.processes().into_iter().filter(|(_, line)| line.ends_with(end));
            found.map(|(pid, _)| pid).max()
        })
    }

    /// Its end, before the deadline. Nobody is left of it.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.stdin = None;
        let status = until("it ends", || self.child.try_wait().expect("wait"));
        assert_eq!(self.processes(), [], "left over");
        self.is_over = true;
        let rest = |lines: &Receiver<String>| -> String {
            std::iter::from_fn(|| next(lines)).map(|line| line + "\n").collect()
        };
        Ended { code: code(status), stdout: rest(&self.stdout), stderr: rest(&self.stderr) }
    }

    /// It ends with this code, and has had nothing more to say.
    #[track_caller]
    pub fn ends(self, code: i32) {
        assert_eq!(self.end(), Ended::new(code, "", ""));
    }

    /// It ends with this code, and a line of its own on stderr: what stands behind `launch-init: `.
    #[track_caller]
    pub fn ends_saying(self, code: i32, line: &str) {
        assert_eq!(self.end(), Ended::new(code, "", &format!("launch-init: {line}\n")));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if !self.is_over {
            for (pid, _) in self.processes() {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The lines that come from `reader`, as they come.
pub fn lines(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    receiver
}

/// The next line before the deadline, or none at the end.
#[track_caller]
pub fn next(lines: &Receiver<String>) -> Option<String> {
    match lines.recv_timeout(DEADLINE) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("nothing said before the deadline"),
    }
}

/// The exit code; a process that a signal killed has none, and is a failure here.
#[track_caller]
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| panic!("killed by signal {:?}", status.signal()))
}

/// Waits until `condition` gives something, at most until the deadline.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "in vain until: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// The pids of all processes.
fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The children of a process, zombies included.
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

/// What /proc/PID/status says under this name; none once the process is gone.
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}
