//! Users and their passwords.
