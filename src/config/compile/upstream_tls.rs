//! TLS to an upstream: the name that its certificate must bear, whose signature is trusted, and what we show of ourselves.
//! Whatever the sockets could choke on later is refused here.

use std::net::{IpAddr, SocketAddr};

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Compiler;
use super::pem_files::{self, TlsError, chain};
use super::tls::not_after;
use super::trusted_issuers::certificates;
use super::values::items;
use crate::config::raw::{List, RawUpstreamTls};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;
use crate::route::host::Host;
use crate::route::tls::{ClientIdentity, UpstreamTls};

/// Reads the section of an upstream with these servers.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawUpstreamTls,
    servers: Option<&List<String>>,
) -> Option<UpstreamTls> {
    let server_name = match &raw.server_name {
        Some(name) => server_name(compiler, &place.key("server_name"), name),
        None if compiler.document.has(&place.key("server_name")) => None,
        None => name_of_servers(compiler, place, servers),
    };
    let authorities = match &raw.ca {
        Some(file) => named_authorities(compiler, &place.key("ca"), file),
        None if compiler.document.has(&place.key("ca")) => None,
        None => system_authorities(compiler, place),
    };
    let client = client(compiler, place, raw);
    Some(UpstreamTls::new(&server_name?, authorities?, client?))
}

/// The name as certificates have it: an address, or a host without a port. The underscore is no letter of theirs, and
/// Pingora would ask for another name instead.
fn certified_name(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let host = Host::parse(text).ok()?;
    let plain = host.as_str() == host.name() && !text.starts_with('[') && !text.contains('_');
    plain.then(|| host.name().to_owned())
}

fn server_name(compiler: &mut Compiler<'_>, place: &YamlPath, text: &str) -> Option<String> {
    let name = certified_name(text);
    if name.is_none() {
        let message = format!("{} is no name that a certificate could be for", quoted(text));
        let hint = "such as `app.internal`, without a port".to_owned();
        compiler.document.error_with(place, message, Some(hint));
    }
    name
}

/// The one name of all servers, where they are given by name.
fn name_of_servers(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    servers: Option<&List<String>>,
) -> Option<String> {
    let mut name: Option<String> = None;
    for (_, server) in items(servers, place) {
        let (host, _) = server.rsplit_once(':')?;
        let address = server.parse::<SocketAddr>().is_ok();
        let own = certified_name(host).filter(|_| !address);
        let message = match (&own, &name) {
            (None, _) => {
                format!("which name the certificate of {} bears is not known", quoted(server))
            }
            (Some(own), Some(other)) if own != other => {
                format!("the servers go by two names, {} and {}", quoted(other), quoted(own))
            }
            (Some(_), _) => {
                name = own;
                continue;
            }
        };
        let hint = Some("say `server_name: app.internal`".to_owned());
        compiler.document.error_with(place, message, hint);
        return None;
    }
    name
}

fn named_authorities(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    file: &str,
) -> Option<Vec<Vec<u8>>> {
    let pem = certificates(compiler, place, file)?;
    let chain = chain(&pem).ok().filter(|chain| chain.iter().all(is_authority));
    if chain.is_none() {
        let message = format!("{} holds a certificate that is damaged", quoted(file));
        compiler.document.error(place, message);
    }
    Some(chain?.iter().map(|der| der.to_vec()).collect())
}

/// What the system trusts, without what nobody can read.
fn system_authorities(compiler: &mut Compiler<'_>, place: &YamlPath) -> Option<Vec<Vec<u8>>> {
    let found = compiler.sources.authorities();
    let usable = |der: &Vec<u8>| is_authority(&CertificateDer::from(der.as_slice()));
    let found: Vec<_> = found.into_iter().filter(usable).collect();
    if found.is_empty() {
        let message = "this system has no certificate authorities, so nothing would be trusted";
        let hint =
            "name a file with those of the upstream under `ca`, or install the system's".to_owned();
        compiler.document.error_with(place, message, Some(hint));
        return None;
    }
    Some(found)
}

/// Whether everybody who has to read it can.
fn is_authority(der: &CertificateDer<'_>) -> bool {
    let parsed = x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty());
    parsed && RootCertStore::empty().add(der.clone().into_owned()).is_ok()
}

/// `Some(None)` when nothing is shown.
fn client(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: &RawUpstreamTls,
) -> Option<Option<ClientIdentity>> {
    let (cert_place, key_place) = (place.key("certificate"), place.key("private_key"));
    if !compiler.document.has(&cert_place) && !compiler.document.has(&key_place) {
        return Some(None);
    }
    let certificate = compiler.document.require(raw.certificate.as_deref(), &cert_place);
    let private_key = compiler.document.require(raw.private_key.as_deref(), &key_place);
    let certificate = certificate.and_then(|name| compiler.read_unshared(&cert_place, name));
    let private_key = private_key.and_then(|name| compiler.read_private(&key_place, name));
    let (certificate, private_key) = (certificate?, private_key?);
    let chain = chain(&certificate).and_then(|chain| {
        let sound = |der| x509_parser::parse_x509_certificate(der).is_ok();
        let sound = chain.iter().all(|der| sound(der));
        if sound { Ok((not_after(&chain)?, chain)) } else { Err(TlsError::Certificate) }
    });
    let key = pem_files::private_key(&private_key);
    // Through its bytes alone, as the sockets will have it.
    let key = key.and_then(|key| {
        let der = key.secret_der().to_vec();
        let read = PrivateKeyDer::try_from(der.as_slice()).map_err(|_| TlsError::Key)?;
        Ok((pem_files::signing_key(&read)?, der))
    });
    if let Err(error) = &chain {
        compiler.document.error(&cert_place, error.to_string());
    }
    if let Err(error) = &key {
        compiler.document.error(&key_place, error.to_string());
    }
    let ((not_after, chain), (signing, der)) = chain.ok().zip(key.ok())?;
    let certified = match pem_files::pair(chain, signing) {
        Ok(certified) => certified,
        Err(error) => {
            let at = if error.is_of_certificates() { &cert_place } else { &key_place };
            compiler.document.error(at, error.to_string());
            return None;
        }
    };
    if not_after <= compiler.now {
        let message = format!("the certificate expired at {not_after}");
        compiler.document.warn(&cert_place, message, None);
    }
    let chain = certified.cert.iter().map(|der| der.to_vec()).collect();
    Some(Some(ClientIdentity { chain, key: der.into() }))
}

#[cfg(test)]
mod tests {
    use super::certified_name;

    #[test]
    fn a_certificate_is_for_a_host_or_an_address_and_nothing_else() {
        for (text, name) in [
            ("App.Internal", "app.internal"),
            ("app.internal.", "app.internal"),
            ("app", "app"),
            ("10.0.0.11", "10.0.0.11"),
            ("fd00::0:1", "fd00::1"),
        ] {
            assert_eq!(certified_name(text).as_deref(), Some(name), "{text}");
        }
        for bad in [
            "",
            ".",
            "app:443",
            "*.app",
            "[fd00::1]",
            "my_app",
            "a_b.app.internal",
            "a b",
            "https://app",
        ] {
            assert_eq!(certified_name(bad), None, "{bad}");
        }
    }
}
