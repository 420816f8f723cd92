//! What one file says: its keys → tokens of a command line, each checked by the definition.
//!
//! Which of several files wins is merge.rs's to say.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Id};
use toml::de::{DeTable, DeValue};

use super::sources::Source;
use crate::cli;
use crate::error::Error;
use crate::spec;

/// The key of an array of tables, each of which has one key: options of different kinds in their order.
pub(super) const STEPS: &str = "steps";
/// The key, and the option, that names the profile below.
pub(super) const PROFILE: &str = "profile";
/// Options that are no keys, and why.
const NO_KEYS: [(&str, &str); 3] = [
    ("config", "a file cannot name another file; name a profile, with profile = \"NAME\""),
    ("help", "is for the command line only"),
    ("version", "is for the command line only"),
];

/// As alike as two keys have to be for one to be a mistake for the other; clap's own measure for options.
const ALIKE: f64 = 0.7;

/// What one file says.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) name: OsString,
    /// The profile below it.
    pub(super) profile: Option<OsString>,
    pub(super) entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: Id,
    /// Empty for a flag that is false.
    pub(super) tokens: Vec<OsString>,
}

impl Layer {
    /// The file's keys in its order, each checked by the definition.
    pub(super) fn parse(
        source: &Source,
        definition: &clap::Command,
        home: &Result<OsString, String>,
    ) -> Result<Self, Error> {
        let wrong = |reason| Error::Config(source.name.clone(), reason);
        // The first error in the file, which the parser's own choice isn't.
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        if let Some(error) = errors.iter().min_by_key(|error| start(error)) {
            return Err(wrong(format!("{}: {}", place(&source.text, start(error)), error.message())));
        }
        let mut reader =
            Reader { definition, source, home, profile: None, entries: Vec::new(), once: HashSet::new() };
        for (key, value) in table.get_ref() {
            reader.top(key.get_ref(), value.get_ref()).map_err(wrong)?;
        }
        let layer = Self { name: source.name.clone(), profile: reader.profile, entries: reader.entries };
        layer.check(definition)?;
        Ok(layer)
    }

    /// The errors in this file's values, and between its keys. What a key needs may stand elsewhere.
    fn check(&self, definition: &clap::Command) -> Result<(), Error> {
        let tokens = self.entries.iter().flat_map(|entry| entry.tokens.iter());
        let line = std::iter::once(OsStr::new("launch")).chain(tokens.map(OsString::as_os_str));
        match definition.clone().try_get_matches_from(line) {
            Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
                Err(in_file(&self.name, cli::in_one_line(&error)))
            }
            _ => Ok(()),
        }
    }
}

/// An error of the command line as one of a file.
pub(super) fn in_file(file: &OsStr, error: Error) -> Error {
    match error {
        Error::Option(option, reason) => {
            let option = option.to_string_lossy();
            let key = option.trim_start_matches('-');
            Error::Config(
                file.into(),
                format!("{key}: {}", reason.replace("together with --", "together with ")),
            )
        }
        other => other,
    }
}

