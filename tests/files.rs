//! The mounts, directories, links and masks of a sandbox in the caller's own root: each in its good case and its bad
//! ones.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use launch::plan::Options;
use launch_init::handoff::{FileSystem, Source, Step};
use nix::sys::signal::Signal;
use support::{
    Caller, Folder, MADE_IN_THE_TREE, Mount, Running, callers, code_and_stderr, mounts_in, program, refused,
    stdout_of, text, until,
};

/// What the workload finds mounted uppermost on `path`.
#[track_caller]
fn mount_on(caller: Caller, options: &[&str], path: &str) -> Mount {
    let mounts = mounts_in(&stdout_of(&mut caller.shell_with(options, "cat /proc/self/mountinfo")));
    mounts.into_iter().rfind(|mount| mount.at == path).expect(path)
}

/// What a script prints, stderr included, before it ends with 0.
#[track_caller]
fn told(caller: Caller, options: &[&str], script: &str) -> String {
    stdout_of(&mut caller.shell_with(options, &format!("exec 2>&1; {script}")))
}

/// Whether the caller is kept out by permissions: only somebody else's are in the way of who is root inside.
fn is_kept_out(caller: Caller) -> bool {
    caller == Caller::User && nix::unistd::geteuid().is_root()
}

#[test]
fn a_bind_shows_the_source_at_its_own_path_or_at_another_and_is_writable() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let source = folder.directory("source");
        let at = folder.directory("at");
        folder.file("source/file", "content\n");
        let script = format!("cat {at}/file && echo new > {at}/new");
        assert_eq!(
            stdout_of(&mut caller.shell_with(&["--bind", &format!("{source}:{at}")], &script)),
            "content\n"
        );
        assert_eq!(folder.read("source/new"), "new\n");
        assert_eq!(folder.list("at"), [""; 0]);
        let script = format!("echo again > {source}/new");
        assert_eq!(stdout_of(&mut caller.shell_with(&["--read-only", "--bind", &source], &script)), "");
        assert_eq!(folder.read("source/new"), "again\n");
    }
}

#[test]
fn a_bind_shows_what_is_mounted_below_its_source() {
    for caller in callers() {
        // The system's /dev has /dev/shm mounted in it.
        assert_eq!(mount_on(caller, &["--bind", "/dev:/mnt"], "/mnt/shm").kind, "tmpfs");
    }
}

#[test]
fn a_read_only_bind_is_read_only_with_all_below_it() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let source = folder.directory("source");
        let script = format!("! touch {source}/new");
        let expected = format!("touch: cannot touch '{source}/new': Read-only file system\n");
        assert_eq!(told(caller, &["--ro-bind", &source], &script), expected);
        let below = told(caller, &["--ro-bind", "/dev:/mnt"], "grep -E ' /mnt[/ ]' /proc/self/mountinfo");
        assert!(mounts_in(&below).iter().all(|mount| mount.options.starts_with("ro,")), "{below}");
        assert!(mounts_in(&below).len() > 1, "{below}");
    }
}

#[test]
fn binds_are_nosuid_and_only_a_dev_bind_has_devices() {
    for caller in callers() {
        let options = |kind| mount_on(caller, &[kind, "/usr:/mnt"], "/mnt").options;
        assert_eq!(options("--bind"), "rw,nosuid,nodev,relatime");
        assert_eq!(options("--ro-bind"), "ro,nosuid,nodev,relatime");
        assert_eq!(options("--dev-bind"), "rw,nosuid,relatime");
        let script = "echo x > /tmp/d/null && echo written";
        assert_eq!(told(caller, &["--dev-bind", "/dev/null:/tmp/d/null"], script), "written\n");
        let (code, stderr) =
            code_and_stderr(&mut caller.shell_with(&["--bind", "/dev/null:/tmp/d/null"], script));
        assert_eq!((code, stderr.as_str()), (2, "sh: 1: cannot create /tmp/d/null: Permission denied\n"));
    }
}

#[test]
fn a_missing_source_is_an_error_but_for_the_try_options() {
    for caller in callers() {
        for kind in ["--bind", "--ro-bind", "--dev-bind"] {
            assert_eq!(
                refused(&mut caller.shell_with(&[kind, "/no/such:/mnt"], "true")),
                "launch: mount: /mnt: source /no/such: No such file or directory"
            );
        }
        for kind in ["--try-bind", "--try-ro-bind"] {
            // Nor is a mount point made for it.
            let script = "test ! -e /tmp/at && echo skipped";
            assert_eq!(told(caller, &[kind, "/no/such:/tmp/at"], script), "skipped\n");
            assert_eq!(told(caller, &[kind, "/etc/passwd:/tmp/at"], "cmp /tmp/at /etc/passwd"), "");
        }
        assert!(mount_on(caller, &["--try-bind", "/usr:/mnt"], "/mnt").options.starts_with("rw,"));
        assert!(mount_on(caller, &["--try-ro-bind", "/usr:/mnt"], "/mnt").options.starts_with("ro,"));
    }
}

