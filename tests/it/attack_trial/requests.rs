//! What a request says of itself: who it is from, where it goes, how, and to what.

use super::{Class, GUARDED, Row};
use crate::harness::frames::{DATA, END_STREAM, Field, frame, headers, request};
use crate::harness::{HOST, edge};
use crate::identity_header::SPELLINGS;
use crate::paths::{NEAR_MISSES, RAW_TARGETS, TARGETS};

/// Two hosts, of which one is open.
const HOSTS: &str = "
  - { id: public, host: edge.example.com, path: /public/**, upstream: app, auth: public }
  - { id: shut, host: shut.example.com, path: /**, upstream: app, scopes: [admin] }
";
/// An application for everything, which reads paths as generously as any.
const EVERYTHING: &str = "\n  - { id: all, path: /**, upstream: app, auth: public }\n";
const GENEROUS: &str = ", paths: { allow: [semicolon, empty_segments, encoded_slash] }";

pub(super) async fn rows() -> Vec<Row> {
    vec![
        identity().await,
        identity_h2().await,
        field_names().await,
        field_names_h2().await,
        paths().await,
        paths_h2().await,
        hosts().await,
        hosts_h2().await,
        methods().await,
        methods_h2().await,
        upgrades().await,
        upgrades_h2().await,
        own_endpoints().await,
        own_endpoints_h2().await,
    ]
}

async fn identity() -> Row {
    let mut class = Class::new("identity header, HTTP/1.1", edge()).await;
    let token = format!("Authorization: Bearer {}\r\n", class.token);
    for (target, credential) in [("/public", ""), ("/", ""), ("/admin", &*token), ("/", &token)] {
        let get = |fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{credential}{fields}\r\n\r\n")
        };
        let post = |chunks: &str| {
            let fields = "Transfer-Encoding: chunked\r\nTrailer: X-User";
            format!(
                "POST {target} HTTP/1.1\r\nHost: {HOST}\r\n{credential}{fields}\r\n\r\n{chunks}"
            )
        };
        for name in SPELLINGS {
            class.attack(get(&format!("{name}: mallory"))).await;
            class.attack(get(&format!("Connection: {name}\r\n{name}: mallory"))).await;
            class.attack(get(&format!("{name}: mallory\r\nConnection: close, X-User"))).await;
            class.attack(get(&format!("{name} : mallory"))).await;
            class.attack(get(&format!("X-A: b\r\n {name}: mallory"))).await;
            class.attack(get(&format!("X-A: b\r{name}: mallory"))).await;
            class.attack(get(&format!("X-A: b\n{name}: mallory"))).await;
            class.attack(get(&format!("X-A: b\0\r\n{name}: mallory"))).await;
            class.attack(post(&format!("5;{name}=mallory\r\nhello\r\n0\r\n\r\n"))).await;
            class.attack(post(&format!("5\r\nhello\r\n0;{name}=mallory\r\n\r\n"))).await;
            class.attack(post(&format!("5\r\nhello\r\n0\r\n{name}: mallory\r\n\r\n"))).await;
        }
        class.attack(get("X-User: mallory\r\nx_user: mallory\r\nX-USER: mallory")).await;
        class.twin(get("X-Username: m")).await;
        class.twin(get("X-A: X-User\r\nConnection: close")).await;
        class.twin(post("5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n")).await;
    }
    class.row().await
}

async fn identity_h2() -> Row {
    let mut class = Class::new("identity header, HTTP/2", edge().tls()).await;
    let token = format!("Bearer {}", class.token);
    let credential: &[Field<'_>] = &[(b"authorization", token.as_bytes())];
    for (target, own) in [("/public", &[][..]), ("/", &[]), ("/admin", credential)] {
        for name in SPELLINGS {
            let lower = name.to_ascii_lowercase();
            for name in [name, &lower] {
                let forged: Field<'_> = (name.as_bytes(), b"mallory");
                let line = format!("b\r\n{name}: mallory");
                let get = [&request("GET", target)[..], own, &[forged]].concat();
                class.attack_h2(&get, None).await;
                let get = [&request("GET", target)[..], own, &[(b"x-a", line.as_bytes())]].concat();
                class.attack_h2(&get, None).await;
                let nominated: Field<'_> = (b"connection", b"x-user");
                let get = [&request("GET", target)[..], own, &[nominated, forged]].concat();
                class.attack_h2(&get, None).await;
                let post = [&request("POST", target)[..], own].concat();
                let open = [headers(1, 0, &post), frame(DATA, 0, 1, b"hello")];
                let trailers = headers(1, END_STREAM, &[forged]);
                class.attack_frames(&[open.concat(), trailers]).await;
            }
        }
        let get = [&request("GET", target)[..], own, &[(b"x-username", b"m")]].concat();
        class.twin_h2(&get, None).await;
        class.twin_h2(&[&request("POST", target)[..], own].concat(), Some(b"hello")).await;
    }
    class.row().await
}

/// Names that only a proxy may set, and names that applications read as those.
const PROXY_NAMES: [&str; 16] = [
    "SCRIPT_NAME",
    "Script-Name",
    "PATH_INFO",
    "X-Original-URL",
    "X_Rewrite_URL",
    "X-Original-Method",
    "X-Http-Host-Override",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Remote-User",
    "REMOTE_USER",
    "X-WEBAUTH-USER",
    "X-SSL-Client-DN",
    "WL-Proxy-Client-IP",
    "Transfer_Encoding",
    "Content_Length",
];

async fn field_names() -> Row {
    let mut class = Class::new("names of proxies, HTTP/1.1", edge()).await;
    let token = format!("Authorization: Bearer {}\r\n", class.token);
    for (target, credential) in [("/public", ""), ("/admin", &*token)] {
        let get = |fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{credential}{fields}\r\n\r\n")
        };
        for name in PROXY_NAMES {
            class.attack(get(&format!("{name}: mallory"))).await;
            class.attack(get(&format!("Connection: {name}\r\n{name}: mallory"))).await;
            class.attack(get(&format!("{name}: a\r\n{name}: mallory"))).await;
        }
        class.twin(get("X-Original-Filename: m")).await;
        class.twin(get("X-Requested-With: m\r\nSec-Fetch-Site: none")).await;
    }
    class.row().await
}

async fn field_names_h2() -> Row {
    let mut class = Class::new("names of proxies, HTTP/2", edge().tls()).await;
    let token = format!("Bearer {}", class.token);
    let credential: &[Field<'_>] = &[(b"authorization", token.as_bytes())];
    for (target, own) in [("/public", &[][..]), ("/admin", credential)] {
        for name in PROXY_NAMES.map(str::to_ascii_lowercase) {
            let forged: Field<'_> = (name.as_bytes(), b"mallory");
            let get = [&request("GET", target)[..], own, &[forged]].concat();
            class.attack_h2(&get, None).await;
        }
        let get = [&request("GET", target)[..], own, &[(b"x-original-filename", b"m")]].concat();
        class.twin_h2(&get, None).await;
    }
    class.row().await
}

async fn paths() -> Row {
    let mut class = Class::new("paths, HTTP/1.1", edge()).await;
    let plain = TARGETS.iter().map(|(target, status)| (target.as_bytes(), *status));
    for (target, status) in plain.chain(RAW_TARGETS.iter().copied()) {
        let bytes = [b"GET ", target, b" HTTP/1.1\r\nHost: ", HOST.as_bytes(), b"\r\n\r\n"];
        match status {
            200 => class.twin(bytes.concat()).await,
            _ => class.attack(bytes.concat()).await,
        }
    }
    class.row().await
}

async fn paths_h2() -> Row {
    let mut class = Class::new("paths, HTTP/2", edge().tls()).await;
    for (target, status) in TARGETS {
        match status {
            200 => class.twin_h2(&request("GET", target), None).await,
            _ => class.attack_h2(&request("GET", target), None).await,
        }
    }
    for (target, _) in RAW_TARGETS {
        let [method, scheme, authority, _] = request("GET", "");
        class.attack_h2(&[method, scheme, authority, (b":path", target)], None).await;
    }
    class.row().await
}

/// Hosts that are not quite the open one.
const ODD_HOSTS: [&str; 14] = [
    "shut.example.com",
    "SHUT.example.com",
    "shut.example.com.",
    "shut.example.com:443",
    "edge.example.com@shut.example.com",
    "shut.example.com@edge.example.com",
    "edge.example.com, shut.example.com",
    "edge.example.com shut.example.com",
    "edge.example.com/shut.example.com",
    "edge.example.com#shut.example.com",
    "edge.example.com:99999",
    "edge.example.com:80:80",
    "edge..example.com",
    "",
];

async fn hosts() -> Row {
    let mut class = Class::new("hosts and authorities, HTTP/1.1", edge().routes(HOSTS)).await;
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n");
    for host in ODD_HOSTS {
        class.attack(get("/public", &format!("Host: {host}"))).await;
        class.attack(get("/public", &format!("Host: {HOST}\r\nHost: {host}"))).await;
        class.attack(get("/public", &format!("Host: {host}\r\nHost: {HOST}"))).await;
        class.attack(get(&format!("http://{host}/public"), &format!("Host: {HOST}"))).await;
        class.attack(get(&format!("http://{HOST}/public"), &format!("Host: {host}"))).await;
        class.attack(get("/x", &format!("Host: {HOST}\r\nX-Forwarded-Host: {host}"))).await;
        class.attack(get("/x", &format!("Host: {HOST}\r\nForwarded: host={host}"))).await;
    }
    class.attack(get("/public", "Accept: */*")).await;
    for target in ["/public", "http://edge.example.com/public"] {
        class.twin(get(target, &format!("Host: {HOST}"))).await;
    }
    class.row().await
}

