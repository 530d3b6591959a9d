//! The client credentials grant (RFC 6749 section 4.4): a program asks for a token of its own, with nobody logged in.
//!
//! Only a client that proves itself has it, and it gets no refresh token (section 4.4.3): it can ask again at any time. Its
//! subject is `client:ID`, which no user's name can be.

use crate::grants::client::{Client, ClientSecret, GrantType};
use crate::grants::issue::{Grant, Lineage};
use crate::oauth::form::Form;
use crate::oauth::scope::{Catalogue, Scope};
use crate::oauth::subject::Subject;

/// The grant's parameters.
#[derive(Debug)]
pub struct ClientCredentialsRequest {
    scope: Option<Scope>,
}

impl ClientCredentialsRequest {
    /// Reads them from the form.
    ///
    /// # Errors
    /// [`ClientCredentialsError::Scope`] when the scope is malformed.
    pub fn parse(form: &Form) -> Result<Self, ClientCredentialsError> {
        let scope = form.value("scope").map(Scope::parse).transpose();
        Ok(Self { scope: scope.map_err(|_| ClientCredentialsError::Scope)? })
    }

    /// Says what is granted to a client that has proved itself: what it asked for, and no more than it may have. Without a
    /// scope in the request, all of that. A scope that nobody declared is a mistake, not a wish to be narrowed; and a token
    /// without any scope would open nothing, so none is made.
    ///
    /// # Errors
    /// [`ClientCredentialsError`].
    pub fn exchange(
        self,
        client: &Client,
        catalogue: &Catalogue,
    ) -> Result<Grant, ClientCredentialsError> {
        let proven = !matches!(client.secret, ClientSecret::Public);
        if !proven || !client.grants.contains(&GrantType::ClientCredentials) {
            return Err(ClientCredentialsError::Unauthorized);
        }
        let subject =
            Subject::client(&client.id).map_err(|_| ClientCredentialsError::Unauthorized)?;
        let scope = match self.scope {
            None => client.scope.clone(),
            Some(wanted) if wanted.iter().all(|name| catalogue.contains(name.as_str())) => {
                wanted.intersection(&client.scope)
            }
            Some(_) => return Err(ClientCredentialsError::Scope),
        };
        if scope.is_empty() {
            return Err(ClientCredentialsError::Scope);
        }
        Ok(Grant {
            subject,
            client_id: client.id.clone(),
            scope,
            credential: None,
            began: None,
            // RFC 6749 section 4.4.3: no refresh token.
            lineage: Lineage::Single,
        })
    }
}

/// Why nothing is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientCredentialsError {
    /// The scope is malformed or undeclared, or nothing of it can be granted.
    #[error("nothing of the requested scope can be granted")]
    Scope,
    /// The client may not use this grant.
    #[error("the client may not use the client credentials grant")]
    Unauthorized,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::ClientId;

    fn client(id: &str, secret: ClientSecret, grants: Vec<GrantType>, scope: &str) -> Client {
        let scope = if scope.is_empty() { Scope::default() } else { Scope::parse(scope).unwrap() };
        let id = ClientId::parse(id).unwrap();
        Client { id, default: false, secret, grants, scope, introspect: false, networks: None }
    }

    fn ask(client: &Client, body: &str) -> Result<String, ClientCredentialsError> {
        let catalogue = Catalogue::new(Scope::parse("a b c").unwrap().iter().cloned()).unwrap();
        let form = Form::parse(body.as_bytes()).unwrap();
        let grant = ClientCredentialsRequest::parse(&form)?.exchange(client, &catalogue)?;
        Ok(format!("{} {}", grant.subject(), grant.scope()))
    }

    const MACHINE: GrantType = GrantType::ClientCredentials;
    const SECRET: ClientSecret = ClientSecret::Sha256([7; 32]);
    const UNAUTHORIZED: Result<String, ClientCredentialsError> =
        Err(ClientCredentialsError::Unauthorized);

    #[test]
    fn a37_only_a_client_that_proves_itself_and_lists_the_grant_has_it() {
        let nightly = |secret, grants| client("nightly", secret, grants, "a");
        assert_eq!(ask(&nightly(SECRET, vec![MACHINE]), "").unwrap(), "client:nightly a");
        assert_eq!(ask(&nightly(SECRET, vec![GrantType::Password]), ""), UNAUTHORIZED);
        assert_eq!(ask(&nightly(ClientSecret::Public, vec![MACHINE]), ""), UNAUTHORIZED);
        // A subject is a header's value, and a comma there would make two of one.
        assert_eq!(ask(&client("a,b", SECRET, vec![MACHINE], "a"), ""), UNAUTHORIZED);
    }

    #[test]
    fn a17_a_scope_is_narrowed_and_never_widened() {
        let nightly = client("nightly", SECRET, vec![MACHINE], "a b");
        for (body, granted) in [
            ("", Some("client:nightly a b")),
            ("scope=b", Some("client:nightly b")),
            ("scope=b+c", Some("client:nightly b")),
            ("scope=c", None),
            ("scope=a+unknown", None),
            ("scope=a++b", None),
        ] {
            let wanted = granted.map(str::to_owned).ok_or(ClientCredentialsError::Scope);
            assert_eq!(ask(&nightly, body), wanted, "{body}");
        }
        let idle = client("idle", SECRET, vec![MACHINE], "");
        assert_eq!(ask(&idle, ""), Err(ClientCredentialsError::Scope));
    }
}
