//! Users in the database: the rows behind `users: { database: true }`.
//!
//! Logins read the row itself; requests ask the mirror, which holds who is enabled, with what scope, and under which version
//! of the credential. Everything that ends tokens gives it another version.

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::revocations::{self, Revocation};
use crate::clock::Timestamp;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::users::PasswordHash;

/// One user's row.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredUser {
    /// The name, which is the subject of the tokens.
    pub name: Subject,
    /// The stored hash, as text.
    pub password: String,
    /// The most that the user may have.
    pub scope: Scope,
    /// Whether the user is kept out.
    pub disabled: bool,
    /// Another with every new password, and with every time the user is disabled or enabled: the tokens of before are over.
    /// It is a number of the feed, so a mirror that has read so far knows this version ([`super::Mirror::reached`]).
    pub version: i64,
    /// What of the row cannot be read; the user is disabled then.
    pub unreadable: Option<&'static str>,
}

/// A row of whatever name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// The name as it stands.
    pub name: String,
    /// The user; `None` for a name that nobody can have.
    pub user: Option<StoredUser>,
}

impl StoredUser {
    /// The version as tokens name it.
    #[must_use]
    pub fn credential(&self) -> Arc<str> {
        Arc::from(format!("v{}", self.version))
    }
}

impl std::fmt::Debug for StoredUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A change of one user.
#[derive(Clone)]
pub enum UserChange {
    /// A new user. Changes nothing when the name is taken.
    Add {
        /// The stored hash.
        password: String,
        /// The most that the user may have.
        scope: Scope,
    },
    /// Another password; the tokens of the old one are over.
    Password(String),
    /// The same password in a stronger hash, if the hash is still the one that was checked; tokens go on.
    Upgrade {
        /// The hash that was checked.
        from: String,
        /// The stronger one.
        to: String,
    },
    /// Another scope.
    Scope(Scope),
    /// Keeps the user out, with every token that is still around.
    Disable,
    /// Lets a disabled user in again, to log in anew.
    Enable,
    /// Removes the user.
    Delete,
}

impl std::fmt::Debug for UserChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Add { .. } => "Add",
            Self::Password(_) => "Password",
            Self::Upgrade { .. } => "Upgrade",
            Self::Scope(_) => "Scope",
            Self::Disable => "Disable",
            Self::Enable => "Enable",
            Self::Delete => "Delete",
        })
    }
}

