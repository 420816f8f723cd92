//! What the workload may do: its user and groups, capabilities, limits, and that all of it falls before its first
//! instruction, or there is none.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use support::{Caller, callers, cannot_run, code_and_stderr, program, public_folder, run, stdout_of, text};

/// The capabilities of the default; see identity.rs.
const DEFAULT: u64 = 0x8004_05fb;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

/// Lines of /proc/self/status, each without its name.
fn status_of(command: &mut Command, names: &[&str]) -> Vec<String> {
    let status = stdout_of(command);
    let line = |name: &&str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name);
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    names.iter().map(line).collect()
}

fn status(caller: Caller, options: &[&str], names: &[&str]) -> Vec<String> {
    status_of(&mut caller.launch(options.iter().chain(&["--", "cat", "/proc/self/status"])), names)
}

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// Inheritable, permitted, effective, bounding and ambient set.
fn sets(caller: Caller, options: &[&str]) -> [u64; 5] {
    let lines = status(caller, options, &SETS);
    let bits: Vec<_> = lines.iter().map(|line| u64::from_str_radix(line, 16).expect("bits")).collect();
    bits.try_into().expect("five")
}

/// `launch OPTIONS... -- sh -c SCRIPT` as this caller, behind `setpriv SETTINGS...`, which only root can use.
fn behind_setpriv(settings: &[&str], options: &[&str], script: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(settings).arg("--").arg(program()).args(options).args(["--", "sh", "-c", script]);
    command.current_dir("/").env_remove("LAUNCH_LOG");
    command
}

fn is_root(what: &str) -> bool {
    let is = nix::unistd::geteuid().is_root();
    if !is {
        cannot_run(what, "the tests were not started by root");
    }
    is
}

/// The launch fails with 125 and with this line, and no command was run.
#[track_caller]
fn refused(caller: Caller, options: &[&str], expected: &str) {
    let folder = public_folder();
    let file = folder.path().join("was-run");
    let script = format!(": > {}", file.display());
    let (code, stderr) = code_and_stderr(&mut caller.shell_with(options, &script));
    let line = stderr.lines().next().unwrap_or_default();
    assert_eq!((code, line), (125, expected), "{caller:?} {options:?}: {stderr}");
    assert!(!file.exists(), "{caller:?} {options:?}");
}

#[test]
fn capabilities_are_added_and_dropped_by_their_names_and_the_later_wins() {
    let last: u32 =
        fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("proc").trim().parse().expect("a number");
    let every = u64::MAX >> (63 - last);
    for caller in callers() {
        for (options, own) in [
            (&["--cap-drop", "KILL"][..], DEFAULT & !KILL),
            (&["--cap-drop", "cap_kill,Chown"], DEFAULT & !KILL & !1),
            (&["--cap-drop", "kill", "--cap-drop", "chown"], DEFAULT & !KILL & !1),
            (&["--cap-drop", "ALL"], 0),
            (&["--cap-add", "CAP_NET_RAW"], DEFAULT | NET_RAW),
            (&["--cap-drop", "all", "--cap-add", "net_raw,kill"], NET_RAW | KILL),
            (&["--cap-add", "kill", "--cap-drop", "kill"], DEFAULT & !KILL),
            (&["--cap-drop", "kill", "--cap-add", "kill"], DEFAULT),
            (&["--cap-add", "net_raw", "--cap-drop", "all"], 0),
            (&["--profile", "service", "--cap-drop", "ALL"], 0),
            (&["--cap-add", "ALL"], every),
            (&["--cap-add", "ALL", "--cap-drop", "KILL"], every & !KILL),
        ] {
            assert_eq!(sets(caller, options), [0, own, own, own, 0], "{caller:?} {options:?}");
        }
    }
}

