//! What is known about one request while it lasts, and the record that is made of it at its end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::EXPECT;
use http::{StatusCode, Version};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use crate::access::denial::Denial;
use crate::answer::Answer;
use crate::clock::Clock;
use crate::config::ConnectionLimits;
use crate::endpoints::{Endpoint, Outcome};
use crate::gateway::decide::Permit;
use crate::gateway::{Gateway, Shared};
use crate::observe::metrics::InFlight;
use crate::observe::{Decided, Record};
use crate::proxy::attempts::Attempts;
use crate::proxy::connections::ActiveRequest;
use crate::proxy::exchange_timer::{ExchangeTimer, Silences};
use crate::proxy::recheck::Admission;
use crate::proxy::request_buffer;
use crate::proxy::slots::{self, RequestSlot, RequestSlots, UpstreamSlot};
use crate::proxy::timed_session::Installed;
use crate::proxy::upgrade::AnswerGate;
use crate::proxy::upstream;
use crate::reason::Reason;
use crate::route::upstream::Upstream;

/// The status in the log of a request whose client left before an answer began. No RFC has one; this is nginx's.
const NO_ANSWER: u16 = 499;

/// What was done with the request.
#[derive(Debug)]
pub(super) enum Disposition {
    /// Nothing yet; it stays so when the client leaves before it could be judged.
    Undecided,
    /// Its head was refused before any decision.
    Malformed,
    /// It was refused.
    Refused(Denial),
    /// An endpoint of ours answers it, or has refused it.
    Served(Endpoint, Box<Outcome>),
    /// It was let through.
    Forwarded(Arc<Permit>),
}

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The snapshot that judges it, from beginning to end.
    pub(super) gateway: Arc<Gateway>,
    /// The id in the logs and in `X-Request-Id`.
    pub(super) request_id: String,
    /// The client's address, once it is known.
    pub(super) client: Option<IpAddr>,
    /// The path as received, without the query.
    pub(super) path: String,
    /// The method as received, where the head was refused as a whole.
    pub(super) method: Option<String>,
    pub(super) disposition: Disposition,
    /// Why it went wrong after it was let through.
    pub(super) failure: Option<Reason>,
    /// What became of the attempts to reach the upstream.
    attempts: Attempts,
    /// How many interim answers the upstream gave.
    pub(super) interim_answers: usize,
    /// Keeps its connection from being taken for one that keeps us waiting.
    pub(super) active: Option<ActiveRequest>,
    /// What is told to the watch over it.
    pub(super) admission: Arc<Admission>,
    /// Its place among the requests that are let through.
    slot: Option<RequestSlot>,
    /// Its place among those that are with its upstream.
    upstream_slot: Option<UpstreamSlot>,
    /// Holds back the answer to a request for an upgrade.
    pub(super) gate: Option<Arc<AnswerGate>>,
    /// How much of the body has come, for the attempt that is under way.
    body: u64,
    /// Counts the silences of a request with a body, and of an upgrade.
    timer: Option<Arc<ExchangeTimer>>,
    /// The session in its place, as long as it does.
    installed: Option<Installed>,
    /// The status of the answer whose head has passed.
    status: Option<StatusCode>,
    /// How much of the answer's body has passed.
    sent: u64,
    /// It stands in the log.
    pub(super) reported: bool,
    forwarded: Option<Instant>,
    upstream: Option<Duration>,
    began: Instant,
    time: SystemTime,
    /// Counts the request as in flight until it is dropped, also when a panic does so.
    _flight: InFlight,
}

impl Exchange {
    pub(super) fn new(gateway: Arc<Gateway>, shared: &Shared) -> Self {
        Self {
            gateway,
            request_id: String::new(),
            client: None,
            path: String::new(),
            method: None,
            disposition: Disposition::Undecided,
            failure: None,
            attempts: Attempts::default(),
            interim_answers: 0,
            active: None,
            admission: Admission::current(),
            slot: None,
            upstream_slot: None,
            gate: None,
            body: 0,
            timer: None,
            installed: None,
            status: None,
            sent: 0,
            reported: false,
            forwarded: None,
            upstream: None,
            began: shared.clock.instant(),
            time: shared.clock.wall(),
            _flight: shared.metrics.in_flight(),
        }
    }

    /// The proof that it may be forwarded, if it may.
    pub(super) fn permit(&self) -> Option<&Permit> {
        match &self.disposition {
            Disposition::Forwarded(permit) => Some(permit),
            Disposition::Undecided
            | Disposition::Malformed
            | Disposition::Refused(_)
            | Disposition::Served(..) => None,
        }
    }

    /// It is let through.
    pub(super) fn admit(&mut self, permit: Arc<Permit>) {
        self.admission.admit(&permit);
        if let (Some(_), Some(active)) = (permit.subject(), &self.active) {
            active.set_authenticated();
        }
        self.disposition = Disposition::Forwarded(permit);
    }

