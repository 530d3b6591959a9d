//! The routes, each for itself and then against each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Compiler;
use super::scopes::Scopes;
use super::tls::certificate_rule;
use super::trusted_issuers::IssuerNames;
use super::upstreams::Upstreams;
use super::values::{Names, items, size};
use crate::config::raw::{List, RawRoute, RawScopes};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{nearest, quoted, suggestion};
use crate::oauth::scope::Scope;
use crate::route::allowance::PathAllowances;
use crate::route::certificate::CertificateRule;
use crate::route::host::HostPattern;
use crate::route::method::MethodSet;
use crate::route::overlap::{Finding, FindingKind, findings};
use crate::route::pattern::PathPattern;
use crate::route::rule::{AccessRule, Requirement, TrustedIssuers};
use crate::route::table::{Route, RouteTable};
use crate::route::upstream::{Timeouts, Upstream};

/// The routes that are known well enough to be compared, with their places.
pub(super) struct Routes(Vec<Candidate>);

/// What routes may name.
pub(super) struct Known<'a> {
    pub(super) upstreams: &'a Upstreams,
    pub(super) issuers: &'a IssuerNames,
    /// Whether any listener asks clients for certificates.
    pub(super) certificates: bool,
}

/// A route, and whether it is one: where its rule or upstream was refused, something stands in that is only good for
/// finding out where it ties.
struct Candidate {
    place: YamlPath,
    route: Route,
    complete: bool,
}

impl Candidate {
    fn believing(mut self, trusted: Option<TrustedIssuers>) -> Self {
        self.complete &= trusted.is_some();
        self.route.trusted = trusted.unwrap_or_default();
        self
    }

    fn admitting(mut self, certificate: Option<CertificateRule>, sound: bool) -> Self {
        self.complete &= sound;
        self.route.certificate = certificate;
        self
    }
}

impl Routes {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&YamlPath, &Route)> {
        self.0.iter().map(|candidate| (&candidate.place, &candidate.route))
    }

    pub(super) fn into_table(self) -> RouteTable {
        let complete = self.0.into_iter().filter(|candidate| candidate.complete);
        RouteTable::new(complete.map(|candidate| candidate.route).collect())
    }
}

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&List<RawRoute>>,
    known: &Known<'_>,
    scopes: &mut Scopes,
) -> Routes {
    let Known { upstreams, issuers, certificates } = *known;
    let root = YamlPath::default().key("routes");
    if compiler.document.require(raw, &root).is_some_and(Vec::is_empty) {
        compiler.document.warn(&root, "without routes every request is answered with 404", None);
    }
    let mut ids = Names::default();
    let mut used = BTreeSet::new();
    let mut named = BTreeSet::new();
    let mut routes = Vec::new();
    for (place, raw) in items(raw, &root) {
        used.extend(raw.upstream.clone());
        let trusted = trusted(compiler, &place.key("issuers"), raw, issuers, &mut named);
        let certificate_place = place.key("client_certificate");
        let certificate = raw.client_certificate.as_ref();
        let certificate = certificate_rule(compiler, &certificate_place, certificate, certificates);
        // One that was refused is not "none needed".
        let sound = certificate.is_some() || !compiler.document.has(&certificate_place);
        let route = route(compiler, &place, raw, upstreams, &mut ids, scopes);
        let believing = |candidate: Candidate| candidate.believing(trusted);
        routes.extend(route.map(believing).map(|own| own.admitting(certificate, sound)));
    }
    for name in upstreams.keys().filter(|name| !used.contains(*name)) {
        let place = YamlPath::default().key("upstreams").key(name);
        compiler.document.warn(&place, "no route leads here", None);
    }
    for issuer in issuers.external.iter().filter(|issuer| !named.contains(*issuer)) {
        let place = YamlPath::default().key("tokens").key("trusted_issuers");
        let message = format!("no route trusts {}", quoted(issuer));
        compiler.document.warn(&place, message, Some("name it under `issuers` of a route"));
    }
    compare(compiler, &routes);
    Routes(routes)
}

