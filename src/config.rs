//! `--config` and `--profile`: TOML files whose keys are the long options, turned into tokens of a command line.
//!
//! What an option is and takes is asked of the definition of the command line (cli.rs), which also parses the tokens;
//! none is named here but what concerns files. What the values mean together is for plan/ to say.
//!
//! This file has the order of it: sources.rs finds the files, keys.rs reads one, merge.rs says which of them wins.

#![forbid(unsafe_code)]

mod command_line;
mod keys;
mod merge;
mod sources;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Args;

use self::command_line::{CommandLine, built, may_say_more};
use self::keys::in_file;
use self::merge::{merge, stack};
pub use self::sources::Homes;
use self::sources::{Source, profile, read};
use crate::cli;
use crate::error::Error;

/// The options that name files of options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Files {
    /// Take options from a TOML file too: the long names are the keys. The command line wins; --FLAG=false undoes a
    /// flag
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<OsString>,

    /// Take options from NAME.toml in ~/.config/launch, or from a built-in profile: build, service or strict; --config
    /// wins over it
    #[arg(long, value_name = "NAME", help_heading = "Configuration")]
    pub profile: Option<OsString>,
}

/// A command line that has what its files say in it.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    tokens: Vec<OsString>,
    /// The options that stand in a file and not on the command line, and in which file.
    from_files: Vec<(OsString, OsString)>,
}

impl Arguments {
    /// Reads the files that this command line names, the program's name first, and puts their options in front of
    /// its own. An option that can be given only once is then given by the strongest of: command line, `--config`,
    /// `--profile`, the profile that this names, and so on. `--FLAG=true` becomes `--FLAG`, and `--FLAG=false`
    /// nothing but a reason to leave out a file's.
    ///
    /// # Errors
    /// [`Error::ConfigFile`], [`Error::Config`]; [`Error::Option`] for a flag with another value, and for one both
    /// given and undone
    ///
    /// `homes` is asked only where there is something to read.
    pub fn read(words: Vec<OsString>, homes: impl FnOnce() -> Homes) -> Result<Self, Error> {
        // The definition takes longer than most commands.
        if !may_say_more(&words) {
            return Ok(Self { tokens: words, from_files: Vec::new() });
        }
        let (definition, homes) = (&built(cli::definition()), homes());
        let line = CommandLine::read(definition, words)?;
        let config =
            line.files.config.as_deref().map(|path| {
                Ok(Source { name: path.into(), text: read(Path::new(path))?, is_built_in: false })
            });
        let find = |name: &OsStr| profile(name, homes.profiles.as_deref());
        let layers = stack(definition, config.transpose()?, line.files.profile.clone(), find, &homes.home)?;
        Ok(merge(definition, line, layers))
    }

    /// All of it, for [`cli::parse`].
    pub fn tokens(&self) -> &[OsString] {
        &self.tokens
    }

    /// The error as it is to be told: one in an option that only a file gave is that file's.
    pub fn blame(&self, error: Error) -> Error {
        let file = match &error {
            // It may be told with its value.
            Error::Option(option, _) => self.from_files.iter().find(|(given, _)| {
                option.as_bytes().split(|byte| *byte == b' ').next() == Some(given.as_bytes())
            }),
            _ => None,
        };
        file.map_or(error.clone(), |(_, file)| in_file(file, error))
    }
}
