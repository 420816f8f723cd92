//! `--volatile` and `--keep`: all of `/` is writable, nothing of it reaches the caller's disk, and what is kept is listed.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use support::{
    Caller, Talk, callers, cannot_run, code, code_and_stderr, program, public_folder, run, stdout_of, text,
};

/// `launch OPTIONS… -- sh -c SCRIPT` in this directory.
fn shell_in(directory: &Path, caller: Caller, options: &[&str], script: &str) -> Command {
    let mut command = caller.shell_with(options, script);
    command.current_dir(directory);
    command
}

/// A folder of this caller's, in a directory that belongs to nobody else.
fn folder_of(caller: Caller) -> tempfile::TempDir {
    let folder = public_folder();
    std::os::unix::fs::chown(folder.path(), Some(caller.uid()), Some(caller.gid())).expect("chown");
    folder
}

/// What the sandboxes of these tests would leave outside.
fn assert_untouched(paths: &[String]) {
    for path in paths {
        assert!(!fs::exists(path).expect("stat"), "{path} is there outside");
    }
}

/// A name that no other test and no other run uses.
fn name(test: &str) -> String {
    format!("launch-volatile-{test}-{}", std::process::id())
}

#[test]
fn root_writes_everywhere_and_nothing_remains() {
    if !callers().contains(&Caller::Root) {
        return;
    }
    let name = name("root");
    let folder = folder_of(Caller::Root);
    fs::write(folder.path().join("mine"), "before\n").expect("write");
    let passwd = fs::read("/etc/passwd").expect("passwd");
    let script = format!(
        "set -e; for d in /usr /etc /root /var /opt /srv; do echo new > $d/{name}; cat $d/{name}; done
         mkdir /{name}; touch /{name}/x; echo more >> /etc/passwd; tail -n 1 /etc/passwd
         rm /etc/hostname; test ! -e /etc/hostname
         mv /etc/init.d /etc/{name}.d; test -d /etc/{name}.d; test ! -e /etc/init.d
         rm -r /usr/share/doc; mkdir /usr/share/doc; ls /usr/share/doc
         echo after > mine; cat mine"
    );
    let output = stdout_of(&mut shell_in(folder.path(), Caller::Root, &["--volatile"], &script));
    assert_eq!(output, "new\nnew\nnew\nnew\nnew\nnew\nmore\nafter\n");
    let left = ["/usr/", "/etc/", "/root/", "/var/", "/opt/", "/srv/", "/"]
        .map(|directory| format!("{directory}{name}"));
    assert_untouched(&left);
    assert_eq!(fs::read("/etc/passwd").expect("passwd"), passwd);
    assert!(fs::exists("/etc/hostname").expect("stat") && fs::exists("/etc/init.d").expect("stat"));
    assert!(fs::read_dir("/usr/share/doc").expect("doc").count() > 0);
    assert_eq!(fs::read_to_string(folder.path().join("mine")).expect("read"), "before\n");
}

#[test]
fn an_ordinary_users_own_files_are_thrown_away_and_those_of_root_stay_roots() {
    let name = name("user");
    let folder = folder_of(Caller::User);
    let script = format!(
        "set -e; pwd; echo x > mine; mkdir -p deep/er; touch /var/tmp/{name} /{name}; cat mine
         if (echo x >> /etc/passwd) 2>/dev/null; then echo passwd was written to; fi
         if (echo x > /usr/bin/{name}) 2>/dev/null; then echo /usr/bin was written to; fi"
    );
    let output = stdout_of(&mut shell_in(folder.path(), Caller::User, &["--volatile"], &script));
    assert_eq!(output, format!("{}\nx\n", folder.path().display()));
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0);
    assert_untouched(&[format!("/var/tmp/{name}"), format!("/{name}")]);
}

#[test]
fn devices_proc_and_tmp_are_as_in_any_sandbox() {
    for caller in callers() {
        let script =
            "set -e; echo x > /dev/null; head -c 3 /dev/zero | wc -c; cd /proc; echo [0-9]* | cut -d' ' -f1
                      ls -A /tmp; stat -c %a /tmp; test -d /sys/kernel; stat -f -c %T /sys";
        assert_eq!(stdout_of(&mut caller.shell_with(&["--volatile"], script)), "3\n1\n1777\nsysfs\n");
    }
}

