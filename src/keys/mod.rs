//! Keys as policy: which algorithm each one may be used with, until when it counts, and what of it is published.
//!
//! A key is pinned to one [`Algorithm`] by the configuration (RFC 8725 section 3.1); a token never chooses. What a token says
//! beyond its signature is read in `token`; where key files lie and who may read them is the configuration's business.

mod algorithm;
mod error;
mod generate;
mod jwks;
mod key;
mod load;
mod member;
mod public;
mod ring;
mod rotation;
mod set;
#[cfg(test)]
mod tests;
mod unsupported;

pub use algorithm::{Algorithm, KeyKind};
pub use error::KeyError;
pub use generate::generate;
pub use jwks::jwks;
pub use key::{Key, KeyUse, MAX_KEY_ID_BYTES, SignError};
pub use load::load;
pub use ring::{KeyRing, KeyRingError};
pub use rotation::{ListedKey, Pending, Rotation, RotationTerms, fresh_key_id, manifest, rotate};
pub use set::{KeySet, MAX_SET_BYTES, MAX_SET_KEYS, SetError};
pub use unsupported::unsupported;
