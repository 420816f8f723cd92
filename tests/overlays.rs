//! Layers of directories as one: what is seen, where changes go, and what cannot be a layer.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::{Caller, Folder, Root, callers, refused, run, stdout_of, text};

/// Two layers, both with a file `both` and each with one of its own; and directories for changes.
struct Layers(Folder);

impl Layers {
    fn of(caller: Caller) -> Self {
        let folder = Folder::of(caller);
        for name in ["above", "below", "upper", "work", "at"] {
            folder.directory(name);
        }
        for name in ["above", "below"] {
            folder.file(&format!("{name}/both"), format!("{name}\n"));
            folder.file(&format!("{name}/{name}"), "");
        }
        Self(folder)
    }

    /// `DEST:lower=ABOVE:lower=BELOW` and what follows it, where `@` stands for the folder.
    fn value(&self, rest: &str) -> String {
        format!("@/at:lower=@/above:lower=@/below{rest}").replace('@', &self.0.path(""))
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        // The kernel's own directory in it is closed to its owner, too.
        let _ = fs::set_permissions(self.0.path("work/work"), fs::Permissions::from_mode(0o700));
    }
}

/// stdout and stderr of a script in the overlay's directory.
#[track_caller]
fn told(caller: Caller, layers: &Layers, options: &[&str], script: &str) -> String {
    let script = format!("cd {} && exec 2>&1; {script}", layers.0.path("at"));
    stdout_of(&mut caller.shell_with(options, &script))
}

#[test]
fn layers_without_an_upper_one_are_read_only() {
    for caller in callers() {
        let layers = Layers::of(caller);
        let script = "ls; cat both; ! touch x";
        let read_only = "touch: cannot touch 'x': Read-only file system\n";
        let both = told(caller, &layers, &["--overlay", &layers.value("")], script);
        assert_eq!(both, format!("above\nbelow\nboth\nabove\n{read_only}"));
        let one = format!("{}:lower={}", layers.0.path("at"), layers.0.path("below"));
        assert_eq!(
            told(caller, &layers, &["--overlay", &one], script),
            format!("below\nboth\nbelow\n{read_only}")
        );
    }
}

#[test]
fn changes_go_to_the_upper_directory_and_are_found_again() {
    for caller in callers() {
        let layers = Layers::of(caller);
        let value = layers.value(",upper=@/upper,work=@/work").replace('@', &layers.0.path(""));
        let options = ["--overlay", &value];
        let script = "echo changed >> both; rm below; echo new > new; ls";
        assert_eq!(told(caller, &layers, &options, script), "above\nboth\nnew\n");
        assert_eq!(
            told(caller, &layers, &options, "ls; cat both new"),
            "above\nboth\nnew\nabove\nchanged\nnew\n"
        );
        assert_eq!(layers.0.list("upper"), ["below", "both", "new"]);
        assert_eq!(
            (layers.0.list("below"), layers.0.read("above/both")),
            (vec!["below".into(), "both".into()], "above\n".into())
        );
        assert_eq!(layers.0.list("at"), [""; 0]);
    }
}

#[test]
fn changes_to_a_temporary_overlay_vanish() {
    for caller in callers() {
        let layers = Layers::of(caller);
        fs::set_permissions(layers.0.path("above"), fs::Permissions::from_mode(0o750)).expect("chmod");
        let value = layers.value("");
        let options = ["--tmp-overlay", &value];
        let script = "stat -c '%a %u' .; echo changed >> both; rm below; echo new > new; ls; cat both";
        for _ in 0..2 {
            assert_eq!(told(caller, &layers, &options, script), "750 0\nabove\nboth\nnew\nabove\nchanged\n");
        }
        assert_eq!(
            (layers.0.list("above"), layers.0.list("below")),
            (vec!["above".into(), "both".into()], vec!["below".into(), "both".into()])
        );
    }
}

