//! What was granted, and the one step that makes tokens of it.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::grants::services::GrantServices;
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::RandomError;
use crate::state::{Family, FamilyId, RefreshToken, State, StoreError};
use crate::token::{AccessToken, Began, Content, IssueError};

/// What may be issued. Only a grant's flow can make one:
///
/// ```
/// fn read(grant: &portcullis::grants::Grant) -> String {
///     grant.scope().to_string()
/// }
/// ```
///
/// ```compile_fail,E0616
/// fn widen(grant: &mut portcullis::grants::Grant) {
///     grant.scope = Default::default();
/// }
/// ```
#[derive(Debug)]
pub struct Grant {
    pub(super) subject: Subject,
    pub(super) client_id: ClientId,
    pub(super) scope: Scope,
    /// The version of the user's credential; machine clients have none.
    pub(super) credential: Option<Arc<str>>,
    /// When the login began, where there is a state store; `None` for a client, whose every token is a beginning.
    pub(super) began: Option<Began>,
    pub(super) lineage: Lineage,
}

/// Where the tokens come from, and whether more can come after them.
#[derive(Debug)]
pub(super) enum Lineage {
    /// An access token and nothing after it.
    Single,
    /// A family of refresh tokens begins.
    Begins,
    /// It goes on, with this token. The rotation is durable already.
    GoesOn(RefreshToken),
}

/// What is handed out.
#[derive(Debug)]
pub struct TokenPair {
    /// The access token.
    pub access: AccessToken,
    /// The refresh token, where there is one.
    pub refresh: Option<RefreshToken>,
}

impl Grant {
    /// To whom.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// How much.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// Makes tokens of a grant. A family that begins is durable before this returns. All of it is dated by when the login began:
/// what was revoked since then ends it, however late it is issued.
///
/// # Errors
/// [`GrantIssueError`].
pub async fn issue(
    grant: &Grant,
    services: &GrantServices<'_>,
    now: Timestamp,
) -> Result<TokenPair, GrantIssueError> {
    let began = match (grant.began, services.state) {
        (Some(began), _) => Some(began),
        (None, Some(state)) => Some(state.store().began().await?),
        (None, None) => None,
    };
    let refresh = match (&grant.lineage, services.state, began) {
        (Lineage::GoesOn(token), _, _) => Some(token.clone()),
        (Lineage::Begins, Some(state), Some(began)) => {
            Some(begin(grant, services, state, began).await?)
        }
        (Lineage::Begins, _, _) | (Lineage::Single, _, _) => None,
    };
    let content = Content {
        subject: &grant.subject,
        client_id: &grant.client_id,
        scope: &grant.scope,
        family: refresh.as_ref().map(|token| &**token.family().as_str()),
        credential: grant.credential.as_deref(),
        began,
    };
    let access = services.issuer.issue(&content, now, services.random)?;
    Ok(TokenPair { access, refresh })
}

async fn begin(
    grant: &Grant,
    services: &GrantServices<'_>,
    state: &State,
    began: Began,
) -> Result<RefreshToken, GrantIssueError> {
    let id = FamilyId::new(services.random)?;
    let tag_key = state.store().tag_key(&id)?;
    let token = RefreshToken::first(&id, &tag_key, services.random)?;
    let family = Family {
        id,
        subject: grant.subject.clone(),
        client_id: grant.client_id.clone(),
        scope: grant.scope.clone(),
        credential: grant.credential.clone().unwrap_or_default(),
        tag_key,
        began,
        expires_at: began.at.plus(services.refresh.lifetime),
        idle_until: began.at.plus(services.refresh.idle),
        revoked: false,
        token: token.digest(),
        read_at: began.at,
    };
    match state.store().begin(family).await? {
        true => Ok(token),
        false => Err(GrantIssueError::Overtaken),
    }
}

/// Why nothing could be issued for a grant.
#[derive(Debug, thiserror::Error)]
pub enum GrantIssueError {
    /// The access token could not be written.
    #[error(transparent)]
    Token(#[from] IssueError),
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The family could not be made durable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Everything of the user was revoked while the password was checked.
    #[error("everything of the user was revoked since the login began")]
    Overtaken,
}
