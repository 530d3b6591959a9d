//! After a write that failed: another one, as long as nobody else writes, so that readiness comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::mirror::Mirror;
use super::store::Store;
use super::writer::Write;

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(1);

/// Tries for ever.
pub(super) async fn probe(store: Store, mirror: Arc<Mirror>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if mirror.takes_writes() {
            continue;
        }
        // The writer itself notes and reports what comes of it.
        if let Err(error) = store.write(Write::Probe).await {
            tracing::debug!(%error, "the state store still takes no writes");
        }
    }
}
