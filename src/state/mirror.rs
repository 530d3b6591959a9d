//! What a request may ask about the state, in memory and without I/O: is this token revoked, what may this user have now, and
//! how old is all of it.
//!
//! Bounded: what does not fit is never dropped. Too many revoked tokens of one subject raise the point of time up to which
//! everything of that subject is revoked; too many in all raise it for everybody. Then more is refused than was asked for,
//! never less.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::watch;

use super::families::{Family, FamilyId};
use super::offset::ClockOffset;
use super::order::{Everybody, Origin, Point};
use super::revocations::{Entry, Revocation};
use super::user_cache::{CachedUser, UserCache};
use super::users::StoredUser;
use crate::clock::{Clock, Timestamp};
use crate::oauth::subject::Subject;
use crate::token::VerifiedToken;
use crate::users::Cost;

/// Bounds of the mirror.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Revoked tokens and families, each.
    entries: usize,
    /// Of one subject.
    of_one: usize,
}

const BOUNDS: Bounds = Bounds { entries: 500_000, of_one: 1_000 };

/// How old the mirror is at most while the store answers in time: two polls that each took all the time they may, and the pause
/// between them.
const CURRENT: Duration = Duration::from_secs(7);

/// The mirror.
#[derive(Debug)]
pub struct Mirror {
    clock: Arc<dyn Clock>,
    began: Instant,
    bounds: Bounds,
    max_staleness: Duration,
    /// Milliseconds since `began`, and one, at the last time when everything was seen; 0 for never.
    seen: AtomicU64,
    /// Whether the last attempt to reach the store failed.
    lost: AtomicBool,
    /// Whether the last write failed.
    unwritable: AtomicBool,
    /// How many transactions have failed.
    write_failures: AtomicU64,
    /// By id, with the subject and the end.
    tokens: DashMap<Arc<str>, Ended>,
    families: DashMap<Arc<str>, Ended>,
    /// Up to where everything of a subject is revoked.
    subjects: DashMap<Subject, Point>,
    /// Up to where everything that was issued to a client is, by the client's id.
    clients: DashMap<Arc<str>, Point>,
    everybody: ArcSwap<Everybody>,
    /// The highest number of whatever was noted.
    noted: AtomicI64,
    users: Option<UserCache>,
    offset: ClockOffset,
    /// Up to which number the feed was read.
    number: watch::Sender<i64>,
}

#[derive(Debug, Clone)]
struct Ended {
    subject: Subject,
    until: Timestamp,
}

