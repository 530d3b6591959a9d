//! Does the store carry a million logins?
//!
//! An SQLite file with 1,000,000 families of refresh tokens, and the real binary on it: how soon it serves, after the file was
//! dropped from memory and after `kill -9`; how long a refresh of a family somewhere in the file takes, one after another and
//! many at a time; how much memory that needs. Each family is refreshed once, so that none of its pages is warm for
//! having been asked for before.
//!
//! Ends non-zero when a start takes more than 2 s, a refresh more than 20 ms at the 99th percentile, or the binary more than
//! 128 MiB. The file is in the temporary directory (see TMPDIR) and needs about 1.5 GB while it is filled.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench that cannot go on has nothing to say"
)]

#[expect(dead_code, reason = "the floods count its lines")]
mod edge;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::keys::Algorithm;
use portcullis::oauth::client::ClientId;
use portcullis::oauth::scope::Scope;
use portcullis::oauth::subject::Subject;
use portcullis::random::OsRandom;
use portcullis::secret::Secret;
use portcullis::state::{Family, FamilyId, Mirror, Place, RefreshToken, Store, TagKey};
use portcullis::token::Began;
use portcullis::users::PasswordHash;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::task::JoinSet;

use edge::{Edge, Figures, Wire, refresh_request, write_files};

const FAMILIES: usize = 1_000_000;
/// The file is filled in so many steps, so that the families whose tokens we know lie everywhere in it.
const STEPS: usize = 100;
/// The families of each step whose tokens we know.
const KNOWN: usize = 100;
/// How many refreshes are under way when there are many.
const IN_FLIGHT: usize = 16;

const START_BOUND: Duration = Duration::from_secs(2);
const LATENCY_BOUND: Duration = Duration::from_millis(20);
const MEMORY_BOUND: u64 = 128;

/// Rows as they are after some use. An id is 128 bits in base64url, so that the last of its 22 characters holds two bits.
const FILL: &str = "
WITH RECURSIVE counted(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counted WHERE i < $1)
INSERT INTO families (id, subject, client_id, scope, credential, tag_key, token, previous, nonce, rotated_at,
                      created_at, expires_at, idle_until, ends_at)
SELECT substr(hex(randomblob(11)), 1, 21) || 'A', 'user' || abs(random() % 100000), 'web', 'read',
       substr(hex(randomblob(11)), 1, 22), substr(hex(randomblob(11)), 1, 21) || 'A',
       substr(hex(randomblob(22)), 1, 43), substr(hex(randomblob(22)), 1, 43),
       substr(hex(randomblob(11)), 1, 21) || 'A', $2, $2, $2 + 1209600, ends, ends
FROM (SELECT $2 + 86400 + abs(random() % 86400) AS ends FROM counted)
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // `cargo test --benches` only wants to know that this compiles.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    edge::move_aside();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.db");
    let password = PasswordHash::create(&Secret::from("right"), &OsRandom).unwrap();
    let clients =
        "  - { id: web, default: true, grants: [password, refresh_token], scopes: [read] }\n";
    write_files(directory.path(), "{ sqlite: state.db }", Algorithm::EdDsa, &password, clients);

    let began = SystemClock.instant();
    let mut tokens = fill(&file, &PasswordHash::parse(&password).unwrap().version()).await;
    let size = file.metadata().unwrap().len() >> 20;
    println!("{FAMILIES} families, {size} MiB, written in {:.0?}", began.elapsed());
    drop_from_memory(&file);

    let mut met = true;
    let edge = Edge::start(directory.path()).await;
    met &= started("after the file was dropped from memory", &edge);
    let rest = tokens.split_off(tokens.len() / 2);
    met &= refresh("one after another", &edge, tokens, 1).await;
    let mut tokens = rest;
    let rest = tokens.split_off(tokens.len() / 2);
    met &= refresh(&format!("{IN_FLIGHT} at a time"), &edge, tokens, IN_FLIGHT).await;
    met &= remembered(&edge);
    drop(edge);
    let edge = Edge::start(directory.path()).await;
    met &= started("after kill -9", &edge);
    met &= refresh(&format!("{IN_FLIGHT} at a time"), &edge, rest, IN_FLIGHT).await;
    met &= remembered(&edge);
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn started(when: &str, edge: &Edge) -> bool {
    println!(
        "start {when}: listening after {:.0?}, ready after {:.0?}",
        edge.listening, edge.ready
    );
    edge.ready <= START_BOUND
}

