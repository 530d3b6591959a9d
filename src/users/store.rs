//! The users of one configuration. Immutable: a reload makes another store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::Random;
use crate::users::password::{Cost, PasswordHash, PasswordHashError};

/// One user.
#[derive(Debug, Clone)]
pub struct User {
    /// The name, which is the subject of the tokens.
    pub name: Subject,
    /// The stored hash.
    pub password: Arc<PasswordHash>,
    /// The most that the user may have.
    pub scope: Scope,
    /// Whether the user is kept out, with every token that is still around.
    pub disabled: bool,
}

/// All users.
#[derive(Debug, Clone)]
pub struct UserStore {
    users: HashMap<Subject, User>,
    dummy: Arc<PasswordHash>,
}

impl UserStore {
    /// Takes the users.
    ///
    /// # Errors
    /// [`UserStoreError`] for two of one name, and when there is no randomness for the dummy.
    pub fn new(users: Vec<User>, random: &dyn Random) -> Result<Self, UserStoreError> {
        let mut by_name = HashMap::with_capacity(users.len());
        // Who does not exist must cost what most users cost.
        let cost = Cost::usual(users.iter().map(|user| user.password.cost()));
        let dummy = Arc::new(PasswordHash::unmatchable(cost, random)?);
        for user in users {
            if let Some(twice) = by_name.insert(user.name.clone(), user) {
                return Err(UserStoreError::Repeated(twice.name));
            }
        }
        Ok(Self { users: by_name, dummy })
    }

    /// The user of this name, disabled or not.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The hash that is checked for users who do not exist, so that they cost the same time.
    #[must_use]
    pub const fn dummy(&self) -> &Arc<PasswordHash> {
        &self.dummy
    }

    /// Whether users differ in what their check costs: then its time tells some of them from the unknown.
    #[must_use]
    pub fn mixed_parameters(&self) -> bool {
        self.users.values().any(|user| user.password.cost() != self.dummy.cost())
    }

    /// All users, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }
}

/// Why users are no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserStoreError {
    /// Two users of one name.
    #[error("the user `{0}` is there twice")]
    Repeated(Subject),
    /// No dummy could be made.
    #[error(transparent)]
    Dummy(#[from] PasswordHashError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    fn user(name: &str, cost: Cost) -> User {
        User {
            name: Subject::user(name).unwrap(),
            password: Arc::new(PasswordHash::unmatchable(cost, &OsRandom).unwrap()),
            scope: Scope::default(),
            disabled: false,
        }
    }

    #[test]
    fn a14_the_dummy_costs_what_most_users_cost() {
        let store = |users| UserStore::new(users, &OsRandom).unwrap();
        let [light, heavy] =
            [8_192, 19_456].map(|memory| Cost::Argon2id { memory, passes: 5, lanes: 1 });
        let usual = store(vec![user("a", light), user("b", light), user("c", heavy)]);
        assert_eq!(usual.dummy().cost(), light);
        assert!(usual.mixed_parameters());
        assert_eq!(store(vec![user("a", light), user("c", heavy)]).dummy().cost(), heavy);
        assert_eq!(store(vec![]).dummy().cost(), Cost::default());
        assert!(!store(vec![user("a", light)]).mixed_parameters());

        let bcrypt = Cost::Bcrypt { exponent: 12 };
        let imported = store(vec![user("a", bcrypt), user("b", bcrypt), user("c", heavy)]);
        assert_eq!(imported.dummy().cost(), bcrypt);
        assert!(imported.mixed_parameters());
    }

    #[test]
    fn names_are_unique_and_exact() {
        let twice =
            UserStore::new(vec![user("a", Cost::default()), user("a", Cost::default())], &OsRandom);
        assert!(matches!(twice, Err(UserStoreError::Repeated(_))));
        let store = UserStore::new(vec![user("Alice", Cost::default())], &OsRandom).unwrap();
        assert!(store.find("Alice").is_some() && store.find("alice").is_none());
    }
}
