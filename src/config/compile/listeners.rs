//! Where connections come in, what protects them, and whose word about the client is taken.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::values::{items, network};
use super::{Compiler, hsts, limits, tls};
use crate::access::connection::PlaintextPolicy;
use crate::config::model::{Listener, Tokens};
use crate::config::raw::{List, RawConfig, RawListener};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;
use crate::route::host::HostPattern;
use crate::route::table::Route;

/// Reads the listeners and the admin address.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: &RawConfig,
    proxies: bool,
) -> (Vec<Listener>, Option<SocketAddr>) {
    let root = YamlPath::default().key("listeners");
    let mut taken = Vec::new();
    if compiler.document.require(raw.listeners.as_ref(), &root).is_some_and(Vec::is_empty) {
        compiler.document.error(&root, "there must be at least one listener");
    }
    let mut listeners = Vec::new();
    for (place, raw) in items(raw.listeners.as_ref(), &root) {
        let address = address(compiler, &place, raw.address.as_deref(), &mut taken);
        let tls = raw.tls.as_ref().and_then(|raw| tls::compile(compiler, &place.key("tls"), raw));
        let plain = plain_rule(compiler, &place, raw, address, proxies);
        let limits = limits::compile(compiler, &place.key("limits"), raw.limits.as_ref());
        let proxy_protocol = raw.proxy_protocol == Some(true);
        if proxy_protocol && !are_proxies(compiler, proxies) {
            let message = "nobody could say a PROXY header: there are no trusted proxies";
            let hint = Some("name the balancer in front under `trusted_proxies`".to_owned());
            compiler.document.error_with(&place.key("proxy_protocol"), message, hint);
        }
        if let Some(address) = address {
            let hsts = raw.tls.as_ref().and_then(|raw| raw.hsts.as_ref());
            let hsts_place = place.key("tls").key("hsts");
            let hsts = hsts.and_then(|raw| hsts::compile(compiler, &hsts_place, raw));
            listeners.push(Listener { address, tls, plain, hsts, proxy_protocol, limits });
        }
    }
    let admin = raw.admin.as_ref().and_then(|raw| {
        let place = YamlPath::default().key("admin");
        let address = address(compiler, &place, raw.address.as_deref(), &mut taken)?;
        if !address.ip().is_loopback() {
            let message = "metrics and health are readable from other machines";
            let hint = Some("bind it to 127.0.0.1 or to a private network");
            compiler.document.warn(&place.key("address"), message, hint);
        }
        Some(address)
    });
    (listeners, admin)
}

fn address(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&str>,
    taken: &mut Vec<(SocketAddr, usize)>,
) -> Option<SocketAddr> {
    let place = place.key("address");
    let text = compiler.document.require(raw, &place)?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        let message = format!("{} is no IP address with a port", quoted(text));
        let hint = "such as `0.0.0.0:443` or `\"[::]:443\"`".to_owned();
        compiler.document.error_with(&place, message, Some(hint));
        return None;
    };
    let line = compiler.document.line(&place);
    match taken.iter().find(|(other, _)| collide(*other, address)) {
        Some((other, first)) => {
            let message = format!("{} is taken by {other} on line {first}", quoted(text));
            compiler.document.error(&place, message);
        }
        None => taken.push((address, line)),
    }
    Some(address)
}

/// Whether the system would refuse the second of two sockets. Port 0 asks it for a free one, each time another.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4()))
}

/// Whether there are trusted proxies, or were to be, before they were refused.
fn are_proxies(compiler: &Compiler<'_>, proxies: bool) -> bool {
    proxies || compiler.document.has(&YamlPath::default().key("trusted_proxies").index(0))
}

fn plain_rule(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawListener,
    address: Option<SocketAddr>,
    proxies: bool,
) -> PlaintextPolicy {
    let are_proxies = are_proxies(compiler, proxies);
    let document = &mut compiler.document;
    let behind_tls = raw.behind_tls == Some(true);
    let insecure = raw.insecure_plaintext == Some(true);
    let redirect = raw.redirect_to_https == Some(true);
    // A `tls` section that was refused still says what was meant.
    let tls = document.has(&place.key("tls"));
    for (said, name) in [
        (behind_tls, "behind_tls"),
        (insecure, "insecure_plaintext"),
        (redirect, "redirect_to_https"),
    ] {
        if said && tls {
            let message = "this listener ends TLS itself, so this cannot be true as well";
            document.error(&place.key(name), message);
        }
    }
    if behind_tls && insecure {
        let message = "either a proxy in front ends TLS, or nobody does";
        document.error(&place.key("insecure_plaintext"), message);
    }
    if redirect && (behind_tls || insecure) {
        let message =
            "a listener that only redirects takes no requests, so the other key has no meaning";
        document.error(&place.key("redirect_to_https"), message);
    }
    if behind_tls && !are_proxies {
        let message = "nobody could say that TLS was used: there are no trusted proxies";
        let hint = Some("name the proxy in front under `trusted_proxies`".to_owned());
        document.error_with(&place.key("behind_tls"), message, hint);
    }
    let loopback = address.is_some_and(|address| address.ip().is_loopback());
    if insecure && !loopback {
        let message = "passwords and tokens travel in the clear on this listener";
        document.warn(&place.key("insecure_plaintext"), message, None);
    }
    if redirect {
        return PlaintextPolicy::Redirect;
    }
    match (behind_tls, insecure, loopback) {
        (true, _, _) => PlaintextPolicy::BehindTls,
        (_, _, true) => PlaintextPolicy::Loopback,
        (_, true, _) => PlaintextPolicy::Insecure,
        _ => {
            if !tls && address.is_some() {
                let message = "there is no TLS here, so requests with credentials are refused";
                let hint = Some("add `tls`, or `behind_tls: true` when a proxy ends TLS");
                document.warn(place, message, hint);
            }
            PlaintextPolicy::Refused
        }
    }
}

/// A redirect leads to hosts that the file names, so it must name some.
pub(super) fn check_redirects<'a>(
    compiler: &mut Compiler<'_>,
    listeners: &[Listener],
    tokens: &Tokens,
    mut routes: impl Iterator<Item = &'a Route>,
) {
    let named = !tokens.hosts.is_empty() || routes.any(|route| route.host != HostPattern::Any);
    let redirects = |listener: &Listener| listener.plain == PlaintextPolicy::Redirect;
    if !named && listeners.iter().any(redirects) {
        let message = "there is no host to redirect to: the file names none";
        let hint = Some("name yours under `tokens.hosts`, or as `host` of routes".to_owned());
        compiler.document.error_with(&YamlPath::default().key("listeners"), message, hint);
    }
}

/// Reads the networks whose word is taken.
pub(super) fn trusted_proxies(
    compiler: &mut Compiler<'_>,
    raw: Option<&List<String>>,
) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (place, text) in items(raw, &YamlPath::default().key("trusted_proxies")) {
        let Some(network) = network(&mut compiler.document, &place, text) else { continue };
        if network.prefix_len() == 0 {
            let message = "this trusts every client to say who it is";
            compiler.document.error(&place, message);
        } else {
            networks.push(network);
        }
    }
    networks
}