fn remembered(edge: &Edge) -> bool {
    let (now, most) = edge.memory();
    println!("memory of the binary: {now} MiB, at most {most} MiB");
    most <= MEMORY_BOUND
}

/// Spends each of these tokens, so many at a time.
async fn refresh(how: &str, edge: &Edge, mut tokens: Vec<String>, in_flight: usize) -> bool {
    let from = edge.meter().await;
    let share = tokens.len().div_ceil(in_flight);
    let mut refreshing = JoinSet::new();
    while !tokens.is_empty() {
        let own = tokens.split_off(tokens.len().saturating_sub(share));
        let mut wire = Wire::connect(edge.address()).await;
        refreshing.spawn(async move {
            let mut latencies = Vec::with_capacity(own.len());
            for token in own {
                latencies.push(wire.exchange(&refresh_request(&token)).await.0);
            }
            latencies
        });
    }
    let latencies = refreshing.join_all().await.concat();
    let (requests, figures) =
        (latencies.len(), Figures::between(from, edge.meter().await, latencies));
    println!("{requests} refreshes, {how}: {figures}");
    figures.latency(990) <= LATENCY_BOUND
}

/// Fills the file, and returns tokens that are good, in no particular order.
async fn fill(file: &Path, credential: &Arc<str>) -> Vec<String> {
    let clock = Arc::new(SystemClock);
    let mirror = Arc::new(Mirror::new(clock.clone(), Duration::ZERO, false));
    let store = Store::open(&Place::Sqlite(file.to_owned()), clock, mirror, None).unwrap();
    store.prepare().await.unwrap();
    let mut connection =
        AnyConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    // Nothing of it has to outlive this bench.
    for setting in
        ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -400000", "PRAGMA busy_timeout = 10000"]
    {
        connection.execute(setting).await.unwrap();
    }
    let now = SystemClock.now();
    let mut tokens = Vec::with_capacity(STEPS * KNOWN);
    for _ in 0..STEPS {
        let unknown = i64::try_from(FAMILIES / STEPS - KNOWN).unwrap();
        let seconds = i64::try_from(now.as_secs()).unwrap();
        let filled = sqlx::query(FILL).bind(unknown).bind(seconds).execute(&mut connection).await;
        assert_eq!(filled.unwrap().rows_affected(), u64::try_from(unknown).unwrap());
        let mut beginning = JoinSet::new();
        for _ in 0..KNOWN {
            let (id, tag_key) =
                (FamilyId::new(&OsRandom).unwrap(), TagKey::new(&OsRandom).unwrap());
            let token = RefreshToken::first(&id, &tag_key, &OsRandom).unwrap();
            tokens.push(token.expose().to_owned());
            let family = Family {
                id,
                subject: Subject::user("alice").unwrap(),
                client_id: ClientId::parse("web").unwrap(),
                scope: Scope::parse("read").unwrap(),
                credential: Arc::clone(credential),
                tag_key,
                began: Began { number: Some(0), at: now },
                expires_at: now.plus(Duration::from_secs(14 * 86_400)),
                idle_until: now.plus(Duration::from_secs(2 * 86_400)),
                revoked: false,
                token: token.digest(),
                read_at: now,
            };
            let store = store.clone();
            beginning.spawn(async move { store.begin(family).await });
        }
        assert!(beginning.join_all().await.into_iter().all(Result::unwrap));
    }
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    connection.close().await.unwrap();
    // Their last characters have nothing to do with where they lie.
    tokens.sort_by_cached_key(|token| token.chars().rev().collect::<String>());
    tokens
}

/// So that what is measured next has to be read from the disk.
fn drop_from_memory(file: &Path) {
    let mut dd = Command::new("dd");
    dd.arg(format!("of={}", file.display()));
    dd.args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"]);
    assert!(dd.stdin(std::process::Stdio::null()).status().unwrap().success());
}
