//! Sandboxes that have a name: their folder, their state, and what is said between their monitor and every command.
//!
//! The monitor is the launcher itself, which lives as long as its sandbox; there is no daemon. Who holds the lock in the
//! folder is the monitor; a folder without one is that of a sandbox that has ended, or whose monitor was killed.

pub mod beside;
pub mod client;
pub mod commands;
pub mod control;
pub mod detach;
mod events;
pub mod exec;
mod files;
pub mod follow;
pub mod join;
mod life;
pub mod list;
pub mod log_file;
mod monitor;
pub mod name;
pub mod output;
pub mod progress;
pub mod records;
pub mod registry;
pub mod selection;
pub(crate) mod server;
pub mod settings;
pub mod state;
pub(crate) mod systemd;
pub mod usage;