async fn hosts_h2() -> Row {
    let edge = edge().tls().routes(HOSTS);
    let mut class = Class::new("hosts and authorities, HTTP/2", edge).await;
    let [method, scheme, own, path] = request("GET", "/public");
    for host in ODD_HOSTS {
        let (authority, field) =
            ((&b":authority"[..], host.as_bytes()), (&b"host"[..], host.as_bytes()));
        class.attack_h2(&[method, scheme, authority, path], None).await;
        class.attack_h2(&[method, scheme, own, path, field], None).await;
        class.attack_h2(&[method, scheme, authority, path, (b"host", HOST.as_bytes())], None).await;
        class.attack_h2(&[method, scheme, own, authority, path], None).await;
        class.attack_h2(&[method, scheme, path, field], None).await;
    }
    class.twin_h2(&[method, scheme, own, path], None).await;
    class.twin_h2(&[method, scheme, own, path, (b"host", HOST.as_bytes())], None).await;
    class.row().await
}

const ODD_METHODS: [&str; 13] = [
    "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "Get", "GETX", "GET_",
    "PRI", "FOO",
];

async fn methods() -> Row {
    let mut class = Class::new("methods, HTTP/1.1", edge()).await;
    let token = format!("Authorization: Bearer {}", class.token);
    let line = |method: &str, fields: &str| {
        format!("{method} /read-only HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n")
    };
    for method in ODD_METHODS {
        class.attack(line(method, &token)).await;
        class.attack(line("GET", &format!("X-HTTP-Method-Override: {method}"))).await;
        class.attack(line(method, &format!("{token}\r\nX-HTTP-Method-Override: GET"))).await;
    }
    for line in ["OPTIONS *", "CONNECT edge.example.com:443", "CONNECT /admin", "GET"] {
        class.attack(format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    }
    class.twin(line("GET", &token)).await;
    class.twin(line("GET", &format!("{token}\r\nX-HTTP-Method-Override: DELETE"))).await;
    class.row().await
}

async fn methods_h2() -> Row {
    let mut class = Class::new("methods, HTTP/2", edge().tls()).await;
    let token = format!("Bearer {}", class.token);
    let credential: Field<'_> = (b"authorization", token.as_bytes());
    for method in ODD_METHODS.into_iter().chain(["", "G ET", "GET\r\nX-User: mallory"]) {
        let fields = [&request(method, "/read-only")[..], &[credential]].concat();
        class.attack_h2(&fields, None).await;
        class.attack_h2(&request(method, "/admin"), None).await;
    }
    for method in ["GET", "HEAD"] {
        let fields = [&request(method, "/read-only")[..], &[credential]].concat();
        class.twin_h2(&fields, None).await;
    }
    class.row().await
}

const PROTOCOLS: [&str; 10] = [
    "websocket",
    "WebSocket",
    "h2c",
    "x",
    "TLS/1.0",
    "HTTP/2.0",
    "websocket, h2c",
    "h2c, websocket",
    "websocket/13",
    "",
];

async fn upgrades() -> Row {
    let mut class = Class::new("upgrades, HTTP/1.1", edge()).await;
    let socket = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    let get = |target: &str, protocol: &str, behind: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n{socket}\r\n\r\n{behind}"
        )
    };
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for protocol in PROTOCOLS {
        for behind in ["", GUARDED, preface] {
            class.attack(get("/admin", protocol, behind)).await;
            class.attack(get("/public", protocol, behind)).await;
        }
    }
    class.attack(format!("{preface}{GUARDED}")).await;
    class
        .attack([preface.as_bytes(), &headers(1, END_STREAM, &request("GET", "/admin"))].concat())
        .await;
    let token = format!(
        "Authorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket",
        class.token
    );
    class.twin(format!("GET /admin HTTP/1.1\r\nHost: {HOST}\r\n{token}\r\n{socket}\r\n\r\n")).await;
    class.row().await
}