#[test]
fn a_try_option_skips_what_is_missing_and_nothing_else() {
    for caller in callers() {
        for kind in ["--try-bind", "--try-ro-bind"] {
            assert_eq!(
                refused(&mut caller.shell_with(&[kind, "/etc/passwd/x:/mnt"], "true")),
                "launch: mount: /mnt: source /etc/passwd/x: Not a directory"
            );
        }
        if is_kept_out(caller) {
            let folder = Folder::of(Caller::Root);
            let closed = folder.directory("closed");
            let source = folder.directory("closed/source");
            fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).expect("chmod");
            for kind in ["--try-bind", "--bind"] {
                assert_eq!(
                    refused(&mut caller.shell_with(&[kind, &format!("{source}:/mnt")], "true")),
                    format!("launch: mount: /mnt: source {source}: Permission denied")
                );
            }
        }
    }
}

#[test]
fn a_directory_and_a_file_are_not_mounted_on_each_other() {
    for caller in callers() {
        assert_eq!(
            refused(&mut caller.shell_with(&["--bind", "/etc/passwd:/mnt"], "true")),
            "launch: mount: /mnt: a file cannot be mounted on a directory"
        );
        for options in [["--bind", "/usr:/etc/passwd"], ["--tmpfs", "/etc/passwd"], ["--dev", "/etc/passwd"]]
        {
            assert_eq!(
                refused(&mut caller.shell_with(&options, "true")),
                "launch: mount: /etc/passwd: a directory cannot be mounted on a file"
            );
        }
    }
}

#[test]
fn a_descriptors_file_or_directory_is_bound_and_the_descriptor_is_not_handed_on() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let file = folder.file("file", "content\n");
        let fds = "for fd in 3 4 5 6 7 8 9; do test ! -e /proc/self/fd/$fd || echo $fd is open; done";
        let shell = |number: &str, source: &str, script: &str| {
            let script = format!("{fds}; {script}");
            let at = format!("{number}:/tmp/at");
            let arguments = ["--bind-fd", &at, "--", "bash", "-c", &script];
            stdout_of(&mut caller.launch_by(&format!("exec \"$@\" {number}<'{source}'"), arguments))
        };
        assert_eq!(shell("9", &file, "cat /tmp/at; echo more >> /tmp/at"), "content\n");
        assert_eq!(folder.read("file"), "content\nmore\n");
        assert_eq!(shell("3", &folder.path(""), "ls /tmp/at"), "file\n");
    }
}

#[test]
fn a_descriptor_that_leads_to_nothing_mountable_is_refused() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let refused_by =
            |script: &str| refused(&mut caller.launch_by(script, ["--bind-fd", "9:/mnt", "--", "true"]));
        assert_eq!(
            refused_by("exec \"$@\""),
            "launch: descriptor: 9: is not open\n\
             launch: hint: open it in the calling shell, as in: launch ... 5</a/file"
        );
        let file = folder.file("deleted", "");
        assert_eq!(
            refused_by(&format!("exec 9<{file}; rm {file}; exec \"$@\"")),
            format!("launch: mount: /mnt: source {file} (deleted): No such file or directory")
        );
        // The name that the kernel gives for it is somebody else's.
        let file = folder.file("deleted", "");
        folder.file("deleted (deleted)", "");
        assert_eq!(
            refused_by(&format!("exec 9<{file}; rm {file}; exec \"$@\"")),
            "launch: mount: /mnt: descriptor 9: its path leads to something else by now"
        );
    }
}

#[test]
fn a_pipe_or_a_socket_cannot_be_bound() {
    for caller in callers() {
        let arguments = ["--bind-fd", "0:/tmp/at", "--", "true"];
        let (ours, theirs) = UnixStream::pair().expect("socket pair");
        let socket = refused(caller.launch(arguments).stdin(OwnedFd::from(theirs)));
        drop(ours);
        let pipe = refused(caller.launch(arguments).stdin(Stdio::piped()));
        for (line, kind) in [(socket, "socket"), (pipe, "pipe")] {
            let start = format!("launch: mount: /tmp/at: descriptor 0 is {kind}:[");
            let end = "]: only files and directories have a path";
            assert!(line.starts_with(&start) && line.ends_with(end), "{line}");
        }
    }
}

