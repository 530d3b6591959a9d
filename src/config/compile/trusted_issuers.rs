//! The trusted issuers: what is trusted of each one's tokens, and where its keys are.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::Compiler;
use super::scopes::Scopes;
use super::tokens::{audience, is_loopback, issuer};
use super::values::{Names, duration, items};
use crate::config::raw::{List, RawClaims, RawJwks, RawTrustedIssuer};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{quoted, suggestion};
use crate::issuers::{FetchPlan, KeySource, TrustedIssuer};
use crate::keys::{Algorithm, KeySet};
use crate::token::{SCOPE_CLAIMS, SUBJECT_CLAIM, SubjectPrefix, TokenType, TrustedIssuerPolicy};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Ourselves and the trusted issuers, as routes may name them.
#[derive(Default)]
pub(super) struct IssuerNames {
    /// Our own; empty when it is not known.
    pub(super) own: String,
    /// The others, also those whose definition is at fault.
    pub(super) external: Names,
}

/// What all of them have in common with our own tokens.
pub(super) struct Ours<'a> {
    pub(super) issuer: Option<&'a str>,
    pub(super) leeway: Duration,
}

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<RawTrustedIssuer>>,
    ours: &Ours<'_>,
    scopes: &mut Scopes,
) -> (Vec<TrustedIssuer>, IssuerNames) {
    let own = ours.issuer.unwrap_or_default().to_owned();
    let mut names = IssuerNames { own, external: Names::default() };
    let mut prefixes: Vec<(&str, SubjectPrefix)> = Vec::new();
    let mut accepted = Vec::new();
    for (place, raw) in items(raw, place) {
        let at = place.key("subject_prefix");
        let prefix = prefix(compiler, &at, raw.subject_prefix.as_deref());
        if let (Some(issuer), Some(prefix)) = (raw.issuer.as_deref(), &prefix) {
            compare(compiler, &at, prefix, &prefixes);
            prefixes.push((issuer, prefix.clone()));
        }
        accepted.extend(accept(compiler, &place, raw, prefix, ours, scopes, &mut names));
    }
    (accepted, names)
}

fn accept(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawTrustedIssuer,
    prefix: Option<SubjectPrefix>,
    ours: &Ours<'_>,
    scopes: &mut Scopes,
    names: &mut IssuerNames,
) -> Option<TrustedIssuer> {
    let at = place.key("issuer");
    if let Some(text) = raw.issuer.as_deref() {
        if Some(text) == ours.issuer {
            compiler.document.error(&at, "these are our own tokens, which are accepted anyway");
        } else {
            names.external.claim(&mut compiler.document, &at, text);
        }
    }
    let issuer: Option<Arc<str>> = issuer(compiler, &at, raw.issuer.as_deref()).map(Arc::from);
    let audience = audience(compiler, &place.key("audience"), raw.audience.as_deref());
    let at = place.key("scopes");
    let scope = compiler.document.require(raw.scopes.as_ref(), &at);
    let scope_ceiling = scope.map(|list| scopes.read(&mut compiler.document, &at, Some(list)));
    let algorithms = algorithms(compiler, &place.key("algorithms"), raw.algorithms.as_ref());
    let types = types(compiler, &place.key("types"), raw.types.as_ref());
    let claims = claims(compiler, &place.key("claims"), raw.claims.as_ref());
    let at = place.key("jwks");
    let jwks = compiler.document.require(raw.jwks.as_ref(), &at);
    let whose = Whose {
        issuer: issuer.as_ref(),
        algorithms: algorithms.as_deref(),
        required: raw.required.unwrap_or(true),
    };
    let source = jwks.and_then(|raw| source(compiler, &at, raw, &whose));
    let (subject_claim, scope_claims) = claims?;
    let policy = TrustedIssuerPolicy {
        issuer: issuer?,
        audience: audience?,
        leeway: ours.leeway,
        types: types?,
        subject_prefix: prefix?,
        scope_ceiling: scope_ceiling?,
        subject_claim,
        scope_claims,
    };
    Some(TrustedIssuer { policy, source: source? })
}

