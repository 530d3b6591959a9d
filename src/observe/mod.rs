//! What operations see: metrics and the access log.
