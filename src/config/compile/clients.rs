//! The registered clients: who may ask for tokens, how each proves itself, and what its tokens may carry.

use std::sync::Arc;

use super::Compiler;
use super::scopes::Scopes;
use super::state;
use super::values::{Names, items};
use crate::config::place::Place;
use crate::config::planned::{self, PLANNED_GRANTS};
use crate::config::problem::{quoted, suggestion};
use crate::config::raw::{List, RawClient};
use crate::grants::{Client, ClientRegistry, ClientSecret, GrantType};
use crate::oauth::client::ClientId;
use crate::users::PasswordHash;

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&List<RawClient>>,
    scopes: &mut Scopes,
) -> Option<ClientRegistry> {
    let root = Place::default().key("clients");
    let mut ids = Names::default();
    let mut default = None;
    let mut clients = Vec::new();
    for (place, raw) in items(raw, &root) {
        let at = place.key("default");
        if raw.default == Some(true) {
            match default {
                Some(first) => {
                    let message = format!("a second default client; the first is on line {first}");
                    compiler.document.error(&at, message);
                }
                None => default = Some(compiler.document.line(&at)),
            }
            if raw.secret_sha256.is_some() || raw.secret_hash.is_some() {
                let message = "requests that name no client bring no secret: the default has none";
                compiler.document.error(&at, message);
            }
        }
        clients.extend(client(compiler, &place, raw, &mut ids, scopes));
    }
    if default.is_none() && (raw.is_some() || !compiler.document.has(&root)) {
        let message = "no client is the default, so token requests must name one";
        let hint = Some("`default: true` on one client");
        compiler.document.warn(&root, message, hint);
    }
    // What the registry would refuse has been said above, with its lines.
    ClientRegistry::new(clients).ok()
}

fn client(
    compiler: &mut Compiler<'_>,
    place: &Place,
    raw: &RawClient,
    ids: &mut Names,
    scopes: &mut Scopes,
) -> Option<Client> {
    let document = &mut compiler.document;
    let at = place.key("id");
    let id = document.require(raw.id.as_deref(), &at).and_then(|id| {
        ids.claim(document, &at, id);
        ClientId::parse(id).map_err(|error| document.error(&at, error.to_string())).ok()
    });
    let grants = grants(compiler, &place.key("grants"), raw.grants.as_ref());
    let secret = secret(compiler, place, raw);
    let scope = scopes.read(&mut compiler.document, &place.key("scopes"), raw.scopes.as_ref());
    let default = raw.default.unwrap_or(false);
    let introspect = raw.introspect.unwrap_or(false);
    if introspect && matches!(secret, Some(ClientSecret::Public)) {
        let message = "whoever introspects the tokens of others must have a secret";
        compiler.document.error(&place.key("introspect"), message);
    }
    Some(Client { id: id?, default, secret: secret?, grants, scope, introspect })
}

fn grants(
    compiler: &mut Compiler<'_>,
    place: &Place,
    raw: Option<&List<String>>,
) -> Vec<GrantType> {
    let mut grants = Vec::new();
    if compiler.document.require(raw, place).is_some_and(Vec::is_empty) {
        compiler.document.error(place, "a client without a grant can do nothing");
    }
    for (place, name) in items(raw, place) {
        match GrantType::parse(name) {
            Some(grant) if grants.contains(&grant) => {
                compiler.document.error(&place, format!("{} is here twice", quoted(name)));
            }
            Some(grant) => {
                if grant == GrantType::RefreshToken {
                    state::require(compiler, &place, "refresh tokens cannot be kept");
                }
                grants.push(grant);
            }
            None if PLANNED_GRANTS.contains(&name.as_str()) => {
                compiler.document.error(&place, planned::message(name));
            }
            None => {
                let message = format!("there is no grant {}", quoted(name));
                let hint = suggestion(name, GrantType::ALL.map(GrantType::name));
                compiler.document.error_with(&place, message, hint);
            }
        }
    }
    grants
}

fn secret(compiler: &mut Compiler<'_>, place: &Place, raw: &RawClient) -> Option<ClientSecret> {
    let document = &mut compiler.document;
    let (digest, hash) = (place.key("secret_sha256"), place.key("secret_hash"));
    match (&raw.secret_sha256, &raw.secret_hash) {
        // A secret that was refused does not make the client a public one.
        (None, None) => {
            let public = !document.has(&digest) && !document.has(&hash);
            public.then_some(ClientSecret::Public)
        }
        (Some(text), None) => {
            let bytes = parse_digest(text);
            if bytes.is_none() {
                document.error(&digest, "a SHA-256 has 64 hexadecimal digits");
            }
            bytes.map(ClientSecret::Sha256)
        }
        (None, Some(text)) => match PasswordHash::parse(text) {
            Ok(parsed) if parsed.is_legacy() => {
                document.error(&hash, "a client's secret is hashed with argon2id (`portcullis hash-password` makes such a hash)");
                None
            }
            Ok(parsed) => Some(ClientSecret::Hash(Arc::new(parsed))),
            Err(error) => {
                document.error(&hash, error.to_string());
                None
            }
        },
        (Some(_), Some(_)) => {
            document.error(&hash, "either `secret_sha256` or `secret_hash`, not both");
            None
        }
    }
}

fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    bytes.collect::<Option<Vec<_>>>()?.try_into().ok()
}
