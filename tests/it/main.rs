//! Everything that crosses modules, in one binary: one link step instead of thirty.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test stops at the first surprise, in its helpers too"
)]
#![cfg_attr(
    feature = "proxy",
    expect(clippy::expect_used, clippy::indexing_slicing, reason = "as above, in the harness")
)]

// An application, clients, and the edge between them.
#[cfg(feature = "proxy")]
mod harness;

// The floors of the source.
mod floors;
// The names in it.
mod names;
// Who makes what cannot be forged.
mod proofs;
// Example configurations, README, unit file.
mod shipped_files;

// Tokens of other issuers, and their keys.
#[cfg(feature = "proxy")]
mod issuers;
// RFC 6750: every challenge, and what never passes.
#[cfg(feature = "proxy")]
mod bearer;
// Where one message ends and the next begins.
#[cfg(feature = "proxy")]
mod framing;
// Attacks by class, each beside its honest twin.
#[cfg(feature = "proxy")]
mod attack_trial;
// An application that has been taken over.
#[cfg(feature = "proxy")]
mod hostile_upstream;
// Peers that cost us more than themselves.
#[cfg(feature = "proxy")]
mod floods;
// What our own reader demands of HTTP/1.1.
#[cfg(feature = "proxy")]
mod strict_wire;
// Large and slow bodies.
#[cfg(feature = "proxy")]
mod streaming;
// HTTP/2 as no library speaks it.
#[cfg(feature = "proxy")]
mod http2;
// `X-User` is ours.
#[cfg(feature = "proxy")]
mod identity_header;
// Which names of fields reach an application.
#[cfg(feature = "proxy")]
mod field_names;
// One `Cookie` field.
#[cfg(feature = "proxy")]
mod cookies;
// What `Connection` can take out of a request.
#[cfg(feature = "proxy")]
mod connection_field;
// Whose credentials reach an application.
#[cfg(feature = "proxy")]
mod authorization_field;
// What is authorised is what is forwarded.
#[cfg(feature = "proxy")]
mod paths;
// Who guesses is slowed, and nobody else.
#[cfg(feature = "proxy")]
mod throttle;
// Logins share the hashing threads fairly.
#[cfg(feature = "proxy")]
mod login_fairness;
// `POST /token` over sockets.
#[cfg(feature = "proxy")]
mod token_endpoint;

// The feed between nodes, on PostgreSQL.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod feed;
// A pooler before the database.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod pooler;
// Clients that are taken out and put back.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod removed_clients;
// Whose the state is.
#[cfg(feature = "proxy")]
mod owner;
// `portcullis revoke`.
#[cfg(feature = "proxy")]
mod revoke_command;
// Refresh tokens: rotation, reuse, grace.
#[cfg(feature = "proxy")]
mod refresh;
// Revocations against refreshes and logins in flight.
#[cfg(feature = "proxy")]
mod outrun;
// Users in the database, changed while they are logged in.
#[cfg(feature = "proxy")]
mod users_database;
// `portcullis users`.
#[cfg(feature = "proxy")]
mod cli_users;

// Revocation, introspection, userinfo.
#[cfg(feature = "proxy")]
mod revocation;
// RFC 8414: what clients are told about us.
#[cfg(feature = "proxy")]
mod metadata;
// Ways in which a client authenticates, and those that we do not do.
#[cfg(feature = "proxy")]
mod client_methods;
// A program's own token.
#[cfg(feature = "proxy")]
mod machine_clients;

// The built binary, in a directory of its own.
#[cfg(feature = "proxy")]
mod binary;
// Its commands: exit codes and exact output.
#[cfg(feature = "proxy")]
mod cli;
// Sockets for both families of addresses.
#[cfg(feature = "proxy")]
mod dual_stack;
// Files that others could change, and memory that they could read.
#[cfg(feature = "proxy")]
mod file_owners;
// What no log may show.
#[cfg(feature = "proxy")]
mod secrets_in_logs;
// What commands and the process do when nobody reads what they print.
#[cfg(feature = "proxy")]
mod unread_output;
// `portcullis run`: start, reload, drain.
#[cfg(feature = "proxy")]
mod process;
// Another process takes over: restart, upgrade.
#[cfg(feature = "proxy")]
mod upgrade;
// Files that are read again by themselves.
#[cfg(feature = "proxy")]
mod watch;
// Guessing at several nodes at once, and `portcullis bans`.
#[cfg(feature = "proxy")]
mod shared_bans;
// Signing keys, from the first to the last token.
#[cfg(feature = "proxy")]
mod key_rotation;
// Where the body of an answer ends, in either version of the protocol.
#[cfg(feature = "proxy")]
mod response_framing;
// Clients that wait for `100 Continue` over HTTP/2.
#[cfg(feature = "proxy")]
mod expect_continue;
// Servers of an upstream that fail, and the others that answer instead.
#[cfg(feature = "proxy")]
mod upstream_servers;
// What clients may take.
#[cfg(feature = "proxy")]
mod limits;
// Listeners that come, go and change.
#[cfg(feature = "proxy")]
mod listeners;
// TLS, and HTTP/2 in it.
#[cfg(feature = "proxy")]
mod tls;
// Methods of every name.
#[cfg(feature = "proxy")]
mod methods;
// Other spellings of a path that asks for more.
#[cfg(feature = "proxy")]
mod respellings;
// Spellings of paths that can be allowed, and queries of any bytes.
#[cfg(feature = "proxy")]
mod spellings;
// How long a body may be.
#[cfg(feature = "proxy")]
mod body_limits;
// Listeners that only redirect, and what TLS listeners say to browsers.
#[cfg(feature = "proxy")]
mod https_only;
// TLS to the application.
#[cfg(feature = "proxy")]
mod upstream_tls;
// Certificates of clients.
#[cfg(feature = "proxy")]
mod client_certificates;
// Clients that leave.
#[cfg(feature = "proxy")]
mod client_gone;
// Clients that send everything before they read.
#[cfg(feature = "proxy")]
mod refused_uploads;
// Who is blamed for a silence.
#[cfg(feature = "proxy")]
mod silences;
// Bodies that come slowly.
#[cfg(feature = "proxy")]
mod slow_bodies;
// Tunnels.
#[cfg(feature = "proxy")]
mod websocket;
// Tunnels to an application that answers at once.
#[cfg(feature = "proxy")]
mod upgrade_race;
// How many requests at once.
#[cfg(feature = "proxy")]
mod in_flight;
// Exchanges that outlive what let them pass.
#[cfg(feature = "proxy")]
mod outlived;
// Clients that people use.
#[cfg(feature = "proxy")]
mod clients;
// Metrics, health and the access log.
#[cfg(feature = "proxy")]
mod metrics;
// Why something was refused, in one vocabulary.
#[cfg(feature = "proxy")]
mod reasons;
// What Prometheus says about the metrics.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod promtool;
// A PostgreSQL of the test's own, and ways to it that can be cut.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod databases;
// How long an unknown user takes.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod timing;
// `kill -9` in the middle of everything.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod crash;
// The sync before the answer.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod durability;
// Nodes whose clocks differ.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod clocks;
// The rights of the database role.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod rights;
// A store that fails, is taken away, or holds what cannot be read.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod store_faults;
// A PostgreSQL that takes no writes or has lost what it knew.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod store_failover;
// Three nodes on one database.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod fleet;
// The OAuth clients of Node.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod node_clients;
// Applications as their authors ship them.
#[cfg(all(feature = "proxy", feature = "external-tests"))]
mod applications;
