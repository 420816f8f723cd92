//! A root of the sandbox's own: a directory, or a tmpfs with binds; and what every such sandbox has in /proc, /dev and
//! /tmp.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{
    Caller, Folder, MADE_IN_THE_TREE, Mount, Root, callers, code_and_stderr, mounts_in, refused, run,
    stdout_of, text,
};

/// What a script prints in a root, stderr included, before it ends with 0.
#[track_caller]
fn told(root: &Root, caller: Caller, options: &[&str], script: &str) -> String {
    stdout_of(&mut root.shell(caller, options, &format!("exec 2>&1; {script}")))
}

#[track_caller]
fn mounts(root: &Root, caller: Caller, options: &[&str]) -> Vec<Mount> {
    mounts_in(&told(root, caller, options, "cat /proc/self/mountinfo"))
}

/// Options that make a root of a tmpfs and what of the system's programs need.
const SYSTEM: [&str; 9] = [
    "--tmpfs",
    "/",
    "--ro-bind=/usr",
    "--try-ro-bind=/etc/alternatives",
    "--symlink=usr/bin:/bin",
    "--symlink=usr/sbin:/sbin",
    "--symlink=usr/lib:/lib",
    "--symlink=usr/lib64:/lib64",
    "--dir=/home/me",
];

#[test]
fn a_root_is_read_only_and_has_a_proc_a_dev_and_a_tmp() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let script = "pwd; ls /; ! touch /x; touch /tmp/x && ls /tmp; id -u";
        let expected = "/\nbin\ndev\netc\nproc\ntmp\ntouch: /x: Read-only file system\nx\n0\n";
        assert_eq!(told(&root, caller, &[], script), expected);
        // What was missing was made, and stays: the root is the caller's directory.
        assert_eq!(root.folder().list(""), ["bin", "dev", "etc", "proc", "tmp"]);
        assert_eq!(root.folder().list("tmp"), [""; 0]);
        let mode = |name: &str| fs::metadata(root.folder().path(name)).expect(name).permissions().mode();
        assert_eq!(["proc", "dev", "tmp"].map(|name| mode(name) & 0o7777), [0o555, 0o755, 0o755]);
    }
}

#[test]
fn a_root_is_writable_if_that_is_asked_for() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let path = format!("{}:rw", root.folder().path(""));
        let arguments = ["--rootfs", &path, "--", "/bin/sh", "-c", "echo new > /new && echo x > /tmp/x"];
        assert_eq!(stdout_of(&mut caller.launch(arguments)), "");
        assert_eq!(root.folder().read("new"), "new\n");
        assert_eq!(root.folder().list("tmp"), [""; 0]);
        let script = "! echo again > /new; echo x > /tmp/x";
        let arguments = ["--read-only", "--rootfs", &path, "--", "/bin/sh", "-c", script];
        let (code, stderr) = code_and_stderr(&mut caller.launch(arguments));
        assert_eq!((code, stderr.as_str()), (0, "/bin/sh: can't create /new: Read-only file system\n"));
    }
}

#[test]
fn nothing_of_the_old_root_is_there() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let outside = root.folder().file("outside", "");
        for options in [&[][..], &["--mask", "/etc/name"], &["--tty"]] {
            let script = format!(
                "cd ../../..; pwd; ls -1 ..; test ! -e {outside} && ls -1 /proc/2/root/; cat /proc/2/mountinfo > /tmp/mounts; \
                 ! ls -d /proc/1/root/ /proc/1/cwd/ 2> /dev/null"
            );
            let list = "bin\ndev\netc\noutside\nproc\ntmp\n";
            let said = told(&root, caller, options, &script).replace('\r', "");
            assert_eq!(said, format!("/\n{list}{list}"), "{options:?}");
            let mounts = mounts(&root, caller, options);
            let known = ["/proc", "/dev", "/tmp", "/etc/name"];
            let is_known = |at: &str| {
                at == "/" || known.iter().any(|known| Path::new(at.trim_end_matches('\r')).starts_with(known))
            };
            assert!(mounts.iter().all(|mount| is_known(&mount.at)), "{mounts:?}");
            assert_eq!(mounts.iter().filter(|mount| mount.at == "/").count(), 1, "{mounts:?}");
        }
    }
}

