//! Pingora's hooks: each reads what it needs off the session, asks a module that knows no sockets, and does what it says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::time::timeout;

use crate::access::connection::Transport;
use crate::answer::Answer;
use crate::endpoints::client_request::MAX_BODY_BYTES;
use crate::endpoints::{Endpoint, EndpointRequest, Outcome};
use crate::gateway::Shared;
use crate::gateway::decide::{Decision, RequestHead};
use crate::gateway::live::Live;
use crate::log_limit::LogLimit;
use crate::proxy::connections::{ActiveRequest, Connections, Received};
use crate::proxy::exchange::{Disposition, Exchange};
use crate::proxy::head::{self, HeadBounds};
use crate::proxy::respond::BodyError;
use crate::proxy::slots::RequestSlots;
use crate::proxy::{attempts, hop, respond, response_framing, sensitive, upgrade, upstream};
use crate::random;
use crate::reason::Reason;

/// How long a connection has to end after a failure, with the time that it may linger.
const END_TIME: Duration = Duration::from_secs(2);
/// Of requests that the application failed.
static FAILED: LogLimit = LogLimit::new();

/// The requests of one listener.
pub(super) struct EdgeProxy {
    pub(super) live: Arc<Live>,
    pub(super) shared: Arc<Shared>,
    pub(super) transport: Transport,
    /// What browsers are told with every answer.
    pub(super) hsts: Option<HeaderValue>,
    pub(super) connections: Arc<Connections>,
    pub(super) slots: Arc<RequestSlots>,
}

/// What the head of a request comes to.
enum Verdict {
    /// Its head cannot be trusted, so neither can what follows on the connection.
    Hangup(Answer),
    Refuse(Answer),
    Serve(Endpoint, Option<String>),
    Forward,
}

impl EdgeProxy {
    fn judge(&self, session: &Session, exchange: &mut Exchange) -> Result<Verdict> {
        exchange.request_id = random::identifier(&*self.shared.random)
            .map_err(|_| upstream::internal("no randomness"))?;
        let Some(active) = exchange.active.as_mut() else {
            // Its connection ended before we came to the request.
            let peer = session.client_addr().and_then(|address| address.as_inet());
            exchange.client = peer.map(|address| address.ip().to_canonical());
            exchange.path = path_text(session.req_header().raw_path());
            return Err(upstream::gone());
        };
        let (connection, received) = (active.connection(self.transport), active.received.take());
        let request = session.req_header();
        exchange.client = Some(exchange.gateway.client_address(&connection, &request.headers));
        // The bytes as received: Pingora's own view of a target leaves some of them out.
        let target = match received {
            Some(Received::Refused { error, method, target }) => {
                exchange.path = path_text(target.as_bytes());
                exchange.method = Some(method);
                exchange.disposition = Disposition::Malformed;
                return Ok(Verdict::Hangup(error.answer()));
            }
            Some(Received::Head(target)) => target,
            None => Bytes::copy_from_slice(request.raw_path()),
        };
        exchange.path = path_text(&target);
        if session.as_http2().is_some() {
            let bounds = HeadBounds::from(self.connections.limits());
            if let Err(error) = head::check_h2(&target, &request.headers, bounds) {
                exchange.disposition = Disposition::Malformed;
                return Ok(Verdict::Hangup(error.answer()));
            }
        }
        let head = RequestHead {
            method: &request.method,
            target: &target,
            authority: match request.version {
                Version::HTTP_2 => request.uri.authority().map(http::uri::Authority::as_str),
                _ => None,
            },
            headers: &request.headers,
            connection: &connection,
            request_id: &exchange.request_id,
        };
        let now = self.shared.clock.now();
        Ok(match exchange.gateway.decide(&head, now) {
            Decision::Serve(endpoint) => {
                exchange.disposition = Disposition::Served(endpoint, Box::default());
                Verdict::Serve(endpoint, query_of(&target))
            }
            Decision::Refuse(denial) => {
                let answer = denial.answer();
                exchange.disposition = Disposition::Refused(denial);
                Verdict::Refuse(answer)
            }
            Decision::Forward(permit) => {
                exchange.gateway.remember(&permit, now);
                exchange.admit(Arc::from(permit));
                Verdict::Forward
            }
        })
    }

    async fn serve(
        session: &mut Session,
        exchange: &mut Exchange,
        endpoint: Endpoint,
        query: Option<String>,
    ) -> Result<Answer> {
        let body = if session.req_header().method == Method::POST {
            exchange.invites_body(session.req_header());
            match respond::read_body(session, MAX_BODY_BYTES).await {
                Ok(body) => body,
                Err(BodyError::Gone)
                    if !exchange.active.as_ref().is_some_and(ActiveRequest::is_broken) =>
                {
                    return Err(upstream::gone());
                }
                Err(error) => {
                    let outcome = Outcome::refused(error.reason());
                    exchange.disposition = Disposition::Served(endpoint, Box::new(outcome));
                    return Ok(error.answer());
                }
            }
        } else {
            respond::drain(session).await;
            Bytes::new()
        };
        let head = session.req_header();
        let (method, headers) = (head.method.clone(), head.headers.clone());
        let Some(client) = exchange.client else {
            return Ok(upstream::failure(Reason::InternalError));
        };
        let request = EndpointRequest { client, method, headers, query, body };
        let served = exchange.gateway.serve(endpoint, &request).await;
        exchange.disposition = Disposition::Served(endpoint, Box::new(served.outcome));
        Ok(served.answer)
    }

