//! `portcullis users import`: users from elsewhere, with the hashes of their passwords.
//!
//! A list with a mistake adds nobody. Should the database fail in the middle, the same command again adds the rest.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tokio::task::JoinSet;

use crate::cli::output::{errln, outln};
use crate::oauth::scope::Scope;
use crate::state::{Store, UserChange};
use crate::users::import::{self, ImportedUser, MAX_IMPORT_BYTES};

/// How many users are written at once. They share a commit, which a database far away must manage in time.
const PAGE: usize = 32;

/// What to import.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// How the list is written.
    #[arg(long, value_enum)]
    format: ListFormat,
    /// What all of them may do, such as "orders:read orders:write"; nothing, if left out.
    #[arg(long, value_parser = Scope::parse)]
    pub(super) scopes: Option<Scope>,
    /// The list.
    list: PathBuf,
}

/// How a list of users is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ListFormat {
    /// Lines of `name:hash`.
    Htpasswd,
    /// CSV with the columns `name` and `hash`, which its first line names.
    Csv,
}

/// Imports a list.
///
/// # Errors
/// When it cannot be read, or the store fails.
pub(super) async fn run(import: Import, store: &Store) -> anyhow::Result<ExitCode> {
    let shown = import.list.display();
    let bytes = bytes(&import.list).with_context(|| shown.to_string())?;
    let list = match import.format {
        ListFormat::Htpasswd => import::htpasswd(&bytes),
        ListFormat::Csv => import::csv(&bytes),
    };
    if !list.problems.is_empty() {
        for problem in &list.problems {
            errln!("error: {shown}: {problem}");
        }
        errln!("portcullis: nobody was added");
        return Ok(ExitCode::FAILURE);
    }
    let scope = import.scopes.unwrap_or_default();
    let (mut added, mut there) = (0_usize, 0_usize);
    for page in list.users.chunks(PAGE) {
        let done = add(page, &scope, store).await;
        let done = done.with_context(|| {
            format!("at least {added} were added before; the same command again adds the rest")
        })?;
        for (user, is_new) in done {
            if is_new {
                added += 1;
            } else {
                there += 1;
                errln!(
                    "{shown}: line {}: {} is there already, and left alone",
                    user.line,
                    user.name
                );
            }
        }
    }
    outln!("added: {added}, left alone: {there}");
    Ok(ExitCode::SUCCESS)
}

/// The bytes of a list, up to one more than is read.
fn bytes(list: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_IMPORT_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(list)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds these users, in any order, and says in the list's who is new.
async fn add(
    page: &[ImportedUser],
    scope: &Scope,
    store: &Store,
) -> anyhow::Result<Vec<(ImportedUser, bool)>> {
    let mut writes = JoinSet::new();
    for user in page {
        let (user, store) = (user.clone(), store.clone());
        let change = UserChange::Add { password: user.hash.clone(), scope: scope.clone() };
        writes.spawn(async move {
            let is_new = store.change_user(&user.name, change).await?;
            anyhow::Ok((user, is_new))
        });
    }
    let done = writes.join_all().await;
    let mut done = done.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    done.sort_by_key(|(user, _)| user.line);
    Ok(done)
}