/// Whose tokens the route trusts. Whatever is unclear yields nothing, never our own issuer.
fn trusted(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawRoute,
    issuers: &IssuerNames,
    named: &mut BTreeSet<String>,
) -> Option<TrustedIssuers> {
    let Some(list) = &raw.issuers else {
        return (!compiler.document.has(place)).then(TrustedIssuers::default);
    };
    if raw.auth.as_deref() == Some("public") {
        let message = "no token is looked at on a route with `auth: public`";
        compiler.document.error(place, message);
    }
    if list.is_empty() {
        let hint = Some("leave the key out to trust our own tokens".to_owned());
        compiler.document.error_with(place, "a route that trusts nobody is closed", hint);
    }
    let (mut own, mut external) = (false, BTreeSet::new());
    for (place, name) in items(Some(list), place) {
        if name == "self" || *name == issuers.own {
            own = true;
        } else if issuers.external.iter().any(|known| known == name) {
            external.insert(Arc::from(name.as_str()));
            named.insert(name.clone());
        } else {
            let known = issuers.external.iter().chain(["self"]);
            let hint = suggestion(name, known);
            let message = format!("{} is no issuer of `tokens.trusted_issuers`", quoted(name));
            compiler.document.error_with(&place, message, hint);
        }
    }
    (own || !external.is_empty()).then(|| TrustedIssuers::new(own, external))
}

fn route(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawRoute,
    upstreams: &Upstreams,
    ids: &mut Names,
    scopes: &mut Scopes,
) -> Option<Candidate> {
    let id = id(compiler, &place.key("id"), raw.id.as_deref(), ids);
    let host = host(compiler, &place.key("host"), raw.host.as_deref());
    let path = path(compiler, &place.key("path"), raw.path.as_deref());
    let methods = methods(compiler, &place.key("methods"), raw.methods.as_ref());
    let upstream = upstream(compiler, &place.key("upstream"), raw.upstream.as_deref(), upstreams);
    let rule = rule(compiler, place, raw, scopes);
    let limit = raw.limits.as_ref().and_then(|limits| limits.body.as_ref());
    let limit_place = place.key("limits").key("body");
    let body_limit = size(&mut compiler.document, &limit_place, limit, 0..=u64::MAX);
    let complete = rule.is_some() && upstream.is_some();
    let rule = rule.unwrap_or(AccessRule::Required(Requirement::Authenticated));
    let upstream = upstream.unwrap_or_else(|| {
        let timeouts = Timeouts::default();
        Arc::new(Upstream::new("", Vec::new(), timeouts, PathAllowances::default()))
    });
    let (id, host, path, methods) = (id?, host?, path?, methods?);
    let (trusted, certificate) = (TrustedIssuers::default(), None);
    // One that is not looked at cannot end anything either.
    if raw.end_at_token_expiry.is_some() && rule == AccessRule::Public {
        let message = "no token is looked at on a route with `auth: public`";
        compiler.document.error(&place.key("end_at_token_expiry"), message);
    }
    let end_at_token_expiry = raw.end_at_token_expiry.unwrap_or(true);
    let route = Route {
        id,
        host,
        path,
        methods,
        rule,
        trusted,
        certificate,
        upstream,
        body_limit,
        forward_authorization: raw.forward_authorization,
        end_at_token_expiry,
    };
    Some(Candidate { place: place.clone(), route, complete })
}

/// The id becomes a metric label and stands in every log line.
fn id(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
    ids: &mut Names,
) -> Option<Arc<str>> {
    let text = compiler.document.require(raw, place)?;
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(letters) {
        let message = "an id has 1 to 64 letters, digits, `-`, `_` and `.`";
        compiler.document.error(place, message);
        return None;
    }
    ids.claim(&mut compiler.document, place, text);
    Some(Arc::from(text))
}

