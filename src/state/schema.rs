//! The tables, as migrations that run on SQLite and PostgreSQL alike: text and whole numbers, nothing else.
//!
//! Times are seconds since the epoch; digests, nonces and ids are base64url. A migration is never changed once it was
//! released: the next one comes after it. `prepare` runs them, for one node at a time.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, SqlSafeStr as _};

use super::{StoreError, StoreKey};
use crate::random::OsRandom;

use super::engine::Engine;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS feed (
    name TEXT PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO feed (name, seq) VALUES ('revocations', 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS revocations (
    seq BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL,
    until BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS revocations_until ON revocations (until);
CREATE TABLE IF NOT EXISTS families (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    credential TEXT NOT NULL,
    tag_key TEXT NOT NULL,
    token TEXT NOT NULL,
    previous TEXT,
    nonce TEXT,
    rotated_at BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    idle_until BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX IF NOT EXISTS families_ends_at ON families (ends_at);
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    scope TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    version BIGINT NOT NULL
);
";

const FAILURES: &str = "
INSERT INTO feed (name, seq) VALUES ('failures', 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS failures (
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    network TEXT NOT NULL,
    failures BIGINT NOT NULL,
    window_start BIGINT NOT NULL,
    window_end BIGINT NOT NULL,
    level BIGINT NOT NULL,
    banned_until BIGINT NOT NULL,
    fades_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, account, network)
);
CREATE INDEX IF NOT EXISTS failures_revision ON failures (revision);
CREATE INDEX IF NOT EXISTS failures_fades_at ON failures (fades_at);
";

/// What holds for all of the store, such as whose it is.
const SETTINGS: &str = "
CREATE TABLE IF NOT EXISTS settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
";

/// Which node has which clients, in order and with a space between, and when it was last seen.
const NODE_CLIENTS: &str = "
CREATE TABLE IF NOT EXISTS node_clients (
    node TEXT PRIMARY KEY,
    clients TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);
";

/// What a login asks for in the order of revocations.
macro_rules! order_index {
    () => {
        "
CREATE INDEX IF NOT EXISTS revocations_subject ON revocations (subject, kind);
"
    };
}

/// When logins began, in the order of revocations. SQLite cannot be asked to add a column only if it is missing, but no two
/// can add it there at once.
const fn order(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => concat!("ALTER TABLE families ADD COLUMN seq BIGINT;", order_index!()),
        Engine::Postgres => {
            concat!("ALTER TABLE families ADD COLUMN IF NOT EXISTS seq BIGINT;", order_index!())
        }
    }
}

/// What brings an empty or older store to this version.
pub(super) fn migrator(engine: Engine) -> Migrator {
    let simple = MigrationType::Simple;
    let tables = Migration::new(1, "tables".into(), simple, TABLES.into_sql_str(), false);
    let failures = Migration::new(2, "failures".into(), simple, FAILURES.into_sql_str(), false);
    let order = Migration::new(3, "order".into(), simple, order(engine).into_sql_str(), false);
    let settings = Migration::new(5, "settings".into(), simple, SETTINGS.into_sql_str(), false);
    let clients = Migration::new(6, "clients".into(), simple, NODE_CLIENTS.into_sql_str(), false);
    let all = vec![tables, failures, order, settings, clients];
    let mut migrator = Migrator::with_migrations(all);
    // `prepare` has one of its own, which both engines know.
    migrator.set_locking(false);
    // A newer version may have been here, during an upgrade: tables are only ever added to.
    migrator.set_ignore_missing(true);
    migrator
}

/// The store's key, which whoever comes first draws.
pub(super) async fn key(connection: &mut AnyConnection) -> Result<StoreKey, StoreError> {
    let select = "SELECT value FROM settings WHERE name = 'refresh_tokens'";
    let mut found: Option<String> =
        sqlx::query_scalar(select).fetch_optional(&mut *connection).await?;
    if found.is_none() {
        let key = StoreKey::new(&OsRandom).map_err(|_| StoreError::Random)?;
        let insert = "INSERT INTO settings (name, value) VALUES ('refresh_tokens', $1) \
                      ON CONFLICT DO NOTHING";
        sqlx::query(insert).bind(key.to_text()).execute(&mut *connection).await?;
        found = sqlx::query_scalar(select).fetch_optional(&mut *connection).await?;
    }
    found.as_deref().and_then(StoreKey::parse).ok_or(StoreError::Corrupt("key"))
}
