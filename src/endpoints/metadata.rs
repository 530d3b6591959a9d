//! What the authorization server can do, for clients that configure themselves (RFC 8414): only what is true of this
//! configuration. An endpoint that is off is not named, nor a grant that no client may use.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::grants::{ClientRegistry, ClientSecret, GrantType};
use crate::oauth::scope::{Catalogue, ScopeToken};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// The paths of the other endpoints; `None` is off.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointPaths<'a> {
    /// The token endpoint (RFC 6749 section 3.2).
    pub token: Option<&'a str>,
    /// The key set (RFC 7517 section 5).
    pub jwks: Option<&'a str>,
    /// Revocation (RFC 7009).
    pub revoke: Option<&'a str>,
    /// Introspection (RFC 7662), for clients that prove themselves.
    pub introspect: Option<&'a str>,
    /// Who a token speaks for.
    pub userinfo: Option<&'a str>,
}

/// Where clients look for the metadata of this issuer: its path stands behind the well-known one (RFC 8414 section 3.1).
#[must_use]
pub fn default_path(issuer: &str) -> String {
    let (_, path) = split(issuer);
    format!("{WELL_KNOWN}{}", path.trim_end_matches('/'))
}

/// The document (RFC 8414 section 2).
#[must_use]
pub fn document(
    issuer: &str,
    paths: &EndpointPaths<'_>,
    clients: &ClientRegistry,
    catalogue: &Catalogue,
) -> Bytes {
    let (origin, _) = split(issuer);
    let mut members = Map::new();
    let mut say = |name: &str, value: Value| members.insert(name.to_owned(), value);
    let url = |path: &str| json!(format!("{origin}{path}"));
    say("issuer", json!(issuer));
    // Nobody authorises anything in a browser here.
    say("response_types_supported", json!([]));
    let scopes: Vec<&str> = catalogue.iter().map(ScopeToken::as_str).collect();
    say("scopes_supported", json!(scopes));
    // Left out, it would mean grants that there are not.
    let grants = paths.token.map(|_| grants(clients));
    say("grant_types_supported", json!(grants.unwrap_or_default()));
    if let Some(path) = paths.token {
        say("token_endpoint", url(path));
        say("token_endpoint_auth_methods_supported", json!(methods(clients, true)));
    }
    if let Some(path) = paths.jwks {
        say("jwks_uri", url(path));
    }
    if let Some(path) = paths.revoke {
        say("revocation_endpoint", url(path));
        say("revocation_endpoint_auth_methods_supported", json!(methods(clients, true)));
    }
    if let Some(path) = paths.introspect {
        say("introspection_endpoint", url(path));
        say("introspection_endpoint_auth_methods_supported", json!(methods(clients, false)));
    }
    if let Some(path) = paths.userinfo {
        say("userinfo_endpoint", url(path));
    }
    Bytes::from(Value::Object(members).to_string())
}

/// Scheme and authority, and the path behind them.
fn split(issuer: &str) -> (&str, &str) {
    let authority = issuer.find("://").map_or(0, |at| at + 3);
    let slash = issuer.get(authority..).and_then(|rest| rest.find('/'));
    let end = slash.map_or(issuer.len(), |at| authority + at);
    issuer.split_at_checked(end).unwrap_or((issuer, ""))
}

fn grants(clients: &ClientRegistry) -> Vec<&'static str> {
    let used = |grant: &GrantType| clients.iter().any(|client| client.grants.contains(grant));
    GrantType::ALL.into_iter().filter(used).map(GrantType::name).collect()
}

