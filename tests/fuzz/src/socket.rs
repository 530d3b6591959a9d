//! A real edge on a loopback socket, before an upstream that writes down every byte it gets.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::gateway::live::Live;
use portcullis::proxy::{Inherited, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http1::{self, Next, Request};
use crate::world::{BASE, Files, shared};

/// The routes of the edge. The target knows them too, by rules of its own.
const ROUTES: &str = "
  - { id: public, path: /public/**, upstream: app, auth: public }
  - { id: private, path: /private/**, upstream: app }
  - { id: admin, path: /admin/**, upstream: app, scopes: [admin] }
  - { id: home, path: /, upstream: app, auth: optional }
";

/// How long an exchange may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The edge, and what its upstream got.
pub struct Edge {
    runtime: Runtime,
    address: SocketAddr,
    got: Arc<Mutex<Got>>,
    client: u32,
    _stop: watch::Sender<bool>,
}

/// What reached the upstream.
#[derive(Debug, Default)]
struct Got {
    requests: HashMap<IpAddr, Vec<Request>>,
    /// What was no request, or no client's.
    garbage: Vec<String>,
}

impl Edge {
    /// Starts both.
    #[must_use]
    pub fn start(files: &Files) -> Self {
        let got = Arc::new(Mutex::new(Got::default()));
        let upstream = upstream(Arc::clone(&got)).expect("an upstream");
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]
{BASE}
upstreams: {{ app: {{ servers: ['{upstream}'] }} }}
routes:{ROUTES}"
        );
        let files = files.with(text.as_bytes());
        let config = files.config();
        let listeners = config.listeners.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (stop, stopping) = watch::channel(false);
        let address = runtime.block_on(async {
            let shared = shared();
            let path = files.file();
            let live = Live::start(path, Box::new(files), config, Arc::clone(&shared));
            let live = Arc::new(live.unwrap_or_else(|rejected| panic!("{rejected}")));
            let server = Server::bind(live, shared, &listeners, None, &mut Inherited::none()).expect("a socket");
            let address = server.addresses()[0];
            tokio::spawn(server.run(stopping));
            address
        });
        Self { runtime, address, got, client: 0, _stop: stop }
    }

    /// Sends these bytes on a connection of their own and waits until the edge has closed it. Gives the address they came
    /// from and the answers. `half` closes our side after the last byte.
    ///
    /// # Panics
    /// When the edge does not close the connection.
    pub fn send(&mut self, bytes: &[u8], half: bool) -> (IpAddr, Vec<u8>) {
        // Each connection has an address of its own, which the upstream gets to see: it tells the inputs apart.
        self.client = self.client % 0xff_fffd + 1;
        let from = IpAddr::from(Ipv4Addr::from((127 << 24) + 1 + self.client));
        let answers = self.runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            let mut stream = socket.connect(self.address).await?;
            let (mut reader, mut writer) = stream.split();
            let mut answers = Vec::new();
            let talk = async {
                let write = async {
                    // The edge may have closed already: what it did until then is looked at all the same.
                    let written = writer.write_all(bytes).await;
                    if written.is_ok() && half { writer.shutdown().await } else { written }
                };
                let read = reader.read_to_end(&mut answers);
                let (_written, _read) = tokio::join!(write, read);
            };
            assert!(timeout(PATIENCE, talk).await.is_ok(), "the edge holds the connection");
            io::Result::Ok(answers)
        });
        (from, answers.expect("a connection"))
    }

    /// What reached the upstream from this address so far.
    ///
    /// # Panics
    /// When something reached it that is no request.
    #[must_use]
    pub fn got(&self, from: IpAddr) -> Vec<Request> {
        let got = self.got.lock().expect("no panic before");
        assert!(got.garbage.is_empty(), "the upstream got {:?}", got.garbage);
        got.requests.get(&from).cloned().unwrap_or_default()
    }

    /// Forgets this address.
    pub fn forget(&self, from: IpAddr) {
        self.got.lock().expect("no panic before").requests.remove(&from);
    }
}

/// An application that reads strictly, writes down what it gets, and answers everything with 200.
fn upstream(got: Arc<Mutex<Got>>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let got = Arc::clone(&got);
            std::thread::spawn(move || converse(stream, &got));
        }
    });
    Ok(address)
}

fn converse(mut stream: TcpStream, got: &Mutex<Got>) {
    let mut unread = Vec::new();
    let mut buffer = [0; 4096];
    let record = |request: Request| {
        let mut got = got.lock().expect("no panic before");
        let from = request.only("x-forwarded-for").and_then(|value| {
            std::str::from_utf8(value).ok().and_then(|text| text.parse::<IpAddr>().ok())
        });
        match from {
            Some(from) => got.requests.entry(from).or_default().push(request),
            None => got.garbage.push(format!("{request:?}")),
        }
    };
    loop {
        loop {
            match http1::next(&unread) {
                Next::Whole(request, used) => {
                    unread.drain(..used);
                    let is_head = request.method == "HEAD";
                    record(request);
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
                    let body = if is_head { "" } else { "ok" };
                    if stream.write_all(format!("{answer}{body}").as_bytes()).is_err() {
                        return;
                    }
                }
                Next::Nothing | Next::Cut(_) => break,
                Next::Bad(_) => {
                    let text = String::from_utf8_lossy(&unread).into_owned();
                    got.lock().expect("no panic before").garbage.push(text);
                    return;
                }
            }
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => unread.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    match http1::next(&unread) {
        Next::Cut(Some(request)) => record(request),
        Next::Nothing => {}
        _ => {
            let text = String::from_utf8_lossy(&unread).into_owned();
            got.lock().expect("no panic before").garbage.push(text);
        }
    }
}