fn prefix(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
) -> Option<SubjectPrefix> {
    let Some(text) = raw else {
        if !compiler.document.is_pruned(place) {
            let message = "`subject_prefix` is required, even where it is empty";
            let hint =
                "such as `\"idp:\"`; with `\"\"` its `alice` is your user `alice`".to_owned();
            let parent = place.parent().unwrap_or_default();
            compiler.document.error_with(&parent, message, Some(hint));
        }
        return None;
    };
    let prefix = SubjectPrefix::parse(text);
    prefix.map_err(|error| compiler.document.error(place, error.to_string())).ok()
}

/// Two issuers must not be able to name the same subject by accident.
fn compare(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    prefix: &SubjectPrefix,
    others: &[(&str, SubjectPrefix)],
) {
    let own = prefix.as_str();
    for (issuer, other) in others {
        let other = other.as_str();
        if own == other {
            let message = format!("{} has the same prefix", quoted(issuer));
            let hint = Some("whoever has one name there and here is one to your applications");
            compiler.document.warn(place, message, hint);
        } else if [own, other].iter().all(|prefix| !prefix.is_empty())
            && (own.starts_with(other) || other.starts_with(own))
        {
            let message =
                format!("of this and the prefix of {} one begins the other", quoted(issuer));
            compiler.document.error(place, message);
        }
    }
}

fn algorithms(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<String>>,
) -> Option<Vec<Algorithm>> {
    let list = compiler.document.require(raw, place)?;
    let asymmetric = || Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_symmetric());
    let mut algorithms = Vec::new();
    for (place, name) in items(Some(list), place) {
        match Algorithm::parse(name) {
            Some(algorithm) if algorithm.is_symmetric() => {
                let message = format!("whoever verifies {algorithm} could sign with it");
                let hint = Some("a trusted issuer signs with a key pair".to_owned());
                compiler.document.error_with(&place, message, hint);
            }
            Some(algorithm) if algorithms.contains(&algorithm) => {
                compiler.document.error(&place, format!("{algorithm} is here twice"));
            }
            Some(algorithm) => algorithms.push(algorithm),
            None => {
                let hint = suggestion(name, asymmetric().map(Algorithm::name));
                compiler.document.error_with(
                    &place,
                    format!("no algorithm {}", quoted(name)),
                    hint,
                );
            }
        }
    }
    if list.is_empty() {
        compiler.document.error(place, "the list of algorithms is empty");
    }
    (!algorithms.is_empty()).then_some(algorithms)
}

fn types(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<String>>,
) -> Option<Vec<TokenType>> {
    let Some(list) = raw else {
        // Types that were refused are not the default.
        return (!compiler.document.has(place)).then(|| vec![TokenType::AccessToken]);
    };
    let mut types = Vec::new();
    for (place, name) in items(Some(list), place) {
        match TokenType::parse(name) {
            Some(kind) => types.push(kind),
            None => {
                let hint = suggestion(name, TokenType::NAMES.iter().map(|(name, _)| *name));
                compiler.document.error_with(&place, format!("no type {}", quoted(name)), hint);
            }
        }
    }
    if list.is_empty() {
        compiler.document.error(place, "without a type no token is accepted");
    }
    (!types.is_empty()).then_some(types)
}

/// The claim of the subject, and those of the scopes.
fn claims(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawClaims>,
) -> Option<(String, Vec<String>)> {
    let mut name = |key: &str, text: &Option<String>| {
        let place = place.key(key);
        match text {
            // A name that was refused is not the default.
            None => (!compiler.document.has(&place)).then_some(None),
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => {
                Some(Some(text.clone()))
            }
            Some(_) => {
                compiler.document.error(&place, "a claim's name is visible ASCII");
                None
            }
        }
    };
    let (subject, scope) = match raw {
        Some(raw) => (name("subject", &raw.subject), name("scope", &raw.scope)),
        None => (Some(None), Some(None)),
    };
    if raw.is_none() && compiler.document.has(place) {
        return None;
    }
    let scopes = scope?.map_or_else(|| SCOPE_CLAIMS.map(str::to_owned).to_vec(), |own| vec![own]);
    Some((subject?.unwrap_or_else(|| SUBJECT_CLAIM.to_owned()), scopes))
}

