//! Writes the man pages and the completions of both programs into a folder: `cargo run --example manuals -- FOLDER`.

mod pages;

use std::fs;
use std::path::PathBuf;

use clap_complete::Shell;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the folder to write to"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("launch.1"), pages::launch())?;
    fs::write(folder.join("launch-init.1"), pages::launch_init())?;
    for (name, definition) in
        [("launch", launch::cli::definition()), ("launch-init", pages::init_definition())]
    {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut definition.clone(), name, &folder)?;
        }
    }
    Ok(())
}