    /// The server to try next; what was kept of the body is sent there anew. `None` when there is none left.
    pub(super) fn tries(&mut self, now: Instant) -> Option<(&Upstream, SocketAddr)> {
        self.body = 0;
        let (attempts, upstream) = self.attempts()?;
        let address = attempts.next(upstream, now)?;
        Some((upstream, address))
    }

    /// The attempts, and the upstream that they are for.
    pub(super) fn attempts(&mut self) -> Option<(&mut Attempts, &Upstream)> {
        let Disposition::Forwarded(permit) = &self.disposition else { return None };
        Some((&mut self.attempts, permit.upstream()))
    }

    /// Counts more of the body. `false` when it is now longer than the route takes.
    pub(super) fn takes(&mut self, bytes: usize) -> bool {
        self.body = self.body.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let limit = self.permit().and_then(Permit::body_limit);
        limit.is_none_or(|limit| self.body <= limit)
    }

    /// Tells a client that waits for it over HTTP/2 to send its body (RFC 9110 section 10.1.1), and says whether it does:
    /// interim answers of the upstream do not reach it. Over HTTP/1.1 they do.
    pub(super) fn invites_body(&self, request: &RequestHeader) -> bool {
        let waits =
            request.version == Version::HTTP_2
                && request.headers.get_all(EXPECT).iter().any(|expectation| {
                    expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
                });
        if let Some(active) = self.active.as_ref().filter(|_| waits) {
            active.say_continue();
            if let Some(timer) = &self.timer {
                timer.invited();
            }
        }
        waits
    }

    /// The head goes to the upstream now.
    pub(super) fn forwards(&mut self, now: Instant) {
        self.forwarded = Some(now);
        if let Some(timer) = &self.timer {
            timer.forwards();
        }
    }

    /// From here on silences are counted against the side whose turn it is. What has no body needs no count: Pingora's own is
    /// right for it.
    fn count_silences(
        &mut self,
        session: &mut Session,
        limits: &ConnectionLimits,
        clock: &Arc<dyn Clock>,
    ) {
        let Some(permit) = self.permit() else { return };
        if session.is_body_empty() && !session.is_upgrade_req() {
            return;
        }
        let timeouts = permit.upstream().timeouts;
        let silences = Silences {
            client: limits.body_timeout,
            rate: limits.body_rate,
            upstream: timeouts.read,
            tunnel: timeouts.tunnel,
        };
        let head = session.req_header();
        if head.version == Version::HTTP_10 {
            // The response may have to be ended by the end of the connection, which cannot be said later.
            session.set_keepalive(None);
        }
        let expects = session.req_header().headers.contains_key(EXPECT);
        let timer = Arc::new(ExchangeTimer::new(silences, expects));
        self.installed = Some(Installed::over(session, Arc::clone(&timer), Arc::clone(clock)));
        self.timer = Some(timer);
    }

    /// Whether silences are counted here, and not by Pingora.
    pub(super) const fn counts_silences(&self) -> bool {
        self.timer.is_some()
    }

    /// From here on the session is the client's own again.
    pub(super) fn stop_counting(&mut self, session: &mut Session) {
        if let Some(installed) = self.installed.take() {
            installed.remove(session);
        }
    }

    /// A part of the response is here, or of what is in the tunnel.
    pub(super) fn upstream_progress(&self) {
        if let Some(timer) = &self.timer {
            timer.upstream_progress();
        }
    }

    /// The head of an interim response is here.
    pub(super) fn interim_answer(&mut self) {
        self.interim_answers += 1;
        if let Some(timer) = &self.timer {
            timer.interim_response();
        }
    }

