//! Who may log in, wherever users are kept: in the file, which the snapshot holds, or in the state store.
//!
//! In the store a hash of another algorithm than argon2id is replaced when its user logs in: only then is the password known.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::grants::presented::log_unavailable;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::Random;
use crate::secret::Secret;
use crate::state::{State, StoreError, StoredUser, UserChange};
use crate::users::{Asker, Dummy, HashError, HashPool, PasswordHash, UserStore};

/// How long a login waits for this node to know what the database says of the user: as long as the feed may take.
const FEED: Duration = Duration::from_secs(2);

/// The accounts of one snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Accounts<'a> {
    file: &'a UserStore,
    database: Option<Database<'a>>,
}

/// The users of the database, and what logins of theirs need.
#[derive(Debug, Clone, Copy)]
pub struct Database<'a> {
    /// The store that holds them.
    pub state: &'a State,
    /// For salts.
    pub random: &'a Arc<dyn Random>,
    /// Checked for users who do not exist.
    pub dummy: &'a Dummy,
}

/// Who asks for an account: where users are in the database, those who were proved once do not wait for those who were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// A refresh token that we made, or a client that proved itself.
    Proven,
    /// Somebody who names the user.
    ToLogIn,
}

/// One account, as it stands at this moment.
#[derive(Debug, Clone)]
pub struct Account {
    /// The user's name.
    pub name: Subject,
    /// The stored hash.
    pub password: Arc<PasswordHash>,
    /// The most that the user may have.
    pub scope: Scope,
    /// Whether the user is kept out.
    pub disabled: bool,
    /// The version of the credential, which tokens name.
    pub credential: Arc<str>,
    /// The row of the database that says all this, where it was one.
    pub row: Option<StoredUser>,
}

impl<'a> Accounts<'a> {
    /// The users of the file; or those of the database, if there is one.
    #[must_use]
    pub const fn new(file: &'a UserStore, database: Option<Database<'a>>) -> Self {
        Self { file, database }
    }

    /// The account of this name, disabled or not.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not say.
    pub async fn find(&self, name: &str, asks: Asks) -> Result<Option<Account>, StoreError> {
        let Some(database) = self.database else {
            return Ok(self.file.find(name).map(|user| Account {
                name: user.name.clone(),
                password: Arc::clone(&user.password),
                scope: user.scope.clone(),
                disabled: user.disabled,
                credential: user.password.version(),
                row: None,
            }));
        };
        // A name that nobody can have is not asked for.
        if Subject::user(name).is_err() {
            return Ok(None);
        }
        let store = database.state.store();
        let row = match asks {
            Asks::Proven => store.user(name).await?,
            Asks::ToLogIn => store.user_who_logs_in(name).await?,
        };
        let Some(row) = row else { return Ok(None) };
        // Who has an unreadable hash is disabled.
        let password = PasswordHash::parse(&row.password).map(Arc::new);
        Ok(Some(Account {
            credential: row.credential(),
            name: row.name.clone(),
            password: password.unwrap_or_else(|_| self.dummy()),
            scope: row.scope.clone(),
            disabled: row.disabled,
            row: Some(row),
        }))
    }

    /// The name, if there is a user of that name, disabled or not. From memory: what this node knows of the database.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Subject> {
        match self.database {
            None => self.file.find(name).map(|user| user.name.clone()),
            Some(Database { state, .. }) => {
                Subject::user(name).ok().filter(|name| state.mirror().knows_user(name))
            }
        }
    }

    /// The hash that is checked for users who do not exist, so that they cost the same time.
    #[must_use]
    pub fn dummy(&self) -> Arc<PasswordHash> {
        let usual = self.database.and_then(|Database { state, random, dummy }| {
            dummy.of(state.mirror().usual_cost(), &**random).ok()
        });
        usual.unwrap_or_else(|| Arc::clone(self.file.dummy()))
    }

    /// Waits until this node's mirror knows the version that the account's tokens will name: a token of who was added, enabled
    /// or given a password a moment ago would else be refused until the next poll. A feed that takes longer is not waited for.
    pub(super) async fn settled(&self, account: &Account, now: Timestamp) {
        if let (Some(Database { state, .. }), Some(row)) = (self.database, &account.row)
            && timeout(FEED, state.mirror().reached(row.version)).await.is_err()
        {
            log_unavailable(&StoreError::Late(FEED), now);
        }
    }

    /// Puts argon2id in the place of an older hash, whose password this is; tokens go on.
    ///
    /// That happens beside the answer, which neither waits for it nor shows whether it was done. It stands in the same bounded
    /// queue as logins. If it fails, the next login tries again; if the password was changed meanwhile, that stands.
    pub(super) fn upgrade(
        &self,
        account: &Account,
        password: Secret,
        asker: Asker,
        hashes: &HashPool,
    ) {
        let (Some(Database { state, random, .. }), Some(row)) = (self.database, &account.row)
        else {
            return;
        };
        let (store, random, hashes) = (state.store().clone(), Arc::clone(random), hashes.clone());
        let (name, from) = (row.name.clone(), row.password.clone());
        let stronger = async move |name: &Subject| -> Result<bool, UpgradeError> {
            let to = hashes.create(asker, password, random).await?;
            Ok(store.change_user(name, UserChange::Upgrade { from, to }).await?)
        };
        tokio::spawn(async move {
            match stronger(&name).await {
                Ok(true) => tracing::info!(user = %name, "the password is kept as argon2id now"),
                Ok(false) => tracing::debug!(user = %name, "the hash was changed meanwhile"),
                Err(error) => {
                    tracing::warn!(user = %name, %error, "the password's older hash stays for now");
                }
            }
        });
    }
}

/// Why an older hash stays.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