#[test]
fn a_tmpfs_is_empty_and_has_its_size_and_mode() {
    for caller in callers() {
        let options = ["--tmpfs", "/usr/local:size=64K,mode=1700"];
        let script = "stat -c %a /usr/local; ls -A /usr/local; head -c 65536 /dev/zero > /usr/local/a && \
                      ! head -c 1 /dev/zero > /usr/local/b";
        assert_eq!(told(caller, &options, script), "1700\nhead: write error: No space left on device\n");
        assert_eq!(told(caller, &["--tmpfs", "/mnt"], "stat -c %a /mnt; touch /mnt/a; ls /mnt"), "755\na\n");
        let mount = mount_on(caller, &["--tmpfs", "/mnt"], "/mnt");
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("tmpfs", "rw,nosuid,nodev,relatime"));
    }
}

#[test]
fn wrong_values_end_before_anything_is_made() {
    let form = "say DEST or DEST:size=SIZE,mode=MODE";
    let size = "is no size: say a number of bytes above 0, or one with K, M, G or T";
    let mode = "is no mode: say three or four octal digits, as in 755";
    let colon = "a colon in a path is written \\:";
    let cases = [
        ("--tmpfs", "/mnt:size=0", format!("\"0\" {size}")),
        ("--tmpfs", "/mnt:size=-1", format!("\"-1\" {size}")),
        ("--tmpfs", "/mnt:mode=8", format!("\"8\" {mode}")),
        ("--tmpfs", "/mnt:noexec", format!("\"/mnt:noexec\": {form}")),
        ("--tmpfs", "", format!("\"\": {form}")),
        ("--bind", "/a:/b:/c", format!("\"/a:/b:/c\": say SRC or SRC:DEST; {colon}")),
        ("--bind", "/a:", "\"/a:\": say SRC or SRC:DEST, neither of them empty".into()),
        ("--ro-bind", "/a\\x0", "\"/a\\\\x0\": say \\xHH with two hexadecimal digits for a byte".into()),
        ("--dev-bind", "/a\\x00", "no path has a NUL byte".into()),
        ("--file", "/mnt", format!("\"/mnt\": say FD:DEST; {colon}")),
        ("--bind-fd", "3", format!("\"3\": say FD:DEST; {colon}")),
        ("--symlink", "/a", format!("\"/a\": say TARGET:DEST; {colon}")),
        ("--mask", "", "is empty".into()),
    ];
    for caller in callers() {
        for (option, value, reason) in &cases {
            assert_eq!(
                refused(&mut caller.shell_with(&[&format!("{option}={value}")], "true")),
                format!("launch: command line: {option}: {reason}")
            );
        }
    }
}

#[test]
fn a_directory_is_made_with_those_above_it_and_one_that_exists_stays() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let made = folder.path("a/b");
        let script = format!("umask; stat -c %a {0}/a {made}", folder.path(""));
        let mut command =
            caller.launch_by("umask 077; exec \"$@\"", ["--dir", &made, "--", "sh", "-c", &script]);
        assert_eq!(stdout_of(&mut command), "0077\n755\n755\n");
        let closed = folder.directory("closed");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
        assert_eq!(told(caller, &["--dir", &closed], &format!("stat -c %a {closed}")), "700\n");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    for caller in callers() {
        let made = |path| refused(&mut caller.shell_with(&["--dir", path], "true"));
        assert_eq!(made("/etc/passwd"), "launch: directory: /etc/passwd: Not a directory");
        assert_eq!(made("/etc/passwd/x"), "launch: directory: /etc/passwd/x: Not a directory");
        assert_eq!(
            made("/proc/x/y"),
            "launch: directory: /proc/x/y: /proc/x cannot be made: No such file or directory"
        );
        if is_kept_out(caller) {
            assert_eq!(
                made("/etc/x"),
                format!(
                    "launch: directory: /etc/x: /etc/x cannot be made: Permission denied\n{MADE_IN_THE_TREE}"
                )
            );
        }
    }
}

#[test]
fn a_file_has_the_content_of_its_descriptor_and_the_callers_own_is_unchanged() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let content = folder.file("content", "inner\n");
        let at = folder.file("at", "outer\n");
        let script = format!("stat -c %a {at}; cat {at} && echo more >> {at} && test ! -e /proc/self/fd/9");
        let arguments = ["--file", &format!("9:{at}"), "--", "sh", "-c", &script];
        let mut command = caller.launch_by(&format!("exec \"$@\" 9<{content}"), arguments);
        assert_eq!(stdout_of(&mut command), "644\ninner\n");
        assert_eq!((folder.read("content"), folder.read("at")), ("inner\n".into(), "outer\n".into()));
    }
}

