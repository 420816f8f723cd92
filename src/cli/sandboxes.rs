//! The command lines of what is done with sandboxes that have a name: `launch ps` and the others.
//!
//! Values only; named/commands carries them out.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand};
use launch_init::parse::{account, duration, signal, variable};

use super::written::{Events, Logs};
use crate::named::list::Filter;
use crate::named::name::Name;

/// What is done with sandboxes that have a name.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Sandboxes {
    /// List the sandboxes that have a name
    Ps(Ps),
    /// Print all that is known of sandboxes, as JSON
    Inspect(Names),
    /// Wait until sandboxes have ended; the exit status is that of the last one named
    Wait(Names),
    /// Send a signal to the command in a sandbox
    Kill(Kill),
    /// End sandboxes: the stop signal, the grace, SIGKILL
    Stop(Stop),
    /// End the command in a sandbox and start it again, in the same namespaces
    Restart(Restart),
    /// Show how much of the processors and of the memory sandboxes use
    Stats(Stats),
    /// Remove what is left of sandboxes that have ended
    Rm(Rm),
    /// Run a command in a sandbox that is running, behind the same walls
    #[command(override_usage = "launch exec [OPTIONS] NAME -- CMD [ARG...]")]
    Exec(Exec),
    /// Print what the command in a sandbox has written
    Logs(Logs),
    /// Print what happens to sandboxes, as JSON lines
    Events(Events),
}

/// Which ones.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Names {
    /// The name of the sandbox; several are done one like the other
    #[arg(value_name = "NAME", required = true, num_args = 1.., value_parser = name())]
    pub names: Vec<Name>,
}

/// `launch ps`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Ps {
    /// Print them as data: a JSON array
    #[arg(long)]
    pub json: bool,

    /// List only those of which this is true: name=NAME, state=STATE, ready=yes|no, health=HEALTH, label=K or label=K=V; if
    /// repeated, all of them
    #[arg(long, value_name = "WHAT=VALUE", value_parser = Filter::read)]
    pub filter: Vec<Filter>,
}

/// `launch kill`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Kill {
    /// Which signal: a name, or 1 to 64
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal, allow_negative_numbers = true)]
    pub signal: i32,

    /// Which ones.
    #[command(flatten)]
    pub which: Names,
}

/// `launch stop`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Stop {
    /// How long they have between the stop signal and SIGKILL [default: as they were launched]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub grace: Option<Duration>,

    /// All of the caller's
    #[arg(short, long, conflicts_with = "names")]
    pub all: bool,

    /// The name of the sandbox; several are stopped at the same time
    #[arg(value_name = "NAME", required_unless_present = "all", num_args = 1.., value_parser = name())]
    pub names: Vec<Name>,
}

/// `launch restart`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Restart {
    /// How long the command has between the stop signal and SIGKILL [default: as it was launched]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub grace: Option<Duration>,

    /// Which ones.
    #[command(flatten)]
    pub which: Names,
}

/// `launch stats`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Stats {
    /// Print it as data: a JSON object a line for each sandbox
    #[arg(long)]
    pub json: bool,

    /// Again every second, until it is interrupted or all have ended
    #[arg(short, long)]
    pub watch: bool,

    /// The name of the sandbox [default: all that are running]
    #[arg(value_name = "NAME", num_args = 1.., value_parser = name())]
    pub names: Vec<Name>,
}

/// `launch rm`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Rm {
    /// Kill those that are running
    #[arg(short, long)]
    pub force: bool,

    /// Which ones.
    #[command(flatten)]
    pub which: Names,
}

/// `launch exec`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Exec {
    /// Give the command a terminal of the sandbox's
    #[arg(short, long)]
    pub tty: bool,

    /// Set KEY in the environment of the command, which is otherwise that of the sandbox's own; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = OsStringValueParser::new().try_map(|text| variable(&text)))]
    pub env: Vec<(OsString, OsString)>,

    /// Start in this directory of the inside [default: where the sandbox's own command was started]
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<OsString>,

    /// Run the command as this user, in these groups and no others: numbers, or names of the inside's own /etc/passwd and
    /// /etc/group [default: as the sandbox's own command]
    #[arg(long, value_name = "UID[:GID][,GROUP...]", value_parser = user, allow_negative_numbers = true)]
    pub user: Option<String>,

    /// The name of the sandbox
    #[arg(value_name = "NAME", value_parser = name())]
    pub name: Name,

    /// The command, looked for in the PATH it will have, and its arguments, passed on byte for byte
    #[arg(value_name = "CMD", last = true, required = true, num_args = 1..)]
    pub command: Vec<OsString>,
}

/// As it is written, if it is one: the monitor reads it again.
fn user(text: &str) -> Result<String, String> {
    account(text).map(|_| text.into())
}

/// Of bytes: each one that has no place in a name is told.
fn name() -> impl TypedValueParser<Value = Name> {
    OsStringValueParser::new().try_map(|text| Name::read(&text))
}
