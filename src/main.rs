//! The binary: hands its arguments to [`portcullis::cli`] and ends with its exit code.

use std::process::ExitCode;

/// A 100 KB body costs glibc's allocator more than twice the time; see `performance` in the README.
#[cfg(feature = "proxy")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis::cli::main()
}
