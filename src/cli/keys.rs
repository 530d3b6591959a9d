//! `portcullis keys generate`: a new signing key on standard output.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

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
}

impl Keys {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Generate { algorithm } = self;
        let mut out = std::io::stdout();
        if algorithm.is_symmetric() && out.is_terminal() {
            bail!("a secret of raw bytes does not belong on a terminal: redirect it into a file");
        }
        let key = generate(algorithm, &OsRandom)?;
        out.write_all(key.expose())?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let names = || Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::parse(name).ok_or_else(|| format!("there is: {}", names()))
}
