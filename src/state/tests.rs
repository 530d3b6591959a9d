//! The store's contract, on SQLite in a directory of its own; `tests/it` tells the same stories through the whole product, on
//! both engines.

mod clients;
mod failures;
mod supervised;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::OsRandom;
use crate::token::Began;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const GRACE: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);

struct Stage {
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
    mirror: Arc<Mirror>,
    store: Store,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Stage {
    async fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap()).await
    }

    async fn within(directory: tempfile::TempDir) -> Self {
        let manual = Arc::new(ManualClock::new(NOW));
        let clock: Arc<dyn Clock> = Arc::clone(&manual) as _;
        let mirror = Arc::new(Mirror::new(Arc::clone(&clock), DAY, true));
        let place = Place::Sqlite(directory.path().join("below/it's 100% state?.db"));
        let batches = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&batches);
        let observer = Arc::new(move |size| seen.lock().unwrap().push(size));
        let store = Store::open(&place, clock, Arc::clone(&mirror), Some(observer)).unwrap();
        store.prepare().await.unwrap();
        Self { clock: manual, directory, mirror, store, batches }
    }

    /// Everything anew on the same file.
    async fn restarted(self) -> Self {
        let Self { directory, store, .. } = self;
        drop(store);
        Self::within(directory).await
    }

    /// Moves the clock on to this time.
    fn is_at(&self, time: Timestamp) {
        self.clock.advance(Duration::from_secs(time.as_secs() - self.clock.now().as_secs()));
    }

    async fn begin(&self) -> (Family, RefreshToken) {
        let began = self.store.began().await.unwrap();
        let (family, token) = Self::family(began);
        assert!(self.store.begin(family.clone()).await.unwrap());
        (family, token)
    }

    fn family(began: Began) -> (Family, RefreshToken) {
        let (id, tag_key) = (FamilyId::new(&OsRandom).unwrap(), TagKey::new(&OsRandom).unwrap());
        let token = RefreshToken::first(&id, &tag_key, &OsRandom).unwrap();
        let family = Family {
            id,
            subject: alice(),
            client_id: ClientId::parse("web").unwrap(),
            scope: Scope::parse("a b").unwrap(),
            credential: Arc::from("v1"),
            tag_key,
            began,
            expires_at: began.at.plus(10 * DAY),
            idle_until: began.at.plus(DAY),
            revoked: false,
            token: token.digest(),
            read_at: began.at,
        };
        (family, token)
    }

    async fn find(&self, id: &FamilyId) -> Option<Family> {
        let find =
            async |connection: &mut _| families::find(connection, id, self.store.time()).await;
        self.store.read(find).await.unwrap()
    }

    async fn rotate(
        &self,
        family: &Family,
        token: &RefreshToken,
        now: Timestamp,
    ) -> (Rotated, RefreshToken) {
        let nonce = Nonce::new(&OsRandom).unwrap();
        let successor = token.successor(&nonce, &family.tag_key).unwrap();
        self.is_at(now);
        let rotation = Rotation {
            family: family.clone(),
            presented: token.digest(),
            successor: successor.digest(),
            nonce,
            idle: DAY,
            grace: GRACE,
            access: DAY,
        };
        let rotated = self.store.rotate(rotation).await.unwrap();
        match &rotated {
            Rotated::Again(nonce) => {
                let same = token.successor(nonce, &family.tag_key).unwrap();
                (rotated, same)
            }
            _ => (rotated, successor),
        }
    }
}

fn alice() -> Subject {
    Subject::user("alice").unwrap()
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

#[tokio::test]
async fn d1_d2_a_spent_token_is_good_once_more_for_a_moment_and_then_ends_its_family() {
    let stage = Stage::new().await;
    let (family, first) = stage.begin().await;
    let (other, its) = stage.begin().await;
    let (rotated, second) = stage.rotate(&family, &first, NOW).await;
    assert_eq!(rotated, Rotated::Fresh);
    let (rotated, again) = stage.rotate(&family, &first, later(9)).await;
    assert!(matches!(rotated, Rotated::Again(_)));
    assert_eq!(again.expose(), second.expose(), "the same successor, never a second live branch");
    // The grace ends when the successor is used.
    let (rotated, third) = stage.rotate(&family, &second, later(9)).await;
    assert_eq!(rotated, Rotated::Fresh);
    assert_eq!(stage.rotate(&family, &first, later(9)).await.0, Rotated::Reused);
    assert_eq!(stage.rotate(&family, &third, later(9)).await.0, Rotated::Gone, "the newest too");
    assert_eq!(stage.mirror.revocations(), 1, "known to this node at once");
    assert_eq!(stage.rotate(&other, &its, later(9)).await.0, Rotated::Fresh, "other logins live");
}

#[tokio::test]
async fn the_grace_is_over_when_its_time_is() {
    let stage = Stage::new().await;
    let (family, first) = stage.begin().await;
    let (_, second) = stage.rotate(&family, &first, NOW).await;
    assert_eq!(stage.rotate(&family, &first, later(10)).await.0, Rotated::Reused);
    assert_eq!(stage.rotate(&family, &second, later(10)).await.0, Rotated::Gone);
}

#[tokio::test]
async fn d3_of_many_at_once_one_wins_and_the_others_get_the_same() {
    let stage = Arc::new(Stage::new().await);
    let (family, first) = stage.begin().await;
    let (family, first) = (Arc::new(family), Arc::new(first));
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let (stage, family, first) = (Arc::clone(&stage), Arc::clone(&family), Arc::clone(&first));
        all.spawn(async move { stage.rotate(&family, &first, NOW).await });
    }
    let outcomes = all.join_all().await;
    let fresh: Vec<_> = outcomes.iter().filter(|(rotated, _)| *rotated == Rotated::Fresh).collect();
    assert_eq!(fresh.len(), 1);
    assert!(outcomes.iter().all(|(_, token)| token.expose() == fresh[0].1.expose()));
    let sizes = stage.batches.lock().unwrap().clone();
    assert!(sizes.len() < 50, "writes share commits: {sizes:?}");
}