#[test]
fn a_file_can_come_from_a_pipe_and_be_large() {
    for caller in callers() {
        // It ends in the middle of every buffer.
        let length = (5 << 20) + 4321;
        let content: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
        let mut command = caller.launch(["--file", "0:/tmp/at", "--", "cat", "/tmp/at"]);
        let mut running =
            Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut stdin = running.child().stdin.take().expect("stdin");
        let sent = content.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&sent));
        let output = running.output();
        writer.join().expect("join").expect("write");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        assert!(output.stdout == content, "{} bytes of {length}", output.stdout.len());
    }
}

#[test]
fn a_file_of_what_cannot_be_read_is_an_error() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let refused_by = |redirection: &str| {
            let script = format!("exec \"$@\" {redirection}");
            refused(&mut caller.launch_by(&script, ["--file", "9:/tmp/at", "--", "true"]))
        };
        assert_eq!(
            refused_by(""),
            "launch: descriptor: 9: is not open\n\
             launch: hint: open it in the calling shell, as in: launch ... 5</a/file"
        );
        assert_eq!(refused_by("9</"), "launch: mount: /tmp/at: descriptor 9 cannot be read");
        let file = folder.path("file");
        assert_eq!(refused_by(&format!("9>{file}")), "launch: mount: /tmp/at: descriptor 9 cannot be read");
    }
}

#[test]
fn a_link_is_made_and_one_that_leads_to_the_same_is_fine() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let there = folder.link("some/where", "there");
        let link = format!("some/where:{there}");
        let options = ["--symlink", &link, "--symlink", "/x\\:y:/tmp/a/b", "--symlink", "/x\\:y:/tmp/a/b"];
        let script = format!("readlink {there} /tmp/a/b");
        assert_eq!(told(caller, &options, &script), "some/where\n/x:y\n");
    }
}

#[test]
fn a_link_is_not_made_over_anything_else() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let there = folder.link("some/where", "there");
        let file = folder.file("file", "");
        for path in [&there, &file] {
            assert_eq!(
                refused(&mut caller.shell_with(&["--symlink", &format!("else/where:{path}")], "true")),
                format!("launch: symbolic link: {path}: File exists")
            );
        }
        assert_eq!(fs::read_link(&there).expect("readlink").to_str(), Some("some/where"));
    }
}

#[test]
fn what_is_masked_is_empty_for_root_inside_and_closed_for_others() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let file = folder.file("file", "secret\n");
        let directory = folder.directory("directory");
        folder.file("directory/file", "secret\n");
        let options = ["--mask", &file, "--mask", &directory];
        let script = format!(
            "stat -c '%a %s' {file}; cat {file}; ls -A {directory}; ! echo x > {file}; ! touch {directory}/x"
        );
        let expected = format!(
            "0 0\nsh: 1: cannot create {file}: Read-only file system\n\
             touch: cannot touch '{directory}/x': Read-only file system\n"
        );
        assert_eq!(told(caller, &options, &script), expected);
        let script = format!("! cat {file}; ! ls -A {directory}; ! chmod 777 {file}; ! cat {directory}/file");
        let expected = format!(
            "cat: {file}: Permission denied\nls: cannot open directory '{directory}': Permission denied\n\
             chmod: changing permissions of '{file}': Read-only file system\n\
             cat: {directory}/file: Permission denied\n"
        );
        assert_eq!(told(caller, &[&["--uid", "7"], &options[..]].concat(), &script), expected);
        assert_eq!(folder.read("file"), "secret\n");
    }
}

#[test]
fn a_mask_hides_where_a_link_leads_to_and_nothing_where_nothing_is() {
    for caller in callers() {
        let folder = Folder::of(caller);
        folder.file("file", "secret\n");
        let link = folder.link("file", "link");
        let script = format!("cat {link} {}; readlink {link}", folder.path("file"));
        assert_eq!(told(caller, &["--mask", &link, "--mask", &folder.path("no")], &script), "file\n");
        assert_eq!(folder.list(""), ["file", "link"]);
        let circle = folder.link("circle", "circle");
        assert_eq!(
            refused(&mut caller.shell_with(&["--mask", &circle], "true")),
            format!(
                "launch: mask: {circle}: too many links, or one of /proc, which would lead out of the sandbox"
            )
        );
    }
}

#[test]
fn what_is_set_up_on_the_way_is_in_the_way_of_no_path() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let file = folder.file("file", "secret\n");
        // Above the root is the root, whatever is mounted where.
        let up = format!("/../..{file}");
        let options = ["--mask", "/etc/passwd", "--mask", &up, "--file", "0:/../../tmp/empty"];
        assert_eq!(told(caller, &options, &format!("cat {file} /tmp/empty")), "");
    }
}

