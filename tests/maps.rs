//! More ids inside than the caller's own: `--map auto`, `--map-users`, `--map-groups`.
//!
//! The ordinary user needs a name and subordinate ids. It has them in an /etc that only the processes of a test see.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    Caller, Running, Talk, USER, callers, cannot_run, code, code_and_stderr, executable, install, marker,
    processes_with, program, public_folder, run, stdout_of, text, until,
};
use tempfile::TempDir;

const SUBORDINATE: &str = "root:500000:1000\nlaunch-test:200000:65536\n54321:300000:1000\n";

/// What a test's processes see instead of the machine's own.
struct Machine {
    etc: TempDir,
    /// Shell commands that root carries out first.
    before: String,
}

impl Machine {
    fn new(subuid: &str, subgid: &str) -> Self {
        let machine = Self { etc: public_folder(), before: String::new() };
        let user = format!("launch-test:x:{USER}:{USER}::/nonexistent:/bin/sh\n");
        machine.write("passwd", &format!("root:x:0:0:root:/root:/bin/sh\n{user}"));
        machine.write("group", &format!("root:x:0:\nlaunch-test:x:{USER}:\n"));
        machine.write("nsswitch.conf", "passwd: files\ngroup: files\n");
        machine.write("subuid", subuid);
        machine.write("subgid", subgid);
        machine
    }

    fn usual() -> Self {
        Self::new(SUBORDINATE, SUBORDINATE)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.etc.path().join(name), content).expect(name);
    }

    fn and_before(mut self, command: &str) -> Self {
        self.before = format!("{command} && ");
        self
    }

    /// `command` on this machine. Its mount namespace and all in it end with it.
    fn on(&self, command: &Command) -> Command {
        let script = format!("{}mount --bind \"$0\" /etc && exec \"$@\"", self.before);
        let mut wrapped = Command::new("unshare");
        wrapped.args(["--mount", "sh", "-c", &script]).arg(self.etc.path());
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped.stdin(Stdio::null()).current_dir("/").env_remove("LAUNCH_LOG");
        wrapped
    }

    fn launch(&self, caller: Caller, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.on(&caller.launch(arguments))
    }

    fn shell(&self, caller: Caller, options: &[&str], script: &str) -> Command {
        self.launch(caller, options.iter().chain(&["--", "sh", "-c", script]))
    }

    fn stdout(&self, caller: Caller, options: &[&str], script: &str) -> String {
        stdout_of(&mut self.shell(caller, options, script))
    }

    /// The one line of an error, and the hint, of a launch that ends with 125.
    fn refused(&self, caller: Caller, options: &[&str]) -> String {
        let (code, stderr) = code_and_stderr(&mut self.shell(caller, options, "echo ran >&2"));
        assert_eq!(code, 125, "{stderr}");
        assert!(!stderr.contains("ran\n"), "{stderr}");
        stderr
    }
}

/// Root alone can give a test an /etc of its own.
fn can_have_machines() -> bool {
    let can = nix::unistd::geteuid().is_root();
    if !can {
        cannot_run("maps", "only root can give the ordinary user subordinate ids");
    }
    can
}

/// The lines of a map with one blank between the numbers.
fn lines(map: &str) -> Vec<String> {
    map.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

const SHOW: &str = "cd /proc/self; cat uid_map; echo; cat gid_map; echo; cat setgroups; id -u; id -g; id -G";

/// uid map, gid map, and setgroups, uid, gid and groups.
fn identity(machine: &Machine, caller: Caller, options: &[&str]) -> [Vec<String>; 3] {
    let output = machine.stdout(caller, options, SHOW);
    let parts: Vec<_> = output.split("\n\n").map(lines).collect();
    parts.try_into().expect("three parts")
}

#[test]
fn map_auto_has_the_caller_as_root_and_behind_it_every_range_of_both_files() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::new(SUBORDINATE, "launch-test:700000:10\nroot:800000:1\nroot:900000:2\n");
    let as_root = ["allow", "0", "0"];
    let [users, groups, rest] = identity(&machine, Caller::User, &["--map", "auto"]);
    assert_eq!(users, ["0 54321 1", "1 200000 65536", "65537 300000 1000"]);
    assert_eq!(groups, ["0 54321 1", "1 700000 10"]);
    assert_eq!(rest[..3], as_root);
    let [users, groups, rest] = identity(&machine, Caller::Root, &["--map", "auto"]);
    assert_eq!(users, ["0 0 1", "1 500000 1000"]);
    assert_eq!(groups, ["0 0 1", "1 800000 1", "2 900000 2"]);
    assert_eq!(rest[..3], as_root);
}

