//! The way to the upstream: which server, with what patience, and the head that it gets to see.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};

use crate::answer::Answer;
use crate::gateway::decide::Permit;
use crate::proxy::exchange_timer::{TUNNEL_SILENT, UPSTREAM_SILENT};
use crate::proxy::upstream_tls;
use crate::reason::Reason;
use crate::route::upstream::{Timeouts, Upstream};

/// The largest head of an answer, in bytes of names and values.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most interim answers to one request.
const MAX_INTERIM_ANSWERS: usize = 32;

/// What the client hears, and the error is known by, when a body is too long.
const TOO_LARGE: &str = "content_too_large";

/// How one of the upstream's servers is connected to.
///
/// # Errors
/// When it is to be spoken to over TLS and there is nothing to verify it with, which the configuration refuses.
pub(super) fn peer(upstream: &Upstream, server: SocketAddr) -> pingora::Result<HttpPeer> {
    let mut peer = HttpPeer::new(server, upstream.tls.is_some(), String::new());
    let timeouts = upstream.timeouts;
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = timeouts.read;
    peer.options.write_timeout = timeouts.read;
    peer.options.idle_timeout = Some(timeouts.idle);
    upstream_tls::protect(&mut peer, upstream)
        .ok_or_else(|| internal("an upstream without trust"))?;
    Ok(peer)
}

/// Leaves it to an [`ExchangeTimer`](super::exchange_timer::ExchangeTimer) to count how long the upstream is silent.
pub(super) const fn leave_silences(peer: &mut HttpPeer, timeouts: Timeouts, upgrade: bool) {
    peer.options.read_timeout = None;
    if upgrade {
        peer.options.write_timeout = timeouts.tunnel;
    }
}

/// Turns the client's head into the one that was permitted. It runs after Pingora's own pass over the hop-by-hop fields, so
/// that no `Connection: x-user` can take away what is set here.
///
/// # Errors
/// When the target cannot be sent as it was permitted.
pub(super) fn edit(request: &mut RequestHeader, permit: &Permit) -> pingora::Result<()> {
    let edits = permit.edits();
    let going: Vec<HeaderName> =
        request.headers.keys().filter(|name| edits.removes(name)).cloned().collect();
    for name in &going {
        request.remove_header(name);
    }
    let target = sendable(permit.target());
    request.set_raw_path(&target)?;
    if request.raw_path() != &*target {
        return Err(internal("the permitted target cannot be sent as it is"));
    }
    request.insert_header(HOST, permit.host())?;
    for (name, value) in edits.set() {
        request.insert_header(name, value)?;
    }
    Ok(())
}

/// The target as Pingora can send it: `"`, `<` and `>` in the query, which its type for targets refuses, become escapes. The
/// path has none of them.
fn sendable(target: &[u8]) -> Cow<'_, [u8]> {
    fn escape(byte: &u8) -> &[u8] {
        match byte {
            b'"' => b"%22",
            b'<' => b"%3C",
            b'>' => b"%3E",
            byte => std::slice::from_ref(byte),
        }
    }
    if target.iter().any(|byte| matches!(byte, b'"' | b'<' | b'>')) {
        Cow::Owned(target.iter().map(escape).collect::<Vec<_>>().concat())
    } else {
        Cow::Borrowed(target)
    }
}

