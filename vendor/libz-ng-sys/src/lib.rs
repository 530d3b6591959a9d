//! zlib under the name of zlib-ng.
//!
//! pingora-core asks flate2 for its `zlib-ng` backend, and the bindings to zlib-ng want cmake. Nothing here compresses
//! anything: no module of Pingora that does is turned on. zlib has the same functions and types and needs a C compiler only.

pub use libz_sys::*;
