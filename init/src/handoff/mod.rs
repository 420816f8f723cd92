//! What launcher and init say to each other: the plan, tasks and orders one way, reports the other.
//!
//! Values only: no descriptor is read or written here. codec/ has their form on the channel, in files of the same names.
//! Both ends are usually the same file, but `launch-init` is a program of its own too, so every frame names the version of
//! its format.

#![forbid(unsafe_code)]

mod codec;
mod orders;
mod plan;
mod reports;
mod steps;
mod workload;

pub use codec::{HEADER, Malformed, VERSION, body_length, first_body};
pub use orders::{Order, Task};
pub use plan::{Join, Plan, Probes};
pub use reports::{Failure, Happening, Report, Why};
pub use steps::{FileSystem, Overlay, Root, Source, Step, Upper};
pub use workload::{
    Account, CapabilitySets, Descriptors, Group, Instruction, Limit, Name, SignalState, Workload,
};
