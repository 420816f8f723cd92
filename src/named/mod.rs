//! Sandboxes that have a name: their folder, their state, and what is said between their monitor and every command.
//!
//! The monitor is the launcher itself, which lives as long as its sandbox; there is no daemon. Who holds the lock in the
//! folder is the monitor; a folder without one is that of a sandbox that has ended, or whose monitor was killed.

pub mod control;
pub mod exec;
pub mod join;
pub mod state;
