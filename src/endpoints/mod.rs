//! Our own endpoints.
