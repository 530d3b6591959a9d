//! Tokens: who we are to those who read them, how long they live, and where the own endpoints are. The keys are in `keys`
//! and `key_folder`, other issuers in `trusted_issuers`.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::Compiler;
use super::key_folder;
use super::keys::{self, Terms};
use super::routes::Routes;
use super::scopes::Scopes;
use super::state;
use super::trusted_issuers::{self, IssuerNames, Ours};
use super::values::{duration, items};
use crate::config::model::{Endpoints, KeyFolder, Tokens};
use crate::config::raw::{self, List, RawAccess, RawEndpoints, RawRefresh, RawTokens};
use crate::config::yaml::document::Document;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;
use crate::endpoints::metadata;
use crate::grants::RefreshPolicy;
use crate::keys::KeyRing;
use crate::route::host::{Host, HostPattern};
use crate::route::pattern::{PathPattern, Segment};

const SECOND: Duration = Duration::from_secs(1);
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const MAX_LEEWAY: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MAX_REFRESH: Duration = Duration::from_secs(366 * 24 * 3600);
const MAX_GRACE: Duration = Duration::from_secs(60);

/// The tokens, and who may be named as their issuer.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&RawTokens>,
    scopes: &mut Scopes,
) -> (Option<Tokens>, IssuerNames) {
    let root = YamlPath::default().key("tokens");
    let Some(raw) = compiler.document.require(raw, &root) else {
        return (None, IssuerNames::default());
    };
    let issuer = issuer(compiler, &root.key("issuer"), raw.issuer.as_deref());
    let audience = audience(compiler, &root.key("audience"), raw.audience.as_deref());
    let (lifetime, leeway) = times(compiler, &root.key("access"), raw.access.as_ref());
    let refresh = refresh(compiler, &root.key("refresh"), raw.refresh.as_ref());
    let hosts = hosts(compiler, &root.key("hosts"), raw.hosts.as_ref());
    let at = root.key("endpoints");
    let endpoints = endpoints(compiler, &at, raw.endpoints.as_ref(), issuer.as_deref());
    let keys = ring(compiler, &root, raw, lifetime.saturating_add(leeway));
    let ours = Ours { issuer: issuer.as_deref(), leeway };
    let (trusted_issuers, names) = trusted_issuers::compile(
        compiler,
        &root.key("trusted_issuers"),
        raw.trusted_issuers.as_ref(),
        &ours,
        scopes,
    );
    let tokens = match (issuer, audience, keys) {
        (Some(issuer), Some(audience), Some(keys)) => {
            let keys = Arc::new(keys);
            Some(Tokens {
                issuer,
                audience,
                hosts,
                lifetime,
                leeway,
                refresh,
                keys,
                endpoints,
                trusted_issuers,
            })
        }
        _ => None,
    };
    (tokens, names)
}

fn refresh(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawRefresh>,
) -> RefreshPolicy {
    let mut read = |key, raw: Option<&raw::Duration>, default, bounds| {
        whole_seconds(compiler, &place.key(key), |document, place| {
            duration(document, place, raw, default, bounds)
        })
    };
    let lifetime = raw.and_then(|raw| raw.lifetime.as_ref());
    let lifetime = read("lifetime", lifetime, 14 * DAY, 60 * SECOND..=MAX_REFRESH);
    let idle = raw.and_then(|raw| raw.idle.as_ref());
    let idle = read("idle", idle, 2 * DAY, 60 * SECOND..=MAX_REFRESH);
    let reuse_grace = raw.and_then(|raw| raw.reuse_grace.as_ref());
    let reuse_grace = read("reuse_grace", reuse_grace, 10 * SECOND, Duration::ZERO..=MAX_GRACE);
    RefreshPolicy { lifetime, idle, reuse_grace }
}