#[tokio::test]
async fn d7_a_family_ends_when_it_was_idle_or_is_old_however_much_it_is_used() {
    let stage = Stage::new().await;
    let (family, first) = stage.begin().await;
    assert_eq!(stage.rotate(&family, &first, NOW.plus(DAY)).await.0, Rotated::Gone, "idle");
    let (family, mut token) = stage.begin().await;
    let began = family.began.at;
    for half_days in 1..20 {
        let now = began.plus(DAY / 2 * half_days);
        let (rotated, next) = stage.rotate(&family, &token, now).await;
        assert_eq!(rotated, Rotated::Fresh, "{half_days}");
        token = next;
    }
    assert_eq!(stage.rotate(&family, &token, began.plus(10 * DAY)).await.0, Rotated::Gone, "old");
}

#[tokio::test]
async fn d8_everything_survives_a_restart() {
    let stage = Stage::new().await;
    let (family, first) = stage.begin().await;
    let (ended, its) = stage.begin().await;
    let (_, second) = stage.rotate(&family, &first, NOW).await;
    assert!(stage.store.end_family(&ended, DAY).await.unwrap());
    assert!(!stage.store.end_family(&ended, DAY).await.unwrap(), "only once");
    let (id, until) = ("t1".to_owned(), later(900));
    stage.store.revoke(Revocation::Token { id, subject: alice(), until }).await.unwrap();
    let stage = stage.restarted().await;
    assert_eq!(stage.mirror.revocations(), 0);
    let found = stage.find(&family.id).await.unwrap();
    assert_eq!((found.token, found.revoked), (second.digest(), false));
    assert_eq!(stage.rotate(&ended, &its, NOW).await.0, Rotated::Gone);
    assert_eq!(stage.rotate(&family, &second, NOW).await.0, Rotated::Fresh);
    let read = async |connection: &mut _| revocations::after(connection, 0, 10).await;
    let entries = stage.store.read(read).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn d17_what_is_over_is_deleted_and_nothing_else() {
    let stage = Stage::new().await;
    let (old, _) = stage.begin().await;
    let (used, token) = stage.begin().await;
    stage.rotate(&used, &token, later(60)).await;
    let (id, until) = ("t1".to_owned(), later(900));
    stage.store.revoke(Revocation::Token { id, subject: alice(), until }).await.unwrap();
    stage.store.revoke(Revocation::All).await.unwrap();
    assert_eq!(stage.store.purge(100).await.unwrap(), 0);
    stage.is_at(NOW.plus(DAY));
    assert_eq!(stage.store.purge(100).await.unwrap(), 1);
    assert!(stage.find(&old.id).await.is_none());
    assert!(stage.find(&used.id).await.is_some());
    let read = async |connection: &mut _| revocations::after(connection, 0, 10).await;
    assert_eq!(stage.store.read(read).await.unwrap().len(), 1, "what ends everything stays");
}

#[tokio::test]
async fn a_user_has_a_version_that_never_comes_back() {
    let stage = Stage::new().await;
    let add = || UserChange::Add { password: "h1".to_owned(), scope: Scope::default() };
    let change = async |change| stage.store.change_user(&alice(), change).await.unwrap();
    let version = async || stage.store.user("alice").await.unwrap().unwrap().version;
    assert!(!change(UserChange::Disable).await, "there is no such user");
    assert!(change(add()).await);
    assert!(!change(add()).await, "the name is taken");
    let mut versions = vec![version().await];
    for step in [UserChange::Password("h2".to_owned()), UserChange::Disable] {
        assert!(change(step).await);
        versions.push(version().await);
    }
    assert!(change(UserChange::Enable).await);
    versions.push(version().await);
    assert!(!change(UserChange::Enable).await, "who is not disabled keeps the tokens");
    let upgrade = |from: &str| UserChange::Upgrade { from: from.to_owned(), to: "h3".to_owned() };
    assert!(!change(upgrade("h1")).await, "somebody else was quicker");
    assert!(change(upgrade("h2")).await);
    assert_eq!(version().await, versions[3], "the password is the same");
    assert!(change(UserChange::Delete).await);
    assert!(change(add()).await);
    versions.push(version().await);
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 5);
}

