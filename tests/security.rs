//! Attacks by the workload: through descriptors, /proc, system calls, mounts and devices. docs/security.md names each
//! test, and the first one here sees to it that it does.

mod support;

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use support::hostile::{Hostile, outcome, perl};
use support::{Caller, Talk, callers, cannot_run, code, install, public_folder, run, stdout_of, text};

#[test]
fn every_row_of_the_table_of_attacks_names_tests_that_there_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(folder.join("docs/security.md")).expect("docs/security.md");
    let table = document.split("\n## Attacks and their tests\n").nth(1).expect("the table's section");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 20, "{} rows", rows.len());
    let mut tests = Vec::new();
    for place in ["tests", "src", "src/seccomp", "init/src", "init/src/setup"] {
        for entry in fs::read_dir(folder.join(place)).expect(place) {
            let path = entry.expect("entry").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                tests.extend(tests_in(&fs::read_to_string(path).expect("source")));
            }
        }
    }
    for row in rows {
        // The last cell: names in backticks.
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        let names: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(tests.iter().any(|test| test == name), "{name} is no test: {row}");
        }
    }
}

#[test]
fn the_documented_list_of_refused_calls_is_the_one_that_is_compiled_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let document = fs::read_to_string(path).expect("docs/security.md");
    let documented =
        document.split("| call | fails with | because |\n|---|---|---|\n").nth(1).expect("the list");
    let documented = documented.split("\n\n").next().expect("its rows");
    assert_eq!(documented, launch::seccomp::table().trim_end());
}

fn tests_in(source: &str) -> Vec<String> {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let follows = |at: usize| lines[at..].iter().find_map(|line| line.strip_prefix("fn ")?.split('(').next());
    let is_test = |(at, line): (usize, &&str)| (*line == "#[test]").then(|| follows(at)).flatten();
    lines.iter().enumerate().filter_map(is_test).map(str::to_owned).collect()
}

/// Each caller with a root of its own.
fn each(mut test: impl FnMut(&Hostile)) {
    for caller in callers() {
        test(&Hostile::new(caller));
    }
}

fn is_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        cannot_run(what, "the tests were not started by root");
    }
    is_root
}

/// What a workload prints that tries to write to each of these files, without changing one.
fn writable_of(files: &[&str]) -> String {
    files.iter().map(|file| format!("(true >> {file}) 2>/dev/null && echo {file};")).collect::<String>()
        + "true"
}

#[test]
fn no_descriptor_of_the_outside_is_open_inside_nor_reachable_through_pid_1() {
    each(|hostile| {
        let (root, outside, work) = (hostile.name("root"), hostile.name("outside"), hostile.name("work"));
        // As careless callers have them: directories, files and sockets, none of them close-on-exec.
        let script =
            format!("exec 3< {outside} 4< {outside}/secret 5< / 7>> {outside}/secret 9< {work}; exec \"$@\"");
        let inside = "for n in /proc/[0-9]*/fd/*; do readlink $n; done 2>/dev/null; echo end; \
                      for n in /proc/1/fd/*; do readlink $n; cat $n; done; cat <&4";
        let volatile = format!("{work}:/work");
        let options = ["--rootfs", &root, "--ro-bind", "/usr", "--bind", &volatile, "--mask", "/work"];
        let command = ["--", "sh", "-c", inside];
        let output =
            run(hostile.caller.launch_by(&script, options.iter().chain(&command)).stdin(Stdio::null()));
        let stdout = text(&output.stdout);
        assert!(stdout.contains("/dev/null\n") && stdout.ends_with("end\n"), "{stdout}");
        assert!(
            !stdout.contains(&outside) && !stdout.contains(&work) && !stdout.contains("\n/\n"),
            "{stdout}"
        );
    });
}

