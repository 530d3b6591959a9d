//! Names in certificates of clients, each in its one spelling, and which of them a route lets through.
//!
//! A name is compared as a whole and byte for byte. What could be read in two ways (a wildcard, a control character, anything
//! but ASCII) is no name here: it cannot be configured, and in a certificate it matches nothing.

use std::fmt;
use std::sync::Arc;

/// The longest host name, in bytes (RFC 1035 section 2.3.4, without the root).
const MAX_HOST_BYTES: usize = 253;
/// The longest mailbox (RFC 5321 section 4.5.3.1.3, without its brackets).
const MAX_MAILBOX_BYTES: usize = 254;
/// The longest URI; that of a SPIFFE identity has 2048 bytes at most.
const MAX_URI_BYTES: usize = 2048;
/// The longest common name (RFC 5280 appendix A, `ub-common-name`).
const MAX_COMMON_NAME_BYTES: usize = 64;

/// Where in a certificate a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// A `dNSName` of the subject's alternative names.
    Dns,
    /// A `uniformResourceIdentifier` there.
    Uri,
    /// An `rfc822Name` there.
    Email,
    /// The one `commonName` of the subject.
    CommonName,
}

impl NameKind {
    const ALL: [Self; 4] = [Self::Dns, Self::Uri, Self::Email, Self::CommonName];

    /// What stands before the colon in the configuration.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Email => "email",
            Self::CommonName => "cn",
        }
    }
}

/// One name, in its one spelling: hosts in lower case, everything else as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateName {
    kind: NameKind,
    text: Box<str>,
}

/// A text is no name of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateNameError {
    /// It does not say what kind of name it is.
    #[error("a name of a certificate begins with `dns:`, `uri:`, `email:` or `cn:`")]
    Kind,
    /// It is none of its kind.
    #[error("it must be {}", match .0 {
        NameKind::Dns => "a whole host name, without a wildcard",
        NameKind::Uri => "a URI with its scheme, in visible ASCII",
        NameKind::Email => "a mailbox: a plain local part, `@`, and a host name",
        NameKind::CommonName => "1 to 64 printable ASCII characters, no space first or last",
    })]
    Text(NameKind),
}

impl CertificateName {
    /// A name of this kind, as it stands in a certificate.
    ///
    /// # Errors
    /// [`CertificateNameError::Text`] for what could be read in two ways.
    pub fn new(kind: NameKind, text: &str) -> Result<Self, CertificateNameError> {
        let spelled = match kind {
            NameKind::Dns => host(text),
            NameKind::Email => mailbox(text),
            NameKind::Uri => is_uri(text).then(|| text.to_owned()),
            NameKind::CommonName => is_common_name(text).then(|| text.to_owned()),
        };
        let text = spelled.ok_or(CertificateNameError::Text(kind))?.into();
        Ok(Self { kind, text })
    }

    /// Reads `dns:batch.example.com`, `uri:spiffe://example.com/batch`, `email:batch@example.com` or `cn:batch`.
    ///
    /// # Errors
    /// [`CertificateNameError`] for an unknown kind, or what is none of its kind.
    pub fn parse(text: &str) -> Result<Self, CertificateNameError> {
        let (prefix, text) = text.split_once(':').ok_or(CertificateNameError::Kind)?;
        let kind = NameKind::ALL.into_iter().find(|kind| kind.prefix() == prefix);
        Self::new(kind.ok_or(CertificateNameError::Kind)?, text)
    }
}

impl fmt::Display for CertificateName {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.prefix(), self.text)
    }
}

/// The host name in its one spelling. No wildcard: a client is one machine, not all of a domain.
fn host(text: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(allowed);
    let sound = text.len() <= MAX_HOST_BYTES && text.split('.').all(label);
    sound.then(|| text.to_ascii_lowercase())
}

/// The mailbox in its one spelling: RFC 5280 section 7.5 compares the local part exactly. Quoted local parts have many.
fn mailbox(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    let sound = text.len() <= MAX_MAILBOX_BYTES
        && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom));
    let domain = host(domain)?;
    sound.then(|| format!("{local}@{domain}"))
}

/// RFC 3986 section 3.1, and RFC 6125 section 6.5: compared as it stands, for nothing in it is folded.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    text.len() <= MAX_URI_BYTES
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(letters)
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_graphic())
}

