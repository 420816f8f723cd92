//! What every test of the real program needs: the program, who runs it, deadlines, and no leftovers.

#![allow(dead_code)] // Each test file uses a part of it.

pub mod session;

pub mod hanging;
pub mod hostile;

pub mod place;

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use launch_init::sys;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Long enough for any machine; what takes longer hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The ordinary user's uid and gid; nobody else has it.
pub const USER: u32 = 54321;

/// A copy of the program where every user can execute it, wherever the checkout is.
static PROGRAM: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = public_folder();
    let program = folder.path().join("launch");
    install(&built(), &program);
    remove_at_exit(folder.path());
    (folder, program)
});

/// The one that cargo has built for the tests, or that of the folder LAUNCH_TEST_BIN_DIR.
fn built() -> PathBuf {
    let folder = std::env::var_os("LAUNCH_TEST_BIN_DIR").map(PathBuf::from);
    folder.map_or(env!("CARGO_BIN_EXE_launch").into(), |folder| folder.join("launch"))
}

/// The program under test.
pub fn program() -> &'static Path {
    &PROGRAM.1
}

/// A temporary folder that every user can read, on the disk and not under /tmp, which a sandbox hides.
pub fn public_folder() -> TempDir {
    let folder =
        tempfile::Builder::new().prefix("launch-test-").tempdir_in("/var/tmp").expect("temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
    folder
}

/// Copies a program to where everybody can execute it. A process of its own does it: while this one has a file
/// open for writing, and with it whatever another thread forks at that moment, nobody can execute it (ETXTBSY).
pub fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).args([from, to]).status().expect("install");
    assert!(status.success(), "install {from:?} {to:?}");
}

/// A program of this content at `path`, for everybody to execute.
pub fn executable(path: &Path, content: impl AsRef<[u8]>) {
    let mut source = tempfile::NamedTempFile::new().expect("temporary file");
    source.write_all(content.as_ref()).expect("write");
    install(source.path(), path);
}

/// Removes a folder when this process is gone, however it ends: nothing static is dropped.
pub fn remove_at_exit(folder: &Path) {
    let mut waiting = Command::new("sh");
    waiting.args(["-c", "read -r _; exec rm -rf -- \"$0\""]).arg(folder);
    waiting.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    std::mem::forget(waiting.spawn().expect("sh"));
}

/// Who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Root,
    User,
}

impl Caller {
    /// The uid outside.
    pub fn uid(self) -> u32 {
        match self {
            Caller::Root => 0,
            Caller::User if nix::unistd::geteuid().is_root() => USER,
            Caller::User => nix::unistd::geteuid().as_raw(),
        }
    }

    /// The gid outside.
    pub fn gid(self) -> u32 {
        match self {
            Caller::Root => 0,
            Caller::User if nix::unistd::geteuid().is_root() => USER,
            Caller::User => nix::unistd::getegid().as_raw(),
        }
    }

    /// A command that this caller runs.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        if self == Caller::User && nix::unistd::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            let id = USER.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        }
    }

    /// `launch ARGUMENTS…`, with an empty stdin, as this caller.
    pub fn launch(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.command(program());
        command.args(arguments).stdin(Stdio::null()).current_dir("/");
        command.env_remove("LAUNCH_LOG");
        command
    }

    /// `sh -c SCRIPT` in which `"$@"` is `launch ARGUMENTS…`, as this caller: for what a shell does to
    /// descriptors and directories before it starts a program.
    pub fn launch_by(self, script: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", script, "sh"]).arg(program()).args(arguments);
        command.stdin(Stdio::null()).current_dir("/").env_remove("LAUNCH_LOG");
        command
    }

    /// `launch OPTIONS… -- sh -c SCRIPT`, as this caller.
    pub fn shell_with(self, options: &[&str], script: &str) -> Command {
        self.launch(options.iter().chain(&["--", "sh", "-c", script]))
    }

    /// `launch -- sh -c SCRIPT`, as this caller.
    pub fn shell(self, script: &str) -> Command {
        self.launch(["--", "sh", "-c", script])
    }
}

/// Root and an ordinary user. Without root, only the user: said loudly, and a failure in CI.
pub fn callers() -> Vec<Caller> {
    if nix::unistd::geteuid().is_root() {
        return vec![Caller::Root, Caller::User];
    }
    cannot_run("as root", "the tests were not started by root");
    vec![Caller::User]
}

