//! What every test of the real program needs: the program, who runs it, deadlines, and no leftovers.

#![allow(dead_code)] // Each test file uses a part of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

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
    fs::copy(env!("CARGO_BIN_EXE_launch"), &program).expect("copy launch");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod launch");
    (folder, program)
});

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

/// A text that is in no other test's command lines.
pub fn marker(test: &str) -> String {
    format!("marker-{test}-{}", std::process::id())
}
