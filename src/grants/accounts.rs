//! Who may log in, wherever users are kept: in the file, which the snapshot holds, or in the state store.

use std::sync::Arc;

use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::state::{Store, StoreError};
use crate::users::{PasswordHash, UserStore};

/// The accounts of one snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Accounts<'a> {
    file: &'a UserStore,
    database: Option<&'a Store>,
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
}

impl<'a> Accounts<'a> {
    /// The users of the file; or those of the database, if there is one.
    #[must_use]
    pub const fn new(file: &'a UserStore, database: Option<&'a Store>) -> Self {
        Self { file, database }
    }

    /// The account of this name, disabled or not.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not say.
    pub async fn find(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let Some(database) = self.database else {
            return Ok(self.file.find(name).map(|user| Account {
                name: user.name.clone(),
                password: Arc::clone(&user.password),
                scope: user.scope.clone(),
                disabled: user.disabled,
                credential: user.password.version(),
            }));
        };
        // A name that nobody can have is not asked for.
        if Subject::user(name).is_err() {
            return Ok(None);
        }
        let Some(row) = database.user(name).await? else { return Ok(None) };
        let password = PasswordHash::parse(&row.password);
        let password = password.map_err(|_| StoreError::Corrupt("password hash"))?;
        Ok(Some(Account {
            credential: row.credential(),
            name: row.name,
            password: Arc::new(password),
            scope: row.scope,
            disabled: row.disabled,
        }))
    }

    /// The hash that is checked for users who do not exist, so that they cost the same time.
    #[must_use]
    pub const fn dummy(&self) -> &Arc<PasswordHash> {
        self.file.dummy()
    }
}