#[test]
fn a_root_that_cannot_be_one_is_named() {
    for caller in callers() {
        let at = |root: &str| refused(&mut caller.launch(["--rootfs", root, "--", "true"]));
        assert_eq!(at("/no/such"), "launch: root: /no/such: source /no/such: No such file or directory");
        assert_eq!(at("/etc/passwd"), "launch: root: /etc/passwd: Not a directory");
        let form = "say DIR or DIR:rw; a colon in a path is written \\:";
        assert_eq!(at("/a:ro"), format!("launch: command line: --rootfs: \"/a:ro\": {form}"));
        assert_eq!(at(""), format!("launch: command line: --rootfs: \"\": {form}"));
    }
}

#[test]
fn an_ordinary_user_is_kept_out_of_and_changes_nothing_in_a_root_of_somebody_elses() {
    if !callers().contains(&Caller::Root) {
        return;
    }
    let folder = Folder::of(Caller::Root);
    let closed = folder.directory("closed");
    let inner = folder.directory("closed/inner");
    let launch = || Caller::User.launch(["--rootfs", &inner, "--", "true"]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
    assert_eq!(refused(&mut launch()), format!("launch: root: {inner}: source {inner}: Permission denied"));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(
        refused(&mut launch()),
        format!("launch: mount: /proc: /proc cannot be made: Permission denied\n{MADE_IN_THE_TREE}")
    );
    assert_eq!(folder.list("closed/inner"), [""; 0]);
}

#[test]
fn an_empty_directory_is_made_a_root_by_binds() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let root = folder.directory("root");
        let mut options: Vec<&str> = vec!["--rootfs", &root];
        options.extend(&SYSTEM[2..]);
        options.extend(["--", "sh", "-c", "pwd; ls -d /[a-z]*"]);
        let names = ["bin", "dev", "etc", "home", "lib", "lib64", "proc", "sbin", "tmp", "usr"];
        let expected: String = names.iter().map(|name| format!("/{name}\n")).collect();
        assert_eq!(stdout_of(&mut caller.launch(options)), format!("/\n{expected}"));
        assert_eq!(folder.list("root"), names);
    }
}

#[test]
fn a_root_has_a_path_of_any_bytes() {
    for caller in callers() {
        let name = "a:b,c\\d\ne f\"'";
        let folder = Folder::of(caller);
        folder.directory(name);
        let Some(root) = Root::at(folder, name) else { return };
        let mut raw = OsString::from(root.folder().path("a"));
        raw.push(OsStr::from_bytes(b"\xff\xfe"));
        fs::rename(root.folder().path(name), &raw).expect("rename");
        let start = root.folder().path("");
        let escaped = format!("{start}/a\\xff\\xFE");
        for path in [raw.as_os_str(), escaped.as_ref()] {
            let arguments = ["--rootfs".as_ref(), path, "--".as_ref(), "cat".as_ref(), "/etc/name".as_ref()];
            assert_eq!(stdout_of(&mut caller.launch(arguments)), "the inner root\n");
        }
        fs::rename(&raw, root.folder().path(name)).expect("rename");
        for spelled in ["a\\:b\\,c\\\\d\ne f\"'", "a\\x3ab\\x2Cc\\x5cd\\x0ae\\x20f\\x22\\x27"] {
            let path = format!("{start}/{spelled}");
            let arguments = ["--rootfs", &path, "--", "cat", "/etc/name"];
            assert_eq!(stdout_of(&mut caller.launch(arguments)), "the inner root\n");
        }
    }
}

#[test]
fn the_directory_is_the_roots_or_the_one_that_is_asked_for_in_it() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        root.folder().link("/etc", "link");
        root.folder().link("../../../../../../etc", "out");
        let pwd = |options: &[&str]| told(&root, caller, options, "pwd -P; ls");
        assert_eq!(pwd(&["--chdir", "/etc"]), "/etc\nname\n");
        // A link that leads to a path of the inside, or tries to lead out.
        assert_eq!(pwd(&["--chdir", "/link"]), "/etc\nname\n");
        assert_eq!(pwd(&["--chdir", "/out"]), "/etc\nname\n");
        assert_eq!(pwd(&["--mask", "/etc/name", "--chdir", "/etc"]), "/etc\nname\n");
        assert_eq!(
            refused(&mut root.shell(caller, &["--chdir", "/var"], "true")),
            "launch: working directory: /var: No such file or directory"
        );
        assert_eq!(
            refused(&mut root.shell(caller, &["--chdir", "/etc/name"], "true")),
            "launch: working directory: /etc/name: Not a directory"
        );
    }
}

