//! From the mirror of the file to domain types, with every mistake of meaning. Pure, given the [`Sources`].
//!
//! Each section has its own file. None of them stops at a mistake: what cannot be built is noted and left out, and the
//! configuration as a whole is given up at the end if anything was noted.

mod chain_gaps;
mod clients;
mod database_url;
mod fields;
mod hsts;
mod identity;
mod key_folder;
mod keys;
mod limits;
mod listeners;
mod login;
mod own_addresses;
mod pem_files;
mod process_settings;
mod reading;
mod routes;
mod scopes;
mod signers;
mod state;
mod tests;
mod tls;
mod tokens;
mod trusted_issuers;
mod upstream_limits;
mod upstream_tls;
mod upstreams;
mod users;
mod values;

use std::path::{Path, PathBuf};

use super::files::Files;
use super::model::{Config, KeyFolder};
use super::raw::{RawConfig, RawTokens};
use super::sources::Sources;
use super::yaml::document::Document;
use super::yaml::problem::Problem;
use crate::access::forwarded::TrustedProxies;
use crate::clock::Timestamp;

/// What every section works with.
struct Compiler<'a> {
    document: Document,
    sources: &'a dyn Sources,
    /// The directory of the file: what it names is relative to it.
    directory: PathBuf,
    now: Timestamp,
}

/// Compiles a file. The configuration is `None` when something was built from less than it needs; the caller drops it
/// as well when there is any problem.
pub(super) fn compile(
    raw: &RawConfig,
    document: Document,
    path: &Path,
    sources: &dyn Sources,
) -> (Option<Config>, Vec<Problem>, Vec<Problem>) {
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut compiler = Compiler { document, sources, directory, now: sources.now() };
    let compiler = &mut compiler;
    let mut scopes = scopes::compile(compiler, raw.scopes.as_ref());
    let trusted_proxies = listeners::trusted_proxies(compiler, raw.trusted_proxies.as_ref());
    let (listeners, admin) = listeners::compile(compiler, raw, !trusted_proxies.is_empty());
    let identity = identity::compile(compiler, raw.identity.as_ref());
    let users_in_state = raw.users.as_ref().is_some_and(|users| users.database == Some(true));
    let (tokens, issuers) = tokens::compile(compiler, raw.tokens.as_ref(), &mut scopes);
    let issuer = tokens.as_ref().map_or("", |tokens| &*tokens.issuer);
    let state = state::compile(compiler, raw.state.as_ref(), users_in_state, issuer);
    let users = users::compile(compiler, raw.users.as_ref(), &mut scopes);
    let clients = clients::compile(compiler, raw.clients.as_ref(), &mut scopes);
    let own = own_addresses::OwnAddresses::read(compiler, raw);
    let upstreams = upstreams::compile(compiler, raw.upstreams.as_ref(), &identity, &own);
    let asked = tls::are_certificates_asked(compiler, raw.listeners.as_ref());
    let known = routes::Known { upstreams: &upstreams, issuers: &issuers, certificates: asked };
    let routes = routes::compile(compiler, raw.routes.as_ref(), &known, &mut scopes);
    tls::warn_of_unused(compiler, raw.listeners.as_ref(), &routes);
    if let Some(tokens) = &tokens {
        tokens::warn_of_shadows(compiler, tokens, &routes);
        let routes = routes.iter().map(|(_, route)| route);
        listeners::check_redirects(compiler, &listeners, tokens, routes);
    }
    let tests = tests::compile(compiler, raw.tests.as_ref(), &users, &mut scopes);
    let login = login::compile(compiler, raw.login.as_ref());
    let operation = process_settings::compile(compiler, raw);
    scopes.warn_of_unused(compiler);
    let users::Users { store, problems, warnings, .. } = users;
    let document = std::mem::replace(&mut compiler.document, Document::empty());
    let (mut errors, mut remarks) = document.into_findings();
    errors.extend(problems);
    remarks.extend(warnings);
    let config = match (tokens, store, clients) {
        (Some(tokens), Some(users), Some(clients)) => Some(Config {
            listeners,
            admin,
            trusted_proxies: TrustedProxies::new(trusted_proxies),
            identity,
            catalogue: scopes.into_catalogue(),
            tokens,
            state,
            users,
            clients,
            login,
            routes: routes.into_table(),
            tests,
            operation,
            files: Files::default(),
        }),
        _ => None,
    };
    (config, errors, remarks)
}

/// Reads only what a rotation of the keys must know. `None` when no folder is named.
pub(super) fn list_keys(
    raw: Option<&RawTokens>,
    document: Document,
    path: &Path,
    sources: &dyn Sources,
) -> (Option<KeyFolder>, Vec<Problem>) {
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut compiler = Compiler { document, sources, directory, now: sources.now() };
    let folder = tokens::list_keys(&mut compiler, raw);
    (folder, compiler.document.into_findings().0)
}