fn host(compiler: &mut Compiler<'_>, place: &YamlPath, raw: Option<&str>) -> Option<HostPattern> {
    let Some(text) = raw else {
        // A host that was refused is not "any host".
        return (!compiler.document.has(place)).then_some(HostPattern::Any);
    };
    let host = HostPattern::parse(text);
    if host.is_err() {
        let message = format!("{} is no host", quoted(text));
        let hint = "such as `shop.example.com` or `*.example.com`, without a port".to_owned();
        compiler.document.error_with(place, message, Some(hint));
    }
    host.ok()
}

fn path(compiler: &mut Compiler<'_>, place: &YamlPath, raw: Option<&str>) -> Option<PathPattern> {
    let text = compiler.document.require(raw, place)?;
    let path = PathPattern::parse(text);
    if let Err(error) = &path {
        compiler.document.error(place, format!("{}: {error}", quoted(text)));
    }
    path.ok()
}

fn methods(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<String>>,
) -> Option<MethodSet> {
    let Some(list) = raw else {
        // Methods that were refused are not "all methods".
        return (!compiler.document.has(place)).then_some(MethodSet::ALL);
    };
    if list.is_empty() {
        let hint = Some("leave the key out for all methods".to_owned());
        compiler.document.error_with(place, "a route without methods matches nothing", hint);
    }
    let mut methods = MethodSet::default();
    for (place, name) in items(raw, place) {
        match MethodSet::from_names([name.as_str()]) {
            Ok(method) => {
                methods = methods.union(&method);
                warn_of_typo(compiler, &place, name);
            }
            Err(error) => compiler.document.error(&place, error.to_string()),
        }
    }
    (!methods.is_empty()).then_some(methods)
}

/// Any token is a method, so a typo is one too.
fn warn_of_typo(compiler: &mut Compiler<'_>, place: &YamlPath, name: &str) {
    if let Some(meant) = nearest(name, MethodSet::common_names()).filter(|meant| *meant != name) {
        let message = format!("{} is a method of its own", quoted(name));
        compiler.document.warn(place, message, Some(&format!("did you mean `{meant}`?")));
    }
}

fn upstream(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
    upstreams: &Upstreams,
) -> Option<Arc<Upstream>> {
    let name = compiler.document.require(raw, place)?;
    let found = upstreams.get(name).cloned();
    // An upstream whose own section was refused is there all the same.
    if found.is_none() && !compiler.document.has(&YamlPath::default().key("upstreams").key(name)) {
        let hint = suggestion(name, upstreams.keys().map(String::as_str));
        let message = format!("there is no upstream {}", quoted(name));
        compiler.document.error_with(place, message, hint);
    }
    found
}

/// What the route demands. Whatever is unclear yields nothing, never a weaker rule.
fn rule(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawRoute,
    scopes: &mut Scopes,
) -> Option<AccessRule> {
    let (auth_place, scopes_place) = (place.key("auth"), place.key("scopes"));
    let has_scopes = compiler.document.has(&scopes_place);
    let requirement = requirement(compiler, &scopes_place, raw.scopes.as_ref(), scopes);
    let rule = match raw.auth.as_deref() {
        None if compiler.document.has(&auth_place) => return None,
        None | Some("required") => return requirement.map(AccessRule::Required),
        Some("optional") => AccessRule::Optional,
        Some("public") => AccessRule::Public,
        Some(other) => {
            let hint = suggestion(other, ["required", "optional", "public"]);
            let message = format!("there is no auth {}", quoted(other));
            compiler.document.error_with(&auth_place, message, hint);
            return None;
        }
    };
    if has_scopes {
        let message = "scopes are never checked on a route that is not `auth: required`";
        compiler.document.error(&scopes_place, message);
        return None;
    }
    Some(rule)
}

