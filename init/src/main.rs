//! The init alone, small, for images.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[cfg(not(test))]
launch_init::entry!(launch_init::run);
