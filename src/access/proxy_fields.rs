//! The request fields that only a proxy may set, by what an application would take from them.
//!
//! Servers, frameworks and applications trust these names because a proxy in front is said to have written them; here we
//! are that proxy, and a client's own must not arrive. It is one list, which README repeats ("Fields that only a proxy may
//! set"), with the names that known software reads in its default set-up or in one that its manual describes. A name that
//! clients have reason to send (`X-Auth-Token`, `X-Goog-Api-Key`, `traceparent`, …) is not here.

use std::sync::LazyLock;

/// What a field would make an application trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// How the request came: the proxies' own words about it, and the id that ties log lines together.
    Way,
    /// Below which path the application stands, and which file it is to serve.
    Path,
    /// Another URL, host, scheme or path than those of the request.
    Target,
    /// Another method than that of the request.
    Method,
    /// The client's address.
    Address,
    /// What content delivery networks and clouds say of the client.
    Network,
    /// Who is calling, and from which machine.
    User,
    /// Which certificate the client showed.
    Certificate,
}

/// Every name in lower case; one that ends in `*` stands for all that begin so.
pub const NAMES: [(Family, &[&str]); 8] = [
    (Family::Way, &["x-forward*", "forwarded*", "x-request-id", "proxy", "proxy-*", "x-proxy-*"]),
    (
        Family::Path,
        &[
            // gunicorn trusts the first two from 127.0.0.1 by default.
            "script-name",
            "path-info",
            "path-translated",
            "script-filename",
            "script-uri",
            "script-url",
            "document-root",
            "document-uri",
            "query-string",
            // php-cgi takes the first for the sign that a server started it.
            "redirect-status",
            "redirect-url",
            "redirect-uri",
            "request-base",
            "x-request-base",
            "x-script-name",
            "x-path-info",
            "x-ingress-path",
            "x-replaced-path",
            "x-proxycontextpath",
            // Rack::Sendfile.
            "x-accel-*",
            "x-sendfile-*",
            // Next.js.
            "x-middleware-subrequest*",
            "x-matched-path",
            "x-invoke-*",
            "x-now-route-matches",
            "gitlab-workhorse*",
        ],
    ),
    (
        Family::Target,
        &[
            "x-original-url",
            "x-original-uri",
            "x-original-path",
            "x-original-query",
            "x-original-prefix",
            "x-original-host",
            "x-original-port",
            "x-original-proto",
            "x-original-scheme",
            "x-originating-url",
            "x-rewrite-url",
            "x-rewrite-uri",
            "x-rewrite-path",
            "x-rewrite-host",
            "x-override-url",
            "x-http-path-override",
            "x-http-destinationurl",
            "x-http-host-override",
            "x-http-host",
            "request-uri",
            "x-request-uri",
            "x-request-url",
            "raw-request-uri",
            "base-url",
            "server-name",
            "server-addr",
            "server-port",
            "x-host",
            "x-real-host",
            "x-real-port",
            "x-real-proto",
            "x-real-scheme",
            "x-proxyhost",
            "x-proxyport",
            "x-proxyscheme",
            "x-proxied-*",
            "x-scheme",
            "x-url-scheme",
            "x-https",
            "https",
            "front-end-https",
            "x-nginx-proxy",
            "x-frappe-site-name",
            "x-odoo-dbfilter",
            "x-jfrog-override-base-url",
            "x-artifactory-override-base-url",
        ],
    ),
    (
        Family::Method,
        &[
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "http-method-override",
            "method-override",
            "request-method",
            "x-original-method",
            "x-rewrite-method",
        ],
    ),
    (
        Family::Address,
        &[
            "client-ip",
            "client-address",
            "x-client-ip",
            "x-client-address",
            "x-client-port",
            "true-client-ip",
            "x-true-client-ip",
            "x-true-ip",
            "real-ip",
            "x-real-ip",
            "cluster-client-ip",
            "x-cluster-client-ip",
            "x-original-for",
            "x-original-ip",
            "x-original-remote-addr",
            "x-original-forwarded-for",
            "x-originating-ip",
            "x-original-client-ip",
            "x-source-ip",
            "x-peer-ip",
            "x-user-ip",
            "x-proxyuser-ip",
            "x-custom-ip-authorization",
            "coming-from",
            "x-coming-from",
            "via-ip",
            "http-client-ip",
            "http-x-forwarded-for",
        ],
    ),
    (
        Family::Network,
        &[
            "cf-*",
            "x-cf-*",
            "cdn-real-ip",
            "cdn-src-ip",
            "x-cdn-src-ip",
            "ali-cdn-real-ip",
            "eo-client-ip",
            "eo-connecting-ip",
            "do-connecting-ip",
            "incap-client-ip",
            "x-sucuri-*",
            "fastly-*",
            "akamai-*",
            "x-akamai-*",
            "cloudfront-*",
            "fly-*",
            "x-nf-*",
            "x-vercel-*",
            "x-appengine-*",
            "x-cloudtasks-*",
            "x-cloudscheduler*",
            "x-goog-authenticated-*",
            "x-goog-iap-*",
            "x-endpoint-api-userinfo",
            "x-apigateway-*",
            "x-amzn-oidc-*",
            "x-amzn-mtls-*",
            "x-amzn-tls-*",
            "x-amzn-ava-*",
            "x-amzn-waf-*",
            "x-amzn-request-context",
            "x-amzn-lambda-context",
            "x-azure-*",
            "x-ms-client-principal*",
            "x-ms-token-*",
            "x-ms-original-url",
            "x-ms-forwarded-client-ip",
            "x-ms-adfs-proxy-client-ip",
            "x-ms-endpoint-absolute-path",
            "x-ms-proxy",
            "x-waws-*",
            "was-default-hostname",
            "disguised-host",
            "x-envoy-*",
            "l5d-*",
        ],
    ),
    (
        Family::User,
        &[
            // CGI's `remote-user`, Authelia's `remote-groups`, and with them `remote-addr` and its kin.
            "remote-*",
            "x-remote-*",
            "auth-user",
            "auth-type",
            "auth-mail",
            "auth-groups",
            "auth-cn",
            "logon-user",
            "x-logon-user",
            "x-auth-user",
            "x-auth-username",
            "x-auth-userid",
            "x-auth-subject",
            "x-auth-email",
            "x-auth-groups",
            "x-auth-roles",
            "x-auth-request-*",
            "x-auth-couchdb-*",
            "x-authenticated-*",
            "x-webauth*",
            "x-authentik-*",
            "x-pomerium-*",
            "x-vouch-*",
            "x-consumer-*",
            "x-anonymous-consumer",
            "x-credential-*",
            "x-userinfo",
            "x-jwt-assertion",
            "x-token-subject",
            "x-token-user-*",
            "x-replit-user-*",
            "x-sandstorm-*",
            "x-tailscale-*",
            "tailscale-*",
            "teleport-*",
            "ngrok-auth-*",
            "ynh-user*",
            "shib-*",
            "eppn",
            "oidc-*",
            "mellon-*",
            "cas-user",
            "sm-*",
            "iv-*",
            "oam-*",
            "osso-*",
            "ms-aspnetcore-*",
            "x-iisnode-*",
        ],
    ),
    (
        Family::Certificate,
        &[
            "ssl-*",
            "x-ssl-*",
            "tls-client-*",
            "x-tls-client-*",
            "tls-session-info",
            "client-cert*",
            "x-client-cert*",
            "x-client-dn",
            "x-client-s-dn",
            "x-client-verify",
            "x-arr-*",
            "wl-proxy-*",
        ],
    ),
];