#[test]
fn map_users_and_map_groups_are_the_maps_line_by_line() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    let both = ["--map-users", "0:54321:1", "--map-users", "10:200005:90", "--map-groups=7:54321:1"];
    let [users, groups, rest] = identity(&machine, Caller::User, &both);
    assert_eq!(
        (users, groups),
        (vec!["0 54321 1".into(), "10 200005 90".into()], vec!["7 54321 1".to_owned()])
    );
    assert_eq!(rest, ["deny", "0", "7", "7"]);
    let ranges =
        ["--map-groups", "0:54321:1", "--map-groups", "1:200000:65536", "--map-groups", "65537:300000:7"];
    let [users, groups, rest] = identity(&machine, Caller::User, &ranges);
    assert_eq!(users, ["0 54321 1"]);
    assert_eq!(groups, ["0 54321 1", "1 200000 65536", "65537 300000 7"]);
    assert_eq!(rest, ["allow", "0", "0", "0"]);
    // Root needs no file for them.
    let by_root = ["--map-users", "0:0:1", "--map-users", "1:70000:5", "--map-groups", "0:0:4294967295"];
    let [users, groups, rest] = identity(&machine, Caller::Root, &by_root);
    assert_eq!(
        (users, groups),
        (vec!["0 0 1".into(), "1 70000 5".into()], vec!["0 0 4294967295".to_owned()])
    );
    assert_eq!(rest[..3], ["allow", "0", "0"]);
}

#[test]
fn a_caller_that_is_not_root_inside_keeps_its_uid_and_has_no_capabilities() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    for caller in callers() {
        let own = format!("1000:{}:1", caller.uid());
        // Init sets up its mounts and `lo` all the same.
        let options = ["--map-users", "0:200000:1000", "--map-users", &own, "--net", "none"];
        let script = "id -u; grep CapEff /proc/self/status; touch /tmp/file; stat -c %u /tmp/file";
        assert_eq!(machine.stdout(caller, &options, script), "1000\nCapEff:\t0000000000000000\n1000\n");
    }
}

#[test]
fn files_can_be_given_to_every_id_that_is_mapped_and_to_no_other() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    for caller in callers() {
        let give = |ids: &str| format!("touch /tmp/file && chown {ids} /tmp/file && stat -c %u:%g /tmp/file");
        assert_eq!(machine.stdout(caller, &["--map", "auto"], &give("33:44")), "33:44\n");
        let (code, stderr) =
            code_and_stderr(&mut machine.shell(caller, &["--map", "auto"], &give("99999:0")));
        assert_eq!(
            (code, stderr),
            (1, "chown: changing ownership of '/tmp/file': Invalid argument\n".into())
        );
    }
}

#[test]
fn where_the_callers_id_is_not_mapped_pid_1_and_the_workload_are_root_inside_and_another_outside() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    for (caller, maps, uid, gid) in [
        (Caller::Root, ["0:100000:65536", "0:110000:65536"], 100_000, 110_000),
        (Caller::User, ["0:200000:65536", "0:300000:1000"], 200_000, 300_000),
    ] {
        let folder = public_folder();
        let file = folder.path().join("file");
        let options = ["--map-users", maps[0], "--map-groups", maps[1], "--net", "none"];
        let script = format!(
            "> {}; id -u; id -g; id -G; grep -E '^[UG]id|Groups' /proc/1/status; grep -q lo: /proc/net/dev",
            file.display()
        );
        let said = lines(&machine.stdout(caller, &options, &script));
        assert_eq!(said, ["0", "0", "0", "Uid: 0 0 0 0", "Gid: 0 0 0 0", "Groups:"], "{caller:?}");
        let file = file.metadata().expect("the file");
        assert_eq!((file.uid(), file.gid()), (uid, gid), "{caller:?}");
    }
}