#[test]
fn the_directories_keep_their_permissions() {
    let paths = ["/", "/usr", "/root", "/var", "/var/tmp", "/etc"];
    let script = format!("stat -c %a {}", paths.join(" "));
    for caller in callers() {
        let inside = stdout_of(&mut caller.shell_with(&["--volatile"], &script));
        let mode = |path| fs::metadata(path).expect("stat").permissions().mode() & 0o7777;
        let outside: String = paths.iter().map(|path| format!("{:o}\n", mode(path))).collect();
        assert_eq!(inside, outside, "{caller:?}");
    }
}

/// A script for a mount namespace of its own, for root.
fn in_mount_namespace(script: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(program())
        .args(arguments);
    command.current_dir("/").env_remove("LAUNCH_LOG");
    command
}

#[test]
fn mounts_below_other_directories_are_covered_too() {
    if !callers().contains(&Caller::Root) {
        cannot_run("submounts", "only root mounts");
        return;
    }
    let folder = public_folder();
    let script = r#"set -e; launch=$1; cd "$2"
        mkdir -p plain 'sub/mo unt' sub/file-system; echo old > plain/f; echo file > sub/file; echo other > other
        mount -t tmpfs none 'sub/mo unt'; echo old > 'sub/mo unt/f'; mkdir 'sub/mo unt/deeper'
        mount -t tmpfs none 'sub/mo unt/deeper'; echo old > 'sub/mo unt/deeper/f'
        mount --bind other sub/file
        mount -t tmpfs hidden sub/file-system; mount -t tmpfs uppermost sub/file-system; echo old > sub/file-system/f
        "$launch" --volatile -- sh -c 'set -e; for f in plain/f "sub/mo unt/f" "sub/mo unt/deeper/f" sub/file-system/f; do
            cat "$f"; echo new > "$f"; cat "$f"; done; cat sub/file; touch sub/new "sub/mo unt/new"'
        cat plain/f 'sub/mo unt/f' 'sub/mo unt/deeper/f' sub/file-system/f; ls sub"#;
    let output = stdout_of(&mut in_mount_namespace(script, &[folder.path()]));
    let inside = "old\nnew\n".repeat(4) + "other\n";
    assert_eq!(output, inside + &"old\n".repeat(4) + "file\nfile-system\nmo unt\n");
}

#[test]
fn a_root_file_system_is_one_layer_and_stays_as_it_was() {
    for caller in callers() {
        let folder = folder_of(caller);
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("bin")).expect("mkdir");
        for path in [root.clone(), root.join("bin")] {
            std::os::unix::fs::chown(path, Some(caller.uid()), Some(caller.gid())).expect("chown");
        }
        support::install(program(), &root.join("bin/launch"));
        let root = root.to_str().expect("text");
        // A static program that is there, and makes a file wherever it is told to: the sandbox's own launcher.
        let options =
            ["--rootfs", root, "--volatile", "--dir", "/made/here", "--", "/bin/launch", "--version"];
        assert!(stdout_of(&mut caller.launch(options)).starts_with("launch "));
        let entries = fs::read_dir(root).expect("root").map(|entry| entry.expect("entry").file_name());
        assert_eq!(entries.collect::<Vec<_>>(), ["bin"]);
    }
}

#[test]
fn what_contradicts_it_is_refused() {
    for (options, words) in [
        (["--read-only", "--volatile", "--grace=1s"], "--read-only"),
        (["--rootfs", "/usr:rw", "--volatile"], ":rw"),
        (["--read-only", "--keep", "/nowhere"], "--read-only"),
    ] {
        let (code, error) = code_and_stderr(&mut Caller::User.launch(options.iter().chain(&["--", "true"])));
        assert_eq!(code, 125);
        assert!(error.contains(words), "{error}");
    }
}