    /// The head of the upstream's answer is here; only the first counts.
    pub(super) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.admission.answered();
        self.status = Some(status);
        if let Some(timer) = &self.timer {
            timer.response();
        }
        if let (Some(forwarded), None) = (self.forwarded, self.upstream) {
            self.upstream = Some(now.saturating_duration_since(forwarded));
        }
    }

    /// Takes the places that a permitted request needs, and what is gathered of its body before the application is asked.
    /// Where there is no place left, it is refused, and this is the answer.
    ///
    /// # Errors
    /// What became of the body instead: it is too long, too slow, or its client is gone.
    pub(super) async fn prepare(
        &mut self,
        session: &mut Session,
        slots: &Arc<RequestSlots>,
        limits: &ConnectionLimits,
        clock: &Arc<dyn Clock>,
    ) -> pingora::Result<Option<Answer>> {
        let (Some(client), Some(permit)) = (self.client, self.permit()) else {
            return Err(upstream::internal("no permit"));
        };
        let authenticated = permit.subject().is_some();
        self.slot = slots.take(client, authenticated).await;
        if self.slot.is_none() {
            return Ok(self.overloaded());
        }
        self.count_silences(session, limits, clock);
        self.gather(session).await?;
        let Some(permit) = self.permit() else { return Err(upstream::internal("no permit")) };
        let upstream = permit.upstream();
        let taken = slots.take_upstream(&upstream.name, upstream.limits, authenticated);
        // Where more of the body is to come, reading would take it.
        let can_leave = session.is_body_done() && !session.is_upgrade_req();
        self.upstream_slot = tokio::select! {
            biased;
            taken = taken => taken,
            () = slots::left(session), if can_leave => return Err(upstream::gone()),
        };
        if self.upstream_slot.is_none() {
            self.stop_counting(session);
            return Ok(self.overloaded());
        }
        Ok(None)
    }

    /// Gathers the body, or as much of it as the upstream says.
    async fn gather(&mut self, session: &mut Session) -> pingora::Result<()> {
        let most = self.permit().and_then(|permit| permit.upstream().buffer_request);
        let Some(most) = most.filter(|_| self.installed.is_some()) else { return Ok(()) };
        if session.is_upgrade_req() || request_buffer::converses(session.req_header()) {
            return Ok(());
        }
        let mut gathered = 0;
        while gathered < most {
            let read = session.read_request_body().await.map_err(|error| error.into_down())?;
            let Some(part) = read else { break };
            gathered += part.len();
            if !self.takes(part.len()) {
                return Err(upstream::too_large());
            }
        }
        Ok(())
    }

    fn overloaded(&mut self) -> Option<Answer> {
        let denial = self.permit()?.overloaded();
        let answer = denial.answer();
        self.disposition = Disposition::Refused(denial);
        Some(answer)
    }

    /// Counts what passes of the answer's body.
    pub(super) fn sends(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Counts and logs it.
    pub(super) fn report(&self, shared: &Shared, method: &str, (status, bytes): (u16, u64)) {
        let Some(client) = self.client else { return };
        let mut record = Record {
            time: self.time,
            request_id: &self.request_id,
            client,
            route: None,
            decision: Decided::Error,
            reason: self.failure,
            subject: None,
            client_id: None,
            token_id: None,
            method,
            path: &self.path,
            status,
            bytes,
            total: shared.clock.instant().saturating_duration_since(self.began),
            upstream: self.upstream,
            cached: None,
            detail: None,
            grant: None,
            refresh: None,
            is_login: false,
        };
        self.tell(&mut record);
        if status == 0 && self.failure == Some(Reason::ClientGone) {
            record.status = NO_ANSWER;
        }
        shared.metrics.request(&record);
        shared.log.record(&record);
    }

    fn tell<'a>(&'a self, record: &mut Record<'a>) {
        match &self.disposition {
            Disposition::Undecided => {}
            Disposition::Malformed => {
                record.decision = Decided::Refuse;
                record.reason = Some(Reason::BadRequest);
            }
            Disposition::Refused(denial) => {
                record.decision = Decided::Refuse;
                record.reason = Some(denial.reason());
                record.detail = denial.detail();
                record.route = denial.route_id().map(|id| &**id);
                if let Some(token) = denial.token() {
                    record.subject = Some(token.subject().as_str());
                    record.client_id = token.client_id().map(|id| id.as_str());
                    record.token_id = token.token_id().map(|id| &**id);
                    record.cached = Some(denial.cached());
                }
            }
            Disposition::Served(endpoint, outcome) => {
                record.decision = match outcome.refused {
                    None => Decided::Serve,
                    Some(Reason::InternalError) => Decided::Error,
                    Some(_) => Decided::Refuse,
                };
                record.reason = outcome.refused.or(record.reason);
                record.detail = outcome.detail;
                record.subject = outcome.subject.as_ref().map(|subject| subject.as_str());
                record.client_id = outcome.client_id.as_ref().map(|id| id.as_str());
                record.token_id = outcome.token_id.as_deref();
                record.grant = outcome.grant.map(|grant| grant.name());
                record.refresh = outcome.refresh;
                record.is_login = endpoint.takes_credentials();
            }
            Disposition::Forwarded(permit) => {
                match self.failure {
                    // What was forwarded has come to its end, though not to the one that was wanted.
                    None | Some(Reason::TunnelTimeout | Reason::ClientGone) => {
                        record.decision = Decided::Forward;
                    }
                    // It was let through, and lasted for as long as it might.
                    Some(_) if self.admission.ended().is_some() => {
                        record.decision = Decided::Forward;
                    }
                    Some(Reason::ContentTooLarge | Reason::RequestTimeout) => {
                        record.decision = Decided::Refuse;
                    }
                    Some(_) => {}
                }
                record.route = Some(permit.route_id());
                record.subject = permit.subject().map(|subject| subject.as_str());
                record.client_id = permit.client_id().map(|id| id.as_str());
                record.token_id = permit.token_id().map(|id| &**id);
                record.cached = permit.cached();
            }
        }
    }
}

impl Drop for Exchange {
    /// Nobody else reports an exchange that was ended together with its handling.
    fn drop(&mut self) {
        let Some(reason) = self.admission.ended().filter(|_| !self.reported) else { return };
        self.failure = Some(reason);
        let gateway = Arc::clone(&self.gateway);
        let method = self.permit().map_or_else(String::new, |permit| permit.method().to_string());
        let status = self.status.map_or(0, |status| status.as_u16());
        self.report(gateway.shared(), &method, (status, self.sent));
    }
}