#[test]
fn who_is_not_root_inside_has_only_what_was_added_and_keeps_it_through_an_exec() {
    for caller in callers() {
        let own = NET_RAW | KILL;
        let expected = [own, own, own, DEFAULT | NET_RAW, own];
        assert_eq!(sets(caller, &["--uid", "1000", "--cap-add", "NET_RAW,KILL"]), expected, "{caller:?}");
        assert_eq!(sets(caller, &["--uid", "1000"]), [0, 0, 0, DEFAULT, 0], "{caller:?}");
    }
}

#[test]
fn what_is_no_capability_is_refused_and_the_nearest_is_named() {
    for caller in callers() {
        for option in ["--cap-add", "--cap-drop"] {
            for (value, wrong, help) in [
                ("SYS_AMDIN", "SYS_AMDIN", "did you mean SYS_ADMIN?"),
                ("KILL,cap_net_row", "cap_net_row", "did you mean NET_RAW?"),
                ("2", "2", "see launch(1)"),
                ("KILL,", "", "see launch(1)"),
            ] {
                let reason = format!("{wrong:?} is no capability; {help}");
                refused(caller, &[option, value], &format!("launch: command line: {option}: {reason}"));
            }
        }
    }
}

#[test]
fn a_capability_that_cannot_be_had_ends_the_launch() {
    if is_root("capabilities of the machine's own user namespace") {
        let mut command = behind_setpriv(
            &["--bounding-set", "-net_raw"],
            &["--share", "user", "--cap-add", "NET_RAW"],
            "echo has run",
        );
        let output = run(&mut command);
        let expected =
            "launch: workload: capabilities: CAP_NET_RAW cannot be added: init does not have it itself\n";
        let found = (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(found, (Some(125), String::new(), expected.into()));
    }
}

/// CVE-2022-27650
#[test]
fn inheritable_and_ambient_capabilities_of_the_caller_end_before_the_workload() {
    if is_root("inheritable capabilities") {
        let settings = ["--inh-caps", "+chown,+kill,+net_raw", "--ambient-caps", "+chown,+kill,+net_raw"];
        let script = "cat /proc/self/status";
        let outside = status_of(
            Command::new("setpriv").args(settings).args(["sh", "-c", script]),
            &["CapInh", "CapAmb"],
        );
        assert_eq!(outside, ["0000000000002021", "0000000000002021"]);
        for options in
            [&[][..], &["--share", "user"], &["--uid", "1000"], &["--share", "user", "--user", "1000:1000"]]
        {
            let found = status_of(&mut behind_setpriv(&settings, options, script), &["CapInh", "CapAmb"]);
            assert_eq!(found, ["0000000000000000"; 2], "{options:?}");
        }
    }
}

#[test]
fn no_exec_gives_anything_back() {
    for caller in callers() {
        for options in [&[][..], &["--uid", "1000"], &["--cap-add", "ALL"]] {
            assert_eq!(status(caller, options, &["NoNewPrivs"]), ["1"], "{caller:?} {options:?}");
        }
    }
}

/// CVE-2026-30892
#[test]
fn what_is_neither_an_id_nor_a_name_is_no_user() {
    for caller in callers() {
        for wrong in ["0x0", "+1", "-1", " 1", "1 ", "1e3", "0\n", "1a", "a b", "../x"] {
            let reason =
                format!("{wrong:?} is neither an id (0 to 4294967294, in decimal digits) nor a name");
            let expected = launch::printable(&format!("launch: command line: --user: {reason}"));
            for value in [wrong.to_owned(), format!("0:{wrong}"), format!("0:0,{wrong}")] {
                refused(caller, &["--user", &value], &expected);
            }
        }
        for large in ["4294967295", "4294967296", "18446744073709551616"] {
            let expected =
                format!("launch: command line: --user: {large:?} is no id: they go from 0 to 4294967294");
            for value in [large.to_owned(), format!("0:{large}"), format!("0:0,1,{large}")] {
                refused(caller, &["--user", &value], &expected);
            }
        }
        for empty in ["", ":", ":0", "0:", "0,", "0:0,,1", ",0"] {
            let expected = "launch: command line: --user: a part of it is empty: say UID[:GID][,GROUP...]";
            refused(caller, &["--user", empty], expected);
        }
    }
}

#[test]
fn a_user_that_is_not_mapped_ends_the_launch_and_the_hint_says_how_to_map_it() {
    for caller in callers() {
        let is_not = |id: &str| format!("launch: workload: user: {id} is not mapped in this user namespace");
        refused(caller, &["--user", "1000:0"], &is_not("uid 1000"));
        refused(caller, &["--user", "0:1000"], &is_not("gid 1000"));
        let (_, stderr) = code_and_stderr(&mut caller.launch(["--user", "1000:0", "--", "true"]));
        assert!(stderr.lines().nth(1).is_some_and(|hint| hint.contains("--map auto")), "{stderr}");
    }
}

#[test]
fn the_users_groups_are_those_that_are_named_and_no_others() {
    if is_root("setgroups") {
        let groups = |options: &[&str]| {
            let settings = ["--groups", "54322,54323"];
            status_of(
                &mut behind_setpriv(&settings, options, "cat /proc/self/status"),
                &["Uid", "Gid", "Groups"],
            )
        };
        assert_eq!(groups(&["--share", "user"])[2], "54322 54323");
        assert_eq!(groups(&["--user", "0"])[2], "");
        assert_eq!(groups(&["--user", "0:0,0"])[2], "0");
        let same = |id: &str| [id; 4].join(" ");
        let other = groups(&["--share", "user", "--user", "1000:1001,5,54324"]);
        assert_eq!(other, [same("1000"), same("1001"), "5 54324".into()]);
        // Of a uid that is not in /etc/passwd, the gid is the same number.
        let number = support::USER.to_string();
        let unknown = groups(&["--share", "user", "--user", &number]);
        assert_eq!(unknown, [same(&number), same(&number), "".into()]);
        refused(
            Caller::Root,
            &["--user", "0:0,7"],
            "launch: workload: groups: gid 7 is not mapped in this user namespace",
        );
        refused(
            Caller::Root,
            &["--user", "0:0,7,8"],
            "launch: workload: groups: one of them is not mapped in this user namespace",
        );
    }
}

#[test]
fn another_user_has_no_capability_but_those_added_and_its_variables_stay() {
    if is_root("users of the machine's own user namespace") {
        let of = |options: &[&str]| {
            sets(Caller::Root, &[&["--share", "user", "--user", "1000:1000"], options].concat())
        };
        assert_eq!(of(&[]), [0, 0, 0, DEFAULT, 0]);
        assert_eq!(
            of(&["--cap-add", "KILL,NET_RAW"]),
            [NET_RAW | KILL, NET_RAW | KILL, NET_RAW | KILL, DEFAULT | NET_RAW, NET_RAW | KILL]
        );
        assert_eq!(of(&["--cap-drop", "ALL"]), [0; 5]);
        let mut command =
            Caller::Root.shell_with(&["--share", "user", "--user", "1000:1000"], "echo $HOME $USER");
        assert_eq!(stdout_of(command.env("HOME", "/here").env("USER", "me")), "/here me\n");
    }
}

#[test]
fn a_terminal_of_ones_own_is_the_users() {
    if is_root("users of the machine's own user namespace") {
        let options = ["--tty", "--share", "user", "--user", "1000:1000"];
        let script = "stat -c %u \"$(tty)\" && echo written > \"$(tty)\"";
        let output = run(&mut Caller::Root.shell_with(&options, script));
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "1000\r\nwritten\r\n".into()));
    }
}

