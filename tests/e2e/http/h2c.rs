//! HTTP/2 without TLS, by prior knowledge.

use std::future::poll_fn;
use std::io::Write;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tonic::codegen::http::Request;

use super::server::Server;
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![http_2_is_spoken_without_tls, floods_are_bounded]
}

pub type Sender = h2::client::SendRequest<tonic::codegen::Bytes>;

/// What came back: status, body and trailers.
pub async fn ask(
    sender: &Sender,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>, Option<String>), h2::Error> {
    let uri = format!("http://web.test{path}");
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let mut sender = sender.clone().ready().await?;
    let (answer, mut stream) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(body.to_vec().into(), true)?;
    }
    let (parts, incoming) = answer.await?.into_parts();
    let (all, sum) = read(incoming).await?;
    Ok((parts.status.as_u16(), all, sum))
}

/// The body and its trailers.
async fn read(mut incoming: h2::RecvStream) -> Result<(Vec<u8>, Option<String>), h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = incoming.data().await {
        let piece = piece?;
        incoming.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    let trailers = poll_fn(|context| incoming.poll_trailers(context)).await?;
    let sum = trailers.and_then(|all| Some(all.get("x-sum")?.to_str().ok()?.to_owned()));
    Ok((all, sum))
}

/// What comes back of a body with trailers.
async fn ask_with_trailers(sender: &Sender) -> Result<(Vec<u8>, Option<String>), h2::Error> {
    let request =
        Request::builder().method("POST").uri("http://web.test/echo").header("trailer", "x-sum");
    let (answer, mut stream) =
        sender.clone().ready().await?.send_request(request.body(()).unwrap(), false)?;
    stream.send_data("hi".into(), false)?;
    stream
        .send_trailers([("x-sum".parse().unwrap(), "7".parse().unwrap())].into_iter().collect())?;
    read(answer.await?.into_body()).await
}

/// The beginning of a connection: what a client says first, and settings of none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame of `kind`.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream[..], payload].concat()
}

/// Sends what `frames` makes for ever new numbers until `most` bytes are sent, the server takes no more or it closes the
/// connection; returns how many bytes it took.
fn flood(server: &Server<'_>, most: usize, frames: impl Fn(u32) -> Vec<u8>) -> usize {
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(PREFACE).unwrap();
    let mut sent = 0;
    let mut next = (0..).map(frames);
    while sent < most {
        let some: Vec<u8> = next.by_ref().take(100).flatten().collect();
        // Nothing is read: answers stay where they are.
        match stream.write(&some) {
            Ok(taken) if taken == some.len() => sent += taken,
            Ok(_) | Err(_) => break,
        }
    }
    sent
}

/// A client may make work for the server, and not for the others, nor fill its memory.
fn floods_are_bounded(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    assert_eq!(server.get("/hello").status, 200);
    let memory = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = memory();
    const MOST: usize = 16 << 20;
    // The indexed fields `:method: GET`, `:scheme: http` and `:path: /`, and `:authority: a`.
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let begin = Instant::now();
    // Requests that are taken back at once (CVE-2023-44487).
    let sent = flood(&server, MOST, |n| {
        [frame(1, 5, 2 * n + 1, &head), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat()
    });
    assert!(sent < MOST, "requests that are taken back: {sent} bytes were taken");
    // A head that goes on and on (CVE-2024-27316).
    let sent = flood(&server, MOST, |n| match n {
        0 => frame(1, 1, 1, &head),
        _ => frame(9, 0, 1, &[&[0x40, 1, b'x', 100][..], &[b'y'; 100]].concat()),
    });
    assert!(sent < MOST, "a head without an end: {sent} bytes were taken");
    // What is to be answered by a client that reads no answers (CVE-2019-9512, 9515).
    flood(&server, MOST, |_| frame(6, 0, 0, &[0; 8]));
    flood(&server, MOST, |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]));
    // Frames that say nothing (CVE-2019-9518).
    flood(&server, MOST, |n| match n {
        0 => frame(1, 4, 1, &head),
        _ => frame(0, 0, 1, &[]),
    });
    assert_eq!(server.get("/hello").status, 200);
    let grown = memory().saturating_sub(before);
    eprintln!("{grown} KiB after {:?}", begin.elapsed());
    assert!(grown < 16 << 10, "{grown} KiB more than before");
    server.stop();
}

fn http_2_is_spoken_without_tls(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.request-timeout", "2s")]);
    let stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);

        let (status, body, _) = ask(&sender, "GET", "/hello", b"").await.unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"hello\n"[..]));
        let (_, body, _) = ask(&sender, "GET", "/describe", b"").await.unwrap();
        assert!(body.starts_with(b"GET http web.test /describe\n"));
        let (_, body, _) = ask(&sender, "POST", "/count", &[2; 50_000]).await.unwrap();
        assert_eq!(body, b"50000 100000\n");
        let (_, body, _) = ask(&sender, "GET", "/bytes?300000", b"").await.unwrap();
        assert_eq!(body.len(), 300_000);
        let (_, body, sum) = ask(&sender, "GET", "/trailers", b"").await.unwrap();
        assert_eq!((body.as_slice(), sum.as_deref()), (&b"with trailers\n"[..], Some("42")));
        let (body, sum) = ask_with_trailers(&sender).await.unwrap();
        assert_eq!((body.as_slice(), sum.as_deref()), (&b"hi"[..], Some("7")));
        let (status, body, _) = ask(&sender, "HEAD", "/hello", b"").await.unwrap();
        assert_eq!((status, body.len()), (200, 0));
        // A failure is a stream's, and not the connection's.
        assert_eq!(ask(&sender, "GET", "/trap", b"").await.unwrap().0, 500);
        assert!(ask(&sender, "GET", "/late-trap", b"").await.is_err());
        assert!(ask(&sender, "GET", "/leave", b"").await.is_err());
        assert!(ask(&sender, "GET", "/drop", b"").await.is_err());
        // Streams do not wait for each other.
        let slow = [(); 10].map(|()| {
            let sender = sender.clone();
            tokio::spawn(async move { ask(&sender, "GET", "/sleep?500", b"").await.unwrap().0 })
        });
        let spinning = {
            let sender = sender.clone();
            tokio::spawn(async move { ask(&sender, "GET", "/spin", b"").await.unwrap().0 })
        };
        assert_eq!(ask(&sender, "GET", "/hello", b"").await.unwrap().0, 200);
        for slow in slow {
            assert_eq!(slow.await.unwrap(), 200);
        }
        assert_eq!(spinning.await.unwrap(), 504);
        // A goodbye, and an end, to a connection that is open when the server is told to stop.
        let last = {
            let sender = sender.clone();
            tokio::spawn(async move { ask(&sender, "GET", "/sleep?800", b"").await.unwrap().0 })
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.signal("SIGTERM");
        assert_eq!(last.await.unwrap(), 200);
        assert!(connection.await.unwrap().is_ok());
    });
    server.expect_status(0);
}
