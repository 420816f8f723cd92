//! What is mounted: a proc and a /tmp of the inside's own, and nothing of it outside.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use support::{Caller, Talk, callers, cannot_run, code_and_stderr, marker, public_folder, stdout_of, until};

/// The mount that the workload finds on `path`: type and options. See proc_pid_mountinfo(5).
fn mount_on(caller: Caller, options: &[&str], path: &str) -> (String, String) {
    let mounts = stdout_of(&mut caller.shell_with(options, "cat /proc/self/mountinfo"));
    let uppermost = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(path)).expect(path);
    let (mount, file_system) = uppermost.split_once(" - ").expect("two halves");
    let options = mount.split(' ').nth(5).expect("options");
    (file_system.split(' ').next().expect("type").into(), options.into())
}

#[test]
fn proc_lists_only_the_pids_of_the_inside() {
    for caller in callers() {
        // The shell itself expands the pattern: there is no third process.
        assert_eq!(stdout_of(&mut caller.shell("cd /proc; echo [0-9]*")), "1 2\n");
    }
}

#[test]
fn proc_is_mounted_nosuid_nodev_and_noexec() {
    for caller in callers() {
        let expected = ("proc".into(), "rw,nosuid,nodev,noexec,relatime".into());
        assert_eq!(mount_on(caller, &[], "/proc"), expected);
    }
}

#[test]
fn tmp_is_an_empty_tmpfs_for_everybody_nosuid_and_nodev() {
    for caller in callers() {
        assert_eq!(mount_on(caller, &[], "/tmp"), ("tmpfs".into(), "rw,nosuid,nodev,relatime".into()));
        assert_eq!(stdout_of(&mut caller.shell("stat -c '%a %u %g' /tmp; ls -A /tmp")), "1777 0 0\n");
    }
}

#[test]
fn a_file_in_tmp_is_on_its_own_side_only() {
    let outer = tempfile::Builder::new().prefix("launch-test-").tempdir_in("/tmp").expect("a folder in /tmp");
    let inner = format!("/tmp/{}", marker("inner-file"));
    for caller in callers() {
        let script = format!("test ! -e {} && echo inside > {inner} && cat {inner}", outer.path().display());
        assert_eq!(stdout_of(&mut caller.shell(&script)), "inside\n");
        assert!(!fs::exists(&inner).expect("stat"));
    }
}

#[test]
fn keep_tmp_shows_the_callers() {
    let folder =
        tempfile::Builder::new().prefix("launch-test-").tempdir_in("/tmp").expect("a folder in /tmp");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    fs::write(folder.path().join("outer"), "from outside\n").expect("write");
    for caller in callers() {
        let script = format!("cd {} && cat outer && echo from inside > {caller:?}", folder.path().display());
        assert_eq!(stdout_of(&mut caller.shell_with(&["--keep-tmp"], &script)), "from outside\n");
        let inner = fs::read_to_string(folder.path().join(format!("{caller:?}")));
        assert_eq!(inner.expect("the file from inside"), "from inside\n");
    }
}

#[test]
fn tmp_size_is_the_most_that_tmp_holds() {
    for caller in callers() {
        for (size, bytes) in [("64K", 64 << 10), ("1m", 1 << 20), ("131072", 131072)] {
            let options = ["--tmp-size", size];
            let fill = format!("head -c {bytes} /dev/zero > /tmp/file && stat -c %s /tmp/file");
            assert_eq!(stdout_of(&mut caller.shell_with(&options, &fill)), format!("{bytes}\n"));
            let overfill =
                format!("head -c {bytes} /dev/zero > /tmp/file; exec head -c 1 /dev/zero >> /tmp/file");
            let (code, stderr) = code_and_stderr(&mut caller.shell_with(&options, &overfill));
            assert_eq!(code, 1);
            assert!(stderr.ends_with(": No space left on device\n"), "{stderr}");
        }
    }
}

#[test]
fn no_mount_of_the_inside_is_seen_outside() {
    let outside = || fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    for caller in callers() {
        let folder = public_folder();
        let before = outside();
        let script = format!(
            "mount -t tmpfs inner {0} && echo mounted && read -r _; grep -c ' {0} ' /proc/self/mountinfo",
            folder.path().display()
        );
        let mut sandbox = Talk::start(&mut caller.shell_with(&["--cap-add", "SYS_ADMIN"], &script));
        assert_eq!(sandbox.hear().as_deref(), Some("mounted"));
        assert_eq!(outside(), before);
        sandbox.say("");
        let (lines, status) = sandbox.end();
        assert_eq!((lines, status.code()), (vec!["1".into()], Some(0)));
        assert_eq!(outside(), before);
    }
}

/// A mount namespace in which every mount is shared, as on most machines, but with nobody else.
struct SharedMounts(Talk);

impl SharedMounts {
    fn new() -> Self {
        let script = "mount --make-rshared / && echo ready && read -r _";
        let namespace = Talk::start(Command::new("unshare").args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
        ]));
        assert_eq!(namespace.hear().as_deref(), Some("ready"));
        Self(namespace)
    }

    /// The same command, in there.
    fn command(&self, command: &Command) -> Command {
        let mut there = Command::new("nsenter");
        there.args(["--mount", "--target", &self.0.pid().to_string(), "--"]);
        there.arg(command.get_program()).args(command.get_args());
        there
    }

    fn mounts(&self) -> String {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.0.pid())).expect("mountinfo")
    }
}

#[test]
fn nothing_propagates_from_or_to_a_shared_mount() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("shared mounts", "only root can make them");
    }
    for caller in callers() {
        let folder = public_folder();
        let [inner, outer] = ["inner", "outer"].map(|name| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("mkdir");
            path.to_str().expect("text").to_owned()
        });
        let outside = SharedMounts::new();
        let before = outside.mounts();
        assert!(before.lines().all(|mount| mount.contains(" shared:")), "{before}");
        let script =
            format!("mount -t tmpfs x {inner} && echo mounted && read -r _ && cat /proc/self/mountinfo");
        let mut sandbox =
            Talk::start(&mut outside.command(&caller.shell_with(&["--cap-add", "SYS_ADMIN"], &script)));
        assert_eq!(sandbox.hear().as_deref(), Some("mounted"));
        assert_eq!(outside.mounts(), before);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "x", &outer].map(OsStr::new));
        assert_eq!(stdout_of(&mut outside.command(&mount)), "");
        until("the mount is there", || outside.mounts().contains(&format!(" {outer} ")).then_some(()));
        sandbox.say("");
        let (inside, status) = sandbox.end();
        assert_eq!(status.code(), Some(0));
        let has = |path: &str| inside.iter().any(|mount| mount.contains(&format!(" {path} ")));
        assert_eq!((has(&inner), has(&outer)), (true, false), "{inside:#?}");
    }
}
