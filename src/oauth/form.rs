//! The body of a token request: `application/x-www-form-urlencoded` (RFC 6749 appendix B), read strictly.
//!
//! A parameter that is sent twice, a bad escape, a NUL or what is not UTF-8 is an error, not a guess. One without a value
//! counts as left out (RFC 6749 section 3.2). Values are wiped when dropped: one of them is a password.

use zeroize::Zeroizing;

/// How many parameters one body may have; the RFCs define fewer than twenty.
const MAX_PARAMETERS: usize = 64;

/// The parameters of one body.
pub struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// [`FormError`]; always answered with `invalid_request`.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut pairs: Vec<(String, Zeroizing<String>)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(sign) => pair.split_at(sign),
                None => (pair, &[][..]),
            };
            let name = decode(name)?;
            let value = decode(value.strip_prefix(b"=").unwrap_or(value))?;
            if pairs.iter().any(|(known, _)| *known == *name) {
                return Err(FormError::Repeated);
            }
            if pairs.len() == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            pairs.push((name.to_string(), value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; `None` when it is left out or empty.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is there at all, even without a value.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A password that was pasted without its name would be a name.
        write!(f, "Form({} parameters)", self.0.len())
    }
}

/// Undoes the encoding of one name or value: `+` is a space, `%` begins an escape.
///
/// # Errors
/// [`FormError::Encoding`].
pub fn decode(raw: &[u8]) -> Result<Zeroizing<String>, FormError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(raw.len()));
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match *byte {
            b'+' => plain.push(b' '),
            b'%' => {
                let [high, low, after @ ..] = tail else { return Err(FormError::Encoding) };
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                let (high, low) = digit(*high).zip(digit(*low)).ok_or(FormError::Encoding)?;
                plain.push(high << 4 | low);
                rest = after;
            }
            byte => plain.push(byte),
        }
    }
    if plain.contains(&0) {
        return Err(FormError::Encoding);
    }
    let text = std::str::from_utf8(&plain).map_err(|_| FormError::Encoding)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Why a body is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A parameter is there more than once, equal or not (RFC 6749 section 3.2).
    #[error("a parameter is repeated")]
    Repeated,
    /// A bad escape, a NUL, or no UTF-8.
    #[error("the form is not encoded correctly")]
    Encoding,
    /// More parameters than any request has.
    #[error("the form has too many parameters")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a28_every_way_to_encode_reads_the_same() {
        for body in [
            "password=a+b%26c",
            "password=a%20b%26c",
            "%70assword=%61%20%62%26%63",
            "password=a%20b%26c&&",
        ] {
            assert_eq!(
                Form::parse(body.as_bytes()).unwrap().value("password"),
                Some("a b&c"),
                "{body}"
            );
        }
        assert_eq!(
            Form::parse(b"p=%c3%a9").unwrap().value("p"),
            Form::parse(b"p=%C3%A9").unwrap().value("p")
        );
        assert_eq!(Form::parse(b"p=a=b").unwrap().value("p"), Some("a=b"));
    }

    #[test]
    fn a28_bad_escapes_nul_and_bad_utf_8_are_refused() {
        for body in [
            &b"a=%"[..],
            b"a=%4",
            b"a=%zz",
            b"%=a",
            b"a=%00",
            b"a=\0",
            b"a=%ff",
            b"a=\xff",
            b"a=%c0%80",
        ] {
            assert_eq!(Form::parse(body).err(), Some(FormError::Encoding), "{body:?}");
        }
    }

    #[test]
    fn a5_a_repeated_parameter_is_refused_even_if_equal() {
        for body in ["a=1&a=1", "a=1&a=2", "a=&a=1", "a&a", "a=1&%61=1"] {
            assert_eq!(Form::parse(body.as_bytes()).err(), Some(FormError::Repeated), "{body}");
        }
        assert!(Form::parse(b"a=1&A=1").is_ok(), "names are case-sensitive");
    }

    #[test]
    fn a6_a_parameter_without_a_value_is_left_out() {
        let form = Form::parse(b"scope=&grant_type").unwrap();
        assert_eq!(
            (form.value("scope"), form.value("grant_type"), form.value("x")),
            (None, None, None)
        );
        assert!(form.names("scope") && !form.names("x"));
    }

    #[test]
    fn a_form_never_prints_its_values() {
        assert_eq!(
            format!("{:?}", Form::parse(b"password=hunter2").unwrap()),
            "Form(1 parameters)"
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(pairs in prop::collection::btree_map("[a-z]{1,6}", "\\PC{1,12}", 0..6)) {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            let form = Form::parse(body.as_bytes()).unwrap();
            for (name, value) in &pairs {
                prop_assert_eq!(form.value(name), Some(value.as_str()));
            }
        }

        // Part 4, item 32: the library, which mends what we refuse, says what should have been read.
        #[test]
        fn what_is_read_is_what_the_library_reads_and_what_it_would_mend_is_refused(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b", "=", "&", "&", "+", "%41", "%c3%a9", "%61", "é", "%", "%4", "%zz",
                    "%c3", "%ff", "%00", "\0",
                ]),
                0..10,
            ),
        ) {
            let body = parts.concat();
            let pairs: Vec<(String, String)> =
                form_urlencoded::parse(body.as_bytes()).into_owned().collect();
            let escapes = body.split('%').skip(1);
            let escaped = escapes.into_iter().all(|rest| {
                rest.len() > 1 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
            });
            // The library puts U+FFFD where there is no UTF-8.
            let mended = |text: &str| text.contains(['\0', '\u{fffd}']);
            let encoded = escaped && !pairs.iter().any(|(name, value)| mended(name) || mended(value));
            let names: std::collections::BTreeSet<_> = pairs.iter().map(|(name, _)| name).collect();
            let unique = names.len() == pairs.len();
            match Form::parse(body.as_bytes()) {
                Ok(form) => {
                    prop_assert!(encoded && unique, "{:?}", body);
                    for (name, value) in &pairs {
                        prop_assert!(form.names(name));
                        prop_assert_eq!(form.value(name).unwrap_or_default(), value);
                    }
                }
                Err(FormError::Encoding) => prop_assert!(!encoded, "{:?}", body),
                Err(FormError::Repeated) => prop_assert!(!unique, "{:?}", body),
                Err(FormError::TooMany) => prop_assert!(false, "{:?}", body),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(Form::parse(&body));
        }
    }
}
