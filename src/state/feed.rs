//! The feed: what other nodes, and the command line, have written, read into this node's mirror.
//!
//! It asks for what has a higher number than the last one it saw, twice a second. Numbers are committed in their order
//! (`revocations`), so nothing can appear behind it, unless the store itself is another one (`epoch`). Only a poll that ended well makes the mirror young; while the store
//! cannot be reached the mirror stays as it is and ages. Rows whose time is over are deleted here too, a bounded batch at a
//! time, by whichever node comes first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::connections::in_time;
use super::epoch::{self, Known, Look, Seen, Verdict};
use super::mirror::Mirror;
use super::offset::Said;
use super::revocations::{self, Entry, Raw, Revocation};
use super::users::{self, StoredRow, StoredUser, UserChange};
use super::writer::Write;
use super::{Store, StoreError};
use crate::clock::Clock;
use crate::oauth::subject::Subject;
use crate::random::{self, OsRandom};

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

/// How much is written back in one transaction.
const WRITTEN_BACK_AT_ONCE: usize = 256;
/// How many unreadable rows the log is told of.
const MOST_TOLD: usize = 1_000;

/// Fills the mirror and keeps it fresh, for ever.
pub(super) async fn follow(
    store: Store,
    mirror: Arc<Mirror>,
    clock: Arc<dyn Clock>,
    filled: watch::Sender<bool>,
) {
    let mut feed = Feed::new(store, mirror, clock);
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
            // Other connections may be as dead as that one, or to a server that is not the one any more.
            feed.store.feed().connector().renew();
        }
        feed.report(outcome);
        let now = feed.clock.instant();
        if ended_well && now.saturating_duration_since(purged) >= PURGE {
            // However much there is to delete, the next poll is not kept waiting for it: nothing is known of the others then.
            match feed.purge().await {
                Ok(Purged::More) => {}
                Ok(Purged::All) => {
                    purged = now;
                    // The others see by it that we are there.
                    if let Err(error) = feed.store.keep_roster().await {
                        tracing::warn!(%error, "the clients of this node could not be written down");
                    }
                }
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

/// What was read when everything was.
struct Filled {
    known: Known,
    seen: Seen,
    changed: Vec<Changed>,
}

/// A user of whom the store has lost a change.
struct Changed {
    name: Subject,
    /// Whether it was that the user is disabled.
    disable: bool,
}

fn random_epoch() -> Result<i64, StoreError> {
    let bytes = random::bytes(&OsRandom).map_err(|_| StoreError::Random)?;
    Ok(i64::from_be_bytes(bytes) & i64::MAX)
}

struct Feed {
    store: Store,
    mirror: Arc<Mirror>,
    clock: Arc<dyn Clock>,
    /// What was read; `None` before the mirror was filled.
    known: Option<Known>,
    failing: bool,
    /// The users whose rows cannot be read, of which the log has been told.
    unreadable: HashSet<String>,
    offset: Said,
}

impl Feed {
    fn new(store: Store, mirror: Arc<Mirror>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            mirror,
            clock,
            known: None,
            failing: false,
            unreadable: HashSet::new(),
            offset: Said::default(),
        }
    }

    /// Reads what is new. The mirror is as young as the beginning of this.
    async fn poll(&mut self) -> Result<(), StoreError> {
        let began = self.clock.instant();
        let long_ago = self.mirror.age().is_some_and(|age| age > REFILL);
        match self.known.clone() {
            Some(known) if !long_ago => {
                let look = match self.look(known.last).await {
                    // Another file was put in its place, an empty one.
                    Err(error) if error.is_of_a_missing_table() => {
                        self.store.prepare().await?;
                        self.look(known.last).await?
                    }
                    looked => looked?,
                };
                match known.judge(&look, self.clock.now()) {
                    Verdict::Same => {}
                    Verdict::More => {
                        let (last, row) = self.read_on(known.last, None).await?;
                        self.reach(Known { last, row: row.or(known.row), ..known });
                    }
                    Verdict::AnotherEpoch => {
                        tracing::error!(
                            "the store is another one or was older: all of it is read anew"
                        );
                        self.recover(&known).await?;
                    }
                    Verdict::Older => {
                        tracing::error!(
                            "the store is older than it was: was a backup put back, or a standby promoted?"
                        );
                        let (from, to, least) = (known.epoch, random_epoch()?, known.last);
                        self.store.write(Write::Renew { from, to, least }).await?;
                        self.recover(&known).await?;
                    }
                }
            }
            Some(known) => self.recover(&known).await?,
            None => {
                let filled = self.fill(None).await?;
                self.reach(filled.known);
            }
        }
        self.mirror.saw_all(began);
        Ok(())
    }

    /// Looks at the feed, and measures how far our clock is from the one that says the time beside it.
    async fn look(&mut self, last: i64) -> Result<Look, StoreError> {
        let mut lent = self.store.feed().lend().await?;
        let before = self.clock.wall();
        let done = in_time(epoch::look(lent.connection(), self.store.time(), last)).await;
        let look = lent.settle(done)?;
        let at = self.store.time().of_column(look.at);
        self.mirror.offset().measure(before, at, self.clock.wall());
        self.offset.say(self.mirror.clock_offset());
        Ok(look)
    }

    /// Reads everything. The number is taken first: what is written meanwhile has a higher one, and is read again later.
    async fn fill(&mut self, before: Option<&Known>) -> Result<Filled, StoreError> {
        self.store.prepare().await?;
        self.store.write(Write::Epoch(random_epoch()?)).await?;
        // Before anything is read, so that what it revokes is known here before anybody is let in.
        self.store.keep_roster().await?;
        let look = self.look(0).await?;
        let epoch = look.epoch.ok_or(StoreError::Corrupt("feed without an epoch"))?;
        let changed = match self.mirror.holds_users() {
            true => self.read_users(before).await?,
            false => Vec::new(),
        };
        let mut seen = Seen::default();
        let (read, row) = self.read_on(0, Some(&mut seen)).await?;
        let (last, row) = if read >= look.newest { (read, row) } else { (look.newest, None) };
        Ok(Filled { known: Known { epoch, last, row }, seen, changed })
    }

    /// Reads everything anew, and writes back what is known here and not there.
    async fn recover(&mut self, known: &Known) -> Result<(), StoreError> {
        let now = self.clock.now();
        let standing = self.mirror.standing(now);
        let Filled { known, seen, changed } = self.fill(Some(known)).await?;
        let mut lost: Vec<Revocation> = standing
            .into_iter()
            .filter(|(revocation, at)| seen.misses(revocation, *at))
            .map(|(revocation, _)| revocation)
            .collect();
        for Changed { name, disable } in changed {
            tracing::error!(user = %name, "the store has lost a change of this user: the tokens are revoked");
            if disable {
                self.store.change_user(&name, UserChange::Disable).await?;
            }
            lost.push(Revocation::Subject { subject: name });
        }
        if !lost.is_empty() {
            tracing::error!(
                count = lost.len(),
                "revocations that the store has lost are written back"
            );
        }
        for some in lost.chunks(WRITTEN_BACK_AT_ONCE) {
            self.store.write(Write::Restore(some.to_vec())).await?;
        }
        self.reach(known);
        Ok(())
    }

    fn reach(&mut self, known: Known) {
        self.mirror.reach(known.last);
        self.known = Some(known);
    }

    /// Reads what comes after a number. Returns the number and the row of the last.
    async fn read_on(
        &mut self,
        mut last: i64,
        mut seen: Option<&mut Seen>,
    ) -> Result<(i64, Option<Raw>), StoreError> {
        let mut row = None;
        loop {
            let entries = self.page(last).await?;
            let full = entries.len() >= usize::from(PAGE);
            self.read_changed(&entries).await?;
            for entry in entries {
                self.mirror.note(&entry);
                if let Some(seen) = &mut seen {
                    seen.note(&entry.revocation, entry.at);
                }
                (last, row) = (entry.seq, Some(entry.raw));
            }
            if !full {
                return Ok((last, row));
            }
        }
    }

    async fn page(&self, last: i64) -> Result<Vec<Entry>, StoreError> {
        let mut lent = self.store.feed().lend().await?;
        let page = revocations::after(lent.connection(), last, i64::from(PAGE));
        let done = in_time(page).await;
        lent.settle(done)
    }

    /// Reads the users whom these entries say to be changed, all at once: behind an import of thousands, whoever was removed
    /// would else wait for as many ways to the database and back.
    async fn read_changed(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        if !self.mirror.holds_users() {
            return Ok(());
        }
        let changed: HashSet<&Subject> = entries
            .iter()
            .filter_map(|entry| match &entry.revocation {
                Revocation::User { name } => Some(name),
                _ => None,
            })
            .collect();
        let names: Vec<Subject> = changed.into_iter().cloned().collect();
        let found = self.users(&names).await?;
        let there: HashMap<&Subject, &StoredUser> =
            found.iter().map(|user| (&user.name, user)).collect();
        for name in &names {
            let row = there.get(name).copied();
            self.tell(row);
            self.mirror.put_user(name, row);
        }
        Ok(())
    }

    async fn users(&self, names: &[Subject]) -> Result<Vec<StoredUser>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut lent = self.store.feed().lend().await?;
        let done = in_time(users::find_all(lent.connection(), names)).await;
        lent.settle(done)
    }

    async fn page_of_users(&self, name: &str) -> Result<Vec<StoredRow>, StoreError> {
        let mut lent = self.store.feed().lend().await?;
        let done = in_time(users::after(lent.connection(), name, i64::from(PAGE))).await;
        lent.settle(done)
    }

    /// Reads all users. Returns those of whom more was known here than there, where something was `known` before.
    async fn read_users(&mut self, known: Option<&Known>) -> Result<Vec<Changed>, StoreError> {
        let (mut name, mut seen, mut changed) = (String::new(), HashSet::new(), Vec::new());
        loop {
            let rows = self.page_of_users(&name).await?;
            for row in &rows {
                let Some(user) = &row.user else {
                    self.tell_name(&row.name, "name");
                    continue;
                };
                self.tell(Some(user));
                changed.extend(known.and_then(|known| self.lost_change(user, known)));
                self.mirror.put_user(&user.name, Some(user));
                seen.insert(user.name.clone());
            }
            match rows.last() {
                Some(row) if rows.len() == usize::from(PAGE) => row.name.clone_into(&mut name),
                _ => break,
            }
        }
        self.mirror.retain_users(&seen);
        Ok(changed)
    }

    /// Whether a row is older than what is known of its user.
    fn lost_change(&self, user: &StoredUser, known: &Known) -> Option<Changed> {
        let name = user.name.clone();
        match self.mirror.version_of(&name) {
            Some((version, disabled)) if version > user.version => {
                Some(Changed { name, disable: disabled && !user.disabled })
            }
            Some(_) => None,
            // Whoever was added since has a higher number: this one had been removed.
            None => (user.version <= known.last).then_some(Changed { name, disable: false }),
        }
    }

    /// Says once that a user's row cannot be read.
    fn tell(&mut self, user: Option<&StoredUser>) {
        if let Some((user, what)) = user.and_then(|user| Some((user, user.unreadable?))) {
            self.tell_name(user.name.as_str(), what);
        }
    }

    fn tell_name(&mut self, name: &str, what: &str) {
        if self.unreadable.len() < MOST_TOLD && self.unreadable.insert(name.to_owned()) {
            let user = name.escape_default();
            tracing::error!(%user, what, "the row of this user cannot be read: the user counts as disabled");
        }
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
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::oauth::scope::Scope;
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
        let feed = Feed::new(store, mirror, clock);
        assert_eq!(feed.purge().await.unwrap(), Purged::More);
        assert!(feed.mirror.revocations() > 0, "forgotten with the last batch only");
        assert_eq!(feed.purge().await.unwrap(), Purged::All);
        assert_eq!(feed.mirror.revocations(), 0);
        let left = async |connection: &mut _| revocations::after(connection, 0, 10).await;
        assert!(feed.store.read(left).await.unwrap().is_empty());
    }

    // Part 4, item 25d.
    #[tokio::test]
    async fn many_changed_users_are_read_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let mirror = Arc::new(Mirror::new(Arc::clone(&clock), REFILL, true));
        let place = Place::Sqlite(directory.path().join("state.db"));
        let store = Store::open(&place, Arc::clone(&clock), Arc::clone(&mirror), None).unwrap();
        let user = |number: u16| Subject::user(&format!("user-{number}")).unwrap();
        let add = || UserChange::Add { password: "unreadable".to_owned(), scope: Scope::default() };
        let mut feed = Feed::new(store.clone(), mirror, clock);
        feed.poll().await.unwrap();
        assert!(store.change_user(&user(0), add()).await.unwrap());
        feed.poll().await.unwrap();
        assert!(feed.mirror.version_of(&user(0)).is_some());
        let mut all = JoinSet::new();
        for number in 1..=300 {
            let (store, name, add) = (store.clone(), user(number), add());
            all.spawn(async move { store.change_user(&name, add).await.unwrap() });
        }
        all.join_all().await;
        assert!(store.change_user(&user(0), UserChange::Delete).await.unwrap());
        let lent = || store.feed().lent.load(Ordering::Acquire);
        let before = lent();
        feed.poll().await.unwrap();
        assert_eq!(lent() - before, 3, "a look, a page, and the users of the page");
        assert_eq!(feed.mirror.version_of(&user(0)), None, "removed");
        assert!((1..=300).all(|number| feed.mirror.version_of(&user(number)).is_some()));
    }
}
