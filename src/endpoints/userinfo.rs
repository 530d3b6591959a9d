//! "Who am I": what the bearer of a token may learn about it. Whether the token holds was decided before.

use http::{Method, StatusCode};
use serde_json::json;

use crate::answer::Answer;
use crate::endpoints::introspect::Examined;
use crate::endpoints::{Outcome, Served, wrong_method};

/// Whether the endpoint answers this method; if not, what it says.
#[must_use]
pub fn refuses(method: &Method) -> Option<Answer> {
    let reads = method == Method::GET || method == Method::HEAD || method == Method::POST;
    (!reads).then(|| wrong_method("GET, HEAD, POST"))
}

/// Tells the bearer of this token who it is.
#[must_use]
pub fn answer(examined: &Examined) -> Served {
    let Examined { token, scope } = examined;
    let mut body = json!({
        "sub": token.subject().as_str(),
        "scope": scope.to_string(),
        "iss": token.issuer(),
        "exp": token.expires_at().as_secs(),
    });
    if let Some(members) = body.as_object_mut() {
        if let Some(client_id) = token.client_id() {
            members.insert("client_id".to_owned(), client_id.as_str().into());
        }
        if token.subject().is_user() {
            members.insert("username".to_owned(), token.subject().as_str().into());
        }
    }
    let outcome = Outcome {
        subject: Some(token.subject().clone()),
        client_id: token.client_id().cloned(),
        token_id: token.token_id().cloned(),
        ..Outcome::default()
    };
    Served { answer: Answer::json(StatusCode::OK, &body), outcome }
}
