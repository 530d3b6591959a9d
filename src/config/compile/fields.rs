//! Which of a client's fields an upstream lets pass by name. None may frame the message, say who is calling, or stand for
//! what we set ourselves.

use http::HeaderName;

use super::Compiler;
use super::identity::OF_HTTP;
use super::values::{Names, items};
use crate::access::identity::{Identity, folded, is_plain};
use crate::access::proxy_fields::family;
use crate::config::raw::RawUpstreamHeaders;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;

/// Names, folded, that concern one connection, besides those of [`OF_HTTP`]. `Proxy` is HTTP_PROXY to a CGI program.
const OF_ONE_HOP: [&str; 3] = ["proxy-authorization", "http2-settings", "proxy"];
/// Names, folded, that every request is given anew.
const SET_HERE: [&str; 4] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// The names that pass. `identity` says which never do.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawUpstreamHeaders>,
    identity: &Identity,
) -> Vec<HeaderName> {
    let mut passed = Vec::new();
    let mut seen = Names::default();
    for (place, name) in items(raw.and_then(|raw| raw.pass.as_ref()), &place.key("pass")) {
        let document = &mut compiler.document;
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            document.error(&place, format!("{} is no header name", quoted(name)));
            continue;
        };
        let own = String::from_utf8_lossy(&folded(name)).into_owned();
        seen.claim(document, &place, &own);
        if own == "authorization" {
            let message = "`Authorization` does not pass by name";
            let hint = Some("see `forward_authorization`".to_owned());
            document.error_with(&place, message, hint);
        } else if OF_HTTP.contains(&&*own) || OF_ONE_HOP.contains(&&*own) {
            document.error(&place, format!("{} belongs to HTTP itself", quoted(name)));
        } else if SET_HERE.contains(&&*own) {
            document.error(&place, format!("{} is set by the proxy itself", quoted(name)));
        } else if identity.is_ours(&header) {
            let message = format!("{} is stripped as an identity header", quoted(name));
            let hint = Some("see `headers` and `strip` under `identity`".to_owned());
            document.error_with(&place, message, hint);
        } else {
            if is_plain(name) && family(&own).is_none() {
                document.warn(&place, "fields of this name pass anyway", None);
            }
            passed.push(header);
        }
    }
    passed
}
