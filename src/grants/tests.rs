//! Users in the database log in: what their hash costs, what becomes of an old one, and what a change in between does. The rest
//! of the grants is tested beside them, and all of it over sockets in `tests/it`.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::keys::{self, Algorithm, KeyRing, KeyUse};
use crate::oauth::client::ClientId;
use crate::oauth::form::Form;
use crate::oauth::scope::{Catalogue, Scope};
use crate::oauth::subject::Subject;
use crate::random::{OsRandom, Random};
use crate::secret::Secret;
use crate::state::{Place, Roster, State, StateSettings, StoredUser, UserChange};
use crate::throttle::{Limits, Throttle};
use crate::token::Issuer;
use crate::users::{Cost, Dummy, HashPool, HashPoolSettings, PasswordHash, UserStore};

/// For `correct horse`.
const BCRYPT: &str = "$2b$04$H.zj3W3PRsXXBn0xfDhvhebSUIs7b6sz/feqRphkzH4XtNp1SBfY2";
const LOGIN: &str = "username=alice&password=correct+horse";

struct Stage {
    state: State,
    users: UserStore,
    clients: ClientRegistry,
    hashes: HashPool,
    catalogue: Catalogue,
    issuer: Issuer,
    random: Arc<dyn Random>,
    dummy: Dummy,
    throttle: Throttle,
    /// Told when a password has its thread, which then waits to be let go on.
    has_thread: Arc<Notify>,
    go_on: Sender<()>,
    _directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = StateSettings {
            clock: Arc::new(SystemClock),
            max_staleness: Duration::from_secs(300),
            users: true,
            issuer: "https://edge.example.com".to_owned(),
            roster: Roster::new(std::path::Path::new("portcullis.yaml"), []),
            observer: None,
        };
        let place = Place::Sqlite(directory.path().join("state.db"));
        let state = State::open(&place, settings).unwrap();
        while !state.mirror().is_current() {
            tokio::task::yield_now().await;
        }
        let has_thread = Arc::new(Notify::new());
        let (go_on, let_go) = channel();
        let (let_go, told) = (Mutex::new(let_go), Arc::clone(&has_thread));
        let hashes = HashPool::start(HashPoolSettings {
            workers: 1,
            queue: 8,
            deadline: Duration::from_secs(60),
            observer: Some(Arc::new(move |_| {
                told.notify_one();
                let_go.lock().recv().unwrap();
            })),
        });
        let file = keys::generate(Algorithm::EdDsa, &OsRandom).unwrap();
        let key = keys::load("k", Algorithm::EdDsa, file.expose(), KeyUse::Sign, None).unwrap();
        let ring = Arc::new(KeyRing::new(vec![key]).unwrap());
        let lifetime = Duration::from_secs(900);
        Self {
            state,
            users: UserStore::new(vec![], &OsRandom).unwrap(),
            clients: ClientRegistry::default(),
            hashes: hashes.unwrap(),
            catalogue: Catalogue::new(Scope::parse("a b").unwrap().iter().cloned()).unwrap(),
            issuer: Issuer::new("https://edge.example.com", "app", lifetime, ring),
            random: Arc::new(OsRandom),
            dummy: Dummy::default(),
            throttle: Throttle::new(Limits::default()),
            has_thread,
            go_on,
            _directory: directory,
        }
    }

    fn services(&self) -> GrantServices<'_> {
        let Self { state, random, dummy, .. } = self;
        GrantServices {
            accounts: Accounts::new(&self.users, Some(Database { state, random, dummy })),
            clients: &self.clients,
            catalogue: &self.catalogue,
            hashes: &self.hashes,
            origin: self.throttle.origin([192, 0, 2, 1].into(), now()),
            state: Some(state),
            refresh: RefreshPolicy {
                lifetime: Duration::from_secs(900),
                idle: Duration::from_secs(900),
                reuse_grace: Duration::ZERO,
            },
            issuer: &self.issuer,
            random: &**random,
        }
    }

    async fn log_in(&self, body: &str) -> Result<Grant, PasswordError> {
        let request = PasswordRequest::parse(&Form::parse(body.as_bytes()).unwrap()).unwrap();
        log_in(request, &client(), &self.services()).await
    }

    async fn change(&self, name: &str, change: UserChange) {
        let name = Subject::user(name).unwrap();
        assert!(self.state.store().change_user(&name, change).await.unwrap());
    }

    async fn add(&self, name: &str, password: &str) -> StoredUser {
        let scope = Scope::parse("a").unwrap();
        self.change(name, UserChange::Add { password: password.to_owned(), scope }).await;
        let row = self.row(name).await;
        self.state.mirror().reached(row.version).await;
        row
    }

    async fn row(&self, name: &str) -> StoredUser {
        self.state.store().user(name).await.unwrap().unwrap()
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn client() -> Client {
    Client {
        id: ClientId::parse("web").unwrap(),
        default: true,
        secret: ClientSecret::Public,
        grants: vec![GrantType::Password, GrantType::RefreshToken],
        scope: Scope::parse("a b").unwrap(),
        introspect: false,
        networks: None,
    }
}

#[tokio::test]
async fn a14_who_is_not_in_the_database_costs_what_most_of_those_in_it_do() {
    let stage = Stage::new().await;
    let dummy = || stage.services().accounts.dummy().cost();
    assert_eq!(dummy(), Cost::default());
    for name in ["alice", "bob", "carol"] {
        stage.add(name, BCRYPT).await;
    }
    assert_eq!(dummy(), Cost::Bcrypt { exponent: 4 });
    stage.go_on.send(()).unwrap();
    let refused = stage.log_in("username=nobody&password=correct+horse").await;
    assert_eq!(refused.unwrap_err(), PasswordError::Refused);
    assert_eq!(stage.hashes.hashed(), 1);
    for name in ["alice", "bob"] {
        let to = PasswordHash::create(&Secret::from("x"), &OsRandom).unwrap();
        stage.change(name, UserChange::Upgrade { from: BCRYPT.to_owned(), to }).await;
    }
    let dave = stage.add("dave", BCRYPT).await;
    assert!(dave.version > 0 && dummy() == Cost::default(), "on a tie, and after upgrades");
}

#[tokio::test]
async fn an_older_hash_becomes_argon2id_beside_the_answer_and_tokens_go_on() {
    let stage = Stage::new().await;
    let before = stage.add("alice", BCRYPT).await;
    stage.go_on.send(()).unwrap();
    let refused = stage.log_in("username=alice&password=correct+mule").await;
    assert_eq!(refused.unwrap_err(), PasswordError::Refused);
    stage.go_on.send(()).unwrap();
    let grant = stage.log_in(LOGIN).await.unwrap();
    assert_eq!(stage.hashes.hashed(), 2, "the answer does not wait for the new hash");
    assert_eq!(grant.credential, Some(before.credential()));
    assert!(stage.row("alice").await == before);

    stage.go_on.send(()).unwrap();
    let after = loop {
        let row = stage.row("alice").await;
        if row.password != BCRYPT {
            break row;
        }
    };
    let hash = PasswordHash::parse(&after.password).unwrap();
    assert_eq!(hash.matches(&Secret::from("correct horse"), &mut Vec::new()), Ok(true));
    assert!(!hash.is_legacy());
    assert_eq!(after.credential(), before.credential());

    stage.go_on.send(()).unwrap();
    stage.log_in(LOGIN).await.unwrap();
    assert_eq!(stage.hashes.depth(), 0, "nothing is left to do");
}

#[tokio::test]
async fn a_hash_that_was_changed_meanwhile_is_not_replaced() {
    let stage = Stage::new().await;
    stage.add("alice", BCRYPT).await;
    stage.go_on.send(()).unwrap();
    stage.log_in(LOGIN).await.unwrap();
    let other = PasswordHash::create(&Secret::from("another"), &OsRandom).unwrap();
    stage.change("alice", UserChange::Password(other.clone())).await;
    stage.go_on.send(()).unwrap();
    // The upgrade draws the next number, whatever comes of it.
    let number = stage.row("alice").await.version + 1;
    stage.state.mirror().reached(number).await;
    assert_eq!(stage.row("alice").await.password, other);
}

#[tokio::test]
async fn a_login_that_the_change_of_its_password_overtook_gets_tokens_that_are_dead_already() {
    let stage = Stage::new().await;
    let new = || PasswordHash::create(&Secret::from("new"), &OsRandom).unwrap();
    for change in [UserChange::Password(new()), UserChange::Disable] {
        let name = format!("user-of-{change:?}").to_lowercase();
        let old =
            stage.add(&name, &PasswordHash::create(&Secret::from("old"), &OsRandom).unwrap()).await;
        let body = format!("username={name}&password=old");
        let meanwhile = async {
            stage.has_thread.notified().await;
            stage.change(&name, change).await;
            if stage.row(&name).await.disabled {
                stage.change(&name, UserChange::Enable).await;
            }
            stage.go_on.send(()).unwrap();
        };
        let (grant, ()) = tokio::join!(stage.log_in(&body), meanwhile);
        let grant = grant.unwrap();
        assert_eq!(grant.credential, Some(old.credential()));
        assert_ne!(stage.row(&name).await.credential(), old.credential());

        let pair = issue(&grant, &stage.services(), now()).await.unwrap();
        let body = format!("refresh_token={}", pair.refresh.unwrap().expose());
        let request = RefreshRequest::parse(&Form::parse(body.as_bytes()).unwrap()).unwrap();
        let refreshed = refresh(&request, &client(), &stage.services()).await;
        assert!(matches!(refreshed, Err(RefreshError::UserChanged)));
    }
}
