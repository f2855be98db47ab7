//! Answers that come before the request is whole: their clients get them, and cannot hold the server up.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::server::{Client, Server};
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![an_answer_is_not_lost_to_who_is_still_sending, who_goes_on_sending_is_left_in_the_end,]
}

/// More than the kernel holds for a connection that nobody reads.
const BODY: usize = 16 << 20;

/// A client that reads nothing before it has sent everything, as many do.
#[track_caller]
fn ask(server: &Server<'_>, what: &str, head: &str, piece: &[u8]) -> u16 {
    let mut client = Client::of(server.connect());
    client.send(head.as_bytes());
    for at in 0..BODY / piece.len() {
        if let Err(error) = client.try_send(piece) {
            panic!("{what}: {error} after {} bytes", at * piece.len());
        }
    }
    let answer = client.try_response("POST");
    answer.unwrap_or_else(|error| panic!("{what}: {error}")).status
}

fn an_answer_is_not_lost_to_who_is_still_sending(namespace: &Namespace<'_>) {
    let settings = [("http.body-bytes", "1000"), ("http.header-bytes", "8Ki")];
    let strict = Server::start(namespace, &settings);
    let sized =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
    let chunked = "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let piece = [b'x'; 1 << 14];
    let chunk = [&b"4000\r\n"[..], &piece, b"\r\n"].concat();
    assert_eq!(ask(&strict, "a length that is too large", &sized("/count"), &piece), 413);
    assert_eq!(ask(&strict, "chunks that are too many", chunked, &chunk), 413);
    assert_eq!(ask(&strict, "a head that is too large", "POST / HTTP/1.1\r\nA: ", &piece), 431);
    assert_eq!(ask(&strict, "no head", "POST\r\n\r\n", &piece), 400);
    let hostless = chunked.replace("Host: a", "Host: a b");
    assert_eq!(ask(&strict, "a head that is refused", &hostless, &chunk), 400);
    strict.stop();

    let server = Server::start(namespace, &[("http.request-timeout", "1s")]);
    assert_eq!(ask(&server, "a guest that reads nothing", &sized("/ignore"), &piece), 200);
    assert_eq!(ask(&server, "a guest that fails", &sized("/trap"), &piece), 500);
    assert_eq!(ask(&server, "a guest that takes too long", &sized("/sleep?9000"), &piece), 504);
    server.stop();
}

fn who_goes_on_sending_is_left_in_the_end(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.body-bytes", "1000")]);
    let refused = |client: &mut Client| {
        client.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n");
        assert_eq!(client.response("POST").status, 413);
    };
    // One that sends as fast as it can.
    let mut fast = Client::of(server.connect());
    refused(&mut fast);
    let piece = vec![0; 1 << 20];
    let sent = (0..).take_while(|_| fast.try_send(&piece).is_ok()).count();
    assert!((32..256).contains(&sent), "{sent} MiB");
    // One that sends a little, always in time, and one that does neither send nor close.
    let begin = Instant::now();
    let mut slow = Client::of(server.connect());
    refused(&mut slow);
    let mut silent = Client::of(server.connect());
    refused(&mut silent);
    let mut is_waited_for = true;
    while slow.try_send(b"x").is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(200));
        if is_waited_for && begin.elapsed() > Duration::from_secs(3) {
            assert!(is_reset(silent.0.get_ref()), "it is waited for one that is silent");
            is_waited_for = false;
        }
    }
    assert!(begin.elapsed() > Duration::from_secs(5), "{:?}", begin.elapsed());
    // They hold nobody up who wants to stop it.
    let mut last = Client::of(server.connect());
    refused(&mut last);
    server.signal("SIGTERM");
    assert!(server.ends_within(Duration::from_secs(5)));
    server.expect_status(0);
}

/// Whether the other end is gone, so that it answers what comes with a reset.
fn is_reset(mut stream: &TcpStream) -> bool {
    let first = stream.write_all(b"x");
    std::thread::sleep(Duration::from_millis(50));
    let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    first.and_then(|()| stream.write_all(b"x")).is_err_and(|error| gone.contains(&error.kind()))
}
