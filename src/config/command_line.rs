//! What the command line itself gives and undoes, without what its files say.
//!
//! Whether it is right is cli.rs's to say: this looks at its options, and not at their values.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches, Id};

use super::Files;
use crate::cli;
use crate::error::Error;

/// The command line itself.
pub(super) struct CommandLine {
    /// Without the values of flags.
    pub(super) words: Vec<OsString>,
    pub(super) files: Files,
    /// The options that it gives.
    pub(super) given: HashSet<Id>,
    /// The flags that it says are not to be.
    pub(super) undone: HashSet<Id>,
}

impl CommandLine {
    pub(super) fn read(definition: &clap::Command, words: Vec<OsString>) -> Result<Self, Error> {
        let (words, undone) = flags(definition, words)?;
        // A command line that cannot be parsed is left to cli.rs, which says why; so are --help and --version.
        let Ok(matches) = syntax(definition).try_get_matches_from(&words) else {
            return Ok(Self { words, files: Files::default(), given: HashSet::new(), undone });
        };
        let files = Files::from_arg_matches(&matches).map_err(|error| cli::in_one_line(&error))?;
        let given: HashSet<_> = given(definition, &matches).collect();
        if let Some(flag) = definition
            .get_arguments()
            .find(|argument| undone.contains(argument.get_id()) && given.contains(argument.get_id()))
        {
            return Err(Error::Option(option_of(flag), "is both given and undone".into()));
        }
        Ok(Self { words, files, given, undone })
    }
}

/// Whether a command line may name a file, or give a flag a value: no other is anything but itself.
pub(super) fn may_say_more(words: &[OsString]) -> bool {
    let is_more = |word: &OsString| {
        let word = word.as_bytes();
        word.starts_with(b"--") && word.contains(&b'=') || word == b"--config" || word == b"--profile"
    };
    words.iter().skip(1).take_while(|word| *word != "--").any(is_more)
}

/// Takes the values of flags off: which are undone.
///
/// Between the program's name and `--`, every word that starts so is an option: no option here takes a value that
/// looks like one.
fn flags(definition: &clap::Command, words: Vec<OsString>) -> Result<(Vec<OsString>, HashSet<Id>), Error> {
    let mut undone = HashSet::new();
    let mut kept = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    kept.extend(words.next());
    for word in words.by_ref() {
        if word == "--" {
            kept.push(word);
            break;
        }
        let flag = word.to_str().and_then(|word| word.strip_prefix("--")?.split_once('=')).and_then(
            |(name, value)| {
                Some((
                    definition.get_arguments().find(|it| is_flag(it) && it.get_long() == Some(name))?,
                    value,
                ))
            },
        );
        match flag {
            None => kept.push(word),
            Some((flag, "true")) => kept.push(option_of(flag)),
            Some((flag, "false")) => {
                undone.insert(flag.get_id().clone());
            }
            Some((flag, _)) => {
                let option = option_of(flag);
                let reason = format!("is a flag: say {0}, or {0}=false", option.display());
                return Err(Error::Option(option, reason));
            }
        }
    }
    kept.extend(words);
    Ok((kept, undone))
}

/// Whether it takes no value, and says more than what launch itself is.
pub(super) fn is_flag(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Count)
}

/// `--KEY`.
pub(super) fn option_of(argument: &Arg) -> OsString {
    format!("--{}", argument.get_long().unwrap_or_default()).into()
}

/// The definition with all that clap works out when it first parses.
pub(super) fn built(mut definition: clap::Command) -> clap::Command {
    definition.build();
    definition
}

/// The command line's syntax alone: which options stand on it, whatever their values, and whether or not they go
/// together or need others, which a file may have.
pub(super) fn syntax(definition: &clap::Command) -> clap::Command {
    definition.clone().mut_args(|argument| {
        let argument = argument
            .required(false)
            .exclusive(false)
            .requires(Resettable::<Id>::Reset)
            .conflicts_with(Resettable::<Id>::Reset);
        match argument.get_action() {
            ArgAction::Set | ArgAction::Append => argument.value_parser(OsStringValueParser::new()),
            _ => argument,
        }
    })
}

/// The options that a command line of this definition gives.
pub(super) fn given<'a>(
    definition: &'a clap::Command,
    matches: &'a ArgMatches,
) -> impl Iterator<Item = Id> + 'a {
    let ids = definition.get_arguments().map(Arg::get_id);
    // A question after what clap has no values of (help, version) is a panic.
    let is_given = |id: &Id| {
        matches!(matches.try_contains_id(id.as_str()), Ok(true))
            && matches.value_source(id.as_str()) == Some(ValueSource::CommandLine)
    };
    ids.filter(move |id| is_given(id)).cloned()
}
