//! Another process takes the place of the one that serves, and nobody notices: over a restart with systemd's file descriptor
//! store, and over an upgrade, where the old process starts the new one. What cannot start takes nothing down.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use reqwest::{Certificate, Client};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::binary::{BINARY, Site};
use super::harness::process::{Running, signal};
use super::harness::upstream::Upstream;
use super::harness::{Behaviour, HOST, within};

/// A site whose listeners (plain, TLS, the operator's) are on sockets that are open before any process.
struct Service {
    site: Site,
    sockets: Vec<TcpListener>,
    certificate: Certificate,
    _upstream: Upstream,
}

impl Service {
    async fn new() -> Self {
        // Another test may have been first; the provider is the same.
        rustls::crypto::ring::default_provider().install_default().ok();
        let upstream = Upstream::start(Behaviour::Echo).await;
        let site = Site::new(&upstream.address.to_string());
        let sockets = Vec::from([(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()));
        let [plain, tls, admin] = [0, 1, 2].map(|at| sockets[at].local_addr().unwrap());
        let identity = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        site.write("edge.pem", identity.cert.pem());
        site.write("edge.key", identity.signing_key.serialize_pem());
        let listeners = format!(
            "listeners: [{{ address: '{plain}' }}, {{ address: '{tls}', tls: {{ certificate: edge.pem, private_key: edge.key }} }}]"
        );
        let yaml = Site::yaml(&upstream.address.to_string())
            .replacen("listeners: [{ address: '127.0.0.1:0' }]", &listeners, 1)
            .replacen("127.0.0.1:0", &admin.to_string(), 1);
        site.write("portcullis.yaml", yaml);
        symlink(BINARY, site.path("portcullis")).unwrap();
        let certificate = Certificate::from_der(identity.cert.der()).unwrap();
        Self { site, sockets, certificate, _upstream: upstream }
    }

    /// The program by the name that it has in the site, with these sockets.
    fn command(&self, sockets: impl IntoIterator<Item = OwnedFd>) -> Command {
        let mut command = Command::new(self.site.path("portcullis"));
        command.args(["run", "-c", "portcullis.yaml"]).current_dir(self.site.path(""));
        command.env_remove("NOTIFY_SOCKET").env_remove("PORTCULLIS_LOG").stderr(Stdio::piped());
        let sockets: Vec<_> = sockets.into_iter().collect();
        command.env("LISTEN_FDS", sockets.len().to_string());
        let mappings =
            (3..).zip(sockets).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).unwrap();
        command
    }

    fn own_sockets(&mut self) -> Vec<OwnedFd> {
        self.sockets.drain(..).map(OwnedFd::from).collect()
    }

    /// Somebody for each way to ask: a kept connection, a new one for every request, and HTTP/2.
    fn load(&self, edge: SocketAddr, tls: SocketAddr, token: &str) -> Load {
        let plain = || Client::builder().no_proxy();
        let h2 = plain().tls_certs_only([self.certificate.clone()]).resolve(HOST, tls);
        Load::start(
            [
                (plain(), format!("http://{edge}/orders/1")),
                (plain().pool_max_idle_per_host(0), format!("http://{edge}/orders/1")),
                (h2, format!("https://{HOST}:{}/orders/1", tls.port())),
            ]
            .map(|(client, url)| (client.build().unwrap(), url)),
            token,
        )
    }

