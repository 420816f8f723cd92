//! The completions of each shell, in that shell: options, commands, values, and behind `--` another command's line.

#[path = "../examples/manuals/completions.rs"]
mod completions;
#[path = "../examples/manuals/init.rs"]
mod init;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use clap_complete::Shell;
use tempfile::TempDir;

use support::{cannot_run, executable, stdout_of};

/// What is typed, and what its last word becomes.
const LINES: [(&str, &str); 7] = [
    ("launch --ho", "--hostname"),
    ("launch --net no", "none"),
    ("launch logs --fo", "--follow"),
    ("launch --hostname box -- a-command-of-th", "a-command-of-this-test"),
    ("launch exec web -- a-command-of-th", "a-command-of-this-test"),
    ("launch-init --gr", "--grace"),
    ("launch-init --grace 1s -- a-command-of-th", "a-command-of-this-test"),
];

/// As its line editor calls the function.
const IN_BASH: &str = r#"
for program in launch launch-init; do . "$PROGRAMS/$program.bash"; done
while read -r line; do
    read -ra COMP_WORDS <<<"$line"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
    read -ra complete < <(complete -p "${COMP_WORDS[0]}")
    for ((i = 0; i < ${#complete[@]}; i++)); do [ "${complete[i]}" = -F ] && function=${complete[i + 1]}; done
    "$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[*]}"
done <"$PROGRAMS/lines"
"#;

/// zsh completes in its line editor alone, and that wants a terminal. ^X stands for Enter: it writes the line down.
const IN_ZSH: &str = r#"
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'fpath=($PROGRAMS $fpath); autoload -U compinit; compinit -u -D'
zpty -w z 'written() { print -r -- ${(z)BUFFER} >>$PROGRAMS/written; BUFFER= }; zle -N written; bindkey "^X" written'
while read -r line; do zpty -w -n z $line$'\t\x18'; done <$PROGRAMS/lines
repeat 400; do
    zpty -r -t z >/dev/null
    [[ -e $PROGRAMS/written && $(wc -l <$PROGRAMS/written) -ge $(wc -l <$PROGRAMS/lines) ]] && break
    sleep 0.05
done
while read -rA words; do print -r -- ${words[-1]%=}; done <$PROGRAMS/written
"#;

const IN_FISH: &str = r#"
for program in launch launch-init; source $PROGRAMS/$program.fish; end
while read line; echo (complete -C $line | string split -f 1 \t); end <$PROGRAMS/lines
"#;

/// A folder with the scripts of one shell, the lines, and a command.
fn folder(shell: Shell) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("write");
    for (program, definition) in [("launch", launch::cli::definition()), ("launch-init", init::definition())]
    {
        write(&completions::file_name(shell, program), &completions::script(shell, program, definition));
    }
    write("lines", &LINES.map(|(line, _)| format!("{line}\n")).concat());
    executable(&folder.path().join("a-command-of-this-test"), "#!/bin/sh\n");
    folder
}

fn completes(shell: Shell, program: &str, options: &[&str], script: &str) {
    if !Path::new("/usr/bin").join(program).exists() {
        return cannot_run(&format!("completions of {program}"), "it is not installed");
    }
    let folder = folder(shell);
    let mut command = Command::new(Path::new("/usr/bin").join(program));
    command.args(options).args(["-c", script]).current_dir("/");
    command.env("PROGRAMS", folder.path()).env("HOME", folder.path()).env("TERM", "dumb");
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
    let found = stdout_of(&mut command);
    let expected = LINES.map(|(_, completed)| format!("{completed}\n")).concat();
    assert_eq!(found, expected);
}

#[test]
fn bash_completes_options_commands_values_and_what_stands_behind_two_dashes() {
    completes(Shell::Bash, "bash", &["--norc"], IN_BASH);
}

#[test]
fn zsh_completes_options_commands_values_and_what_stands_behind_two_dashes() {
    completes(Shell::Zsh, "zsh", &["-f"], IN_ZSH);
}

#[test]
fn fish_completes_options_commands_values_and_what_stands_behind_two_dashes() {
    completes(Shell::Fish, "fish", &["--no-config"], IN_FISH);
}
