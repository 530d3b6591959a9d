//! The resource server's side of OAuth 2.0 (RFC 6750): may this verified token pass this rule, what does the refused client
//! hear, and what does the upstream get to see.
//!
//! Nothing here reads sockets, finds routes or verifies signatures: `gateway` puts those together, and alone makes the permit to
//! forward a request.

pub mod authorize;
pub mod certificate;
pub mod connection;
pub mod denial;
pub mod edits;
pub mod forwarded;
pub mod identity;
pub mod proxy_fields;
