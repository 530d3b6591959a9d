//! Where clients connect, as it is written.

use serde::Deserialize;

use super::{Duration, List, RawHsts, Size};

section! {
    /// One listening socket.
    RawListener {
        /// `IP:PORT`.
        address: String,
        /// Terminates TLS here.
        tls: RawTls,
        /// A trusted proxy in front terminates TLS, and says so with `X-Forwarded-Proto: https`. Default: false.
        behind_tls: bool,
        /// Takes passwords and tokens over plain HTTP from anywhere. Default: false.
        insecure_plaintext: bool,
        /// Sends GET and HEAD to https, on hosts that this file names, and refuses everything else. Default: false.
        redirect_to_https: bool,
        /// A trusted proxy in front begins each connection with a PROXY header, version 1 or 2. Default: false.
        proxy_protocol: bool,
        /// What one client may take.
        limits: RawConnectionLimits,
    }
}

section! {
    /// What the clients of a listener may take.
    RawConnectionLimits {
        /// How long a connection has for its first head, and each head from its first byte on. Default: 10s.
        header_timeout: Duration,
        /// How long a connection is kept without a request. Default: 75s.
        keepalive_timeout: Duration,
        /// The longest pause in the body of a request or an answer. Default: 60s.
        body_timeout: Duration,
        /// How much a second the body of a request must bring, on average over what it keeps us waiting beyond one
        /// `body_timeout`; or `off`. Default: 500B.
        body_rate: Size,
        /// The longest head. Default: 32KiB.
        header_bytes: Size,
        /// The most fields of a head. Default: 100.
        header_count: u64,
        /// The longest target: path and query. Default: 8KiB.
        target_bytes: Size,
        /// The most connections. Default: 20000.
        connections: u64,
        /// The most connections from one address, or one /64 of IPv6. Default: 500.
        per_address: u64,
        /// The most requests on one connection. Default: 10000.
        requests: u64,
        /// The most requests at once on one HTTP/2 connection. Default: 100.
        h2_streams: u64,
        /// The most requests that are with applications at once. Default: 20000.
        max_requests: u64,
        /// The most of them from one address, or one /64 of IPv6. Default: 500.
        max_requests_per_address: u64,
    }
}

section! {
    /// The server's certificate, and what is asked of clients.
    RawTls {
        /// PEM file, the leaf first.
        certificate: String,
        /// PEM file, readable by its owner and group only.
        private_key: String,
        /// Further certificates, each for the host names in it. The one above is for clients that name no host, or another.
        also: List<RawCertificate>,
        /// PEM file with the authorities that issue certificates to clients: each client is asked for one, and one that does
        /// not verify ends the handshake. Default: nobody is asked.
        client_ca: String,
        /// Tells browsers to come over https only. Default: they are told nothing.
        hsts: RawHsts,
    }
}

section! {
    /// A further certificate.
    RawCertificate {
        /// PEM file, the leaf first.
        certificate: String,
        /// PEM file, readable by its owner and group only.
        private_key: String,
    }
}
