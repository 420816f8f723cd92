//! Where the tests' named sandboxes are, and nobody else's.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Caller, DEADLINE, Folder, Talk, program, refused, run, stdout_of, until};

/// A registry of a caller's own: root gets a mount namespace with a /run of its own.
pub struct Place {
    pub caller: Caller,
    pub folder: Folder,
    /// What holds the namespace.
    namespace: Option<Talk>,
}

impl Place {
    pub fn of(caller: Caller) -> Self {
        Self::made(caller, "mount --bind \"$0\" /run")
    }

    /// Root's, on a disk of this size.
    pub fn of_size(size: &str) -> Self {
        let mount =
            format!("mount -t tmpfs -o size={size},mode=700 tmpfs \"$0\" && mount --bind \"$0\" /run");
        Self::made(Caller::Root, &mount)
    }

    fn made(caller: Caller, mount: &str) -> Self {
        let folder = Folder::of(caller);
        let path = folder.directory("run");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("chmod");
        let namespace = (caller == Caller::Root).then(|| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &format!("{mount} && echo ready && read -r _"), &path]);
            let holder = Talk::start(&mut command);
            assert_eq!(holder.hear().as_deref(), Some("ready"));
            holder
        });
        Self { caller, folder, namespace }
    }

    /// What stands before a program that this caller runs there.
    pub fn words(&self) -> Vec<String> {
        match &self.namespace {
            Some(holder) => {
                vec!["nsenter".into(), format!("--mount=/proc/{}/ns/mnt", holder.pid()), "--".into()]
            }
            None => vec!["env".into(), format!("XDG_RUNTIME_DIR={}", self.folder.path("run"))],
        }
    }

    /// A command that the caller runs there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let words = self.words();
        let mut command = self.caller.command(&words[0]);
        command.args(&words[1..]).arg(program).stdin(Stdio::null()).current_dir("/").env_remove("LAUNCH_LOG");
        command
    }

    /// `launch WORDS…`
    pub fn launch(&self, words: &[&str]) -> Command {
        let mut command = self.command(program());
        command.args(words);
        command
    }

    /// `sh -c SCRIPT` in which `"$@"` is `launch WORDS…`.
    pub fn launch_by(&self, script: &str, words: &[&str]) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", script, "sh"]).arg(program()).args(words);
        command
    }

    /// `launch --name NAME --detach OPTIONS… -- sh -c SCRIPT`, which succeeds.
    #[track_caller]
    pub fn start(&self, name: &str, options: &[&str], script: &str) {
        let start = ["--name", name, "--detach"];
        let words: Vec<_> = start.iter().chain(options).chain(&["--", "sh", "-c", script]).copied().collect();
        assert_eq!(stdout_of(&mut self.launch(&words)), format!("{name}\n"));
    }

    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        run(&mut self.launch(words))
    }

    /// The stdout of one that succeeds.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> String {
        stdout_of(&mut self.launch(words))
    }

    /// What `launch inspect` prints.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        serde_json::from_str(&self.says(&["inspect", name])).expect("JSON")
    }

    #[track_caller]
    pub fn refuses(&self, words: &[&str]) -> String {
        refused(&mut self.launch(words))
    }

    /// What of a sandbox's folder has this name; the folder itself where it is empty.
    pub fn path(&self, name: &str, file: &str) -> PathBuf {
        let root = match &self.namespace {
            // What is mounted there is seen there alone.
            Some(holder) => format!("/proc/{}/root/run", holder.pid()),
            None => self.folder.path("run"),
        };
        let folder = Path::new(&root).join("launch").join(name);
        if file.is_empty() { folder } else { folder.join(file) }
    }

    /// Its state, as the file has it.
    #[track_caller]
    pub fn state(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name, "state.json")).expect("state")).expect("JSON")
    }

    /// Its state, when the file has this phase.
    #[track_caller]
    pub fn state_when(&self, name: &str, phase: &str) -> Value {
        until(phase, || {
            let state = fs::read(self.path(name, "state.json")).ok()?;
            serde_json::from_slice::<Value>(&state).ok().filter(|state| state["phase"] == phase)
        })
    }

    #[track_caller]
    pub fn monitor(&self, name: &str) -> Pid {
        Pid::from_raw(self.state(name)["monitor_pid"].as_i64().expect("a pid") as i32)
    }

    /// Who holds its lock, which is there.
    #[track_caller]
    pub fn holder(&self, name: &str) -> Option<i32> {
        assert!(self.path(name, "lock").exists(), "no lock");
        self.try_holder(name)
    }

    /// Who holds its lock, if anybody.
    #[track_caller]
    pub fn try_holder(&self, name: &str) -> Option<i32> {
        let lock = File::open(self.path(name, "lock")).ok()?;
        let mut range = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: 0,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(lock.as_fd(), FcntlArg::F_GETLK(&mut range)).expect("F_GETLK");
        (range.l_type != libc::F_UNLCK as libc::c_short).then_some(range.l_pid)
    }

    /// Waits until nobody holds it.
    #[track_caller]
    pub fn has_ended(&self, name: &str) {
        until("its monitor is gone", || self.try_holder(name).is_none().then_some(()));
    }

    /// The names of its events.
    #[track_caller]
    pub fn events(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name, "events.jsonl")).expect("events");
        let event = |line: &str| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(event["name"], name);
            event["event"].as_str().expect("text").to_owned()
        };
        text.lines().map(event).collect()
    }

    /// A connection to its monitor.
    #[track_caller]
    pub fn connect(&self, name: &str) -> Connection {
        let stream = UnixStream::connect(self.path(name, "control")).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
        Connection(BufReader::new(stream))
    }

    /// What its monitor replies.
    #[track_caller]
    pub fn ask(&self, name: &str, request: Value) -> Value {
        self.connect(name).ask(request)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A failed test may have left anything; what is in the file is enough for the tests' own.
        let folders = fs::read_dir(self.path("", "")).into_iter().flatten().flatten();
        for folder in folders {
            let Some(name) = folder.file_name().to_str().map(str::to_owned) else { continue };
            if let Some(pid) = self.try_holder(&name) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// A connection to a monitor.
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("write");
    }

    /// The same, to one who may have gone.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// The reply, to one who may have been sent away with one before he asked.
    #[track_caller]
    pub fn hear_or_ask(&mut self, request: Value) -> Value {
        self.try_send(format!("{request}\n").as_bytes());
        self.hear().expect("a reply")
    }

    #[track_caller]
    pub fn say(&mut self, request: Value) {
        self.send(format!("{request}\n").as_bytes());
    }

    /// The next line; none when the monitor has closed it.
    #[track_caller]
    pub fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("JSON")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    #[track_caller]
    pub fn ask(&mut self, request: Value) -> Value {
        self.say(request);
        self.hear().expect("a reply")
    }
}

/// A request without anything else.
pub fn request(kind: &str) -> Value {
    json!({ "request": kind })
}