/// `line 3, column 7`, both from 1, the column in characters.
fn place(text: &str, at: usize) -> String {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    format!("line {line}, column {}", String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

/// Goes through a file's keys.
struct Reader<'a> {
    definition: &'a clap::Command,
    source: &'a Source,
    home: &'a Result<OsString, String>,
    profile: Option<OsString>,
    entries: Vec<Entry>,
    /// Those seen that may not come again; TOML itself looks at each table alone.
    once: HashSet<Id>,
}

impl Reader<'_> {
    fn top(&mut self, key: &str, value: &DeValue) -> Result<(), String> {
        match (key, value) {
            (PROFILE, DeValue::String(name)) => self.profile = Some(OsString::from(name.as_ref())),
            (PROFILE, _) => return Err(expected(key, "a string", value)),
            (STEPS, DeValue::Array(steps)) => {
                for step in steps {
                    self.step(step.get_ref())?;
                }
            }
            (STEPS, _) => return Err(expected(key, "an array of tables with one key each", value)),
            _ => self.option(key, value)?,
        }
        Ok(())
    }

    fn step(&mut self, step: &DeValue) -> Result<(), String> {
        let DeValue::Table(table) = step else {
            return Err(expected(STEPS, "an array of tables with one key each", step));
        };
        let keys: Vec<_> = table.keys().map(|key| key.get_ref().as_ref()).collect();
        match keys[..] {
            [PROFILE | STEPS] => Err(format!("{}: cannot stand in {STEPS}", keys[0])),
            [_] => table.iter().try_for_each(|(key, value)| self.option(key.get_ref(), value.get_ref())),
            [] => Err(format!("{STEPS}: a step has one key, and this one has none")),
            _ => Err(format!(
                "{STEPS}: a step has one key, and this one has {}; other keys stand above the first step",
                keys.join(", ")
            )),
        }
    }

    fn option(&mut self, key: &str, value: &DeValue) -> Result<(), String> {
        if let Some((_, reason)) = NO_KEYS.iter().find(|(name, _)| *name == key) {
            return Err(format!("{key}: {reason}"));
        }
        let Some(argument) = self.definition.get_arguments().find(|it| it.get_long() == Some(key)) else {
            return Err(self.unknown(key));
        };
        let id = argument.get_id().clone();
        let tokens = match argument.get_action() {
            ArgAction::SetTrue => flag(key, value)?,
            ArgAction::Count => count(key, value)?,
            ArgAction::Append => match value {
                DeValue::Array(values) => {
                    let tokens = values.iter().map(|value| self.token(key, value.get_ref(), MANY));
                    tokens.filter_map(Result::transpose).collect::<Result<_, _>>()?
                }
                _ => self.token(key, value, MANY)?.into_iter().collect(),
            },
            _ => match value {
                DeValue::Array(_) => {
                    return Err(format!("{key}: can be given only once; {}", not(ONE, value)));
                }
                _ => self.token(key, value, ONE)?.into_iter().collect(),
            },
        };
        if !is_repeatable(argument) && !self.once.insert(id.clone()) {
            return Err(format!("{key}: was given more than once"));
        }
        self.entries.push(Entry { id, tokens });
        Ok(())
    }

    /// `--KEY=VALUE`, in one word: a value may be empty or start with a dash. None for what is left out.
    fn token(&self, key: &str, value: &DeValue, wanted: &str) -> Result<Option<OsString>, String> {
        let text = match value {
            DeValue::String(text) => self.at_home(key, text),
            DeValue::Integer(number) if number.radix() != 10 => {
                // As a number it would lose what makes it an octal mode.
                return Err(format!("{key}: {number} is not decimal; write it as a string"));
            }
            DeValue::Integer(number) => Ok(Some(number.as_str().trim_start_matches('+').into())),
            _ => return Err(expected(key, wanted, value)),
        };
        let Some(text) = text.map_err(|reason| format!("{key}: {reason}"))? else {
            return Ok(None);
        };
        if text.as_bytes().contains(&0) {
            return Err(format!("{key}: has a NUL character, which no argument can have"));
        }
        let mut token = format!("--{key}=").into_bytes();
        token.extend(text.as_bytes());
        Ok(Some(OsString::from_vec(token)))
    }

    /// The text with the caller's home for a leading `~`. Built-in profiles serve callers without a home, too: there
    /// is then none to hide.
    fn at_home(&self, key: &str, text: &str) -> Result<Option<OsString>, String> {
        let Some(rest) =
            text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        else {
            return Ok(Some(text.into()));
        };
        match self.home {
            Ok(home) if cli::takes_spelled_paths(key) => {
                Ok(Some([spec::spelled(home).as_os_str(), rest.as_ref()].into_iter().collect()))
            }
            Ok(home) => Ok(Some([home.as_os_str(), rest.as_ref()].into_iter().collect())),
            Err(_) if self.source.is_built_in => Ok(None),
            Err(reason) => Err(format!("{text:?} needs a home, but {reason}")),
        }
    }

    fn unknown(&self, key: &str) -> String {
        let keys = keys(self.definition).map(|(key, _)| key).chain([PROFILE, STEPS]);
        let bare = key.trim_start_matches('-');
        let likeness = |known: &str| strsim::jaro_winkler(bare, known);
        match keys.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|known| likeness(known) > ALIKE)
        {
            Some(known) => format!("{key}: no such key; did you mean {known:?}?"),
            None => format!("{key}: no such key; the keys are the options of launch --help"),
        }
    }
}

/// All that can be a key in a file, but for `steps`.
fn keys(definition: &clap::Command) -> impl Iterator<Item = (&str, &Arg)> {
    let options = definition.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument)));
    options.filter(|(long, _)| NO_KEYS.iter().all(|(name, _)| name != long))
}

const ONE: &str = "a string or a whole number";
const MANY: &str = "a string, a whole number, or an array of these";

fn flag(key: &str, value: &DeValue) -> Result<Vec<OsString>, String> {
    match value {
        DeValue::Boolean(true) => Ok(vec![format!("--{key}").into()]),
        DeValue::Boolean(false) => Ok(Vec::new()),
        _ => Err(expected(key, "true or false", value)),
    }
}

/// `verbose = 2` is -vv.
fn count(key: &str, value: &DeValue) -> Result<Vec<OsString>, String> {
    let times = match value {
        DeValue::Boolean(is_set) => Some(u8::from(*is_set)),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        _ => None,
    };
    let times = times.ok_or_else(|| expected(key, "true, false, or how often, up to 255", value))?;
    Ok(vec![format!("--{key}").into(); times.into()])
}

fn expected(key: &str, wanted: &str, value: &DeValue) -> String {
    format!("{key}: {}", not(wanted, value))
}

fn not(wanted: &str, value: &DeValue) -> String {
    let kind = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(number) => return format!("expected {wanted}, not {number}"),
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(value) => return format!("expected {wanted}, not {value}"),
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    format!("expected {wanted}, not {kind}")
}

pub(super) fn is_repeatable(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use super::super::command_line::{built, given, is_flag, syntax};
    use super::super::tests::source;
    use super::*;

    #[test]
    fn every_option_is_a_key_and_its_tokens_are_that_option() {
        let definition = built(cli::definition());
        let keys: Vec<_> = keys(&definition).collect();
        assert!(keys.len() > 15, "{}", keys.len());
        for (key, argument) in keys.into_iter().filter(|(key, _)| *key != PROFILE) {
            let value = if is_flag(argument) { "true" } else { "'7'" };
            let source = source("box.toml", "");
            let (home, once) = (Err(String::new()), HashSet::new());
            let mut reader = Reader {
                definition: &definition,
                source: &source,
                home: &home,
                profile: None,
                entries: Vec::new(),
                once,
            };
            let value = DeValue::parse(value).expect("a value");
            assert_eq!(reader.top(key, value.get_ref()), Ok(()), "{key}");
            let line = std::iter::once(OsString::from("launch")).chain(reader.entries[0].tokens.clone());
            let matches = syntax(&definition).try_get_matches_from(line).expect("parse");
            let ids: Vec<_> = given(&definition, &matches).collect();
            assert_eq!(ids, [argument.get_id().clone()], "{key}");
        }
    }
}
