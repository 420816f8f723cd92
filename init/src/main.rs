//! The init alone, small, for images.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

#[cfg(not(test))]
launch_init::entry!(launch_init::run);
