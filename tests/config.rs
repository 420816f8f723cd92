//! `--config` and `--profile`: where the files are found, what they do, and each way in which they can be wrong.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{Caller, callers, code_and_stderr, public_folder, run, stdout_of, text};
use tempfile::TempDir;

/// A folder with these files, which everybody can read.
fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = public_folder();
    for (name, content) in files {
        let path = folder.path().join(name);
        let parent = path.parent().expect("parent");
        fs::create_dir_all(parent).expect("folders");
        for opened in parent.ancestors().take_while(|above| *above != folder.path()) {
            fs::set_permissions(opened, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    }
    folder
}

/// `launch OPTIONS… -- sh -c SCRIPT` in this folder, which is HOME too.
fn shell_in(folder: &Path, caller: Caller, options: &[&str], script: &str) -> Command {
    let mut command = caller.shell_with(options, script);
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command
}

/// What a launch that fails says.
#[track_caller]
fn failure(folder: &Path, caller: Caller, options: &[&str]) -> String {
    let (code, stderr) = code_and_stderr(&mut shell_in(folder, caller, options, "echo ran"));
    assert_eq!(code, 125, "{options:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.trim_end().into()
}

#[test]
fn a_files_keys_do_what_the_options_do() {
    let file = "hostname = 'box'\nuid = 7\nenv = ['A=1', 'B=2']\nchdir = '/usr'\n[[steps]]\nenv = 'C=3'\n";
    let folder = folder_with(&[("box.toml", file)]);
    for caller in callers() {
        let script = "uname -n; id -u; echo $A$B$C; pwd";
        let printed = stdout_of(&mut shell_in(folder.path(), caller, &["--config", "box.toml"], script));
        assert_eq!(printed, "box\n7\n123\n/usr\n");
    }
}

#[test]
fn the_command_line_wins_over_single_values_and_adds_to_the_others() {
    let file =
        "hostname = 'box'\nenv = ['A=file', 'B=file']\nkeep-tmp = true\nnet = 'none'\nkeep-id = true\n";
    let folder = folder_with(&[("box.toml", file)]);
    let marker = tempfile::NamedTempFile::new_in("/tmp").expect("a file in /tmp");
    let script = format!("uname -n; echo $A $B $C; id -u; ls -d {} 2>&-; true", marker.path().display());
    for caller in callers() {
        let options = ["--config", "box.toml", "--hostname", "line", "--env", "A=line", "--env", "C=line"];
        let uid = caller.uid();
        assert_eq!(
            stdout_of(&mut shell_in(folder.path(), caller, &options, &script)),
            format!("line\nline file line\n{uid}\n{}\n", marker.path().display())
        );
        let options = ["--keep-tmp=false", "--uid", "5", "--config=box.toml"];
        assert_eq!(stdout_of(&mut shell_in(folder.path(), caller, &options, &script)), "box\nfile file\n5\n");
    }
}

#[test]
fn a_profile_is_below_the_config_and_can_have_one_below_itself() {
    let folder = folder_with(&[
        ("box.toml", "profile = 'upper'\nhostname = 'box'\n"),
        (".config/launch/upper.toml", "profile = 'lower'\nhostname = 'upper'\ndomainname = 'upper'\n"),
        (".config/launch/lower.toml", "hostname = 'lower'\ndomainname = 'lower'\nuid = 9\n"),
    ]);
    let script = "echo $(uname -n) $(cat /proc/sys/kernel/domainname) $(id -u)";
    for caller in callers() {
        for (options, printed) in [
            (&["--config", "box.toml"][..], "box upper 9\n"),
            (&["--profile", "upper"], "upper upper 9\n"),
            (&["--profile", "lower", "--config", "box.toml"], "box lower 9\n"),
            (&["--profile=lower", "--uid=3", "--hostname=line"], "line lower 3\n"),
        ] {
            let command = &mut shell_in(folder.path(), caller, options, script);
            assert_eq!(stdout_of(command), printed, "{options:?}");
        }
    }
}

#[test]
fn a_profile_of_the_configuration_folder_comes_before_a_built_in_one() {
    let folder = folder_with(&[
        ("xdg/launch/strict.toml", "hostname = 'xdg'\n"),
        (".config/launch/strict.toml", "hostname = 'home'\n"),
    ]);
    for caller in callers() {
        let strict = || shell_in(folder.path(), caller, &["--profile", "strict"], "uname -n");
        assert_eq!(stdout_of(strict().env("XDG_CONFIG_HOME", folder.path().join("xdg"))), "xdg\n");
        assert_eq!(stdout_of(&mut strict()), "home\n");
        // A relative path is none, says the specification.
        assert_eq!(stdout_of(strict().env("XDG_CONFIG_HOME", "xdg")), "home\n");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = folder_with(&[("closed.toml", "uid = 1\n"), ("plain", "")]);
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(path("closed.toml"), fs::Permissions::from_mode(0o000)).expect("chmod");
    fs::write(path("long.toml"), vec![b'#'; (1 << 20) + 1]).expect("write");
    fs::write(path("bytes.toml"), b"uid = 1\nhostname = '\xff'\n").expect("write");
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("mkfifo");
    for caller in callers() {
        for (file, reason) in [
            ("missing.toml", "No such file or directory"),
            ("plain/box.toml", "Not a directory"),
            (".", "Is a directory"),
            ("fifo", "is no regular file"),
            ("/dev/null", "is no regular file"),
            ("long.toml", "has more than 1 MiB, the most that it may have"),
            ("bytes.toml", "line 2: is not UTF-8"),
        ] {
            let said = failure(folder.path(), caller, &["--config", file]);
            assert_eq!(said, format!("launch: config: {file}: {reason}"));
        }
        let closed = &["--config", "closed.toml"];
        if caller == Caller::Root {
            assert_eq!(stdout_of(&mut shell_in(folder.path(), caller, closed, "id -u")), "1\n");
        } else {
            let said = failure(folder.path(), caller, closed);
            assert_eq!(said, "launch: config: closed.toml: Permission denied");
        }
    }
}

#[test]
fn a_profile_that_cannot_be_read_is_an_error_whatever_is_built_in() {
    let folder = folder_with(&[(".config/launch/strict.toml/x", "")]);
    for caller in callers() {
        let said = failure(folder.path(), caller, &["--profile", "strict"]);
        let path = folder.path().join(".config/launch/strict.toml");
        assert_eq!(said, format!("launch: config: {}: Is a directory", path.display()));
    }
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_key_or_its_place() {
    let folder = folder_with(&[
        ("syntax.toml", "uid = 1\nhostname = box\n"),
        ("key.toml", "hostnam = 'box'\n"),
        ("type.toml", "keep-tmp = 'yes'\n"),
        ("value.toml", "uid = 4294967295\n"),
        ("sense.toml", "hostname = ''\n"),
        ("both.toml", "uid = 1\nkeep-id = true\n"),
        ("file.toml", "config = 'other.toml'\n"),
        ("below.toml", "profile = 'wrong'\n"),
        ("cycle.toml", "profile = 'one'\n"),
        (".config/launch/wrong.toml", "timeout = 'soon'\n"),
        (".config/launch/one.toml", "profile = 'two'\n"),
        (".config/launch/two.toml", "profile = 'one'\n"),
        (".config/launch/own.toml", "profile = 'own'\n"),
    ]);
    let home = folder.path().display();
    for caller in callers() {
        for (file, said) in [
            ("key.toml", "key.toml: hostnam: no such key; did you mean \"hostname\"?".to_owned()),
            ("type.toml", "type.toml: keep-tmp: expected true or false, not a string".to_owned()),
            (
                "value.toml",
                "value.toml: uid: \"4294967295\" is no id: they go from 0 to 4294967294".to_owned(),
            ),
            ("sense.toml", "sense.toml: hostname: is empty".to_owned()),
            ("both.toml", "both.toml: uid: cannot be used together with keep-id".to_owned()),
            (
                "file.toml",
                "file.toml: config: a file cannot name another file; name a profile, with profile = \"NAME\""
                    .to_owned(),
            ),
            (
                "below.toml",
                format!(
                    "{home}/.config/launch/wrong.toml: timeout: \"soon\" is no duration: say 500ms, 30s, 5m or 1h"
                ),
            ),
            ("cycle.toml", format!("{home}/.config/launch/two.toml: profile: \"one\" leads back to itself")),
        ] {
            let real = failure(folder.path(), caller, &["--config", file]);
            assert_eq!(real, format!("launch: config: {said}"));
        }
        let syntax = failure(folder.path(), caller, &["--config", "syntax.toml"]);
        assert!(syntax.starts_with("launch: config: syntax.toml: line 2, column 12: "), "{syntax}");
        let own = failure(folder.path(), caller, &["--profile", "own"]);
        let expected = format!("{home}/.config/launch/own.toml: profile: \"own\" leads back to itself");
        assert_eq!(own, format!("launch: config: {expected}"));
        let unknown = failure(folder.path(), caller, &["--profile", "moon"]);
        let known = "build, one, own, service, strict, two, wrong";
        let expected = format!("profile moon: no such profile; known are {known}");
        assert_eq!(unknown, format!("launch: config: {expected}"));
        for name in ["../one", ".one", ""] {
            let said = failure(folder.path(), caller, &["--profile", name]);
            assert!(said.contains("a profile's name has no slash, and no dot in front"), "{said}");
        }
    }
}

#[test]
fn a_flag_of_a_file_is_undone_only_by_false() {
    let folder = folder_with(&[("box.toml", "clear-env = true\n")]);
    for caller in callers() {
        let with = |option| shell_in(folder.path(), caller, &["--config", "box.toml", option], "echo $HOME");
        assert_eq!(stdout_of(&mut with("--clear-env")), "\n");
        assert_eq!(stdout_of(&mut with("--clear-env=true")), "\n");
        assert_eq!(stdout_of(&mut with("--clear-env=false")), format!("{}\n", folder.path().display()));
        let (code, said) = code_and_stderr(&mut with("--clear-env=no"));
        let expected =
            "launch: command line: --clear-env: is a flag: say --clear-env, or --clear-env=false\n".into();
        assert_eq!((code, said), (125, expected));
    }
}

#[test]
fn the_files_may_be_given_once() {
    for caller in callers() {
        for option in ["--config", "--profile"] {
            let (code, said) = code_and_stderr(&mut caller.launch([option, "a", option, "b", "--", "true"]));
            let expected = format!("launch: command line: {option}: was given more than once\n");
            assert_eq!((code, said), (125, expected));
        }
    }
}

#[test]
fn the_status_lines_tell_of_a_wrong_file_wherever_they_go() {
    let folder =
        folder_with(&[("wrong.toml", "uid = 'x'\n"), ("status.toml", "status-fd = 3\nhostname = ''\n")]);
    for caller in callers() {
        for (options, object) in [
            (&["--status-fd", "3", "--config", "wrong.toml"][..], "wrong.toml"),
            (&["--config", "missing", "--status-fd=3"], "missing"),
            (&["--config", "status.toml"], "status.toml"),
            // Of a wrong command line, no file is read.
            (&["--config", "missing", "--status-fd=3", "--foo"], "--foo"),
        ] {
            let arguments = options.iter().chain(&["--", "true"]);
            let mut command = caller.launch_by("exec \"$@\" 3>&1", arguments);
            let output = run(command.current_dir(folder.path()));
            assert_eq!(output.status.code(), Some(125));
            let line = text(&output.stdout);
            let row: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(row["object"], object, "{line}");
            let step = if object == "--foo" { "command line" } else { "config" };
            assert_eq!(row["step"], step, "{line}");
        }
    }
}

#[test]
fn a_home_whose_path_has_separators_is_hidden_by_strict_too() {
    for caller in callers() {
        let folder = public_folder();
        let home = folder.path().join("a:b,c\\d");
        fs::create_dir(&home).expect("mkdir");
        fs::write(home.join("secret"), "secret\n").expect("write");
        let mut command =
            caller.launch(["--profile", "strict", "--", "sh", "-c", "ls -A \"$HOME\" 2>/dev/null; pwd"]);
        assert_eq!(stdout_of(command.env("HOME", &home)), "/\n");
    }
}
