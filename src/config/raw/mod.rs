//! The file as it is written: the same names, only text and numbers, nothing judged. The documentation of these fields is
//! the reference manual of the file; `compile` says what is allowed and what a missing key means.
//!
//! Everything is optional here: what is required is said by `compile`, together with everything else that is wrong. There
//! is no `Debug`, since hashes and the names of secrets pass through here.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(in crate::config) use self::scalars::{Duration, RawLimit, RawScopes, Size, Word};
pub(in crate::config) use self::tls::{RawHsts, RawUpstreamTls};

/// A list; an item that was refused is `None`.
pub(in crate::config) type List<T> = Vec<Option<T>>;
/// A map with names of the operator's choice; a value that was refused is `None`.
pub(in crate::config) type Table<T> = BTreeMap<String, Option<T>>;

/// Defines the mirror of one map of the file.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "a map")]
        pub(in crate::config) struct $name {
            $($(#[$field_doc])* pub(in crate::config) $field: Option<$kind>,)*
        }
    };
}

mod headers;
mod limits;
mod listeners;
pub(super) mod reserved;
mod scalars;
mod tls;

pub(in crate::config) use headers::*;
pub(in crate::config) use limits::*;
pub(in crate::config) use listeners::*;

section! {
    /// The whole file.
    RawConfig {
        /// Where clients connect. At least one.
        listeners: List<RawListener>,
        /// Metrics and health, on an address of their own.
        admin: RawAdmin,
        /// Addresses and networks whose `X-Forwarded-*` is trusted. Default: nobody's.
        trusted_proxies: List<String>,
        /// What upstreams learn about the caller.
        identity: RawIdentity,
        /// The catalogue: name to description. A scope that is not here is a typo anywhere else.
        scopes: Table<String>,
        /// The tokens that this edge issues and accepts.
        tokens: RawTokens,
        /// What outlives the process. Default: nothing does.
        state: RawState,
        /// Who can log in.
        users: RawUsers,
        /// Registered OAuth clients.
        clients: List<RawClient>,
        /// How logins are paced.
        login: RawLogin,
        /// Name to where requests go.
        upstreams: Table<RawUpstream>,
        /// Which requests go where, and what they need.
        routes: List<RawRoute>,
        /// Requests with the decision they must get; run by `check` and before every reload.
        tests: List<RawTest>,
        /// How the process ends.
        shutdown: RawShutdown,
        /// When the file is read again.
        reload: RawReload,
    }
}

section! {
    /// The end of the process.
    RawShutdown {
        /// How long requests in flight have to finish. Default: 30s.
        drain: Duration,
    }
}

section! {
    /// Reloads.
    RawReload {
        /// How often the files are looked at, and read again when they have changed; or `off`. Default: `off`.
        watch: Duration,
    }
}

section! {
    /// The admin listener.
    RawAdmin {
        /// `IP:PORT`, best on loopback.
        address: String,
    }
}

section! {
    /// What upstreams learn.
    RawIdentity {
        /// Header to claim (`subject`, `scope`, `client_id`, `token_id`). Default: `X-User: subject`.
        headers: Table<String>,
        /// Further headers that a client must never be able to send.
        strip: List<String>,
        /// Whether the upstreams see bearer tokens, where a route does not say. Default: false.
        forward_authorization: bool,
    }
}

section! {
    /// Tokens.
    RawTokens {
        /// The `iss` claim: an https URL.
        issuer: String,
        /// The `aud` claim.
        audience: String,
        /// Hosts on which the own endpoints answer. Default: all.
        hosts: List<String>,
        /// Access tokens.
        access: RawAccess,
        /// Refresh tokens.
        refresh: RawRefresh,
        /// Where the own endpoints are.
        endpoints: RawEndpoints,
        /// Signing and verifying keys.
        keys: List<RawKey>,
        /// A folder with the keys and `keys.yaml`, which lists them, instead of `keys`.
        key_folder: String,
        /// Trusted issuers, whose tokens the routes that name them accept.
        trusted_issuers: List<RawTrustedIssuer>,
    }
}

section! {
    /// One trusted issuer.
    RawTrustedIssuer {
        /// The `iss` claim of its tokens: an https URL.
        issuer: String,
        /// What its subjects begin with here: empty, or a text that ends with `:`. Must be written.
        subject_prefix: String,
        /// The most that its tokens are worth.
        scopes: List<String>,
        /// What the `aud` claim of its tokens must contain. Never the id of a client that gets ID tokens.
        audience: String,
        /// What it may sign with: `RS256`, `ES256`, `EdDSA`, …; no `HS*`.
        algorithms: List<String>,
        /// Where its keys are.
        jwks: RawJwks,
        /// How its claims are named.
        claims: RawClaims,
        /// What `typ` may say: `at+jwt`, `JWT`, `absent`. Default: `[at+jwt]`.
        types: List<String>,
        /// Whether `/readyz` waits for its first keys. Default: true.
        required: bool,
    }
}

