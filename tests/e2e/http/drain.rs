//! A signal to stop: nothing that was accepted is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
/// told to stop: each request that it has taken gets its answer.
fn no_request_is_lost_under_load(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    let (answered, lost, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for keeps in [true, true, true, true, false, false, false, false] {
            let (server, answered, lost, stop) = (&server, &answered, &lost, &stop);
            scope.spawn(move || {
                let mut kept: Option<Client> = None;
                while !stop.load(Ordering::Relaxed) {
                    let connection =
                        kept.take().map(Ok).unwrap_or_else(|| server.try_connect().map(Client::of));
                    let Ok(mut client) = connection else { return };
                    client.send(get("/hello").as_bytes());
                    match client.try_response("GET") {
                        Ok(response) => {
                            assert_eq!(response.status, 200);
                            answered.fetch_add(1, Ordering::Relaxed);
                            let open = response.header("connection") != Some("close");
                            kept = (keeps && open).then_some(client);
                        }
                        Err(error) => {
                            eprintln!("lost: {error}");
                            lost.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(700));
        server.signal("SIGTERM");
        assert!(server.ends_within(Duration::from_secs(8)));
        stop.store(true, Ordering::Relaxed);
    });
    let (answered, lost) = (answered.into_inner(), lost.into_inner());
    assert!(answered > 20, "{answered} answered");
    // A connection that the kernel accepts in the moment in which the listening ends is reset by it: one at most for
    // each of those that connect anew.
    assert!(lost <= 4, "{lost} lost of {answered}");
    server.expect_status(0);
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