#[test]
fn nothing_is_mounted_on_the_root_where_nobody_would_find_it() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let link = folder.link("/", "link");
        for path in ["/tmp/..", "/../", "//", &link] {
            for (option, step) in [("--mask", "mask"), ("--tmpfs", "mount"), ("--dev", "mount")] {
                let line = refused(&mut caller.shell_with(&[option, path], "true"));
                let start = format!("launch: {step}: {path}: this is the root directory");
                let planned = format!("launch: command line: {path}: only a directory, layers");
                assert!(line.starts_with(&start) || line.starts_with(&planned), "{line}");
            }
        }
        assert_eq!(told(caller, &["--remount-ro", "/"], "! touch /x"), {
            "touch: cannot touch '/x': Read-only file system\n"
        });
    }
}

#[test]
fn a_mount_point_is_made_read_only_and_what_is_mounted_below_stays_as_it_is() {
    for caller in callers() {
        let options = ["--tmpfs", "/mnt", "--tmpfs", "/mnt/below", "--remount-ro", "/mnt"];
        let script = "! touch /mnt/x; touch /mnt/below/x && ls /mnt/below";
        let expected = "touch: cannot touch '/mnt/x': Read-only file system\nx\n";
        assert_eq!(told(caller, &options, script), expected);
    }
}

#[test]
fn a_plain_path_is_made_read_only_and_what_is_around_and_below_it_stays_as_it_is() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let plain = folder.directory("plain");
        let below = folder.directory("plain/below");
        let file = folder.file("file", "");
        let options = ["--tmpfs", &below, "--remount-ro", &plain, "--remount-ro", &file];
        let script = format!("! touch {plain}/x; ! echo > {file}; touch {below}/x {}/y", folder.path(""));
        let expected = format!(
            "touch: cannot touch '{plain}/x': Read-only file system\n\
             sh: 1: cannot create {file}: Read-only file system\n"
        );
        assert_eq!(told(caller, &options, &script), expected);
        assert_eq!(
            refused(&mut caller.shell_with(&["--remount-ro", "/no/such"], "true")),
            "launch: read-only: /no/such: No such file or directory"
        );
    }
}

#[test]
fn read_only_holds_for_all_that_is_mounted_but_the_fresh_file_systems() {
    for caller in callers() {
        let mounts = mounts_in(&told(caller, &["--read-only"], "cat /proc/self/mountinfo"));
        let writable: Vec<_> = mounts
            .iter()
            .filter(|mount| mount.options.starts_with("rw,"))
            .map(|mount| (mount.at.as_str(), mount.kind.as_str()))
            // Each of its devices is a mount.
            .filter(|(_, kind)| *kind != "devtmpfs")
            .collect();
        let fresh = [("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/tmp", "tmpfs")];
        assert_eq!(writable, fresh);
        let folder = Folder::of(caller);
        let below = folder.path("below");
        fs::create_dir(&below).expect("mkdir");
        let path = folder.path("x");
        let script = format!("! touch {path} {below}/x; touch /tmp/x /dev/shm/x && echo x > /dev/null");
        let expected = format!(
            "touch: cannot touch '{path}': Read-only file system\n\
             touch: cannot touch '{below}/x': Read-only file system\n"
        );
        assert_eq!(told(caller, &["--read-only"], &script), expected);
    }
}

#[test]
fn under_read_only_binds_and_tmpfs_are_writable_and_their_mount_points_are_made() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let source = folder.directory("source");
        let at = folder.path("new/at");
        let options = ["--read-only", "--bind", &format!("{source}:{at}"), "--tmpfs", &folder.path("tmp")];
        let script = format!("echo x > {at}/x; touch {0}/tmp/x; ! touch {0}/new/x", folder.path(""));
        let expected = format!("touch: cannot touch '{}/new/x': Read-only file system\n", folder.path(""));
        assert_eq!(told(caller, &options, &script), expected);
        assert_eq!(folder.read("source/x"), "x\n");
        // They stay, on the caller's own disk.
        assert_eq!(
            (folder.list("new"), folder.list("new/at"), folder.list("tmp")),
            (vec!["at".into()], vec![], vec![])
        );
    }
}

