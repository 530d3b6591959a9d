//! The registered clients: who may ask for tokens, how each proves itself, and what its tokens may carry.

use std::sync::Arc;

use ipnet::IpNet;

use super::Compiler;
use super::scopes::Scopes;
use super::state;
use super::values::{Names, items, network};
use crate::config::raw::{List, RawClient};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{quoted, suggestion};
use crate::grants::{Client, ClientRegistry, ClientSecret, GrantType};
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;
use crate::users::PasswordHash;

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&List<RawClient>>,
    scopes: &mut Scopes,
) -> Option<ClientRegistry> {
    let root = YamlPath::default().key("clients");
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
    place: &YamlPath,
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
    let networks = networks(compiler, &place.key("networks"), raw.networks.as_ref());
    let default = raw.default.unwrap_or(false);
    let introspect = raw.introspect.unwrap_or(false);
    if introspect && matches!(secret, Some(ClientSecret::Public)) {
        let message = "whoever introspects the tokens of others must have a secret";
        compiler.document.error(&place.key("introspect"), message);
    }
    let secret = secret?;
    let client = Client { id: id?, default, secret, grants, scope, introspect, networks };
    if client.grants.contains(&GrantType::ClientCredentials) {
        let idle = raw.scopes.as_ref().is_none_or(Vec::is_empty);
        check_machine(compiler, place, &client, idle);
    }
    Some(client)
}

/// A client that is somebody by itself must prove who it is, and its id becomes a subject.
fn check_machine(compiler: &mut Compiler<'_>, place: &YamlPath, client: &Client, idle: bool) {
    let document = &mut compiler.document;
    if let Err(error) = Subject::client(&client.id) {
        let message = format!("its tokens would speak for `client:{}`: {error}", client.id);
        document.error(&place.key("id"), message);
    }
    let grants = place.key("grants");
    if client.default {
        let message = "whoever names no client would get tokens by `client_credentials`";
        document.error_with(&grants, message, Some("give it a client of its own".to_owned()));
    } else if matches!(client.secret, ClientSecret::Public) {
        let message = "`client_credentials` is for clients with a secret";
        let hint = "`portcullis clients new` makes one, and its `secret_sha256`".to_owned();
        document.error_with(&grants, message, Some(hint));
    }
    if idle && !document.is_pruned(&place.key("scopes")) {
        let message = "without scopes it gets no token by `client_credentials`";
        document.warn(place, message, Some("machine clients pass only where scopes are named"));
    }
}

/// `None`: from anywhere. A list that was refused is no such thing.
fn networks(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<String>>,
) -> Option<Vec<IpNet>> {
    let raw = raw?;
    if raw.is_empty() {
        let message = "a client without a network could never ask";
        let hint = Some("leave the key out to let it ask from anywhere".to_owned());
        compiler.document.error_with(place, message, hint);
    }
    let networks = items(Some(raw), place);
    let document = &mut compiler.document;
    Some(networks.iter().filter_map(|(place, text)| network(document, place, text)).collect())
}

fn grants(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
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
            None => {
                let message = format!("there is no grant {}", quoted(name));
                let hint = suggestion(name, GrantType::ALL.map(GrantType::name));
                compiler.document.error_with(&place, message, hint);
            }
        }
    }
    grants
}

fn secret(compiler: &mut Compiler<'_>, place: &YamlPath, raw: &RawClient) -> Option<ClientSecret> {
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
