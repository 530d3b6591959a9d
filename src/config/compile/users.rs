//! The user file: a YAML file of its own, whose mistakes carry its own lines.

use std::sync::Arc;

use super::Compiler;
use super::scopes::Scopes;
use super::state;
use super::values::{Names, items};
use crate::config::raw::{RawUser, RawUserFile, RawUsers};
use crate::config::yaml::document::Document;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::Problem;
use crate::oauth::subject::Subject;
use crate::random::Random;
use crate::users::{Algorithm, PasswordHash, User, UserStore};

/// The users, and what was said about their file.
pub(super) struct Users {
    /// The store; `None` when it cannot be known who there is.
    pub(super) store: Option<UserStore>,
    /// Whether they are in the state store, so that this file does not know who there is.
    pub(super) in_state: bool,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&RawUsers>,
    scopes: &mut Scopes,
) -> Users {
    let mut users =
        Users { store: None, in_state: false, problems: Vec::new(), warnings: Vec::new() };
    let place = YamlPath::default().key("users");
    let Some(raw) = raw else {
        // A section that was refused is not one that is absent.
        if !compiler.document.has(&place) {
            compiler.document.warn(&place, "there are no users, so nobody can log in", None);
            users.store = UserStore::new(Vec::new(), compiler.sources.random()).ok();
        }
        return users;
    };
    if raw.database == Some(true) {
        let at = place.key("database");
        state::require(compiler, &at, "there is no database for users");
        if raw.file.is_some() {
            let message = "users are in the file or in the database, not in both";
            compiler.document.error(&at, message);
        }
        users.store = UserStore::new(Vec::new(), compiler.sources.random()).ok();
        users.in_state = true;
        return users;
    }
    let place = place.key("file");
    let Some(name) = compiler.document.require(raw.file.as_deref(), &place) else { return users };
    let Some(bytes) = compiler.read_private(&place, name) else { return users };
    let (mut document, file) = Document::read::<RawUserFile>(&compiler.path(name), &bytes);
    if let Some(file) = file {
        users.store = store(&mut document, &file, compiler.sources.random(), scopes);
    }
    let refused = document.is_refused();
    (users.problems, users.warnings) = document.into_findings();
    users.store = users.store.filter(|_| !refused);
    users
}

fn store(
    document: &mut Document,
    raw: &RawUserFile,
    random: &dyn Random,
    scopes: &mut Scopes,
) -> Option<UserStore> {
    let root = YamlPath::default().key("users");
    let list = document.require(raw.users.as_ref(), &root)?;
    let mut names = Names::default();
    let mut users = Vec::new();
    let mut legacy = Vec::new();
    for (place, raw) in items(Some(list), &root) {
        let Some(user) = user(document, &place, raw, &mut names, scopes) else { continue };
        if user.password.is_legacy() {
            legacy.push((place.key("password"), user.password.cost().algorithm()));
        }
        users.push(user);
    }
    warn_of_legacy(document, &legacy);
    match UserStore::new(users, random) {
        Ok(store) => {
            if store.mixed_parameters() {
                let message = "the passwords are hashed with different parameters";
                let hint = Some("a login's duration then tells which users exist");
                document.warn(&root, message, hint);
            }
            Some(store)
        }
        Err(error) => {
            if !document.is_refused() {
                document.error(&root, error.to_string());
            }
            None
        }
    }
}

/// One warning at the first of them: all of them would bury every other line of the report.
fn warn_of_legacy(document: &mut Document, legacy: &[(YamlPath, Algorithm)]) {
    let Some((place, algorithm)) = legacy.first() else { return };
    let message = match legacy.len() {
        1 => format!("this password is hashed with {algorithm} instead of argon2id"),
        count => format!("{count} passwords are not hashed with argon2id; this one is {algorithm}"),
    };
    let hint = "only users in the database get a new hash when they log in; here, put in what `portcullis hash-password` prints";
    document.warn(place, message, Some(hint));
}

fn user(
    document: &mut Document,
    place: &YamlPath,
    raw: &RawUser,
    names: &mut Names,
    scopes: &mut Scopes,
) -> Option<User> {
    let at = place.key("name");
    let name = document.require(raw.name.as_deref(), &at).and_then(|name| {
        names.claim(document, &at, name);
        Subject::user(name).map_err(|error| document.error(&at, error.to_string())).ok()
    });
    let at = place.key("password");
    let password = document.require(raw.password.as_deref(), &at).and_then(|text| {
        PasswordHash::parse(text).map_err(|error| document.error(&at, error.to_string())).ok()
    });
    let scope = scopes.read(document, &place.key("scopes"), raw.scopes.as_ref());
    let disabled = raw.disabled.unwrap_or(false);
    Some(User { name: name?, password: Arc::new(password?), scope, disabled })
}
