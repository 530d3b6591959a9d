//! The authorization server: one file per grant.