    /// Puts a script where the program is.
    fn replace_program(&self, script: &str, mode: u32) {
        fs::write(self.site.path("new"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(self.site.path("new"), Permissions::from_mode(mode)).unwrap();
        fs::rename(self.site.path("new"), self.site.path("portcullis")).unwrap();
    }
}

/// Clients that ask again and again.
struct Load {
    answered: Vec<watch::Receiver<usize>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Vec<String>>,
}

impl Load {
    fn start(clients: impl IntoIterator<Item = (Client, String)>, token: &str) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (mut tasks, mut answered) = (JoinSet::new(), Vec::new());
        for (client, url) in clients {
            let (count, counted) = watch::channel(0);
            answered.push(counted);
            let (token, stopping) = (token.to_owned(), stopping.clone());
            tasks.spawn(async move {
                let mut failures = Vec::new();
                while !*stopping.borrow() {
                    match client.get(&url).bearer_auth(&token).send().await {
                        Ok(answer) if answer.status() == 200 => {}
                        Ok(answer) => failures.push(format!("{url}: {}", answer.status())),
                        Err(error) => failures.push(format!("{url}: {error:?}")),
                    }
                    count.send_modify(|count| *count += 1);
                }
                failures
            });
        }
        Self { answered, stop, tasks }
    }

    /// Waits until each client has got so many more answers.
    async fn goes_on(&mut self) {
        for counted in &mut self.answered {
            let enough = *counted.borrow() + 20;
            within(counted.wait_for(|count| *count >= enough)).await.unwrap();
        }
    }

    /// Ends it; no request may have failed.
    async fn never_failed(self) {
        self.stop.send_replace(true);
        let failures = within(self.tasks.join_all()).await.concat();
        assert!(failures.is_empty(), "{} failed: {:#?}", failures.len(), failures);
    }
}

/// A process that was started by another, killed when dropped.
struct Heir(u32);

impl Heir {
    async fn of(edge: &mut Running) -> Self {
        let said = edge.says("handed over, draining").await;
        Self(said["successor"].as_u64().unwrap().try_into().unwrap())
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        // It may have handed over in its turn, and be gone.
        Command::new("sh").args(["-c", &format!("kill -s KILL {}", self.0)]).status().ok();
    }
}

/// What systemd hears, and the descriptors that it keeps.
struct Manager {
    socket: UnixDatagram,
    store: BTreeMap<String, OwnedFd>,
}

impl Manager {
    fn new(site: &Site) -> Self {
        let socket = UnixDatagram::bind(site.path("notify")).unwrap();
        Self { socket, store: BTreeMap::new() }
    }

    /// The next message, its lines in order. What is stored with it is kept.
    async fn told(&mut self) -> Vec<String> {
        let (mut text, mut received) = ([0; 512], Vec::new());
        let received_too = &mut received;
        let read = self.socket.async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut text)];
            let length = recvmsg(&self.socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    received_too.extend(descriptors);
                }
            }
            Ok(length)
        });
        let length = within(read).await.unwrap();
        let text = std::str::from_utf8(&text[..length]).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines[0] == "FDSTORE=1" {
            let name = lines[1].strip_prefix("FDNAME=").unwrap().to_owned();
            assert_eq!(received.len(), 1, "{lines:?}");
            self.store.insert(name, received.remove(0));
        }
        lines
    }

    /// A process is ready, and has given us every socket before.
    async fn hears_of_a_start(&mut self, sockets: usize) {
        for _ in 0..sockets {
            assert_eq!(self.told().await[0], "FDSTORE=1");
        }
        assert_eq!(self.told().await, ["READY=1"]);
        assert_eq!(self.store.len(), sockets);
    }

    fn descriptors(&self) -> Vec<OwnedFd> {
        self.store.values().map(|own| own.try_clone().unwrap()).collect()
    }
}

#[tokio::test]
async fn inherited_sockets_are_used_and_those_that_nobody_wants_are_closed() {
    let mut service = Service::new().await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let unwanted = other.local_addr().unwrap();
    let held: Vec<_> = service.sockets.iter().map(|own| own.try_clone().unwrap()).collect();
    let mut sockets = service.own_sockets();
    sockets.push(other.into());
    let edge = Running::started(service.command(sockets).into()).await;
    assert_eq!(edge.edge, held[0].local_addr().unwrap());
    assert_eq!(edge.admin, held[2].local_addr().unwrap());
    let bob = edge.login("bob").await;
    edge.get("/orders/1", &bob).await.is(200);
    assert!(TcpStream::connect(unwanted).is_err(), "it is still open");
}