/// How the clients there are can say who they are; with or without those that prove nothing.
fn methods(clients: &ClientRegistry, public: bool) -> Vec<&'static str> {
    let is_public = |secret: &ClientSecret| matches!(secret, ClientSecret::Public);
    let mut methods = Vec::new();
    if public && clients.iter().any(|client| is_public(&client.secret)) {
        methods.push("none");
    }
    if clients.iter().any(|client| !is_public(&client.secret)) {
        methods.extend(["client_secret_basic", "client_secret_post"]);
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Client;
    use crate::oauth::client::ClientId;
    use crate::oauth::scope::Scope;

    fn client(id: &str, secret: ClientSecret, grants: &[GrantType]) -> Client {
        let (id, grants) = (ClientId::parse(id).unwrap(), grants.to_vec());
        let scope = Scope::default();
        Client { id, default: false, secret, grants, scope, introspect: false, networks: None }
    }

    fn read(issuer: &str, paths: &EndpointPaths<'_>, clients: Vec<Client>) -> Value {
        let catalogue = Catalogue::new(Scope::parse("b a").unwrap().iter().cloned()).unwrap();
        let clients = ClientRegistry::new(clients).unwrap();
        serde_json::from_slice(&document(issuer, paths, &clients, &catalogue)).unwrap()
    }

    #[test]
    fn f1_the_issuers_path_stands_behind_the_well_known_one() {
        for (issuer, path) in [
            ("https://edge.example.com", ""),
            ("https://edge.example.com/", ""),
            ("https://edge.example.com:8443", ""),
            ("https://edge.example.com/tenant", "/tenant"),
            ("https://edge.example.com/a/b/", "/a/b"),
            ("http://[::1]:8080/a", "/a"),
        ] {
            assert_eq!(default_path(issuer), format!("{WELL_KNOWN}{path}"), "{issuer}");
        }
    }

    #[test]
    fn f2_everything_that_is_on_is_named_absolutely() {
        let paths = EndpointPaths {
            token: Some("/auth/token"),
            jwks: Some("/keys"),
            revoke: Some("/token/revoke"),
            introspect: Some("/token/introspect"),
            userinfo: Some("/token/userinfo"),
        };
        let web = client("web", ClientSecret::Public, &[GrantType::Password]);
        let secret = ClientSecret::Sha256([7; 32]);
        let nightly = client("nightly", secret, &[GrantType::ClientCredentials]);
        let issuer = "https://edge.example.com:8443/tenant";
        let all = json!(["none", "client_secret_basic", "client_secret_post"]);
        assert_eq!(
            read(issuer, &paths, vec![web, nightly]),
            json!({
                "issuer": issuer,
                "token_endpoint": "https://edge.example.com:8443/auth/token",
                "token_endpoint_auth_methods_supported": all,
                "jwks_uri": "https://edge.example.com:8443/keys",
                "revocation_endpoint": "https://edge.example.com:8443/token/revoke",
                "revocation_endpoint_auth_methods_supported": all,
                "introspection_endpoint": "https://edge.example.com:8443/token/introspect",
                "introspection_endpoint_auth_methods_supported":
                    ["client_secret_basic", "client_secret_post"],
                "userinfo_endpoint": "https://edge.example.com:8443/token/userinfo",
                "grant_types_supported": ["password", "client_credentials"],
                "response_types_supported": [],
                "scopes_supported": ["a", "b"],
            })
        );
    }

    #[test]
    fn f2_nothing_is_promised_that_nobody_can_have() {
        let issuer = "https://edge.example.com";
        let web = || client("web", ClientSecret::Public, &[GrantType::Password]);
        let token = EndpointPaths { token: Some("/token"), ..EndpointPaths::default() };
        let one = read(issuer, &token, vec![web()]);
        assert_eq!(one["grant_types_supported"], json!(["password"]));
        assert_eq!(one["token_endpoint_auth_methods_supported"], json!(["none"]));
        assert_eq!(one.as_object().unwrap().len(), 6, "{one}");
        let nobody = read(issuer, &token, vec![]);
        assert_eq!(nobody["grant_types_supported"], json!([]));
        assert_eq!(nobody["token_endpoint_auth_methods_supported"], json!([]));
        let off = read(issuer, &EndpointPaths::default(), vec![web()]);
        assert_eq!(off["grant_types_supported"], json!([]));
        assert_eq!(off.as_object().unwrap().len(), 4, "{off}");
    }
}
