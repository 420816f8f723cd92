//! The init alone, small, for images.

#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    launch_init::main()
}
