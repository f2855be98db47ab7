//! Nothing of one request is in another.

use libtest_mimic::Trial;

use super::server::{Client, Server, get};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        memory_of_a_request_is_not_seen_by_the_next,
        nothing_of_an_instance_is_in_the_next,
        nothing_of_a_large_instance_is_in_the_next,
        nothing_of_an_instance_is_in_those_beside_it,
        an_instance_is_kept_only_when_it_is_asked_for,
    ]
}

fn memory_of_a_request_is_not_seen_by_the_next(namespace: &Namespace<'_>) {
    // One place in the pool: the next request gets the same memory.
    let server = Server::start(namespace, &[("http.concurrency", "1")]);
    for bytes in [1000, 500_000, 8_000_000] {
        let hidden: u64 = server.get(&format!("/hide?{bytes}")).text().trim().parse().unwrap();
        assert!(hidden > 10, "{hidden}");
        assert_eq!(server.get("/search").text(), "0\n", "after {bytes} bytes");
    }
    server.stop();
    // What the search would find, if it were there: where instances are kept, it is.
    let server = Server::start(namespace, &[("http.requests-per-instance", "10")]);
    let hidden: u64 = server.get("/hide?500000").text().trim().parse().unwrap();
    let found: u64 = server.get("/search").text().trim().parse().unwrap();
    assert!(found >= hidden, "{found} of {hidden}");
    server.stop();
}

/// One that looks for what it has left, in all that an instance has.
fn hoard<'a>(namespace: &'a Namespace<'a>, annotations: &[(&str, &str)]) -> Server<'a> {
    let image = Image::guest("hoard", &guests::server("hoard"));
    Server::start_image(namespace, &image, annotations, &[], 8080)
}

fn nothing_of_an_instance_is_in_the_next(namespace: &Namespace<'_>) {
    // One place in the pool, for instances of all sizes, before and after: what is small may be wiped in another way
    // than what is large.
    let settings = [("http.concurrency", "1"), ("http.request-timeout", "500ms")];
    let server = hoard(namespace, &settings);
    assert!(holds_pagemap(&server), "it has no memories of ours");
    let clean = |after: &str| {
        for target in ["/s6", "/s0", "/i0", "/s3"] {
            assert_eq!(server.get(target).text(), "0", "{target} after {after}");
        }
    };
    clean("nothing");
    for target in ["/h0", "/h1", "/h4", "/h6"] {
        let bytes: u64 = server.get(target).text().parse().unwrap();
        assert!(bytes >= 1 << 20, "{bytes}");
        clean(target);
    }
    // It ends in the midst of it.
    for (target, status) in [("/t0", 500), ("/t5", 500), ("/l0", 504), ("/l5", 504)] {
        assert_eq!(server.get(target).status, status, "{target}");
        clean(target);
    }
    server.stop();
    // What is looked for is there where instances are kept.
    let server = hoard(namespace, &[("http.requests-per-instance", "10")]);
    assert_eq!(server.get("/h0").status, 200);
    let found: u64 = server.get("/s0").text().parse().unwrap();
    // Each word, each element, both globals, and both segments of data, which are four words.
    assert_eq!(found, ((1 << 20) - 4096) / 8 - 4 + 2 + 5000 + 2);
    assert_eq!(server.get("/i0").status, 500);
    // One that has failed is not.
    assert_eq!(server.get("/s0").text(), "0");
    assert_eq!(server.get("/t0").status, 500);
    assert_eq!(server.get("/s0").text(), "0");
    server.stop();
}

/// One whose memory is the engine's, as it has much data.
fn nothing_of_a_large_instance_is_in_the_next(namespace: &Namespace<'_>) {
    let image = Image::guest("large", &guests::large_server("hoard"));
    let server = Server::start_image(namespace, &image, &[("http.concurrency", "1")], &[], 8080);
    for target in ["/h0", "/h1", "/t5", "/h6", "/t0"] {
        server.get(target);
        for target in ["/s6", "/s0", "/i0", "/s3"] {
            assert_eq!(server.get(target).text(), "0", "{target}");
        }
    }
    assert!(!holds_pagemap(&server), "it has memories of ours");
    server.stop();
}

/// What only a server with memories of ours needs.
fn holds_pagemap(server: &Server<'_>) -> bool {
    let mut open = Process::of(server.pid).descriptors().into_iter();
    open.any(|(_, to)| to.ends_with("/pagemap"))
}

fn nothing_of_an_instance_is_in_those_beside_it(namespace: &Namespace<'_>) {
    let server = hoard(namespace, &[("http.concurrency", "6")]);
    let targets = ["/h0", "/s4", "/t2", "/s0", "/h4", "/s2", "/i0", "/h2"];
    let mut searches = 0;
    for round in 0..6 {
        let mut clients: Vec<_> = (0..24).map(|_| Client::of(server.connect())).collect();
        let target = |at: usize| targets[(at * 5 + round) % targets.len()];
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(get(target(at)).as_bytes());
        }
        for (at, client) in clients.iter_mut().enumerate() {
            let answer = client.response("GET");
            match target(at).as_bytes()[1] {
                b's' => assert_eq!(answer.text(), "0", "{} in round {round}", target(at)),
                b't' => assert_eq!(answer.status, 500),
                _ => assert_eq!(answer.status, 200),
            }
            searches += usize::from(target(at).starts_with("/s"));
        }
    }
    assert!(searches > 40, "{searches}");
    server.stop();
}

fn an_instance_is_kept_only_when_it_is_asked_for(namespace: &Namespace<'_>) {
    let counted = |server: &Server<'_>| -> Vec<String> {
        (0..5).map(|_| server.get("/requests").text().trim().to_owned()).collect()
    };
    let server = Server::start(namespace, &[]);
    assert_eq!(counted(&server), ["1", "1", "1", "1", "1"]);
    server.stop();
    let server = Server::start(namespace, &[("http.requests-per-instance", "3")]);
    assert_eq!(counted(&server), ["1", "2", "3", "1", "2"]);
    // One that has failed serves nobody any more.
    assert_eq!(server.get("/trap").status, 500);
    assert_eq!(counted(&server), ["1", "2", "3", "1", "2"]);
    server.stop();
}