fn changes(caller: Caller, directory: &Path) -> String {
    let mut command = caller.command(program());
    command.arg("diff").arg(directory).current_dir("/");
    stdout_of(&mut command)
}

/// Makes a home with this content and an empty tree beside it.
fn home(caller: Caller, folder: &Path) {
    let script = "set -e; umask 022; cd \"$0\"; mkdir -p d/inner e r; for f in same touched edited removed d/a d/inner/b e/c r/x; do
        echo content > $f; done; ln -s same link; touch -d @1000000000 same touched edited";
    let mut command = caller.command("sh");
    stdout_of(command.args(["-c", script]).arg(folder));
}

#[test]
fn what_was_kept_is_listed_and_used_again() {
    for caller in callers() {
        let folder = folder_of(caller);
        home(caller, folder.path());
        let kept = folder.path().join("kept");
        let options = ["--keep", kept.to_str().expect("text")];
        let script = "set -e; echo more >> edited; rm removed; mkdir -p new/er; echo 1 > new/er/file; rm -r e; mkdir e
            echo 2 > e/other; rm -r r; chmod 700 d; chmod 600 d/inner/b; cp -p same copy; mv copy same
            ln -sfn elsewhere link; touch touched; printf x > 'a\nb\\'; mv d/a d/renamed; ls -A kept 2>&1 || true";
        let script = script.replace("'a\\nb\\\\'", "\"$(printf 'a\\nb\\\\')\"");
        let mut command = shell_in(folder.path(), caller, &options, &script);
        run(&mut command).status.success().then_some(()).expect("a sandbox that ends well");
        let at = folder.path().display().to_string();
        let expected = [
            "added /a\\x0ab\\\\",
            "changed /d",
            "removed /d/a",
            "changed /d/inner/b",
            "added /d/renamed",
            "removed /e/c",
            "added /e/other",
            "changed /edited",
            "changed /link",
            "added /new",
            "added /new/er",
            "added /new/er/file",
            "removed /r",
            "removed /removed",
            "changed /touched",
        ];
        let expected: String = expected.map(|line| line.replacen('/', &format!("{at}/"), 1) + "\n").concat();
        assert_eq!(changes(caller, &kept), expected, "{caller:?}");
        // The second launch finds what the first one left, and goes on.
        let script = "set -e; cat new/er/file e/other; test ! -e removed; test ! -e r; tail -n 1 edited
            rm -r new; rm a*; echo content > removed";
        let second = stdout_of(&mut shell_in(folder.path(), caller, &options, script));
        assert_eq!(second, "1\n2\nmore\n");
        let after = changes(caller, &kept);
        assert!(!after.contains("/new") && after.contains(&format!("changed {at}/removed\n")), "{after}");
        // Nothing of it has happened outside.
        assert_eq!(fs::read_to_string(folder.path().join("edited")).expect("read"), "content\n");
        assert_eq!(fs::metadata(folder.path().join("touched")).expect("stat").mtime(), 1_000_000_000);
    }
}

#[test]
fn what_is_made_removed_and_linked_in_the_root_itself_is_kept() {
    for caller in callers() {
        let folder = folder_of(caller);
        let kept = folder.path().join("kept");
        let options = ["--keep", kept.to_str().expect("text")];
        let name = name("top");
        let script = format!(
            "set -e; mkdir /{name}; echo x > /{name}/f; ln -s f /{name}/l; test -L /sbin && rm /sbin || true"
        );
        stdout_of(&mut shell_in(folder.path(), caller, &options, &script));
        let mut expected = format!("added /{name}\nadded /{name}/f\nadded /{name}/l\n");
        if fs::symlink_metadata("/sbin").expect("stat").is_symlink() {
            expected.push_str("removed /sbin\n");
        }
        assert_eq!(changes(caller, &kept), expected);
        let again = stdout_of(&mut shell_in(
            folder.path(),
            caller,
            &options,
            &format!("cat /{name}/l; test ! -L /sbin"),
        ));
        assert_eq!(again, "x\n");
        assert_untouched(&[format!("/{name}")]);
    }
}

