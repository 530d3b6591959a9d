//! The certificate that a client proved to hold: its names, and until when they count.
//!
//! That it was issued by an authority of `client_ca`, and that the client has its key, was verified in the handshake by whoever
//! holds the socket. Here it is only read, in one way: a certificate or a name that another program could read differently
//! is worth nothing.

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use crate::clock::Timestamp;
use crate::route::certificate::{CertificateName, NameKind};

/// A verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    names: Box<[CertificateName]>,
    not_after: Timestamp,
}

impl ClientCertificate {
    /// A certificate with these names.
    #[must_use]
    pub(crate) fn new(
        names: impl IntoIterator<Item = CertificateName>,
        not_after: Timestamp,
    ) -> Self {
        Self { names: names.into_iter().collect(), not_after }
    }

    /// Reads a certificate that was verified. `None` when it is not exactly one, or says its alternative names twice or badly.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let alternative = certificate.subject_alternative_name().ok()?;
        let alternative = alternative.map_or(&[][..], |extension| &extension.value.general_names);
        let named = alternative.iter().filter_map(alternative_name);
        let names = named.chain(common_name(certificate.subject()));
        // One that ended before 1970 has ended.
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        rest.is_empty().then(|| Self::new(names, Timestamp::from_secs(seconds)))
    }

    /// Its names, each in its one spelling.
    #[must_use]
    pub const fn names(&self) -> &[CertificateName] {
        &self.names
    }

    /// Whether it still counts. Connections outlive the handshake in which it was verified, so every request asks. The last
    /// second belongs to it (RFC 5280 section 4.1.2.5).
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now <= self.not_after
    }
}

fn alternative_name(name: &GeneralName<'_>) -> Option<CertificateName> {
    let (kind, text) = match name {
        GeneralName::DNSName(text) => (NameKind::Dns, *text),
        GeneralName::URI(text) => (NameKind::Uri, *text),
        GeneralName::RFC822Name(text) => (NameKind::Email, *text),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_) => return None,
    };
    CertificateName::new(kind, text).ok()
}

/// The common name, where there is exactly one: of two, every program trusts another. Of the types of text, the two in which
/// one character is one thing (RFC 5280 section 4.1.2.4 allows no others in new certificates).
fn common_name(subject: &X509Name<'_>) -> Option<CertificateName> {
    let mut found = subject.iter_common_name();
    let (Some(only), None) = (found.next(), found.next()) else { return None };
    let value = only.attr_value();
    if ![Tag::PrintableString, Tag::Utf8String].contains(&value.tag()) {
        return None;
    }
    let text = std::str::from_utf8(value.data).ok()?;
    CertificateName::new(NameKind::CommonName, text).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::string::{BmpString, TeletexString};
    use rcgen::{
        CertificateParams, CustomExtension, DnType, DnValue, KeyPair, SanType, date_time_ymd,
    };

    use super::*;

    fn der(params: &CertificateParams) -> Vec<u8> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn named(common: &[DnValue], alternative: &[SanType]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for value in common {
            params.distinguished_name.push(DnType::CommonName, value.clone());
        }
        params.subject_alt_names = alternative.to_vec();
        der(&params)
    }

    fn names(der: &[u8]) -> Vec<String> {
        let read = ClientCertificate::read(der).unwrap();
        read.names().iter().map(ToString::to_string).collect()
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn names_are_read_by_their_kind() {
        let alternative = [
            SanType::DnsName("Batch.example.com".try_into().unwrap()),
            SanType::URI("spiffe://example.com/batch".try_into().unwrap()),
            SanType::Rfc822Name("batch@Example.com".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ];
        let expected = [
            "dns:batch.example.com",
            "uri:spiffe://example.com/batch",
            "email:batch@example.com",
            "cn:batch",
        ];
        assert_eq!(names(&named(&[utf8("batch")], &alternative)), expected);
        let printable = DnValue::PrintableString("batch".try_into().unwrap());
        assert_eq!(names(&named(&[printable], &[])), ["cn:batch"]);
        assert!(names(&named(&[], &[])).is_empty());
    }

    #[test]
    fn a_name_that_could_be_read_in_two_ways_is_none() {
        for common in [
            utf8("batch\0"),
            utf8("batch\n"),
            utf8("b\u{430}tch"),
            utf8("batch "),
            utf8(""),
            DnValue::TeletexString(TeletexString::try_from("batch").unwrap()),
            DnValue::BmpString(BmpString::try_from("batch").unwrap()),
        ] {
            assert!(names(&named(std::slice::from_ref(&common), &[])).is_empty(), "{common:?}");
        }
        for name in ["*.example.com", "batch.example.com\0.evil.com", "batch.example.com.", ""] {
            let name = SanType::DnsName(name.try_into().unwrap());
            assert_eq!(names(&named(&[utf8("batch")], &[name])), ["cn:batch"]);
        }
    }

    #[test]
    fn of_two_common_names_neither_counts() {
        // rcgen keeps one of each kind, so the second takes the place of a name of the same length: its object identifier is
        // that of the surname (2.5.4.4), and becomes that of the common name (2.5.4.3).
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, utf8("batch"));
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 4]), utf8("other"));
        let one = der(&params);
        assert_eq!(names(&one), ["cn:batch"]);
        let mut two = one;
        let surname = [0x06, 0x03, 0x55, 0x04, 0x04];
        let places: Vec<_> = (0..two.len()).filter(|at| two[*at..].starts_with(&surname)).collect();
        assert_eq!(places.len(), 2, "in the issuer and in the subject");
        places.into_iter().for_each(|at| two[at + 4] = 0x03);
        assert!(names(&two).is_empty());
    }

    #[test]
    fn alternative_names_that_come_twice_or_broken_are_no_certificate() {
        let san = |content: Vec<u8>| CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
        let dns = |name: &[u8]| [&[0x30, 4, 0x82, 2], name].concat();
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![san(dns(b"ab"))];
        assert_eq!(names(&der(&params))[0], "dns:ab");
        params.custom_extensions = vec![san(dns(b"ab")), san(dns(b"cd"))];
        assert_eq!(ClientCertificate::read(&der(&params)), None);
        params.custom_extensions = vec![san(vec![0x30, 9, 0x82, 2, b'a', b'b'])];
        assert_eq!(ClientCertificate::read(&der(&params)), None);
        let sound = named(&[utf8("batch")], &[]);
        assert_eq!(ClientCertificate::read(&[&sound[..], b"\0"].concat()), None);
        assert_eq!(ClientCertificate::read(&sound[..sound.len() - 1]), None);
        assert_eq!(ClientCertificate::read(b""), None);
    }

    #[test]
    fn it_counts_through_its_last_second() {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(2027, 1, 15);
        let read = ClientCertificate::read(&der(&params)).unwrap();
        let end = Timestamp::from_secs(1_799_971_200);
        assert!(read.holds(end));
        assert!(!read.holds(Timestamp::from_secs(end.as_secs() + 1)));
    }
}
