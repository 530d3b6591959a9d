//! Routes as data.