#[tokio::test]
async fn a_rotation_that_is_written_twice_is_its_own_and_no_reuse() {
    let stage = Stage::new().await;
    let (family, first) = stage.begin().await;
    let nonce = Nonce::new(&OsRandom).unwrap();
    let second = first.successor(&nonce, &family.tag_key).unwrap();
    // As after a commit whose answer was lost, with no grace at all.
    let rotation = Rotation {
        family: family.clone(),
        presented: first.digest(),
        successor: second.digest(),
        nonce,
        idle: DAY,
        grace: Duration::ZERO,
        access: DAY,
    };
    for _ in 0..2 {
        assert_eq!(stage.store.rotate(rotation.clone()).await.unwrap(), Rotated::Fresh);
    }
    let other = Rotation { nonce: Nonce::new(&OsRandom).unwrap(), ..rotation };
    assert_eq!(stage.store.rotate(other).await.unwrap(), Rotated::Reused, "somebody else's is");
}

#[tokio::test]
async fn the_state_file_is_the_one_that_was_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("real/deep")).unwrap();
    // Read as a text, `link/../state.db` would be beside the link; it is beside what the link leads to.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("real/deep"), &link).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let mirror = Arc::new(Mirror::new(Arc::clone(&clock), DAY, false));
    let place = Place::Sqlite(link.join("../state.db"));
    let store = Store::open(&place, clock, mirror, None).unwrap();
    store.prepare().await.unwrap();
    store.revoke(Revocation::All).await.unwrap();
    assert!(directory.path().join("real/state.db").metadata().unwrap().len() > 0);
    assert!(!directory.path().join("state.db").exists());
}

#[tokio::test]
async fn the_state_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new().await;
    let directory = stage.directory.path().join("below");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let file = directory.join("other.db");
    for (bits, opens) in [(0o600, true), (0o640, true), (0o644, false), (0o602, false)] {
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(bits)).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let mirror = Arc::new(Mirror::new(Arc::clone(&clock), DAY, false));
        let opened = Store::open(&Place::Sqlite(file.clone()), clock, mirror, None);
        assert_eq!(opened.is_ok(), opens, "{bits:o}: {:?}", opened.err());
    }
}

// Part 4, item 24b.
#[tokio::test]
async fn a_login_and_a_rotation_that_a_revocation_overtook_get_nothing() {
    for revocation in [
        Revocation::Subject { subject: alice() },
        Revocation::Subject { subject: Subject::parse("client:web").unwrap() },
        Revocation::All,
        Revocation::AllUntil { at: NOW },
    ] {
        let stage = Stage::new().await;
        let (family, token) = stage.begin().await;
        let (overtaken, _) = Stage::family(stage.store.began().await.unwrap());
        stage.store.revoke(revocation.clone()).await.unwrap();
        assert!(!stage.store.begin(overtaken).await.unwrap(), "{revocation:?}");
        let rotated = stage.rotate(&family, &token, NOW).await.0;
        assert_eq!(rotated, Rotated::Gone, "{revocation:?}");
        // Whoever begins now is not meant, in the same second or, where a time was given, in the next.
        if revocation == (Revocation::AllUntil { at: NOW }) {
            stage.is_at(later(1));
        }
        let (family, token) = stage.begin().await;
        assert_eq!(stage.rotate(&family, &token, later(1)).await.0, Rotated::Fresh);
    }
    for revocation in [
        Revocation::Subject { subject: Subject::user("bob").unwrap() },
        Revocation::Subject { subject: Subject::parse("client:other").unwrap() },
        Revocation::AllUntil { at: NOW.minus(GRACE) },
        Revocation::User { name: alice() },
    ] {
        let stage = Stage::new().await;
        let (family, token) = stage.begin().await;
        stage.store.revoke(revocation.clone()).await.unwrap();
        let rotated = stage.rotate(&family, &token, NOW).await.0;
        assert_eq!(rotated, Rotated::Fresh, "{revocation:?}");
    }
}

// Part 4, item 24b.
#[tokio::test]
async fn a_family_of_a_version_without_numbers_is_compared_by_time() {
    let stage = Stage::new().await;
    let (family, token) = Stage::family(Began { number: None, at: NOW });
    assert!(stage.store.begin(family.clone()).await.unwrap());
    let (other, its) = Stage::family(Began { number: None, at: NOW.plus(DAY) });
    stage.store.revoke(Revocation::Subject { subject: alice() }).await.unwrap();
    assert!(stage.store.begin(other.clone()).await.unwrap());
    let found = stage.find(&family.id).await.unwrap();
    assert_eq!(found.began, family.began);
    assert!(stage.mirror.is_overtaken(&found) && !stage.mirror.is_overtaken(&other));
    assert_eq!(stage.rotate(&family, &token, NOW).await.0, Rotated::Gone);
    assert_eq!(stage.rotate(&other, &its, NOW.plus(DAY)).await.0, Rotated::Fresh);
}