#[test]
fn missing_mount_points_have_the_mode_of_what_is_mounted_without_what_others_could_do() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let [open, closed, file] = ["open", "closed", "file"].map(|name| match name {
            "file" => folder.file(name, ""),
            _ => folder.directory(name),
        });
        for (path, mode) in [(&open, 0o1777), (&closed, 0o700), (&file, 0o666)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        }
        let [at_open, at_closed, at_file] = ["a/open", "a/b/closed", "a/file"].map(|name| folder.path(name));
        let binds = [(&open, &at_open), (&closed, &at_closed), (&file, &at_file)];
        let options: Vec<_> =
            binds.iter().flat_map(|(from, at)| ["--bind".into(), format!("{from}:{at}")]).collect();
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let script = format!("stat -c %a {at_open} {at_closed} {at_file}");
        assert_eq!(told(caller, &options, &script), "1777\n700\n666\n");
        let mode = |path: &str| fs::metadata(path).expect(path).permissions().mode() & 0o7777;
        assert_eq!([&at_open, &at_closed, &at_file].map(|path| mode(path)), [0o755, 0o700, 0o644]);
        assert_eq!(["a", "a/b"].map(|name| mode(&folder.path(name))), [0o755; 2]);
        assert!(fs::metadata(&at_file).expect("stat").is_file());
    }
}

#[test]
fn a_link_on_the_way_is_followed_and_one_that_leads_to_nothing_has_it_made() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let source = folder.directory("source");
        folder.file("source/file", "");
        folder.directory("target");
        let link = folder.link("target", "link");
        let dangling = folder.link("target/x/y", "dangling");
        let bind = |at: &str| format!("{source}:{at}");
        let options = ["--bind", &bind(&format!("{link}/a")), "--bind", &bind(&format!("{dangling}/b"))];
        let script = format!("cd {}; find target -name file", folder.path(""));
        let mut found: Vec<_> = told(caller, &options, &script).lines().map(String::from).collect();
        found.sort();
        assert_eq!(found, ["target/a/file", "target/x/y/b/file"]);
        let circle = folder.link("circle", "circle");
        assert_eq!(
            refused(&mut caller.shell_with(&["--bind", &bind(&format!("{circle}/x"))], "true")),
            format!(
                "launch: mount: {circle}/x: too many links, or one of /proc, which would lead out of the sandbox"
            )
        );
    }
}

#[test]
fn a_later_mount_covers_an_earlier_one() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let source = folder.directory("source");
        folder.file("source/file", "");
        let bind = format!("{source}:/tmp/at/source");
        let list = "find /tmp/at -mindepth 1";
        let tmpfs_first = ["--tmpfs", "/tmp/at", "--bind", &bind];
        assert_eq!(told(caller, &tmpfs_first, list), "/tmp/at/source\n/tmp/at/source/file\n");
        let tmpfs_last = ["--tmpfs", "/tmp/at", "--bind", &bind, "--tmpfs", "/tmp/at"];
        assert_eq!(told(caller, &tmpfs_last, list), "");
        // What covers a source does not change what was opened before.
        let covered = ["--tmpfs", &folder.path(""), "--bind", &bind, "--mask", &source];
        assert_eq!(told(caller, &covered, list), "/tmp/at/source\n/tmp/at/source/file\n");
    }
}

#[test]
fn every_byte_of_a_path_can_be_written_and_most_stand_for_themselves() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let bytes: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        // No name has more than 255 bytes; each half is a directory.
        let (upper, lower) = bytes.split_at(bytes.len() / 2);
        let name = [upper, b"/", lower].concat();
        let source = std::path::Path::new(&folder.path("")).join(OsStr::from_bytes(&name));
        fs::create_dir_all(&source).expect("mkdir");
        fs::write(source.join("file"), "content\n").expect("write");
        let start = format!("{}/", folder.path(""));
        let escaped: Vec<u8> = name.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect();
        let literal: Vec<u8> = name
            .iter()
            .flat_map(|byte| match byte {
                b':' | b',' | b'\\' => vec![b'\\', *byte],
                byte => vec![*byte],
            })
            .collect();
        for spelling in [escaped, literal] {
            let spelling = [start.as_bytes(), &spelling].concat();
            let value = [&spelling[..], b":/tmp/at"].concat();
            let arguments: [&OsStr; 5] = [
                "--bind".as_ref(),
                OsStr::from_bytes(&value),
                "--".as_ref(),
                "cat".as_ref(),
                "/tmp/at/file".as_ref(),
            ];
            assert_eq!(stdout_of(&mut caller.launch(arguments)), "content\n");
            // As a destination, too.
            let value = [b"/etc:", &spelling[..]].concat();
            let mut passwd: OsString = source.clone().into();
            passwd.push("/passwd");
            let arguments: [&OsStr; 6] = [
                "--bind".as_ref(),
                OsStr::from_bytes(&value),
                "--".as_ref(),
                "cmp".as_ref(),
                "/etc/passwd".as_ref(),
                &passwd,
            ];
            assert_eq!(stdout_of(&mut caller.launch(arguments)), "");
        }
    }
}

