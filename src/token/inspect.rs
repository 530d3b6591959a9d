//! Shows what a token says, for `token inspect` on the command line. **Nothing here is verified**: anybody can write a token
//! that says anything. No decision may hang on it; that is what [`Verifier`](super::Verifier) is for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// What a token claims about itself, unproven.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The JOSE header.
    pub header: Value,
    /// The claims.
    pub claims: Value,
}

/// Decodes a token of three segments without verifying it.
///
/// # Errors
/// [`InspectError`] when there is nothing to show.
pub fn decode(token: &str) -> Result<Inspected, InspectError> {
    let mut segments = token.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err(InspectError::Segments);
    };
    Ok(Inspected { header: object(header, "header")?, claims: object(claims, "payload")? })
}

fn object(segment: &str, part: &'static str) -> Result<Value, InspectError> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).map_err(|_| InspectError::Encoding(part))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| InspectError::Json(part))?;
    if value.is_object() { Ok(value) } else { Err(InspectError::Json(part)) }
}

/// Why a text cannot be shown as a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// No JWS in compact serialisation.
    #[error("a token has three segments with dots between them")]
    Segments,
    /// A segment is not base64url.
    #[error("the {0} is not base64url without padding")]
    Encoding(&'static str),
    /// A segment holds no JSON object.
    #[error("the {0} is no JSON object")]
    Json(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_whoever_signed_it() {
        let token = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(r#"{"sub":"mallory"}"#)
        );
        let shown = decode(&token).unwrap();
        assert_eq!(shown.header["alg"], "none");
        assert_eq!(shown.claims["sub"], "mallory");
    }

    #[test]
    fn what_is_no_token_says_what_is_wrong() {
        assert_eq!(decode("abc"), Err(InspectError::Segments));
        assert_eq!(decode("a.b.c.d"), Err(InspectError::Segments));
        assert_eq!(decode("!.e30.x"), Err(InspectError::Encoding("header")));
        assert_eq!(decode("e30.W10.x"), Err(InspectError::Json("payload")));
    }
}
