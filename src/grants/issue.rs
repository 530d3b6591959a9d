//! What was granted, and the one step that makes a token of it.

use crate::clock::Timestamp;
use crate::oauth::client::ClientId;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::random::Random;
use crate::token::{AccessToken, Content, IssueError, Issuer};

/// What may be issued. Only a grant's flow can make one.
#[derive(Debug)]
pub struct Grant {
    pub(super) subject: Subject,
    pub(super) client_id: ClientId,
    pub(super) scope: Scope,
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

/// Makes a token of a grant.
///
/// # Errors
/// [`IssueError`] as [`Issuer::issue`].
pub fn issue(
    grant: &Grant,
    issuer: &Issuer,
    now: Timestamp,
    random: &dyn Random,
) -> Result<AccessToken, IssueError> {
    let content = Content {
        subject: &grant.subject,
        client_id: &grant.client_id,
        scope: &grant.scope,
        family: None,
        credential: None,
        after: None,
    };
    issuer.issue(&content, now, random)
}
