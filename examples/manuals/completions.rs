//! What shells complete for both programs, from the definitions that their help is made from. What stands behind `--` is
//! another command's line, which the shell completes as it would by itself: that clap_complete does not know.

use clap::Command;
use clap_complete::Shell;

/// The name of the script's file, where that shell looks for it by itself.
pub fn file_name(shell: Shell, program: &str) -> String {
    clap_complete::Generator::file_name(&shell, program)
}

/// The script for one shell.
pub fn script(shell: Shell, program: &str, definition: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition.clone(), program, &mut script);
    let script = String::from_utf8(script).expect("text");
    match shell {
        Shell::Bash => {
            let function = program.replace('-', "__");
            replaced(&script, &format!("_{function}() {{\n"), &format!("_{function}() {{\n{BEHIND_IN_BASH}"))
        }
        Shell::Zsh => {
            let script = replaced(
                &script,
                &format!("_{program}() {{\n"),
                &format!("_{program}() {{\n{BEHIND_IN_ZSH}"),
            );
            match definition.has_subcommands() {
                true => with_the_command_first(&script),
                false => script,
            }
        }
        _ => {
            let script = match definition.has_subcommands() {
                true => with_values_in_fish(&script, program),
                false => script,
            };
            script + &BEHIND_IN_FISH.replace("PROGRAM", program)
        }
    }
}

const BEHIND_IN_BASH: &str = r#"    local at
    for ((at = 1; at < COMP_CWORD; at++)); do
        [[ "${COMP_WORDS[at]}" == -- ]] || continue
        # bash-completion's
        if declare -F _command_offset >/dev/null; then
            _command_offset $((at + 1))
        elif ((at + 1 == COMP_CWORD)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$2")
        else
            COMPREPLY=()
        fi
        return
    done
"#;

const BEHIND_IN_ZSH: &str = r"    local at=${words[(i)--]}
    if (( at < CURRENT )); then
        shift at words
        (( CURRENT -= at ))
        _normal
        return
    fi
";

const BEHIND_IN_FISH: &str = r#"
function __fish_PROGRAM_behind
    set -l words (commandline -opc)
    set -e words[1..(contains -i -- -- $words)]
    set -l line (string escape -- $words) (commandline -ct)
    complete -C "$line"
end

complete -c PROGRAM -x -n 'contains -- -- (commandline -opc)' -a '(__fish_PROGRAM_behind)'
"#;

/// clap_complete expects the argument that only stands behind `--` in front of the subcommand.
fn with_the_command_first(script: &str) -> String {
    let argument = script.lines().find(|line| line.starts_with("'::command -- ")).expect("the argument");
    let script = replaced(script, &format!("{argument}\n"), "");
    replaced(&script, "$line[2]", "$line[1]")
}

/// Whether there is a subcommand yet is a question that clap_complete's function cannot answer while the value of an option is
/// typed: that is a word that it isn't shown.
fn with_values_in_fish(script: &str, program: &str) -> String {
    let parse =
        |rest: &str| format!("argparse -s (__fish_{program}_global_optspecs) -- $cmd{rest} 2>/dev/null\n");
    let once = parse("");
    replaced(script, &once, &format!("{once}    or {}", parse(" value")))
}

/// What is replaced has to be there.
fn replaced(script: &str, what: &str, by: &str) -> String {
    assert!(script.contains(what), "clap_complete no longer writes {what:?}");
    script.replace(what, by)
}