#[test]
fn a_directory_is_for_one_launch_at_a_time() {
    for caller in callers() {
        let folder = folder_of(caller);
        let kept = folder.path().join("kept");
        let options = ["--keep", kept.to_str().expect("text")];
        let mut first = shell_in(folder.path(), caller, &options, "echo runs; read line");
        first.stdin(std::process::Stdio::piped());
        let first = Talk::start(&mut first);
        assert_eq!(first.hear().as_deref(), Some("runs"));
        let refused = code_and_stderr(&mut shell_in(folder.path(), caller, &options, "true"));
        let expected = format!("launch: kept layers: {}: is in use by another launch\n", kept.display());
        assert_eq!(refused, (125, expected));
        first.end();
        stdout_of(&mut shell_in(folder.path(), caller, &options, "true"));
    }
}

#[test]
fn a_directory_that_launch_has_not_made_is_neither_used_nor_listed() {
    for caller in callers() {
        let folder = folder_of(caller);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::write(folder.path().join("something"), "").expect("write");
        let path = folder.path().to_str().expect("text");
        let (code_of_diff, error) =
            code_and_stderr(caller.command(program()).args(["diff", path]).current_dir("/"));
        assert_eq!(code_of_diff, 125);
        assert!(error.ends_with("is no directory that --keep has made\n"), "{error}");
        let (code, error) = code_and_stderr(&mut caller.launch(["--keep", path, "--", "true"]));
        assert_eq!(code, 125);
        assert!(error.ends_with("is neither empty nor one that --keep has made\n"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "nothing was made");
        fs::write(folder.path().join("layers.json"), "{}").expect("write");
        let (code, error) = code_and_stderr(caller.command(program()).args(["diff", path]).current_dir("/"));
        assert_eq!(code, 125);
        assert!(error.contains("layers.json: is no list of layers"), "{error}");
    }
}

#[test]
fn a_directory_of_somebody_else_is_not_used() {
    let folder = public_folder();
    let path = folder.path().to_str().expect("text");
    let (code, error) = code_and_stderr(&mut Caller::User.launch(["--keep", path, "--", "true"]));
    assert_eq!(code, 125);
    assert!(error.ends_with("must be the caller's, and writable for nobody else\n"), "{error}");
}

#[test]
fn a_link_that_the_workload_left_in_the_tree_leads_no_later_launch_out() {
    if !callers().contains(&Caller::Root) {
        cannot_run("a tree with a new mount", "only root mounts");
        return;
    }
    let folder = public_folder();
    let script = r#"set -e; launch=$1; cd "$2"; umask 022
        mkdir -p base/var/log base/bin outside; cp "$launch" base/bin/sh; mkdir base/var/lib
        mount -t tmpfs none base/var/lib
        "$launch" --rootfs base --keep kept -- /bin/sh --version
        # As a workload would: what was a directory of the tree is a link now.
        mv kept/tree/var kept/tree/moved; ln -s "$2/outside" kept/tree/var
        mkdir base/var/new
        "$launch" --rootfs base --keep kept -- /bin/sh --version || true
        ls -A outside; "$launch" diff kept"#;
    let output = run(&mut in_mount_namespace(script, &[folder.path()]));
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(code(output.status), 0, "{error}");
    assert!(out.starts_with("launch ") && !out.contains("\nnew\n"), "{out}");
    assert_eq!(fs::read_dir(folder.path().join("outside")).expect("outside").count(), 0);
}

#[test]
fn a_directory_with_a_mounted_file_in_it_is_writable_all_the_same() {
    if !callers().contains(&Caller::Root) {
        cannot_run("a mounted file", "only root mounts");
        return;
    }
    let folder = public_folder();
    // As in most containers, whose /etc/hosts is a mount.
    let script = r#"set -e; launch=$1; cd "$2"; umask 022
        mkdir etc; for f in hosts passwd group large; do echo $f > etc/$f; done; truncate -s 2M etc/large; ln -s passwd etc/link
        echo mounted > mounted; mount --bind mounted etc/hosts
        run() { "$launch" --keep kept -- sh -c "$1"; }
        run 'set -e; cat etc/hosts; echo new > etc/hosts; echo new > etc/passwd.new; mv etc/passwd.new etc/passwd; rm etc/group etc/link
            if (echo x > etc/large) 2>/dev/null; then echo large was written to; fi'
        "$launch" diff kept | sed "s,$PWD,,"
        run 'cat etc/hosts etc/passwd; ls etc'
        umount etc/hosts; cat etc/hosts mounted etc/passwd; ls etc"#;
    let output = stdout_of(&mut in_mount_namespace(script, &[folder.path()]));
    let diff = "removed /etc/group\nchanged /etc/hosts\nremoved /etc/link\nchanged /etc/passwd\n";
    let outside = "hosts\nmounted\npasswd\ngroup\nhosts\nlarge\nlink\npasswd\n";
    assert_eq!(output, format!("mounted\n{diff}new\nnew\nhosts\nlarge\npasswd\n{outside}"));
}

#[test]
fn a_file_system_that_can_hold_no_layers_is_named() {
    if !callers().contains(&Caller::Root) {
        cannot_run("a directory on an overlay", "only root mounts");
        return;
    }
    let folder = public_folder();
    let script = r#"cd "$2"; mkdir lower upper work merged
        mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged && "$1" --keep merged/kept -- true"#;
    let (code, error) = code_and_stderr(&mut in_mount_namespace(script, &[folder.path()]));
    assert_eq!(code, 125);
    assert!(error.contains("merged/kept: is on a file system that overlayfs writes no layers to"), "{error}");
}

#[test]
fn an_interrupted_first_launch_is_begun_again() {
    for caller in callers() {
        let folder = folder_of(caller);
        let kept = folder.path().join("kept");
        let options = ["--keep", kept.to_str().expect("text")];
        stdout_of(&mut shell_in(folder.path(), caller, &options, "true"));
        // As it is just before the first manifest has its name.
        fs::rename(kept.join("layers.json"), kept.join("layers.json.new")).expect("rename");
        stdout_of(&mut shell_in(folder.path(), caller, &options, "true"));
        assert_eq!(changes(caller, &kept), "");
    }
}

#[test]
fn with_all_ids_root_inside_changes_the_files_of_every_user() {
    if !callers().contains(&Caller::Root) {
        cannot_run("ids of others", "only root maps all ids");
        return;
    }
    let folder = folder_of(Caller::Root);
    let file = folder.path().join("file");
    fs::write(&file, "before\n").expect("write");
    std::os::unix::fs::chown(&file, Some(101), Some(42)).expect("chown");
    let script = "echo after > file; cat file; stat -c '%u %g' file";
    let all = ["--volatile", "--map-users", "0:0:65536", "--map-groups", "0:0:65536"];
    assert_eq!(stdout_of(&mut shell_in(folder.path(), Caller::Root, &all, script)), "after\n101 42\n");
    // With root's own id alone, there is no one to whom the copy in the layer would belong.
    let alone = stdout_of(&mut shell_in(
        folder.path(),
        Caller::Root,
        &["--volatile"],
        "(echo x > file) 2>/dev/null || cat file",
    ));
    assert_eq!(alone, "before\n");
    assert_eq!(fs::read_to_string(&file).expect("read"), "before\n");
}

#[test]
fn what_is_kept_stays_in_use_until_pid_1_has_ended_and_not_only_the_launcher() {
    let folder = folder_of(Caller::Root);
    if !callers().contains(&Caller::Root) {
        return;
    }
    let kept = folder.path().join("kept");
    let options = ["--keep", kept.to_str().expect("text")];
    let mut first = Talk::start(&mut shell_in(Path::new("/"), Caller::Root, &options, "echo; read x"));
    assert_eq!(first.hear().as_deref(), Some(""));
    let holders = Command::new("fuser").arg(&kept).output().expect("fuser");
    let holders = text(&holders.stdout);
    let holders: Vec<i32> = holders.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
    assert!(!holders.is_empty() && !holders.contains(&first.pid().as_raw()), "{holders:?}");
    first.say("");
    assert_eq!(code(first.end().1), 0);
}
