//! Why a key file is refused: what was found, and what is wanted.

use super::{Algorithm, KeyKind, MAX_KEY_ID_BYTES};

/// Why a file is not the key it is configured to be. Never holds anything of the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The id is empty, too long or not visible ASCII.
    #[error("a key id has 1 to {MAX_KEY_ID_BYTES} characters of visible ASCII")]
    Id,
    /// A PEM file where a raw secret is wanted.
    #[error(
        "found a PEM file, wanted a raw secret: {algorithm} shares its key, a key pair would let everybody sign"
    )]
    PemForSecret {
        /// The configured algorithm.
        algorithm: Algorithm,
    },
    /// The secret is shorter than the hash.
    #[error("found a secret of {found} bytes, wanted at least {wanted} for {algorithm}")]
    ShortSecret {
        /// The configured algorithm.
        algorithm: Algorithm,
        /// The file's length in bytes.
        found: usize,
        /// The least length in bytes.
        wanted: usize,
    },
    /// The PEM itself is damaged.
    #[error("found damaged PEM, wanted one key of kind {} for {algorithm}", algorithm.kind())]
    DamagedPem {
        /// The configured algorithm.
        algorithm: Algorithm,
    },
    /// No PEM block, or more than one key.
    #[error("found {found} in PEM, wanted one key of kind {} for {algorithm}", algorithm.kind())]
    NotOnePem {
        /// The labels of the first blocks, or that there is none.
        found: String,
        /// The configured algorithm.
        algorithm: Algorithm,
    },
    /// A PEM block of something else.
    #[error(
        "found PEM labelled `{found}`, wanted a key of kind {wanted} labelled `PRIVATE KEY`, or `PUBLIC KEY` to verify only"
    )]
    PemLabel {
        /// The label.
        found: String,
        /// The kind that the algorithm wants.
        wanted: KeyKind,
    },
    /// A private key that only a password opens, which nobody is there to type.
    #[error(
        "found an encrypted private key, wanted one that is not: `openssl pkey -in FILE` decrypts it"
    )]
    Encrypted,
    /// A public key cannot sign.
    #[error("found a public key, wanted a private one of kind {} to sign with {algorithm}", algorithm.kind())]
    PublicForSigning {
        /// The configured algorithm.
        algorithm: Algorithm,
    },
    /// A key of another kind.
    #[error("found a key of kind {found}, wanted {wanted} for {algorithm}")]
    WrongKind {
        /// The configured algorithm.
        algorithm: Algorithm,
        /// The kind that the file holds.
        found: KeyKind,
        /// The kind that the algorithm wants.
        wanted: KeyKind,
    },
    /// A kind of key that no algorithm here uses.
    #[error("found a key of a kind that is not supported, wanted {wanted}")]
    UnknownKind {
        /// The kind that the algorithm wants.
        wanted: KeyKind,
    },
    /// A key of a kind that is known, and that no algorithm here uses.
    #[error("found {found}; supported are Ed25519, P-256, P-384 and RSA of 2048 to 8192 bits")]
    Unsupported {
        /// The kind.
        found: &'static str,
    },
    /// A private RSA key below RFC 7518 section 3.3.
    #[error("found an RSA key of fewer than 2048 bits, wanted 2048 to 8192")]
    SmallRsa,
    /// A public RSA key below RFC 7518 section 3.3, or too large to verify with.
    #[error("found an RSA key of {bits} bits, wanted 2048 to 8192")]
    RsaSize {
        /// The size of its modulus.
        bits: usize,
    },
    /// An even exponent, or 1.
    #[error("found an RSA key with an unusable public exponent, wanted an odd one of at least 3")]
    RsaExponent,
    /// The block is damaged, its parts contradict each other, or it is of a size or curve that is not supported.
    #[error(
        "the key is damaged or not supported; supported are Ed25519, P-256, P-384 and RSA of 2048 to 8192 bits"
    )]
    Unreadable,
    /// A key could not be generated.
    #[error("a key could not be generated")]
    Generate,
}
