//! A signal to stop: nothing that was accepted is lost.

use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::server::{Client, Server, get};
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        an_idle_server_ends_at_once_and_well,
        requests_under_way_are_answered,
        no_request_is_lost_under_load,
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
        lose_none(&server);
        server.expect_status(0);
    }
}

fn lose_none(server: &Server<'_>) {
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lost = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for keeps in [true, true, true, true, false, false, false, false] {
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
                        .try_send(get("/hello").as_bytes())
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
    assert_eq!(refused.into_inner(), 8, "each client is turned away in the end");
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
