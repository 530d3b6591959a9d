//! Why the store did not do what it was asked. Clients hear "try again later" and no more.

use std::path::PathBuf;
use std::time::Duration;

/// Why the store did not do what it was asked. The texts are for the operator's log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says no, or cannot be reached.
    #[error("the store failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Its tables could not be made.
    #[error("the store's tables could not be made: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// No answer in time; whether it was done is not known.
    #[error("the store did not answer within {0:?}")]
    Late(Duration),
    /// More wait for it than it could answer in time.
    #[error("too many wait for the store")]
    Busy,
    /// It was shut down.
    #[error("the store is closed")]
    Closed,
    /// A row holds what we never write.
    #[error("the store holds a {0} that cannot be read")]
    Corrupt(&'static str),
    /// The file was taken away while it was in use.
    #[error("the state file {} is gone: put it back, or restart to begin with an empty one", .0.display())]
    Deleted(PathBuf),
    /// Another file is in its place.
    #[error("the state file {} is another one than it was: it is opened anew", .0.display())]
    Replaced(PathBuf),
    /// Two connections are one session: a pooler hands each transaction to whichever session is free.
    #[error(
        "the database is behind a pooler in transaction mode (PgBouncer's `pool_mode = transaction`), \
         which does not keep prepared statements: connect past it, or use a pool in session mode"
    )]
    Pooled,
    /// There is no randomness for a key.
    #[error("there is no randomness")]
    Random,
    /// The file or its directory cannot be made, or is open to every user.
    #[error("the state file cannot be used: {0}")]
    File(#[from] std::io::Error),
    /// It keeps the logins of another issuer.
    #[error(
        "the state store belongs to the issuer `{theirs}`, and this one is `{own}`: two fleets cannot share one; if the issuer was changed on purpose, `portcullis adopt` takes the store over"
    )]
    Issuer {
        /// Whose it is.
        theirs: String,
        /// Who asks.
        own: String,
    },
    /// This build has no driver for it.
    #[error("this build has no driver for that database")]
    Driver,
}

impl StoreError {
    /// Whether the database takes no writes now: a standby, or read-only (SQLSTATE 25006).
    pub(super) fn is_read_only(&self) -> bool {
        self.code().as_deref() == Some("25006")
    }

    /// Whether a table is missing.
    pub(super) fn is_of_a_missing_table(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().as_deref() == Some("42P01")
                    || error.message().starts_with("no such table")
            }
            _ => false,
        }
    }

    /// What kind of failure it is, as a fixed text.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Migration(_) => "migration",
            Self::Late(_) => "late",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::Corrupt(_) => "corrupt",
            Self::Deleted(_) => "deleted",
            Self::Replaced(_) => "replaced",
            Self::Pooled => "pooled",
            Self::Random => "random",
            Self::File(_) => "file",
            Self::Issuer { .. } => "issuer",
            Self::Driver => "driver",
        }
    }

    /// The database's own code (SQLSTATE, or an extended result code of SQLite).
    pub(super) fn code(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => Some(error.code()?.into_owned()),
            _ => None,
        }
    }
}
