//! Whose the store is. Refresh tokens name no issuer, so two fleets with one store would honour each other's: the first that
//! comes writes its issuer down, and any other is refused.

use sqlx::AnyConnection;

use super::connections::in_time;
use super::{Store, StoreError};

const FIND: &str = "SELECT value FROM settings WHERE name = 'issuer'";

impl Store {
    /// Gives the store to this issuer, whoever had it, and says who that was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn adopt(&self, issuer: &str) -> Result<Option<String>, StoreError> {
        let mut lent = self.feed().lend().await?;
        let connection = lent.connection();
        let adopt = async {
            let before = sqlx::query_scalar(FIND).fetch_optional(&mut *connection).await?;
            let put = "INSERT INTO settings (name, value) VALUES ('issuer', $1) \
                       ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            sqlx::query(put).bind(issuer).execute(connection).await?;
            Ok(before)
        };
        let done = in_time(adopt).await;
        lent.settle(done)
    }
}

/// Writes this issuer down where there is none.
///
/// # Errors
/// [`StoreError::Issuer`] where there is another.
pub(super) async fn claim(connection: &mut AnyConnection, own: &str) -> Result<(), StoreError> {
    let mut theirs: Option<String> =
        sqlx::query_scalar(FIND).fetch_optional(&mut *connection).await?;
    if theirs.is_none() {
        // Of two that come at once, one waits for the other.
        let insert =
            "INSERT INTO settings (name, value) VALUES ('issuer', $1) ON CONFLICT DO NOTHING";
        sqlx::query(insert).bind(own).execute(&mut *connection).await?;
        theirs = sqlx::query_scalar(FIND).fetch_optional(connection).await?;
    }
    match theirs {
        Some(theirs) if theirs != own => Err(StoreError::Issuer { theirs, own: own.to_owned() }),
        Some(_) | None => Ok(()),
    }
}