/// Says that a part of the tests cannot run here. In CI that is a failure.
pub fn cannot_run(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot test {what}: {why}");
    eprintln!("\n*** NOT TESTED: {what}: {why} ***\n");
}

/// Runs a command to its end, which must come before the deadline.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    running.output()
}

/// The stdout of a command that succeeds and says nothing on stderr.
#[track_caller]
pub fn stdout_of(command: &mut Command) -> String {
    let output = run(command);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{command:?}");
    text(&output.stdout)
}

/// The exit code and stderr of a command.
#[track_caller]
pub fn code_and_stderr(command: &mut Command) -> (i32, String) {
    let output = run(command);
    (code(output.status), text(&output.stderr))
}

/// The exit code; a process that a signal killed has none, and is a failure here.
#[track_caller]
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| panic!("killed by signal {:?}", status.signal()))
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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

/// A process that is killed when the test ends before it.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child: Some(child) }
    }

    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("not waited for yet")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().expect("not waited for yet").id() as i32)
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("kill");
    }

    /// Its status, before the deadline.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.child().try_wait().expect("wait"))
    }

    /// Its output, before the deadline.
    #[track_caller]
    pub fn output(mut self) -> Output {
        let child = self.child.take().expect("not waited for yet");
        let pid = Pid::from_raw(child.id() as i32);
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        match finished.recv_timeout(DEADLINE) {
            Ok(output) => output.expect("wait"),
            Err(_) => {
                let _ = kill(pid, Signal::SIGKILL);
                panic!("not ended before the deadline");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process to which, and from which, single lines go.
pub struct Talk {
    running: Running,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Talk {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = running.child().stdin.take();
        let stdout = BufReader::new(running.child().stdout.take().expect("stdout"));
        let (said, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Self { running, stdin, lines }
    }

    pub fn pid(&self) -> Pid {
        self.running.pid()
    }

    /// The next line of its stdout, before the deadline; none when it has closed it.
    #[track_caller]
    pub fn hear(&self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing said before the deadline"),
        }
    }

    /// A line to its stdin.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin"), "{line}").expect("write to stdin");
    }

    /// Closes its stdin; the lines that were not heard yet, and its status.
    #[track_caller]
    pub fn end(mut self) -> (Vec<String>, ExitStatus) {
        self.stdin = None;
        let lines = std::iter::from_fn(|| self.hear()).collect();
        (lines, self.running.wait())
    }
}

/// The pids of every process whose command line or environment has this text in it: a test gives its sandboxes a
/// text of their own, and finds whoever is left of them.
pub fn processes_with(marker: &str) -> Vec<i32> {
    let has = |path: PathBuf| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(marker.len()).any(|part| part == marker.as_bytes()))
    };
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != std::process::id() as i32)
        .filter(|pid| {
            has(format!("/proc/{pid}/cmdline").into()) || has(format!("/proc/{pid}/environ").into())
        })
        .collect()
}

/// Whether a process of this pid is alive; a zombie is not.
pub fn is_alive(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()));
    state.is_some_and(|state| !"ZX".contains(state))
}

/// The processors that a process or thread of /proc may run on: a line of proc_pid_status(5).
#[track_caller]
pub fn processors_of(process: impl Display) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed:"));
    line.expect("Cpus_allowed").to_owned()
}

/// Calls `action` for each of these choices of processors: all, the first, all but the first. It is called in a thread that may
/// run on no others, and nor may whom it starts.
pub fn on_all_and_on_some_processors(action: impl Fn() + Sync) {
    let own = sys::processors().expect("processors");
    let is_own = |n: &usize| own[n / 8] & 1 << (n % 8) != 0;
    let numbers: Vec<_> = (0..own.len() * 8).filter(is_own).collect();
    let mut choices = vec![&numbers[..]];
    if numbers.len() > 1 {
        choices.extend([&numbers[..1], &numbers[1..]]);
    } else {
        cannot_run("a choice of processors", "there is one");
    }
    for choice in choices {
        let mut set = vec![0; own.len()];
        choice.iter().for_each(|n| set[n / 8] |= 1 << (n % 8));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sys::use_processors(&set).expect("processors");
                action();
            });
        });
    }
}