impl Mirror {
    /// An empty mirror, which has never seen anything.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, max_staleness: Duration, users: bool) -> Self {
        Self::bounded(clock, max_staleness, users, BOUNDS)
    }

    fn bounded(
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
        users: bool,
        bounds: Bounds,
    ) -> Self {
        Self {
            began: clock.instant(),
            clock,
            bounds,
            max_staleness,
            seen: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            unwritable: AtomicBool::new(false),
            write_failures: AtomicU64::new(0),
            tokens: DashMap::new(),
            families: DashMap::new(),
            subjects: DashMap::new(),
            clients: DashMap::new(),
            everybody: ArcSwap::default(),
            noted: AtomicI64::new(0),
            users: users.then(UserCache::default),
            offset: ClockOffset::default(),
            number: watch::Sender::default(),
        }
    }

    /// Whether it may be asked at all: it was filled once, and not too long ago was seen to be complete.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.age().is_some_and(|age| age <= self.max_staleness)
    }

    /// Whether the store could be reached a moment ago: what must be durable, or must see all of it, can be tried.
    #[must_use]
    pub fn is_current(&self) -> bool {
        !self.lost.load(Ordering::Acquire) && self.age().is_some_and(|age| age <= CURRENT)
    }

    /// Whether the last write went well: what must be durable can be.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        !self.unwritable.load(Ordering::Acquire)
    }

    /// How many transactions that write have failed since the start.
    #[must_use]
    pub fn write_failures(&self) -> u64 {
        self.write_failures.load(Ordering::Relaxed)
    }

    /// How long ago it was last seen to be complete; `None` when it never was.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let seen = self.seen.load(Ordering::Acquire).checked_sub(1)?;
        let now = self.clock.instant().saturating_duration_since(self.began);
        Some(now.saturating_sub(Duration::from_millis(seen)))
    }

    /// By how many milliseconds this node's clock is ahead of the store's, as of the last poll.
    #[must_use]
    pub fn clock_offset(&self) -> i64 {
        self.offset.millis()
    }

    pub(super) const fn offset(&self) -> &ClockOffset {
        &self.offset
    }

    /// Whether a token is revoked.
    #[must_use]
    pub fn is_revoked(&self, token: &VerifiedToken) -> bool {
        let family = token.family();
        token.token_id().is_some_and(|id| self.tokens.contains_key(&**id))
            || family.is_some_and(|family| self.families.contains_key(&**family))
            || self.ends(&Origin::of(token))
    }

    /// Whether a family of refresh tokens is revoked.
    #[must_use]
    pub fn is_family_revoked(&self, id: &FamilyId) -> bool {
        self.families.contains_key(&**id.as_str())
    }

    /// Whether everything of a family's user, of its client or of everybody was revoked since its login began.
    #[must_use]
    pub fn is_overtaken(&self, family: &Family) -> bool {
        self.ends(&family.origin())
    }

    fn ends(&self, origin: &Origin<'_>) -> bool {
        let of_client = || self.clients.get(origin.client?.as_str()).map(|point| *point);
        self.everybody.load().ends(origin)
            || self.subjects.get(origin.subject).is_some_and(|point| point.is_after(origin))
            || of_client().is_some_and(|point| point.is_after(origin))
    }

    /// Whether anything that this subject had was revoked as a whole.
    #[must_use]
    pub fn knows_end_of(&self, subject: &Subject) -> bool {
        self.subjects.contains_key(subject)
    }

    /// What a user may have now; `None` for who is unknown or disabled.
    #[must_use]
    pub fn user(&self, name: &Subject) -> Option<CachedUser> {
        self.users.as_ref()?.find(name)
    }

    /// Whether there is a user of this name, disabled or not.
    #[must_use]
    pub fn knows_user(&self, name: &Subject) -> bool {
        self.users.as_ref().is_some_and(|users| users.knows(name))
    }

    /// What the check of most users' passwords costs; the default where there are none.
    #[must_use]
    pub fn usual_cost(&self) -> Cost {
        self.users.as_ref().map_or_else(Cost::default, UserCache::usual_cost)
    }

    /// Waits until everything up to a number of the feed, such as a user's version, is known here.
    pub async fn reached(&self, number: i64) {
        let mut numbers = self.number.subscribe();
        // The sender is ours, so there is an end to wait for.
        if numbers.wait_for(|own| *own >= number).await.is_err() {
            tracing::trace!("the mirror has gone away");
        }
    }

    /// Whether users are kept in the store.
    #[must_use]
    pub const fn holds_users(&self) -> bool {
        self.users.is_some()
    }

    /// How many revocations it holds.
    #[must_use]
    pub fn revocations(&self) -> usize {
        let Everybody { up_to, until } = **self.everybody.load();
        let everybody = usize::from(up_to.is_some()) + usize::from(until.is_some());
        self.tokens.len() + self.families.len() + self.subjects.len() + everybody
    }

    /// Notes a revocation. The same one twice, or an older one after a newer, changes nothing.
    pub(super) fn note(&self, entry: &Entry) {
        self.noted.fetch_max(entry.seq, Ordering::AcqRel);
        let point = Point { number: entry.seq, at: entry.at };
        match &entry.revocation {
            Revocation::Token { id, subject, until } => {
                self.put(&self.tokens, id, subject, *until);
            }
            Revocation::Family { id, subject, until } => {
                self.put(&self.families, id.as_str(), subject, *until);
            }
            Revocation::Subject { subject } => self.raise(subject, point),
            Revocation::All => self.raise_all(Everybody { up_to: Some(point), until: None }),
            Revocation::AllUntil { at } => {
                self.raise_all(Everybody { up_to: None, until: Some(*at) });
            }
            // What became of the user is in the user's row, which the feed reads.
            Revocation::User { .. } => {}
        }
    }

    /// Everything that is revoked and has not ended by itself, with its point where it has one.
    pub(super) fn standing(&self, now: Timestamp) -> Vec<(Revocation, Timestamp)> {
        let mut standing = Vec::new();
        for entry in self.tokens.iter().filter(|entry| entry.until > now) {
            let Ended { subject, until } = entry.value().clone();
            let id = entry.key().to_string();
            standing.push((Revocation::Token { id, subject, until }, until));
        }
        for entry in self.families.iter().filter(|entry| entry.until > now) {
            let Ended { subject, until } = entry.value().clone();
            let id = FamilyId::of_row(entry.key());
            standing.push((Revocation::Family { id, subject, until }, until));
        }
        for entry in self.subjects.iter() {
            standing.push((Revocation::Subject { subject: entry.key().clone() }, entry.at));
        }
        let Everybody { up_to, until } = **self.everybody.load();
        standing.extend(up_to.map(|point| (Revocation::All, point.at)));
        standing.extend(until.map(|at| (Revocation::AllUntil { at }, at)));
        standing
    }

    /// The version of a user's row, and whether the user is disabled.
    pub(super) fn version_of(&self, name: &Subject) -> Option<(i64, bool)> {
        self.users.as_ref()?.version_of(name)
    }

    /// Puts a user as the row says, or takes one out that has none.
    pub(super) fn put_user(&self, name: &Subject, row: Option<&StoredUser>) {
        if let Some(users) = &self.users {
            users.put(name, row);
        }
    }

    /// Takes out every user who is not among those that were seen.
    pub(super) fn retain_users(&self, seen: &HashSet<Subject>) {
        if let Some(users) = &self.users {
            users.retain(seen);
        }
    }

    /// The feed was read up to this number.
    pub(super) fn reach(&self, number: i64) {
        self.number.send_replace(number);
    }

    /// Everything was complete at this instant.
    pub(super) fn saw_all(&self, at: Instant) {
        let millis = at.saturating_duration_since(self.began).as_millis();
        let seen = u64::try_from(millis).unwrap_or(u64::MAX).saturating_add(1);
        self.seen.fetch_max(seen, Ordering::AcqRel);
        self.lost.store(false, Ordering::Release);
    }

    /// The store could not be reached.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// A write went well. Returns whether the one before had failed.
    pub(super) fn wrote(&self) -> bool {
        self.unwritable.swap(false, Ordering::AcqRel)
    }

    /// A write failed. Returns whether the one before had gone well.
    pub(super) fn failed_to_write(&self) -> bool {
        self.write_failures.fetch_add(1, Ordering::Relaxed);
        !self.unwritable.swap(true, Ordering::AcqRel)
    }

    /// Forgets what has ended by itself.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.tokens.retain(|_, ended| ended.until > now);
        self.families.retain(|_, ended| ended.until > now);
    }

    fn raise(&self, subject: &Subject, point: Point) {
        let raise = |own: &mut Point| *own = own.max(point);
        if let Some(client) = subject.as_client() {
            self.clients.entry(Arc::from(client)).and_modify(raise).or_insert(point);
        }
        self.subjects.entry(subject.clone()).and_modify(raise).or_insert(point);
    }

    fn raise_all(&self, more: Everybody) {
        self.everybody.rcu(|own| own.and(more));
    }

    fn put(&self, map: &DashMap<Arc<str>, Ended>, id: &str, subject: &Subject, until: Timestamp) {
        map.insert(Arc::from(id), Ended { subject: subject.clone(), until });
        if map.len() <= self.bounds.entries {
            return;
        }
        let now = self.clock.now();
        map.retain(|_, ended| ended.until > now);
        // Whatever is noted by now ends logins that began before this.
        let point = || Point { number: self.noted.load(Ordering::Acquire), at: now };
        let mut counts = std::collections::HashMap::<Subject, usize>::new();
        for entry in map.iter() {
            *counts.entry(entry.subject.clone()).or_default() += 1;
        }
        for (subject, _) in counts.into_iter().filter(|(_, count)| *count > self.bounds.of_one) {
            tracing::warn!(%subject, "so much of this subject is revoked that all of it now is");
            self.raise(&subject, point());
            map.retain(|_, ended| ended.subject != subject);
            // For what was noted between the two.
            self.raise(&subject, point());
        }
        if map.len() > self.bounds.entries {
            tracing::warn!("so much is revoked that everything issued up to now is");
            let raise = || self.raise_all(Everybody { up_to: Some(point()), until: None });
            raise();
            map.clear();
            raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::revocations::Raw;
    use super::*;
    use crate::clock::ManualClock;
    use crate::oauth::client::ClientId;
    use crate::token::Began;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn subject(name: &str) -> Subject {
        Subject::parse(name).unwrap()
    }

    fn token(id: usize, name: &str) -> Entry {
        let until = NOW.plus(Duration::from_secs(60));
        let revocation = Revocation::Token { id: format!("t{id}"), subject: subject(name), until };
        Entry { seq: i64::try_from(id).unwrap() + 1, raw: Raw::default(), at: NOW, revocation }
    }

    /// Whether everything is revoked of a login of this subject that began when so much was recorded.
    fn ends(mirror: &Mirror, name: &str, number: i64) -> bool {
        let (subject, client) = (subject(name), ClientId::parse("web").unwrap());
        mirror.ends(&Origin::own(&subject, &client, Began { number: Some(number), at: NOW }))
    }

    fn mirror(entries: usize, of_one: usize) -> Mirror {
        let clock = Arc::new(ManualClock::new(NOW));
        Mirror::bounded(clock, Duration::from_secs(300), true, Bounds { entries, of_one })
    }

    #[test]
    fn a_mirror_that_was_never_filled_is_not_usable() {
        let mirror = mirror(10, 5);
        assert!(!mirror.is_usable() && mirror.age().is_none());
        mirror.saw_all(mirror.began);
        assert!(mirror.is_usable());
        let strict = Mirror { max_staleness: Duration::ZERO, ..self::mirror(10, 5) };
        strict.saw_all(strict.began);
        while strict.age() == Some(Duration::ZERO) {}
        assert!(!strict.is_usable(), "too old");
    }

    #[test]
    fn too_much_of_one_subject_revokes_all_of_that_subject_and_of_no_other() {
        let mirror = mirror(10, 5);
        for id in 0..8 {
            mirror.note(&token(id, "mallory"));
        }
        for id in 8..11 {
            mirror.note(&token(id, "alice"));
        }
        assert!(ends(&mirror, "mallory", 10) && !ends(&mirror, "mallory", 11));
        assert!(!ends(&mirror, "alice", 0));
        assert_eq!(mirror.revocations(), 3 + 1);
    }

    #[test]
    fn too_much_in_all_revokes_everything_up_to_now() {
        let mirror = mirror(10, 5);
        for id in 0..11 {
            mirror.note(&token(id, &format!("user{id}")));
        }
        assert!(ends(&mirror, "alice", 10) && !ends(&mirror, "alice", 11));
        assert_eq!(mirror.revocations(), 1);
    }

    #[test]
    fn an_older_point_never_lowers_a_newer() {
        let mirror = mirror(10, 5);
        let note =
            |seq, revocation| mirror.note(&Entry { seq, raw: Raw::default(), at: NOW, revocation });
        for seq in [7, 3] {
            note(seq, Revocation::Subject { subject: subject("alice") });
        }
        assert!(ends(&mirror, "alice", 6) && !ends(&mirror, "alice", 7));
        assert!(!ends(&mirror, "bob", 0));
        note(2, Revocation::All);
        assert!(ends(&mirror, "bob", 1) && !ends(&mirror, "bob", 2));
        assert!(ends(&mirror, "alice", 6) && !ends(&mirror, "alice", 7));
        note(8, Revocation::AllUntil { at: NOW });
        assert!(ends(&mirror, "bob", 9), "began at that time or earlier");
    }

    #[test]
    fn what_ends_a_client_ends_what_was_issued_through_it() {
        let mirror = mirror(10, 5);
        let subject = subject("client:web");
        let revocation = Revocation::Subject { subject };
        mirror.note(&Entry { seq: 4, raw: Raw::default(), at: NOW, revocation });
        assert!(ends(&mirror, "alice", 3) && ends(&mirror, "client:web", 3));
        assert!(!ends(&mirror, "alice", 4));
    }

    #[test]
    fn d17_what_has_ended_is_forgotten() {
        let mirror = mirror(10, 5);
        mirror.note(&token(1, "alice"));
        mirror.sweep(NOW.plus(Duration::from_secs(59)));
        assert_eq!(mirror.revocations(), 1);
        mirror.sweep(NOW.plus(Duration::from_secs(60)));
        assert_eq!(mirror.revocations(), 0);
    }
}