/// What a rotation must know.
pub(super) fn list_keys(compiler: &mut Compiler<'_>, raw: Option<&RawTokens>) -> Option<KeyFolder> {
    let root = YamlPath::default().key("tokens");
    let raw = compiler.document.require(raw, &root)?;
    let place = root.key("key_folder");
    let folder = compiler.document.require(raw.key_folder.as_deref(), &place)?;
    let (lifetime, leeway) = times(compiler, &root.key("access"), raw.access.as_ref());
    Some(key_folder::list(compiler, &place, folder, lifetime.saturating_add(leeway)))
}

/// The keys, from the one place that names them.
fn ring(
    compiler: &mut Compiler<'_>,
    root: &YamlPath,
    raw: &RawTokens,
    outlives: Duration,
) -> Option<KeyRing> {
    let (keys_at, folder_at) = (root.key("keys"), root.key("key_folder"));
    match (&raw.keys, &raw.key_folder) {
        (Some(_), Some(_)) => {
            compiler.document.error(&folder_at, "either `keys` or `key_folder`, not both");
            None
        }
        (None, Some(folder)) => key_folder::compile(compiler, &folder_at, folder, outlives),
        (None, None) if compiler.document.is_pruned(&folder_at) => None,
        (keys, None) => {
            let terms = Terms { outlives, swept: false };
            keys::compile(compiler, &keys_at, keys.as_ref(), terms)
        }
    }
}

/// How long a token lives, and how far clocks may differ.
fn times(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    access: Option<&RawAccess>,
) -> (Duration, Duration) {
    let lifetime = whole_seconds(compiler, &place.key("lifetime"), |document, place| {
        let raw = access.and_then(|access| access.lifetime.as_ref());
        duration(document, place, raw, 900 * SECOND, SECOND..=MAX_LIFETIME)
    });
    let leeway = whole_seconds(compiler, &place.key("leeway"), |document, place| {
        let raw = access.and_then(|access| access.leeway.as_ref());
        duration(document, place, raw, 30 * SECOND, Duration::ZERO..=MAX_LEEWAY)
    });
    (lifetime, leeway)
}

/// Tokens count in whole seconds.
fn whole_seconds(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    read: impl FnOnce(&mut Document, &YamlPath) -> Duration,
) -> Duration {
    let value = read(&mut compiler.document, place);
    if value.subsec_nanos() != 0 {
        compiler.document.error(place, "tokens count in whole seconds");
    }
    value
}

/// RFC 8414 section 2: an https URL without query and fragment. Plain http is for trying it out on one's own machine.
pub(super) fn issuer(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
) -> Option<String> {
    let text = compiler.document.require(raw, place)?;
    let uri = text.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let clean = text.bytes().all(|b| b.is_ascii_graphic() && !b"?#@\"\\".contains(&b));
    let accepted = clean
        && !host.is_empty()
        && match uri.as_ref().and_then(Uri::scheme_str) {
            Some("https") => true,
            Some("http") => is_loopback(host),
            _ => false,
        };
    if !accepted {
        let message = format!("{} is no https URL without query and fragment", quoted(text));
        let hint = "such as `https://edge.example.com`; http only for localhost".to_owned();
        compiler.document.error_with(place, message, Some(hint));
        return None;
    }
    Some(text.to_owned())
}

/// Whether a host is this machine, by its usual names.
pub(super) fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

pub(super) fn audience(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
) -> Option<String> {
    let text = compiler.document.require(raw, place)?;
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        compiler.document.error(place, "an audience has 1 to 256 characters of visible ASCII");
        return None;
    }
    Some(text.to_owned())
}

fn hosts(compiler: &mut Compiler<'_>, place: &YamlPath, raw: Option<&List<String>>) -> Vec<Host> {
    let mut hosts = Vec::new();
    if raw.is_some_and(Vec::is_empty) {
        let message = "no host at all would have the own endpoints";
        let hint = Some("leave the key out to have them on every host".to_owned());
        compiler.document.error_with(place, message, hint);
    }
    for (place, text) in items(raw, place) {
        match Host::parse(text) {
            Ok(host) if host.as_str() == host.name() => hosts.push(host),
            _ => {
                let message = format!("{} is no host name without a port", quoted(text));
                compiler.document.error(&place, message);
            }
        }
    }
    hosts
}