/// Checks what Pingora lets pass in the head of an answer, where `upgrading` says whether a WebSocket was asked for and
/// `interim` how many interim answers came before.
///
/// # Errors
/// The upstream's, when it switches to what nobody asked for, announces more than one length, or does not come to an end.
pub(super) fn check_response(
    response: &ResponseHeader,
    upgrading: bool,
    interim: usize,
) -> pingora::Result<()> {
    let headers = &response.headers;
    // Whoever reads on after this status reads a tunnel, in which the bytes of the upstream could pass for our answers.
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if switches && !(upgrading && is_websocket(headers)) {
        return Err(broken("it switches protocols unasked"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(|length| length.as_bytes().contains(&b','))
        || lengths.next().is_some()
    {
        return Err(broken("it announces more than one length"));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_HEAD_BYTES {
        return Err(broken("the head of its answer is too large"));
    }
    if interim > MAX_INTERIM_ANSWERS {
        return Err(broken("its interim answers do not end"));
    }
    Ok(())
}

/// Whether another answer follows this one.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether a WebSocket is asked for in the only way that everybody before us has understood too (RFC 9110 section 7.8).
pub(super) fn asks_for_tunnel(headers: &HeaderMap) -> bool {
    is_websocket(headers) && nominated(headers).any(|name| name == UPGRADE)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    protocols.next().is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && protocols.next().is_none()
}

/// An answer that cannot be trusted.
fn broken(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}

/// Removes what an upstream could use to speak in our name, and what was meant for us alone (RFC 9110 section 7.6.1). The
/// head of an accepted upgrade keeps its `Connection` and `Upgrade`.
pub(super) fn edit_response(response: &mut ResponseHeader, permit: &Permit) {
    let edits = permit.edits();
    let named: Vec<HeaderName> = match response.status {
        StatusCode::SWITCHING_PROTOCOLS => Vec::new(),
        _ => nominated(&response.headers).chain(HOP_BY_HOP).collect(),
    };
    let goes = |name: &&HeaderName| edits.removes_from_response(name) || named.contains(name);
    let going: Vec<HeaderName> = response.headers.keys().filter(goes).cloned().collect();
    for name in &going {
        response.remove_header(name);
    }
}

/// What concerns one connection only. `Connection` and `Transfer-Encoding` are Pingora's to keep or to write.
const HOP_BY_HOP: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("upgrade"),
];

/// The fields that `Connection` names, without those that delimit the message.
fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let fields =
        headers.get_all(CONNECTION).iter().flat_map(|field| field.as_bytes().split(|b| *b == b','));
    let names = fields.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| ![CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name))
}

/// What a failure means.
pub(super) fn reason(error: &Error) -> Reason {
    match (error.esource(), error.etype()) {
        (_, ErrorType::CustomCode(TOO_LARGE, _)) => Reason::ContentTooLarge,
        (_, ErrorType::Custom(UPSTREAM_SILENT)) => Reason::UpstreamTimeout,
        (_, ErrorType::Custom(TUNNEL_SILENT)) => Reason::TunnelTimeout,
        (
            ErrorSource::Upstream,
            ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout,
        ) => Reason::UpstreamTimeout,
        (ErrorSource::Upstream, _) => Reason::UpstreamUnreachable,
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Reason::RequestTimeout,
        (ErrorSource::Downstream, _) if broke_protocol(error) => Reason::BadRequest,
        (
            ErrorSource::Downstream,
            ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ConnectionClosed
            // A stream that was reset, as browsers do with what they do not need any more.
            | ErrorType::H2Error,
        ) => Reason::ClientGone,
        (ErrorSource::Downstream, _) => Reason::BadRequest,
        (ErrorSource::Internal | ErrorSource::Unset, _) => Reason::InternalError,
    }
}

/// Whether it was the client's message that could not be read, and not the client that left: a stream or connection that the
/// HTTP/2 codec has ended (RFC 9113 section 5.4).
pub(super) fn broke_protocol(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    cause.is_some_and(|cause| cause.is_library() && !cause.is_io())
}

/// The client is not there any more.
pub(super) fn gone() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client is gone").into_down()
}

/// What the client hears of a failure.
pub(super) fn failure(reason: Reason) -> Answer {
    let (status, code) = match reason {
        Reason::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        Reason::UpstreamUnreachable => (StatusCode::BAD_GATEWAY, "upstream_unreachable"),
        Reason::BadRequest => (StatusCode::BAD_REQUEST, "bad_request"),
        Reason::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
        Reason::ContentTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    };
    Answer::json(status, &serde_json::json!({ "error": code }))
}

/// A body that turned out longer than its route takes. The upstream has seen a part of it, and never the end.
pub(super) fn too_large() -> Box<Error> {
    Error::explain(ErrorType::CustomCode(TOO_LARGE, 413), "the body is too long").into_down()
}

/// A failure of our own.
pub(super) fn internal(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InternalError, what).into_in()
}

/// The part before the query.
pub(super) fn path_of(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}
