//! `portcullis revoke`: ends tokens from the command line, which counts as another node: the running ones see it within two
//! seconds.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::output::outln;
use crate::cli::{INVALID, print_problems, read, state};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::grants::LONGEST_ACCESS;
use crate::oauth::subject::Subject;
use crate::state::{RefreshToken, Revocation, Store};
use crate::token::Verifier;

/// What to end. One of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Everything of this user whose login began before this moment, refresh tokens included. `client:ID` ends what was
    /// issued to that client, to itself and to users through it.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The access or refresh token in this file; `-` reads standard input. Never a token on the command line, where every
    /// user of the machine could see it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Everything of anybody whose login began before this time, such as 2026-11-25T12:00:00Z, or `now`.
    #[arg(long, value_name = "TIME", value_parser = before)]
    all_before: Option<Before>,
}

/// End tokens before their time.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    what: What,
}

impl Revoke {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let read = read(&self.config);
        let Some(config) = read.config else {
            print_problems(&read.problems, &read.warnings);
            return Ok(ExitCode::from(INVALID));
        };
        let What { user, token_file, all_before } = self.what;
        let now = SystemClock.now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let store = state::open(&config).await?;
            let told = if let Some(name) = user {
                let subject = Subject::parse(&name)?;
                store.revoke(Revocation::Subject { subject }).await?;
                format!("everything of {name} that was issued up to now is revoked")
            } else if let Some(before) = all_before {
                all(&store, before).await?
            } else if let Some(file) = token_file {
                one(&config, &store, &text(&file)?, now).await?
            } else {
                bail!("say what to revoke");
            };
            outln!("{told}");
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Revokes everything of a certain age.
async fn all(store: &Store, before: Before) -> anyhow::Result<String> {
    let Before::Time(before) = before else {
        store.revoke(Revocation::All).await?;
        return Ok("everything that was issued up to now is revoked".to_owned());
    };
    if before > store.began().await?.at {
        bail!("{before} is in the future; whatever is issued until then would be born dead");
    }
    let at = before.minus(Duration::from_secs(1));
    store.revoke(Revocation::AllUntil { at }).await?;
    Ok(format!("everything of logins before {before} is revoked"))
}

/// Revokes one token of ours.
async fn one(config: &Config, store: &Store, text: &str, now: Timestamp) -> anyhow::Result<String> {
    if let Some(token) = RefreshToken::parse(text) {
        let family = store.present(&token).await?.family();
        let family = family.context("this refresh token is not known here")?;
        store.end_family(&family, LONGEST_ACCESS).await?;
        return Ok(format!("the login of {} with this refresh token is revoked", family.subject));
    }
    let tokens = &config.tokens;
    let verifier =
        Verifier::new(&tokens.issuer, &tokens.audience, tokens.leeway, Arc::clone(&tokens.keys));
    let token =
        verifier.verify(text, now).context(
            "this is no token of ours that would be accepted; `--user` ends those of other issuers, by subject",
        )?;
    let id = token.token_id().context("this token has no id to revoke it by")?;
    let revocation = Revocation::Token {
        id: id.to_string(),
        subject: token.subject().clone(),
        until: token.expires_at().plus(Duration::from_secs(240)),
    };
    store.revoke(revocation).await?;
    Ok(format!("the access token {} of {} is revoked", id, token.subject()))
}

fn text(file: &PathBuf) -> anyhow::Result<String> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    }
    Ok(text.trim().to_owned())
}

/// Up to when everything is revoked.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// This moment, whatever clocks say.
    Now,
    /// A time by the store's clock.
    Time(Timestamp),
}

fn before(text: &str) -> Result<Before, String> {
    if text == "now" {
        return Ok(Before::Now);
    }
    let time = humantime::parse_rfc3339(text).map_err(|error| error.to_string())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    Ok(Before::Time(Timestamp::from_secs(since.as_secs())))
}