/// Whose keys a source is for.
struct Whose<'a> {
    issuer: Option<&'a Arc<str>>,
    algorithms: Option<&'a [Algorithm]>,
    required: bool,
}

fn source(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawJwks,
    whose: &Whose<'_>,
) -> Option<KeySource> {
    match (&raw.url, &raw.file) {
        (Some(url), None) => fetched(compiler, place, raw, url, whose),
        (None, Some(file)) => {
            for key in ["ca", "refresh", "max_stale", "timeout", "cool_down"] {
                if compiler.document.has(&place.key(key)) {
                    compiler.document.error(&place.key(key), "this belongs to a `url`");
                }
            }
            let place = place.key("file");
            let bytes = compiler.read_unshared(&place, file)?;
            match KeySet::parse(&bytes, whose.algorithms?) {
                Ok(keys) => Some(KeySource::File(Arc::new(keys))),
                Err(error) => {
                    compiler.document.error(&place, error.to_string());
                    None
                }
            }
        }
        _ => {
            let refused = ["url", "file"].map(|key| compiler.document.is_pruned(&place.key(key)));
            if refused == [false, false] {
                compiler.document.error(place, "either `url` or `file`, and one of them");
            }
            None
        }
    }
}

fn fetched(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawJwks,
    url: &str,
    whose: &Whose<'_>,
) -> Option<KeySource> {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let clean = url.bytes().all(|b| b.is_ascii_graphic() && !b"#@\"\\".contains(&b));
    let safe = match uri.as_ref().and_then(Uri::scheme_str) {
        Some("https") => true,
        Some("http") => is_loopback(host),
        _ => false,
    };
    let sound = clean && !host.is_empty() && safe;
    if !sound {
        let message = format!("{} is no https URL", quoted(url));
        let hint = "such as `https://idp.example.com/certs`; http only for localhost".to_owned();
        compiler.document.error_with(&place.key("url"), message, Some(hint));
    }
    let ca = raw.ca.as_deref().map(|file| certificates(compiler, &place.key("ca"), file));
    let document = &mut compiler.document;
    let mut time =
        |key: &str, raw, default, bounds| duration(document, &place.key(key), raw, default, bounds);
    let refresh = time("refresh", raw.refresh.as_ref(), 10 * MINUTE, SECOND..=DAY);
    let max_stale = time("max_stale", raw.max_stale.as_ref(), DAY, SECOND..=30 * DAY);
    let timeout = time("timeout", raw.timeout.as_ref(), 10 * SECOND, SECOND / 10..=MINUTE);
    let cool_down = time("cool_down", raw.cool_down.as_ref(), 30 * SECOND, SECOND..=60 * MINUTE);
    if max_stale.subsec_nanos() != 0 {
        document.error(&place.key("max_stale"), "this counts in whole seconds");
    }
    if max_stale < refresh {
        let message = "the keys would be too old before they are fetched again";
        let hint = Some("at least as long as `refresh`".to_owned());
        document.error_with(&place.key("max_stale"), message, hint);
    }
    let authorities = match ca {
        None => None,
        Some(pem) => Some(pem?),
    };
    sound.then_some(())?;
    Some(KeySource::Url(Arc::new(FetchPlan {
        issuer: Arc::clone(whose.issuer?),
        url: url.to_owned(),
        authorities,
        algorithms: whose.algorithms?.to_vec(),
        refresh,
        max_stale,
        timeout,
        cool_down,
        required: whose.required,
    })))
}

/// At least one certificate, and nothing else, in PEM.
pub(super) fn certificates(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    file: &str,
) -> Option<Vec<u8>> {
    let bytes = compiler.read_unshared(place, file)?;
    let blocks = pem::parse_many(&bytes).unwrap_or_default();
    if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        let others = blocks.iter().find(|block| block.tag() != "CERTIFICATE");
        let other =
            others.map_or_else(String::new, |block| format!(", but {}", quoted(block.tag())));
        let message = format!("{} holds no certificates in PEM{other}", quoted(file));
        compiler.document.error(place, message);
        return None;
    }
    Some(bytes)
}
