//! Failures: what the nodes of a fleet count of failed logins, one row per key. What the counts mean, and how a change and a
//! row become a row, is defined in `throttle::row`.
//!
//! As with revocations, rows are numbered from one counter row that stays locked until the commit, so a reader that has seen
//! a number cannot be surprised by a lower one. Here the numbers of a whole batch are drawn at once and first: whoever holds
//! the counter is the only one who writes, so rows can be read, changed and written back without locks of their own.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::revocations::{from_sql, to_sql};
use super::writer::Write;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::throttle::row::{Ban, Change, Row};
use crate::throttle::{Key, KeyError, Selector};

/// The most changes in one batch.
pub(super) const BATCH: usize = 64;
/// How many rows are read at once.
const PAGE: u16 = 2_000;
/// What is read of a row, in this order.
const COLUMNS: &str = "kind, account, network, failures, window_start, window_end, level, \
                       banned_until, fades_at, updated_at, revision";

impl Store {
    /// The bans that hold and that `selector` means, the longest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn bans(&self, selector: &Selector, now: Timestamp) -> Result<Vec<Ban>, StoreError> {
        let mut bans = Vec::new();
        let take =
            |rows: &[Row]| bans.extend(rows.iter().filter_map(|r| Ban::of(r, selector, now)));
        self.failures_after(0, now, take).await?;
        bans.sort_by(|a, b| (b.until, &a.key).cmp(&(a.until, &b.key)));
        Ok(bans)
    }

    /// Forgets the failures and bans that `selector` means. Returns how many bans ended. The rows stay, so that every node
    /// reads that they were cleared.
    ///
    /// # Errors
    /// [`StoreError`]; some of them may have ended.
    pub async fn clear_bans(
        &self,
        selector: &Selector,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let (mut changes, mut ended) = (Vec::new(), 0);
        let take = |rows: &[Row]| {
            for row in rows.iter().filter(|row| selector.covers(&row.key)) {
                ended += usize::from(Ban::of(row, selector, now).is_some());
                changes.push(Change { row: row.cleared(now), restarted: true, was_reset: true });
            }
        };
        self.failures_after(0, now, take).await?;
        for batch in changes.chunks(BATCH) {
            self.add_failures(batch).await?;
        }
        Ok(ended)
    }

    /// Writes changes of up to [`BATCH`] keys, each there once.
    pub(super) async fn add_failures(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.write(Write::Failures(changes.to_vec())).await.map(|_| ())
    }

    /// The number of the last row that was written.
    pub(super) async fn last_failure(&self) -> Result<i64, StoreError> {
        let last = "SELECT seq FROM feed WHERE name = 'failures'";
        self.read(async |connection| sqlx::query_scalar(last).fetch_one(connection).await).await
    }

    /// Hands over the rows that were written after a number and have not faded, a page at a time. Returns the last number.
    pub(super) async fn failures_after(
        &self,
        mut revision: i64,
        now: Timestamp,
        mut take: impl FnMut(&[Row]),
    ) -> Result<i64, StoreError> {
        loop {
            let read = async |connection: &mut _| after(connection, revision, now).await;
            let page = self.read(read).await?;
            take(&page.rows);
            revision = page.last.unwrap_or(revision);
            if page.len < usize::from(PAGE) {
                return Ok(revision);
            }
        }
    }
}

/// Some rows, in the order of their numbers.
struct Page {
    rows: Vec<Row>,
    last: Option<i64>,
    /// How many there were, with those that cannot be read.
    len: usize,
}

async fn after(
    connection: &mut AnyConnection,
    revision: i64,
    now: Timestamp,
) -> Result<Page, sqlx::Error> {
    let select = format!(
        "SELECT {COLUMNS} FROM failures WHERE revision > $1 AND fades_at > $2 \
         ORDER BY revision LIMIT $3"
    );
    let found = sqlx::query(AssertSqlSafe(select))
        .bind(revision)
        .bind(to_sql(now))
        .bind(i64::from(PAGE))
        .fetch_all(connection)
        .await?;
    let last = found.last().map(|row| row.try_get(10)).transpose()?;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        match read(row)? {
            Ok(row) => rows.push(row),
            // A later version may count by something else. That is no reason not to hear of the rest.
            Err(error) => tracing::debug!(%error, "a row of failures is passed over"),
        }
    }
    Ok(Page { rows, last, len: found.len() })
}