/// Numbers of system calls, for perl.
#[cfg(target_arch = "x86_64")]
mod number {
    pub const PTRACE: u32 = 101;
    pub const PROCESS_VM_READV: u32 = 310;
    pub const KEYCTL: u32 = 250;
    pub const ADD_KEY: u32 = 248;
    pub const NAME_TO_HANDLE_AT: u32 = 303;
    pub const OPEN_BY_HANDLE_AT: u32 = 304;
    pub const UNSHARE: u32 = 272;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const PTRACE: u32 = 117;
    pub const PROCESS_VM_READV: u32 = 270;
    pub const KEYCTL: u32 = 219;
    pub const ADD_KEY: u32 = 217;
    pub const NAME_TO_HANDLE_AT: u32 = 264;
    pub const OPEN_BY_HANDLE_AT: u32 = 265;
    pub const UNSHARE: u32 = 97;
}
/// The same everywhere.
const PIDFD_OPEN: u32 = 434;
const PIDFD_GETFD: u32 = 438;

#[test]
fn pid_1_can_be_neither_traced_nor_read_nor_robbed_of_a_descriptor() {
    let attack = |pid: &str| {
        format!(
            "my $pid = {pid}; sub errno {{ print $!+0, \" \"; $! = 0 }} \
             syscall({}, 16, $pid, 0, 0); errno; syscall({}, 0x4206, $pid, 0, 0); errno; \
             my $buffer = \"\\0\" x 16; my $to = pack('PQ', $buffer, 16); my $from = pack('QQ', 0x400000, 16); \
             syscall({}, $pid, $to, 1, $from, 1, 0); errno; \
             my $fd = syscall({PIDFD_OPEN}, $pid, 0); syscall({PIDFD_GETFD}, $fd, 0, 0); errno; \
             open(my $m, '+<', \"/proc/$pid/mem\"); errno; readlink \"/proc/$pid/fd/0\"; errno; print \"end\\n\"; kill 9, $pid if $pid > 1;",
            number::PTRACE,
            number::PTRACE,
            number::PROCESS_VM_READV
        )
    };
    each(|hostile| {
        let pid_1 = attack("1");
        for options in [&[][..], &["--seccomp", "off"], &["--cap-drop", "ALL"]] {
            let found = stdout_of(&mut hostile.launch(options, &perl(&pid_1)));
            assert!(found.ends_with("end\n"), "{found}");
            for errno in found.split_whitespace().take(6) {
                let errno: i32 = errno.parse().expect("an errno");
                assert!([libc::EPERM, libc::EACCES].contains(&errno), "{options:?} {found}");
            }
        }
        // A process of one's own can be robbed.
        let own = attack("fork || do { sleep 100; exit }");
        let found = stdout_of(&mut hostile.launch(&["--seccomp", "off"], &perl(&own)));
        assert_eq!(found.split(' ').nth(3), Some("0"), "{found}");
    });
}

/// A copy of the program that this caller owns and may write to.
fn own_program(hostile: &Hostile) -> std::path::PathBuf {
    let path = hostile.path("own-launch");
    install(support::program(), &path);
    chown(&path, Some(hostile.caller.uid()), Some(hostile.caller.gid())).expect("chown");
    path
}

