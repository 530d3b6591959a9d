//! `portcullis keys`: a new signing key on standard output, or in the folder of a configuration (`rotate`).

use std::io::{IsTerminal as _, stdout};
#[cfg(unix)]
use std::path::PathBuf;
use std::process::ExitCode;
#[cfg(unix)]
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;

use crate::cli::output::out_bytes;
#[cfg(unix)]
use crate::cli::rotate;
use crate::keys::{Algorithm, generate};
use crate::random::OsRandom;

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print a new private key: PEM, or raw bytes for the HS algorithms. Redirect it into a file that only portcullis reads.
    Generate {
        /// EdDSA, ES256, ES384, RS256, RS384, RS512, PS256, HS256, HS384 or HS512.
        #[arg(long, default_value = "EdDSA", value_parser = algorithm)]
        algorithm: Algorithm,
    },
    /// Make a new key in the configuration's `tokens.key_folder`. It is published at the next reload, and signs later; the one
    /// before it goes on verifying for as long as its tokens live, and is removed by a later rotation.
    #[cfg(unix)]
    Rotate {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// The new key's algorithm; that of the key before it, or EdDSA for the first one.
        #[arg(long, value_parser = algorithm)]
        algorithm: Option<Algorithm>,
        /// How long the key is published before it signs, such as 10m.
        #[arg(long, value_name = "DURATION", default_value = rotate::PUBLISH_AHEAD, value_parser = duration)]
        publish_ahead: Duration,
    },
}

impl Keys {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let algorithm = match self {
            Self::Generate { algorithm } => algorithm,
            #[cfg(unix)]
            Self::Rotate { config, algorithm, publish_ahead } => {
                return rotate::rotate(&config, algorithm, publish_ahead);
            }
        };
        if algorithm.is_symmetric() && stdout().is_terminal() {
            bail!("a secret of raw bytes does not belong on a terminal: redirect it into a file");
        }
        out_bytes(generate(algorithm, &OsRandom)?.expose());
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(unix)]
fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let names = || Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::parse(name).ok_or_else(|| format!("there is: {}", names()))
}
