//! How a request reached us: who is at the other end of the connection, and what protects the bytes on it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::certificate::ClientCertificate;

/// The connection a request came over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The other end, as the kernel says it.
    pub peer: SocketAddr,
    /// What carries the bytes.
    pub transport: Transport,
    /// The certificate that the client proved to hold, on a listener that asks for one.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// What carries the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TLS, ended by us.
    Tls,
    /// Nothing protects them here; the rule says what the operator vouches for.
    Plain(PlaintextPolicy),
}

/// Whether credentials are taken on a plain listener (RFC 6749 section 1.6 wants TLS wherever a password travels).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaintextPolicy {
    /// The listener is bound to loopback: the bytes never leave the machine.
    Loopback,
    /// A trusted proxy ends TLS in front of us, and must say so on each request.
    BehindTls,
    /// The operator accepts that passwords travel in the clear.
    Insecure,
    /// Credentials are refused.
    Refused,
    /// Nothing is answered here but where to find it over https.
    Redirect,
}
