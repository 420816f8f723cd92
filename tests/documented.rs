//! Every command that README.md, docs/tour.md, docs/exit-codes.md, docs/configuration.md and docs/long-running.md show
//! prints what they say it prints.
//!
//! A block that is marked `console` is run: its lines `$ command` by one bash with `launch` in its PATH, in an empty
//! folder, in the C locale; the lines below a command are its output, stdout and stderr together. A block that is
//! marked `console ordinary user` holds for one without privileges, whose uid and gid are the same number of four
//! digits or more; it isn't run as root. Named sandboxes are in a folder of the block's own, and are gone after it. The README's `cargo run --release --` becomes `launch`, the same program.
//!
//! The documented text and the real one have to be the same, except for what differs from run to run, in both:
//!
//! - A number of four digits or more, or of two or more directly behind `(`, `pid `, `pid":` or `/proc/`, stands for
//!   itself within its block: the first such number and its like become `#1`, the next one `#2`. So the same inode
//!   number has to be the same again, and a different one different.
//! - The date and time of `ls -l` become `DATE`.
//! - Blanks in a row count as one, and at the end of a line as none.

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use support::{Caller, Folder, callers, cannot_run, program, public_folder, run, text};

#[test]
fn the_commands_of_the_readme_print_what_it_says() {
    check("README.md");
}

#[test]
fn the_commands_of_the_tour_print_what_it_says() {
    check("docs/tour.md");
}

#[test]
fn the_commands_of_the_exit_codes_print_what_it_says() {
    check("docs/exit-codes.md");
}

#[test]
fn the_commands_of_the_configuration_print_what_it_says() {
    check("docs/configuration.md");
}

#[test]
fn the_commands_of_the_life_of_named_sandboxes_print_what_it_says() {
    check("docs/long-running.md");
}

/// One fenced block: what stands in it, and the line at which it starts.
struct Block {
    line: usize,
    text: String,
    only_ordinary_user: bool,
}

fn check(document: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let blocks = blocks(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}")));
    assert!(blocks.len() >= 5, "{document} has only {} blocks to be run", blocks.len());
    for caller in callers() {
        let is_as_documented = caller.uid() == caller.gid() && caller.uid() >= 1000;
        if caller == Caller::User && !is_as_documented {
            cannot_run("the blocks of an ordinary user", "the uid and gid are not as there");
        }
        for block in blocks.iter().filter(|block| is_as_documented || !block.only_ordinary_user) {
            let real = transcript(caller, &commands(&block.text));
            assert!(
                normalised(&block.text) == normalised(&real),
                "{document}, line {}, as {caller:?}\n--- documented ---\n{}\n--- real ---\n{real}\n",
                block.line,
                block.text
            );
        }
    }
}

/// The blocks of a document that are to be run.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (line, number) in document.lines().zip(1..) {
        match (open, line.strip_prefix("```")) {
            (true, Some(_)) => open = false,
            (true, None) => {
                let text = &mut blocks.last_mut().expect("an open block").text;
                text.push_str(line);
                text.push('\n');
            }
            (false, Some(kind)) if kind == "console" || kind == "console ordinary user" => {
                open = true;
                blocks.push(Block {
                    line: number,
                    text: String::new(),
                    only_ordinary_user: kind != "console",
                });
            }
            (false, _) => {}
        }
    }
    blocks
}

fn commands(block: &str) -> Vec<&str> {
    assert!(block.starts_with("$ "), "a block starts with a command:\n{block}");
    block.lines().filter_map(|line| line.strip_prefix("$ ")).collect()
}

/// Stands between the outputs; `$?` and `$!` are afterwards what they were before.
const SEPARATOR: &str = "_status=$?; echo; echo ---separator---; (exit $_status)\n";
const PRINTED_SEPARATOR: &str = "\n---separator---\n";

/// Root's are in /run/launch, an ordinary user's in its own runtime directory.
const REMOVE_ALL: &str = r#"
    for name in $(ls $([ $(id -u) = 0 ] && echo /run/launch || echo "$XDG_RUNTIME_DIR/launch")); do
        launch rm --force "$name"
    done > /dev/null 2>&1
