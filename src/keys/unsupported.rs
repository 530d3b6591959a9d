//! Names kinds of keys that are not supported, so that a message can say what a file holds. Nothing is decided by it.

/// Object identifiers (DER, with tag and length) as they stand in a key's algorithm, and what they mean.
const KINDS: [(&[u8], &str); 7] = [
    // RFC 5480 section 2.1.1.1.
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "an ECDSA key on the curve P-521"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], "an ECDSA key on the curve P-224"),
    // SEC 2 section 2.4.1.
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "an ECDSA key on the curve secp256k1"),
    // RFC 4055 section 3.1.
    (
        &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
        "an RSA key for RSA-PSS only (id-RSASSA-PSS)",
    ),
    // RFC 3279 section 2.3.2.
    (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
    // RFC 8410 section 3.
    (&[0x06, 0x03, 0x2b, 0x65, 0x71], "an Ed448 key"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "an X25519 key, which signs nothing"),
];

/// Which kind of key this DER is (PKCS#8, SEC1 or SubjectPublicKeyInfo), when it is one that is known and not supported.
/// It looks for the identifier anywhere, so ask only about a key that was refused.
#[must_use]
pub fn unsupported(der: &[u8]) -> Option<&'static str> {
    let holds = |identifier: &[u8]| der.windows(identifier.len()).any(|at| at == identifier);
    KINDS.iter().find(|(identifier, _)| holds(identifier)).map(|(_, kind)| *kind)
}
