//! Refreshes the key sets in force: one task for each, for as long as the set is in force.
//!
//! A set is fetched immediately, then again after its refresh time; after a failure soon, then less and less often. A request for an
//! unknown key id causes one early fetch, and no other during the cool-down, however many requests there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::fetch::{FetchError, Fetcher};
use super::{FetchPlan, IssuerKeys, KeyRegistry};
use crate::clock::Clock;
use crate::keys::SetError;
use crate::supervise::keep_up;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Called after each fetch: with the issuer, and whether its keys came.
pub(super) type FetchObserver = Arc<dyn Fn(&str, bool) + Send + Sync>;

/// Refreshes the sets of the registry until the registry or this future is dropped.
pub async fn refresh(registry: &KeyRegistry, clock: Arc<dyn Clock>, observer: FetchObserver) {
    let mut changes = registry.subscribe();
    let mut tasks = JoinSet::new();
    let mut refreshed: Vec<(Arc<IssuerKeys>, AbortHandle)> = Vec::new();
    loop {
        let wanted = Arc::clone(&changes.borrow_and_update());
        refreshed.retain(|(keys, task)| {
            let stays = wanted.iter().any(|own| Arc::ptr_eq(own, keys));
            if !stays {
                task.abort();
            }
            stays
        });
        for keys in wanted.iter() {
            let Some(plan) = keys.plan().cloned() else { continue };
            if refreshed.iter().any(|(own, _)| Arc::ptr_eq(own, keys)) {
                continue;
            }
            let (clock, observer, of) =
                (Arc::clone(&clock), Arc::clone(&observer), Arc::clone(keys));
            let task = tasks.spawn(keep_up("issuer keys", move || {
                let (clock, observer) = (Arc::clone(&clock), Arc::clone(&observer));
                keep_fresh(Arc::clone(&of), Arc::clone(&plan), clock, observer)
            }));
            refreshed.push((Arc::clone(keys), task));
        }
        // Tasks end only when they are told to, but their remains have to be taken away.
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn keep_fresh(
    keys: Arc<IssuerKeys>,
    plan: Arc<FetchPlan>,
    clock: Arc<dyn Clock>,
    observer: FetchObserver,
) {
    let mut pauses = Pauses::default();
    let mut granted: Option<Instant> = None;
    loop {
        let outcome = match Fetcher::new(&plan) {
            Ok(fetcher) => fetcher.fetch().await,
            Err(error) => Err(error),
        };
        observer(&plan.issuer, outcome.is_ok());
        let pause = match outcome {
            Ok(set) => {
                if set.skipped() > 0 {
                    tracing::debug!(issuer = %plan.issuer, skipped = set.skipped(), "keys left out");
                }
                keys.replace(set, clock.now(), clock.instant());
                pauses.reset(plan.refresh)
            }
            Err(error) => {
                tracing::warn!(issuer = %plan.issuer, %error, "no keys");
                // An answer that holds no key is an answer: what it withdrew must not go on to count.
                if matches!(error, FetchError::Set(SetError::NothingUsable { .. })) {
                    keys.withdraw();
                }
                keys.expire(clock.instant());
                pauses.after_failure(plan.refresh)
            }
        };
        let requested = async {
            keys.refresh_requested().await;
            let since = granted.map(|at| clock.instant().saturating_duration_since(at));
            sleep(since.map_or(Duration::ZERO, |since| plan.cool_down.saturating_sub(since))).await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = requested => granted = Some(clock.instant()),
        }
    }
}

/// How long to wait for the next fetch.
#[derive(Debug, Default)]
struct Pauses(Option<Duration>);

impl Pauses {
    fn reset(&mut self, refresh: Duration) -> Duration {
        self.0 = None;
        refresh
    }

    fn after_failure(&mut self, refresh: Duration) -> Duration {
        let pause = self.0.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
        self.0 = Some(pause);
        pause.min(refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_repeated_soon_then_less_often_and_never_later_than_a_refresh() {
        let (mut pauses, refresh) = (Pauses::default(), Duration::from_secs(600));
        let mut after = |times: usize| -> Vec<u64> {
            (0..times).map(|_| pauses.after_failure(refresh).as_secs()).collect()
        };
        assert_eq!(after(8), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses.reset(refresh), refresh);
        assert_eq!(pauses.after_failure(refresh), FIRST_PAUSE);
        assert_eq!(pauses.after_failure(FIRST_PAUSE), FIRST_PAUSE);
    }
}
