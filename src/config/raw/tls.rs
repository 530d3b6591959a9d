//! The sections of the file about TLS beyond the server's certificate, as [`super`] has the others.

use serde::Deserialize;

use super::Duration;

section! {
    /// `Strict-Transport-Security` (RFC 6797).
    RawHsts {
        /// How long browsers remember it, from each answer on; `0s` makes them forget.
        max_age: Duration,
        /// Whether it holds for every name below the host's too. Default: false.
        include_subdomains: bool,
        /// Whether browsers may ship with it; needs `include_subdomains` and a year. Default: false.
        preload: bool,
    }
}

section! {
    /// TLS to an upstream. The server's certificate is always verified.
    RawUpstreamTls {
        /// PEM file with the only certificate authorities to trust there. Default: those of the system.
        ca: String,
        /// The name, or the address, that its certificate must be for. Default: the host in `servers`, if it is one name.
        server_name: String,
        /// PEM file with the certificate that we show, the leaf first. Default: none is shown.
        certificate: String,
        /// PEM file with its key, readable by its owner and group only.
        private_key: String,
    }
}
