//! Sharing: what this node counts of failed logins goes to the store, and what the others count comes from there.
//!
//! Twice a second, strictly in this order: take what is new here, write it, read what was written since the last time by
//! anybody, merge it, and write the bans that this led to. A node hears of a failure on another within two such rounds. Nothing that a client waits for waits for
//! this. While the store cannot be reached, every node counts for itself, and what it counted is written once the store
//! answers again. A write whose end is not known is done again: then a failure may count twice, which bans sooner and never
//! later. What a node has counted in the last half second before it is killed is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::failures::BATCH;
use super::{Store, StoreError};
use crate::clock::Clock;
use crate::throttle::Throttle;

/// How often it is done.
const EVERY: Duration = Duration::from_millis(500);
/// How many rows are merged at a time: logins wait for the throttle's lock meanwhile.
const MERGED_AT_ONCE: usize = 200;

/// Shares for ever, from when the feed has made the tables.
pub(super) async fn share(
    mut exchange: Exchange,
    mut filled: watch::Receiver<bool>,
    merges: watch::Sender<bool>,
) {
    if filled.wait_for(|filled| *filled).await.is_err() {
        return;
    }
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        match exchange.round().await {
            Ok(()) => {
                failing = false;
                merges.send_replace(true);
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "failed logins are counted by each node for itself");
            }
            Err(_) => {}
        }
    }
}

/// A node's throttle and the store.
pub(super) struct Exchange {
    store: Store,
    throttle: Arc<Throttle>,
    clock: Arc<dyn Clock>,
    /// The last number seen; 0 before everything was read.
    last: i64,
}

impl Exchange {
    pub(super) fn new(store: Store, throttle: Arc<Throttle>, clock: Arc<dyn Clock>) -> Self {
        Self { store, throttle, clock, last: 0 }
    }

    /// One round.
    pub(super) async fn round(&mut self) -> Result<(), StoreError> {
        self.write().await?;
        let newest = self.store.last_failure().await?;
        if newest < self.last {
            tracing::error!("the store is older than it was: was a backup put back?");
            self.last = 0;
        }
        if newest > self.last {
            let (now, throttle) = (self.clock.now(), &self.throttle);
            let merge = |rows: &[_]| {
                for some in rows.chunks(MERGED_AT_ONCE) {
                    throttle.merge(some, now);
                }
            };
            let read = self.store.failures_after(self.last, now, merge).await?;
            self.last = read.max(newest);
            // Bans that only the sum led to are told at once: half a second later one might undo what an operator cleared
            // meanwhile, having seen the same ban of another node.
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&self) -> Result<(), StoreError> {
        let changes = self.throttle.drain_changes(self.clock.now());
        let mut rest = changes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rest.len().min(BATCH));
            if let Err(error) = self.store.add_failures(batch).await {
                self.throttle.give_back(rest);
                return Err(error);
            }
            rest = after;
        }
        Ok(())
    }
}
