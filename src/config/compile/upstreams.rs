//! The upstreams: the addresses behind each name, how long to wait for them, and what their paths may look like.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Compiler;
use super::fields;
use super::own_addresses::OwnAddresses;
use super::upstream_limits;
use super::upstream_tls;
use super::values::{Names, duration, duration_or_off, items, size_or_off};
use crate::access::identity::Identity;
use crate::config::raw::{List, RawPaths, RawTimeouts, RawUpstream, Table};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{quoted, suggestion};
use crate::route::allowance::{Allowance, PathAllowances};
use crate::route::host::Host;
use crate::route::upstream::{
    BUFFER_REQUEST, PathCase, PathReading, PathSuffix, Timeouts, Upstream,
};

const LEAST_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// A device that reports once a week; whoever means "never" says `off`.
const MAX_TUNNEL_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Each request that is gathered holds so much memory.
const MOST_GATHERED: u64 = 1024 * 1024;

/// The addresses of each server.
type Addresses = Vec<Vec<SocketAddr>>;

/// The upstreams by name.
pub(super) type Upstreams = BTreeMap<String, Arc<Upstream>>;

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&Table<RawUpstream>>,
    identity: &Identity,
    own: &OwnAddresses,
) -> Upstreams {
    let root = YamlPath::default().key("upstreams");
    let mut upstreams = BTreeMap::new();
    for (name, raw) in raw.into_iter().flatten() {
        let place = root.key(name);
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(letters) {
            let message = "a name has 1 to 64 letters, digits, `-`, `_` and `.`";
            compiler.document.error(&place, message);
        }
        let Some(raw) = raw else { continue };
        let servers = servers(compiler, &place.key("servers"), raw.servers.as_ref(), own);
        let allow = allowances(compiler, &place.key("paths").key("allow"), raw.paths.as_ref());
        let timeouts = timeouts(compiler, &place.key("timeouts"), raw.timeouts.as_ref());
        let limits = upstream_limits::compile(compiler, &place.key("limits"), raw.limits.as_ref());
        let gathered = buffer_request(compiler, &place.key("buffer_request"), raw);
        let tls = raw.tls.as_ref().and_then(|tls| {
            upstream_tls::compile(compiler, &place.key("tls"), tls, raw.servers.as_ref())
        });
        let reads = reads(compiler, &place.key("paths"), raw.paths.as_ref());
        let place = place.key("headers");
        let passed = fields::compile(compiler, &place, raw.headers.as_ref(), identity);
        let upstream = Upstream::new(name, servers, timeouts, allow).reading(reads);
        let upstream = upstream.over(tls).limited(limits).gathering(gathered).passing(passed);
        upstreams.insert(name.clone(), Arc::new(upstream));
    }
    upstreams
}

fn buffer_request(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawUpstream,
) -> Option<usize> {
    let document = &mut compiler.document;
    let usual = u64::try_from(BUFFER_REQUEST).ok();
    let size = size_or_off(document, place, raw.buffer_request.as_ref(), usual, 1..=MOST_GATHERED);
    size.and_then(|size| usize::try_from(size).ok())
}

fn servers(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<String>>,
    own: &OwnAddresses,
) -> Addresses {
    if compiler.document.require(raw, place).is_some_and(Vec::is_empty) {
        compiler.document.error(place, "there must be at least one server");
    }
    let mut servers: Addresses = Vec::new();
    let mut names = Names::default();
    for (place, text) in items(raw, place) {
        names.claim(&mut compiler.document, &place, text);
        let resolved = server(compiler, &place, text);
        own.check(compiler, &place, text, &resolved);
        let mut addresses = Vec::new();
        for address in resolved {
            // Two names may stand for one machine; it then has one turn.
            let is_known =
                servers.iter().flatten().chain(&addresses).any(|known| *known == address);
            if !is_known {
                addresses.push(address);
            }
        }
        servers.push(addresses);
    }
    servers
}