#[test]
fn a_relative_path_is_one_from_the_callers_directory() {
    for caller in callers() {
        let folder = Folder::of(caller);
        folder.directory("here");
        folder.file("here/file", "content\n");
        let arguments = ["--chdir", "/", "--bind", "./here:there", "--", "cat", &folder.path("there/file")];
        let mut command = caller.launch(arguments);
        assert_eq!(stdout_of(command.current_dir(folder.path(""))), "content\n");
        let up = ["--ro-bind", "../here/file:../up", "--", "cat", "../up"];
        assert_eq!(stdout_of(caller.launch(up).current_dir(folder.path("here"))), "content\n");
    }
}

#[test]
fn the_callers_directory_is_where_its_path_leads_to_inside() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let here = folder.directory("here");
        let pwd = |options: &[&str]| {
            let arguments = options.iter().chain(&["--", "sh", "-c", "pwd && ls -A"]);
            support::run(caller.launch(arguments).current_dir(&here))
        };
        // Writable, since it is the bind that the workload is in.
        let arguments = ["--read-only", "--bind", ".", "--", "sh", "-c", "pwd && echo new > file"];
        assert_eq!(stdout_of(caller.launch(arguments).current_dir(&here)), format!("{here}\n"));
        assert_eq!(folder.read("here/file"), "new\n");
        // Whatever else is set up on the way to it.
        let mask = folder.file("masked", "");
        assert_eq!(text(&pwd(&["--mask", &mask]).stdout), format!("{here}\nfile\n"));
        assert_eq!(text(&pwd(&["--file", "0:/tmp/file"]).stdout), format!("{here}\nfile\n"));
        // Another directory of that name.
        assert_eq!(text(&pwd(&["--tmpfs", &here]).stdout), format!("{here}\n"));
        let hidden = pwd(&["--tmpfs", &folder.path("")]);
        assert!(text(&hidden.stdout).starts_with("/\n"), "{hidden:?}");
        assert_eq!(
            text(&hidden.stderr),
            format!(
                "launch: warning: working directory: {here}: not to be had inside (No such file or directory), \
                 starting in /\n"
            )
        );
    }
}

#[test]
fn a_directory_that_is_asked_for_is_found_inside_links_followed() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let here = folder.directory("here");
        let link = folder.link("here", "link");
        let file = folder.file("file", "");
        let options = |path| {
            ["--tmpfs", &here, "--mask", &file, "--dir", &format!("{here}/new"), "--chdir", path]
                .map(String::from)
        };
        let told = |path| {
            let options = options(path);
            told(caller, &options.each_ref().map(String::as_str), "pwd")
        };
        assert_eq!(told(&link), format!("{here}\n"));
        assert_eq!(told(&format!("{link}/new")), format!("{here}/new\n"));
        let refused =
            |path: &str| refused(&mut caller.shell_with(&["--mask", &file, "--chdir", path], "true"));
        assert_eq!(refused("/no/such"), "launch: working directory: /no/such: No such file or directory");
        assert_eq!(refused("/etc/passwd"), "launch: working directory: /etc/passwd: Not a directory");
    }
}

#[test]
fn what_cannot_be_mounted_where_it_should_be_is_named() {
    for caller in callers() {
        let at = |path| refused(&mut caller.shell_with(&["--tmpfs", path], "true"));
        assert_eq!(
            at("/proc/x"),
            "launch: mount: /proc/x: /proc/x cannot be made: No such file or directory"
        );
        assert_eq!(at("/etc/passwd/x"), "launch: mount: /etc/passwd/x: Not a directory");
        if is_kept_out(caller) {
            assert_eq!(
                at("/etc/x/y"),
                format!(
                    "launch: mount: /etc/x/y: /etc/x cannot be made: Permission denied\n{MADE_IN_THE_TREE}"
                )
            );
        }
        let only = "only a directory, layers, or a tmpfs without a size can be mounted here, before all other mounts \
                    and without --rootfs; --bind . in / would be such a mount, too";
        for options in [&["--tmpfs", "/:size=1M"][..], &["--tmpfs", "/mnt", "--tmpfs", "/"], &["--proc", "/"]]
        {
            assert_eq!(
                refused(&mut caller.shell_with(options, "true")),
                format!("launch: command line: /: {only}")
            );
        }
    }
}

#[test]
fn the_message_queues_are_those_of_the_sandbox() {
    for caller in callers() {
        let mount = mount_on(caller, &["--mqueue"], "/dev/mqueue");
        let options = "rw,nosuid,nodev,noexec,relatime";
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("mqueue", options));
        assert_eq!(mount_on(caller, &["--mqueue=/mnt"], "/mnt").kind, "mqueue");
        assert_eq!(told(caller, &["--mqueue", "/tmp/queues"], "touch /tmp/queues/x; ls /tmp/queues"), "x\n");
    }
}