fn endpoints(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawEndpoints>,
    issuer: Option<&str>,
) -> Endpoints {
    let mut taken: Vec<(&str, String)> = Vec::new();
    let mut path = |key: &'static str, said: Option<&String>, default: &str| {
        let place = place.key(key);
        let path = endpoint(compiler, &place, said.map_or(default, String::as_str))?;
        match taken.iter().find(|(_, other)| other.eq_ignore_ascii_case(&path)) {
            Some((other, _)) => {
                compiler.document.error(&place, format!("this is the path of `{other}` as well"));
            }
            None => taken.push((key, path.clone())),
        }
        Some(path)
    };
    let said = |read: fn(&RawEndpoints) -> &Option<String>| raw.and_then(|raw| read(raw).as_ref());
    let about = metadata::default_path(issuer.unwrap_or_default());
    let token = path("token", said(|raw| &raw.token), "/token");
    let jwks = path("jwks", said(|raw| &raw.jwks), "/.well-known/jwks.json");
    let metadata = path("metadata", said(|raw| &raw.metadata), &about);
    let revoke = path("revoke", said(|raw| &raw.revoke), "/token/revoke");
    let introspect = path("introspect", said(|raw| &raw.introspect), "/token/introspect");
    let userinfo = path("userinfo", said(|raw| &raw.userinfo), "/token/userinfo");
    let place = place.key("revoke");
    let has_state = compiler.document.has(&YamlPath::default().key("state"));
    if !has_state && revoke.is_some() && compiler.document.has(&place) {
        state::require(compiler, &place, "nothing can be revoked");
    }
    let revoke = revoke.filter(|_| has_state);
    Endpoints { token, revoke, introspect, userinfo, metadata, jwks }
}

/// The own endpoints with the names that they have in the file.
fn named(endpoints: &Endpoints) -> [(&'static str, &Option<String>); 6] {
    let Endpoints { token, revoke, introspect, userinfo, metadata, jwks } = endpoints;
    [
        ("token", token),
        ("jwks", jwks),
        ("metadata", metadata),
        ("revoke", revoke),
        ("introspect", introspect),
        ("userinfo", userinfo),
    ]
}

fn endpoint(compiler: &mut Compiler<'_>, place: &YamlPath, text: &str) -> Option<String> {
    if text == "off" {
        return None;
    }
    let literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
    match PathPattern::parse(text) {
        Ok(path) if path.is_open() || !path.segments().iter().all(literal) => {
            let message = format!("{} is a pattern; an endpoint has one path", quoted(text));
            compiler.document.error(place, message);
        }
        Ok(path) if path.segments().is_empty() => {
            compiler.document.error(place, "an endpoint needs a path of its own, not `/`");
        }
        Ok(path) => return Some(path.to_string()),
        Err(error) => {
            let hint = Some("a path such as `/auth/token`, or `off`".to_owned());
            compiler.document.error_with(place, format!("{}: {error}", quoted(text)), hint);
        }
    }
    None
}

/// Warns of routes that no request reaches, because the path is ours (in any case: near-misses are refused).
pub(super) fn warn_of_shadows(compiler: &mut Compiler<'_>, tokens: &Tokens, routes: &Routes) {
    let own = named(&tokens.endpoints);
    for (place, route) in routes.iter() {
        let ours = tokens.hosts.is_empty()
            || route.host == HostPattern::Any
            || tokens.hosts.iter().any(|host| route.host.matches(host.name()));
        let path = route.path.to_string();
        let shadow = own.iter().find(|(_, endpoint)| {
            endpoint.as_ref().is_some_and(|endpoint| endpoint.eq_ignore_ascii_case(&path))
        });
        if let Some((name, _)) = shadow.filter(|_| ours) {
            let message = format!("the own endpoint `{name}` answers here instead of this route");
            let hint = Some("move it with `tokens.endpoints`, or give `tokens.hosts`");
            compiler.document.warn(&place.key("path"), message, hint);
        }
    }
}
