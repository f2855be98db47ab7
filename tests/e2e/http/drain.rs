//! A signal to stop: nothing that was accepted is lost.

use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::h2c::ask;
use super::server::{Client, Server, get};
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        an_idle_server_ends_at_once_and_well,
        requests_under_way_are_answered,
        no_request_is_lost_under_load,
        nobody_is_lost_who_waits_for_a_place,
        a_kill_under_load_leaves_nobody_waiting,
        what_is_sent_is_taken_and_goodbye_is_said,
        what_does_not_end_is_ended_after_the_grace,
        a_second_signal_ends_it_at_once,
    ]
}

fn an_idle_server_ends_at_once_and_well(namespace: &Namespace<'_>) {
    for signal in ["SIGTERM", "SIGINT"] {
        let server = Server::start(namespace, &[]);
        assert_eq!(server.get("/hello").status, 200);
        let begin = Instant::now();
        server.signal(signal);
        assert!(server.ends_within(Duration::from_secs(5)), "{signal}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        server.expect_status(0);
    }
}

fn requests_under_way_are_answered(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    let mut sleeping = Client::of(server.connect());
    sleeping.send(get("/sleep?1500").as_bytes());
    let mut dripping = Client::of(server.connect());
    dripping.send(get("/drip?10").as_bytes());
    let mut kept = Client::of(server.connect());
    kept.send(get("/hello").as_bytes());
    assert_eq!(kept.response("GET").status, 200);
    // They have begun.
    std::thread::sleep(Duration::from_millis(200));
    server.signal("SIGTERM");
    assert_eq!(sleeping.response("GET").text(), "slept\n");
    assert_eq!(dripping.response("GET").text().lines().count(), 10);
    assert!(kept.is_closed() && sleeping.is_closed() && dripping.is_closed());
    assert!(server.try_connect().is_err(), "nobody listens any more");
    server.expect_status(0);
}

/// Clients that keep their connections, and clients that make one for each request, go on asking while the server is
/// told to stop: each connection that was made gets its answer, and further ones are refused.
fn no_request_is_lost_under_load(namespace: &Namespace<'_>) {
    for _ in 0..3 {
        let server = Server::start(namespace, &[]);
        let keep = [true, true, true, true, false, false, false, false];
        lose_none(&server, &keep, "/hello");
        server.expect_status(0);
    }
}

/// Clients that ask for `target`, of which some keep their connections.
fn lose_none(server: &Server<'_>, clients: &[bool], target: &str) {
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lost = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for &keeps in clients {
            let (answered, refused, lost) = (&answered, &refused, &lost);
            let ask = move || {
                let mut kept: Option<Client> = None;
                // Until nobody listens any more.
                loop {
                    let connection = match kept.take() {
                        Some(client) => Ok(client),
                        None => TcpStream::connect(server.address).map(Client::of),
                    };
                    let mut client = match connection {
                        Ok(client) => client,
                        Err(error) => {
                            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                            refused.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                    };
                    match client
                        .try_send(get(target).as_bytes())
                        .and_then(|()| client.try_response("GET"))
                    {
                        Ok(response) => {
                            assert_eq!(response.status, 200);
                            answered.fetch_add(1, Ordering::Relaxed);
                            let open = response.header("connection") != Some("close");
                            kept = (keeps && open).then_some(client);
                        }
                        Err(error) => lost.lock().unwrap().push(error),
                    }
                }
            };
            scope.spawn(move || server.within(ask));
        }
        std::thread::sleep(Duration::from_millis(500));
        server.signal("SIGTERM");
        assert!(server.ends_within(Duration::from_secs(8)));
    });
    let (answered, lost) = (answered.into_inner(), lost.into_inner().unwrap());
    assert!(answered > 20, "{answered} answered");
    assert!(lost.is_empty(), "{} lost of {answered}: {lost:?}", lost.len());
    assert_eq!(refused.into_inner(), clients.len(), "each client is turned away in the end");
}

