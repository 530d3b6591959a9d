//! The cached users of the database: their scope and credential for requests, and the cost of their password hashes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;

use super::users::StoredUser;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::users::{Cost, PasswordHash};

/// A cached user. Only enabled users are cached in this form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedUser {
    /// The most that the user may have.
    pub scope: Scope,
    /// The version of the credential that tokens must name.
    pub credential: Arc<str>,
}

/// All users. Written by the feed alone, one row after the other.
#[derive(Debug, Default)]
pub(super) struct UserCache {
    rows: DashMap<Subject, Row>,
    /// How many rows have which cost.
    costs: Mutex<HashMap<Cost, usize>>,
}

/// A user, disabled or not: the disabled are counted too, since logins for them cost the same.
#[derive(Debug)]
struct Row {
    /// `None` for who is disabled.
    enabled: Option<CachedUser>,
    version: i64,
    /// `None` for a hash that cannot be read.
    cost: Option<Cost>,
}

impl UserCache {
    /// What a user may have now; `None` for who is unknown or disabled.
    pub(super) fn find(&self, name: &Subject) -> Option<CachedUser> {
        self.rows.get(name)?.enabled.clone()
    }

    /// Whether there is such a user, disabled or not.
    pub(super) fn knows(&self, name: &Subject) -> bool {
        self.rows.contains_key(name)
    }

    /// The version of a user's row, and whether the user is disabled.
    pub(super) fn version_of(&self, name: &Subject) -> Option<(i64, bool)> {
        self.rows.get(name).map(|row| (row.version, row.enabled.is_none()))
    }

    /// Puts a user as the row says, or takes one out that has none.
    pub(super) fn put(&self, name: &Subject, row: Option<&StoredUser>) {
        let before = match row {
            Some(row) => {
                let enabled = CachedUser { scope: row.scope.clone(), credential: row.credential() };
                let enabled = Some(enabled).filter(|_| !row.disabled);
                let cost = PasswordHash::parse(&row.password).ok().map(|hash| hash.cost());
                self.count(cost);
                self.rows.insert(name.clone(), Row { enabled, version: row.version, cost })
            }
            None => self.rows.remove(name).map(|(_, row)| row),
        };
        self.discount(before.and_then(|row| row.cost));
    }

    /// Takes out every user who is not among those that were seen.
    pub(super) fn retain(&self, seen: &HashSet<Subject>) {
        self.rows.retain(|name, row| {
            let stays = seen.contains(name);
            if !stays {
                self.discount(row.cost);
            }
            stays
        });
    }

    /// The cost that most have.
    pub(super) fn usual_cost(&self) -> Cost {
        Cost::usual_of(self.costs.lock().iter().map(|(cost, count)| (*cost, *count)))
    }

    fn count(&self, cost: Option<Cost>) {
        if let Some(cost) = cost {
            *self.costs.lock().entry(cost).or_default() += 1;
        }
    }

    fn discount(&self, cost: Option<Cost>) {
        let Some(cost) = cost else { return };
        let mut costs = self.costs.lock();
        if let Some(count) = costs.get_mut(&cost) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                costs.remove(&cost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2b$04$H.zj3W3PRsXXBn0xfDhvhebSUIs7b6sz/feqRphkzH4XtNp1SBfY2";
    const ARGON2ID: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn name(name: &str) -> Subject {
        Subject::user(name).unwrap()
    }

    fn row(of: &str, password: &str, disabled: bool) -> StoredUser {
        let (scope, password) = (Scope::parse("a").unwrap(), password.to_owned());
        StoredUser { name: name(of), password, scope, disabled, version: 7, unreadable: None }
    }

    #[test]
    fn only_who_is_enabled_is_found() {
        let users = UserCache::default();
        users.put(&name("alice"), Some(&row("alice", ARGON2ID, false)));
        let enabled = users.find(&name("alice")).unwrap();
        assert_eq!((&*enabled.credential, enabled.scope.to_string()), ("v7", "a".to_owned()));
        users.put(&name("alice"), Some(&row("alice", ARGON2ID, true)));
        assert_eq!(users.find(&name("alice")), None);
        users.put(&name("alice"), None);
        assert_eq!(users.find(&name("alice")), None);
        assert_eq!(users.find(&name("bob")), None);
    }

    #[test]
    fn a14_the_usual_cost_follows_the_rows() {
        let (bcrypt, argon2id) = (Cost::Bcrypt { exponent: 4 }, Cost::default());
        let users = UserCache::default();
        assert_eq!(users.usual_cost(), argon2id);
        for (of, disabled) in [("a", false), ("b", true), ("c", false)] {
            users.put(&name(of), Some(&row(of, BCRYPT, disabled)));
            users.put(&name(of), Some(&row(of, BCRYPT, disabled)));
        }
        assert_eq!(users.usual_cost(), bcrypt, "the disabled are counted, and nobody twice");
        users.put(&name("a"), Some(&row("a", ARGON2ID, false)));
        assert_eq!(users.usual_cost(), bcrypt);
        users.put(&name("b"), None);
        users.put(&name("b"), None);
        assert_eq!(users.usual_cost(), argon2id);
        users.put(&name("b"), Some(&row("b", BCRYPT, false)));
        users.put(&name("b"), Some(&row("b", "unreadable", false)));
        users.retain(&[name("a")].into());
        assert_eq!(*users.costs.lock(), HashMap::from([(argon2id, 1)]));
        assert!(users.find(&name("a")).is_some() && users.find(&name("c")).is_none());
    }
}
