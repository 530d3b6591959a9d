//! The identity headers: which names may carry who is calling. A name that frames the message, or that a proxy rewrites
//! on the way, cannot.

use http::HeaderName;

use super::Compiler;
use super::values::{Names, items};
use crate::access::identity::{Claim, Identity, folded};
use crate::access::proxy_fields::{Family, family};
use crate::config::raw::RawIdentity;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{quoted, suggestion};

/// Names, folded, without which a message cannot be framed, routed or understood.
pub(super) const OF_HTTP: [&str; 16] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "date",
    "via",
    "range",
];

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: Option<&RawIdentity>) -> Identity {
    let Some(raw) = raw else { return Identity::default() };
    let root = YamlPath::default().key("identity");
    let mut headers = Vec::new();
    let mut seen = Names::default();
    for (name, claim) in raw.headers.iter().flatten() {
        let place = root.key("headers").key(name);
        let Some(header) = header(compiler, &place, name, true) else { continue };
        if matches!(header.as_str(), "cookie" | "set-cookie") {
            let message = "cookies belong to the application";
            compiler.document.error(&place, message);
        }
        let own = String::from_utf8_lossy(&folded(name)).into_owned();
        if seen.iter().any(|other| other == own) {
            let message = format!("{} is the same name as another to an application", quoted(name));
            let hint = Some("`_`, `.` and `-` count as equal there, and so does case".to_owned());
            compiler.document.error_with(&place, message, hint);
            continue;
        }
        seen.claim(&mut compiler.document, &place, &own);
        let Some(claim) = claim else { continue };
        match Claim::parse(claim) {
            Some(claim) => headers.push((header, claim)),
            None => {
                let names = Claim::NAMES.iter().map(|(name, _)| *name);
                let message = format!("there is no claim {}", quoted(claim));
                compiler.document.error_with(&place, message, suggestion(claim, names));
            }
        }
    }
    if raw.headers.as_ref().is_some_and(|headers| headers.is_empty()) {
        let message = "no header tells the upstreams who is calling";
        compiler.document.warn(&root.key("headers"), message, None);
    }
    let mut strip = Vec::new();
    for (place, name) in items(raw.strip.as_ref(), &root.key("strip")) {
        strip.extend(header(compiler, &place, name, false));
    }
    let forward = raw.forward_authorization.unwrap_or(false);
    if raw.headers.is_some() {
        return Identity::new(headers, &strip, forward);
    }
    Identity::new(Identity::default().headers().to_vec(), &strip, forward)
}

/// A name that we set, or only remove.
fn header(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    name: &str,
    is_set: bool,
) -> Option<HeaderName> {
    let own = String::from_utf8_lossy(&folded(name)).into_owned();
    let document = &mut compiler.document;
    match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => document.error(place, format!("{} is no header name", quoted(name))),
        Ok(_) if own == "authorization" => {
            let message = "`Authorization` is not an identity header";
            let hint = Some("see `forward_authorization`".to_owned());
            document.error_with(place, message, hint);
        }
        Ok(_) if OF_HTTP.contains(&own.as_str()) => {
            document.error(place, format!("{} belongs to HTTP itself", quoted(name)));
        }
        Ok(_) if belongs_to_the_proxy(&own, is_set) => {
            let message = format!("{} belongs to the proxy", quoted(name));
            let hint = Some("what a client sends there is removed in any case".to_owned());
            document.error_with(place, message, hint);
        }
        Ok(header) => return Some(header),
    }
    None
}

/// Whether applications read a name as something else than who is calling. Most of them may be stripped once more.
fn belongs_to_the_proxy(folded: &str, is_set: bool) -> bool {
    match family(folded) {
        Some(Family::Way) => true,
        Some(Family::Path | Family::Target | Family::Method | Family::Address) => is_set,
        Some(Family::Network | Family::User | Family::Certificate) | None => false,
    }
}
