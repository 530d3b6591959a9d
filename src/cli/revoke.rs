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
use crate::state::{MARGIN, RefreshToken, Revocation, Store};
use crate::token::Verifier;

/// What to end. One of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Everything that was issued to this user (or `client:ID`) up to now, refresh tokens included.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The access or refresh token in this file; `-` reads standard input. Never a token on the command line, where every
    /// user of the machine could see it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Everything that was issued to anybody before this time, such as 2026-11-25T12:00:00Z, or `now`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    all_before: Option<Timestamp>,
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
                let at = now.plus(MARGIN);
                store.revoke(Revocation::Subject { subject, at }).await?;
                format!("everything of {name} that was issued up to now is revoked")
            } else if let Some(before) = all_before {
                if before > now {
                    bail!("{before} is in the future; whatever is issued until then would be born dead");
                }
                let at = before.minus(Duration::from_secs(1));
                store.revoke(Revocation::All { at }).await?;
                format!("everything that was issued before {before} is revoked")
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

/// Revokes one token of ours.
async fn one(config: &Config, store: &Store, text: &str, now: Timestamp) -> anyhow::Result<String> {
    if let Some(token) = RefreshToken::parse(text) {
        let family = store.family(token.family()).await?;
        let family = family.filter(|family| token.is_genuine(&family.tag_key));
        let family = family.context("this refresh token is not known here")?;
        store.end_family(&family, now.plus(LONGEST_ACCESS), now).await?;
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
        until: token.expires_at().plus(Duration::from_secs(120)),
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

fn time(text: &str) -> Result<Timestamp, String> {
    if text == "now" {
        return Ok(SystemClock.now());
    }
    let time = humantime::parse_rfc3339(text).map_err(|error| error.to_string())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    Ok(Timestamp::from_secs(since.as_secs()))
}
