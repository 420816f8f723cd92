//! The man pages of both programs, each from the definition that its help is made from.

use clap::Command;
use clap_mangen::Man;

use super::init;

/// launch.1. What clap_mangen calls pages of their own are forms of this one, whose options have sections of their own in it.
pub fn launch() -> String {
    let man = Man::new(launch::cli::definition()).source(concat!("launch ", env!("CARGO_PKG_VERSION")));
    let mut page = rendered(|page| man.render(page));
    let mut sections = String::new();
    for mut command in subcommands() {
        let name = command.get_name().to_owned();
        let usage = command.render_usage().to_string().replace("Usage: ", "").replace('-', "\\-");
        let form = format!("\\fBlaunch {name}\\fR");
        page = page
            .replace(&format!("launch\\-{name}(1)"), &usage.replacen(&format!("launch {name}"), &form, 1));
        let section = rendered(|section| Man::new(command).render_options_section(section));
        let (_, options) = section.split_once(".SH OPTIONS\n").expect("a section");
        sections.push_str(&format!(".SH \"LAUNCH {}\"\n{options}", name.to_uppercase()));
    }
    let (before, after) = page.split_once(".SH EXTRA\n").expect("what follows the subcommands");
    format!("{before}{sections}.SH EXTRA\n{after}")
}

/// The definitions of `launch diff` and the others.
pub fn subcommands() -> Vec<Command> {
    let mut definition = launch::cli::definition();
    definition.build();
    definition.get_subcommands().cloned().collect()
}

/// launch-init.1
pub fn launch_init() -> String {
    let man = Man::new(init::definition()).source(concat!("launch-init ", env!("CARGO_PKG_VERSION")));
    rendered(|page| man.render(page))
}

fn rendered(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut page = Vec::new();
    render(&mut page).expect("a vector takes everything");
    String::from_utf8(page).expect("text")
}
