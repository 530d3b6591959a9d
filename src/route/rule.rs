//! What a route demands of whoever wants through, and whose word it takes for who that is.

use std::fmt;
use std::sync::Arc;

use crate::oauth::scope::ScopeBits;

/// The rule of a route. A route that says nothing is `Required(Authenticated)`: closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRule {
    /// Everybody; credentials are not even looked at, and no identity is passed on.
    Public,
    /// Everybody without a credential, and everybody whose credential verifies.
    Optional,
    /// Only who meets the requirement.
    Required(Requirement),
}

/// What a verified token must show on a [`AccessRule::Required`] route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// That its subject is a user. Machine clients pass only where scopes are named.
    Authenticated,
    /// Every one of these scopes.
    All(ScopeBits),
    /// At least one of these scopes.
    Any(ScopeBits),
}

/// Whose tokens a route trusts. A route that says nothing trusts our own only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedIssuers {
    own: bool,
    external: Arc<[Arc<str>]>,
}

impl Default for TrustedIssuers {
    fn default() -> Self {
        Self { own: true, external: Arc::from([]) }
    }
}

impl TrustedIssuers {
    /// Our own tokens or not, and those of these trusted issuers.
    #[must_use]
    pub fn new(own: bool, external: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { own, external: external.into_iter().collect() }
    }

    /// Whether it trusts our own tokens.
    #[must_use]
    pub const fn own(&self) -> bool {
        self.own
    }

    /// Whether it trusts this trusted issuer.
    #[must_use]
    pub fn includes(&self, issuer: &str) -> bool {
        self.external.iter().any(|own| **own == *issuer)
    }

    /// Whether it trusts nobody whom the other does not.
    #[must_use]
    pub fn implies(&self, other: &Self) -> bool {
        (!self.own || other.own) && self.external.iter().all(|issuer| other.includes(issuer))
    }
}

impl fmt::Display for TrustedIssuers {
    /// As the configuration names them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.then_some("self");
        let names = own.into_iter().chain(self.external.iter().map(|issuer| &**issuer));
        for (position, name) in names.enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl AccessRule {
    /// Whether everything that this rule lets through would also pass `other`: then it is no weaker.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        match (self, other) {
            (_, Self::Public) | (Self::Optional | Self::Required(_), Self::Optional) => true,
            (Self::Public, Self::Optional | Self::Required(_)) => false,
            (Self::Optional, Self::Required(_)) => false,
            (Self::Required(own), Self::Required(other)) => own.implies(other),
        }
    }
}

impl Requirement {
    fn implies(self, other: Self) -> bool {
        match (self, other) {
            // Naming scopes is the stronger demand, although it also admits the machine clients that hold them.
            (_, Self::Authenticated) => true,
            (Self::Authenticated, Self::All(wanted) | Self::Any(wanted)) => wanted.is_empty(),
            (Self::All(own), Self::All(wanted)) => own.contains_all(wanted),
            (Self::All(own), Self::Any(wanted)) => own.contains_any(wanted),
            (Self::Any(own), Self::Any(wanted)) => wanted.contains_all(own),
            // Any one of `own` must be all of `wanted`: only when both are the same single scope.
            (Self::Any(own), Self::All(wanted)) => {
                wanted.is_empty() || (own == wanted && own.is_single())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::scope::{Catalogue, Scope};

    #[test]
    fn whoever_believes_more_issuers_lets_more_through() {
        let trusted = |own, external: &[&str]| {
            TrustedIssuers::new(own, external.iter().map(|issuer| Arc::from(*issuer)))
        };
        let ours = TrustedIssuers::default();
        assert_eq!(ours, trusted(true, &[]));
        assert!(ours.own() && !ours.includes("a"));
        assert_eq!(trusted(true, &["a", "b"]).to_string(), "self, a, b");
        for (own, other, expected) in [
            (&ours, &ours, true),
            (&ours, &trusted(true, &["a"]), true),
            (&trusted(true, &["a"]), &ours, false),
            (&trusted(false, &["a"]), &ours, false),
            (&ours, &trusted(false, &["a"]), false),
            (&trusted(false, &["a"]), &trusted(true, &["b", "a"]), true),
            (&trusted(false, &["a", "b"]), &trusted(true, &["a"]), false),
        ] {
            assert_eq!(own.implies(other), expected, "{own:?} {other:?}");
        }
    }

    #[test]
    fn a_rule_is_weaker_when_it_lets_through_what_the_other_refuses() {
        let names = Scope::parse("a b c").unwrap();
        let catalogue = Catalogue::new(names.iter().cloned()).unwrap();
        let bits = |text: &str| catalogue.bits(&Scope::parse(text).unwrap());
        let all = |text| AccessRule::Required(Requirement::All(bits(text)));
        let any = |text| AccessRule::Required(Requirement::Any(bits(text)));
        let user = AccessRule::Required(Requirement::Authenticated);
        for (own, other, expected) in [
            (AccessRule::Public, user, false),
            (AccessRule::Public, AccessRule::Optional, false),
            (AccessRule::Optional, user, false),
            (AccessRule::Optional, AccessRule::Public, true),
            (user, AccessRule::Public, true),
            (user, all("a"), false),
            (all("a"), user, true),
            (all("a b"), all("a"), true),
            (all("a"), all("a b"), false),
            (all("a"), all("b"), false),
            (all("a"), any("a b"), true),
            (any("a"), any("a b"), true),
            (any("a b"), any("a"), false),
            (any("a"), all("a"), true),
            (any("a b"), all("a b"), false),
        ] {
            assert_eq!(own.implies(other), expected, "{own:?} {other:?}");
        }
    }
}
