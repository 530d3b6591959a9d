//! The section of the file about what clients may take, as [`super::raw`] has the others.

use serde::Deserialize;

use super::raw::{Duration, Size, section};

section! {
    /// What the clients of a listener may take.
    RawConnectionLimits {
        /// How long a connection has for its first head, and each head from its first byte on. Default: 10s.
        header_timeout: Duration,
        /// How long a connection is kept without a request. Default: 75s.
        keepalive_timeout: Duration,
        /// The longest pause in the body of a request or an answer. Default: 60s.
        body_timeout: Duration,
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
    }
}