#[test]
fn a_library_user_names_the_same_steps() {
    let folder = Folder::of(Caller::User);
    let source = folder.directory("source");
    folder.file("source/file", "content\n");
    let bind = FileSystem::Bind {
        source: Source::Path(source.into()),
        read_only: true,
        devices: false,
        optional: false,
    };
    let script = "cat /tmp/at/file && ! touch /tmp/at/x 2>/dev/null && readlink /tmp/link";
    let (reader, writer) = std::io::pipe().expect("pipe");
    let options = Options {
        command: ["sh", "-c", script].map(OsString::from).into(),
        files: vec![
            Step::Mount { what: bind, at: "/tmp/at".into() },
            Step::Symlink { target: "at".into(), path: "/tmp/link".into() },
        ],
        ..Options::default()
    };
    let mut command = launch::Command::from_options(options);
    let child = command.init_file(program()).stdout(OwnedFd::from(writer)).spawn();
    drop(command);
    assert_eq!(child.expect("spawn").wait(), Ok(launch::Outcome::Exited(0)));
    assert_eq!(std::io::read_to_string(reader).expect("read"), "content\nat\n");
}

#[test]
fn many_launches_with_many_binds_each_run_at_once() {
    for caller in callers() {
        let folder = Folder::of(caller);
        let binds: Vec<String> = (0..20)
            .flat_map(|i| {
                let source = folder.file(&format!("file{i}"), format!("{i}\n"));
                ["--ro-bind".into(), format!("{source}:/mnt/{i}")]
            })
            .collect();
        let started: Vec<_> = (0..64)
            .map(|_| {
                let mut arguments = vec!["--tmpfs", "/mnt"];
                arguments.extend(binds.iter().map(String::as_str));
                arguments.extend(["--", "sh", "-c", "cat /mnt/*"]);
                let mut command = caller.launch(arguments);
                Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
            })
            .collect();
        for running in started {
            let output = running.output();
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
            assert_eq!(text(&output.stdout).lines().count(), 20);
        }
    }
}

#[test]
fn a_descriptor_that_gives_nothing_for_ever_holds_nobody_who_has_lost_its_launcher() {
    for caller in callers() {
        let mut command = caller.launch(["--file", "0:/tmp/at", "--", "true"]);
        let mut running = Running::start(command.stdin(Stdio::piped()));
        let open = running.child().stdin.take();
        let launcher = running.pid();
        let init = until("init is there", || {
            let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).ok()?;
            children.split_whitespace().next().map(str::to_owned)
        });
        let poll = format!("{} ", libc::SYS_poll);
        until("it waits for what is to be read", || {
            let blocked = fs::read_to_string(format!("/proc/{init}/syscall")).ok()?;
            let has_executed = fs::read_to_string(format!("/proc/{init}/comm")).ok()? == "launch-init\n";
            (blocked.starts_with(&poll) && has_executed).then_some(())
        });
        running.signal(Signal::SIGKILL);
        running.wait();
        until("init has ended", || {
            // Whoever adopts it may leave it a zombie.
            let stat = fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        drop(open);
    }
}

#[test]
fn a_standard_descriptor_that_is_closed_is_not_taken_for_an_empty_one() {
    for caller in callers() {
        for (script, option, value, number) in [
            ("\"$@\" <&-", "--file", "0:/tmp/at", 0),
            ("\"$@\" >&-", "--bind-fd", "1:/tmp/at", 1),
            ("\"$@\" <&-", "--keep-fd", "0", 0),
        ] {
            let refused = refused(&mut caller.launch_by(script, [option, value, "--", "true"]));
            let line = refused.lines().next().unwrap_or_default();
            assert_eq!(line, format!("launch: descriptor: {number}: is not open"));
        }
    }
}

#[test]
fn a_mask_on_a_path_that_is_another_for_each_process_is_refused() {
    for caller in callers() {
        for (option, path) in [
            ("--mask", "/proc/self/mountinfo"),
            ("--mask", "/proc/thread-self"),
            ("--remount-ro", "/proc/self/attr"),
        ] {
            let reason = "is another file for each process, and this would hold for PID 1's alone; for all, say \
                          --proc-mode";
            let refused = refused(&mut caller.shell_with(&[option, path], "true"));
            assert_eq!(refused, format!("launch: command line: {path}: {reason}"));
        }
    }
}

#[test]
fn the_queues_of_a_shared_ipc_namespace_cannot_be_mounted() {
    for caller in callers() {
        let reason = "shows the queues of an IPC namespace of its own: leave out --share ipc";
        let refused = refused(&mut caller.shell_with(&["--share", "ipc", "--mqueue", "/tmp/q"], "true"));
        assert_eq!(refused, format!("launch: command line: --mqueue: {reason}"));
    }
}
