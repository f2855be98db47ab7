//! Where a server listens, and when.

use libtest_mimic::Trial;

use super::server::{Client, Server, get, image};
use crate::support::namespace::Namespace;
use crate::support::netns::NetworkNamespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        it_listens_at_8080_of_both_versions_of_ip,
        the_environment_says_another_port,
        a_port_that_is_none_is_an_error_of_create,
        an_address_in_use_is_an_error_of_create,
        it_listens_from_the_start_on_and_not_before,
        an_unknown_annotation_is_an_error,
    ]
}

fn it_listens_at_8080_of_both_versions_of_ip(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    assert_eq!(server.get("/hello").text(), "hello\n");
    let mut client = Client::of(server.try_connect_to("[::1]:8080".parse().unwrap()).unwrap());
    client.send(get("/hello").as_bytes());
    assert_eq!(client.response("GET").status, 200);
    server.stop();
}

fn the_environment_says_another_port(namespace: &Namespace<'_>) {
    let server = Server::start_with(namespace, &[], &["--env", "PORT=9001"], 9001);
    assert_eq!(server.get("/env?PORT").text(), "9001");
    server.stop();
    let address = "WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:9002";
    let server = Server::start_with(namespace, &[], &["--env", address], 9002);
    assert_eq!(server.get("/hello").status, 200);
    assert!(server.try_connect_to("[::1]:9002".parse().unwrap()).is_err(), "that address only");
    server.stop();
}

fn a_port_that_is_none_is_an_error_of_create(namespace: &Namespace<'_>) {
    let output = namespace.run_with(&image(), &["--env", "PORT=http"], &[], b"");
    let errors = output.expect_failure();
    assert!(errors.contains("process.env PORT=\"http\""), "{errors}");
}

fn an_address_in_use_is_an_error_of_create(namespace: &Namespace<'_>) {
    let network = NetworkNamespace::make("taken");
    let _taken = network.within(|| std::net::TcpListener::bind("0.0.0.0:8080")).unwrap();
    let flag = format!("network:{}", network.path().display());
    let errors = namespace.run_with(&image(), &["--with-ns", &flag], &[], b"").expect_failure();
    assert!(errors.contains("listen for HTTP at :8080"), "{errors}");
    assert!(errors.contains("in use"), "{errors}");
}

/// Connections that come before Start wait for it, as they do for any server that is slow to accept.
fn it_listens_from_the_start_on_and_not_before(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    // `ctr run` returns when Start does: no waiting, no second try.
    assert_eq!(server.get("/hello").status, 200);
    server.stop();
}

fn an_unknown_annotation_is_an_error(namespace: &Namespace<'_>) {
    let flags = ["--annotation", "io.lighter.http.timeout=1s"];
    let errors = namespace.run_with(&image(), &flags, &[], b"").expect_failure();
    assert!(errors.contains("io.lighter.http.timeout"), "{errors}");
}
