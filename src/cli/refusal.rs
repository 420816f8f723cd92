//! What is said of a command line that clap refuses, in one line.
//!
//! Values only; main prints it.

#![forbid(unsafe_code)]

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::Error;

/// clap's errors take several lines, with a usage; ours take one, and name the option first.
pub(crate) fn in_one_line(error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    // clap calls an option "--net <KIND>".
    let option = argument.split([' ', '=']).next().unwrap_or_default().to_owned();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    let (object, reason) = match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            (argument, "a command must stand behind --, as in: launch [OPTIONS] -- CMD [ARG...]".into())
        }
        ErrorKind::UnknownArgument => match context(ContextKind::SuggestedArg) {
            Some(known) => (argument, format!("no such option; did you mean {known}?")),
            None => (argument, "no such option; see launch --help".into()),
        },
        ErrorKind::InvalidValue if value.is_empty() => (option, "needs a value".into()),
        ErrorKind::InvalidValue => {
            let known = context(ContextKind::ValidValue).unwrap_or_default();
            (option, format!("{value:?} is none of {known}"))
        }
        ErrorKind::ValueValidation => {
            let reason =
                std::error::Error::source(error).map_or_else(|| "is not valid".into(), ToString::to_string);
            (option, reason)
        }
        ErrorKind::ArgumentConflict => match context(ContextKind::PriorArg) {
            Some(other) if other != argument => {
                let other = other.split(' ').next().unwrap_or_default().to_owned();
                (option, format!("cannot be used together with {other}"))
            }
            _ => (option, "was given more than once".into()),
        },
        ErrorKind::MissingRequiredArgument => (option, "is missing: another option needs it".into()),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            (
                if option.is_empty() { "launch".into() } else { option },
                line.trim_start_matches("error: ").into(),
            )
        }
    };
    Error::Option(object.into(), reason)
}

/// The same for an error in what follows one of launch's own commands.
pub(super) fn in_one_line_of(error: &clap::Error, subcommand: &clap::Command) -> Error {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
        _ => "",
    };
    let name = subcommand.get_name();
    let Error::Option(object, reason) = in_one_line(error) else { return in_one_line(error) };
    match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            Error::Option(object, format!("is one too many; see launch {name} --help"))
        }
        ErrorKind::UnknownArgument => {
            Error::Option(object, reason.replace("launch --help", &format!("launch {name} --help")))
        }
        ErrorKind::MissingRequiredArgument if argument == "<DIR>" => {
            Error::Option(name.into(), "says not of what; say launch diff DIR, the DIR of --keep".into())
        }
        ErrorKind::MissingRequiredArgument if argument.starts_with("<NAME>") => {
            Error::Option(name.into(), format!("says not which sandbox; say launch {name} NAME"))
        }
        ErrorKind::MissingRequiredArgument if argument.starts_with("<SOCKET>") => {
            Error::Option(name.into(), format!("says not which socket; say launch {name} SOCKET"))
        }
        ErrorKind::MissingRequiredArgument if argument.starts_with("<CMD>") => {
            Error::Option(name.into(), "says not which command; it stands behind --".into())
        }
        // A name that is none.
        ErrorKind::ValueValidation if argument.starts_with('<') || argument.starts_with('[') => {
            Error::Option(name.into(), reason)
        }
        _ => Error::Option(object, reason.replace("[NAME]...", "NAME")),
    }
}
