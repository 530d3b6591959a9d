//! The feed: what other nodes, and the command line, have written, read into this node's mirror.
//!
//! It asks for what has a higher number than the last one it saw, twice a second. Numbers are committed in their order
//! (`revocations`), so nothing can appear behind it. Only a poll that ended well makes the mirror young; while the store
//! cannot be reached the mirror stays as it is and ages. Rows whose time is over are deleted here too, a bounded batch at a
//! time, by whichever node comes first.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::mirror::Mirror;
use super::offset::Said;
use super::revocations::{self, Revocation};
use super::{Store, StoreError, users};
use crate::clock::Clock;

/// How often it asks. Together with the bound on a poll it keeps a second node within two seconds.
const POLL: Duration = Duration::from_millis(500);
/// How many rows are read at once.
const PAGE: u16 = 2_000;
/// How often what is over is deleted, and forgotten by the mirror.
const PURGE: Duration = Duration::from_secs(60);
/// How many rows of a kind one deletion takes.
const PURGE_BATCH: u16 = 1_000;
/// After so long without a poll the mirror is filled anew: rows of users' changes may have come and gone meanwhile.
const REFILL: Duration = Duration::from_secs(3600);

/// Fills the mirror and keeps it fresh, for ever.
pub(super) async fn follow(
    store: Store,
    mirror: Arc<Mirror>,
    clock: Arc<dyn Clock>,
    filled: watch::Sender<bool>,
) {
    let offset = Said::default();
    let mut feed = Feed { store, mirror, clock, last: None, failing: false, offset };
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut purged = feed.clock.instant();
    loop {
        ticks.tick().await;
        let outcome = feed.poll().await;
        let ended_well = outcome.is_ok();
        if ended_well {
            filled.send_replace(true);
        } else {
            feed.mirror.lose();
        }
        feed.report(outcome);
        let now = feed.clock.instant();
        if ended_well && now.saturating_duration_since(purged) >= PURGE {
            // However much there is to delete, the next poll is not kept waiting for it: nothing is known of the others then.
            match feed.purge().await {
                Ok(Purged::More) => {}
                Ok(Purged::All) => purged = now,
                Err(error) => {
                    purged = now;
                    tracing::warn!(%error, "what has ended could not be deleted from the store");
                }
            }
        }
    }
}

/// How far a deletion came.
#[derive(Debug, PartialEq, Eq)]
enum Purged {
    All,
    More,
}

struct Feed {
    store: Store,
    mirror: Arc<Mirror>,
    clock: Arc<dyn Clock>,
    /// The last number seen; `None` before the mirror was filled.
    last: Option<i64>,
    failing: bool,
    offset: Said,
}

impl Feed {
    /// Reads what is new. The mirror is as young as the beginning of this.
    async fn poll(&mut self) -> Result<(), StoreError> {
        let began = self.clock.instant();
        let long_ago = self.mirror.age().is_some_and(|age| age > REFILL);
        match self.last {
            Some(last) if !long_ago => {
                let newest = self.newest().await?;
                if newest < last {
                    tracing::error!("the store is older than it was: was a backup put back?");
                    self.fill().await?;
                } else if newest > last {
                    self.reach(self.read_on(last).await?);
                }
            }
            _ => self.fill().await?,
        }
        self.mirror.saw_all(began);
        Ok(())
    }

    /// The last number; and how far our clock is from the one that says the time beside it.
    async fn newest(&mut self) -> Result<i64, StoreError> {
        let before = self.clock.wall();
        let (newest, at) = self.store.last().await?;
        self.mirror.offset().measure(before, at, self.clock.wall());
        self.offset.say(self.mirror.clock_offset());
        Ok(newest)
    }

    /// Reads everything. The number is taken first: what is written meanwhile has a higher one, and is read again later.
    async fn fill(&mut self) -> Result<(), StoreError> {
        self.store.prepare().await?;
        let newest = self.newest().await?;
        if self.mirror.holds_users() {
            self.read_users().await?;
        }
        let read = self.read_on(0).await?;
        self.reach(read.max(newest));
        Ok(())
    }

    fn reach(&mut self, number: i64) {
        self.last = Some(number);
        self.mirror.reach(number);
    }

    async fn read_on(&self, mut last: i64) -> Result<i64, StoreError> {
        loop {
            let page = i64::from(PAGE);
            let read = async |connection: &mut _| revocations::after(connection, last, page).await;
            let entries = self.store.read(read).await?;
            for entry in &entries {
                if let Revocation::User { name, .. } = &entry.revocation
                    && self.mirror.holds_users()
                {
                    let row = self.store.user(name.as_str()).await?;
                    self.mirror.put_user(name, row.as_ref());
                }
                self.mirror.note(entry);
                last = entry.seq;
            }
            if entries.len() < usize::from(PAGE) {
                return Ok(last);
            }
        }
    }

    async fn read_users(&self) -> Result<(), StoreError> {
        let (mut name, mut seen) = (String::new(), HashSet::new());
        loop {
            let page = i64::from(PAGE);
            let read = async |connection: &mut _| users::after(connection, &name, page).await;
            let rows = self.store.read(read).await?;
            for row in &rows {
                self.mirror.put_user(&row.name, Some(row));
                seen.insert(row.name.clone());
            }
            match rows.last() {
                Some(row) if rows.len() == usize::from(PAGE) => {
                    name = row.name.as_str().to_owned();
                }
                _ => break,
            }
        }
        self.mirror.retain_users(&seen);
        Ok(())
    }

    /// Deletes one batch of what is over, and forgets it here with the last one.
    async fn purge(&self) -> Result<Purged, StoreError> {
        if self.store.purge(PURGE_BATCH).await? >= u64::from(PURGE_BATCH) {
            return Ok(Purged::More);
        }
        self.mirror.sweep(self.clock.now());
        Ok(Purged::All)
    }

    /// Says when it begins to fail, and when that is over; not twice a second.
    fn report(&mut self, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the state store answers again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, "the state store does not answer; what is known of it ages");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::oauth::subject::Subject;
    use tokio::task::JoinSet;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[tokio::test]
    async fn a_large_deletion_is_cut_so_that_polls_come_between() {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let mirror = Arc::new(Mirror::new(Arc::clone(&clock), REFILL, false));
        let place = Place::Sqlite(directory.path().join("state.db"));
        let store = Store::open(&place, Arc::clone(&clock), Arc::clone(&mirror), None).unwrap();
        store.prepare().await.unwrap();
        let mut all = JoinSet::new();
        for id in 0..=PURGE_BATCH {
            let (store, subject) = (store.clone(), Subject::parse("alice").unwrap());
            let revocation = Revocation::Token { id: format!("t{id}"), subject, until: NOW };
            all.spawn(async move { store.revoke(revocation).await.unwrap() });
        }
        all.join_all().await;
        let offset = Said::default();
        let feed = Feed { store, mirror, clock, last: None, failing: false, offset };
        assert_eq!(feed.purge().await.unwrap(), Purged::More);
        assert!(feed.mirror.revocations() > 0, "forgotten with the last batch only");
        assert_eq!(feed.purge().await.unwrap(), Purged::All);
        assert_eq!(feed.mirror.revocations(), 0);
        let left = async |connection: &mut _| revocations::after(connection, 0, 10).await;
        assert!(feed.store.read(left).await.unwrap().is_empty());
    }
}