#[test]
fn mount_points_are_found_in_the_root_wherever_its_links_lead() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        root.folder().link("/inner", "absolute");
        root.folder().link("../../../inner", "relative");
        let source = root.folder().directory("source");
        root.folder().file("source/file", "");
        for link in ["absolute", "relative"] {
            let bind = format!("{source}:/{link}/{link}");
            let script = format!("ls /inner/{link}");
            assert_eq!(told(&root, caller, &["--bind", &bind], &script), "file\n");
        }
        assert!(!Path::new("/inner").exists());
        assert_eq!(root.folder().list("inner"), ["absolute", "relative"]);
    }
}

#[test]
fn a_mask_hides_what_a_link_that_climbs_above_the_root_leads_to() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        root.folder().file("secret", "secret\n");
        root.folder().link("../../secret", "link");
        assert_eq!(told(&root, caller, &[], "cat /link"), "secret\n");
        assert_eq!(told(&root, caller, &["--mask", "/link"], "cat /link /secret"), "");
    }
}

#[test]
fn keep_tmp_leaves_the_roots_own() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        root.folder().directory("tmp");
        root.folder().file("tmp/file", "");
        let script = "ls /tmp; ! touch /tmp/x";
        let expected = "file\ntouch: /tmp/x: Read-only file system\n";
        assert_eq!(told(&root, caller, &["--keep-tmp"], script), expected);
        assert_eq!(told(&root, caller, &[], "ls /tmp"), "");
    }
}

#[test]
fn a_tmpfs_with_binds_is_a_root_as_bubblewrap_has_it() {
    for caller in callers() {
        let script = "pwd; echo /*; touch /x; ! touch /usr/x; test ! -e /var";
        let command = ["--", "sh", "-c", script];
        let output = run(&mut caller.launch(SYSTEM.iter().chain(&command)));
        assert_eq!(
            (text(&output.stdout), text(&output.stderr), output.status.code()),
            (
                "/\n/bin /dev /etc /home /lib /lib64 /proc /sbin /tmp /usr\n".into(),
                "touch: cannot touch '/usr/x': Read-only file system\n".into(),
                Some(0)
            )
        );
    }
}

#[test]
fn a_bind_on_the_root_is_a_root() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let told = |kind: &str| {
            let bind = format!("{}:/", root.folder().path(""));
            let arguments = [kind, &bind, "--", "/bin/sh", "-c", "cat /etc/name; touch /x"];
            let output = run(&mut caller.launch(arguments));
            (text(&output.stdout), text(&output.stderr))
        };
        let name = "the inner root\n".to_owned();
        assert_eq!(told("--ro-bind"), (name.clone(), "touch: /x: Read-only file system\n".into()));
        assert_eq!(told("--bind"), (name, String::new()));
        assert!(root.folder().list("").contains(&"x".into()));
        let only = "only a directory, layers, or a tmpfs without a size can be mounted here, before all other mounts \
                    and without --rootfs; --bind . in / would be such a mount, too";
        assert_eq!(
            refused(&mut root.shell(caller, &["--tmpfs", "/"], "true")),
            format!("launch: command line: /: {only}")
        );
    }
}

// The lists of the OCI runtime tools' defaults, as far as they are about /proc.
const MASKED: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

