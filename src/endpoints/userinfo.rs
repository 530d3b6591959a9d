//! "Who am I": what the bearer of a token may learn about it. Whether the token holds was decided before.

use http::{Method, StatusCode};
use serde_json::json;

use crate::access::denial::Denial;
use crate::answer::Answer;
use crate::endpoints::introspect::Examined;
use crate::endpoints::{Outcome, Served, wrong_method};

/// Whether the endpoint answers this method; if not, what it says.
#[must_use]
pub fn refuses(method: &Method) -> Option<Served> {
    let reads = method == Method::GET || method == Method::HEAD || method == Method::POST;
    (!reads).then(|| wrong_method("GET, HEAD, POST"))
}

/// What the bearer of a token that does not hold is told.
#[must_use]
pub fn refused(denial: &Denial) -> Served {
    let token = denial.token();
    let outcome = Outcome {
        subject: token.map(|token| token.subject().clone()),
        client_id: token.and_then(|token| token.client_id().cloned()),
        token_id: token.and_then(|token| token.token_id().cloned()),
        refused: Some(denial.reason()),
        detail: denial.detail(),
        ..Outcome::default()
    };
    Served { answer: denial.answer(), outcome }
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
