//! `--config` and `--profile`: TOML files whose keys are the long options, turned into tokens of a command line.
//!
//! What an option is and takes is asked of the definition of the command line (cli.rs), which also parses the tokens;
//! none is named here but what concerns files. What the values mean together is for plan/ to say.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, Resettable};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Id};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use toml::de::{DeTable, DeValue};

use crate::cli;
use crate::error::Error;
use crate::spec;
use crate::text_file::{self, NotRead};

/// The profiles that need no file.
const BUILT_IN: [(&str, &str); 3] = [
    ("build", include_str!("profiles/build.toml")),
    ("service", include_str!("profiles/service.toml")),
    ("strict", include_str!("profiles/strict.toml")),
];

/// The key of an array of tables, each of which has one key: options of different kinds in their order.
const STEPS: &str = "steps";
/// The key, and the option, that names the profile below.
const PROFILE: &str = "profile";
/// Options that are no keys, and why.
const NO_KEYS: [(&str, &str); 3] = [
    ("config", "a file cannot name another file; name a profile, with profile = \"NAME\""),
    ("help", "is for the command line only"),
    ("version", "is for the command line only"),
];

/// As alike as two keys have to be for one to be a mistake for the other; clap's own measure for options.
const ALIKE: f64 = 0.7;

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

/// What of the caller's environment says where profiles are and what `~` is.
#[derive(Debug, Clone)]
pub struct Homes {
    /// `$XDG_CONFIG_HOME/launch` or `$HOME/.config/launch`.
    profiles: Option<PathBuf>,
    /// HOME, or why it is nothing to put in a `~`'s place.
    home: Result<OsString, String>,
}

