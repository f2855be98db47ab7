//! Nothing of one request is in another.

use libtest_mimic::Trial;

use super::server::Server;
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        memory_of_a_request_is_not_seen_by_the_next,
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
