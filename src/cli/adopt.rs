//! `portcullis adopt`: gives the state store to the issuer of a configuration, after it was changed on purpose.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::outln;
use crate::cli::{INVALID, print_problems, read, state};

/// Take over a state store that belongs to another issuer. Its logins go on as this one's: never do it to the store of a fleet
/// that runs.
#[derive(Debug, Args)]
pub(super) struct Adopt {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Adopt {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let read = read(&self.config);
        let Some(config) = read.config else {
            print_problems(&read.problems, &read.warnings);
            return Ok(ExitCode::from(INVALID));
        };
        let issuer = &config.tokens.issuer;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let before = runtime.block_on(async {
            let store = state::open_any(&config).await?;
            anyhow::Ok(store.adopt(issuer).await?)
        })?;
        match before {
            Some(before) if before != **issuer => {
                outln!("the state store belonged to {before}, and now to {issuer}");
            }
            Some(_) | None => outln!("the state store belongs to {issuer}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