#[test]
fn what_is_written_through_proc_exe_never_reaches_the_callers_program() {
    each(|hostile| {
        let program = own_program(hostile);
        let (bytes, time) =
            (fs::read(&program).expect("read"), program.metadata().expect("metadata").mtime_nsec());
        let attack = "for my $link ('/proc/1/exe', glob('/proc/[0-9]*/exe')) { \
                      chmod(0777, $link) if readlink($link) =~ /launch/; \
                      for my $mode ('<', '>>', '+<') { open(my $f, $mode, $link) or next; my $n = fileno $f; \
                      for my $again ('>>', '+<') { open(my $g, $again, \"/proc/self/fd/$n\") or next; \
                      my $file = readlink \"/proc/self/fd/$n\"; print $g 'overwritten' if $file =~ /launch/; } } }";
        hostile.file("root/attack", attack);
        for (name, script) in [
            ("script", "#!/proc/self/exe\n"),
            ("script-with-option", "#!/proc/self/exe --\n"),
            ("script-version", "#!/proc/self/exe --version\n"),
            ("script-pid-1", "#!/proc/1/exe\n"),
        ] {
            hostile.file(&format!("root/{name}"), script);
            fs::set_permissions(hostile.path(&format!("root/{name}")), fs::Permissions::from_mode(0o755))
                .expect("chmod");
        }
        hostile.link("/proc/self/exe", "root/link");
        let root = hostile.name("root:rw");
        for identity in [&[][..], &["--uid", "1000", "--gid", "1000"], &["--cap-drop", "ALL"]] {
            for command in [
                &["perl", "/attack"][..],
                &["sh", "-c", "for f in /script* /link; do $f & done; perl /attack; wait"],
                &["/script"],
                &["/script-with-option"],
                &["/script-version"],
                &["/script-pid-1"],
                &["/link", "--", "perl", "/attack"],
                &["/proc/self/exe", "--", "perl", "/attack"],
                &["/proc/1/exe"],
            ] {
                let before = ["--rootfs", &root, "--ro-bind", "/usr"];
                let mut launch = hostile.caller.command(&program);
                launch.args(before.iter().chain(identity).chain(&["--"]).chain(command)).stdin(Stdio::null());
                // Most of them do not run; none may have done anything.
                run(&mut launch);
                assert!(fs::read(&program).expect("read") == bytes, "{identity:?} {command:?}");
                assert_eq!(
                    program.metadata().expect("metadata").mtime_nsec(),
                    time,
                    "{identity:?} {command:?}"
                );
            }
        }
        // It is one that this caller can write to.
        let write = format!("printf x >> {}", program.display());
        assert!(run(hostile.caller.command("sh").args(["-c", &write])).status.success());
        assert_eq!(fs::read(&program).expect("read").len(), bytes.len() + 1);
    });
}

#[test]
fn the_file_of_pid_1_is_on_a_read_only_mount_where_it_could_not_be_written_to_by_its_path() {
    if !is_root("opening /proc/PID/exe of init") {
        return;
    }
    for caller in callers() {
        let mut talk = Talk::start(&mut caller.shell_with(&["--read-only"], "echo ready; read -r _"));
        assert_eq!(talk.hear().as_deref(), Some("ready"));
        // The launcher's child.
        let children = format!("/proc/{0}/task/{0}/children", talk.pid());
        let init = fs::read_to_string(children).expect("children");
        let exe = format!("/proc/{}/exe", init.trim());
        let mode = fs::Permissions::from_mode(0o755);
        // To write would be ETXTBSY here, whatever the mount, until the last process of that program ends.
        let refused = fs::set_permissions(&exe, mode.clone()).expect_err("chmod");
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS), "{caller:?}");
        fs::set_permissions(support::program(), mode).expect("chmod by its path");
        talk.say("");
        talk.end();
    }
}

#[test]
fn a_launch_that_is_a_file_in_memory_alone_launches_too() {
    for caller in callers() {
        // The processes that other tests start meanwhile inherit it, and have no use for it.
        let memory = memfd_create(c"launch", MFdFlags::empty()).expect("memfd");
        fs::File::from(memory.try_clone().expect("dup"))
            .write_all(&fs::read(support::program()).expect("program"))
            .expect("write");
        // What is open for writing is not executed.
        let own = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let program = fs::File::open(&own).expect("open");
        fcntl(&program, FcntlArg::F_SETFD(FdFlag::empty())).expect("fcntl");
        drop(memory);
        let own = format!("/proc/self/fd/{}", program.as_raw_fd());
        for options in [&[][..], &["--read-only"]] {
            let mut launch = caller.command(&own);
            launch.args(options).args(["--", "echo", "in memory"]).current_dir("/").stdin(Stdio::null());
            assert_eq!(stdout_of(&mut launch), "in memory\n", "{caller:?} {options:?}");
        }
    }
}

