//! Binds by the thousand: their time grows with their number, and the limit of open files is no limit to them.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Caller, Folder, callers, refused, run, text};

/// Directories, and the options that bind so many of them.
struct Sources(Folder);

impl Sources {
    const MOST: usize = 2000;

    fn of(caller: Caller) -> Self {
        let folder = Folder::of(caller);
        (0..Self::MOST).for_each(|i| drop(folder.directory(&i.to_string())));
        Self(folder)
    }

    fn options(&self, number: usize) -> Vec<String> {
        (0..number).map(|i| format!("--ro-bind={}:/tmp/at/{i}", self.0.path(&i.to_string()))).collect()
    }
}

/// What a command says that succeeds; without its arguments where it does not.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn the_time_of_a_launch_grows_with_the_number_of_binds_and_no_faster() {
    for caller in callers() {
        let sources = Sources::of(caller);
        let time = |number| {
            let mut arguments = sources.options(number);
            arguments.extend(["--", "true"].map(String::from));
            let start = Instant::now();
            assert_eq!(said(&mut caller.launch(arguments)), "");
            start.elapsed()
        };
        // The least of several: whatever else the machine does only adds to it.
        let (mut few, mut many) = (Duration::MAX, Duration::MAX);
        for _ in 0..5 {
            (few, many) = (few.min(time(200)), many.min(time(2000)));
        }
        assert!(many <= 3 * 10 * few, "200 binds take {few:?}, 2,000 take {many:?}");
    }
}

#[test]
fn a_soft_limit_of_open_files_is_raised_for_binds_and_given_back() {
    for caller in callers() {
        let sources = Sources::of(caller);
        let mut arguments = sources.options(Sources::MOST);
        let script = "ulimit -Sn; ulimit -Hn; ls /tmp/at | wc -l";
        arguments.extend(["--", "sh", "-c", script].map(String::from));
        let mut command = caller.launch_by("ulimit -Sn 1024; ulimit -Hn 4000; exec \"$@\"", arguments);
        assert_eq!(said(&mut command), "1024\n4000\n2000\n");
    }
}

#[test]
fn a_hard_limit_of_open_files_is_named_with_what_to_do() {
    for caller in callers() {
        let sources = Sources::of(caller);
        let mut arguments = sources.options(Sources::MOST);
        arguments.extend(["--", "true"].map(String::from));
        for limits in ["ulimit -n 256", "ulimit -Sn 100; ulimit -Hn 256"] {
            let line = refused(&mut caller.launch_by(&format!("{limits}; exec \"$@\""), &arguments));
            let (error, hint) = line.split_once('\n').expect("an error and a hint");
            let start = "launch: mount: /tmp/at/2";
            assert!(error.starts_with(start) && error.ends_with(": Too many open files"), "{error}");
            assert_eq!(
                hint,
                "launch: hint: every source is held open until all is mounted; raise the limit of open files: ulimit -Hn"
            );
        }
    }
}
