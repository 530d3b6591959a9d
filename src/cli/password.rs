//! `portcullis hash-password`: the argon2id hash of a password, for the user file; and how every command asks for a password.

use std::io::{IsTerminal as _, stdin};
use std::process::ExitCode;

use anyhow::bail;
use zeroize::Zeroizing;

use crate::cli::output::outln;
use crate::random::OsRandom;
use crate::secret::Secret;
use crate::users::PasswordHash;

pub(super) fn hash_password() -> anyhow::Result<ExitCode> {
    outln!("{}", PasswordHash::create(&ask()?, &OsRandom)?);
    Ok(ExitCode::SUCCESS)
}

/// A new password: asked for twice on a terminal, else one line of standard input. Never an argument, which every user of the
/// machine could see.
///
/// # Errors
/// When there is none, or the two are not the same.
pub(super) fn ask() -> anyhow::Result<Secret> {
    let password = if stdin().is_terminal() {
        let first = Zeroizing::new(rpassword::prompt_password("Password: ")?);
        let again = Zeroizing::new(rpassword::prompt_password("Again: ")?);
        if first != again {
            bail!("the two are not the same");
        }
        first
    } else {
        let mut line = Zeroizing::new(String::new());
        stdin().read_line(&mut line)?;
        Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    if password.is_empty() {
        bail!("no password: give it on standard input, as one line");
    }
    Ok(Secret::from(password.as_str()))
}