/// A program for i386 without any library that does one system call and exits with its errno: the Executable and Linkable
/// Format's header, one segment, and eleven instructions.
#[cfg(target_arch = "x86_64")]
fn program_for_i386(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let mut code = Vec::new();
    let mut load = |opcode: u8, value: u32| {
        code.push(opcode);
        code.extend(value.to_le_bytes());
    };
    load(0xb8, number); // mov eax
    load(0xbb, arguments[0]); // mov ebx
    load(0xb9, arguments[1]); // mov ecx
    load(0xba, if arguments[2] == 0 { BASE } else { arguments[2] }); // mov edx, something readable
    code.extend([0xcd, 0x80]); // int 0x80
    code.extend([0xf7, 0xd8, 0x89, 0xc3]); // neg eax; mov ebx, eax
    code.extend([0xb8, 1, 0, 0, 0, 0xcd, 0x80]); // exit
    let size = HEADERS + code.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 3, 0]); // an executable for i386
    let words = [1, BASE + HEADERS, 52, 0, 0];
    file.extend(words.into_iter().flat_map(u32::to_le_bytes));
    file.extend([52_u16, 32, 1, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    let segment = [1, 0, BASE, BASE, size, size, 5, 0x1000];
    file.extend(segment.into_iter().flat_map(u32::to_le_bytes));
    file.extend(code);
    file
}

#[cfg(target_arch = "x86_64")]
#[test]
fn programs_for_i386_are_refused_the_same_calls() {
    const IOCTL: u32 = 54;
    let calls = [
        ("tiocsti", IOCTL, [0, 0x5412, 0]),
        ("tioclinux", IOCTL, [0, 0x541c, 0]),
        ("keyctl", 288, [0, 0xffff_fffd, 0]),
        ("bpf", 357, [0, 0, 0]),
        ("perf_event_open", 336, [0, 0, 0]),
    ];
    for caller in callers() {
        let folder = public_folder();
        for (name, number, arguments) in calls {
            let path = folder.path().join(name);
            support::executable(&path, program_for_i386(number, arguments));
            let errno = |command: &mut Command| command.stdin(Stdio::null()).status().expect(name).code();
            match errno(&mut caller.command(&path)) {
                None | Some(126) => return cannot_run("programs for i386", "this kernel runs none"),
                outside => {
                    let is_told_apart = outside != Some(libc::EPERM) || !name.starts_with("tioc");
                    assert!(is_told_apart, "{name}: {outside:?} outside");
                }
            }
            let inside = errno(&mut caller.launch(["--".as_ref(), path.as_os_str()]));
            assert_eq!(inside, Some(libc::EPERM), "{name} as {caller:?}");
            if !name.starts_with("tioc") {
                let off = errno(&mut caller.launch([
                    "--seccomp".as_ref(),
                    "off".as_ref(),
                    "--".as_ref(),
                    path.as_os_str(),
                ]));
                println!("{name} without a filter: {off:?}");
            }
        }
    }
}

#[test]
fn the_callers_keys_can_be_neither_listed_nor_read_nor_filled() {
    each(|hostile| {
        // The session keyring's number; a new key in it.
        let attack = format!(
            "my $r = syscall({}, 0, -3, 0); print $r > 0 ? 'found' : $!+0, ' '; \
             $r = syscall({}, my $type = 'user', my $name = 'launch-test', my $key = 'x', 1, -2); print $r > 0 ? 'added' : $!+0, \"\\n\";",
            number::KEYCTL,
            number::ADD_KEY
        );
        let refused = format!("{0} {0}\n", libc::EPERM);
        assert_eq!(stdout_of(hostile.caller.command("perl").args(["-e", &attack])), "found added\n");
        for options in [&[][..], &["--net", "none"]] {
            assert_eq!(stdout_of(&mut hostile.launch(options, &perl(&attack))), refused);
        }
        assert_eq!(
            stdout_of(hostile.caller.launch(["--"].into_iter().chain(perl(&attack))).stdin(Stdio::null())),
            refused
        );
        assert_eq!(stdout_of(&mut hostile.shell(&[], "cat /proc/keys")), "");
    });
}

#[test]
fn no_file_is_opened_by_its_handle() {
    each(|hostile| {
        let attack = format!(
            "my $handle = pack('Ii', 128, 0) . \"\\0\" x 128; my $id = pack('i', 0); my $path = '/usr'; \
             syscall({}, -100, $path, $handle, $id, 0) == 0 or print 'no handle '; \
             open(my $d, '<', '/usr'); my $fd = syscall({}, fileno($d), $handle, 0); print $fd >= 0 ? 'opened' : $!+0, \"\\n\";",
            number::NAME_TO_HANDLE_AT,
            number::OPEN_BY_HANDLE_AT
        );
        let refused = format!("{}\n", libc::EPERM);
        if hostile.caller == Caller::Root {
            assert_eq!(stdout_of(hostile.caller.command("perl").args(["-e", &attack])), "opened\n");
        }
        // By the filter, and without it by the capability, which reaches no further than the user namespace.
        for options in [&[][..], &["--seccomp", "off"], &["--seccomp", "off", "--cap-add", "ALL"]] {
            assert_eq!(stdout_of(&mut hostile.launch(options, &perl(&attack))), refused, "{options:?}");
        }
    });
}

/// Ways in which somebody would take a wall down. Each is a command that must fail.
const UNDOING: [&str; 19] = [
    "umount /proc/keys",
    "umount /proc/sys",
    "umount -l /proc",
    "umount /work/secret",
    "umount -R /work",
    "umount -l /usr",
    "mount -o remount,rw /",
    "mount -o remount,rw,bind /",
    "mount -o remount,rw,bind /usr",
    "mount -o remount,rw,bind /proc/sys",
    "mount -o remount,bind,suid /work",
    "mount -o remount,bind,dev /work",
    "mkdir -p /tmp/m && mount --rbind / /tmp/m && mount -o remount,rw,bind /tmp/m",
    "mkdir -p /tmp/m && mount --bind /proc /tmp/m && umount /tmp/m/keys",
    "mkdir -p /tmp/m && mount --rbind /proc /tmp/m && umount /tmp/m/keys",
    "mkdir -p /tmp/m && mount --bind /work /tmp/m && test -s /tmp/m/secret",
    "mkdir -p /tmp/m && mount --rbind /work /tmp/m && umount /tmp/m/secret",
    "mkdir -p /tmp/m && mount -t proc proc /tmp/m && cat /tmp/m/keys",
    "mkdir -p /tmp/m && mount -t sysfs sysfs /tmp/m",
];

#[test]
fn no_mount_is_undone_from_inside_not_even_in_a_user_namespace_of_ones_own() {
    each(|hostile| {
        hostile.file("work/secret", "secret");
        let tried = |before: &str| -> String {
            let tries = UNDOING.iter().map(|command| {
                format!("({before} sh -c '{command}') > /dev/null 2>&1 && echo 'worked: {command}';")
            });
            tries.collect::<String>() + "cat /work/secret; (> /x) 2>/dev/null; true"
        };
        let work = format!("{}:/work", hostile.name("work"));
        let walls = ["--bind", &work, "--mask", "/work/secret"];
        for before in ["", "unshare -Urm", "unshare -Urmpf", "unshare -UrmC", "unshare -Urm unshare -Urm"] {
            let found = outcome(&mut hostile.shell(&walls, &tried(before)));
            assert_eq!(found, (0, String::new(), String::new()), "{before}");
        }
        assert!(!hostile.path("root/x").exists());
        // It is not for want of a way to mount that they fail.
        let can_mount =
            "unshare -Urm sh -c 'mount -t tmpfs tmpfs /tmp && mount --bind /usr /tmp && echo mounted'";
        assert_eq!(stdout_of(&mut hostile.shell(&walls, can_mount)), "mounted\n");
        // With the one capability that the default lacks for this reason, walls do come down.
        let weakened = [&walls[..], &["--cap-add", "SYS_ADMIN"]].concat();
        let (_, stdout, _) = outcome(&mut hostile.shell(&weakened, &tried("")));
        for command in [UNDOING[0], UNDOING[7]] {
            assert!(stdout.contains(&format!("worked: {command}\n")), "{stdout}");
        }
    });
}

/// What root prints by this script behind each of these walls: nothing.
#[track_caller]
fn assert_nothing_printed(walls: &[&[&str]], script: &str) {
    let printed =
        walls.iter().map(|wall| (wall, run(Caller::Root.shell_with(wall, script).current_dir("/var/tmp"))));
    let printed: Vec<_> =
        printed.map(|(wall, output)| (wall, text(&output.stdout), text(&output.stderr))).collect();
    assert!(printed.iter().all(|(_, stdout, _)| stdout.is_empty()), "{printed:#?}");
}

/// What would run a program as root outside, or stop the machine. Those that this kernel has.
const OF_THE_MACHINE: [&str; 12] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/poweroff_cmd",
    "/proc/sys/kernel/panic",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/fs/protected_symlinks",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
    "/sys/fs/cgroup/memory/release_agent",
];

