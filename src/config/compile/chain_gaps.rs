//! The certificates that a listener shows after its own: in order, and complete as far as can be told.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use super::Compiler;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;

/// Warns of a chain that clients may not be able to follow. Some fill gaps and sort by themselves, as browsers do; most
/// programs do not (RFC 8446 section 4.4.2 wants each certificate to certify the one before).
pub(super) fn warn_of_gaps(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    chain: &[CertificateDer<'_>],
) {
    let links: Vec<_> = chain.iter().filter_map(|der| parsed(der)).collect();
    for (at, (own, next)) in links.iter().zip(links.iter().skip(1)).enumerate() {
        if own.issuer().as_raw() != next.subject().as_raw() {
            let (own, next) = (at + 1, at + 2);
            let message = format!("certificate {next} of the file did not issue certificate {own}");
            let hint = "our own first, then who issued it, and so on";
            compiler.document.warn(place, message, Some(hint));
            return;
        }
    }
    // Of longer chains the last may be of an authority that only the clients know.
    let [only] = links.as_slice() else { return };
    let issuer = only.issuer();
    if issuer.as_raw() == only.subject().as_raw() {
        return;
    }
    let roots = compiler.sources.authorities();
    let issued = |root: &Vec<u8>| {
        parsed(root).is_some_and(|root| root.subject().as_raw() == issuer.as_raw())
    };
    if !roots.iter().any(issued) {
        let issuer = quoted(&issuer.to_string());
        let message = format!(
            "the certificate stands alone, and its issuer {issuer} is no authority of this system"
        );
        let hint = "put the intermediate certificates after it, if there are any: clients that lack one cannot connect";
        compiler.document.warn(place, message, Some(hint));
    }
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    Some(x509_parser::parse_x509_certificate(der).ok()?.1)
}
