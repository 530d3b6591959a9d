//! The cached keys of one trusted issuer: not fetched yet, fresh, or too old.
//!
//! They are read on every request and written by one task in the background. Nothing here fetches anything: the verification of a
//! token can only request a refresh. Nothing is kept on disk: a start begins without keys, and a second node fetches its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::keys::{Algorithm, KeySet};

/// How an issuer's keys are fetched. Whether two definitions are the same decides whether keys outlive a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPlan {
    /// Whose keys they are.
    pub issuer: Arc<str>,
    /// Where the JWK Set is.
    pub url: String,
    /// The only certificate authorities to trust there, in PEM; those of the system when there are none.
    pub authorities: Option<Vec<u8>>,
    /// What the issuer may sign with.
    pub algorithms: Vec<Algorithm>,
    /// How long a fetched set is left alone.
    pub refresh: Duration,
    /// How long a set counts when no newer one comes (whole seconds).
    pub max_stale: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// The least time between two fetches for the sake of an unknown key id.
    pub cool_down: Duration,
    /// Whether nobody is ready without these keys.
    pub required: bool,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// From a file that was read with the configuration: they count as long as it does.
    File(Arc<KeySet>),
    /// From a URL.
    Url(Arc<FetchPlan>),
}

/// The cached keys of an issuer.
#[derive(Debug)]
pub struct IssuerKeys {
    plan: Option<Arc<FetchPlan>>,
    cached: ArcSwapOption<CachedKeys>,
    /// Whether any ever came.
    came: AtomicBool,
    refresh_requested: Notify,
}

#[derive(Debug, Clone)]
struct CachedKeys {
    keys: Arc<KeySet>,
    /// The wall time from which on they count no more; `None` for those of a file.
    until: Option<Timestamp>,
    /// The same event on the clock that cannot be set.
    since: Option<Instant>,
}

impl IssuerKeys {
    /// The initial state: the keys of a file, or none.
    #[must_use]
    pub fn new(source: KeySource) -> Self {
        let (plan, cached) = match source {
            KeySource::File(keys) => (None, Some(CachedKeys { keys, until: None, since: None })),
            KeySource::Url(plan) => (Some(plan), None),
        };
        Self {
            plan,
            came: AtomicBool::new(cached.is_some()),
            cached: ArcSwapOption::from_pointee(cached),
            refresh_requested: Notify::new(),
        }
    }

    /// How they are fetched; `None` for those of a file.
    #[must_use]
    pub const fn plan(&self) -> Option<&Arc<FetchPlan>> {
        self.plan.as_ref()
    }

    /// The keys that count now. `None`, which is closed, when none came or they are too old; the latter also requests a refresh,
    /// since a clock that jumped tells this before any timer does.
    #[must_use]
    pub fn current(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let cached = self.cached.load();
        let cached = cached.as_ref()?;
        if cached.until.is_some_and(|until| now >= until) {
            self.request_refresh();
            return None;
        }
        Some(Arc::clone(&cached.keys))
    }

    /// Takes a fetched set over. One that is equal to the last keeps what was verified with that.
    pub fn replace(&self, keys: KeySet, now: Timestamp, since: Instant) {
        let Some(plan) = &self.plan else { return };
        let before = self.cached.load_full().map(|cached| Arc::clone(&cached.keys));
        let keys = before.filter(|before| **before == keys).unwrap_or_else(|| Arc::new(keys));
        let until = Some(now.plus(plan.max_stale));
        self.cached.store(Some(Arc::new(CachedKeys { keys, until, since: Some(since) })));
        self.came.store(true, Ordering::Release);
    }

    /// Takes the keys away when they are older than they may be by the clock that cannot be set: setting the other one back
    /// must not make them last.
    pub fn expire(&self, now: Instant) {
        let (Some(plan), Some(age)) = (&self.plan, self.age(now)) else { return };
        if age >= plan.max_stale {
            self.withdraw();
        }
    }

    /// Takes the keys away: their issuer says that it has none.
    pub fn withdraw(&self) {
        self.cached.store(None);
    }

    /// Whether none ever came although nobody is ready without them.
    #[must_use]
    pub fn are_missed(&self) -> bool {
        let required = self.plan.as_ref().is_some_and(|plan| plan.required);
        required && !self.came.load(Ordering::Acquire)
    }