"#;

/// Runs the commands in one shell, and returns what its user would have seen.
fn transcript(caller: Caller, commands: &[&str]) -> String {
    let mut script = String::from("exec 2>&1\n");
    for command in commands {
        script.push_str(&command.replace("cargo run --release -- ", "launch "));
        script.push('\n');
        script.push_str(SEPARATOR);
    }
    // Whatever has become of them, and before anybody waits for who has the output open.
    script.push_str(REMOVE_ALL);
    let (folder, runtime) = (public_folder(), Folder::of(caller));
    let runtime = runtime.directory("run");
    let launch = program().parent().expect("folder").display();
    let mut shell = match caller {
        Caller::User => caller.command("bash"),
        // Root's are in the machine's /run.
        Caller::Root => {
            let own = "mkdir -p /run/launch && mount -t tmpfs -o mode=755 none /run/launch && exec \"$@\"";
            let mut command = caller.command("unshare");
            command.args(["--mount", "sh", "-c", own, "sh", "bash"]);
            command
        }
    };
    shell.args(["-c", &script]).stdin(Stdio::null()).current_dir(folder.path());
    shell.env("XDG_RUNTIME_DIR", &runtime);
    shell.env("PATH", format!("{launch}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")).env("LC_ALL", "C");
    shell.env_remove("LAUNCH_LOG");
    let output = text(&run(&mut shell).stdout);
    let outputs = output.split(PRINTED_SEPARATOR).chain(std::iter::repeat("(the shell has ended)\n"));
    commands.iter().zip(outputs).map(|(command, output)| format!("$ {command}\n{output}")).collect()
}

/// See the head of this file.
fn normalised(block: &str) -> String {
    let mut known = Vec::new();
    let lines = block.lines().map(|line| {
        let words: Vec<_> = without_dates(line).split_whitespace().map(str::to_owned).collect();
        let indent = if line.starts_with(' ') { " " } else { "" };
        format!("{indent}{}\n", without_numbers(&words.join(" "), &mut known))
    });
    lines.collect()
}

/// Numbers that differ from run to run become their place in `known`.
fn without_numbers(line: &str, known: &mut Vec<String>) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        result.push_str(&rest[..start]);
        let number = &rest[start..];
        let length = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let (number, behind) = number.split_at(length);
        let is_pid = ["(", "pid ", "pid\":", "/proc/"].iter().any(|before| result.ends_with(before));
        if length >= 4 || (length >= 2 && is_pid) {
            let place = known.iter().position(|other| other == number).unwrap_or_else(|| {
                known.push(number.to_owned());
                known.len() - 1
            });
            result.push_str(&format!("#{}", place + 1));
        } else {
            result.push_str(number);
        }
        rest = behind;
    }
    result + rest
}

/// `Nov 23 19:56` becomes `DATE`.
fn without_dates(line: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<_> = line.split(' ').collect();
    let month = words.iter().position(|word| MONTHS.contains(word));
    let time = words.iter().position(|word| word.len() == 5 && word.as_bytes()[2] == b':');
    match (month, time) {
        (Some(month), Some(time)) if month < time => {
            [&words[..month], &["DATE"], &words[time + 1..]].concat().join(" ")
        }
        _ => line.to_owned(),
    }
}

#[test]
fn numbers_that_differ_stand_for_themselves_and_exit_codes_are_kept() {
    let text =
        "launch(45)---sleep(46)\nmnt:[4026531832] Nov  3 09:56 net:[4026531833]  mnt:[4026531832]\n137\n";
    let expected = "launch(#1)---sleep(#2)\nmnt:[#3] DATE net:[#4] mnt:[#3]\n137\n";
    assert_eq!(normalised(text), expected);
    assert_ne!(normalised("launch-init(1)"), normalised("launch-init(2)"));
    assert_ne!(normalised("[1234] [1234]"), normalised("[1234] [1235]"));
}
