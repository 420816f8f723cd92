//! Runs a command in Linux namespaces of its own, under a real PID 1.
//!
//! [`Command`] is the way in, and [`Pool`] one for those who start many and cannot wait. The program `launch` is a thin user of this library; docs/architecture.md tells the
//! whole story.

#![deny(unsafe_code)]

pub mod cli;
mod command;
pub mod config;
pub mod diff;
mod error;
pub mod executable;
pub mod explain;
pub mod hints;
mod idmap;
mod kept;
pub mod log_lines;
pub mod named;
pub mod plan;
mod pool;
pub mod privileges;
mod processors;
pub mod relay;
pub mod sandbox;
pub mod seccomp;
pub mod serve;
pub mod spec;
pub mod status;
pub mod stdout;
pub mod subids;
#[allow(unsafe_code)]
mod sys;
mod text_file;
mod tree;
pub mod volatile;
pub mod watch;

pub use command::{Child, Command, become_init_if_asked, check_open, is_its_own_init};
pub use error::{Error, printable};
pub use launch_init::exit::Outcome;
pub use launch_init::handoff::{
    Account, FileSystem, Group, Limit, Name, Overlay, SignalState, Source, Step, Upper,
};
pub use launch_init::supervisor::Restart;
pub use plan::{
    Capabilities, HealthCheck, IdMap, Identity, Network, Proc, Ready, RootDirectory, Seccomp, Share, Tmp,
    Volatile,
};
pub use pool::{Pool, PoolCommand};
pub use sandbox::Started;
/// For the program `launch` alone.
#[doc(hidden)]
pub use sys::EarlyMemory;
