//! Each kind of namespace: new inside, or the caller's own where it was asked for.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use support::{Caller, callers, code_and_stderr, run, stdout_of, text};

const KINDS: [&str; 8] = ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net", "time"];

fn outside(kind: &str) -> u64 {
    fs::metadata(format!("/proc/self/ns/{kind}")).expect(kind).ino()
}

/// The inode numbers of the workload's namespaces, in the order of [`KINDS`].
fn inside(caller: Caller, options: &[&str]) -> Vec<u64> {
    let files = KINDS.map(|kind| format!("/proc/self/ns/{kind}"));
    let mut arguments = options.to_vec();
    arguments.extend(["--", "stat", "-Lc", "%i"]);
    arguments.extend(files.iter().map(String::as_str));
    stdout_of(&mut caller.launch(arguments)).lines().map(|line| line.parse().expect("a number")).collect()
}

/// The kinds that are not the caller's.
fn new_kinds(caller: Caller, options: &[&str]) -> Vec<&'static str> {
    let inside = inside(caller, options);
    assert_eq!(inside.len(), KINDS.len());
    KINDS
        .into_iter()
        .zip(inside)
        .filter(|(kind, inode)| *inode != outside(kind))
        .map(|(kind, _)| kind)
        .collect()
}

#[test]
fn by_default_all_are_new_but_net_and_time() {
    for caller in callers() {
        assert_eq!(new_kinds(caller, &[]), ["user", "mnt", "uts", "ipc", "pid", "cgroup"]);
        assert_eq!(new_kinds(caller, &["--net", "host"]), ["user", "mnt", "uts", "ipc", "pid", "cgroup"]);
    }
}

#[test]
fn net_and_time_are_new_when_asked_for() {
    for caller in callers() {
        let all = new_kinds(caller, &["--net", "none", "--unshare", "time"]);
        assert_eq!(all, KINDS);
    }
}

#[test]
fn uts_ipc_and_cgroup_are_the_callers_when_shared() {
    for caller in callers() {
        assert_eq!(new_kinds(caller, &["--share", "uts"]), ["user", "mnt", "ipc", "pid", "cgroup"]);
        assert_eq!(new_kinds(caller, &["--share", "ipc"]), ["user", "mnt", "uts", "pid", "cgroup"]);
        assert_eq!(new_kinds(caller, &["--share", "cgroup"]), ["user", "mnt", "uts", "ipc", "pid"]);
        assert_eq!(new_kinds(caller, &["--share", "uts,ipc", "--share", "cgroup"]), ["user", "mnt", "pid"]);
    }
}

#[test]
fn the_user_namespace_is_the_callers_only_for_a_privileged_one() {
    for caller in callers() {
        if caller == Caller::Root {
            assert_eq!(new_kinds(caller, &["--share", "user"]), ["mnt", "uts", "ipc", "pid", "cgroup"]);
        } else {
            let (code, stderr) = code_and_stderr(&mut caller.launch(["--share", "user", "--", "true"]));
            assert_eq!(code, 125);
            assert_eq!(
                stderr,
                "launch: command line: --share user: only a caller with CAP_SYS_ADMIN can make namespaces without a \
                 new user one\n"
            );
        }
    }
}

#[test]
fn a_new_network_has_only_a_loopback_interface_and_it_works() {
    for caller in callers() {
        let script = "grep : /proc/net/dev | cut -d: -f1; cat /sys/class/net/lo/operstate /proc/net/if_inet6 \
                      2>/dev/null; exec bash -c 'echo > /dev/tcp/127.0.0.1/9' 2>&1";
        let output = run(&mut caller.launch(["--net", "none", "--", "sh", "-c", script]));
        let output = text(&output.stdout);
        assert_eq!(output.lines().next().map(str::trim), Some("lo"), "{output}");
        // Refused by lo, and not unreachable as it would be with lo down.
        assert!(output.contains("Connection refused"), "{output}");
    }
}

#[test]
fn the_host_name_is_container_inside_and_unchanged_outside() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("host name");
    for caller in callers() {
        assert_eq!(stdout_of(&mut caller.launch(["--", "uname", "-n"])), "container\n");
        let longest = "x".repeat(64);
        assert_eq!(
            stdout_of(&mut caller.launch(["--hostname", &longest, "--", "uname", "-n"])),
            longest + "\n"
        );
        let shared = stdout_of(&mut caller.launch(["--share", "uts", "--", "uname", "-n"]));
        assert_eq!(shared, before);
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("host name"), before);
}

#[test]
fn the_domain_name_is_the_callers_unless_given() {
    let before = fs::read_to_string("/proc/sys/kernel/domainname").expect("domain name");
    for caller in callers() {
        let domain = ["--", "cat", "/proc/sys/kernel/domainname"];
        assert_eq!(stdout_of(&mut caller.launch(domain)), before);
        let given = stdout_of(&mut caller.launch(["--domainname", "example.org"].iter().chain(&domain)));
        assert_eq!(given, "example.org\n");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/domainname").expect("domain name"), before);
}
