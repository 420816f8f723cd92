//! `launch` linked under another program's name is that program's stand-in; init/tests/drop_in.rs tests what that is.

mod support;

use std::os::unix::fs::symlink;
use std::process::Command;

use support::{code_and_stderr, program, public_folder, run, text};

#[test]
fn launch_stands_in_for_the_program_by_whose_name_it_is_called() {
    let folder = public_folder();
    let linked = |name: &str| {
        let link = folder.path().join(name);
        symlink(program(), &link).expect("link");
        link
    };
    for name in ["tini", "tini-static", "docker-init"] {
        let version = text(&run(Command::new(linked(name)).arg("--version")).stdout);
        assert!(version.starts_with("tini version 0.19.0"), "{version}");
    }
    let missing = code_and_stderr(Command::new(linked("dumb-init")).arg("nonexistent"));
    assert_eq!(missing, (2, "[dumb-init] nonexistent: No such file or directory\n".into()));
    assert_eq!(code_and_stderr(Command::new(linked("catatonit")).args(["--", "false"])), (1, String::new()));
}
