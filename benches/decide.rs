//! What does one decision cost, without sockets?
//!
//! The request goes through `Gateway::decide` as the proxy calls it: target, route, credential, token, scopes, header edits.
//! `cached` is the usual case; `verified` is the first request with a token. What would make the numbers wrong: a busy
//! machine, a frequency that changes, and comparing them with figures of another run. Compare ratios within one run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot start has nothing to say"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method};
use portcullis::access::connection::{Connection, Transport};
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::config::{self, Persona, SourceFile, Sources};
use portcullis::gateway::decide::{Decision, RequestHead};
use portcullis::gateway::dry_run::DryRun;
use portcullis::gateway::{Gateway, Shared};
use portcullis::keys::{Algorithm, generate};
use portcullis::oauth::scope::Scope;
use portcullis::random::OsRandom;

/// Files that exist only here.
#[derive(Debug)]
struct Files(HashMap<PathBuf, Vec<u8>>);

impl Sources for Files {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        let bytes = self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(SourceFile { bytes, mode: Some(0o600), exposure: None })
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A gateway with this many routes, all but the last of them in the way.
fn gateway(algorithm: Algorithm, routes: usize) -> Gateway {
    let mut text = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         scopes: {{ read: Read, write: Write }}\n\
         tokens:\n  issuer: https://edge.example.com\n  audience: app\n  \
         keys: [{{ id: one, algorithm: {algorithm}, file: key, use: sign }}]\n\
         users: {{ file: users }}\n\
         clients: [{{ id: web, default: true, grants: [password], scopes: [read, write] }}]\n\
         upstreams: {{ app: {{ servers: ['127.0.0.1:1'] }} }}\n\
         routes:\n  - {{ id: open, path: /open/**, upstream: app, auth: public }}\n"
    );
    for number in 2..=routes {
        writeln!(
            text,
            "  - {{ id: r{number}, path: '/area{number}/{{id}}/items/**', methods: [GET], upstream: app, scopes: [read] }}"
        )
        .unwrap();
    }
    let files = [
        ("portcullis.yaml", text.into_bytes()),
        ("users", b"users: []\n".to_vec()),
        ("key", generate(algorithm, &OsRandom).unwrap().expose().to_vec()),
    ];
    let files = files.into_iter().map(|(name, bytes)| (PathBuf::from(name), bytes)).collect();
    let loaded = config::load(Path::new("portcullis.yaml"), &Files(files));
    let problems = loaded.problems;
    let config = loaded.config.unwrap_or_else(|| panic!("{problems:#?}"));
    let shared = Shared::start(Arc::new(SystemClock), Arc::new(OsRandom), 1, Box::new(io::sink()));
    Gateway::build(config, Arc::new(shared.unwrap()), 0)
}

/// One request, asked again and again.
struct Ask {
    dry_run: DryRun,
    headers: HeaderMap,
    target: String,
}

impl Ask {
    fn new(gateway: &Gateway, target: &str, scopes: Option<&str>) -> Self {
        let dry_run = DryRun::new(gateway).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "edge.example.com".parse().unwrap());
        headers.insert("accept", "application/json".parse().unwrap());
        headers.insert("user-agent", "bench/1.0".parse().unwrap());
        if let Some(scopes) = scopes {
            let persona = Persona::Scopes(Scope::parse(scopes).unwrap());
            let token = dry_run.token(&persona).unwrap().unwrap();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        Self { dry_run, headers, target: target.to_owned() }
    }

    fn decide(&self) -> Decision {
        let connection = Connection {
            peer: SocketAddr::from(([192, 0, 2, 1], 1)),
            transport: Transport::Tls,
            certificate: None,
        };
        let head = RequestHead {
            method: &Method::GET,
            target: self.target.as_bytes(),
            authority: None,
            headers: &self.headers,
            connection: &connection,
            request_id: "AAAAAAAAAAAAAAAAAAAAAA",
        };
        self.dry_run.gateway().decide(black_box(&head), SystemClock.now())
    }

    /// Files the verification, as the proxy does after a first request.
    fn remembered(self) -> Self {
        match self.decide() {
            Decision::Forward(permit) => {
                self.dry_run.gateway().remember(&permit, SystemClock.now())
            }
            other => panic!("{other:?}"),
        }
        self
    }
}

fn decisions(criterion: &mut Criterion) {
    for routes in [10, 100, 1_000] {
        let gateway = gateway(Algorithm::EdDsa, routes);
        let deep = format!("/area{routes}/7/items/9?page=2");
        let mut group = criterion.benchmark_group(format!("{routes} routes"));
        let public = Ask::new(&gateway, "/open/logo.svg", None);
        group.bench_function("public", |bencher| bencher.iter(|| public.decide()));
        let cached = Ask::new(&gateway, &deep, Some("read")).remembered();
        group.bench_function("cached", |bencher| bencher.iter(|| cached.decide()));
        let anonymous = Ask::new(&gateway, &deep, None);
        group.bench_function("refused, no token", |bencher| bencher.iter(|| anonymous.decide()));
        let poor = Ask::new(&gateway, &deep, Some("write"));
        group.bench_function("refused, scope", |bencher| bencher.iter(|| poor.decide()));
        let nowhere = Ask::new(&gateway, "/nowhere/at/all", None);
        group.bench_function("no route", |bencher| bencher.iter(|| nowhere.decide()));
        group.finish();
    }
    let mut group = criterion.benchmark_group("verified");
    for algorithm in Algorithm::ALL {
        let gateway = gateway(algorithm, 10);
        let first = Ask::new(&gateway, "/area10/7/items/9", Some("read"));
        group.bench_function(algorithm.name(), |bencher| bencher.iter(|| first.decide()));
    }
    group.finish();
    let mut group = criterion.benchmark_group("cached, by size of token");
    for algorithm in [Algorithm::Hs256, Algorithm::Es256, Algorithm::Rs256] {
        let gateway = gateway(algorithm, 10);
        let cached = Ask::new(&gateway, "/area10/7/items/9", Some("read")).remembered();
        group.bench_function(algorithm.name(), |bencher| bencher.iter(|| cached.decide()));
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
