//! Simulated requests: the tests in the configuration, and `explain`.
//!
//! A simulated request is decided by the same [`Gateway::decide`] as a real one, with a real token that is signed for it and then
//! dropped. For a test with `scopes`, a synthetic user and client are added to a *copy* of the snapshot.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method};

use crate::access::certificate::ClientCertificate;
use crate::access::connection::{Connection, Transport};
use crate::clock::Timestamp;
use crate::config::{Expectation, Persona, PolicyTest};
use crate::gateway::decide::{Decision, RequestHead};
use crate::gateway::{Gateway, Principals, UserCeiling};
use crate::oauth::client::ClientId;
use crate::oauth::scope::{Scope, ScopeBits};
use crate::oauth::subject::Subject;
use crate::random;
use crate::route::certificate::CertificateName;
use crate::token::Content;

/// A copy of a snapshot in which any principal can be simulated.
#[derive(Debug)]
pub struct DryRun {
    gateway: Gateway,
    synthetic_user: Subject,
    client: ClientId,
}

/// The version of the synthetic user's credential.
const CREDENTIAL: &str = "dry-run";

/// Stands where a real request has its id.
const REQUEST_ID: &str = "(a new one)";

/// One request to simulate.
#[derive(Debug, Clone)]
pub struct SimulatedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The target, in origin or absolute form.
    pub target: &'a str,
    /// The host; without one, the first of `tokens.hosts`, else `localhost`.
    pub host: Option<&'a str>,
    /// The name in the client's certificate; without one, the client has none.
    pub certificate: Option<&'a CertificateName>,
}

/// A request cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DryRunError {
    /// The method is not a token.
    #[error("`{0}` is no method")]
    Method(String),
    /// The host cannot stand in a field.
    #[error("`{0}` is no host")]
    Host(String),
    /// There is no such user, or the name could not be one.
    #[error("there is no user `{0}`")]
    User(String),
    /// No token could be signed, or the given one cannot stand in a field.
    #[error("no token for it: {0}")]
    Token(String),
}

impl DryRun {
    /// A dry run over this snapshot.
    ///
    /// # Errors
    /// [`DryRunError::Token`] when there is no randomness for a name that nobody has.
    pub fn new(gateway: &Gateway) -> Result<Self, DryRunError> {
        let token = |e: &dyn fmt::Display| DryRunError::Token(e.to_string());
        let name = random::identifier(&*gateway.shared.random).map_err(|e| token(&e))?;
        let name = format!("dry-run-{name}");
        let synthetic_user = Subject::user(&name).map_err(|e| token(&e))?;
        let client = ClientId::parse(&name).map_err(|e| token(&e))?;
        let everything: Scope = gateway.catalogue.iter().cloned().collect();
        let everything: ScopeBits = gateway.catalogue.bits(&everything);
        let mut users: HashMap<_, _> = gateway.principals.users.clone();
        let credential = Arc::from(CREDENTIAL);
        users.insert(synthetic_user.clone(), UserCeiling { scope: everything, credential });
        let mut clients = gateway.principals.clients.clone();
        clients.insert(client.clone(), everything);
        // The token of a dry run is never revoked, and the mirror may not be filled yet.
        let principals = Arc::new(Principals { users, clients });
        let gateway = Gateway { principals, mirror: None, ..gateway.clone() };
        Ok(Self { gateway, synthetic_user, client })
    }

    /// The copy of the snapshot, with the synthetic user and client.
    #[must_use]
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// A token for this persona, with all scopes that it may have; `None` for an anonymous request.
    ///
    /// # Errors
    /// [`DryRunError`] for an unknown user or when signing fails.
    pub fn token(&self, persona: &Persona) -> Result<Option<String>, DryRunError> {
        let (subject, scope, credential) = match persona {
            Persona::Anonymous => return Ok(None),
            Persona::Scopes(scope) => {
                (self.synthetic_user.clone(), scope.clone(), Arc::from(CREDENTIAL))
            }
            Persona::User(name) => {
                let user = self.gateway.users.find(name);
                let user = user.ok_or_else(|| DryRunError::User(name.clone()))?;
                (user.name.clone(), user.scope.clone(), user.password.version())
            }
        };
        let shared = &self.gateway.shared;
        let content = Content {
            subject: &subject,
            client_id: &self.client,
            scope: &scope,
            family: None,
            credential: Some(&credential),
            began: None,
        };
        let issued = self.gateway.issuer.issue(&content, shared.clock.now(), &*shared.random);
        issued.map(|issued| Some(issued.token)).map_err(|e| DryRunError::Token(e.to_string()))
    }