#[test]
fn a_root_outside_does_not_change_the_machine_by_its_settings_behind_a_wall() {
    if !is_root("the settings of the machine") {
        return;
    }
    let script = writable_of(&OF_THE_MACHINE);
    let outside = stdout_of(Command::new("sh").args(["-c", &script]));
    assert!(outside.contains("/proc/sys/kernel/core_pattern"), "{outside}");
    let hostile = Hostile::new(Caller::Root);
    assert_eq!(stdout_of(&mut hostile.shell(&[], &script)), "");
    assert_eq!(stdout_of(&mut hostile.shell(&["--ro-bind", "/sys", "--proc", "/proc"], &script)), "");
    // Capabilities of a user namespace of one's own give no more.
    assert_eq!(
        stdout_of(&mut hostile.shell(&["--cap-add", "SYS_PTRACE,NET_ADMIN,SYS_RESOURCE"], &script)),
        ""
    );
    let walls = [
        &["--ro-bind", "/:/"][..],
        &["--profile", "strict"],
        &["--profile", "build"],
        &["--profile", "service"],
        &["--read-only"],
        &["--volatile"],
    ];
    assert_nothing_printed(&walls, &script);
}

#[test]
fn a_root_outside_opens_no_device_of_the_machine_behind_a_wall() {
    if !is_root("the devices of the machine") {
        return;
    }
    let folder = public_folder();
    let device = folder.path().join("null");
    assert!(Command::new("mknod").arg(&device).args(["c", "1", "3"]).status().expect("mknod").success());
    let device = device.display().to_string();
    let devices = ["/dev/kmsg", "/dev/loop-control", "/dev/loop0", "/dev/sda", "/dev/mem", &device];
    let opened = |device| {
        format!("test -e {device} -a ! -f {device} && (true < {device}) 2>/dev/null && echo {device};")
    };
    let script = devices.map(opened).concat() + "true";
    let outside = stdout_of(Command::new("sh").args(["-c", &script]));
    assert!(outside.contains(&device), "{outside}");
    let walls = [
        &["--ro-bind", "/:/"][..],
        &["--bind", "/:/"],
        &["--profile", "strict"],
        &["--profile", "build"],
        &["--read-only"],
        &["--volatile"],
    ];
    assert_nothing_printed(&walls, &script);
}