/// CVE-2014-8989: a group can be what keeps somebody from a file.
#[test]
fn an_ordinary_user_cannot_leave_a_group_by_a_sandbox() {
    if !is_root("supplementary groups") {
        return;
    }
    let folder = public_folder();
    let file = folder.path().join("not-for-the-group");
    fs::write(&file, "secret").expect("write");
    chown(&file, Some(0), Some(54322)).expect("chown");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).expect("chmod");
    let id = support::USER.to_string();
    for options in [&[][..], &["--user", "0"], &["--user", "0:0"], &["--cap-add", "ALL"], &["--uid", "7"]] {
        let read = |groups: &str, before: &str| {
            let settings = ["--reuid", &id, "--regid", &id, "--groups", groups];
            run(&mut behind_setpriv(&settings, options, &format!("{before} cat {}", file.display())))
        };
        assert_eq!(text(&read("54323", "").stdout), "secret", "{options:?}");
        let output = read("54322", "");
        assert!(text(&output.stderr).ends_with("Permission denied\n"), "{options:?} {output:?}");
        let output = read("54322", "setpriv --clear-groups");
        assert!(
            text(&output.stderr).contains("setgroups failed: Operation not permitted"),
            "{options:?} {output:?}"
        );
    }
    let denied = "launch: workload: groups: setgroups is denied in this user namespace, since its maps are those of an \
                  ordinary user";
    refused(Caller::User, &["--user", "0:0,0"], denied);
}

