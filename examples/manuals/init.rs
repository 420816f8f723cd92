//! The definition of launch-init's command line, for what is made from one.

use clap::{Arg, ArgAction, Command};

/// `launch-init`, whose command line is read without clap, as its help has it.
pub fn definition() -> Command {
    let (usage, rest) = launch_init::USAGE.split_once("\n\n").expect("usage, and more");
    let (about, rest) = rest.split_once("\n\n").expect("what it does, and more");
    let (options, after) = rest.split_at(rest.find("\n\n--").expect("remarks"));
    let usage = usage.trim_start_matches("usage: ").to_owned();
    let mut command = Command::new("launch-init")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A PID 1 for images and sandboxes")
        .long_about(format!("A PID 1 for images and sandboxes\n\n{}", one_line(about)))
        .override_usage(usage)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .after_help(after.trim().to_owned());
    let mut heading = "";
    // Where it stands, its names, and what is said of it.
    let mut entries: Vec<(&'static str, &'static str, String)> = Vec::new();
    for line in options.lines().filter(|line| !line.is_empty()) {
        match (line.strip_suffix(':'), line.strip_prefix("  -")) {
            (Some(title), None) => heading = title,
            (_, Some(_)) => {
                let (names, help) = line.trim_start().split_once("   ").unwrap_or((line.trim_start(), ""));
                entries.push((heading, names, help.into()));
            }
            _ => entries.last_mut().expect("an option").2.push_str(line),
        }
    }
    for (heading, names, help) in entries {
        for argument in arguments(names, one_line(&help)) {
            command = command.arg(argument.help_heading(heading));
        }
    }
    command
}

/// `-q, --quiet` is one option; `--a TIME, --b TIME` are two.
fn arguments(names: &'static str, help: String) -> Vec<Arg> {
    let mut short = None;
    let mut arguments = Vec::new();
    for name in names.split(", ") {
        let (option, value) =
            name.split_once(' ').map_or((name, None), |(option, value)| (option, Some(value)));
        match option.strip_prefix("--") {
            None => short = option.chars().nth(1),
            Some(long) => {
                let argument = Arg::new(long).long(long).help(help.clone());
                let argument = match short.take() {
                    Some(short) => argument.short(short),
                    None => argument,
                };
                arguments.push(match value {
                    Some(value) => argument.value_name(value.trim()),
                    None => argument.action(ArgAction::SetTrue),
                });
            }
        }
    }
    arguments
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