fn is_common_name(text: &str) -> bool {
    (1..=MAX_COMMON_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        && text.trim() == text
}

/// Whose certificates a route lets through: those with any of these names. With no name at all, nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule(Arc<[CertificateName]>);

impl CertificateRule {
    /// Any of these names is enough.
    #[must_use]
    pub fn any_of(names: impl IntoIterator<Item = CertificateName>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether a certificate with these names passes.
    #[must_use]
    pub fn admits(&self, names: &[CertificateName]) -> bool {
        self.0.iter().any(|own| names.contains(own))
    }

    /// Whether every certificate that passes `one` would pass `other` too, where a route may ask for none.
    #[must_use]
    pub fn implies(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(other)) => one.0.iter().all(|name| other.0.contains(name)),
        }
    }
}

impl fmt::Display for CertificateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> Option<String> {
        CertificateName::parse(text).ok().map(|name| name.to_string())
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (written, expected) in [
            ("dns:Batch.Example.COM", "dns:batch.example.com"),
            ("dns:batch_1.example.com", "dns:batch_1.example.com"),
            ("uri:spiffe://example.com/Batch", "uri:spiffe://example.com/Batch"),
            ("uri:urn:uuid:1", "uri:urn:uuid:1"),
            ("email:Batch+x@Example.com", "email:Batch+x@example.com"),
            ("cn:Nightly batch", "cn:Nightly batch"),
            ("cn:dns:a", "cn:dns:a"),
        ] {
            assert_eq!(spelled(written).as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_name() {
        let long = format!("cn:{}", "x".repeat(65));
        for text in [
            "batch",
            "DNS:batch",
            "ip:10.0.0.1",
            "dns:",
            "dns:*.example.com",
            "dns:batch.example.com.",
            "dns:a..b",
            "dns:b\u{e4}tch.example.com",
            "dns:batch.example.com\0.evil.com",
            "dns:batch example.com",
            "uri:spiffe",
            "uri:spiffe:",
            "uri:://x",
            "uri:1a:x",
            "uri:https://example.com/\u{7f}",
            "uri:https://example.com/a b",
            "email:batch",
            "email:@example.com",
            "email:a@b@example.com",
            "email:\"a b\"@example.com",
            "email:a..b@example.com",
            "email:a@example.com.",
            "cn:",
            "cn: batch",
            "cn:batch ",
            "cn:ba\ntch",
            "cn:b\u{e4}tch",
            &long,
        ] {
            assert_eq!(spelled(text), None, "{text:?}");
        }
    }

    #[test]
    fn one_of_the_names_is_enough_and_kinds_do_not_mix() {
        let names = |texts: &[&str]| -> Vec<_> {
            texts.iter().map(|text| CertificateName::parse(text).unwrap()).collect()
        };
        let rule = CertificateRule::any_of(names(&["dns:a.example.com", "cn:batch"]));
        for (held, passes) in [
            (&["dns:A.example.com"][..], true),
            (&["uri:x:y", "cn:batch"], true),
            (&["cn:Batch"], false),
            (&["cn:a.example.com"], false),
            (&["dns:batch"], false),
            (&["dns:b.a.example.com"], false),
            (&["email:batch@a.example.com"], false),
            (&[], false),
        ] {
            assert_eq!(rule.admits(&names(held)), passes, "{held:?}");
        }
        assert!(!CertificateRule::any_of([]).admits(&names(&["cn:batch"])));
        assert_eq!(rule.to_string(), "dns:a.example.com, cn:batch");
    }

    #[test]
    fn whoever_asks_for_no_certificate_lets_more_through() {
        let rule = |texts: &[&str]| {
            let names = texts.iter().map(|text| CertificateName::parse(text).unwrap());
            Some(CertificateRule::any_of(names))
        };
        for (one, other, expected) in [
            (None, None, true),
            (rule(&["cn:a"]), None, true),
            (None, rule(&["cn:a"]), false),
            (rule(&["cn:a"]), rule(&["cn:b", "cn:a"]), true),
            (rule(&["cn:a", "cn:b"]), rule(&["cn:a"]), false),
            (rule(&["cn:a"]), rule(&["dns:a"]), false),
        ] {
            assert_eq!(CertificateRule::implies(one.as_ref(), other.as_ref()), expected);
        }
    }
}