    /// Writes an answer of our own.
    async fn answer(&self, session: &mut Session, answer: Answer) -> Result<()> {
        let answer = match &self.hsts {
            Some(hsts) => answer.with(STRICT_TRANSPORT_SECURITY, hsts.clone()),
            None => answer,
        };
        respond::write(session, &answer).await
    }

    /// A tunnel is asked with every byte as well: what it carries can be a command.
    fn check_tunnel(&self, session: &Session, exchange: &mut Exchange) -> Result<()> {
        let Some(permit) = exchange.permit().filter(|_| session.was_upgraded()) else {
            return Ok(());
        };
        // The snapshot in force, not the one that let it in: its user may be gone since.
        let Err(reason) = self.live.current().still_holds(permit, self.shared.clock.now()) else {
            return Ok(());
        };
        exchange.admission.end(reason);
        exchange.failure = Some(reason);
        let why = "what opened the tunnel does not hold any more";
        Err(Error::explain(ErrorType::ConnectionClosed, why).into_down())
    }
}

fn path_text(target: &[u8]) -> String {
    String::from_utf8_lossy(upstream::path_of(target)).into_owned()
}

fn query_of(target: &[u8]) -> Option<String> {
    let mark = target.iter().position(|byte| *byte == b'?')?;
    Some(String::from_utf8_lossy(target.get(mark + 1..)?).into_owned())
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.live.current(), &self.shared)
    }

    /// None: what passes is not recoded.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let digest = session.digest().and_then(|digest| digest.socket_digest.as_ref());
        exchange.active = digest.and_then(|digest| self.connections.busy(digest));
        let limits = self.connections.limits();
        // A connection that is to close (by the client's wish, or because we drain) stays so.
        if exchange.active.as_ref().is_some_and(|active| active.last) {
            session.set_keepalive(None);
        } else if session.get_keepalive().is_some() {
            session.set_keepalive(Some(limits.keepalive_timeout.as_secs().max(1)));
        }
        session.set_read_timeout(Some(limits.body_timeout));
        session.set_write_timeout(Some(limits.body_timeout));
        session.set_total_drain_timeout(Some(limits.body_timeout));
        if session.req_header().version == Version::HTTP_10 {
            // HTTP/1.0 has no interim responses (RFC 9110 section 15.2).
            session.set_ignore_info_resp(true);
        }
        sensitive::mark_request(session.req_header_mut())?;
        // Pingora would make an upgrade of it without the `Connection` that says so, or among others.
        if !upstream::asks_for_tunnel(&session.req_header().headers) {
            session.req_header_mut().remove_header(&UPGRADE);
        }
        hop::keep_framing(session.req_header_mut())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let verdict = self.judge(session, exchange)?;
        let answer = match verdict {
            Verdict::Forward => {
                let (limits, clock) = (self.connections.limits(), &self.shared.clock);
                let prepared = exchange.prepare(session, &self.slots, limits, clock);
                let Some(answer) = prepared.await? else { return Ok(false) };
                respond::drain(session).await;
                answer
            }
            Verdict::Hangup(answer) => {
                session.set_keepalive(None);
                answer
            }
            Verdict::Refuse(answer) => {
                respond::drain(session).await;
                // Who sends what can be read in two ways may have been read in another way already.
                if answer.status == StatusCode::BAD_REQUEST {
                    session.set_keepalive(None);
                }
                answer
            }
            Verdict::Serve(endpoint, query) => {
                Self::serve(session, exchange, endpoint, query).await?
            }
        };
        self.answer(session, answer).await.map_err(|error| error.into_down())?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let counts_silences = exchange.counts_silences();
        let next = exchange.tries(self.shared.clock.instant());
        let (upstream, server) = next.ok_or_else(|| upstream::internal("no server is left"))?;
        let mut peer = upstream::peer(upstream, server)?;
        if counts_silences {
            let upgrade = session.is_upgrade_req();
            upstream::leave_silences(&mut peer, upstream.timeouts, upgrade);
        }
        exchange.gate = session.is_upgrade_req().then(|| upgrade::gate(&mut peer));
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let now = self.shared.clock.instant();
        let again =
            exchange.attempts().is_some_and(|(tries, upstream)| tries.refused(upstream, now));
        error.set_retry(again);
        error
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Exchange,
        was_idle: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let unanswered = session.response_written().is_none() && exchange.interim_answers == 0;
        let repeatable = session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated();
        let now = self.shared.clock.instant();
        let again = attempts::is_lost_connection(&error)
            && unanswered
            && exchange
                .attempts()
                .is_some_and(|(tries, upstream)| tries.lost(upstream, now, was_idle, repeatable));
        error.set_retry(again);
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let permit = exchange.permit().ok_or_else(|| upstream::internal("no permit"))?;
        upstream::edit(request, permit)?;
        if exchange.invites_body(session.req_header()) {
            // It has its answer.
            request.remove_header(&EXPECT);
        }
        if exchange.counts_silences() && !session.is_upgrade_req() && session.is_body_empty() {
            // It announced a body, and there is none: applications ask for a length then (411).
            request.insert_header(CONTENT_LENGTH, 0)?;
        }
        hop::join_cookies(request)?;
        if let Some(gate) = &exchange.gate {
            gate.close();
        }
        exchange.forwards(self.shared.clock.instant());
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let bytes = body.as_ref().map_or(0, Bytes::len);
        // What is in a tunnel is no body.
        if !session.was_upgraded() && !exchange.takes(bytes) {
            return Err(upstream::too_large());
        }
        // An empty last DATA frame would otherwise become a second `0\r\n\r\n` upstream, which starts the next request on
        // that connection with garbage (cloudflare/pingora #935).
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        if end_of_stream {
            exchange.admission.requested();
            if let Some(gate) = &exchange.gate {
                gate.open();
            }
        }
        self.check_tunnel(session, exchange)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let Some((attempts, upstream)) = exchange.attempts() {
            attempts.answered(upstream);
        }
        if upstream::is_interim(response.status) {
            exchange.interim_answer();
        } else {
            exchange.answered(response.status, self.shared.clock.instant());
        }
        upstream::check_response(response, session.is_upgrade_req(), exchange.interim_answers)?;
        response_framing::normalise(response)?;
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(active)) = (response.status, &exchange.active)
        {
            active.upgrade();
        }
        sensitive::mark_response(response)?;
        let permit = exchange.permit().ok_or_else(|| upstream::internal("no permit"))?;
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // From here on a client that does not read is one of a tunnel.
            session.set_write_timeout(permit.upstream().timeouts.tunnel);
        }
        upstream::edit_response(response, permit);
        if let Some(hsts) = &self.hsts {
            // Ours, whatever the application says: the host is not its own alone.
            response.insert_header(STRICT_TRANSPORT_SECURITY, hsts)?;
        }
        if session.req_header().version == Version::HTTP_10 {
            // HTTP/1.0 knows no codings (RFC 9112 section 6.1): the end of the connection ends the body.
            if response.remove_header(&TRANSFER_ENCODING).is_some() {
                session.set_keepalive(None);
            }
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<Duration>> {
        exchange.upstream_progress();
        exchange.sends(body.as_ref().map_or(0, Bytes::len));
        self.check_tunnel(session, exchange)?;
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        exchange.stop_counting(session);
        let gone = FailToProxy { error_code: 0, can_reuse_downstream: false };
        if exchange.admission.ended().is_some() {
            return gone;
        }
        // Who sends chunks that are none is there, and may be told.
        let broken = exchange.active.as_ref().is_some_and(ActiveRequest::is_broken);
        let reason = if broken { Reason::BadRequest } else { upstream::reason(error) };
        exchange.failure = Some(reason);
        if reason == Reason::ClientGone {
            return gone;
        }
        let request_id = &exchange.request_id;
        match reason {
            // The access log has it; nobody is to be woken by what clients do.
            Reason::BadRequest
            | Reason::RequestTimeout
            | Reason::ContentTooLarge
            | Reason::TunnelTimeout => {
                tracing::debug!(%request_id, %reason, %error, "request failed");
            }
            // An application that is gone fails every request.
            _ => {
                if let Some(left_out) = FAILED.allow(reason.id(), self.shared.clock.now()) {
                    tracing::warn!(%request_id, %reason, %error, left_out, "request failed");
                }
            }
        }
        let answer = upstream::failure(reason);
        let error_code = answer.status.as_u16();
        if session.response_written().is_none_or(|head| upstream::is_interim(head.status)) {
            session.set_keepalive(None);
            if self.answer(session, answer).await.is_err() {
                return gone;
            }
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        exchange.stop_counting(session);
        let status = session.response_written().map_or(0, |head| head.status.as_u16());
        let bytes = u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX);
        let method = exchange.method.as_deref();
        let method = method.unwrap_or_else(|| session.req_header().method.as_str());
        exchange.report(&self.shared, method, (status, bytes));
        exchange.reported = true;
        let answered = error.is_some() && exchange.failure != Some(Reason::ClientGone);
        if answered && session.as_http2().is_none() {
            // Pingora only drops it, and an answer of ours could be lost to a reset.
            let end = session.as_downstream_mut().shutdown();
            // However it ends, it ends now.
            drop(timeout(END_TIME, end).await);
        }
    }

    /// Pingora's lines hold the query, and any client could flood them; ours is in `fail_to_proxy`.
    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, exchange: &Exchange) -> String {
        format!("{} {}", session.req_header().method, exchange.path)
    }
}