/// Changes one user. `false` when there was nothing to change: no such user, one of that name already, one who is not disabled,
/// or another hash by now.
pub(super) async fn change(
    connection: &mut AnyConnection,
    name: &Subject,
    change: &UserChange,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let there = "SELECT COUNT(*) FROM users WHERE name = $1";
    let there: i64 =
        sqlx::query_scalar(there).bind(name.as_str()).fetch_one(&mut *connection).await?;
    if (there > 0) == matches!(change, UserChange::Add { .. }) {
        return Ok(false);
    }
    // Every change draws a number, for the mirrors (an upgrade too: they count what logins cost). It is the version where one
    // is wanted: numbers never repeat, so a name that was deleted and comes back does not revive the tokens of before.
    let revocation = Revocation::User { name: name.clone() };
    let version = revocations::record(&mut *connection, &revocation, now).await?.seq;
    let name = name.as_str();
    let query = match change {
        UserChange::Add { password, scope } => {
            let insert = "INSERT INTO users (name, password, scope, disabled, version) \
                          VALUES ($1, $2, $3, 0, $4) ON CONFLICT DO NOTHING";
            sqlx::query(insert)
                .bind(name)
                .bind(password.as_str())
                .bind(scope.to_string())
                .bind(version)
        }
        UserChange::Password(password) => {
            sqlx::query("UPDATE users SET password = $1, version = $2 WHERE name = $3")
                .bind(password.as_str())
                .bind(version)
                .bind(name)
        }
        UserChange::Upgrade { from, to } => {
            sqlx::query("UPDATE users SET password = $1 WHERE name = $2 AND password = $3")
                .bind(to.as_str())
                .bind(name)
                .bind(from.as_str())
        }
        UserChange::Scope(scope) => sqlx::query("UPDATE users SET scope = $1 WHERE name = $2")
            .bind(scope.to_string())
            .bind(name),
        UserChange::Disable => {
            sqlx::query("UPDATE users SET disabled = 1, version = $1 WHERE name = $2")
                .bind(version)
                .bind(name)
        }
        UserChange::Enable => {
            let update =
                "UPDATE users SET disabled = 0, version = $1 WHERE name = $2 AND disabled <> 0";
            sqlx::query(update).bind(version).bind(name)
        }
        UserChange::Delete => sqlx::query("DELETE FROM users WHERE name = $1").bind(name),
    };
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

pub(super) async fn find(
    connection: &mut AnyConnection,
    name: &str,
) -> Result<Option<StoredUser>, sqlx::Error> {
    let select = "SELECT name, password, scope, disabled, version FROM users WHERE name = $1";
    let row = sqlx::query(select).bind(name).fetch_optional(connection).await?;
    Ok(row.as_ref().map(read).transpose()?.and_then(|row| row.user))
}

/// Those of these names that there are, in one way to the database and back.
pub(super) async fn find_all(
    connection: &mut AnyConnection,
    names: &[Subject],
) -> Result<Vec<StoredUser>, sqlx::Error> {
    let numbers: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
    let numbers = numbers.join(", ");
    let select = format!(
        "SELECT name, password, scope, disabled, version FROM users WHERE name IN ({numbers})"
    );
    // Nearly every time it is another text: none is worth being prepared for the next.
    let select = sqlx::query(AssertSqlSafe(select)).persistent(false);
    let select = names.iter().fold(select, |select, name| select.bind(name.as_str()));
    let rows = select.fetch_all(connection).await?;
    rows.iter().filter_map(|row| read(row).map(|row| row.user).transpose()).collect()
}

/// Up to so many users whose names come after one, in their order.
pub(super) async fn after(
    connection: &mut AnyConnection,
    name: &str,
    limit: i64,
) -> Result<Vec<StoredRow>, sqlx::Error> {
    let select = "SELECT name, password, scope, disabled, version FROM users \
                  WHERE name > $1 ORDER BY name LIMIT $2";
    let rows = sqlx::query(select).bind(name).bind(limit).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Deletes a row of whatever name.
pub(super) async fn remove_row(
    connection: &mut AnyConnection,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let delete = sqlx::query("DELETE FROM users WHERE name = $1").bind(name);
    Ok(delete.execute(connection).await?.rows_affected() > 0)
}

/// Reads a row. One that somebody else wrote, and that cannot be read, is of a user who is disabled: it must not keep this
/// node from knowing all others.
fn read(row: &AnyRow) -> Result<StoredRow, sqlx::Error> {
    let name: String = row.try_get(0)?;
    let Ok(subject) = Subject::user(&name) else { return Ok(StoredRow { name, user: None }) };
    let text = |column: usize| row.try_get::<String, _>(column).ok();
    let number = |column: usize| row.try_get::<i64, _>(column).ok();
    let (password, disabled, version) = (text(1), number(3), number(4));
    let scope = text(2).and_then(|scope| Scope::parse(&scope).ok());
    let hash = password.as_ref().filter(|password| PasswordHash::parse(password).is_ok());
    let unreadable = match (hash, &scope, disabled, version) {
        (None, ..) => Some("password hash"),
        (_, None, ..) => Some("scope"),
        (_, _, None, _) => Some("disabled"),
        (.., None) => Some("version"),
        _ => None,
    };
    let user = StoredUser {
        name: subject,
        password: password.unwrap_or_default(),
        scope: scope.unwrap_or_default(),
        disabled: disabled != Some(0) || unreadable.is_some(),
        version: version.unwrap_or_default(),
        unreadable,
    };
    Ok(StoredRow { name, user: Some(user) })
}
