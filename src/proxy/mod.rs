//! The sockets: the only code that names Pingora.
