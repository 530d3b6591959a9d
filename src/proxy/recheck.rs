//! Ends exchanges that have outlived what let them pass: tunnels, event streams, long downloads and uploads, silent or not.
//!
//! Pingora calls its hooks only when bytes pass, so a silent exchange never comes back to us. [`RecheckedProxy`] stands
//! around Pingora's handling of one request and asks the snapshot in force once a second whether it still holds. Where it does
//! not, the handling is dropped: over HTTP/1.1 this closes the connection, over HTTP/2 it resets that one stream, and the
//! connection to the application is closed in both cases. A request that is over within a second is never asked about.
//!
//! Each poll of all this may need a slot ([`crate::proxy::poll_slots`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::task_local;
use tokio::time::sleep;

use crate::gateway::Shared;
use crate::gateway::decide::Permit;
use crate::gateway::live::Live;
use crate::proxy::connections::{ConnectionState, Connections};
use crate::proxy::filter::EdgeProxy;
use crate::reason::Reason;

/// How often an exchange that lasts is decided again.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many intervals a whole request may wait for its answer beyond the end of its token. It was let through in time, and an
/// application that takes long to answer is no stream.
const UNANSWERED_INTERVALS: u32 = 60;

task_local! {
    /// The admission of the request that the current task handles.
    static ADMISSION: Arc<Admission>;
}

/// What the watch over one exchange and the hooks that serve it tell each other.
#[derive(Debug, Default)]
pub(super) struct Admission {
    permit: OnceLock<Arc<Permit>>,
    /// All of the request has come.
    requested: AtomicBool,
    /// The head of the answer has gone out.
    answered: AtomicBool,
    ended: OnceLock<Reason>,
}

impl Admission {
    /// That of the request that the current task handles.
    pub(super) fn current() -> Arc<Self> {
        ADMISSION.try_with(Arc::clone).unwrap_or_default()
    }

    /// The request is let through, as long as this permit holds.
    pub(super) fn admit(&self, permit: &Arc<Permit>) {
        // There is one decision for each request.
        self.permit.get_or_init(|| Arc::clone(permit));
    }

    /// All of the request has come.
    pub(super) fn requested(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// The head of the answer goes out.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// The exchange ends before its time.
    pub(super) fn end(&self, reason: Reason) {
        self.ended.get_or_init(|| reason);
    }

    /// Why the exchange was ended before its time, if it was.
    pub(super) fn ended(&self) -> Option<Reason> {
        self.ended.get().copied()
    }

    fn awaits_answer(&self) -> bool {
        self.requested.load(Ordering::Relaxed) && !self.answered.load(Ordering::Relaxed)
    }
}

/// Pingora's proxy under the watch.
pub(super) struct RecheckedProxy {
    pub(super) proxy: Arc<HttpProxy<EdgeProxy>>,
    pub(super) connections: Arc<Connections>,
    pub(super) live: Arc<Live>,
    pub(super) shared: Arc<Shared>,
}

impl RecheckedProxy {
    /// The connection, where it can have more than one request at once.
    fn shared_connection(&self, session: &ServerSession) -> Option<Arc<ConnectionState>> {
        let digest = session.as_http2()?.digest()?.socket_digest.as_ref()?;
        self.connections.find(digest)
    }

    /// Returns once the permit of this exchange does not hold any more.
    async fn outlived(&self, admission: &Admission) {
        // Polled after every step of the handling, by the same task: nobody needs to wake it.
        let permit = std::future::poll_fn(|_| match admission.permit.get() {
            Some(permit) => Poll::Ready(Arc::clone(permit)),
            None => Poll::Pending,
        });
        let permit = permit.await;
        let mut waited = 0;
        loop {
            sleep(INTERVAL).await;
            let now = self.shared.clock.now();
            let Err(reason) = self.live.current().still_holds(&permit, now) else { continue };
            if reason == Reason::Expired
                && admission.awaits_answer()
                && waited < UNANSWERED_INTERVALS
            {
                waited += 1;
                continue;
            }
            admission.end(reason);
            return;
        }
    }
}

#[async_trait]
impl HttpServerApp for RecheckedProxy {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let admission = Arc::new(Admission::default());
        let connection = self.shared_connection(&session);
        let watched = async {
            // Made when its turn has come: it is large, and many may wait.
            let handled = self.proxy.process_new_http(session, shutdown);
            tokio::select! {
                biased;
                reused = ADMISSION.scope(Arc::clone(&admission), handled) => reused,
                () = self.outlived(&admission) => None,
            }
        };
        match connection {
            Some(connection) => connection.poll_slots.drive_request(watched).await,
            None => watched.await,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
