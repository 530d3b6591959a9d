//! The file's own tests: requests with the decision they must get. Only read here; whoever has a gateway runs them.

use http::Method;

use super::Compiler;
use super::scopes::Scopes;
use super::tls::certificate_name;
use super::users::Users;
use super::values::items;
use crate::config::model::{Expectation, Persona, PolicyTest};
use crate::config::raw::{List, RawTest, Word};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{quoted, suggestion};
use crate::route::host::Host;

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&List<RawTest>>,
    users: &Users,
    scopes: &mut Scopes,
) -> Vec<PolicyTest> {
    let root = YamlPath::default().key("tests");
    if raw.is_none_or(Vec::is_empty) && !compiler.document.has(&root.index(0)) {
        let message = "the file has no tests of its own";
        let hint = Some("say under `tests` what must be allowed and what refused");
        compiler.document.warn(&root, message, hint);
    }
    let tests = items(raw, &root);
    tests.iter().filter_map(|(place, raw)| test(compiler, place, raw, users, scopes)).collect()
}

fn test(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawTest,
    users: &Users,
    scopes: &mut Scopes,
) -> Option<PolicyTest> {
    let request = request(compiler, &place.key("request"), raw.request.as_deref());
    if let Some(host) = raw.host.as_deref().filter(|host| Host::parse(host).is_err()) {
        compiler.document.error(&place.key("host"), format!("{} is no host", quoted(host)));
    }
    let as_who = persona(compiler, place, raw, users, scopes);
    let certificate_place = place.key("certificate");
    let certificate = raw.certificate.as_deref();
    let certificate = certificate.and_then(|it| certificate_name(compiler, &certificate_place, it));
    let expect = expectation(compiler, &place.key("expect"), raw.expect.as_ref());
    let (method, target) = request?;
    let line = compiler.document.line(place);
    let host = raw.host.clone();
    let (as_who, expect) = (as_who?, expect?);
    Some(PolicyTest { line, method, target, host, as_who, certificate, expect })
}

fn request(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
) -> Option<(String, String)> {
    let text = compiler.document.require(raw, place)?;
    let parts = text.split_once(' ').filter(|(method, target)| {
        let method_is_sound = Method::from_bytes(method.as_bytes()).is_ok();
        let upper = !method.bytes().any(|b| b.is_ascii_lowercase());
        let blank = |c: char| c.is_ascii_whitespace() || c.is_ascii_control();
        method_is_sound && upper && !target.is_empty() && !target.contains(blank)
    });
    if parts.is_none() {
        let message = format!("{} is no method and target", quoted(text));
        let hint = Some("such as `GET /orders/7`".to_owned());
        compiler.document.error_with(place, message, hint);
    }
    parts.map(|(method, target)| (method.to_owned(), target.to_owned()))
}

fn persona(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawTest,
    users: &Users,
    scopes: &mut Scopes,
) -> Option<Persona> {
    let document = &mut compiler.document;
    let (user_place, scopes_place) = (place.key("user"), place.key("scopes"));
    match (&raw.user, &raw.scopes) {
        (Some(_), Some(_)) => {
            document.error(&scopes_place, "either `user` or `scopes`, not both");
            None
        }
        (Some(name), None) => {
            // Where the user file was refused, nobody knows who there is.
            if users.in_state {
                let hint = Some("say `scopes: […]` instead".to_owned());
                let message = "users are in the database, which no test reads";
                document.error_with(&user_place, message, hint);
            } else if let Some(store) = &users.store
                && store.find(name).is_none()
            {
                let hint = suggestion(name, store.iter().map(|user| user.name.as_str()));
                let message = format!("there is no user {}", quoted(name));
                document.error_with(&user_place, message, hint);
            }
            Some(Persona::User(name.clone()))
        }
        (None, Some(_)) => {
            let scope = scopes.check(document, &scopes_place, raw.scopes.as_ref());
            Some(Persona::Scopes(scope))
        }
        (None, None) if document.has(&user_place) || document.has(&scopes_place) => None,
        (None, None) => Some(Persona::Anonymous),
    }
}

fn expectation(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&Word>,
) -> Option<Expectation> {
    let Word(text) = compiler.document.require(raw, place)?;
    if text == "allow" {
        return Some(Expectation::Allow);
    }
    let status = text.parse::<u16>().ok().filter(|status| (400..=599).contains(status));
    if status.is_none() {
        let message = format!("{} is no expectation", quoted(text));
        let hint = Some("`allow`, or the status of a refusal such as 403".to_owned());
        compiler.document.error_with(place, message, hint);
    }
    status.map(Expectation::Status)
}
