//! Which files apply, and which wins: an option that can be given only once is the strongest one's.
//!
//! Where they are is sources.rs's to say, and what one says keys.rs's.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};

use clap::{Arg, Id};

use super::Arguments;
use super::command_line::{CommandLine, option_of};
use super::keys::{Layer, PROFILE, is_repeatable};
use super::sources::Source;
use crate::error::Error;

/// The files that apply, the strongest last. `find` gives a profile by its name.
pub(super) fn stack(
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

/// The layers, the strongest last, in front of the command line. From a layer goes what stands only once and a
/// stronger one settles, and what a stronger one rules out.
pub(super) fn merge(definition: &clap::Command, line: CommandLine, layers: Vec<Layer>) -> Arguments {
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