#[test]
fn the_dangerous_parts_of_proc_are_masked_or_read_only() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        // What this kernel has of it.
        let fresh = stdout_of(&mut caller.shell("ls /proc"));
        let there = |name: &&&str| fresh.lines().any(|entry| entry == **name);
        let mounts = mounts(&root, caller, &[]);
        for name in MASKED.iter().filter(there) {
            let at = format!("/proc/{name}");
            let script = format!("if test -d {at}; then ls -A {at}; else cat {at}; fi; stat -c %a {at}");
            assert_eq!(told(&root, caller, &[], &script), "0\n", "{at}");
            let script = format!("if test -d {at}; then ls -A {at}; else cat {at}; fi");
            let (code, stderr) = code_and_stderr(&mut root.shell(caller, &["--uid", "7"], &script));
            assert_eq!(code, 1);
            assert!(stderr.ends_with("Permission denied\n"), "{stderr}");
        }
        let expected: Vec<_> = READ_ONLY.iter().filter(there).map(|name| format!("/proc/{name}")).collect();
        let read_only: Vec<_> =
            mounts.iter().filter(|mount| mount.kind == "proc" && mount.at != "/proc").collect();
        assert_eq!(read_only.iter().map(|mount| mount.at.clone()).collect::<Vec<_>>(), expected);
        assert!(read_only.iter().all(|mount| mount.options.starts_with("ro,")), "{read_only:?}");
        assert!(READ_ONLY.iter().filter(there).count() >= 4 && MASKED.iter().filter(there).count() >= 2);
        let script = "! echo x > /proc/sys/kernel/hostname; cat /proc/sys/kernel/hostname";
        let expected = "/bin/sh: can't create /proc/sys/kernel/hostname: Read-only file system\ncontainer\n";
        assert_eq!(told(&root, caller, &[], script), expected);
    }
}

#[test]
fn another_proc_of_the_root_is_masked_too() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let mounts = mounts(&root, caller, &["--proc", "/other"]);
        let below = |at: &str| {
            let parts = mounts.iter().filter_map(|mount| mount.at.strip_prefix(at));
            let mut parts: Vec<_> = parts.map(String::from).collect();
            parts.sort();
            parts
        };
        assert_eq!(below("/other"), below("/proc"));
        assert!(below("/other").len() > 4, "{mounts:?}");
    }
}

#[test]
fn proc_shows_less_if_that_is_asked_for() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let options = |options: &[&str]| {
            let mounts = mounts(&root, caller, options);
            mounts.into_iter().find(|mount| mount.at == "/proc").expect("/proc").file_system_options
        };
        assert_eq!(options(&[]), "rw");
        for (mode, name) in [("noaccess", "noaccess"), ("invisible", "invisible"), ("2", "invisible")] {
            let mode = format!("hidepid={mode}");
            assert_eq!(options(&["--proc-mode", &mode]), format!("rw,hidepid={name}"));
        }
        assert_eq!(options(&["--proc-mode", "hidepid=off"]), "rw");
        assert_eq!(options(&["--proc-mode", "subset=pid,hidepid=4"]), "rw,hidepid=ptraceable,subset=pid");
        let without = ["--proc-mode", "subset=pid"];
        assert_eq!(told(&root, caller, &without, "cd /proc; echo *"), "1 2 self thread-self\n");
        // In the caller's root, too.
        let listed = stdout_of(&mut caller.shell_with(&without, "cd /proc; echo *"));
        assert_eq!(listed, "1 2 self thread-self\n");
        let wrong = |mode: &str| refused(&mut root.shell(caller, &["--proc-mode", mode], "true"));
        let start = "launch: command line: --proc-mode:";
        assert_eq!(
            wrong("hidepid=5"),
            format!("{start} \"5\" is none of off, noaccess, invisible, ptraceable")
        );
        let form = "say hidepid=MODE, subset=pid, or both with a comma";
        assert_eq!(wrong("hidden"), format!("{start} \"hidden\": {form}"));
    }
}

const DEVICES: &str =
    "core\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";

#[test]
fn dev_has_what_every_program_expects_and_no_other_device() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        assert_eq!(told(&root, caller, &[], "ls /dev; find /dev -type b"), DEVICES);
        let script = "cd /dev && stat -c '%n %F %t:%T' null zero full random urandom tty && for link in fd stdin stdout stderr; do readlink $link; done";
        let device = |name: &str, number: &str| format!("{name} character special file {number}\n");
        let numbers = [
            ("null", "1:3"),
            ("zero", "1:5"),
            ("full", "1:7"),
            ("random", "1:8"),
            ("urandom", "1:9"),
            ("tty", "5:0"),
        ];
        let nodes: String = numbers.iter().map(|(name, number)| device(name, number)).collect();
        let fd = "/proc/self/fd";
        assert_eq!(told(&root, caller, &[], script), format!("{nodes}{fd}\n{fd}/0\n{fd}/1\n{fd}/2\n"));
        let mounts = mounts(&root, caller, &[]);
        let mut nodes = mounts.iter().filter(|mount| mount.kind == "devtmpfs");
        assert!(nodes.all(|node| node.options.starts_with("rw,nosuid")), "{mounts:?}");
        // The same by name, in the caller's own root.
        let named = stdout_of(&mut caller.shell_with(&["--dev", "/dev"], "ls /dev"));
        assert_eq!(named, DEVICES);
    }
}

