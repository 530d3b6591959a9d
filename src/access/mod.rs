//! The resource server's side of OAuth 2.0 (RFC 6750): may this verified token pass this rule, what does the refused client
//! hear, and what does the upstream get to see.
//!
//! Nothing here reads sockets, finds routes or verifies signatures: `gateway` puts those together. A [`permit::Permit`] is
//! the only way to forward a request, and only `gateway` can make one.

pub mod authorize;
pub mod certificate;
pub mod connection;
pub mod denial;
pub mod edits;
pub mod forwarded;
pub mod identity;
pub mod permit;
pub mod proxy_fields;
