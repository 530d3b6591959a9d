//! The words of OAuth 2.0 as types that can only hold what the RFCs allow. No I/O, no time, no keys.
//!
//! Who may do what is decided above (`access`, `grants`); here is only what the words *are*.

pub mod basic;
pub mod bearer;
pub mod client;
pub mod error;
pub mod form;
pub mod scope;
pub mod subject;