fn server(compiler: &mut Compiler<'_>, place: &YamlPath, text: &str) -> Vec<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>()
        && address.port() != 0
    {
        return vec![address];
    }
    let parts = text.rsplit_once(':').and_then(|(name, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        let host = Host::parse(name).ok().filter(|host| host.as_str() == host.name())?;
        Some((host, port))
    });
    let Some((host, port)) = parts else {
        let message = format!("{} is no host with a port", quoted(text));
        let hint = match text {
            _ if text.starts_with("https://") => {
                "without `https://`; say `tls: {}` beside `servers`"
            }
            _ if text.starts_with("http://") => "without `http://`",
            _ => "such as `10.0.0.11:8080`",
        };
        compiler.document.error_with(place, message, Some(hint.to_owned()));
        return Vec::new();
    };
    match compiler.sources.resolve(host.name(), port) {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => {
            compiler.document.error(place, format!("{} has no address", quoted(host.name())));
            Vec::new()
        }
        Err(error) => {
            let message = format!("{} cannot be resolved: {error}", quoted(host.name()));
            compiler.document.error(place, message);
            Vec::new()
        }
    }
}

fn allowances(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawPaths>,
) -> PathAllowances {
    let mut allow = PathAllowances::default();
    for (place, name) in items(raw.and_then(|raw| raw.allow.as_ref()), place) {
        match Allowance::ALL.into_iter().find(|allowance| allowance.name() == name) {
            Some(allowance) => allow = allow.with(allowance),
            None => {
                let message = format!("there is no spelling {} to allow", quoted(name));
                let hint = suggestion(name, Allowance::ALL.map(Allowance::name));
                compiler.document.error_with(&place, message, hint);
            }
        }
    }
    allow
}

/// How it reads paths. A word that is not known leaves the default, which is the strictest.
fn reads(compiler: &mut Compiler<'_>, place: &YamlPath, raw: Option<&RawPaths>) -> PathReading {
    let mut read = |key: &str, word: Option<&String>, words: &[&'static str]| {
        let word = word?;
        let found = words.iter().copied().find(|known| known == word);
        if found.is_none() {
            let message = format!("{} is not a way to read a path", quoted(word));
            let hint = suggestion(word, words.iter().copied());
            compiler.document.error_with(&place.key(key), message, hint);
        }
        found
    };
    let case = raw.and_then(|raw| raw.case.as_ref());
    let case = match read("case", case, &["sensitive", "insensitive"]) {
        Some("sensitive") => PathCase::Sensitive,
        Some(_) => PathCase::Insensitive,
        None => PathCase::Unknown,
    };
    let suffix = raw.and_then(|raw| raw.suffix.as_ref());
    let suffix = match read("suffix", suffix, &["literal"]) {
        Some(_) => PathSuffix::Literal,
        None => PathSuffix::Unknown,
    };
    PathReading { case, suffix }
}

fn timeouts(compiler: &mut Compiler<'_>, place: &YamlPath, raw: Option<&RawTimeouts>) -> Timeouts {
    let usual = Timeouts::default();
    let Some(raw) = raw else { return usual };
    let document = &mut compiler.document;
    let bounds = LEAST_TIMEOUT..=MAX_TIMEOUT;
    let mut read = |key: &str, value: Option<&crate::config::raw::Duration>, usual| {
        duration(document, &place.key(key), value, usual, bounds.clone())
    };
    let connect = read("connect", raw.connect.as_ref(), usual.connect);
    let idle = read("idle", raw.idle.as_ref(), usual.idle);
    let mut read_or_off = |key: &str, value: Option<&crate::config::raw::Duration>, usual, most| {
        duration_or_off(document, &place.key(key), value, usual, LEAST_TIMEOUT..=most)
    };
    let read = read_or_off("read", raw.read.as_ref(), usual.read, MAX_TIMEOUT);
    let tunnel = read_or_off("tunnel", raw.tunnel.as_ref(), usual.tunnel, MAX_TUNNEL_TIMEOUT);
    Timeouts { connect, read, idle, tunnel }
}
