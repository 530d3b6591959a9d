//! `portcullis users`: the users in the database, changed from the command line, which counts as another node: the running
//! ones see it within two seconds.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::check::Format;
use crate::cli::output::{errln, outln};
use crate::cli::user_import::{self, Import};
use crate::cli::{INVALID, password, print_problems, read, state};
use crate::config::{self, Config};
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::OsRandom;
use crate::state::{Store, StoreError, StoredRow, StoredUser, UserChange};
use crate::users::PasswordHash;

/// How many users are read at once.
const PAGE: u16 = 1_000;

/// What to do. Passwords are asked for, or are one line of standard input; they are never arguments.
#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Add a user.
    Add {
        #[command(flatten)]
        who: Who,
        /// What the user may do, such as "orders:read orders:write"; nothing, if left out.
        #[arg(long, value_parser = Scope::parse)]
        scopes: Option<Scope>,
    },
    /// Give a user another password. The tokens of the old one are over.
    Passwd(Who),
    /// Keep a user out, with every token that is still around.
    Disable(Who),
    /// Let a disabled user in again, to log in anew.
    Enable(Who),
    /// Say what a user may do from now on; tokens that are out there are worth no more.
    Grant {
        #[command(flatten)]
        who: Who,
        /// All of the user's scopes; "" for none.
        #[arg(long, value_parser = Scope::parse)]
        scopes: Scope,
    },
    /// Remove a user, with every token that is still around.
    Remove {
        /// The user's name, or one that nobody can have, as it stands in the table.
        name: String,
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print all users. Nobody's hash is printed, only its algorithm.
    List {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// How to print them.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Add users from a list with the hashes of their passwords: all of them, or, if any line is wrong, none. Who is there
    /// already is left alone.
    Import(Import),
}

/// One user.
#[derive(Debug, Args)]
pub(super) struct Who {
    /// The user's name.
    #[arg(value_parser = Subject::user)]
    name: Subject,
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Users {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let read = read(self.file());
        let Some(config) = read.config else {
            print_problems(&read.problems, &read.warnings);
            return Ok(ExitCode::from(INVALID));
        };
        if !config.state.as_ref().is_some_and(|state| state.users) {
            bail!(
                "users are not in the database; the configuration says so with `users: {{ database: true }}`"
            );
        }
        let undeclared = undeclared(self.scopes(), &config);
        if !undeclared.is_empty() {
            for complaint in undeclared {
                errln!("error: {complaint}");
            }
            return Ok(ExitCode::from(INVALID));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let store = state::open(&config).await?;
            self.act(&store).await
        })
    }

    const fn file(&self) -> &PathBuf {
        match self {
            Self::Add { who, .. } | Self::Grant { who, .. } => &who.config,
            Self::Passwd(who) | Self::Disable(who) | Self::Enable(who) => &who.config,
            Self::List { config, .. } | Self::Remove { config, .. } => config,
            Self::Import(import) => &import.config,
        }
    }

    /// The scopes that the command names, which must be in the catalogue.
    const fn scopes(&self) -> Option<&Scope> {
        match self {
            Self::Add { scopes, .. } => scopes.as_ref(),
            Self::Grant { scopes, .. } => Some(scopes),
            Self::Import(import) => import.scopes.as_ref(),
            Self::Passwd(_) | Self::Disable(_) | Self::Enable(_) => None,
            Self::Remove { .. } | Self::List { .. } => None,
        }
    }

    async fn act(self, store: &Store) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add { who: Who { name, .. }, scopes } => {
                // Before a password is asked for in vain.
                if store.user(name.as_str()).await?.is_some() {
                    bail!("there is a user `{name}` already");
                }
                let password = PasswordHash::create(&password::ask()?, &OsRandom)?;
                let scope = scopes.unwrap_or_default();
                let may = may(&scope);
                let added = change(store, &name, UserChange::Add { password, scope }).await?;
                if !added {
                    bail!("there is a user `{name}` already");
                }
                outln!("{name} is added and {may}");
            }
            Self::Passwd(Who { name, .. }) => {
                present(store, &name).await?;
                let hash = PasswordHash::create(&password::ask()?, &OsRandom)?;
                must(store, &name, UserChange::Password(hash)).await?;
                outln!("{name} has another password; the tokens of the old one are over");
            }
            Self::Disable(Who { name, .. }) => {
                must(store, &name, UserChange::Disable).await?;
                outln!("{name} is disabled, and every token of before is over");
            }
            Self::Enable(Who { name, .. }) => {
                let told = match present(store, &name).await?.disabled {
                    true => "is enabled, and has to log in anew",
                    false => "was not disabled",
                };
                change(store, &name, UserChange::Enable).await?;
                outln!("{name} {told}");
            }
            Self::Grant { who: Who { name, .. }, scopes } => {
                let may = may(&scopes);
                must(store, &name, UserChange::Scope(scopes)).await?;
                outln!("{name} {may}");
            }
            Self::Remove { name, .. } => {
                match Subject::user(&name) {
                    Ok(name) => must(store, &name, UserChange::Delete).await?,
                    Err(_) if store.remove_row(&name).await? => {}
                    Err(_) => bail!("there is no user `{}`", name.escape_default()),
                }
                outln!("{} is removed, and every token of before is over", name.escape_default());
            }
            Self::List { format, .. } => print(&all(store).await?, format),
            Self::Import(import) => return user_import::run(import, store).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A complaint for every scope that the catalogue does not have.
fn undeclared(scope: Option<&Scope>, config: &Config) -> Vec<String> {
    let catalogue = &config.catalogue;
    let unknown = scope.into_iter().flat_map(Scope::iter);
    let unknown = unknown.filter(|scope| !catalogue.contains(scope.as_str()));
    unknown
        .map(|scope| {
            let names = catalogue.iter().map(|declared| declared.as_str());
            let hint = config::hint(scope.as_str(), names);
            let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
            format!("--scopes: `{}` is not in the catalogue{hint}", scope.as_str())
        })
        .collect()
}

fn may(scope: &Scope) -> String {
    match scope.is_empty() {
        true => "has no scopes".to_owned(),
        false => format!("may have: {scope}"),
    }
}

async fn present(store: &Store, name: &Subject) -> anyhow::Result<StoredUser> {
    match store.user(name.as_str()).await? {
        Some(user) => Ok(user),
        None => bail!("there is no user `{name}`"),
    }
}

async fn change(store: &Store, name: &Subject, change: UserChange) -> Result<bool, StoreError> {
    store.change_user(name, change).await
}

/// Changes somebody who must be there.
async fn must(store: &Store, name: &Subject, wanted: UserChange) -> anyhow::Result<()> {
    if !change(store, name, wanted).await? {
        bail!("there is no user `{name}`");
    }
    Ok(())
}

/// Every user, by name.
async fn all(store: &Store) -> Result<Vec<StoredRow>, StoreError> {
    let mut users: Vec<StoredRow> = Vec::new();
    loop {
        let last = users.last().map_or("", |row| row.name.as_str());
        let page = store.users_after(last, PAGE).await?;
        let full = page.len() == usize::from(PAGE);
        users.extend(page);
        if !full {
            return Ok(users);
        }
    }
}

fn print(rows: &[StoredRow], format: Format) {
    match format {
        Format::Text => {
            // Whoever wrote a name that nobody can have, it does not write to the terminal.
            let name = |row: &StoredRow| row.name.escape_default().to_string();
            let widest = rows.iter().map(|row| name(row).len()).max().unwrap_or(0);
            for row in rows {
                let (enabled, scope, hash) = shown(row);
                let state = if enabled { "enabled" } else { "disabled" };
                let line = format!("{:widest$}  {state:8}  {hash:13}  {scope}", name(row));
                outln!("{}", line.trim_end());
            }
        }
        Format::Json => {
            let users: Vec<_> = rows
                .iter()
                .map(|row| {
                    let (enabled, scope, hash) = shown(row);
                    let scopes: Vec<_> = scope.iter().map(|scope| scope.as_str()).collect();
                    json!({
                        "name": row.name,
                        "scopes": scopes,
                        "disabled": !enabled,
                        "algorithm": hash,
                    })
                })
                .collect();
            outln!("{:#}", json!(users));
        }
    }
}

/// Whether a user is enabled, what the user may have, and the algorithm of the hash. A row that cannot be read counts as
/// disabled.
fn shown(row: &StoredRow) -> (bool, Scope, String) {
    let hash = row.user.as_ref().filter(|user| user.unreadable.is_none());
    let hash = hash.and_then(|user| PasswordHash::parse(&user.password).ok());
    let hash = hash.map_or_else(|| "unreadable".to_owned(), |h| h.cost().algorithm().to_string());
    match &row.user {
        Some(user) => (!user.disabled, user.scope.clone(), hash),
        None => (false, Scope::default(), hash),
    }
}
