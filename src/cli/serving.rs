//! The command lines of a pool for others: `launch serve`, and `launch run`, which brings a command to it.
//!
//! Values only; serve/ carries them out.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand};
use launch_init::parse::{duration, variable};

/// What is done with a pool.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Serving {
    /// Make sandboxes ahead, and give one to each command that launch run brings
    #[command(override_usage = "launch serve [--pool N] SOCKET [-- OPTION...]")]
    Serve(Serve),
    /// Run a command in a sandbox that launch serve has made ahead
    #[command(override_usage = "launch run [OPTIONS] SOCKET -- CMD [ARG...]")]
    Run(Run),
}

/// `launch serve`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Serve {
    /// How many sandboxes wait
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub pool: u16,

    /// Where it listens: a socket that is made for the caller and root alone
    #[arg(value_name = "SOCKET")]
    pub socket: PathBuf,

    /// What the sandboxes are like: options of launch, without a command
    #[arg(value_name = "OPTION", last = true, num_args = 1.., allow_hyphen_values = true)]
    pub options: Vec<OsString>,
}

/// `launch run`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
pub struct Run {
    /// Set K in the environment, which is otherwise the caller's, changed as launch serve was told; may be repeated
    #[arg(long, value_name = "K=V", value_parser = OsStringValueParser::new().try_map(|text| variable(&text)))]
    pub env: Vec<(OsString, OsString)>,

    /// Remove an inherited variable; may be repeated
    #[arg(long, value_name = "K")]
    pub unset_env: Vec<OsString>,

    /// Remove every variable; --env still sets some
    #[arg(long)]
    pub clear_env: bool,

    /// Start in this directory of the inside [default: as launch serve was told, or the caller's]
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,

    /// End the command after this time: SIGTERM, the grace, SIGKILL [default: as launch serve was told]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,

    /// Where launch serve listens
    #[arg(value_name = "SOCKET")]
    pub socket: PathBuf,

    /// The command, looked for in the PATH it will have, and its arguments, passed on byte for byte
    #[arg(value_name = "CMD", last = true, required = true, num_args = 1..)]
    pub command: Vec<OsString>,
}
