//! The signature algorithms that a key can be pinned to (RFC 7518 section 3.1, RFC 8037), and the kind of key each one needs.
//!
//! `none` is not among them and cannot be configured. The names are compared exactly: `es256` is no algorithm.

use std::fmt;

/// One JWS algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is its registered name, see `Algorithm::name`")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 10] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Reads a registered name, in its only spelling.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The name in `alg` (RFC 7518 section 3.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether who can verify can also sign. Such a key is never published.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self.kind(), KeyKind::Secret { .. })
    }

    /// The kind of key that this algorithm works with.
    #[must_use]
    pub const fn kind(self) -> KeyKind {
        match self {
            Self::Hs256 => KeyKind::Secret { bytes: 32 },
            Self::Hs384 => KeyKind::Secret { bytes: 48 },
            Self::Hs512 => KeyKind::Secret { bytes: 64 },
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 => KeyKind::Rsa,
            Self::Es256 => KeyKind::P256,
            Self::Es384 => KeyKind::P384,
            Self::EdDsa => KeyKind::Ed25519,
        }
    }

    pub(super) const fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a key is, apart from the algorithm it is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A shared secret of at least so many bytes: the size of the hash (RFC 7518 section 3.2).
    Secret {
        /// The least length.
        bytes: usize,
    },
    /// RSA of 2048 to 8192 bits (RFC 7518 section 3.3).
    Rsa,
    /// The NIST curve P-256.
    P256,
    /// The NIST curve P-384.
    P384,
    /// The Edwards curve of RFC 8032.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { bytes } => write!(f, "a raw secret of {bytes} bytes"),
            Self::Rsa => f.write_str("RSA"),
            Self::P256 => f.write_str("P-256"),
            Self::P384 => f.write_str("P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_nothing_else_is_read() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::parse(&algorithm.name().to_lowercase()), None);
        }
        for other in ["none", "None", "", "HS256 ", "ES512", "ES256K", "PS384", "RSA-OAEP", "null"]
        {
            assert_eq!(Algorithm::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_hmac_is_symmetric() {
        let symmetric: Vec<_> =
            Algorithm::ALL.into_iter().filter(|a| a.is_symmetric()).map(Algorithm::name).collect();
        assert_eq!(symmetric, ["HS256", "HS384", "HS512"]);
    }
}
