//! The outer form of a token: a JWS in compact serialisation (RFC 7515), read so strictly that a token has one spelling.
//!
//! Nothing in a header is ever followed: `jwk`, `jku`, `x5u` and `x5c` are not even looked at (RFC 8725 section 3.10). What the
//! payload means is read in `claims`; which key is asked, and whether the token is an access token, in `verifier`.
//!
//! One thing no reader can forbid: to an ECDSA signature (r, s) there is a second one, (r, n - s), over the same message. So
//! tokens are revoked by their `jti`, never by a hash of their text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::VerifyError;
use super::json::{JsonFault, Object, Value};
use crate::keys::Key;
use crate::oauth::bearer::MAX_TOKEN_BYTES;

/// A well-formed JWS. Nothing in it is proven until [`Compact::check_signature`] has said so.
pub(super) struct Compact<'a> {
    pub(super) header: Header,
    /// What the signature covers: the first two segments and the dot between them.
    message: &'a str,
    signature: &'a str,
    payload: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart: exactly three segments of base64url without padding, white space or unused bits.
    pub(super) fn parse(token: &'a str) -> Result<Self, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Malformed("it is too long"));
        }
        let segments = || {
            let (message, signature) = token.rsplit_once('.')?;
            let (header, payload) = message.split_once('.')?;
            (!payload.contains('.')).then_some((message, header, payload, signature))
        };
        let (message, header, payload, signature) =
            segments().ok_or(VerifyError::Malformed("it has not exactly three segments"))?;
        let header = Header::parse(&decode(header)?)?;
        let payload = decode(payload)?;
        // The library decodes it again; here it is made sure that there is only one way to write it.
        decode(signature)?;
        Ok(Self { header, message, signature, payload })
    }

    /// The payload before anything is proven, for whoever must know whose keys to ask.
    pub(super) fn unproven_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Checks the signature with this key, by this key's algorithm, which the header must name too.
    ///
    /// Gives the payload, so that nobody takes it for verified before it is.
    pub(super) fn check_signature(&self, key: &Key) -> Result<(&[u8], Signed), VerifyError> {
        if self.header.algorithm != key.algorithm().name() {
            return Err(VerifyError::WrongAlgorithm);
        }
        if !key.verify(self.message.as_bytes(), self.signature) {
            return Err(VerifyError::BadSignature);
        }
        Ok((&self.payload, Signed(())))
    }
}

/// The proof that a signature holds: a verified token cannot be made without one, and only [`Compact::check_signature`] makes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed(());

/// What counts of a JOSE header.
pub(super) struct Header {
    algorithm: String,
    key_id: Option<String>,
    typ: Typ,
}

/// What `typ` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typ {
    /// `at+jwt`.
    AccessToken,
    /// `JWT`.
    Jwt,
    /// There is none.
    Absent,
    /// Anything else.
    Other,
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, VerifyError> {
        let object = Object::parse(json).map_err(|fault| {
            VerifyError::Malformed(match fault {
                JsonFault::Form => "its header is no plain JSON object",
                JsonFault::Depth => "its header is nested more than 8 deep",
                JsonFault::Members => "its header has more than 1024 members in one object",
                JsonFault::Repeated => "its header has a member twice",
            })
        })?;
        // RFC 7515 section 4.1.11: what is critical and not understood is refused. We understand no extension, so any list,
        // an empty one and what is no list are all refused; `b64` (RFC 7797) would change what is signed.
        if object.member("crit").is_some() || object.member("b64").is_some() {
            return Err(VerifyError::Malformed("its header asks for an extension"));
        }
        let algorithm = object
            .text("alg")
            .ok_or(VerifyError::Malformed("its header has no text as `alg`"))?
            .to_owned();
        let key_id = match object.member("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.to_string()),
            Some(_) => return Err(VerifyError::Malformed("its `kid` is no text")),
        };
        let typ = match object.member("typ") {
            None => Typ::Absent,
            Some(Value::String(text)) => Typ::of(text),
            Some(_) => Typ::Other,
        };
        Ok(Self { algorithm, key_id, typ })
    }

    /// The key that the token names.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The algorithm that the token names; which one is used is decided by the key.
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// What the token calls itself.
    pub(super) const fn typ(&self) -> Typ {
        self.typ
    }

    /// Whether `typ` says so (RFC 9068 section 2.1).
    pub(super) const fn is_access_token(&self) -> bool {
        matches!(self.typ, Typ::AccessToken)
    }
}

impl Typ {
    /// RFC 9068 section 4: `at+jwt`, or spelled out as a media type; media types have no case (RFC 7515 section 4.1.9).
    fn of(text: &str) -> Self {
        let is = |name: &str| {
            let long = text.get(.."application/".len());
            let long = long.filter(|own| own.eq_ignore_ascii_case("application/"));
            let short = long.and_then(|own| text.get(own.len()..)).unwrap_or(text);
            short.eq_ignore_ascii_case(name)
        };
        match (is("at+jwt"), is("jwt")) {
            (true, _) => Self::AccessToken,
            (_, true) => Self::Jwt,
            (false, false) => Self::Other,
        }
    }
}

fn decode(segment: &str) -> Result<Vec<u8>, VerifyError> {
    // This engine refuses padding, other alphabets, white space and unused bits that are not zero.
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| VerifyError::Malformed("a segment is not base64url in its only spelling"))
}
