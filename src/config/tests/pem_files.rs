//! PEM files that hold something else than is wanted, or in another order: the message says what it is.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

const P521: &str = include_str!("../../../tests/it/fixtures/keys/p521.pem");
const PSS: &str = include_str!("../../../tests/it/fixtures/keys/rsa-pss.pem");
const ENCRYPTED: &str = include_str!("../../../tests/it/fixtures/keys/ed25519-encrypted.pem");
const OLD_ENCRYPTED: &str = include_str!("../../../tests/it/fixtures/keys/rsa-encrypted-pkcs1.pem");
const PUBLIC: &str = include_str!("../../../tests/it/fixtures/keys/p256-public.pem");

/// A root, what it issued, and what that issued for our host, with its key.
struct Chain {
    root: String,
    intermediate: String,
    leaf: String,
    key: String,
}

impl Chain {
    fn new() -> Self {
        let named = |name: &str, is_ca: IsCa| {
            let mut params = CertificateParams::new(vec!["edge.example.com".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = is_ca;
            (params, KeyPair::generate().unwrap())
        };
        let authority = || IsCa::Ca(BasicConstraints::Unconstrained);
        let (params, key) = named("root", authority());
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let (params, key) = named("intermediate", authority());
        let intermediate = params.signed_by(&key, &issuer).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let (params, key) = named("leaf", IsCa::NoCa);
        let leaf = params.signed_by(&key, &issuer).unwrap().pem();
        Self { root, intermediate, leaf, key: key.serialize_pem() }
    }
}

/// What `check` says of a listener with this certificate and key, without the places.
fn said(certificate: &str, key: &str) -> Vec<String> {
    said_in(World::new(), certificate, key)
}

fn said_in(world: World, certificate: &str, key: &str) -> Vec<String> {
    let minimal = std::fs::read_to_string(Path::new(FIXTURES).join("valid/minimal.yaml")).unwrap();
    let tls = "  - address: 127.0.0.1:8080\n    tls: { certificate: c.pem, private_key: k.pem }\n";
    let text = minimal.replacen("  - address: 127.0.0.1:8080\n", tls, 1);
    assert_ne!(text, minimal);
    let world = world.with("portcullis.yaml", &text).with("c.pem", certificate).with("k.pem", key);
    let loaded = load(Path::new("portcullis.yaml"), &world);
    let texts = |list: &[Problem], kind: &str| -> Vec<String> {
        let ours = list.iter().filter(|problem| problem.place.starts_with("listeners[0]"));
        ours.map(|problem| {
            let key = problem.place.rsplit('.').next().unwrap();
            format!("{kind} {key}: {}", problem.message)
        })
        .collect()
    };
    [texts(&loaded.problems, "error"), texts(&loaded.warnings, "warning")].concat()
}

#[track_caller]
fn says(found: &[String], start: &str) {
    assert!(found.len() == 1 && found[0].starts_with(start), "not `{start}`: {found:#?}");
}

// Part 4, item 31.
#[test]
fn a_file_without_a_usable_private_key_is_called_what_it_is() {
    let chain = Chain::new();
    let full = [chain.leaf.as_str(), &chain.intermediate].concat();
    assert_eq!(said(&full, &chain.key), [""; 0]);
    // The certificate, or parameters, before the key in its file.
    assert_eq!(said(&full, &[chain.leaf.as_str(), &chain.key].concat()), [""; 0]);
    for (key, start) in [
        (P521, "error private_key: the key is an ECDSA key on the curve P-521; supported are "),
        (PSS, "error private_key: the key is an RSA key for RSA-PSS only (id-RSASSA-PSS); "),
        (ENCRYPTED, "error private_key: the private key is encrypted"),
        (OLD_ENCRYPTED, "error private_key: the private key is encrypted"),
        (PUBLIC, "error private_key: found a public key where a private key is wanted"),
        (&chain.leaf, "error private_key: found a certificate where a private key is wanted"),
        ("nothing", "error private_key: found no private key in PEM"),
    ] {
        says(&said(&full, key), start);
    }
}

// Part 4, item 31.
#[test]
fn a_file_without_a_certificate_is_called_what_it_is() {
    let chain = Chain::new();
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let trusted = "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n";
    for (certificate, start) in [
        (
            chain.key.as_str(),
            "error certificate: found a private key where a certificate is wanted",
        ),
        (PUBLIC, "error certificate: found a public key where a certificate is wanted"),
        (request, "error certificate: found a request for a certificate where"),
        (trusted, "error certificate: found a certificate in a form of openssl alone where"),
        ("nothing", "error certificate: found no certificate in PEM"),
    ] {
        says(&said(certificate, &chain.key), start);
    }
}

// Part 4, item 31.
#[test]
fn certificates_in_another_order_are_said_to_be() {
    let Chain { root, intermediate, leaf, key } = Chain::new();
    let file = |parts: &[&str]| parts.concat();
    // In order, with the key before them or after them, with and without the root.
    for parts in [
        &[leaf.as_str(), &intermediate][..],
        &[&leaf, &intermediate, &root],
        &[&key, &leaf, &intermediate],
        &[&leaf, &intermediate, &key],
    ] {
        assert_eq!(said(&file(parts), &key), [""; 0]);
    }
    let order = "error certificate: the private key belongs to certificate 2 of the file: that one must come first";
    says(&said(&file(&[&intermediate, &leaf]), &key), order);
    says(&said(&file(&[&root, &leaf, &intermediate]), &key), order);
    let gap = "warning certificate: certificate 2 of the file did not issue certificate 1";
    says(&said(&file(&[&leaf, &root, &intermediate]), &key), gap);
    says(&said(&file(&[&leaf, &leaf]), &key), gap);
    let other = Chain::new();
    says(
        &said(&file(&[&leaf, &intermediate]), &other.key),
        "error private_key: the private key does not belong",
    );
}

// Part 4, item 31.
#[test]
fn a_certificate_without_its_intermediate_is_warned_of_and_one_of_a_known_root_is_not() {
    let Chain { root, intermediate, leaf, key } = Chain::new();
    let alone = "warning certificate: the certificate stands alone, and its issuer `CN=intermediate` is no authority of this system";
    says(&said(&leaf, &key), alone);
    // In this world that file is what the system has for an authority.
    let knows = |pem: &str| World::new().with("tls/edge.pem", pem);
    says(&said_in(knows(&root), &leaf, &key), alone);
    assert_eq!(said_in(knows(&intermediate), &leaf, &key), [""; 0]);
}

// Part 4, item 31.
#[test]
fn keys_to_sign_with_are_called_what_they_are() {
    let minimal = std::fs::read_to_string(Path::new(FIXTURES).join("valid/minimal.yaml")).unwrap();
    let chain = Chain::new();
    let two = [chain.leaf.as_str(), &chain.key].concat();
    for (pem, said) in [
        (P521, "found an ECDSA key on the curve P-521"),
        (PSS, "found an RSA key for RSA-PSS only (id-RSASSA-PSS)"),
        (ENCRYPTED, "found an encrypted private key"),
        (OLD_ENCRYPTED, "found an encrypted private key"),
        (&chain.leaf, "found PEM labelled `CERTIFICATE`"),
        (&two, "found `CERTIFICATE`, `PRIVATE KEY` in PEM, wanted one key"),
        ("nothing", "found nothing in PEM, wanted one key"),
    ] {
        let world = World::new().with("portcullis.yaml", &minimal).with("keys/sign.pem", pem);
        let loaded = load(Path::new("portcullis.yaml"), &world);
        let [problem] = &loaded.problems[..] else { panic!("{}", report(&loaded)) };
        assert!(problem.message.starts_with(said), "not `{said}`: {problem}");
    }
}
