//! Why the store did not do what it was asked. Clients hear "try again later" and no more.

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
