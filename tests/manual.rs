//! The help, the man page in docs/launch.1 and the program are made from one definition, and the program is one
//! static file.

#[path = "../examples/manuals/init.rs"]
mod init;
#[path = "../examples/manuals/pages.rs"]
mod pages;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{cannot_run, code_and_stderr, program, run, stdout_of, text};

#[test]
fn the_man_pages_are_those_that_the_definitions_give() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, page) in [("launch.1", pages::launch()), ("launch-init.1", pages::launch_init())] {
        let path = folder.join(name);
        if std::env::var_os("UPDATE_MAN_PAGE").is_some() {
            fs::write(&path, &page).expect("write the page");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page, "docs/{name} is out of date: UPDATE_MAN_PAGE=1 cargo test --test manual");
    }
}

#[test]
fn man_shows_the_pages_without_a_warning() {
    if Command::new("man").arg("--version").output().is_err() {
        return cannot_run("the man pages' form", "man is not installed");
    }
    for name in ["launch.1", "launch-init.1"] {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-Tutf8", "-l"]).arg(&page).env("MANWIDTH", "80");
        assert!(stdout_of(&mut man).len() > 1000, "{name}");
    }
}

#[test]
fn every_option_of_init_is_in_its_page() {
    let page = pages::launch_init();
    let options =
        launch_init::USAGE.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
    for option in options.map(|word| word.trim_end_matches([',', '.'])) {
        let in_roff = option.replace('-', "\\-");
        assert!(page.contains(&in_roff), "{option} is not in the man page");
    }
}

#[test]
fn every_option_is_in_the_help_and_in_the_man_page() {
    let help = stdout_of(Command::new(program()).arg("--help"));
    let page = pages::launch();
    let definition = launch::cli::definition();
    let options: Vec<_> = definition.get_arguments().filter_map(|argument| argument.get_long()).collect();
    assert!(options.len() > 15, "{options:?}");
    for option in options {
        assert!(help.contains(&format!("--{option}")), "--{option} is not in the help");
        let in_roff = format!("\\-\\-{}", option.replace('-', "\\-"));
        assert!(page.contains(&in_roff), "--{option} is not in the man page");
    }
    for line in ["CMD [ARG...]", "127    CMD was not found"] {
        assert!(help.contains(line), "{line:?} is not in the help");
    }
}

#[test]
fn every_command_and_its_options_are_in_its_help_and_in_the_man_page() {
    let general = stdout_of(Command::new(program()).arg("--help"));
    let page = pages::launch();
    for command in pages::subcommands() {
        let name = command.get_name();
        assert!(general.contains(&format!("\n  {name} ")), "{name} is not in the help");
        let help = stdout_of(Command::new(program()).args([name, "--help"]));
        let heading = format!(".SH \"LAUNCH {}\"\n", name.to_uppercase());
        let (_, section) =
            page.split_once(&heading).unwrap_or_else(|| panic!("{name} is not in the man page"));
        let section = section.split(".SH ").next().unwrap_or_default();
        for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(help.contains(&format!("--{option}")), "--{option} is not in the help of {name}");
            let in_roff = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(section.contains(&in_roff), "--{option} of {name} is not in the man page");
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{argument} of {name} is not explained");
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    let expected = concat!("launch ", env!("CARGO_PKG_VERSION"), "\n");
    for option in ["--version", "-V"] {
        assert_eq!(stdout_of(Command::new(program()).arg(option)), expected);
    }
}

#[test]
fn help_into_a_closed_pipe_is_no_crash() {
    let script = format!("exec 2>&1; {} --help | true; echo ${{PIPESTATUS[0]}}", program().display());
    assert_eq!(text(&run(Command::new("bash").args(["-c", &script])).stdout), "0\n");
}

#[test]
fn init_says_how_it_is_called() {
    let folder = support::public_folder();
    let init = folder.path().join("launch-init");
    std::os::unix::fs::symlink(program(), &init).expect("link");
    assert!(stdout_of(Command::new(&init).arg("--help")).starts_with("usage: launch-init "));
    let unknown = code_and_stderr(Command::new(&init).arg("--foo"));
    assert_eq!(unknown, (125, "launch-init: command line: --foo: no such option; see --help\n".into()));
}

/// ELF's program header of the dynamic loader; see elf(5).
const PT_INTERP: u32 = 3;

#[test]
fn the_program_needs_no_dynamic_loader() {
    let elf = fs::read(program()).expect("read");
    let u16_at = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]) as usize;
    let u32_at = |at: usize| u32::from_le_bytes([elf[at], elf[at + 1], elf[at + 2], elf[at + 3]]);
    assert_eq!(&elf[..5], b"\x7fELF\x02", "a 64-bit ELF file");
    let (headers, size, count) = (u32_at(32) as usize, u16_at(54), u16_at(56));
    assert!(count > 2);
    let types: Vec<_> = (0..count).map(|i| u32_at(headers + i * size)).collect();
    assert!(!types.contains(&PT_INTERP), "a RUSTFLAGS variable replaces .cargo/config.toml: unset it");
}