#[test]
fn each_device_works() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let script = "cd /dev; echo x > null; head -c 5 null | wc -c; head -c 5 zero | wc -c; head -c 5 full | wc -c; \
                      head -c 5 random | wc -c; head -c 5 urandom | wc -c; ! dd if=zero of=full count=1 2> /tmp/said; \
                      grep -o 'No space left' /tmp/said; echo out > stdout | cat; (echo err > stderr) 2>&1 | cat; echo in | cat stdin; \
                      echo six 6> /tmp/six > fd/6; cat /tmp/six; ! cat tty; echo shared > shm/x && cat shm/x; \
                      stat -c %a shm .";
        let expected = "0\n5\n5\n5\n5\nNo space left\nout\nerr\nin\nsix\ncat: can't open 'tty': \
                        No such device or address\nshared\n1777\n755\n";
        assert_eq!(told(&root, caller, &[], script), expected);
    }
}

#[test]
fn dev_has_pseudo_terminals_of_its_own() {
    for caller in callers() {
        let command = "tty; ls /dev/pts; echo typed > /dev/tty";
        let script = format!("exec script -qec '{command}' /dev/null");
        for options in [&["--dev", "/dev"][..], &SYSTEM] {
            let said = stdout_of(&mut caller.shell_with(options, &script)).replace('\r', "");
            assert_eq!(said, "/dev/pts/0\n0  ptmx\ntyped\n", "{options:?}");
        }
    }
}

#[test]
fn a_terminal_of_the_sandboxs_own_is_one_of_its_dev() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let script = "tty; ls -1 /dev/pts; echo typed > /dev/tty; readlink /dev/ptmx";
        let expected = "/dev/pts/0\n0\nptmx\ntyped\npts/ptmx\n";
        let said = told(&root, caller, &["--tty"], script).replace('\r', "");
        assert_eq!(said, expected);
        let said = stdout_of(&mut caller.shell_with(&["--tty", "--dev", "/dev"], script)).replace('\r', "");
        assert_eq!(said, expected);
    }
}

#[test]
fn message_queues_have_a_place_in_a_dev_of_their_own() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let mount = mounts(&root, caller, &["--mqueue"]).into_iter().find(|mount| mount.at == "/dev/mqueue");
        assert_eq!(mount.expect("/dev/mqueue").kind, "mqueue");
        assert_eq!(root.folder().list("dev"), [""; 0]);
    }
}

#[test]
fn every_option_has_its_effect_in_a_root_too() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let source = root.folder().directory("source");
        root.folder().file("source/file", "content\n");
        let bind = format!("{source}:/a/bind");
        let read_only = format!("{source}:/a/ro");
        let content = root.folder().file("content", "given\n");
        let options = [
            "--bind",
            &bind,
            "--ro-bind",
            &read_only,
            "--try-bind=/no:/a/no",
            "--dev-bind=/dev/null:/a/null",
            "--bind-fd=8:/a/fd",
            "--file=9:/a/given",
            "--tmpfs=/a/tmpfs:mode=711",
            "--dir=/a/dir",
            "--symlink=../etc:/a/link",
            "--mask=/etc/name",
            "--remount-ro=/a/bind",
        ];
        let script = "ls /a; cat /a/ro/file /a/fd/file /a/given; ls /a/link; cat /a/link/name; ! touch /a/bind/x; \
                      stat -c %a /a/tmpfs; echo x > /a/null";
        let path = root.folder().path("");
        let start = ["--rootfs", &path];
        let command = ["--", "/bin/sh", "-c", script];
        let arguments = start.iter().chain(&options).chain(&command);
        let output = run(&mut caller.launch_by(&format!("exec \"$@\" 8<{source} 9<{content}"), arguments));
        let listed = "bind\ndir\nfd\ngiven\nlink\nnull\nro\ntmpfs\n";
        assert_eq!(
            (text(&output.stderr), text(&output.stdout)),
            (
                "touch: /a/bind/x: Read-only file system\n".into(),
                format!("{listed}content\ncontent\ngiven\nname\n711\n")
            )
        );
    }
}
