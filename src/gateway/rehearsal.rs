//! Requests that were never sent: the configuration's own tests, and `explain`.
//!
//! They take the same [`Gateway::decide`] as real ones, with a real token that is signed for the occasion and thrown away.
//! For "whoever holds these scopes" a user and a client are added to a *copy* of the snapshot; the real one never knows them.

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
use crate::gateway::{Gateway, HeldUser, Holders};
use crate::oauth::client::ClientId;
use crate::oauth::scope::{Scope, ScopeBits};
use crate::oauth::subject::Subject;
use crate::random;
use crate::route::certificate::CertificateName;
use crate::token::Content;

/// A snapshot with a stage on which anybody can be played.
#[derive(Debug)]
pub struct Rehearsal {
    gateway: Gateway,
    stranger: Subject,
    client: ClientId,
}

/// The version of the stranger's credential.
const CREDENTIAL: &str = "rehearsal";

/// What stands where a request that was sent would have its own id.
const REQUEST_ID: &str = "(a new one)";

/// One request to play.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The method.
    pub method: &'a str,
    /// The target, in origin or absolute form.
    pub target: &'a str,
    /// The host; without one, the first of `tokens.hosts`, else `localhost`.
    pub host: Option<&'a str>,
    /// The name in the client's certificate; without one, the client has none.
    pub certificate: Option<&'a CertificateName>,
}

/// A request could not be made up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SceneError {
    /// The method is no token.
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

impl Rehearsal {
    /// A stage over this snapshot.
    ///
    /// # Errors
    /// [`SceneError::Token`] when there is no randomness for a name that nobody has.
    pub fn new(gateway: &Gateway) -> Result<Self, SceneError> {
        let token = |e: &dyn fmt::Display| SceneError::Token(e.to_string());
        let name = random::identifier(&*gateway.shared.random).map_err(|e| token(&e))?;
        let name = format!("whoever-{name}");
        let stranger = Subject::user(&name).map_err(|e| token(&e))?;
        let client = ClientId::parse(&name).map_err(|e| token(&e))?;
        let everything: Scope = gateway.catalogue.iter().cloned().collect();
        let everything: ScopeBits = gateway.catalogue.bits(&everything);
        let mut users: HashMap<_, _> = gateway.holders.users.clone();
        let credential = Arc::from(CREDENTIAL);
        users.insert(stranger.clone(), HeldUser { scope: everything, credential });
        let mut clients = gateway.holders.clients.clone();
        clients.insert(client.clone(), everything);
        // A token that is signed for the occasion is revoked by nobody, and at start nobody could say.
        let holders = Arc::new(Holders { users, clients });
        let gateway = Gateway { holders, mirror: None, ..gateway.clone() };
        Ok(Self { gateway, stranger, client })
    }

    /// The snapshot on the stage, which knows whoever is played.
    #[must_use]
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// A token for this persona, with everything that it may have; `None` for nobody.
    ///
    /// # Errors
    /// [`SceneError`] for an unknown user or when signing fails.
    pub fn token(&self, persona: &Persona) -> Result<Option<String>, SceneError> {
        let (subject, scope, credential) = match persona {
            Persona::Anonymous => return Ok(None),
            Persona::Scopes(scope) => (self.stranger.clone(), scope.clone(), Arc::from(CREDENTIAL)),
            Persona::User(name) => {
                let user = self.gateway.users.find(name);
                let user = user.ok_or_else(|| SceneError::User(name.clone()))?;
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
        issued.map(|issued| Some(issued.token)).map_err(|e| SceneError::Token(e.to_string()))
    }

    /// Plays a request, with this bearer token if any, and hands what was made up and what was decided to `tell`.
    ///
    /// # Errors
    /// [`SceneError`] when the request cannot be made up.
    pub fn play<T>(
        &self,
        scene: &Scene<'_>,
        token: Option<&str>,
        tell: impl FnOnce(&RequestHead<'_>, &Gateway, Decision) -> T,
    ) -> Result<T, SceneError> {
        let method = Method::from_bytes(scene.method.as_bytes())
            .map_err(|_| SceneError::Method(scene.method.to_owned()))?;
        let own_host = self.gateway.hosts.first().map_or("localhost", |host| host.as_str());
        let host = scene.host.unwrap_or(own_host);
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(host).map_err(|_| SceneError::Host(host.to_owned()))?;
        headers.insert(HOST, value);
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            headers.insert(AUTHORIZATION, value.map_err(|e| SceneError::Token(e.to_string()))?);
        }
        let played =
            |name: &CertificateName| ClientCertificate::new([name.clone()], Timestamp::MAX);
        let connection = Connection {
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            transport: Transport::Tls,
            certificate: scene.certificate.map(played).map(Arc::new),
        };
        let head = RequestHead {
            method: &method,
            target: scene.target.as_bytes(),
            authority: None,
            headers: &headers,
            connection: &connection,
            request_id: REQUEST_ID,
        };
        let decision = self.gateway.decide(&head, self.gateway.now());
        Ok(tell(&head, &self.gateway, decision))
    }
}

/// A test of the configuration that did not come out as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The line of the test in the file.
    pub line: usize,
    /// The request.
    pub request: String,
    /// What was expected.
    pub expected: String,
    /// What came out.
    pub came: String,
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: {}: expected {}, came out as {}",
            self.line, self.request, self.expected, self.came
        )
    }
}

/// Runs the configuration's own tests and returns those that fail.
#[must_use]
pub fn run(gateway: &Gateway, tests: &[PolicyTest]) -> Vec<TestFailure> {
    if tests.is_empty() {
        return Vec::new();
    }
    let stage = Rehearsal::new(gateway);
    let failure = |test: &PolicyTest| {
        let came = match &stage {
            Ok(stage) => came_out(stage, test),
            Err(error) => Err(error.clone()),
        };
        let (passed, came) = match came {
            Ok((status, text)) => (fits(test.expect, status), text),
            Err(error) => (false, error.to_string()),
        };
        let expected = match test.expect {
            Expectation::Allow => "allow".to_owned(),
            Expectation::Status(status) => status.to_string(),
        };
        let request = format!("{} {}", test.method, test.target);
        (!passed).then_some(TestFailure { line: test.line, request, expected, came })
    };
    tests.iter().filter_map(failure).collect()
}

/// The status of a refusal, or `None` when the request passes; and both in words.
fn came_out(stage: &Rehearsal, test: &PolicyTest) -> Result<(Option<u16>, String), SceneError> {
    let token = stage.token(&test.as_who)?;
    let PolicyTest { method, target, .. } = test;
    let (host, certificate) = (test.host.as_deref(), test.certificate.as_ref());
    let scene = Scene { method, target, host, certificate };
    stage.play(&scene, token.as_deref(), |_, _, decision| match decision {
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