#[test]
fn a_sandbox_that_is_another_outside_gets_the_callers_signals_and_ends_with_it() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    let name = marker("another-outside");
    let options = ["--map-users", "0:200000:65536", "--map-groups", "0:200000:65536"];
    let script =
        format!("exec 2>&-; trap 'echo got it; exit 7' TERM; echo {name}; while :; do sleep 0.01; done");
    let start = || Talk::start(&mut machine.shell(Caller::User, &options, &script));
    let talk = start();
    assert_eq!(talk.hear().as_deref(), Some(name.as_str()));
    nix::sys::signal::kill(talk.pid(), Signal::SIGTERM).expect("kill");
    assert_eq!(talk.hear().as_deref(), Some("got it"));
    assert_eq!(code(talk.end().1), 7);
    let talk = start();
    assert_eq!(talk.hear().as_deref(), Some(name.as_str()));
    nix::sys::signal::kill(talk.pid(), Signal::SIGKILL).expect("kill");
    drop(talk);
    until("all is gone", || processes_with(&name).is_empty().then_some(()));
}

#[test]
fn setgroups_is_open_where_subgid_gives_groups_and_closed_where_the_caller_maps_its_own_alone() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    let leave = "setpriv --clear-groups id -G && setpriv --groups 5 id -G";
    for caller in callers() {
        assert_eq!(machine.stdout(caller, &["--map", "auto"], leave), "0\n0 5\n", "{caller:?}");
    }
    for options in [&[][..], &["--map-users", "0:200000:9"], &["--map-groups", "0:54321:1"]] {
        let (code, stderr) = code_and_stderr(&mut machine.shell(Caller::User, options, leave));
        assert_ne!(code, 0, "{options:?}");
        assert!(stderr.contains("setgroups failed: Operation not permitted"), "{options:?}: {stderr}");
    }
}

#[test]
fn a_user_without_ids_of_its_own_is_told_the_line_to_add() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::new("other:100000:65536\n", SUBORDINATE);
    let expected = |who: &str| {
        format!(
            "launch: id map: /etc/subuid: gives {who} no ids; add the line {who}:165536:65536, or as root: usermod \
             --add-subuids 165536-231071 {who}\n"
        )
    };
    assert_eq!(machine.refused(Caller::User, &["--map", "auto"]), expected("launch-test"));
    assert_eq!(machine.refused(Caller::User, &["--map-users", "0:5:10"]), expected("launch-test"));
    assert_eq!(machine.refused(Caller::Root, &["--map", "auto"]), expected("root"));
    let machine = Machine::new(SUBORDINATE, "");
    assert!(
        machine.refused(Caller::User, &["--map", "auto"]).contains("--add-subgids 100000-165535 launch-test")
    );
    fs::remove_file(machine.etc.path().join("subuid")).expect("remove");
    assert!(
        machine.refused(Caller::User, &["--map", "auto"]).starts_with("launch: id map: /etc/subuid: gives")
    );
}

#[test]
fn a_user_with_too_few_ids_is_told_which_it_has() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    assert_eq!(
        machine.refused(Caller::User, &["--map-users", "0:200000:65537"]),
        "launch: id map: --map-users 0:200000:65537: /etc/subuid gives launch-test only 200000 to 265535, 300000 to \
         300999, not 265536 to 265536; for more, add the line launch-test:100000:65536, or as root: usermod \
         --add-subuids 100000-165535 launch-test\n"
    );
    assert!(machine.refused(Caller::User, &["--map-groups", "0:0:1"]).contains("not 0 to 0; for more"));
}

