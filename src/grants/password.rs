//! The resource owner password credentials grant (RFC 6749 section 4.3).
//!
//! RFC 9700 section 2.4 advises against it; it is what applications without a browser flow have, and it is offered only to
//! clients that list it. Unknown, disabled and mistaken users cost one hash of the same size and are told the same.

use std::sync::Arc;

use crate::grants::accounts::Asks;
use crate::grants::client::{Client, GrantType};
use crate::grants::issue::{Grant, Lineage};
use crate::grants::presented::log_unavailable;
use crate::grants::services::GrantServices;
use crate::oauth::form::Form;
use crate::oauth::scope::Scope;
use crate::oauth::subject::MAX_SUBJECT_BYTES;
use crate::secret::Secret;
use crate::state::StoreError;
use crate::throttle::{Account, Wait};
use crate::users::{HashError, MAX_PASSWORD_BYTES};

/// The grant's parameters.
#[derive(Debug)]
pub struct PasswordRequest {
    username: String,
    password: Secret,
    scope: Option<Scope>,
}

impl PasswordRequest {
    /// Reads them from the form. Lengths are bounded here, before anything is hashed.
    ///
    /// # Errors
    /// [`PasswordError::Missing`], [`PasswordError::TooLong`] or [`PasswordError::Scope`].
    pub fn parse(form: &Form) -> Result<Self, PasswordError> {
        let username = form.value("username").ok_or(PasswordError::Missing)?;
        let password = form.value("password").ok_or(PasswordError::Missing)?;
        if username.len() > MAX_SUBJECT_BYTES || password.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        let scope = form.value("scope").map(Scope::parse).transpose();
        Ok(Self {
            username: username.to_owned(),
            password: Secret::from(password),
            scope: scope.map_err(|_| PasswordError::Scope)?,
        })
    }
}

/// Checks the password and says what is granted: what was asked for, and no more than the user and the client may have. Without
/// a scope in the request, all of that. A scope that nobody declared is a mistake, not a wish to be narrowed.
///
/// # Errors
/// [`PasswordError`].
pub async fn log_in(
    request: PasswordRequest,
    client: &Client,
    services: &GrantServices<'_>,
) -> Result<Grant, PasswordError> {
    let GrantServices { accounts, catalogue, hashes, .. } = services;
    if !client.grants.contains(&GrantType::Password) {
        return Err(PasswordError::Unauthorized);
    }
    let declared = |scope: &Scope| scope.iter().all(|name| catalogue.contains(name.as_str()));
    if !request.scope.as_ref().is_none_or(declared) {
        return Err(PasswordError::Scope);
    }
    let attempt = services.origin.check(Account::user(&request.username))?;
    let unavailable = |error| unavailable(&error, services);
    // Before anything that a revocation could overtake.
    let began = match services.state {
        Some(state) => Some(state.store().began().await.map_err(unavailable)?),
        None => None,
    };
    let account = accounts.find(&request.username, Asks::ToLogIn).await.map_err(unavailable)?;
    let known = account.as_ref().map(|account| Arc::clone(&account.password));
    let hash = known.unwrap_or_else(|| accounts.dummy());
    let older = hash.is_legacy().then(|| request.password.clone());
    let asker = attempt.asker();
    let matches = hashes.verify(asker.clone(), request.password, hash).await?;
    // The user may have been changed while the password waited for its thread. The tokens name the version of before, which
    // every request and every refresh compares with the one of then: what is granted here is then dead already.
    let Some(user) = account.filter(|account| matches && !account.disabled) else {
        attempt.failed()?;
        return Err(PasswordError::Refused);
    };
    attempt.succeeded()?;
    if let Some(password) = older {
        accounts.upgrade(&user, password, asker, hashes);
    }
    accounts.settled(&user, services.now()).await;
    let most =
        user.scope.intersection(&client.scope).intersection(&catalogue.iter().cloned().collect());
    let scope = match request.scope {
        None => most,
        Some(wanted) => {
            let granted = wanted.intersection(&most);
            if granted.is_empty() {
                return Err(PasswordError::Scope);
            }
            granted
        }
    };
    let goes_on = client.grants.contains(&GrantType::RefreshToken) && services.state.is_some();
    Ok(Grant {
        subject: user.name,
        client_id: client.id.clone(),
        scope,
        credential: Some(user.credential),
        began,
        lineage: if goes_on { Lineage::Begins } else { Lineage::Single },
    })
}

