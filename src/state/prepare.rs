//! Brings the tables to this version, once for all nodes that start at the same time, and asks for no right to do so where
//! nothing is to be done.

use sqlx::{AnyConnection, Connection as _};
use tokio::time::timeout;

use super::connections::PATIENCE;
use super::engine::Engine;
use super::{Store, StoreError, owner, schema};

/// Held while tables are made. Any number that nobody else takes.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8111739203847102)";

impl Store {
    /// Makes the tables that are missing, and reads the key that tells our refresh tokens from invented ones. Whoever comes
    /// second waits and finds them.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be reached or made, or belongs to another issuer.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        if self.engine() == Engine::Postgres {
            self.is_not_pooled().await?;
        }
        let mut lent = self.feed().lend().await?;
        let connection = lent.connection();
        let engine = self.engine();
        let making = async {
            prepare(&mut *connection, engine).await?;
            if let Some(issuer) = self.issuer() {
                owner::claim(&mut *connection, issuer).await?;
            }
            schema::key(connection).await
        };
        let made = timeout(4 * PATIENCE, making).await;
        let key = lent.settle(made.unwrap_or(Err(StoreError::Late(4 * PATIENCE))))?;
        self.take_key(key);
        Ok(())
    }
}

async fn prepare(connection: &mut AnyConnection, engine: Engine) -> Result<(), StoreError> {
    let migrator = schema::migrator(engine);
    if is_prepared(&mut *connection, engine).await? {
        return Ok(());
    }
    let mut transaction = connection.begin_with(engine.begin()).await?;
    if engine == Engine::Postgres
        && let Err(error) = sqlx::query(LOCK).execute(&mut *transaction).await
    {
        transaction.rollback().await?;
        if !is_unknown(&error) {
            return Err(error.into());
        }
        // Not everything that speaks PostgreSQL has such locks. Whoever comes second fails then, and tries again.
        return Ok(migrator.run_direct(None, &mut *connection, false).await?);
    }
    // As `run`, which cannot be awaited in a task here.
    migrator.run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

/// Whether every migration of this version was done. Asked first, since whoever only asks needs no right to make tables.
async fn is_prepared(connection: &mut AnyConnection, engine: Engine) -> Result<bool, sqlx::Error> {
    let exists = match engine {
        Engine::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
        Engine::Postgres => "SELECT COUNT(to_regclass('_sqlx_migrations'))",
    };
    let exists: i64 = sqlx::query_scalar(exists).fetch_one(&mut *connection).await?;
    if exists == 0 {
        return Ok(false);
    }
    let done = "SELECT version FROM _sqlx_migrations WHERE success";
    let done: Vec<i64> = sqlx::query_scalar(done).fetch_all(connection).await?;
    Ok(schema::migrator(engine).iter().all(|migration| done.contains(&migration.version)))
}

/// Whether the database does not have the function, or says that it will not have it.
fn is_unknown(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42883" | "0A000"))
}
