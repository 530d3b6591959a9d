//! The store's clock: what two nodes compare is told by one clock, never by theirs.
//!
//! PostgreSQL has a clock of its own, and every node reads that one. A SQLite file is on one machine, whose clock all its
//! processes have already. A clock that is simulated stands for every clock there is.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{AnyConnection, AssertSqlSafe};

use super::engine::Engine;
use crate::clock::{Clock, Timestamp};

/// Reads the store's clock.
#[derive(Debug, Clone)]
pub(super) struct StoreTime {
    engine: Engine,
    clock: Arc<dyn Clock>,
}

/// Whole milliseconds since the epoch.
const OF_POSTGRESQL: &str = "CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT)";

impl StoreTime {
    pub(super) const fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock }
    }

    pub(super) const fn engine(&self) -> Engine {
        self.engine
    }

    /// An expression for a column of whatever is selected; [`StoreTime::of_column`] reads it.
    pub(super) const fn column(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "CAST(0 AS BIGINT)",
            Engine::Postgres => OF_POSTGRESQL,
        }
    }

    /// What the column says, with its fraction.
    pub(super) fn of_column(&self, millis: i64) -> SystemTime {
        if !self.is_of_the_database() {
            return self.clock.wall();
        }
        UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// The time.
    pub(super) async fn now(
        &self,
        connection: &mut AnyConnection,
    ) -> Result<Timestamp, sqlx::Error> {
        if !self.is_of_the_database() {
            return Ok(self.clock.now());
        }
        let select = format!("SELECT {OF_POSTGRESQL}");
        let millis: i64 = sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(connection).await?;
        Ok(seconds(self.of_column(millis)))
    }

    fn is_of_the_database(&self) -> bool {
        self.engine == Engine::Postgres && !self.clock.is_simulated()
    }
}

/// The second that this is in.
pub(super) fn seconds(at: SystemTime) -> Timestamp {
    Timestamp::from_secs(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
