//! The operator's listener: metrics, and whether the process lives and takes requests.
//!
//! It is plain HTTP without credentials, for a loopback or otherwise private address. It answers until the last request of
//! the others is done, so that a balancer can see the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::gateway::Shared;
use crate::gateway::live::Live;
use crate::issuers::IssuerKeys;
use crate::observe::metrics::{self, Gauges};
use crate::state::State;

/// The application behind the listener.
pub(super) struct Admin {
    pub(super) live: Arc<Live>,
    pub(super) shared: Arc<Shared>,
    pub(super) draining: Arc<AtomicBool>,
}

impl Admin {
    fn note_signing_key(&self) {
        let (snapshot, now) = (self.live.current(), self.shared.clock.now());
        let key = snapshot.keys().signing(now);
        self.shared.metrics.set_signing_key(key.id(), key.age(now));
    }

    fn issuers(&self) -> Arc<[Arc<IssuerKeys>]> {
        self.shared.issuer_keys.current()
    }

    /// One line for each issuer without whose keys nobody is ready.
    fn missed(&self) -> String {
        let issuers = self.issuers();
        let missed = issuers.iter().filter(|keys| keys.are_missed()).filter_map(|keys| keys.plan());
        missed.map(|plan| format!("no keys yet of {}\n", plan.issuer)).collect()
    }

    /// By how many milliseconds our clock is ahead of the store's, where there is one.
    fn clock_offset(&self) -> i64 {
        self.shared.state.as_ref().map_or(0, |state| state.mirror().clock_offset())
    }

    /// Whether our clock is so far from the store's that other nodes may refuse the tokens that we date.
    fn is_out_of_step(&self) -> bool {
        let offset = Duration::from_millis(self.clock_offset().unsigned_abs());
        offset > self.live.current().leeway()
    }

    fn answer(&self, method: &Method, path: &[u8]) -> (StatusCode, &'static str, String) {
        let text = |status, body: &str| (status, "text/plain; charset=utf-8", body.to_owned());
        if method != Method::GET && method != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        }
        match path {
            b"/metrics" => {
                self.note_signing_key();
                let mirror = self.shared.state.as_ref().map(State::mirror);
                let now = Gauges {
                    hash_queue_depth: self.shared.hashes.depth(),
                    token_cache_entries: self.shared.cache.len(),
                    revocations: mirror.map_or(0, |mirror| mirror.revocations()),
                    state_age: mirror.and_then(|mirror| mirror.age()),
                    clock_offset: self.clock_offset(),
                    state_write_failures: mirror.map_or(0, |mirror| mirror.write_failures()),
                };
                let (issuers, instant) = (self.issuers(), self.shared.clock.instant());
                let ages = issuers
                    .iter()
                    .filter_map(|keys| Some((&*keys.plan()?.issuer, keys.age(instant)?)));
                self.shared.metrics.set_issuer_key_ages(ages);
                let snapshot = self.live.current();
                let upstreams = snapshot.routes().upstreams();
                let ejected =
                    upstreams.iter().map(|(name, up)| (*name, up.servers.ejected(instant)));
                self.shared.metrics.set_ejected_servers(ejected);
                (StatusCode::OK, metrics::CONTENT_TYPE, self.shared.metrics.render(now))
            }
            b"/healthz" => text(StatusCode::OK, "ok\n"),
            b"/readyz" if self.draining.load(Ordering::Acquire) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            b"/readyz" if self.shared.state.as_ref().is_some_and(|s| !s.mirror().is_current()) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the state store does not answer\n")
            }
            b"/readyz" if self.is_out_of_step() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the clock is not that of the state store\n")
            }
            b"/readyz"
                if self.shared.state.as_ref().is_some_and(|s| !s.mirror().takes_writes()) =>
            {
                text(StatusCode::SERVICE_UNAVAILABLE, "the state store takes no writes\n")
            }
            b"/readyz" => match self.missed() {
                missed if missed.is_empty() => text(StatusCode::OK, "ok\n"),
                missed => text(StatusCode::SERVICE_UNAVAILABLE, &missed),
            },
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        // One request per connection: bodies are not read here, and nobody needs more.
        session.set_keepalive(None);
        let head = session.req_header();
        let path = head.raw_path().split(|byte| *byte == b'?').next().unwrap_or_default();
        let (status, content_type, body) = self.answer(&head.method, path);
        let length = HeaderValue::from(body.len());
        let body = if head.method == Method::HEAD { Vec::new() } else { body.into_bytes() };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_LENGTH, length);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
