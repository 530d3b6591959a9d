//! Routes as data: which hosts, paths and methods there are, what each demands, and where it leads.
//!
//! Matching is pure and has one winner whatever the order in the file: the most specific host, then the most specific
//! path, segment by segment. What a request must *show* is judged above, in `access`; how bytes travel, in `proxy`.

pub mod allowance;
pub mod certificate;
mod fold;
pub mod health;
pub mod host;
pub mod method;
pub mod overlap;
pub mod path;
pub mod pattern;
mod reading;
pub mod rule;
pub mod servers;
pub mod table;
pub mod target;
pub mod tls;
mod tree;
pub mod upstream;
pub mod upstream_limits;