#[tokio::test]
async fn an_upgrade_loses_no_request_and_systemd_learns_who_serves() {
    let mut service = Service::new().await;
    let mut systemd = Manager::new(&service.site);
    let tls = service.sockets[1].local_addr().unwrap();
    let sockets = service.own_sockets();
    let mut command = service.command(sockets);
    command.env("NOTIFY_SOCKET", service.site.path("notify"));
    let mut edge = Running::started(command.into()).await;
    systemd.hears_of_a_start(3).await;
    let bob = edge.login("bob").await;
    let mut load = service.load(edge.edge, tls, &bob);
    load.goes_on().await;

    edge.signal("USR2");
    assert_eq!(systemd.told().await[0], "RELOADING=1");
    let heir = Heir::of(&mut edge).await;
    assert_eq!(systemd.told().await, ["READY=1".to_owned(), format!("MAINPID={}", heir.0)]);
    systemd.hears_of_a_start(3).await;
    assert_eq!(edge.ends().await.code(), Some(0));
    load.goes_on().await;
    // The one that took over can be taken over from.
    signal("USR2", &[heir.0]);
    assert_eq!(systemd.told().await[0], "RELOADING=1");
    let next = Heir::of(&mut edge).await;
    assert_eq!(systemd.told().await[1], format!("MAINPID={}", next.0));
    systemd.hears_of_a_start(3).await;
    load.goes_on().await;
    load.never_failed().await;
    assert!(edge.counts("portcullis_config_last_reload_successful 1").await);
}

#[tokio::test]
async fn what_cannot_start_takes_nothing_down() {
    let mut service = Service::new().await;
    let sockets = service.own_sockets();
    let mut edge = Running::started(service.command(sockets).into()).await;
    let bob = edge.login("bob").await;
    let good = fs::read_to_string(service.site.path("portcullis.yaml")).unwrap();

    service.site.write("portcullis.yaml", good.replace("upstream: app,", "upstream: ap,"));
    let refusal = "the program cannot take over";
    edge.signal("USR2");
    let line = edge.says(refusal).await;
    assert!(line["error"].as_str().unwrap().contains("exit status: 2"), "{line}");
    edge.get("/orders/1", &bob).await.is(200);
    service.site.write("portcullis.yaml", good);

    // A reload finds another program, and does not look at the configuration alone.
    for (script, mode, why) in [
        ("exit 7", 0o700, "exit status: 7"),
        ("exec <&-; exec cat /dev/zero >/dev/null", 0o700, "it hung up"),
        ("exit 0", 0o600, "ermission denied"),
    ] {
        service.replace_program(script, mode);
        edge.signal("HUP");
        let line = edge.says(refusal).await;
        assert!(line["error"].as_str().unwrap().contains(why), "no {why:?}: {line}");
        edge.get("/orders/1", &bob).await.is(200);
    }
    service.replace_program(&format!("exec {BINARY} \"$@\""), 0o700);
    edge.signal("HUP");
    let _heir = Heir::of(&mut edge).await;
    assert_eq!(edge.ends().await.code(), Some(0));
    edge.get("/orders/1", &bob).await.is(200);
}

#[tokio::test]
async fn a_stop_during_an_upgrade_ends_both() {
    let mut service = Service::new().await;
    let sockets = service.own_sockets();
    let mut edge = Running::started(service.command(sockets).into()).await;
    service.replace_program("exec cat", 0o700);
    edge.signal("HUP");
    edge.says("starting the program again").await;
    edge.signal("USR2");
    edge.says("not now").await;
    edge.signal("TERM");
    edge.says("draining").await;
    assert_eq!(edge.ends().await.code(), Some(0));
    // A process that was killed needs a moment to be gone.
    within(async { while tokio::net::TcpStream::connect(edge.edge).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_restart_with_the_descriptor_store_refuses_nobody() {
    let mut service = Service::new().await;
    let mut systemd = Manager::new(&service.site);
    let tls = service.sockets[1].local_addr().unwrap();
    let sockets = service.own_sockets();
    let start = async |service: &Service, sockets: Vec<OwnedFd>| {
        let mut command = service.command(sockets);
        command.env("NOTIFY_SOCKET", service.site.path("notify"));
        Running::started(command.into()).await
    };
    let mut edge = start(&service, sockets).await;
    systemd.hears_of_a_start(3).await;
    let bob = edge.login("bob").await;
    let mut load = service.load(edge.edge, tls, &bob);
    for _ in 0..2 {
        load.goes_on().await;
        edge.signal("TERM");
        assert_eq!(systemd.told().await, ["STOPPING=1"]);
        assert_eq!(edge.ends().await.code(), Some(0));
        edge = start(&service, systemd.descriptors()).await;
        systemd.hears_of_a_start(3).await;
    }
    load.goes_on().await;
    load.never_failed().await;
}
