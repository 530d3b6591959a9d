//! What commands print. `println!` panics when nobody reads any more (`check | head`) or the disk is full, so that a command
//! that did its work would end as one that broke; a lint keeps it out.
//!
//! Printing never fails here. What could not be printed is remembered, and decides at the end how the command ends:
//! a reader who has gone has seen enough, while a file that lacks a part of what was printed is a failure.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use parking_lot::Mutex;

/// Why standard output did not take everything, if it did not.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line on standard output.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::output::out(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line on standard error.
macro_rules! errln {
    ($($text:tt)*) => { $crate::cli::output::err(format_args!("{}\n", format_args!($($text)*))) };
}

pub(super) use {errln, outln};

/// Prints on standard output.
pub(super) fn out(text: fmt::Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    note(stdout.write_fmt(text).and_then(|()| stdout.flush()));
}

/// Prints bytes on standard output.
pub(super) fn out_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    note(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

/// Prints on standard error, where that is possible: there is nowhere else to say that it is not.
pub(super) fn err(text: fmt::Arguments<'_>) {
    drop(io::stderr().lock().write_fmt(text));
}

/// How the command ends, given how it would have ended had everything been printed.
pub(super) fn ended(code: ExitCode) -> ExitCode {
    match FAILED.lock().take() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            errln!("portcullis: standard output does not take everything: {error}");
            ExitCode::FAILURE
        }
        Some(_) | None => code,
    }
}

/// The first failure is the cause of those that follow.
fn note(printed: io::Result<()>) {
    if let Err(error) = printed {
        FAILED.lock().get_or_insert(error);
    }
}
