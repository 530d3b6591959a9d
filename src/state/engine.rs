//! What differs between the two engines, beside the driver: how a connection is set up, how a transaction that writes begins.

/// What speaks to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// How a transaction that writes begins. SQLite takes its one write lock at once: a transaction that begins with reading
    /// could not be let through to writing later. PostgreSQL is told on the same way how it is to commit, so that it holds
    /// for this transaction, whatever the session was told before.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            // A node that hangs inside a transaction must not hold up the others' revocations.
            Self::Postgres => {
                "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '2500ms'; \
                 SET LOCAL idle_in_transaction_session_timeout = '5s'"
            }
        }
    }

    /// How many writers there are: SQLite knows one at a time, elsewhere the way to the database is the longest part.
    pub(super) const fn writers(self) -> usize {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 4,
        }
    }

    /// How many connections each kind of reading request has.
    pub(super) const fn readers(self) -> usize {
        match self {
            Self::Sqlite => 2,
            Self::Postgres => 4,
        }
    }

    /// What every connection is told. PostgreSQL is told with each transaction: behind a pooler a session is not ours alone.
    pub(super) const fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[
                "PRAGMA busy_timeout = 2500",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                // Whoever commits meanwhile waits for a checkpoint: four short ones instead of a long one.
                "PRAGMA wal_autocheckpoint = 250",
                "PRAGMA foreign_keys = ON",
            ],
            Self::Postgres => &[],
        }
    }
}
