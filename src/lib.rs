//! portcullis: an edge reverse proxy that puts OAuth2 in front of applications nobody wants to change.
//!
//! The modules stand in floors; a file uses only lower floors, or siblings (`tests/it/floors.rs` holds us to it):
//!
//! - floor 0, words without I/O: [`clock`], [`random`], [`secret`], [`supervise`], [`log_limit`], [`answer`], [`reason`],
//!   [`oauth`]
//! - floor 1, policy as data: [`keys`], [`route`]
//! - floor 2, engines: [`token`], [`users`], [`issuers`], [`throttle`], [`state`]
//! - floor 3, OAuth's two roles: [`access`] (resource server), [`grants`] (authorization server)
//! - floor 4, faces and inputs: [`endpoints`], [`observe`], [`config`]
//! - floor 5, assembly: [`gateway`]
//! - floor 6, sockets: `proxy`, the only code that names Pingora
//! - floor 7, the binary: [`cli`]
//!
//! One request takes one direction: `proxy` hands the head to [`gateway`]'s `decide`, and does what the answer says.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when nobody reads; see cli::output"
)]

pub mod access;
pub mod answer;
pub mod cli;
pub mod clock;
pub mod config;
pub mod endpoints;
pub mod gateway;
pub mod grants;
pub mod issuers;
pub mod keys;
pub mod log_limit;
pub mod oauth;
pub mod observe;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod random;
pub mod reason;
pub mod route;
pub mod secret;
pub mod state;
pub mod supervise;
pub mod throttle;
pub mod token;
pub mod users;