section! {
    /// A JWK Set. One of `url` and `file`; the rest belongs to `url`.
    RawJwks {
        /// An https URL.
        url: String,
        /// A file, read with this one.
        file: String,
        /// PEM file with the only certificate authorities to trust there. Default: those of the system.
        ca: String,
        /// How often it is fetched. Default: 10m.
        refresh: Duration,
        /// How old keys may become when no newer ones come. Default: 1d.
        max_stale: Duration,
        /// How long one fetch may take. Default: 10s.
        timeout: Duration,
        /// The least time between two fetches for the sake of an unknown key id. Default: 30s.
        cool_down: Duration,
    }
}

section! {
    /// Names of claims.
    RawClaims {
        /// Names the subject. Default: `sub`.
        subject: String,
        /// Holds the scopes, as text or as a list. Default: `scope`, else `scp`.
        scope: String,
    }
}

section! {
    /// Access tokens.
    RawAccess {
        /// How long one is valid. Default: 15m.
        lifetime: Duration,
        /// How far clocks may differ. Default: 30s, at most 120s.
        leeway: Duration,
    }
}

section! {
    /// Refresh tokens.
    RawRefresh {
        /// How long they go on after a login, however much they are used. Default: 14d, at most 366d.
        lifetime: Duration,
        /// How long one is good while it is not used. Default: 2d.
        idle: Duration,
        /// How long a spent one gives its successor once more. Default: 10s, at most 60s.
        reuse_grace: Duration,
    }
}

section! {
    /// What outlives the process: one of the two.
    RawState {
        /// SQLite file, made at the first start.
        sqlite: String,
        /// PostgreSQL, for a fleet.
        postgres: RawPostgres,
        /// How old what is known of the others may be before protected routes answer 503. Default: 5m.
        max_staleness: Duration,
    }
}

section! {
    /// A PostgreSQL database.
    RawPostgres {
        /// Its URL, with the password.
        url: RawSecret,
        /// Whether its password may be sent to a server that does not prove itself. Default: false.
        insecure: bool,
    }
}

section! {
    /// Own endpoints: a path, or `off`.
    RawEndpoints {
        /// Default: `/token`.
        token: String,
        /// Default: `/token/revoke`, where there is `state`.
        revoke: String,
        /// Default: `/token/introspect`.
        introspect: String,
        /// Default: `/token/userinfo`.
        userinfo: String,
        /// Default: `/.well-known/jwks.json`.
        jwks: String,
        /// Default: `/.well-known/oauth-authorization-server`, and behind it the issuer's path, if it has one.
        metadata: String,
    }
}

section! {
    /// The list of a folder's keys.
    RawKeyFolder {
        /// As `tokens.keys`; files are relative to the folder.
        keys: List<RawKey>,
    }
}

section! {
    /// One key.
    RawKey {
        /// The `kid`.
        id: String,
        /// `EdDSA`, `ES256`, `RS256`, …
        algorithm: String,
        /// PEM file; raw bytes for `HS*`.
        file: String,
        /// The bytes of an `HS*` key, instead of `file`.
        secret: RawSecret,
        /// `sign` (signs and verifies) or `verify`.
        r#use: String,
        /// RFC 3339 time from which a key signs. Of those that have begun, the one that began last signs.
        from: String,
        /// RFC 3339 time after which the key verifies nothing.
        until: String,
    }
}

section! {
    /// A secret that is kept out of this file. One of the two.
    RawSecret {
        /// File that holds it, without its last newline.
        file: String,
        /// Environment variable that holds it.
        env: String,
    }
}

section! {
    /// Users.
    RawUsers {
        /// YAML file with `users`.
        file: String,
        /// Users are in the state store instead. Default: false.
        database: bool,
    }
}

section! {
    /// The user file.
    RawUserFile {
        /// Everybody who can log in.
        users: List<RawUser>,
    }
}

section! {
    /// One user.
    RawUser {
        /// The subject of the tokens and the value of `X-User`.
        name: String,
        /// argon2id as PHC text, as `hash-password` prints it; or bcrypt, scrypt, Django's PBKDF2 or sha512-crypt from elsewhere.
        password: String,
        /// What the user may do.
        scopes: List<String>,
        /// Refuses logins and tokens at once. Default: false.
        disabled: bool,
    }
}

section! {
    /// One OAuth client.
    RawClient {
        /// The `client_id`.
        id: String,
        /// The client of requests that name none. Default: false; one at most.
        default: bool,
        /// `password`, `refresh_token`, `client_credentials`.
        grants: List<String>,
        /// What its tokens may carry at most.
        scopes: List<String>,
        /// Whether it may introspect the tokens of other clients. Default: false.
        introspect: bool,
        /// SHA-256 of a generated secret, 64 hexadecimal digits.
        secret_sha256: String,
        /// argon2id of a chosen secret, PHC text.
        secret_hash: String,
        /// Addresses and networks that it may ask from. Default: anywhere.
        networks: List<String>,
    }
}