/// A text that is in no other test's command lines.
pub fn marker(test: &str) -> String {
    format!("marker-{test}-{}", std::process::id())
}

/// The line on stderr of a launch that fails with 125.
#[track_caller]
pub fn refused(command: &mut Command) -> String {
    let (code, stderr) = code_and_stderr(command);
    assert_eq!(code, 125, "{stderr}");
    stderr.trim_end_matches('\n').into()
}

/// The line below an error of something that could not be made in the tree.
pub const MADE_IN_THE_TREE: &str = "launch: hint: what is missing is made in the tree itself; make it there before, or mount a tmpfs above it first";

/// A mount that the workload finds: a line of proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The mount point.
    pub at: String,
    /// The mount's own options.
    pub options: String,
    /// The file system's type.
    pub kind: String,
    /// The file system's options.
    pub file_system_options: String,
}

/// What is mounted, by the text of mountinfo.
pub fn mounts_in(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (mount, file_system) = line.split_once(" - ").expect("two halves");
        let (mount, file_system): (Vec<_>, Vec<_>) =
            (mount.split(' ').collect(), file_system.split(' ').collect());
        Mount {
            at: mount[4].into(),
            options: mount[5].into(),
            kind: file_system[0].into(),
            file_system_options: file_system[2].into(),
        }
    };
    mountinfo.lines().map(mount).collect()
}

/// A temporary folder of somebody's, which everybody can read.
pub struct Folder(TempDir);

impl Folder {
    pub fn of(caller: Caller) -> Self {
        let folder = public_folder();
        chown(folder.path(), Some(caller.uid()), Some(caller.gid())).expect("chown");
        Self(folder)
    }

    /// The path of an entry, or of the folder where `name` is empty.
    pub fn path(&self, name: &str) -> String {
        let path = if name.is_empty() { self.0.path().to_owned() } else { self.0.path().join(name) };
        path.into_os_string().into_string().expect("text")
    }

    /// A file of the owner's; its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("write");
        self.give(&path);
        path
    }

    /// A directory of the owner's; its path.
    pub fn directory(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir(&path).expect("mkdir");
        self.give(&path);
        path
    }

    /// A symbolic link; its path.
    pub fn link(&self, target: &str, name: &str) -> String {
        let path = self.path(name);
        std::os::unix::fs::symlink(target, &path).expect("symlink");
        path
    }

    /// What is in a file.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    /// The sorted names of what is in a directory.
    #[track_caller]
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).expect(name);
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect(name).file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    fn give(&self, path: &str) {
        let owner = fs::metadata(self.0.path()).expect("stat");
        chown(path, Some(owner.uid()), Some(owner.gid())).expect("chown");
    }
}

/// What a root file system of the tests' can do.
const APPLETS: [&str; 18] = [
    "cat", "dd", "echo", "find", "grep", "head", "id", "ls", "pwd", "readlink", "rm", "sh", "sleep", "stat",
    "touch", "true", "tty", "wc",
];

/// A root file system of somebody's: bin with a static busybox, etc with a file, and nothing else.
pub struct Root(Folder);

impl Root {
    /// Loudly none where there is no busybox.
    pub fn of(caller: Caller) -> Option<Self> {
        Self::at(Folder::of(caller), "")
    }

    /// The one in a directory of a folder.
    pub fn at(folder: Folder, name: &str) -> Option<Self> {
        let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let Some(busybox) = busybox else {
            cannot_run("root file systems", "busybox-static is not installed");
            return None;
        };
        let inside = |path: &str| Path::new(name).join(path).into_os_string().into_string().expect("text");
        folder.directory(&inside("bin"));
        install(Path::new(busybox), Path::new(&folder.path(&inside("bin/busybox"))));
        for applet in APPLETS {
            folder.link("busybox", &inside(&format!("bin/{applet}")));
        }
        folder.directory(&inside("etc"));
        folder.file(&inside("etc/name"), "the inner root\n");
        Some(Self(folder))
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Folder {
        &self.0
    }

    /// `launch --rootfs ROOT OPTIONS… -- /bin/sh -c SCRIPT`, as this caller.
    pub fn shell(&self, caller: Caller, options: &[&str], script: &str) -> Command {
        let root = self.0.path("");
        let start = ["--rootfs", &root];
        caller.launch(start.iter().chain(options).chain(&["--", "/bin/sh", "-c", script]))
    }
}
