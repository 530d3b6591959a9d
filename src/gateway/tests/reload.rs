//! A reload takes all of a file, with its sockets, or nothing.

use std::net::SocketAddr;
use std::sync::Weak;

use super::*;
use crate::config::Listener;
use crate::gateway::live::{BindError, Sockets};

#[test]
fn a_reload_takes_all_of_a_file_or_nothing() {
    let text = text("", ROUTES);
    let files = files(&text);
    let path = Path::new("portcullis.yaml");
    let live = Live::start(path, Box::new(files.clone()), read(&files), shared()).unwrap();
    let bob = token(&live.current(), "bob", "read");
    let outcome = |live: &Live| Ask::new(&live.current()).bearer(&bob).outcome("/a");
    assert_eq!(outcome(&live), "a as bob");

    let doors: Arc<Doors> = Arc::default();
    let weak: Weak<Doors> = Arc::downgrade(&doors);
    live.attach(weak);
    let failing = format!("{text}\ntests: [{{ request: GET /admin, expect: allow }}]\n");
    let stateful = format!("{text}\nstate: {{ sqlite: other.db }}\n");
    let taken = text.replace("127.0.0.1:0", "127.0.0.9:0");
    let broken = text.replace("id: a,", "id: a, scopes: [raed],");
    for (file, said) in [
        (failing, "got 401"),
        (stateful, "takes a restart"),
        (taken, "cannot listen on 127.0.0.9:0: address in use"),
        (broken, "did you mean `read`?"),
    ] {
        files.write("portcullis.yaml", &file.replace("id: home", "id: renamed"));
        let rejected = live.reload().unwrap_err().to_string();
        assert!(rejected.contains(said), "{rejected}");
        assert_eq!(Ask::new(&live.current()).outcome("/"), "home", "the old one stays");
        assert!(doors.0.lock().is_empty(), "so do the sockets");
    }

    let moved = format!("{text}\nadmin: {{ address: 127.0.0.2:1 }}\n");
    files.write("portcullis.yaml", &moved.replace("id: home", "id: renamed"));
    files.write(
        "users.yaml",
        &USERS.replace("HASH", HASH).replace("name: bob,", "name: bob, disabled: true,"),
    );
    live.reload().unwrap();
    assert_eq!(Ask::new(&live.current()).outcome("/"), "renamed");
    assert_eq!(outcome(&live), "401 user_disabled", "at the next request");
    assert_eq!(*doors.0.lock(), ["127.0.0.1:0 127.0.0.2:1"]);
}

/// Sockets that can be had everywhere but at 127.0.0.9.
#[derive(Debug, Default)]
struct Doors(Mutex<Vec<String>>);

impl Sockets for Doors {
    fn prepare(
        &self,
        listeners: &[Listener],
        admin: Option<SocketAddr>,
    ) -> Result<Box<dyn FnOnce() + '_>, BindError> {
        let addresses: Vec<_> = listeners.iter().map(|own| own.address).chain(admin).collect();
        if let Some(taken) = addresses.iter().find(|address| address.to_string() == "127.0.0.9:0") {
            return Err(BindError { address: *taken, cause: io::Error::other("address in use") });
        }
        let opened = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Ok(Box::new(move || self.0.lock().push(opened)))
    }
}