section! {
    /// Logins.
    RawLogin {
        /// How many passwords are checked at once. Default: half the cores, at least 1.
        parallel_hashes: u16,
        /// Wrong passwords of one user from one address. Default: `{ failures: 5, within: 5m, ban: 5m }`.
        per_user: RawLimit,
        /// Wrong passwords from one address. Default: `{ failures: 30, within: 5m, ban: 15m }`.
        per_address: RawLimit,
    }
}

section! {
    /// How many failures are too many.
    RawLimitMap {
        /// How many; at least 1.
        failures: u32,
        /// Within how long, counted from the first.
        within: Duration,
        /// How long the first ban lasts; each further one is twice as long, up to a day.
        ban: Duration,
    }
}

section! {
    /// Where requests go.
    RawUpstream {
        /// `HOST:PORT`, taken in turn.
        servers: List<String>,
        /// Which spellings of a path this backend is known to read in one way only.
        paths: RawPaths,
        /// Which of a client's fields it is sent besides the usual ones.
        headers: RawUpstreamHeaders,
        /// How long to wait.
        timeouts: RawTimeouts,
        /// Speaks TLS to it, as `{}` when nothing else is to be said. Default: plain HTTP.
        tls: RawUpstreamTls,
        /// How many requests it has at once.
        limits: RawUpstreamLimits,
        /// How much of a request's body is gathered before it is asked; or `off`. Default: 64KiB.
        buffer_request: Size,
    }
}

section! {
    /// Path spellings.
    RawPaths {
        /// Any of `semicolon`, `empty_segments`, `encoded_slash`, `encoded_percent`, `trailing_dot`, `trailing_space`,
        /// `encoded_backslash`, `non_utf8`.
        allow: List<String>,
        /// `sensitive` or `insensitive`. Default: not known, so what could be a path that asks for more is refused.
        case: String,
        /// `literal`: the application does not take `/admin.json` for `/admin`. Default: not known.
        suffix: String,
    }
}

section! {
    /// Time limits of an upstream.
    RawTimeouts {
        /// For the connection. Default: 2s.
        connect: Duration,
        /// For the response once the request is complete, and between two reads of it; or `off`. Default: 30s.
        read: Duration,
        /// For an unused connection. Default: 60s.
        idle: Duration,
        /// The longest silence of an upgraded connection, in both directions; or `off`. Default: 1h.
        tunnel: Duration,
    }
}

section! {
    /// One route.
    RawRoute {
        /// Its name in logs, metrics and messages.
        id: String,
        /// `name`, `*.name`; any host when left out.
        host: String,
        /// `/literal/{one-segment}/**`.
        path: String,
        /// Methods: any token but CONNECT and TRACE, in its own case; all of those when left out. GET covers HEAD.
        methods: List<String>,
        /// The name of an upstream.
        upstream: String,
        /// `required` (default), `optional`, `public`.
        auth: String,
        /// What a token must carry: a list (all of them), `{all: […]}` or `{any: […]}`.
        scopes: RawScopes,
        /// Whose tokens it trusts: trusted issuers by their `issuer`, ourselves as `self`. Default: `[self]`.
        issuers: List<String>,
        /// The most that it takes. Default: as much as comes.
        limits: RawRouteLimits,
        /// Whether the upstream sees bearer tokens. Default: what `identity` says.
        forward_authorization: bool,
        /// Names of client certificates, one of which is needed besides everything else: `dns:…`, `uri:…`, `email:…`, `cn:…`.
        /// Default: none is needed.
        client_certificate: List<String>,
        /// Whether tunnels, streams and long transfers end when the token that opened them expires. Default: `true`.
        end_at_token_expiry: bool,
    }
}

section! {
    /// The most that a route takes.
    RawRouteLimits {
        /// Bytes of a request's body.
        body: Size,
    }
}

section! {
    /// One expectation.
    RawTest {
        /// `METHOD TARGET`.
        request: String,
        /// The `Host`.
        host: String,
        /// As this user of the user file, with all of the user's scopes.
        user: String,
        /// As somebody whose token carries these.
        scopes: List<String>,
        /// With a client certificate of this name: `dns:…`, `uri:…`, `email:…`, `cn:…`.
        certificate: String,
        /// `allow`, or the status of the refusal.
        expect: Word,
    }
}

section! {
    /// The long form. One of the two.
    RawScopeSets {
        /// One of these is enough.
        any: List<String>,
        /// All of these are needed.
        all: List<String>,
    }
}