#[test]
fn layers_are_a_root_too() {
    for caller in callers() {
        let Some(root) = Root::of(caller) else { return };
        let other = Folder::of(caller);
        other.file("extra", "");
        let path = root.folder().path("");
        let told = |kind: &str, layers: &str, options: &[&str]| {
            let value = format!("/:{layers}");
            let script = "touch /x; ls /; cat /etc/name";
            let start = [kind, &value];
            let command = ["--", "/bin/sh", "-c", script];
            let arguments = start.iter().chain(options).chain(&command);
            let output = run(&mut caller.launch(arguments));
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            (text(&output.stdout), text(&output.stderr))
        };
        let name = "the inner root\n";
        let refused = "touch: /x: Read-only file system\n".to_owned();
        let made = told("--tmp-overlay", &format!("lower={path}"), &[]);
        assert_eq!(made, (format!("bin\ndev\netc\nproc\ntmp\nx\n{name}"), String::new()));
        assert_eq!(root.folder().list(""), ["bin", "etc"]);
        let masked = told("--tmp-overlay", &format!("lower={path}"), &["--mask", "/etc/name"]);
        assert_eq!(masked, ("bin\ndev\netc\nproc\ntmp\nx\n".into(), String::new()));
        for at in ["proc", "dev", "tmp"] {
            root.folder().directory(at);
        }
        let one = told("--overlay", &format!("lower={path}"), &[]);
        assert_eq!(one, (format!("bin\ndev\netc\nproc\ntmp\n{name}"), refused.clone()));
        let two = told("--overlay", &format!("lower={path}:lower={}", other.path("")), &[]);
        assert_eq!(two, (format!("bin\ndev\netc\nextra\nproc\ntmp\n{name}"), refused));
    }
}

#[test]
fn a_layers_path_may_have_any_bytes() {
    for caller in callers() {
        let layers = Layers::of(caller);
        let odd = layers.0.directory("a:b,c\\d=e");
        layers.0.file("a:b,c\\d=e/odd", "");
        let spelled = odd.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
        let value = layers.value(&format!(":lower={spelled}"));
        assert_eq!(told(caller, &layers, &["--overlay", &value], "ls"), "above\nbelow\nboth\nodd\n");
    }
}

#[test]
fn what_cannot_be_a_layer_is_named() {
    for caller in callers() {
        let layers = Layers::of(caller);
        let folder = layers.0.path("");
        let at = layers.0.path("at");
        let refused = |rest: &str| {
            let value = layers.value(rest).replace('@', &folder);
            refused(&mut caller.shell_with(&["--overlay", &value], "true"))
        };
        let layer =
            |path: &str, reason: &str| format!("launch: mount: {at}: layer {folder}/{path}: {reason}");
        let missing = "No such file or directory";
        assert_eq!(refused(":lower=@/no"), layer("no", missing));
        assert_eq!(refused(":lower=@/above/both"), layer("above/both", "Not a directory"));
        assert_eq!(refused(",upper=@/no,work=@/work"), layer("no", missing));
        assert_eq!(refused(",upper=@/upper,work=@/no"), layer("no", missing));
        // /proc is another file system than any that can be written to.
        let reason = "Invalid argument (overlayfs says why in the kernel's log alone: dmesg)";
        assert_eq!(refused(",upper=@/upper,work=/dev/shm"), format!("launch: mount: {at}: {reason}"));
    }
}

#[test]
fn an_upper_directory_that_cannot_be_written_to_is_refused() {
    if !callers().contains(&Caller::Root) {
        return;
    }
    // Somebody else's: the kernel would make the overlay a read-only one.
    let layers = Layers::of(Caller::Root);
    let value = layers.value(",upper=@/upper,work=@/work").replace('@', &layers.0.path(""));
    assert_eq!(
        refused(&mut Caller::User.shell_with(&["--overlay", &value], "true")),
        format!(
            "launch: mount: {}: the upper and the work directory cannot be written to; they must be the caller's",
            layers.0.path("at")
        )
    );
}

#[test]
fn wrong_layers_are_refused_before_anything_is_made() {
    let form = "say DEST:lower=DIR[:lower=DIR]...[,upper=DIR,work=DIR]";
    let together = "upper= and work= go together: two directories of one file system";
    for caller in callers() {
        for (value, reason) in [
            ("/mnt", format!("\"/mnt\": {form}")),
            ("/mnt:lower=", format!("\"/mnt:lower=\": {form}")),
            ("/mnt:upper=/u,work=/w", format!("\"/mnt:upper=/u,work=/w\": {form}")),
            ("/mnt:lower=/l,upper=/u", together.into()),
            ("/mnt:lower=/l,work=/w", together.into()),
        ] {
            assert_eq!(
                refused(&mut caller.shell_with(&["--overlay", value], "true")),
                format!("launch: command line: --overlay: {reason}")
            );
        }
        let value = "/mnt:lower=/l,upper=/u,work=/w";
        assert_eq!(
            refused(&mut caller.shell_with(&["--tmp-overlay", value], "true")),
            format!("launch: command line: --tmp-overlay: {value:?}: say DEST:lower=DIR[:lower=DIR]...")
        );
    }
}