/// What an inner launch with `--user USER` says, where `preparation` has been done to /etc, an empty one, in an outer one.
fn in_a_root_with(caller: Caller, preparation: &str, user: &str) -> (Option<i32>, String) {
    let script = format!(
        "mount -t tmpfs etc /etc && cd /etc && {{ {preparation}; }} && exec \"$0\" --user \"$1\" -- grep ^Uid /proc/self/status"
    );
    let mut command = caller.launch(["--cap-add", "SYS_ADMIN,MKNOD", "--", "sh", "-c", &script]);
    let output = run(command.arg(program()).arg(user));
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn names_of_users_are_those_of_the_roots_own_files() {
    const PASSWD: &str =
        "printf 'broken\\n\\377\\000:x:0\\nodd:x:0x0:0\\ncaptain:x:0:0::/:\\nother:x:7:7::/:\\n' > passwd";
    for caller in callers() {
        let root = (Some(0), "Uid:\t0\t0\t0\t0\n".to_owned());
        assert_eq!(in_a_root_with(caller, PASSWD, "captain"), root, "{caller:?}");
        assert_eq!(
            in_a_root_with(caller, &format!("{PASSWD}; echo crew:x:0: > group"), "captain:crew"),
            root
        );
        let linked = format!("{PASSWD}; mv passwd real; ln -s real passwd");
        assert_eq!(in_a_root_with(caller, &linked, "captain"), root);
        // No file, and none is needed for numbers.
        assert_eq!(in_a_root_with(caller, "true", "0"), root);
        for (preparation, user, why) in [
            (PASSWD, "odd", "\"odd\" is no id, and no name in /etc/passwd"),
            (PASSWD, "root", "\"root\" is no id, and no name in /etc/passwd"),
            (PASSWD, "captain:crew", "\"crew\" is no id, and no name in /etc/group"),
            (PASSWD, "other", "gid 7 is not mapped in this user namespace"),
            ("true", "captain", "\"captain\" is no id, and no name in /etc/passwd"),
        ] {
            let (code, said) = in_a_root_with(caller, preparation, user);
            let line = said.lines().next().unwrap_or_default();
            assert_eq!(
                (code, line),
                (Some(125), format!("launch: workload: user: {why}").as_str()),
                "{caller:?}"
            );
        }
    }
}

#[test]
fn files_of_users_that_are_made_to_hang_or_to_flood_are_refused() {
    for caller in callers() {
        for (preparation, why) in [
            ("mkfifo passwd", "/etc/passwd is not a regular file"),
            ("mkdir passwd", "/etc/passwd is not a regular file"),
            ("touch passwd; mount --bind /dev/zero passwd", "/etc/passwd is not a regular file"),
            ("ln -s /dev/stdin passwd", "/etc/passwd is not a regular file"),
            ("ln -s passwd passwd", "/etc/passwd: Too many symbolic links encountered"),
            ("truncate -s 1048577 passwd", "/etc/passwd is larger than 1 MiB"),
            ("truncate -s 1T passwd", "/etc/passwd is larger than 1 MiB"),
            ("truncate -s 1048576 passwd", "\"captain\" is no id, and no name in /etc/passwd"),
        ] {
            let (code, said) = in_a_root_with(caller, preparation, "captain");
            assert_eq!(
                (code, said),
                (Some(125), format!("launch: workload: user: {why}\n")),
                "{caller:?} {preparation}"
            );
        }
    }
}

#[test]
fn with_disable_userns_nobody_inside_makes_a_user_namespace_or_allows_it_again() {
    let file = "/proc/sys/user/max_user_namespaces";
    for caller in callers() {
        for options in [&[][..], &["--uid", "1000"], &["--cap-add", "SYS_ADMIN"], &["--net", "none"]] {
            let options = [&["--disable-userns"], options].concat();
            let (code, stderr) =
                code_and_stderr(&mut caller.launch(options.iter().chain(&["--", "unshare", "-U", "true"])));
            assert_eq!(
                (code, stderr.as_str()),
                (1, "unshare: unshare failed: No space left on device\n"),
                "{options:?}"
            );
            let (_, stderr) = code_and_stderr(&mut caller.shell_with(&options, &format!("echo 9 > {file}")));
            assert!(stderr.ends_with("Permission denied\n"), "{caller:?} {options:?}: {stderr}");
            assert_eq!(stdout_of(&mut caller.shell_with(&options, &format!("cat {file}"))), "0\n");
        }
        // Neither by a proc of one's own.
        let fresh = "mount -t proc proc /mnt && echo 9 > /mnt/sys/user/max_user_namespaces";
        let (_, stderr) =
            code_and_stderr(&mut caller.shell_with(&["--disable-userns", "--cap-add", "SYS_ADMIN"], fresh));
        assert!(stderr.ends_with("Permission denied\n"), "{caller:?}: {stderr}");
        assert_eq!(stdout_of(&mut caller.launch(["--", "unshare", "-U", "echo", "made"])), "made\n");
    }
    assert_ne!(fs::read_to_string(file).expect(file), "0\n");
}

#[test]
fn disable_userns_is_refused_where_it_would_reach_outside_or_not_hold() {
    for caller in callers() {
        for add in ["SYS_RESOURCE", "ALL"] {
            let expected = "launch: command line: --disable-userns: could be undone with CAP_SYS_RESOURCE; --cap-add must \
                            not have it, nor ALL";
            refused(caller, &["--disable-userns", "--cap-add", add], expected);
        }
    }
    if is_root("--share user") {
        let expected =
            "launch: command line: --disable-userns: would hold for the whole machine with --share user";
        refused(Caller::Root, &["--disable-userns", "--share", "user"], expected);
    }
}

#[test]
fn every_limit_has_the_two_values_that_were_asked_for() {
    let limits = [
        ("as=8G:9G", "Max address space", "8589934592 9663676416"),
        ("core=1K", "Max core file size", "1024 1024"),
        ("CPU=100:200", "Max cpu time", "100 200"),
        ("data=4G", "Max data size", "4294967296 4294967296"),
        ("RLIMIT_FSIZE=1M:1G", "Max file size", "1048576 1073741824"),
        ("locks=7", "Max file locks", "7 7"),
        ("memlock=64K", "Max locked memory", "65536 65536"),
        ("msgqueue=4096", "Max msgqueue size", "4096 4096"),
        ("nice=0", "Max nice priority", "0 0"),
        ("nofile=64:128", "Max open files", "64 128"),
        ("nproc=1000:1001", "Max processes", "1000 1001"),
        ("rss=1G:unlimited", "Max resident set", "1073741824 unlimited"),
        ("rtprio=0", "Max realtime priority", "0 0"),
        ("rttime=1000:2000", "Max realtime timeout", "1000 2000"),
        ("sigpending=50", "Max pending signals", "50 50"),
        ("stack=4m:8m", "Max stack size", "4194304 8388608"),
    ];
    for caller in callers() {
        let options: Vec<_> = limits.iter().flat_map(|(option, ..)| ["--rlimit", option]).collect();
        let found = stdout_of(&mut caller.shell_with(&options, "cat /proc/self/limits"));
        for (option, name, values) in limits {
            let line = found.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            let line = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            assert_eq!(line, values, "{caller:?} {option}");
        }
        let twice = ["--rlimit", "nofile=20", "--rlimit", "nofile=64:128"];
        assert_eq!(stdout_of(&mut caller.shell_with(&twice, "ulimit -n; ulimit -Hn")), "64\n128\n");
        // With so few descriptors nothing else is kept from being set up.
        let few = ["--rlimit", "nofile=4", "--oom-score-adj", "500", "--user", "0"];
        assert_eq!(stdout_of(&mut caller.launch(few.iter().chain(&["--", "echo", "here"]))), "here\n");
    }
}

#[test]
fn a_limit_that_cannot_be_had_ends_the_launch() {
    for caller in callers() {
        let (unknown, value) = ("command line: --rlimit", "say a number or unlimited");
        refused(
            caller,
            &["--rlimit", "nofiles=1"],
            &format!("launch: {unknown}: \"nofiles\" is no limit; did you mean nofile?"),
        );
        refused(
            caller,
            &["--rlimit", "nofile"],
            &format!("launch: {unknown}: \"nofile\" has no =; say NAME=SOFT or NAME=SOFT:HARD"),
        );
        refused(
            caller,
            &["--rlimit", "nofile=1k"],
            &format!("launch: {unknown}: \"1k\" is no limit: {value}"),
        );
        refused(
            caller,
            &["--rlimit", "nofile=-1"],
            &format!("launch: {unknown}: \"-1\" is no limit: {value}"),
        );
        refused(
            caller,
            &["--rlimit", "nofile=2:1"],
            &format!("launch: {unknown}: \"nofile=2:1\": the soft limit is above the hard one"),
        );
        let above = "the hard limit is above the caller's, for which it takes CAP_SYS_RESOURCE outside";
        let mut command = caller.launch_by("ulimit -c 1; exec \"$@\"", ["--rlimit", "core=1M", "--", "true"]);
        let (code, stderr) = code_and_stderr(&mut command);
        assert_eq!(
            (code, stderr.lines().next()),
            (125, Some(format!("launch: workload: limit core: {above}").as_str()))
        );
        let most = "(and none is above fs.nr_open)";
        refused(
            caller,
            &["--rlimit", "nofile=unlimited"],
            &format!("launch: workload: limit nofile: {above} {most}"),
        );
    }
}

#[test]
fn nice_value_oom_score_and_umask_are_those_asked_for() {
    let script = "nice; cat /proc/self/oom_score_adj; umask";
    for caller in callers() {
        let callers_own = stdout_of(caller.command("sh").args(["-c", script]));
        assert_eq!(stdout_of(&mut caller.shell(script)), callers_own, "{caller:?}");
        for identity in [&[][..], &["--uid", "1000"], &["--user", "0"]] {
            let options = [&["--nice", "7", "--oom-score-adj", "500", "--umask", "027"], identity].concat();
            assert_eq!(
                stdout_of(&mut caller.shell_with(&options, script)),
                "7\n500\n0027\n",
                "{caller:?} {identity:?}"
            );
        }
        let most = ["--nice", "19", "--oom-score-adj", "1000", "--umask", "777"];
        assert_eq!(stdout_of(&mut caller.shell_with(&most, script)), "19\n1000\n0777\n", "{caller:?}");
        // Absolute, and not added to the caller's.
        let mut command = caller.launch_by("exec nice -n 3 \"$@\"", ["--nice", "7", "--", "nice"]);
        assert_eq!(stdout_of(&mut command), "7\n", "{caller:?}");
    }
}

#[test]
fn nice_value_oom_score_and_umask_out_of_range_or_reach_end_the_launch() {
    for caller in callers() {
        for (option, value, reason) in [
            ("--nice", "20", "\"20\" is no number from -20 to 19"),
            ("--nice", "-21", "\"-21\" is no number from -20 to 19"),
            ("--nice", "+5", "\"+5\" is no number from -20 to 19"),
            ("--oom-score-adj", "-1001", "\"-1001\" is no number from -1000 to 1000"),
            ("--oom-score-adj", "1001", "\"1001\" is no number from -1000 to 1000"),
            ("--umask", "1000", "\"1000\" is no umask: say octal digits, 0 to 777, as in 022"),
            ("--umask", "-1", "\"-1\" is no umask: say octal digits, 0 to 777, as in 022"),
            ("--umask", "8", "\"8\" is no umask: say octal digits, 0 to 777, as in 022"),
        ] {
            refused(caller, &[option, value], &format!("launch: command line: {option}: {reason}"));
        }
        let less = |what: &str, value: &str, capability: &str| {
            format!(
                "launch: workload: {what}: {value} is less than the caller's, for which it takes {capability} outside"
            )
        };
        refused(caller, &["--nice", "-5"], &less("nice value", "-5", "CAP_SYS_NICE"));
        refused(caller, &["--oom-score-adj", "-5"], &less("oom_score_adj", "-5", "CAP_SYS_RESOURCE"));
    }
}

/// The order that privileges.rs gives its reasons for.
#[test]
fn privileges_fall_last_in_the_workloads_process_and_in_their_order() {
    let has_strace = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if !has_strace {
        return cannot_run("the order of system calls", "there is no strace");
    }
    if !is_root("the order of system calls") {
        return;
    }
    let folder = public_folder();
    let log = folder.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-s", "99", "-o"]).arg(&log).arg(program());
    command.args(["--share", "user", "--user", "1000:1000,5", "--cap-add", "KILL", "--rlimit", "core=0"]);
    command.args(["--umask", "022", "--nice", "1", "--oom-score-adj", "1", "--", "/bin/true", "marked"]);
    assert_eq!(run(command.current_dir("/")).status.code(), Some(0));
    let calls = calls_of_the_workload(&log);
    let mut names: Vec<&str> =
        calls.iter().map(|call| name_of(call)).filter(|name| !name.is_empty()).collect();
    names.dedup();
    let filters = names.iter().position(|name| *name == "seccomp").into_iter();
    assert!(filters.eq((names.contains(&"seccomp")).then_some(names.len() - 2)), "{calls:#?}");
    names.retain(|name| *name != "seccomp");
    let expected = [
        "setpgid",
        "close_range",
        "umask",
        "setpriority",
        "open oom_score_adj",
        "limit",
        "bounding set",
        "keep capabilities",
        "setgroups",
        "setgid",
        "setuid",
        "capset",
        "ambient set",
        "no_new_privs",
        "rt_sigprocmask",
        "execve",
    ];
    assert_eq!(names, expected, "{calls:#?}");
}

/// The calls of the process that executes `/bin/true marked`, from its fork to its exec.
fn calls_of_the_workload(log: &Path) -> Vec<String> {
    let log = fs::read_to_string(log).expect("strace's log");
    let lines = || log.lines().filter_map(|line| line.split_once(' '));
    let is_exec =
        |call: &str| call.trim_start().starts_with("execve(\"/bin/true\", [\"/bin/true\", \"marked\"]");
    let (pid, _) = lines().find(|(_, call)| is_exec(call)).expect("the exec");
    let own = lines().filter(|(other, _)| *other == pid).map(|(_, call)| call.trim_start().to_owned());
    let mut calls = Vec::new();
    for call in own {
        let is_last = is_exec(&call);
        calls.push(call);
        if is_last {
            break;
        }
    }
    calls
}

/// What a call is for; nothing for those that change no right.
fn name_of(call: &str) -> &str {
    let name = call.split('(').next().unwrap_or_default();
    let has = |text| call.contains(text);
    match name {
        "umask" | "setpriority" | "setgroups" | "setgid" | "setuid" | "capset" | "seccomp" | "execve"
        | "setpgid" | "close_range" => name,
        // The caller's mask; musl blocks all, and puts back what was, around several calls.
        "rt_sigprocmask" if has("SIG_SETMASK, []") => name,
        "openat2" if has("oom_score_adj") => "open oom_score_adj",
        "prlimit64" if has("RLIMIT_CORE") => "limit",
        "prctl" if has("PR_CAPBSET_DROP") => "bounding set",
        "prctl" if has("PR_SET_KEEPCAPS") => "keep capabilities",
        "prctl" if has("PR_CAP_AMBIENT") => "ambient set",
        "prctl" if has("PR_SET_NO_NEW_PRIVS") => "no_new_privs",
        _ => "",
    }
}

/// Maps of more than one id, for a caller who may write them itself.
const MAPS: [&str; 4] = ["--map-users", "0:100000:65536", "--map-groups", "0:100000:65536"];

#[test]
fn any_mapped_user_and_group_can_be_the_workloads() {
    if is_root("maps of several ids") {
        let found =
            |options: &[&str]| status(Caller::Root, &[&MAPS, options].concat(), &["Uid", "Gid", "Groups"]);
        let same = |id: &str| [id; 4].join(" ");
        assert_eq!(found(&["--user", "1000:1001,5,27"]), [same("1000"), same("1001"), "5 27".into()]);
        assert_eq!(found(&["--user", "65535:65535"]), [same("65535"), same("65535"), "".into()]);
        assert_eq!(found(&["--user", "0:0,0,65535"]), [same("0"), same("0"), "0 65535".into()]);
        let of = |options: &[&str]| sets(Caller::Root, &[&MAPS, options].concat());
        assert_eq!(of(&["--user", "1000:1000"]), [0, 0, 0, DEFAULT, 0]);
        assert_eq!(of(&["--user", "1000:1000", "--cap-add", "KILL"]), [KILL, KILL, KILL, DEFAULT, KILL]);
        let beyond = "launch: workload: user: uid 65536 is not mapped in this user namespace";
        refused(Caller::Root, &[&MAPS[..], &["--user", "65536:0"]].concat(), beyond);
    }
}

/// A filter can make the exec itself impossible, which is told as far as it can be known.
#[test]
fn a_profile_that_refuses_execve_is_named() {
    let folder = public_folder();
    let profile = folder.path().join("profile.json");
    let refused_by = |arguments: &str, message: &str| {
        let rule = format!(r#"{{"names": ["execve"], "action": "SCMP_ACT_ERRNO", "args": [{arguments}]}}"#);
        fs::write(&profile, format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#))
            .expect("write");
        for caller in callers() {
            refused(caller, &["--seccomp", profile.to_str().expect("text")], message);
        }
    };
    refused_by(
        "",
        "launch: command line: --seccomp: syscalls: execve is refused, so no program could be started; allow it",
    );
    // Whether that is always so, nobody can see from the profile.
    refused_by(
        r#"{"index": 0, "value": 0, "op": "SCMP_CMP_NE"}"#,
        "launch: workload: seccomp: the profile refuses execve(2), so that no program can be started: Operation not \
         permitted",
    );
}

#[test]
fn whoever_may_not_choose_processors_launches_all_the_same() {
    let folder = public_folder();
    let profile = folder.path().join("profile.json");
    let rule = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sched_setaffinity"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
    fs::write(&profile, rule).expect("profile");
    for caller in callers() {
        let options = ["--seccomp", profile.to_str().expect("text"), "--keep-tmp"];
        let script = format!("exec {} -v -- echo inside", program().display());
        let output = run(&mut caller.shell_with(&options, &script));
        assert_eq!(text(&output.stdout), "inside\n", "{caller:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("processor"), "{caller:?}: {}", text(&output.stderr));
    }
}
