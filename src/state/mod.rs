//! What must outlive the process, and what a fleet shares: refresh token families, revocations, users in a database, and the
//! counts of failed logins.
//!
//! [`Store`] is the durable side: SQLite for one machine, PostgreSQL (or what speaks like it) for a fleet, with one text of
//! plain SQL for both. [`Mirror`] is what a request may ask: in memory, without I/O, fed by this node's own writes at once
//! and from everybody else's by [`feed`](self) within two seconds. What a grant makes of either is decided above.
//!
//! Every transition names its fsync, its clock, and what a second node sees meanwhile:
//!
//! | transition | durable | clock | a second node |
//! |---|---|---|---|
//! | a family begins, or is rotated | the commit is fsynced before the answer | the store's | sees it in the database at once |
//! | something is revoked | likewise; then this node's mirror; then the answer | none: numbers decide what it ends (`order`) | its mirror, at its next poll (half a second) |
//! | a user changes | likewise | none: a version counts up | its mirror, at its next poll; logins read the database, and wait for the mirror |
//! | a login fails | within half a second, after the answer | wall time of the node that answers | its throttle, at its next round (half a second) |
//! | the store cannot be reached | nothing changes | monotonic time since the last poll that ended well | judges for itself |

mod clients;
mod connections;
mod engine;
mod epoch;
mod error;
mod failures;
mod families;
mod feed;
mod file;
mod mirror;
mod offset;
mod order;
mod owner;
mod prepare;
mod probe;
mod refresh_token;
mod revocations;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod throttle_sync;
mod time;
mod user_cache;
mod users;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::supervise::{keep_up, keep_up_thread};
use crate::throttle::Throttle;

pub use clients::Roster;
pub use error::StoreError;
pub use families::{Family, NewFamily, Rotated, Rotation};
pub use mirror::Mirror;
pub use refresh_token::{FamilyId, Nonce, RefreshToken, StoreKey, TagKey};
pub use revocations::Revocation;
pub use store::{Place, Presented, Store};
use throttle_sync::Exchange;
pub use user_cache::CachedUser;
pub use users::{StoredRow, StoredUser, UserChange};

/// What the state is kept with.
#[derive(Clone)]
pub struct StateSettings {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// How old the mirror may be before nothing that needs it is answered any more.
    pub max_staleness: Duration,
    /// Whether users are kept in the store, so that the mirror holds them as well.
    pub users: bool,
    /// Whose the store is: it refuses to be another's.
    pub issuer: String,
    /// The clients of this node at its start.
    pub roster: Roster,
    /// Told how many writes shared one commit.
    pub observer: Option<Arc<dyn Fn(usize) + Send + Sync>>,
}

impl fmt::Debug for StateSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_staleness, users, .. } = self;
        write!(f, "StateSettings(max staleness {max_staleness:?}, users {users})")
    }
}

/// The store, its mirror, and the tasks that keep fresh what this node knows. They have threads of their own, so that nothing
/// that is going on in front keeps them from theirs, and end when this is dropped.
#[derive(Debug)]
pub struct State {
    store: Store,
    mirror: Arc<Mirror>,
    clock: Arc<dyn Clock>,
    filled: watch::Receiver<bool>,
    /// Whether the counts of failed logins were read once, where they are shared.
    merged: Option<watch::Receiver<bool>>,
    /// `None` while it is being dropped.
    runtime: Option<Runtime>,
    /// The feed ends when this is dropped.
    _feed: watch::Sender<()>,
}

/// How many threads the tasks share.
const THREADS: usize = 2;

impl State {
    /// Opens the state at a place and begins to fill the mirror. Nothing is connected to yet: a store that cannot be reached
    /// now is tried again and again, and until the mirror was filled once, nothing that needs it is answered.
    ///
    /// # Errors
    /// [`StoreError`] when the place itself is unusable, or no thread can be started.
    pub fn open(place: &Place, settings: StateSettings) -> Result<Self, StoreError> {
        let StateSettings { clock, max_staleness, users, issuer, roster, observer } = settings;
        let mirror = Arc::new(Mirror::new(Arc::clone(&clock), max_staleness, users));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("state")
            .enable_all()
            .build()?;
        let within = runtime.enter();
        let store = Store::open(place, Arc::clone(&clock), Arc::clone(&mirror), observer)?;
        let store = store.owned_by(&issuer).with_roster(roster);
        let (fills, filled) = watch::channel(false);
        let (stop, stopped) = watch::channel(());
        let (own, seen, time) = (store.clone(), Arc::clone(&mirror), Arc::clone(&clock));
        // The feed has a thread to itself: what this node knows must not wait for what it writes either.
        let alone = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("state-feed".to_owned()).spawn(move || {
            keep_up_thread("feed", || {
                let (own, seen, time) = (own.clone(), Arc::clone(&seen), Arc::clone(&time));
                let (fills, mut stopped) = (fills.clone(), stopped.clone());
                alone.block_on(async move {
                    tokio::select! {
                        () = feed::follow(own, seen, time, fills) => {}
                        _ = stopped.changed() => {}
                    }
                });
            });
        })?;
        let (own, seen) = (store.clone(), Arc::clone(&mirror));
        runtime.spawn(keep_up("write probe", move || probe::probe(own.clone(), Arc::clone(&seen))));
        drop(within);
        Ok(Self { store, mirror, clock, filled, merged: None, runtime: Some(runtime), _feed: stop })
    }

    /// Begins to share what this throttle counts with the other nodes, and to bring it what they count. Its limits must be
    /// those of the configuration already: what is brought is judged by them.
    pub fn share(&mut self, throttle: Arc<Throttle>) {
        let (merges, merged) = watch::channel(false);
        let (store, clock, filled) =
            (self.store.clone(), Arc::clone(&self.clock), self.filled.clone());
        if let Some(runtime) = &self.runtime {
            runtime.spawn(keep_up("shared failures", move || {
                let exchange =
                    Exchange::new(store.clone(), Arc::clone(&throttle), Arc::clone(&clock));
                throttle_sync::share(exchange, filled.clone(), merges.clone())
            }));
        }
        self.merged = Some(merged);
    }

    /// Waits until everything in the store was read once, but no longer than this. `false` when it was not: the store may
    /// come later.
    pub async fn filled(&self, patience: Duration) -> bool {
        let all = [Some(self.filled.clone()), self.merged.clone()];
        let read = async {
            for mut one in all.into_iter().flatten() {
                if one.wait_for(|done| *done).await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(patience, read).await.unwrap_or(false)
    }

    /// The durable side.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The side that requests ask.
    #[must_use]
    pub const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Waiting for threads is forbidden where other tasks run, and there is nothing to wait for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
