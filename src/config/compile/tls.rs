//! What a listener shows its clients when TLS ends there, and what it asks them for; and the routes that hang on that.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::Compiler;
use super::chain_gaps::warn_of_gaps;
use super::pem_files::{self, TlsError, chain};
use super::routes::Routes;
use super::values::items;
use crate::clock::Timestamp;
use crate::config::model::{ClientAuthorities, Tls, TlsIdentity};
use crate::config::raw::{List, RawListener, RawTls};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;
use crate::route::certificate::{CertificateName, CertificateRule, NameKind};

/// Reads how a listener ends TLS.
pub(super) fn compile(compiler: &mut Compiler<'_>, place: &YamlPath, raw: &RawTls) -> Option<Tls> {
    let default = identity(compiler, place, raw.certificate.as_deref(), raw.private_key.as_deref());
    let mut also = Vec::new();
    for (place, raw) in items(raw.also.as_ref(), &place.key("also")) {
        let (certificate, private_key) = (raw.certificate.as_deref(), raw.private_key.as_deref());
        also.extend(identity(compiler, &place, certificate, private_key).map(|it| (place, it)));
    }
    let mut taken: BTreeSet<String> = default.iter().flat_map(|it| it.hosts.clone()).collect();
    for (place, identity) in &also {
        compare(compiler, &place.key("certificate"), identity, &mut taken);
    }
    let ca_place = place.key("client_ca");
    let client_ca = raw.client_ca.as_deref().map(|file| authorities(compiler, &ca_place, file));
    let also = also.into_iter().map(|(_, identity)| identity).collect();
    Some(Tls {
        default: default?,
        also,
        client_ca: client_ca.map_or(Some(None), |ca| ca.map(Some))?,
    })
}

/// What only matters where several certificates stand side by side.
fn compare(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    identity: &TlsIdentity,
    taken: &mut BTreeSet<String>,
) {
    if identity.hosts.is_empty() {
        let message = "the certificate names no host, so no client would ever be shown it";
        compiler.document.error(place, message);
    }
    for host in &identity.hosts {
        if !taken.insert(host.clone()) {
            let message = format!("{} has a certificate already, which is shown", quoted(host));
            compiler.document.warn(place, message, Some("the first in the file wins"));
        }
    }
}

/// A certificate and its key.
fn identity(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    certificate: Option<&str>,
    private_key: Option<&str>,
) -> Option<TlsIdentity> {
    let (cert_place, key_place) = (place.key("certificate"), place.key("private_key"));
    let certificate = compiler.document.require(certificate, &cert_place);
    let private_key = compiler.document.require(private_key, &key_place);
    let read = certificate.and_then(|name| compiler.read_unshared(&cert_place, name));
    let private_key = private_key.and_then(|name| compiler.read_private(&key_place, name));
    let (file, read, private_key) = (certificate?, read?, private_key?);
    let chain = chain(&read).and_then(|chain| Ok((Leaf::of(&chain)?, chain)));
    let key = pem_files::private_key(&private_key).and_then(|der| pem_files::signing_key(&der));
    if let Err(error) = &chain {
        compiler.document.error(&cert_place, error.to_string());
    }
    if let Err(error) = &key {
        compiler.document.error(&key_place, error.to_string());
    }
    let (((leaf, chain), key), now) = (chain.ok().zip(key.ok())?, compiler.now);
    let key = match pem_files::pair(chain, key) {
        Ok(key) => key,
        Err(error) => {
            let at = if error.is_of_certificates() { &cert_place } else { &key_place };
            compiler.document.error(at, error.to_string());
            return None;
        }
    };
    warn_of_gaps(compiler, &cert_place, &key.cert);
    let Leaf { not_after, hosts } = leaf;
    if not_after <= now {
        let message = format!("the certificate expired at {not_after}");
        compiler.document.warn(&cert_place, message, None);
    }
    Some(TlsIdentity { key: Arc::new(key), file: file.to_owned(), hosts, not_after })
}

/// What is of interest in the first certificate of a chain.
struct Leaf {
    not_after: Timestamp,
    hosts: Vec<String>,
}

impl Leaf {
    fn of(chain: &[CertificateDer<'_>]) -> Result<Self, TlsError> {
        let leaf = chain.first().ok_or(TlsError::NoCertificate)?;
        let leaf = parsed(leaf)?;
        let names = leaf.subject_alternative_name().map_err(|_| TlsError::Certificate)?;
        let names = names.map_or(&[][..], |extension| &extension.value.general_names);
        let mut hosts = Vec::new();
        for name in names {
            let GeneralName::DNSName(name) = name else { continue };
            hosts.extend(host(name).filter(|host| !hosts.contains(host)));
        }
        Ok(Self { not_after: end_of(&leaf), hosts })
    }
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsError> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| TlsError::Certificate)?;
    Ok(certificate)
}