fn unavailable(error: &StoreError, services: &GrantServices<'_>) -> PasswordError {
    log_unavailable(error, services.now());
    PasswordError::Unavailable
}

/// Why nothing is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// No user name or no password.
    #[error("username and password are required")]
    Missing,
    /// A user name or password that nobody has.
    #[error("the user name or password is too long")]
    TooLong,
    /// The scope is malformed or undeclared, or nothing of it can be granted.
    #[error("nothing of the requested scope can be granted")]
    Scope,
    /// The client may not use this grant.
    #[error("the client may not use the password grant")]
    Unauthorized,
    /// Unknown user, wrong password, or disabled: nobody is told which.
    #[error("the user name or password is wrong")]
    Refused,
    /// The state store, where users are kept, does not say.
    #[error("the state store does not answer")]
    Unavailable,
    /// Too many passwords were wrong before.
    #[error(transparent)]
    Throttled(#[from] Wait),
    /// The password could not be checked now.
    #[error(transparent)]
    Hash(#[from] HashError),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::grants::client::ClientSecret;
    use crate::grants::{Accounts, ClientRegistry, RefreshPolicy};
    use crate::keys::{self, Algorithm, KeyRing, KeyUse};
    use crate::oauth::client::ClientId;
    use crate::oauth::scope::Catalogue;
    use crate::oauth::subject::Subject;
    use crate::random::OsRandom;
    use crate::throttle::{Limits, Throttle};
    use crate::token::Issuer;
    use crate::users::{HashPool, HashPoolSettings, PasswordHash, User, UserStore};

    struct Stage {
        users: UserStore,
        clients: ClientRegistry,
        hashes: HashPool,
        catalogue: Catalogue,
        issuer: Issuer,
        throttle: Throttle,
    }

    fn stage() -> Stage {
        let stored = PasswordHash::create(&Secret::from("right"), &OsRandom).unwrap();
        let password = Arc::new(PasswordHash::parse(&stored).unwrap());
        let user = |name: &str, disabled| User {
            name: Subject::user(name).unwrap(),
            password: Arc::clone(&password),
            scope: Scope::parse("a b").unwrap(),
            disabled,
        };
        let (workers, queue, deadline) = (1, 8, Duration::from_secs(60));
        let settings = HashPoolSettings { workers, queue, deadline, observer: None };
        let file = keys::generate(Algorithm::EdDsa, &OsRandom).unwrap();
        let key = keys::load("k", Algorithm::EdDsa, file.expose(), KeyUse::Sign, None).unwrap();
        let ring = Arc::new(KeyRing::new(vec![key]).unwrap());
        Stage {
            clients: ClientRegistry::default(),
            issuer: Issuer::new("https://edge.example.com", "app", deadline, ring),
            users: UserStore::new(vec![user("alice", false), user("gone", true)], &OsRandom)
                .unwrap(),
            hashes: HashPool::start(settings).unwrap(),
            catalogue: Catalogue::new(Scope::parse("a b c").unwrap().iter().cloned()).unwrap(),
            throttle: Throttle::new(Limits::default()),
        }
    }

    fn client(grants: Vec<GrantType>) -> Client {
        let (id, scope) = (ClientId::parse("web").unwrap(), Scope::parse("b c").unwrap());
        let secret = ClientSecret::Public;
        Client { id, default: true, secret, grants, scope, introspect: false, networks: None }
    }

    impl Stage {
        async fn ask(&self, client: &Client, body: &str) -> Result<String, PasswordError> {
            let request = PasswordRequest::parse(&Form::parse(body.as_bytes()).unwrap())?;
            let services = GrantServices {
                accounts: Accounts::new(&self.users, None),
                clients: &self.clients,
                catalogue: &self.catalogue,
                hashes: &self.hashes,
                origin: self.throttle.origin([192, 0, 2, 1].into(), Timestamp::from_secs(1)),
                state: None,
                refresh: RefreshPolicy {
                    lifetime: Duration::ZERO,
                    idle: Duration::ZERO,
                    reuse_grace: Duration::ZERO,
                },
                issuer: &self.issuer,
                random: &OsRandom,
            };
            let grant = log_in(request, client, &services).await?;
            Ok(format!("{} {}", grant.subject(), grant.scope()))
        }
    }

    #[tokio::test]
    async fn a10_a36_a_client_uses_only_the_grants_that_it_lists() {
        let stage = stage();
        let body = "username=alice&password=right";
        assert_eq!(stage.ask(&client(vec![]), body).await, Err(PasswordError::Unauthorized));
        assert_eq!(stage.hashes.hashed(), 0, "and costs no hash");
        assert_eq!(
            stage.ask(&client(vec![GrantType::Password]), body).await,
            Ok("alice b".to_owned())
        );
    }

    #[tokio::test]
    async fn a13_a14_unknown_disabled_and_mistaken_users_cost_one_hash_of_the_same_size() {
        let stage = stage();
        let client = client(vec![GrantType::Password]);
        let bodies = [
            "username=nobody&password=right",
            "username=gone&password=right",
            "username=alice&password=wrong",
        ];
        for (done, body) in bodies.iter().enumerate() {
            assert_eq!(stage.ask(&client, body).await, Err(PasswordError::Refused), "{body}");
            assert_eq!(stage.hashes.hashed(), done + 1, "{body}");
        }
        assert_eq!(stage.users.dummy().cost(), stage.users.find("alice").unwrap().password.cost());
        assert!(stage.ask(&client, "username=alice&password=right").await.is_ok());
    }

    #[tokio::test]
    async fn a17_a_scope_is_narrowed_and_never_widened() {
        let stage = stage();
        let client = client(vec![GrantType::Password]);
        for (scope, granted) in [
            ("", Ok("alice b")),
            ("&scope=b", Ok("alice b")),
            ("&scope=a+b+c", Ok("alice b")),
            ("&scope=a", Err(PasswordError::Scope)),
            ("&scope=b+unknown", Err(PasswordError::Scope)),
            ("&scope=b++a", Err(PasswordError::Scope)),
        ] {
            let body = format!("username=alice&password=right{scope}");
            assert_eq!(stage.ask(&client, &body).await, granted.map(str::to_owned), "{scope}");
        }
    }

    #[tokio::test]
    async fn a33_who_has_guessed_too_often_waits_and_costs_no_hash() {
        let stage = stage();
        let client = client(vec![GrantType::Password]);
        for name in ["alice", "nobody", "gone"] {
            let body = format!("username={name}&password=wrong");
            for _ in 0..5 {
                assert_eq!(stage.ask(&client, &body).await, Err(PasswordError::Refused), "{name}");
            }
            let hashed = stage.hashes.hashed();
            let wait = PasswordError::Throttled(Wait { retry_after: Duration::from_mins(5) });
            assert_eq!(stage.ask(&client, &body).await, Err(wait), "{name}");
            let right = format!("username={name}&password=right");
            assert_eq!(stage.ask(&client, &right).await, Err(wait), "{name}");
            assert_eq!(stage.hashes.hashed(), hashed);
        }
    }

    #[tokio::test]
    async fn what_could_not_be_checked_is_no_failure() {
        let mut stage = stage();
        let settings =
            HashPoolSettings { workers: 1, queue: 8, deadline: Duration::ZERO, observer: None };
        let pool = std::mem::replace(&mut stage.hashes, HashPool::start(settings).unwrap());
        let client = client(vec![GrantType::Password]);
        for _ in 0..20 {
            let asked = stage.ask(&client, "username=alice&password=wrong").await;
            assert_eq!(asked, Err(PasswordError::Hash(HashError::Busy)));
        }
        stage.hashes = pool;
        assert!(stage.ask(&client, "username=alice&password=right").await.is_ok());
    }

    #[tokio::test]
    async fn a27_lengths_are_bounded_before_anything_is_hashed() {
        let stage = stage();
        let client = client(vec![GrantType::Password]);
        let long = "x".repeat(MAX_PASSWORD_BYTES + 1);
        for body in
            [format!("username=alice&password={long}"), format!("username={long}&password=x")]
        {
            assert_eq!(stage.ask(&client, &body).await, Err(PasswordError::TooLong));
        }
        assert_eq!(stage.ask(&client, "username=alice").await, Err(PasswordError::Missing));
        assert_eq!(stage.hashes.hashed(), 0);
    }
}
