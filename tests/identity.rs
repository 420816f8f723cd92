//! Who the workload is: its ids, the maps behind them, and its capabilities.

mod support;

use std::os::unix::fs::MetadataExt;

use support::{Caller, callers, cannot_run, code_and_stderr, public_folder, stdout_of};

/// What the workload finds of itself: Uid and Gid (real, effective, saved, file system), both maps, setgroups.
fn identity(caller: Caller, options: &[&str]) -> Vec<String> {
    let script = "grep -E '^[UG]id:' /proc/self/status; cd /proc/self; cat uid_map gid_map setgroups";
    let lines = stdout_of(&mut caller.shell_with(options, script));
    lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What it finds when it is `uid` and `gid` inside, and `caller` outside.
fn expected(caller: Caller, uid: u32, gid: u32) -> Vec<String> {
    vec![
        format!("Uid: {uid} {uid} {uid} {uid}"),
        format!("Gid: {gid} {gid} {gid} {gid}"),
        format!("{uid} {} 1", caller.uid()),
        format!("{gid} {} 1", caller.gid()),
        if caller == Caller::Root { "allow" } else { "deny" }.into(),
    ]
}

#[test]
fn the_caller_is_uid_0_and_gid_0_inside() {
    for caller in callers() {
        assert_eq!(identity(caller, &[]), expected(caller, 0, 0));
    }
}

#[test]
fn uid_and_gid_choose_other_numbers_each_for_itself() {
    for caller in callers() {
        assert_eq!(identity(caller, &["--uid", "1000"]), expected(caller, 1000, 0));
        assert_eq!(identity(caller, &["--gid", "100"]), expected(caller, 0, 100));
        assert_eq!(identity(caller, &["--uid", "1000", "--gid", "100"]), expected(caller, 1000, 100));
        let largest = u32::MAX - 1;
        let number = largest.to_string();
        assert_eq!(
            identity(caller, &["--uid", &number, "--gid", &number]),
            expected(caller, largest, largest)
        );
    }
}

#[test]
fn keep_id_keeps_the_callers_numbers() {
    for caller in callers() {
        assert_eq!(identity(caller, &["--keep-id"]), expected(caller, caller.uid(), caller.gid()));
    }
}

#[test]
fn a_file_that_is_made_inside_is_the_callers_outside() {
    for caller in callers() {
        for options in [&[][..], &["--uid", "1000", "--gid", "1000"], &["--keep-id"]] {
            let folder = public_folder();
            let file = folder.path().join("file");
            stdout_of(&mut caller.shell_with(options, &format!("> {}", file.display())));
            let file = file.metadata().expect("the file");
            assert_eq!((file.uid(), file.gid()), (caller.uid(), caller.gid()), "{options:?}");
        }
    }
}

/// The sets of capabilities(7), as /proc/self/status has them.
#[derive(Debug, PartialEq, Eq)]
struct Sets {
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
}

fn capabilities(caller: Caller, options: &[&str]) -> Sets {
    let status = stdout_of(&mut caller.shell_with(options, "cat /proc/self/status"));
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        u64::from_str_radix(line.trim(), 16).expect(name)
    };
    Sets {
        inheritable: set("CapInh:"),
        permitted: set("CapPrm:"),
        effective: set("CapEff:"),
        bounding: set("CapBnd:"),
        ambient: set("CapAmb:"),
    }
}

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT and SETFCAP, by
/// their numbers in linux/capability.h. Not SYS_PTRACE, which would open PID 1 to those inside.
const DEFAULT: u64 = 0x8004_05fb;

#[test]
fn uid_0_inside_has_the_capabilities_of_the_default_and_no_others() {
    let default =
        Sets { inheritable: 0, permitted: DEFAULT, effective: DEFAULT, bounding: DEFAULT, ambient: 0 };
    for caller in callers() {
        assert_eq!(capabilities(caller, &[]), default);
        assert_eq!(capabilities(caller, &["--uid", "0", "--gid", "1000"]), default);
    }
}

#[test]
fn any_other_uid_inside_has_no_capability() {
    let none = Sets { inheritable: 0, permitted: 0, effective: 0, bounding: DEFAULT, ambient: 0 };
    for caller in callers() {
        assert_eq!(capabilities(caller, &["--uid", "1000"]), none);
        assert_eq!(capabilities(caller, &["--uid", "1000", "--gid", "1000", "--net", "none"]), none);
    }
    assert_eq!(capabilities(Caller::User, &["--keep-id"]), none);
}

#[test]
fn the_workload_is_dumpable_whether_or_not_init_was_executed_before_its_maps_were_written() {
    if !cfg!(target_arch = "x86_64") {
        return cannot_run("PR_GET_DUMPABLE", "its number is only known for x86_64");
    }
    for caller in callers() {
        // Launcher and init race each other; each of these is another race.
        for options in [&[][..], &["--uid", "1000"]].repeat(20) {
            let get_dumpable = options.iter().chain(&["--", "perl", "-e", "print syscall(157, 3)"]);
            assert_eq!(stdout_of(&mut caller.launch(get_dumpable)), "1", "{caller:?} {options:?}");
        }
    }
}

#[test]
fn nobody_inside_can_look_into_pid_1() {
    for caller in callers() {
        for (link, options) in [("exe", &[][..]), ("cwd", &[]), ("root", &[]), ("fd/0", &["--uid", "1000"])] {
            let (code, stderr) =
                code_and_stderr(&mut caller.shell_with(options, &format!("readlink -v /proc/1/{link}")));
            assert_eq!(
                (code, stderr),
                (1, format!("readlink: /proc/1/{link}: Permission denied\n")),
                "{caller:?}"
            );
        }
        for file in ["environ", "mem", "maps", "auxv"] {
            let (code, stderr) = code_and_stderr(&mut caller.shell(&format!("cat /proc/1/{file}")));
            assert_eq!(
                (code, stderr),
                (1, format!("cat: /proc/1/{file}: Permission denied\n")),
                "{caller:?}"
            );
        }
    }
}

#[test]
fn the_maps_are_written_also_where_proc_is_not_that_of_the_launchers_own_pid_namespace() {
    for caller in callers() {
        // There, the launcher is process 1 and the child process 2, which in the outer proc is somebody else.
        for proc in ["", "--mount-proc"] {
            let script = format!("exec unshare --user --map-root-user --pid --fork {proc} -- \"$@\"");
            let mut launch =
                caller.launch_by(&script, ["--", "cat", "/proc/self/uid_map", "/proc/self/gid_map"]);
            let lines = stdout_of(&mut launch);
            assert_eq!(
                lines.split_whitespace().collect::<Vec<_>>(),
                ["0", "0", "1", "0", "0", "1"],
                "{proc}"
            );
        }
    }
}
