//! Writes the man pages and the completions of both programs into a folder: `cargo run --example manuals -- FOLDER`.

mod completions;
mod init;
mod pages;

use std::fs;
use std::path::PathBuf;

use clap_complete::Shell;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the folder to write to"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("launch.1"), pages::launch())?;
    fs::write(folder.join("launch-init.1"), pages::launch_init())?;
    for (name, definition) in [("launch", launch::cli::definition()), ("launch-init", init::definition())] {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions::script(shell, name, definition.clone());
            fs::write(folder.join(completions::file_name(shell, name)), script)?;
        }
    }
    Ok(())
}