/// Makes of the stored rows what these changes say, as one batch.
pub(super) async fn add(
    connection: &mut AnyConnection,
    changes: &[Change],
) -> Result<(), sqlx::Error> {
    let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(());
    }
    let draw = "UPDATE feed SET seq = seq + $1 WHERE name = 'failures' RETURNING seq";
    let last: i64 = sqlx::query_scalar(draw).bind(count).fetch_one(&mut *connection).await?;
    let stored = find(&mut *connection, changes).await?;
    let rows = changes.iter().map(|change| change.onto(stored.get(&change.row.key)));
    put(connection, rows, last - count + 1).await
}

/// The rows of these keys, where there are any.
async fn find(
    connection: &mut AnyConnection,
    changes: &[Change],
) -> Result<HashMap<Key, Row>, sqlx::Error> {
    let mut select = format!("SELECT {COLUMNS} FROM failures WHERE ");
    for number in 0..changes.len() {
        let (or, first) = (if number > 0 { " OR " } else { "" }, 3 * number + 1);
        let (second, third) = (first + 1, first + 2);
        select.push_str(&format!(
            "{or}(kind = ${first} AND account = ${second} AND network = ${third})"
        ));
    }
    let mut query = sqlx::query(AssertSqlSafe(select));
    for change in changes {
        let (kind, account, network) = change.row.key.columns();
        query = query.bind(kind).bind(account).bind(network);
    }
    let found = query.fetch_all(connection).await?;
    let rows = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().flatten().map(|row| (row.key.clone(), row)).collect())
}

/// Writes these rows, numbered from `revision` on, over whatever is there.
async fn put(
    connection: &mut AnyConnection,
    rows: impl ExactSizeIterator<Item = Row>,
    revision: i64,
) -> Result<(), sqlx::Error> {
    const WIDTH: usize = 11;
    let mut upsert = format!("INSERT INTO failures ({COLUMNS}) VALUES ");
    for number in 0..rows.len() {
        upsert.push_str(if number > 0 { ", (" } else { "(" });
        for column in 1..=WIDTH {
            let comma = if column > 1 { ", " } else { "" };
            upsert.push_str(&format!("{comma}${}", WIDTH * number + column));
        }
        upsert.push(')');
    }
    upsert.push_str(
        " ON CONFLICT (kind, account, network) DO UPDATE SET failures = excluded.failures, \
         window_start = excluded.window_start, window_end = excluded.window_end, \
         level = excluded.level, banned_until = excluded.banned_until, \
         fades_at = excluded.fades_at, updated_at = excluded.updated_at, \
         revision = excluded.revision",
    );
    let mut query = sqlx::query(AssertSqlSafe(upsert));
    for (row, revision) in rows.zip(revision..) {
        let (kind, account, network) = row.key.columns();
        query = query
            .bind(kind)
            .bind(account)
            .bind(network)
            .bind(i64::from(row.failures))
            .bind(to_sql(row.window_start))
            .bind(to_sql(row.window_end))
            .bind(i64::from(row.level))
            .bind(to_sql(row.banned_until))
            .bind(to_sql(row.fades_at))
            .bind(to_sql(row.updated_at))
            .bind(revision);
    }
    query.execute(connection).await.map(|_| ())
}

/// Deletes up to so many rows that have faded.
pub(super) async fn purge(
    connection: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    // The counter is taken here too, so that nobody writes to a row that is about to go.
    let alone = "UPDATE feed SET seq = seq WHERE name = 'failures'";
    sqlx::query(alone).execute(&mut *connection).await?;
    let delete = "DELETE FROM failures WHERE revision IN \
                  (SELECT revision FROM failures WHERE fades_at <= $1 LIMIT $2)";
    let done = sqlx::query(delete).bind(to_sql(now)).bind(limit).execute(connection).await?;
    Ok(done.rows_affected())
}

/// The row, or that its key is none of ours.
fn read(row: &AnyRow) -> Result<Result<Row, KeyError>, sqlx::Error> {
    let text = |column: usize| row.try_get::<String, _>(column);
    let count = |column: usize| {
        row.try_get::<i64, _>(column).map(|n| u32::try_from(n.max(0)).unwrap_or(u32::MAX))
    };
    let time = |column: usize| row.try_get(column).map(from_sql);
    let key = match Key::parse(&text(0)?, &text(1)?, &text(2)?) {
        Ok(key) => key,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(Row {
        key,
        failures: count(3)?,
        window_start: time(4)?,
        window_end: time(5)?,
        level: count(6)?,
        banned_until: time(7)?,
        fades_at: time(8)?,
        updated_at: time(9)?,
    }))
}