/// When the first certificate of a chain ends.
pub(super) fn not_after(chain: &[CertificateDer<'_>]) -> Result<Timestamp, TlsError> {
    parsed(chain.first().ok_or(TlsError::NoCertificate)?).map(|leaf| end_of(&leaf))
}

fn end_of(certificate: &X509Certificate<'_>) -> Timestamp {
    let seconds = certificate.validity().not_after.timestamp();
    // A certificate that ended before 1970 has ended.
    Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// A host name or `*.` and one, in lower case. No client asks for anything else.
fn host(name: &str) -> Option<String> {
    let base = name.strip_prefix("*.").unwrap_or(name);
    let sound = CertificateName::new(NameKind::Dns, base).is_ok();
    sound.then(|| name.to_ascii_lowercase())
}

/// The authorities whose word about clients is taken.
fn authorities(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    file: &str,
) -> Option<ClientAuthorities> {
    let pem = compiler.read_unshared(place, file)?;
    match trusted(&pem) {
        Ok((roots, not_after)) => {
            if not_after <= compiler.now {
                let message = format!("a certificate in it expired at {not_after}");
                compiler.document.warn(place, message, None);
            }
            Some(ClientAuthorities { roots: Arc::new(roots), file: file.to_owned(), not_after })
        }
        Err(error) => {
            compiler.document.error(place, format!("{}: {error}", quoted(file)));
            None
        }
    }
}

/// The authorities in a file, and when the first of them expires. One that may not sign others would be trusted to all the
/// same, since nobody checks that of an authority who is trusted outright: so it is checked here.
fn trusted(pem: &[u8]) -> Result<(RootCertStore, Timestamp), TlsError> {
    let (mut roots, mut first) = (RootCertStore::empty(), Timestamp::MAX);
    for der in chain(pem)? {
        let certificate = parsed(&der)?;
        if !certificate.is_ca() {
            return Err(TlsError::NoAuthority);
        }
        first = first.min(end_of(&certificate));
        roots.add(der).map_err(|_| TlsError::Certificate)?;
    }
    Ok((roots, first))
}

/// Whether any listener asks for certificates, also one whose list of authorities was refused.
pub(super) fn are_certificates_asked(
    compiler: &Compiler<'_>,
    listeners: Option<&List<RawListener>>,
) -> bool {
    let root = YamlPath::default().key("listeners");
    let count = listeners.map_or(0, Vec::len);
    (0..count).any(|at| compiler.document.has(&root.index(at).key("tls").key("client_ca")))
}

/// Whose certificates a route lets through. `None` when it does not say, or when what it says is refused.
pub(super) fn certificate_rule(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&List<String>>,
    asked: bool,
) -> Option<CertificateRule> {
    let list = raw?;
    if list.is_empty() {
        let hint = Some("leave the key out to ask for no certificate".to_owned());
        compiler.document.error_with(place, "a route that lets no certificate through", hint);
    }
    if !asked {
        let message = "no listener asks for certificates, so nobody could pass";
        let hint = Some("name who issues them under `listeners[].tls.client_ca`".to_owned());
        compiler.document.error_with(place, message, hint);
    }
    let mut names = Vec::new();
    for (place, text) in items(Some(list), place) {
        names.extend(certificate_name(compiler, &place, text));
    }
    (!names.is_empty()).then(|| CertificateRule::any_of(names))
}

/// One name of a certificate.
pub(super) fn certificate_name(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    text: &str,
) -> Option<CertificateName> {
    let name = CertificateName::parse(text);
    if let Err(error) = &name {
        compiler.document.error(place, format!("{}: {error}", quoted(text)));
    }
    name.ok()
}

/// Whoever asks for certificates that no route looks at may think that something is closed.
pub(super) fn warn_of_unused(
    compiler: &mut Compiler<'_>,
    listeners: Option<&List<RawListener>>,
    routes: &Routes,
) {
    let needed = YamlPath::default().key("routes");
    let said = |(place, _): (&YamlPath, _)| compiler.document.has(&place.key("client_certificate"));
    if routes.iter().any(said) || !compiler.document.has(&needed) {
        return;
    }
    let root = YamlPath::default().key("listeners");
    for (place, raw) in items(listeners, &root) {
        if raw.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) {
            let message = "no route needs a certificate, so clients without one pass as before";
            let hint = Some("say `client_certificate` on the routes that do");
            compiler.document.warn(&place.key("tls").key("client_ca"), message, hint);
        }
    }
}