    /// Decides a simulated request, with this bearer token if there is one, and passes the request and the decision to `report`.
    ///
    /// # Errors
    /// [`DryRunError`] when the request cannot be simulated.
    pub fn run<T>(
        &self,
        request: &SimulatedRequest<'_>,
        token: Option<&str>,
        report: impl FnOnce(&RequestHead<'_>, &Gateway, Decision) -> T,
    ) -> Result<T, DryRunError> {
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| DryRunError::Method(request.method.to_owned()))?;
        let own_host = self.gateway.hosts.first().map_or("localhost", |host| host.as_str());
        let host = request.host.unwrap_or(own_host);
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(host).map_err(|_| DryRunError::Host(host.to_owned()))?;
        headers.insert(HOST, value);
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            headers.insert(AUTHORIZATION, value.map_err(|e| DryRunError::Token(e.to_string()))?);
        }
        let simulated =
            |name: &CertificateName| ClientCertificate::new([name.clone()], Timestamp::MAX);
        let connection = Connection {
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            transport: Transport::Tls,
            certificate: request.certificate.map(simulated).map(Arc::new),
        };
        let head = RequestHead {
            method: &method,
            target: request.target.as_bytes(),
            authority: None,
            headers: &headers,
            connection: &connection,
            request_id: REQUEST_ID,
        };
        let decision = self.gateway.decide(&head, self.gateway.now());
        Ok(report(&head, &self.gateway, decision))
    }
}

/// A test of the configuration whose outcome is not the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The line of the test in the file.
    pub line: usize,
    /// The request.
    pub request: String,
    /// What was expected.
    pub expected: String,
    /// The outcome.
    pub outcome: String,
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: {}: expected {}, got {}",
            self.line, self.request, self.expected, self.outcome
        )
    }
}

/// Runs the configuration's own tests and returns those that fail.
#[must_use]
pub fn run(gateway: &Gateway, tests: &[PolicyTest]) -> Vec<TestFailure> {
    if tests.is_empty() {
        return Vec::new();
    }
    let dry_run = DryRun::new(gateway);
    let failure = |test: &PolicyTest| {
        let outcome = match &dry_run {
            Ok(dry_run) => outcome(dry_run, test),
            Err(error) => Err(error.clone()),
        };
        let (passed, outcome) = match outcome {
            Ok((status, text)) => (fits(test.expect, status), text),
            Err(error) => (false, error.to_string()),
        };
        let expected = match test.expect {
            Expectation::Allow => "allow".to_owned(),
            Expectation::Status(status) => status.to_string(),
        };
        let request = format!("{} {}", test.method, test.target);
        (!passed).then_some(TestFailure { line: test.line, request, expected, outcome })
    };
    tests.iter().filter_map(failure).collect()
}

/// The status of a refusal, or `None` when the request passes; and both in words.
fn outcome(dry_run: &DryRun, test: &PolicyTest) -> Result<(Option<u16>, String), DryRunError> {
    let token = dry_run.token(&test.as_who)?;
    let PolicyTest { method, target, .. } = test;
    let (host, certificate) = (test.host.as_deref(), test.certificate.as_ref());
    let request = SimulatedRequest { method, target, host, certificate };
    dry_run.run(&request, token.as_deref(), |_, _, decision| match decision {
        Decision::Serve(_) => (None, "allow (an endpoint of our own)".to_owned()),
        Decision::Forward(permit) => (None, format!("allow (route {})", permit.route_id())),
        Decision::Refuse(denial) => {
            let status = denial.answer().status.as_u16();
            (Some(status), format!("{status} ({})", denial.reason()))
        }
    })
}

fn fits(expectation: Expectation, status: Option<u16>) -> bool {
    match expectation {
        Expectation::Allow => status.is_none(),
        Expectation::Status(expected) => status == Some(expected),
    }
}
