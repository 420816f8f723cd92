//! A root file system that somebody hostile prepared, with what it is meant to lead to beside it.

#![allow(dead_code)] // Each test file uses a part of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempDir;

use super::{Caller, Running, public_folder, run, text};

/// What must never be read inside.
pub const SECRET: &str = "the secret of the outside";
/// How long names are swapped in a test whose attacker races the set-up.
pub const RACE: Duration = Duration::from_millis(1500);

/// `root`, which becomes a sandbox's; `outside`, with a file `secret` and a directory `directory`; and `work`, to be
/// bound. All of it is the caller's.
pub struct Hostile {
    folder: TempDir,
    pub caller: Caller,
}

impl Hostile {
    /// Programs and libraries come from the caller's /usr.
    pub fn new(caller: Caller) -> Self {
        let hostile = Self { folder: public_folder(), caller };
        for directory in ["root", "root/usr", "work", "outside", "outside/directory"] {
            hostile.make_directory(directory);
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            hostile.link(&format!("usr/{link}"), &format!("root/{link}"));
        }
        hostile.file("outside/secret", SECRET);
        hostile
    }

    /// A path in the folder that all is in.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The same, as text.
    pub fn name(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    pub fn make_directory(&self, path: &str) {
        fs::create_dir_all(self.path(path)).expect(path);
        self.give(path);
    }

    pub fn file(&self, path: &str, content: &str) {
        fs::write(self.path(path), content).expect(path);
        self.give(path);
    }

    pub fn link(&self, target: &str, path: &str) {
        symlink(target, self.path(path)).expect(path);
        self.give(path);
    }

    fn give(&self, path: &str) {
        lchown(self.path(path), Some(self.caller.uid()), Some(self.caller.gid())).expect(path);
    }

    /// The ways in which a link can name a path of the outside: absolute, by more steps up than there are, and through
    /// what a set-up or /proc may have lying about.
    pub fn ways_out(&self, to: &str) -> Vec<String> {
        let absolute = self.name(to);
        let up = "../".repeat(40);
        let mut ways = vec![absolute.clone(), format!("{up}{}", &absolute[1..])];
        for root in
            ["/proc/1/root", "/proc/self/root", "/proc/self/cwd", "/oldroot", "/.old", "/proc/self/fd/3"]
        {
            ways.push(format!("{root}{absolute}"));
        }
        ways
    }

    /// All that is outside: paths, modes, owners, contents, targets.
    pub fn outside(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        list(&self.path("outside"), &mut found);
        found
    }

    /// `launch --rootfs root --ro-bind /usr OPTIONS…`, read-only.
    pub fn launch(&self, options: &[&str], command: &[&str]) -> Command {
        self.launch_in("root", options, command)
    }

    /// The same, writable.
    pub fn launch_writable(&self, options: &[&str], command: &[&str]) -> Command {
        self.launch_in("root:rw", options, command)
    }

    fn launch_in(&self, root: &str, options: &[&str], command: &[&str]) -> Command {
        let root = self.name(root);
        let before = ["--rootfs", &root, "--ro-bind", "/usr"];
        self.caller.launch(before.iter().chain(options).chain(&["--"]).chain(command))
    }

    /// `sh -c SCRIPT` in it, read-only.
    pub fn shell(&self, options: &[&str], script: &str) -> Command {
        self.launch(options, &["sh", "-c", script])
    }

    /// Swaps two names of the folder in one step, whatever they are.
    pub fn exchange(&self, one: &str, other: &str) {
        renameat2(AT_FDCWD, &self.path(one), AT_FDCWD, &self.path(other), RenameFlags::RENAME_EXCHANGE)
            .expect("renameat2");
    }

    /// Swaps two names again and again while `launch` is called again and again, for the time of [`RACE`]; the names
    /// are as before afterwards. Returns how many launches and swaps there were.
    pub fn race(&self, one: &str, other: &str, mut launch: impl FnMut()) -> (usize, usize) {
        let (over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
        let launches = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) || swaps.load(Ordering::Relaxed) % 2 == 1 {
                    self.exchange(one, other);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            });
            // Whatever becomes of the launches, the thread ends.
            let _end = SetOnDrop(&over);
            let end = Instant::now() + RACE;
            let mut launches = 0;
            while Instant::now() < end {
                launch();
                launches += 1;
            }
            launches
        });
        (launches, swaps.into_inner())
    }

    /// Runs a launch that is held in the middle of its set-up, when every source has been opened: where its options have
    /// `--file 0:DEST`. `meanwhile` happens then. Its code, stdout and stderr.
    pub fn held(&self, mut command: Command, meanwhile: impl FnOnce()) -> (i32, String, String) {
        let mut running =
            Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut stdin = running.child().stdin.take().expect("stdin");
        // More than the pipe holds: the last byte is only in it when somebody has read the first.
        let size =
            nix::fcntl::fcntl(stdin.as_fd(), nix::fcntl::FcntlArg::F_GETPIPE_SZ).expect("F_GETPIPE_SZ");
        stdin.write_all(&vec![b'x'; size as usize + (64 << 10)]).expect("the set-up reads");
        meanwhile();
        drop(stdin);
        let output = running.output();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn list(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let status = path.symlink_metadata().expect("metadata");
    let content = if status.is_dir() {
        for entry in fs::read_dir(path).expect("directory") {
            list(&entry.expect("entry").path(), found);
        }
        String::new()
    } else if status.is_symlink() {
        fs::read_link(path).expect("link").display().to_string()
    } else if status.is_file() {
        text(&fs::read(path).expect("file"))
    } else {
        String::new()
    };
    let what = format!("{:o} {}:{} {content}", status.permissions().mode(), status.uid(), status.gid());
    found.insert(path.to_owned(), what);
}

/// The mount points of the inside, by the mountinfo(5) that `text` is.
pub fn mount_points(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split(' ').nth(4)).collect()
}

/// Runs it; its code, stdout and stderr.
#[track_caller]
pub fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = run(command);
    (super::code(output.status), text(&output.stdout), text(&output.stderr))
}

/// What a perl program prints inside that calls system calls by number; see syscall in perlfunc(1).
pub fn perl(program: &str) -> [&str; 3] {
    ["perl", "-e", program]
}