/// The list in an order in which one name is found by halving. No name that stands for others is the beginning of another
/// (a test sees to it), so that only the last one that is not greater than what is asked for can be its beginning.
static SORTED: LazyLock<Vec<(&str, bool, Family)>> = LazyLock::new(|| {
    let own = |(family, names): &(Family, &'static [&'static str])| {
        let family = *family;
        names.iter().map(move |name| match name.strip_suffix('*') {
            Some(beginning) => (beginning, true, family),
            None => (*name, false, family),
        })
    };
    let mut names: Vec<_> = NAMES.iter().flat_map(own).collect();
    names.sort_unstable_by_key(|(name, ..)| *name);
    names
});

/// What a name, which is folded already, would make an application trust; `None` when it is not in the list.
#[must_use]
pub fn family(folded: &str) -> Option<Family> {
    let after = SORTED.partition_point(|(name, ..)| *name <= folded);
    let (name, stands_for_more, family) = SORTED.get(after.checked_sub(1)?)?;
    let found = *name == folded || (*stands_for_more && folded.starts_with(name));
    found.then_some(*family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_what_only_resembles_one_is_not() {
        for (own, name) in NAMES.iter().flat_map(|(own, names)| names.iter().map(move |n| (own, n)))
        {
            let beginning = name.trim_end_matches('*');
            assert_eq!(family(beginning), Some(*own), "{name}");
            assert_eq!(family(&format!("{beginning}zz")).is_some(), name.ends_with('*'), "{name}");
        }
        for other in [
            "",
            "a",
            "zz",
            "accept",
            "x-auth-token",
            "x-auth",
            "x-real",
            "traceparent",
            "content-type",
            "sec-fetch-site",
            "x-goog-api-key",
            "x-amzn-trace-id",
            "x-user-agent",
            "destination",
            "origin",
            "x-ms-client-request-id",
        ] {
            assert_eq!(family(other), None, "{other}");
        }
    }

    #[test]
    fn the_list_is_folded_and_nothing_in_it_stands_for_another() {
        let plain = |name: &str| {
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        for (place, (name, stands_for_more, _)) in SORTED.iter().enumerate() {
            assert!(plain(name) && !name.is_empty(), "{name}");
            for (other, ..) in SORTED.iter().skip(place + 1) {
                assert_ne!(name, other);
                assert!(!(*stands_for_more && other.starts_with(name)), "{name}* covers {other}");
            }
        }
    }
}
