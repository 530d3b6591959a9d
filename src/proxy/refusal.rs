//! Why a connection is not served.

/// Why a connection is not served, or not any longer. The names are the labels of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are too many.
    Connections,
    /// There are too many from this address.
    PerAddress,
    /// It said no sound PROXY header, or was not trusted to.
    ProxyProtocol,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// It never sent a request.
    NoRequest,
    /// It sent HTTP/2 frames without content.
    Flood,
}

impl Refusal {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::PerAddress => "per_address",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Handshake => "handshake",
            Self::NoRequest => "no_request",
            Self::Flood => "flood",
        }
    }
}
