//! The init alone, small, for images.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    launch_init::main()
}