/// The same with more clients than there are places: some are always with the kernel alone, whichever moment the server
/// closes its socket at, and are lost if others may still come. One that only closes it fails this each time.
fn nobody_is_lost_who_waits_for_a_place(namespace: &Namespace<'_>) {
    let begin = Instant::now();
    for _ in 0..3 {
        let server = Server::start(namespace, &[("http.connections", "4"), ("http.grace", "2s")]);
        lose_none(&server, &[false; 24], "/sleep?5");
        server.expect_status(0);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

fn a_kill_under_load_leaves_nobody_waiting(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    let mut clients: Vec<_> = (0..32).map(|_| Client::of(server.connect())).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        // Some run, some have begun to answer, some are in the midst of their body, some have asked nothing yet.
        let asked = [
            get("/sleep?60000"),
            get("/drip?600"),
            "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf".to_owned(),
            String::new(),
        ];
        client.send(asked[at % asked.len()].as_bytes());
    }
    std::thread::sleep(Duration::from_millis(200));
    let begin = Instant::now();
    server.signal("SIGKILL");
    for client in &mut clients {
        assert!(client.try_response("GET").is_err());
    }
    assert!(server.try_connect().is_err(), "nobody listens any more");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    server.expect_status(137);
}

/// Connections that are kept, of both versions of HTTP, with requests that end in time and one that does not.
fn what_is_sent_is_taken_and_goodbye_is_said(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.grace", "3s")]);
    let mut sending = Client::of(server.connect());
    sending.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfirst");
    let mut kept = Client::of(server.connect());
    kept.send(get("/hello").as_bytes());
    assert_eq!(kept.response("GET").header("connection"), None);
    let stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begin = Instant::now();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let asked = ["/sleep?1200", "/drip?15", "/sleep?60000"].map(|path| {
            let sender = sender.clone();
            tokio::spawn(async move { ask(&sender, "GET", path, b"").await })
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.signal("SIGTERM");
        // On its way when the server was told.
        kept.send(get("/hello").as_bytes());
        let last = kept.response("GET");
        assert_eq!((last.status, last.header("connection")), (200, Some("close")));
        assert!(kept.is_closed());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let refused = ask(&sender, "GET", "/hello", b"").await.unwrap_err();
        assert!(refused.is_go_away() || refused.is_io(), "{refused:?}");
        sending.send(b"last");
        let sums = (b"first".iter().chain(b"last")).map(|byte| u64::from(*byte)).sum::<u64>();
        let counted = sending.response("POST");
        assert_eq!(counted.text(), format!("9 {sums}\n"));
        assert_eq!(counted.header("connection"), Some("close"));
        let [slept, dripped, endless] = asked;
        assert_eq!(slept.await.unwrap().unwrap().1, b"slept\n");
        let dripped = dripped.await.unwrap().unwrap().1;
        assert_eq!(dripped.iter().filter(|byte| **byte == b'\n').count(), 15);
        assert!(endless.await.unwrap().is_err());
        assert!(begin.elapsed() > Duration::from_millis(3200), "{:?}", begin.elapsed());
        drop(connection.await);
    });
    server.logs("requests were still under way 3s after the signal to stop");
    server.expect_status(143);
}

fn what_does_not_end_is_ended_after_the_grace(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.grace", "500ms")]);
    let mut spinning = Client::of(server.connect());
    spinning.send(get("/spin").as_bytes());
    std::thread::sleep(Duration::from_millis(200));
    let begin = Instant::now();
    server.signal("SIGINT");
    assert!(server.ends_within(Duration::from_secs(8)));
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
    server.logs("requests were still under way 500ms after the signal to stop");
    server.expect_status(130);
}

fn a_second_signal_ends_it_at_once(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.grace", "1m")]);
    let mut sleeping = Client::of(server.connect());
    sleeping.send(get("/sleep?50000").as_bytes());
    std::thread::sleep(Duration::from_millis(200));
    server.signal("SIGTERM");
    assert!(!server.ends_within(Duration::from_millis(500)), "it does not wait");
    server.signal("SIGTERM");
    assert!(server.ends_within(Duration::from_secs(5)));
    server.expect_status(143);
}