#[test]
fn a_setuid_program_in_a_bound_directory_gives_nothing() {
    if !is_root("setuid programs of another user") {
        return;
    }
    let hostile = Hostile::new(Caller::Root);
    install(Path::new("/usr/bin/id"), &hostile.path("work/id"));
    fs::set_permissions(hostile.path("work/id"), fs::Permissions::from_mode(0o6755)).expect("chmod");
    let outside = stdout_of(Caller::User.command(hostile.path("work/id")).arg("-u"));
    assert_eq!(outside, "0\n");
    let work = format!("{}:/work", hostile.name("work"));
    let user = support::USER.to_string();
    // In the user namespace of the machine, where a setuid bit could give a real root.
    for bind in ["--bind", "--ro-bind", "--dev-bind"] {
        let options = ["--share", "user", "--user", &user, bind, &work];
        assert_eq!(
            stdout_of(&mut hostile.launch(&options, &["/work/id", "-u"])),
            format!("{user}\n"),
            "{bind}"
        );
    }
    // And where no mount is in the way, no_new_privs is.
    let name = hostile.name("work/id");
    let options = ["--share", "user", "--user", &user, "--", &name, "-u"];
    assert_eq!(stdout_of(&mut Caller::Root.launch(options)), format!("{user}\n"));
}