#[test]
fn wrong_maps_end_before_anything_is_made() {
    for caller in callers() {
        for (options, reason) in [
            (&["--map-users", "0:1"][..], "--map-users: \"0:1\": say IN:OUT:COUNT, as in 0:100000:65536"),
            (
                &["--map-users", "0x0:1:1"],
                "--map-users: \"0x0:1:1\": \"0x0\" is no id: they go from 0 to 4294967294",
            ),
            (
                &["--map-groups", "0:1:0"],
                "--map-groups: \"0:1:0\": \"0\" is no count of ids: they go from 1 to 4294967295",
            ),
            (
                &["--map-users", "1:0:4294967295"],
                "--map-users 1:0:4294967295: the last id inside would be more than 4294967294",
            ),
            (
                &["--map-users", "0:10:10", "--map-users", "5:30:1"],
                "--map-users 5:30:1: has ids inside that 0:10:10 has too",
            ),
            (&["--map-users", "0:1:1", "--uid", "5"], "--map-users: cannot be used together with --uid"),
            (&["--map", "all"], "--map: \"all\" is none of auto"),
        ] {
            let (code, stderr) = code_and_stderr(&mut caller.shell_with(options, "true"));
            assert_eq!((code, stderr), (125, format!("launch: command line: {reason}\n")), "{options:?}");
        }
    }
    if can_have_machines() {
        let nobody =
            "launch: command line: --map-users: PID 1 would be nobody: map 0 inside, or your own id (";
        let machine = Machine::usual();
        for caller in callers() {
            assert!(machine.refused(caller, &["--map-users", "1:200000:5"]).starts_with(nobody));
        }
        let shared = machine.refused(Caller::Root, &["--share", "user", "--map", "auto"]);
        assert!(shared.contains("--share user: ids can only be chosen"), "{shared}");
    }
}

/// A file of this mode, to be mounted over a helper.
fn cover(folder: &Path, mode: u32) -> PathBuf {
    let file = folder.join("helper");
    install(Path::new("/usr/bin/newuidmap"), &file);
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
    file
}

#[test]
fn a_helper_that_is_missing_or_has_no_power_is_named_with_what_helps() {
    if !can_have_machines() {
        return;
    }
    let folder = public_folder();
    let covered =
        |mode: u32| format!("mount --bind {} /usr/bin/newuidmap", cover(folder.path(), mode).display());
    let missing = Machine::usual().and_before(&covered(0o644));
    assert_eq!(
        missing.refused(Caller::User, &["--map", "auto"]),
        "launch: id map: newuidmap: not found in PATH and /usr/bin; install the package uidmap (Debian, Ubuntu) or \
         shadow-utils (Fedora)\n"
    );
    assert_eq!(missing.stdout(Caller::Root, &["--map", "auto"], "id -u"), "0\n", "root needs no helper");
    let error = "launch: id map: /usr/bin/newuidmap: ";
    let refused = |machine: &Machine, hint: &str| {
        let said = machine.refused(Caller::User, &["--map", "auto"]);
        assert!(said.starts_with(error) && said.lines().count() == 2, "{said}");
        assert!(said.contains("\nlaunch: hint: ") && said.contains(hint), "{said}");
    };
    refused(&Machine::usual().and_before(&covered(0o755)), "chmod u+s");
    let nosuid = format!("{} && mount -o remount,bind,nosuid /usr/bin/newuidmap", covered(0o4755));
    refused(&Machine::usual().and_before(&nosuid), "nosuid");
    let nameless = Machine::new("54321:200000:65536\n", "54321:200000:65536\n");
    nameless.write("passwd", "root:x:0:0:root:/root:/bin/sh\n");
    refused(&nameless, "passwd(5)");
    let machine = Machine::usual();
    let launch = Caller::User.launch(["--map", "auto", "--", "true"]);
    let mut no_new_privs = Command::new("setpriv");
    no_new_privs.arg("--no-new-privs").arg(launch.get_program()).args(launch.get_args());
    let (code, stderr) = code_and_stderr(&mut machine.on(&no_new_privs));
    assert_eq!(code, 125, "{stderr}");
    assert!(stderr.contains("hint: no_new_privs is set"), "{stderr}");
}