fn requirement(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawScopes>,
    scopes: &mut Scopes,
) -> Option<Requirement> {
    type Make = fn(crate::oauth::scope::ScopeBits) -> Requirement;
    let (place, list, make) = match raw {
        None => return (!compiler.document.has(place)).then_some(Requirement::Authenticated),
        Some(RawScopes::List(list)) => (place.clone(), list, Requirement::All as Make),
        Some(RawScopes::Map(map)) => match (&map.any, &map.all) {
            (Some(list), None) => (place.key("any"), list, Requirement::Any as Make),
            (None, Some(list)) => (place.key("all"), list, Requirement::All as Make),
            _ => {
                let keys = ["any", "all"];
                if keys.map(|key| compiler.document.is_pruned(&place.key(key))) == [false, false] {
                    let message = "either `any` or `all`, and one of them";
                    compiler.document.error(place, message);
                }
                return None;
            }
        },
    };
    let scope: Scope = scopes.read(&mut compiler.document, &place, Some(list));
    if list.is_empty() {
        let hint = "leave `scopes` out to let every user in".to_owned();
        compiler.document.error_with(&place, "the list of scopes is empty", Some(hint));
    }
    (!scope.is_empty()).then(|| make(scopes.catalogue().bits(&scope)))
}

/// What is wrong between routes.
fn compare(compiler: &mut Compiler<'_>, routes: &[Candidate]) {
    let plain: Vec<Route> = routes.iter().map(|candidate| candidate.route.clone()).collect();
    let findings = findings(&plain);
    warn_of_spellings(compiler, routes, &findings);
    for Finding { kind, route, other } in findings {
        let (Some(route), Some(other)) = (routes.get(route), routes.get(other)) else { continue };
        if kind == FindingKind::WeakerOverlap && !(route.complete && other.complete) {
            continue;
        }
        let place = route.place.key("path");
        let line = compiler.document.line(&other.place.key("id"));
        let other = format!("{} on line {line}", quoted(&other.route.id));
        let (message, hint) = match kind {
            FindingKind::Tie => (
                format!("covers the same host and path as {other}, for the same method"),
                "give the two different methods",
            ),
            FindingKind::WeakerOverlap => (
                format!("crosses {other} and wins there, but lets through what that refuses"),
                "add a route for what both cover, or demand as much here",
            ),
            FindingKind::Unreachable => {
                (format!("no request reaches this route: {other} is among those that win"), "")
            }
            FindingKind::OtherSpelling => continue,
        };
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        if kind.is_error() {
            compiler.document.error_with(&place, message, hint.map(str::to_owned));
        } else {
            compiler.document.warn(&place, message, hint);
        }
    }
}

/// One warning for each route that takes other spellings of stricter ones, however many those are.
fn warn_of_spellings(compiler: &mut Compiler<'_>, routes: &[Candidate], findings: &[Finding]) {
    for (position, candidate) in routes.iter().enumerate() {
        let of_route = |finding: &&Finding| {
            finding.kind == FindingKind::OtherSpelling && finding.route == position
        };
        let others = findings.iter().filter(of_route).filter_map(|found| routes.get(found.other));
        let others: Vec<_> = others.filter(|other| other.complete).collect();
        let [first, rest @ ..] = others.as_slice() else { continue };
        if !candidate.complete {
            continue;
        }
        let line = compiler.document.line(&first.place.key("id"));
        let more = match rest.len() {
            0 => String::new(),
            count => format!(" and of {count} more"),
        };
        let message = format!(
            "other spellings of the paths of {} on line {line}{more}, which ask for more, would come here (another case, a format such as `.json`): they are refused with 400",
            quoted(&first.route.id)
        );
        let upstream = &candidate.route.upstream.name;
        let hint = format!(
            "say how the application reads: `case` and `suffix` under `upstreams.{upstream}.paths`"
        );
        compiler.document.warn(&candidate.place.key("path"), message, Some(&hint));
    }
}
