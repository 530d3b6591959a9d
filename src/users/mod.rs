//! The people who may log in, and the check of their passwords.
//!
//! Where users are kept is read by `config`; what a login may be worth is decided in `grants`. Nothing here answers a request.

mod dummy;
mod hasher;
pub mod import;
mod password;
mod queue;
mod store;

pub use dummy::Dummy;
pub use hasher::{HashError, HashPool, HashPoolSettings};
pub use password::{Algorithm, Cost, MAX_PASSWORD_BYTES, PasswordHash, PasswordHashError};
pub use queue::Asker;
pub use store::{User, UserStore, UserStoreError};