#[test]
fn a_launch_file_that_only_the_caller_may_execute_is_explained() {
    if !can_have_machines() {
        return;
    }
    let folder = public_folder();
    let private = folder.path().join("launch");
    install(program(), &private);
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).expect("chmod");
    let mut launch = Command::new(&private);
    launch.args(["--map-users", "0:100000:9", "--", "true"]).current_dir("/").env_remove("LAUNCH_LOG");
    let (code, stderr) = code_and_stderr(&mut launch);
    assert_eq!(code, 125, "{stderr}");
    assert!(
        stderr.starts_with("launch: init: launch-init: Permission denied\nlaunch: hint: PID 1 may not"),
        "{stderr}"
    );
}

#[test]
fn sixteen_launches_at_once_all_have_their_maps() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::usual();
    for caller in callers() {
        let start = |_| {
            let mut command = machine.shell(caller, &["--map", "auto"], "cat /proc/self/uid_map");
            Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        };
        let running: Vec<_> = (0..16).map(start).collect();
        for running in running {
            let output = running.output();
            assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()));
            assert!(lines(&text(&output.stdout)).len() >= 2);
        }
    }
}

/// A machine whose PATH has another newuidmap first.
fn with_helper(script: &str) -> (Machine, TempDir) {
    let folder = public_folder();
    executable(&folder.path().join("newuidmap"), format!("#!/bin/sh\n{script}\n"));
    (Machine::usual(), folder)
}

fn path_with(folder: &TempDir) -> String {
    format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", folder.path().display())
}

#[test]
fn a_signal_that_comes_while_a_helper_works_reaches_the_workload() {
    if !can_have_machines() {
        return;
    }
    let folder_of_signs = public_folder();
    let sign = folder_of_signs.path().join("sign");
    let script = format!(
        "grep SigBlk /proc/self/status > {0}.part; mv {0}.part {0}; sleep 0.3; exec /usr/bin/newuidmap \"$@\"",
        sign.display()
    );
    let (machine, folder) = with_helper(&script);
    let mut command = machine.shell(Caller::User, &["--map", "auto"], "exec sleep 60");
    let mut running = Running::start(command.env("PATH", path_with(&folder)));
    let mask = until("the helper works", || fs::read_to_string(&sign).ok());
    assert_eq!(mask, "SigBlk:\t0000000000000000\n", "the helper has the caller's mask");
    running.signal(Signal::SIGINT);
    assert_eq!(code(running.wait()), 130);
}

#[test]
fn a_helper_that_hangs_does_not_keep_launch_from_ending() {
    if !can_have_machines() {
        return;
    }
    let name = marker("hanging-helper");
    let folder_of_signs = public_folder();
    let sign = folder_of_signs.path().join("sign");
    let (machine, folder) = with_helper(&format!(": > {}; sleep 1000; : {name}", sign.display()));
    let mut command = machine.shell(Caller::User, &["--map", "auto"], "true");
    let running =
        Running::start(command.env("PATH", path_with(&folder)).env("MARKER", &name).stderr(Stdio::piped()));
    until("the helper works", || sign.exists().then_some(()));
    let start = Instant::now();
    running.signal(Signal::SIGTERM);
    let output = running.output();
    assert_eq!(code(output.status), 125);
    assert!(
        text(&output.stderr).contains("newuidmap: was still at work 2 seconds after"),
        "{}",
        text(&output.stderr)
    );
    assert!(start.elapsed() < Duration::from_secs(20));
    until("the helper is gone", || processes_with(&name).is_empty().then_some(()));
}

#[test]
fn a_helper_that_writes_no_map_is_not_believed() {
    if !can_have_machines() {
        return;
    }
    for (script, reason) in [
        ("exit 0", "has not written the map"),
        ("exit 3", "exited with 3 and said nothing"),
        ("kill -9 $$", "was killed by SIGKILL"),
        ("echo 'newuidmap: no luck' >&2; echo today >&2; exit 1", "no luck; today"),
    ] {
        let (machine, folder) = with_helper(script);
        let output =
            run(machine.shell(Caller::User, &["--map", "auto"], "true").env("PATH", path_with(&folder)));
        let expected = format!("launch: id map: {}: {reason}\n", folder.path().join("newuidmap").display());
        let stderr = text(&output.stderr);
        assert_eq!(code(output.status), 125);
        // What is in PATH has no set-uid bit, which is the hint.
        assert!(stderr.starts_with(&expected), "{stderr}");
    }
}
