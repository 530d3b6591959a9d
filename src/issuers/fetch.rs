//! One fetch of a JWK Set, from a server that may be slow, huge, confused or gone: everything it can cost has a bound.
//!
//! Redirects are followed only to the same scheme, host and port; whoever controls another host must not choose whose tokens
//! are trusted. No proxy of the environment is used, and nothing is sent but the request.

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client};
use rustls::crypto::ring;

use super::FetchPlan;
use crate::keys::{KeySet, MAX_SET_BYTES, SetError};

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 3;
/// The longest wait for a connection; the whole fetch may be bounded closer.
const CONNECT_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// Fetches the key set of one issuer.
pub(super) struct Fetcher<'a> {
    plan: &'a FetchPlan,
    client: Client,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(plan: &'a FetchPlan) -> Result<Self, FetchError> {
        // The library takes the process's provider of cryptography, and panics without one. Whoever was first stays, and is
        // the same one: no other is compiled in.
        drop(ring::default_provider().install_default());
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIME.min(plan.timeout))
            .timeout(plan.timeout)
            .redirect(Policy::custom(follow))
            .pool_max_idle_per_host(0)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .no_proxy();
        if let Some(pem) = &plan.authorities {
            client = client.tls_certs_only(Certificate::from_pem_bundle(pem)?);
        }
        Ok(Self { plan, client: client.build()? })
    }

    /// Asks for the set and reads it.
    pub(super) async fn fetch(&self) -> Result<KeySet, FetchError> {
        let accept = "application/jwk-set+json, application/json";
        let request = self.client.get(&self.plan.url).header("accept", accept);
        let mut response = request.send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if document.len() + chunk.len() > MAX_SET_BYTES {
                return Err(SetError::Size.into());
            }
            document.extend_from_slice(&chunk);
        }
        Ok(KeySet::parse(&document, &self.plan.algorithms)?)
    }
}

fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let Some(first) = attempt.previous().first() else { return attempt.stop() };
    if attempt.url().origin() != first.origin() {
        return attempt.error("it redirects to another scheme, host or port");
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("it redirects too often");
    }
    attempt.follow()
}

/// Why no keys came.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No answer, or not in time, or by a redirect that is not followed.
    #[error("the key set cannot be fetched: {}", causes(.0))]
    Http(reqwest::Error),
    /// An answer without keys.
    #[error("the key set cannot be fetched: the server answers {0}")]
    Status(u16),
    /// What came is no key set.
    #[error(transparent)]
    Set(#[from] SetError),
}

impl From<reqwest::Error> for FetchError {
    /// Without the URL, whose query may hold what is for that server only.
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// What the library says, and what is behind it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