    /// How long ago they were fetched. `None` when there are none, or they are a file's.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let since = self.cached.load().as_ref()?.since?;
        Some(now.saturating_duration_since(since))
    }

    /// Requests a fetch. It starts when the cool-down allows; several requests cause one fetch.
    pub fn request_refresh(&self) {
        self.refresh_requested.notify_one();
    }

    /// Waits for a request.
    #[cfg(feature = "proxy")]
    pub(super) async fn refresh_requested(&self) {
        self.refresh_requested.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::keys::{self, KeyRing, KeyUse};
    use crate::random::OsRandom;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn set() -> KeySet {
        let file = keys::generate(Algorithm::EdDsa, &OsRandom).unwrap();
        let key = keys::load("k", Algorithm::EdDsa, file.expose(), KeyUse::Sign, None).unwrap();
        let document = keys::jwks(&KeyRing::new(vec![key]).unwrap(), NOW).to_string();
        KeySet::parse(document.as_bytes(), &[Algorithm::EdDsa]).unwrap()
    }

    fn fetched(required: bool) -> IssuerKeys {
        IssuerKeys::new(KeySource::Url(Arc::new(FetchPlan {
            issuer: Arc::from("https://idp.example.com"),
            url: "https://idp.example.com/keys".to_owned(),
            authorities: None,
            algorithms: vec![Algorithm::EdDsa],
            refresh: HOUR,
            max_stale: 24 * HOUR,
            timeout: HOUR,
            cool_down: HOUR,
            required,
        })))
    }

    #[test]
    fn keys_count_from_when_they_come_until_they_are_too_old_by_either_clock() {
        let (keys, start) = (fetched(true), SystemClock.instant());
        assert!(keys.current(NOW).is_none() && keys.are_missed() && keys.age(start).is_none());
        keys.replace(set(), NOW, start);
        assert!(keys.current(NOW).is_some() && !keys.are_missed());
        assert_eq!(keys.age(start + HOUR), Some(HOUR));

        let end = NOW.plus(24 * HOUR);
        assert!(keys.current(Timestamp::from_secs(end.as_secs() - 1)).is_some());
        assert!(keys.current(end).is_none());
        assert!(keys.current(NOW).is_some(), "the wall clock was set back");
        keys.expire(start + 24 * HOUR - Duration::from_millis(1));
        assert!(keys.current(NOW).is_some());
        keys.expire(start + 24 * HOUR);
        assert!(keys.current(NOW).is_none());
        assert!(!keys.are_missed(), "they came once");
        keys.replace(set(), end, start + 25 * HOUR);
        assert!(keys.current(end).is_some(), "newer ones open it again");
        keys.withdraw();
        assert!(keys.current(end).is_none());
    }

    #[test]
    fn an_equal_set_is_the_same_set_and_another_is_not() {
        let (keys, start) = (fetched(true), SystemClock.instant());
        let file = keys::generate(Algorithm::EdDsa, &OsRandom).unwrap();
        let key = keys::load("k", Algorithm::EdDsa, file.expose(), KeyUse::Sign, None).unwrap();
        let document = keys::jwks(&KeyRing::new(vec![key]).unwrap(), NOW).to_string();
        let parse = || KeySet::parse(document.as_bytes(), &[Algorithm::EdDsa]).unwrap();
        keys.replace(parse(), NOW, start);
        let first = keys.current(NOW).unwrap();
        keys.replace(parse(), NOW.plus(HOUR), start);
        assert!(Arc::ptr_eq(&first, &keys.current(NOW).unwrap()));
        keys.replace(set(), NOW.plus(HOUR), start);
        assert!(!Arc::ptr_eq(&first, &keys.current(NOW).unwrap()));
    }

    #[test]
    fn only_required_keys_are_missed_and_those_of_a_file_are_always_there() {
        assert!(!fetched(false).are_missed());
        let file = IssuerKeys::new(KeySource::File(Arc::new(set())));
        assert!(!file.are_missed() && file.plan().is_none());
        assert!(file.current(Timestamp::MAX).is_some());
        assert_eq!(file.age(SystemClock.instant()), None);
    }
}
