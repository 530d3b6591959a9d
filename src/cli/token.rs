//! `portcullis token inspect`: what a token says, whoever wrote it.

use std::io::{Read as _, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::cli::output::{errln, outln};
use crate::token::inspect::decode;

/// Commands about access tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Print a token's header and claims, unverified. Reads the token from a file or standard input, never from the command
    /// line, where every user of the machine could see it.
    Inspect {
        /// The file; standard input without one.
        file: Option<PathBuf>,
    },
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Inspect { file } = self;
        let mut text = String::new();
        match file {
            Some(file) => {
                let read = std::fs::read_to_string(&file);
                text = read.with_context(|| file.display().to_string())?;
            }
            None => {
                stdin().read_to_string(&mut text)?;
            }
        }
        let inspected = decode(text.trim())?;
        outln!(
            "{:#}",
            serde_json::json!({ "header": inspected.header, "claims": inspected.claims })
        );
        errln!("not verified: this proves nothing about who wrote it");
        Ok(ExitCode::SUCCESS)
    }
}