impl Homes {
    /// Reads XDG_CONFIG_HOME and HOME, and looks whether there is such a home.
    pub fn of_caller() -> Self {
        let mut homes = Self::from_variables(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"));
        homes.home = homes.home.and_then(|home| {
            if Path::new(&home).is_dir() { Ok(home) } else { Err(format!("HOME, {home:?}, is no directory")) }
        });
        homes
    }

    /// From the values of XDG_CONFIG_HOME and HOME.
    fn from_variables(config: Option<OsString>, home: Option<OsString>) -> Self {
        // "If an implementation encounters a relative path […] it should consider the path invalid and ignore it":
        // XDG Base Directory Specification 0.8, "Basics".
        let absolute = |path: &OsString| Path::new(path).is_absolute();
        let config = config.filter(absolute).map(PathBuf::from);
        let profiles = config
            .or_else(|| home.clone().filter(absolute).map(|home| Path::new(&home).join(".config")))
            .map(|folder| folder.join("launch"));
        // A `~` that is / would have the whole of the system hidden or bound, where one directory is meant.
        let is_below_root = |path: &Path| path.is_absolute() && path.parent().is_some();
        let home = match home {
            None => Err("HOME is not set".into()),
            Some(home) if !is_below_root(Path::new(&home)) => {
                Err(format!("HOME, {home:?}, is no absolute path of a directory below /"))
            }
            Some(home) => Ok(home),
        };
        Self { profiles, home }
    }
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

/// A file of options before it is parsed.
#[derive(Debug, Clone)]
struct Source {
    /// As errors name it.
    name: OsString,
    text: String,
    is_built_in: bool,
}

/// The contents of a file of options.
fn read(path: &Path) -> Result<String, Error> {
    text_file::read(path).map_err(|error| match error {
        NotRead::System(errno) => Error::ConfigFile(path.into(), errno),
        NotRead::Wrong(reason) => Error::Config(path.into(), reason),
    })
}

/// The profile of this name: the caller's own, or a built-in one.
fn profile(name: &OsStr, folder: Option<&Path>) -> Result<Source, Error> {
    let object: OsString = [OsStr::new("profile "), name].into_iter().collect();
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.starts_with(b".") || bytes.contains(&b'/') {
        let reason = "a profile's name has no slash, and no dot in front; for a path there is --config";
        return Err(Error::Config(object, reason.into()));
    }
    if let Some(folder) = folder {
        let path = folder.join([name, OsStr::new(".toml")].into_iter().collect::<OsString>());
        match read(&path) {
            Ok(text) => return Ok(Source { name: path.into(), text, is_built_in: false }),
            Err(Error::ConfigFile(_, Errno::ENOENT | Errno::ENOTDIR)) => {}
            // HOME may still be that of who became this user, as with setpriv(1).
            Err(Error::ConfigFile(_, Errno::EACCES)) if access(folder, AccessFlags::X_OK).is_err() => {}
            Err(error) => return Err(error),
        }
    }
    match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        Some((_, text)) => Ok(Source { name: object, text: (*text).into(), is_built_in: true }),
        None => {
            let known = known_profiles(folder).join(", ");
            Err(Error::Config(object, format!("no such profile; known are {known}")))
        }
    }
}

/// The names of all profiles; of a folder that cannot be listed, none.
fn known_profiles(folder: Option<&Path>) -> Vec<String> {
    let entries = folder.and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let own = entries.filter_map(|entry| {
        let name = entry.file_name();
        let name = name.as_bytes().strip_suffix(b".toml").filter(|name| !name.starts_with(b"."))?;
        Some(String::from_utf8_lossy(name).into_owned()).filter(|name| !name.is_empty())
    });
    let mut names: Vec<_> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).chain(own).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The command line itself.
struct CommandLine {
    /// Without the values of flags.
    words: Vec<OsString>,
    files: Files,
    /// The options that it gives.
    given: HashSet<Id>,
    /// The flags that it says are not to be.
    undone: HashSet<Id>,
}

impl CommandLine {
    fn read(definition: &clap::Command, words: Vec<OsString>) -> Result<Self, Error> {
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
fn may_say_more(words: &[OsString]) -> bool {
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
fn is_flag(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Count)
}

/// `--KEY`.
fn option_of(argument: &Arg) -> OsString {
    format!("--{}", argument.get_long().unwrap_or_default()).into()
}

/// The definition with all that clap works out when it first parses.
fn built(mut definition: clap::Command) -> clap::Command {
    definition.build();
    definition
}

/// The command line's syntax alone: which options stand on it, whatever their values, and whether or not they go
/// together or need others, which a file may have.
fn syntax(definition: &clap::Command) -> clap::Command {
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
fn given<'a>(definition: &'a clap::Command, matches: &'a ArgMatches) -> impl Iterator<Item = Id> + 'a {
    let ids = definition.get_arguments().map(Arg::get_id);
    // A question after what clap has no values of (help, version) is a panic.
    let is_given = |id: &Id| {
        matches!(matches.try_contains_id(id.as_str()), Ok(true))
            && matches.value_source(id.as_str()) == Some(ValueSource::CommandLine)
    };
    ids.filter(move |id| is_given(id)).cloned()
}

/// What one file says.
#[derive(Debug, Clone)]
struct Layer {
    name: OsString,
    /// The profile below it.
    profile: Option<OsString>,
    entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug, Clone)]
struct Entry {
    id: Id,
    /// Empty for a flag that is false.
    tokens: Vec<OsString>,
}

/// The files that apply, the strongest last. `find` gives a profile by its name.
fn stack(
    definition: &clap::Command,
    config: Option<Source>,
    profile: Option<OsString>,
    find: impl Fn(&OsStr) -> Result<Source, Error>,
    home: &Result<OsString, String>,
) -> Result<Vec<Layer>, Error> {
    let mut layers: Vec<Layer> = Vec::new();
    if let Some(source) = config {
        layers.push(Layer::parse(&source, definition, home)?);
    }
    let mut next = profile.or_else(|| layers.first().and_then(|layer| layer.profile.clone()));
    let mut names = Vec::new();
    while let Some(name) = next {
        if names.contains(&name) {
            let file = layers.last().map(|layer| layer.name.clone()).unwrap_or_default();
            return Err(Error::Config(file, format!("{PROFILE}: {name:?} leads back to itself")));
        }
        let layer = Layer::parse(&find(&name)?, definition, home)?;
        next = layer.profile.clone();
        names.push(name);
        layers.push(layer);
    }
    layers.reverse();
    Ok(layers)
}

impl Layer {
    /// The file's keys in its order, each checked by the definition.
    fn parse(
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
fn in_file(file: &OsStr, error: Error) -> Error {
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

/// The layers, the strongest last, in front of the command line. From a layer goes what stands only once and a
/// stronger one settles, and what a stronger one rules out.
fn merge(definition: &clap::Command, line: CommandLine, layers: Vec<Layer>) -> Arguments {
    let argument = |id: &Id| definition.get_arguments().find(|argument| argument.get_id() == id);
    let rules_out = |stronger: &Id, weaker: &Id| match (argument(stronger), argument(weaker)) {
        (Some(stronger), Some(weaker)) => {
            let declares = |one: &Arg, other: &Arg| {
                definition.get_arg_conflicts_with(one).iter().any(|it| it.get_id() == other.get_id())
            };
            stronger.get_id() != weaker.get_id() && (declares(stronger, weaker) || declares(weaker, stronger))
        }
        _ => false,
    };
    let mut settled: HashSet<Id> = line.given.union(&line.undone).cloned().collect();
    let mut present = line.given.clone();
    let mut kept: Vec<Layer> = Vec::new();
    for mut layer in layers.into_iter().rev() {
        layer.entries.retain(|entry| {
            let is_open = argument(&entry.id).is_some_and(is_repeatable) || !settled.contains(&entry.id);
            is_open && !present.iter().any(|stronger| rules_out(stronger, &entry.id))
        });
        settled.extend(layer.entries.iter().map(|entry| entry.id.clone()));
        let says_something = layer.entries.iter().filter(|entry| !entry.tokens.is_empty());
        present.extend(says_something.map(|entry| entry.id.clone()));
        kept.push(layer);
    }
    let strongest_first = kept.iter().flat_map(|layer| layer.entries.iter().map(move |entry| (layer, entry)));
    let from_files = strongest_first
        .filter(|(_, entry)| !line.given.contains(&entry.id) && !entry.tokens.is_empty())
        .filter_map(|(layer, entry)| Some((option_of(argument(&entry.id)?), layer.name.clone())))
        .collect();
    let mut tokens = line.words;
    let of_files = kept.into_iter().rev().flat_map(|layer| layer.entries).flat_map(|entry| entry.tokens);
    let behind_name = tokens.len().min(1);
    tokens.splice(behind_name..behind_name, of_files);
    Arguments { tokens, from_files }
}

fn is_repeatable(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use clap::ArgAction::{Append, Count, SetTrue};

    use super::*;

    fn homes() -> Homes {
        Homes::from_variables(None, Some("/home/me".into()))
    }

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.into(), text: text.into(), is_built_in: false }
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    /// The command line that comes of this one, `box.toml` of this text, and profiles, by their names.
    fn merged_by(
        definition: &clap::Command,
        line: &str,
        config: &str,
        profiles: &[(&str, &str)],
    ) -> Result<Arguments, Error> {
        let line = CommandLine::read(definition, words(line))?;
        let find = |name: &OsStr| match profiles.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Ok(source(&format!("{name}.toml"), text)),
            None => Err(Error::Config(name.into(), "unknown".into())),
        };
        let config = Some(config).filter(|text| !text.is_empty()).map(|text| source("box.toml", text));
        let layers = stack(definition, config, line.files.profile.clone(), find, &homes().home)?;
        Ok(merge(definition, line, layers))
    }

    fn merged(line: &str, config: &str, profiles: &[(&str, &str)]) -> Result<Arguments, Error> {
        merged_by(&built(cli::definition()), line, config, profiles)
    }

    #[track_caller]
    fn tokens(line: &str, config: &str, profiles: &[(&str, &str)]) -> String {
        let arguments = merged(line, config, profiles).unwrap_or_else(|error| panic!("{config}: {error}"));
        arguments.tokens.join(OsStr::new(" ")).into_string().expect("UTF-8")
    }

    #[track_caller]
    fn refused(config: &str) -> String {
        match merged("launch -- x", config, &[("base", ""), ("a", "profile = 'b'"), ("b", "profile = 'a'")]) {
            Err(error) => {
                assert_eq!(error.exit_code(), 125);
                error.to_string()
            }
            Ok(arguments) => panic!("{config}: {arguments:?}"),
        }
    }

    #[test]
    fn a_key_becomes_an_option_in_front_of_the_command_lines() {
        for (config, expected) in [
            ("hostname = 'a b'", "--hostname=a b"),
            ("hostname = ''", "--hostname="),
            ("hostname = '--'", "--hostname=--"),
            ("uid = 1_000", "--uid=1000"),
            ("uid = +7", "--uid=7"),
            ("uid = '7'", "--uid=7"),
            ("keep-tmp = true", "--keep-tmp"),
            ("keep-tmp = false", ""),
            ("verbose = true", "--verbose"),
            ("verbose = 2", "--verbose --verbose"),
            ("verbose = 0", ""),
            ("env = 'A=1'", "--env=A=1"),
            ("env = ['B=2', 'A=1']", "--env=B=2 --env=A=1"),
            ("env = []", ""),
            ("keep-fd = [3, '4']", "--keep-fd=3 --keep-fd=4"),
            ("unset-env = 'B'\nenv = 'A=1'\ngid = 1", "--unset-env=B --env=A=1 --gid=1"),
            ("# nothing", ""),
        ] {
            let line = tokens("launch -- x", config, &[]);
            assert_eq!(line, format!("launch {expected} -- x").replace("  ", " "), "{config}");
        }
    }

    #[test]
    fn steps_keep_options_of_different_kinds_in_their_order() {
        let tables =
            "uid = 1\n[[steps]]\nenv = 'A=1'\n[[steps]]\nunset-env = ['B', 'C']\n[[steps]]\nenv = 'D='";
        let expected = "launch --uid=1 --env=A=1 --unset-env=B --unset-env=C --env=D= -- x";
        assert_eq!(tokens("launch -- x", tables, &[]), expected);
        let in_place = "env = 'A=1'\nsteps = [{unset-env = 'B'}, {env = 'C='}]\nuid = 1";
        let expected = "launch --env=A=1 --unset-env=B --env=C= --uid=1 -- x";
        assert_eq!(tokens("launch -- x", in_place, &[]), expected);
    }

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

    #[test]
    fn no_option_is_such_that_a_file_could_not_give_it_or_a_word_be_taken_for_another() {
        for argument in built(cli::definition()).get_arguments() {
            assert_ne!(argument.get_long(), Some(STEPS));
            assert!(!argument.is_allow_hyphen_values_set(), "{argument}: flags() looks at every word");
            let takes_more = argument.get_num_args().is_some_and(|count| count.max_values() > 1);
            assert!(argument.is_positional() || !takes_more, "{argument}: a token has one value");
        }
    }

    #[test]
    fn the_command_line_wins_over_config_and_that_over_profiles() {
        let profiles = [
            ("low", "hostname = 'low'\ndomainname = 'low'\nuid = 1\nenv = 'P=low'\nkeep-tmp = true"),
            ("mid", "profile = 'low'\nhostname = 'mid'\nenv = 'P=mid'"),
        ];
        for (line, config, expected) in [
            (
                "--profile mid",
                "",
                "--domainname=low --uid=1 --env=P=low --keep-tmp --hostname=mid --env=P=mid --profile mid",
            ),
            (
                "--profile mid",
                "hostname = 'c'",
                "--domainname=low --uid=1 --env=P=low --keep-tmp --env=P=mid --hostname=c --profile mid",
            ),
            (
                "--profile low --hostname l --env A=1",
                "",
                "--domainname=low --uid=1 --env=P=low --keep-tmp --profile low --hostname l --env A=1",
            ),
            (
                "--uid=3 --domainname l",
                "profile = 'low'\nkeep-tmp = false",
                "--hostname=low --env=P=low --uid=3 --domainname l",
            ),
            // The command line's profile is in the place of the file's.
            (
                "--profile=low",
                "profile = 'mid'\nhostname = 'c'",
                "--domainname=low --uid=1 --env=P=low --keep-tmp --hostname=c --profile=low",
            ),
            // One that rules out the other.
            ("--keep-id", "uid = 1\ngid = 1\nhostname = 'c'", "--hostname=c --keep-id"),
            ("--gid 1", "keep-id = true", "--gid 1"),
            (
                "--profile low",
                "keep-id = true",
                "--hostname=low --domainname=low --env=P=low --keep-tmp --keep-id --profile low",
            ),
            (
                "--profile low",
                "keep-id = false",
                "--hostname=low --domainname=low --uid=1 --env=P=low --keep-tmp --profile low",
            ),
            // Flags, undone and repeated.
            ("--keep-tmp=false", "keep-tmp = true", ""),
            ("--keep-tmp=true", "", "--keep-tmp"),
            ("--keep-tmp", "keep-tmp = true", "--keep-tmp"),
            ("--keep-id=false", "uid = 1", "--uid=1"),
            ("-v", "verbose = 2", "-v"),
            ("--verbose=false", "verbose = 2", ""),
            ("-t", "tty = true", "-t"),
        ] {
            let expected = words(&format!("launch {expected} -- x --keep-tmp=false")).join(OsStr::new(" "));
            let real = tokens(&format!("launch {line} -- x --keep-tmp=false"), config, &profiles);
            assert_eq!(OsString::from(real), expected, "{line}, {config:?}");
        }
    }

    #[test]
    fn what_a_key_needs_and_what_it_rules_out_may_stand_elsewhere() {
        let definition = built(
            clap::Command::new("launch")
                .arg(Arg::new("keep").long("keep").requires("volatile"))
                .arg(Arg::new("volatile").long("volatile").action(SetTrue))
                .arg(Arg::new("bind").long("bind").action(Append).conflicts_with("alone"))
                .arg(Arg::new("alone").long("alone").exclusive(true).action(Count))
                .arg(Arg::new("config").long("config"))
                .arg(Arg::new("profile").long("profile"))
                .arg(Arg::new("must").long("must").required(true)),
        );
        for (line, config, profile, expected) in [
            ("--keep d", "volatile = true", "", "--volatile --keep d"),
            ("", "keep = 'd'", "volatile = true", "--volatile --keep=d"),
            ("--alone", "bind = ['a', 'b']\nvolatile = true", "", "--volatile --alone"),
            ("--bind c", "alone = true", "", "--bind c"),
        ] {
            let line = format!("launch --profile p --must m {line}");
            let real = merged_by(&definition, &line, config, &[("p", profile)]).expect("merged").tokens;
            let real = real.join(OsStr::new(" ")).into_string().expect("UTF-8");
            let normal = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(
                real.replace(" --profile p --must m", ""),
                normal(&format!("launch {expected}")),
                "{config}"
            );
        }
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_file() {
        for (config, expected) in [
            ("uid = 'x'", "uid: \"x\" is no id: they go from 0 to 4294967294"),
            ("uid = -1", "uid: \"-1\" is no id: they go from 0 to 4294967294"),
            ("uid = 0x10", "uid: 0x10 is not decimal; write it as a string"),
            ("uid = 1.5", "uid: expected a string or a whole number, not a number with a fraction"),
            ("uid = true", "uid: expected a string or a whole number, not true"),
            ("uid = [1]", "uid: can be given only once; expected a string or a whole number, not an array"),
            ("[uid]", "uid: expected a string or a whole number, not a table"),
            ("uid = 2000-01-01", "uid: expected a string or a whole number, not a date or time"),
            ("env = true", "env: expected a string, a whole number, or an array of these, not true"),
            (
                "env = ['A=', ['B=']]",
                "env: expected a string, a whole number, or an array of these, not an array",
            ),
            ("keep-tmp = 'true'", "keep-tmp: expected true or false, not a string"),
            ("keep-tmp = 1", "keep-tmp: expected true or false, not 1"),
            ("verbose = 256", "verbose: expected true, false, or how often, up to 255, not 256"),
            ("hostname = 'a'\n[[steps]]\nhostname = 'b'", "hostname: was given more than once"),
            ("hostname = \"a\\u0000\"", "hostname: has a NUL character, which no argument can have"),
            ("net = 'moon'", "net: \"moon\" is none of host, none"),
            ("chdir = ''", "chdir: needs a value"),
            ("uid = 1\nkeep-id = true", "uid: cannot be used together with keep-id"),
            ("hostnam = 'x'", "hostnam: no such key; did you mean \"hostname\"?"),
            ("keep_tmp = true", "keep_tmp: no such key; did you mean \"keep-tmp\"?"),
            ("profil = 'x'", "profil: no such key; did you mean \"profile\"?"),
            ("[[step]]", "step: no such key; did you mean \"steps\"?"),
            ("qqq = 1", "qqq: no such key; the keys are the options of launch --help"),
            ("--uid = 1", "--uid: no such key; did you mean \"uid\"?"),
            (
                "config = 'x'",
                "config: a file cannot name another file; name a profile, with profile = \"NAME\"",
            ),
            ("help = true", "help: is for the command line only"),
            ("version = true", "version: is for the command line only"),
            ("profile = 1", "profile: expected a string, not 1"),
            ("steps = 1", "steps: expected an array of tables with one key each, not 1"),
            ("steps = ['a']", "steps: expected an array of tables with one key each, not a string"),
            ("[steps]", "steps: expected an array of tables with one key each, not a table"),
            ("[[steps]]", "steps: a step has one key, and this one has none"),
            (
                "[[steps]]\nenv = 'A='\nuid = 1",
                "steps: a step has one key, and this one has env, uid; other keys stand above the first step",
            ),
            ("[[steps]]\nprofile = 'base'", "profile: cannot stand in steps"),
            ("steps = [{steps = []}]", "steps: cannot stand in steps"),
        ] {
            assert_eq!(refused(config), format!("config: box.toml: {expected}"), "{config}");
        }
    }

    #[test]
    fn a_syntax_error_has_its_line_and_column() {
        for (config, place) in [
            ("uid = ", "line 1, column "),
            ("uid = 1\n\n  é = 2", "line 3, column 3: "),
            ("env = 'é' 'x'", "line 1, column 11: "),
            ("uid = 1\nuid = 2", "line 2, column 1: duplicate key"),
            ("hostname = 'a\nb'", "line 1, column "),
            ("[[steps]", "line 1, column "),
        ] {
            let error = refused(config);
            assert!(error.starts_with(&format!("config: box.toml: {place}")), "{config}: {error}");
            assert!(!error.contains('\n') && !error.ends_with(": "), "{error}");
        }
    }

    #[test]
    fn a_hostile_file_is_an_error_and_no_crash() {
        for text in ["[", "a = [", "a = {a=", "a.", "\"", "a=1\n"] {
            let error = refused(&format!("a = {}", text.repeat(100_000)));
            assert!(error.len() < 200, "{error}");
        }
    }

    #[test]
    fn a_profile_that_leads_back_to_itself_is_refused() {
        let own = merged("launch --profile a", "", &[("a", "profile = 'a'")]).expect_err("a cycle");
        assert_eq!(own.to_string(), "config: a.toml: profile: \"a\" leads back to itself");
        assert_eq!(refused("profile = 'a'"), "config: b.toml: profile: \"a\" leads back to itself");
    }

    #[test]
    fn only_a_flag_can_be_undone_and_not_a_given_one() {
        let refused = |line: &str| merged(line, "", &[]).expect_err(line).to_string();
        assert_eq!(
            refused("launch --keep-tmp=no"),
            "command line: --keep-tmp: is a flag: say --keep-tmp, or --keep-tmp=false"
        );
        assert_eq!(
            refused("launch --keep-tmp --keep-tmp=false"),
            "command line: --keep-tmp: is both given and undone"
        );
        for kept in
            ["launch --hostname=false", "launch --help=false", "launch -- x --keep-tmp=no", "--tty=no", ""]
        {
            assert_eq!(tokens(kept, "", &[]), kept);
        }
    }

    #[test]
    fn files_leave_a_wrong_command_line_and_help_to_the_parser() {
        for line in
            ["launch --foo", "launch --config", "launch --config a --config b", "launch --config a --help"]
        {
            assert_eq!(tokens(line, "", &[]), line);
            let read = Arguments::read(words(line), homes).expect(line);
            assert_eq!(read.tokens(), words(line));
        }
    }

    #[test]
    fn what_can_say_no_more_is_taken_as_it_is() {
        for (line, expected) in [
            ("launch", false),
            ("--config", false),
            ("launch -- --config a --keep-tmp=false", false),
            ("launch --env A=B --profiles -vt --keep-tmp true config -- x", false),
            ("launch ps --json", false),
            ("launch --config a -- x", true),
            ("launch --uid 1 --profile", true),
            ("launch --config=a", true),
            ("launch --keep-tmp=false", true),
        ] {
            assert_eq!(may_say_more(&words(line)), expected, "{line}");
            if !expected {
                assert_eq!(tokens(line, "", &[]), line);
            }
        }
    }

    #[test]
    fn an_error_in_an_option_is_that_of_the_file_that_alone_gave_it() {
        let arguments = merged("launch --uid 1 -- x", "hostname = ''\nuid = 2", &[]).expect("merged");
        let blame =
            |option: &str| arguments.blame(Error::Option(option.into(), "is empty".into())).to_string();
        assert_eq!(blame("--hostname"), "config: box.toml: hostname: is empty");
        assert_eq!(blame("--hostname x"), "config: box.toml: hostname x: is empty");
        assert_eq!(blame("--uid"), "command line: --uid: is empty");
        assert_eq!(blame("--gid"), "command line: --gid: is empty");
        assert_eq!(arguments.blame(Error::ForeignProc), Error::ForeignProc);
    }

    #[test]
    fn a_leading_tilde_is_the_callers_home() {
        for (value, expected) in [
            ("~", "/home/me"),
            ("~/", "/home/me/"),
            ("~/a:~/b", "/home/me/a:~/b"),
            ("~:size=1M", "/home/me:size=1M"),
            ("~root", "~root"),
            ("./~", "./~"),
            ("a~/b", "a~/b"),
        ] {
            let config = format!("chdir = '{value}'");
            assert_eq!(tokens("launch", &config, &[]), format!("launch --chdir={expected}"));
        }
    }

    #[test]
    fn a_home_whose_path_has_separators_is_spelled_with_escapes_where_a_value_has_parts() {
        let definition = built(cli::definition());
        let home = Homes::from_variables(None, Some("/a:b,c".into())).home;
        let file = source("box.toml", "tmpfs = ['~/x', '~:size=1M']\nchdir = '~'");
        let layer = Layer::parse(&file, &definition, &home).expect("a home");
        let tokens: Vec<_> = layer.entries.iter().flat_map(|entry| &entry.tokens).collect();
        assert_eq!(tokens, ["--tmpfs=/a\\:b\\,c/x", "--tmpfs=/a\\:b\\,c:size=1M", "--chdir=/a:b,c"]);
    }

    #[test]
    fn without_a_usable_home_a_tilde_is_an_error_but_in_built_in_profiles() {
        let definition = built(cli::definition());
        for (home, reason) in [
            (None, "HOME is not set"),
            (Some(""), "HOME, \"\", is no absolute path of a directory below /"),
            (Some("home"), "HOME, \"home\", is no absolute path of a directory below /"),
            (Some("/"), "HOME, \"/\", is no absolute path of a directory below /"),
        ] {
            let home = Homes::from_variables(None, home.map(OsString::from)).home;
            let mut file = source("box.toml", "unset-env = ['A', '~/x', 'B']");
            let error = Layer::parse(&file, &definition, &home).expect_err("no home").to_string();
            assert_eq!(error, format!("config: box.toml: unset-env: \"~/x\" needs a home, but {reason}"));
            file.is_built_in = true;
            let layer = Layer::parse(&file, &definition, &home).expect("left out");
            assert_eq!(layer.entries[0].tokens, ["--unset-env=A", "--unset-env=B"]);
        }
    }

    #[test]
    fn profiles_are_in_the_configuration_folder() {
        let folder = |config: Option<&str>, home: Option<&str>| {
            let homes = Homes::from_variables(config.map(OsString::from), home.map(OsString::from));
            homes.profiles.map(|folder| folder.display().to_string())
        };
        assert_eq!(folder(Some("/c"), Some("/h")).as_deref(), Some("/c/launch"));
        for unset in [None, Some(""), Some("relative")] {
            assert_eq!(folder(unset, Some("/h")).as_deref(), Some("/h/.config/launch"));
            assert_eq!(folder(unset, None), None);
        }
    }

    #[test]
    fn a_profiles_name_is_no_path_and_is_known() {
        for name in ["", ".", "..", ".x", "a/b", "/a"] {
            let error = profile(OsStr::new(name), None).expect_err(name).to_string();
            assert!(
                error.starts_with(&format!("config: profile {name}: a profile's name has no slash")),
                "{error}"
            );
        }
        let error = profile(OsStr::new("moon"), None).expect_err("unknown").to_string();
        assert_eq!(error, "config: profile moon: no such profile; known are build, service, strict");
        for (name, text) in BUILT_IN {
            let found = profile(OsStr::new(name), Some(Path::new("/nonexistent"))).expect(name);
            assert_eq!((found.text.as_str(), found.is_built_in), (text, true));
        }
    }

    #[test]
    fn the_help_names_the_built_in_profiles() {
        let definition = cli::definition();
        let option =
            definition.get_arguments().find(|it| it.get_long() == Some(PROFILE)).expect("the option");
        let help = option.get_help().expect("help").to_string();
        for (name, _) in BUILT_IN {
            assert!(help.contains(name), "{name}");
        }
    }

    #[test]
    fn the_built_in_profiles_are_sound() {
        let definition = built(cli::definition());
        for (name, _) in BUILT_IN {
            for home in [Ok("/home/me".into()), Err("none".into())] {
                let source = profile(OsStr::new(name), None).expect(name);
                let layer =
                    Layer::parse(&source, &definition, &home).unwrap_or_else(|error| panic!("{error}"));
                assert!(layer.entries.len() > 3, "{name}");
            }
        }
    }

    #[test]
    fn the_built_in_profiles_are_toml() {
        for (name, text) in BUILT_IN {
            let table = DeTable::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(table.get_ref().len() > 3, "{name}");
        }
    }
}