async fn upgrades_h2() -> Row {
    let mut class = Class::new("upgrades, HTTP/2", edge().tls()).await;
    for protocol in PROTOCOLS {
        let upgrade: Field<'_> = (b"upgrade", protocol.as_bytes());
        for target in ["/admin", "/public"] {
            class.attack_h2(&[&request("GET", target)[..], &[upgrade]].concat(), None).await;
            let extended: Field<'_> = (b":protocol", protocol.as_bytes());
            let fields = [&request("CONNECT", target)[..], &[extended]].concat();
            class.attack_h2(&fields, Some(GUARDED.as_bytes())).await;
        }
    }
    let token = format!("Bearer {}", class.token);
    let fields = [&request("GET", "/admin")[..], &[(b"authorization", token.as_bytes())]].concat();
    class.twin_h2(&fields, None).await;
    class.row().await
}

async fn own_endpoints() -> Row {
    let edge = edge().routes(EVERYTHING).upstream_with(GENEROUS);
    let mut class = Class::new("near our endpoints, HTTP/1.1", edge).await;
    let form = "grant_type=password&username=alice&password=mallory";
    for target in NEAR_MISSES {
        for method in ["GET", "POST"] {
            let length = form.len();
            let fields = format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}"
            );
            class
                .attack(format!(
                    "{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n{form}"
                ))
                .await;
        }
    }
    for target in ["/public/token", "/public", "/public/.well-known/jwks.json"] {
        class.twin(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    }
    class.row().await
}

async fn own_endpoints_h2() -> Row {
    let edge = edge().tls().routes(EVERYTHING).upstream_with(GENEROUS);
    let mut class = Class::new("near our endpoints, HTTP/2", edge).await;
    for target in NEAR_MISSES {
        class.attack_h2(&request("POST", target), Some(b"grant_type=password")).await;
        class.attack_h2(&request("GET", target), None).await;
    }
    class.twin_h2(&request("GET", "/public/token"), None).await;
    class.row().await
}
