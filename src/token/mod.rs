//! Access tokens: issue, verify, remember.
