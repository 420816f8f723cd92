//! The command lines of `launch logs` and `launch events`.
//!
//! Values only; named/commands carries them out.

#![forbid(unsafe_code)]

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use launch_init::parse::number;

use crate::named::name::Name;
use crate::named::records::Stream;
use crate::named::selection::Moment;

/// `launch logs`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Logs {
    /// Go on until the sandbox has ended
    #[arg(short, long)]
    pub follow: bool,

    /// From this time on: 2026-11-24T21:25:00Z (UTC), a day, or how long ago: 10m
    #[arg(long, value_name = "TIME", value_parser = Moment::read, allow_negative_numbers = true)]
    pub since: Option<Moment>,

    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = Moment::read, allow_negative_numbers = true)]
    pub until: Option<Moment>,

    /// Of the lines that are there, only the last N [default: all]
    #[arg(short = 'n', long, value_name = "N", value_parser = lines, allow_negative_numbers = true)]
    pub tail: Option<usize>,

    /// Each line with the time when it was written
    #[arg(short, long)]
    pub timestamps: bool,

    /// Only what was written to this one [default: both, each to its own]
    #[arg(long, value_enum, value_name = "STREAM")]
    pub stream: Option<Stream>,

    /// The name of the sandbox
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(|text| Name::read(&text)))]
    pub name: Name,
}

/// `launch events`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Events {
    /// Print only those until now, instead of going on until the sandbox has ended or, of all, until it is interrupted
    #[arg(long)]
    pub no_follow: bool,

    /// The name of the sandbox [default: all, those too that are launched from now on]
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(|text| Name::read(&text)))]
    pub name: Option<Name>,
}

impl ValueEnum for Stream {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.name().into())
    }
}

fn lines(text: &str) -> Result<usize, String> {
    number(text)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| format!("{text:?} is no number of lines"))
}
