//! A system that trusts nobody.

use super::*;

/// The usual world, on a machine without certificate authorities.
#[derive(Debug)]
struct Bare(World);

impl Sources for Bare {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        self.0.read(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.0.env(name)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.resolve(host, port)
    }

    fn authorities(&self) -> Vec<Vec<u8>> {
        vec![b"damaged".to_vec()]
    }

    fn now(&self) -> Timestamp {
        NOW
    }
}

#[test]
fn without_authorities_of_the_system_an_upstream_must_name_its_own() {
    let full = std::fs::read_to_string(Path::new(FIXTURES).join("valid/full.yaml")).unwrap();
    assert!(load_text(&full).config.is_some());
    let load_bare = |text: &str| {
        let world = World::new().with("portcullis.yaml", text);
        load(Path::new("portcullis.yaml"), &Bare(world))
    };
    let loaded = load_bare(&full);
    assert!(loaded.config.is_none());
    let [problem] = &loaded.problems[..] else { panic!("{}", report(&loaded)) };
    assert_eq!(problem.place, "upstreams.secure.tls");
    assert!(problem.message.contains("no certificate authorities"), "{problem}");
    let named = full.replacen("tls: {}", "tls: { ca: tls/edge.pem }", 1);
    assert!(load_bare(&named).config.is_some());
}
