//! The binary: hands its arguments to [`portcullis::cli`] and ends with its exit code.

use std::process::ExitCode;

/// Chosen for bodies: glibc's allocator gives large buffers back to the system again and again.
#[cfg(feature = "proxy")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis::cli::main()
}