#[test]
fn strict_shows_no_socket_and_no_file_of_the_callers() {
    if !is_root("a socket in /run") {
        return;
    }
    let folder = tempfile::Builder::new().prefix("launch-test-").tempdir_in("/run").expect("folder");
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    let connect = format!(
        "use IO::Socket::UNIX; print IO::Socket::UNIX->new('{}') ? 'connected' : 'nothing', \"\\n\"",
        socket.display()
    );
    let reach = |options: &[&str]| {
        stdout_of(&mut Caller::Root.launch(options.iter().chain(&["--"]).chain(&perl(&connect))))
    };
    // A mount that is only read-only does not close a socket.
    assert_eq!(reach(&["--read-only"]), "connected\n");
    assert_eq!(reach(&["--profile", "strict"]), "nothing\n");
    let mut ls = Caller::Root
        .shell_with(&["--profile", "strict"], "ls -A /home /root /run /var/tmp /tmp | grep -v ':$' | grep .");
    assert_eq!(code(run(&mut ls).status), 1);
}

#[test]
fn a_kept_descriptor_of_a_directory_is_a_way_out_that_its_caller_opens() {
    each(|hostile| {
        // docs/security.md says so; if it ever changes, that has to.
        let (root, outside) = (hostile.name("root"), hostile.name("outside/directory"));
        let script = format!("exec \"$@\" 3< {outside}");
        let inside = "cat /proc/self/fd/3/../secret";
        let options = ["--rootfs", &root, "--ro-bind", "/usr", "--keep-fd", "3", "--", "sh", "-c", inside];
        let output = run(&mut hostile.caller.launch_by(&script, options));
        assert_eq!(text(&output.stdout), support::hostile::SECRET);
    });
}

#[test]
fn a_wall_that_cannot_be_built_ends_the_launch_without_a_workload() {
    each(|hostile| {
        let (missing, secret) = (hostile.name("missing"), hostile.name("outside/secret"));
        hostile.link("loop", "root/loop");
        let walls: [&[&str]; 9] = [
            &["--ro-bind", &missing],
            &["--tmpfs", "/loop/x"],
            &["--bind-fd", "0:/loop"],
            &["--overlay", "/x:lower=/missing"],
            &["--remount-ro", "/missing"],
            &["--mask", "/loop"],
            &["--seccomp", &missing],
            &["--seccomp", &secret],
            &["--chdir", "/missing"],
        ];
        for wall in walls {
            let (code, stdout, stderr) = outcome(&mut hostile.shell(wall, "echo ran"));
            assert_eq!((code, stdout.as_str()), (125, ""), "{wall:?}");
            assert!(stderr.starts_with("launch: "), "{stderr}");
        }
    });
}

#[test]
fn a_nested_user_namespace_opens_nothing_and_can_be_forbidden() {
    each(|hostile| {
        let attack =
            format!("print syscall({}, 0x10000000) == 0 ? 'made' : 'refused', \"\\n\"", number::UNSHARE);
        assert_eq!(stdout_of(&mut hostile.launch(&[], &perl(&attack))), "made\n");
        assert_eq!(stdout_of(&mut hostile.launch(&["--disable-userns"], &perl(&attack))), "refused\n");
        // Root of a nested one reads no file that root of the sandbox may not.
        hostile.file("work/secret", "secret");
        let work = format!("{}:/work", hostile.name("work"));
        let walls = ["--bind", &work, "--mask", "/work/secret"];
        let nested = "unshare -Ur cat /work/secret; unshare -Urm cat /proc/keys; unshare -Ur sh -c 'true >> /proc/sys/kernel/core_pattern'";
        assert_eq!(outcome(&mut hostile.shell(&walls, nested)).1, "");
    });
}
