//! `portcullis clients new`: a secret for a program, shown once, and what the configuration stores of it.

use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::cli::output::outln;
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;
use crate::random::{self, OsRandom};

/// Commands about OAuth clients.
#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// Print a new secret of 256 bits, and the line for `clients` with its SHA-256. The secret is stored nowhere.
    New {
        /// The client's id; made up when left out.
        #[arg(long)]
        id: Option<String>,
    },
}

impl Clients {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::New { id } = self;
        let id = match id {
            Some(id) => id,
            None => format!("client-{}", hexadecimal(&random::bytes::<4>(&OsRandom)?)),
        };
        let id = ClientId::parse(&id)?;
        Subject::client(&id).context("its tokens could not name it")?;
        let secret = Zeroizing::new(random::bytes::<32>(&OsRandom)?);
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
        let digest = hexadecimal(&Sha256::digest(secret.as_bytes()));
        // JSON's text is YAML's too, whatever the id looks like.
        let id = serde_json::to_string(id.as_str())?;
        outln!("# The secret, for the program that is {id}. It is shown this once:");
        outln!("{}", secret.as_str());
        outln!("# The line for `clients`, to be completed with its scopes:");
        outln!(
            "  - {{ id: {id}, secret_sha256: \"{digest}\", grants: [client_credentials], scopes: [] }}"
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
