//! Where a server listens, and when.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::server::{Client, Server, get, image};
use crate::support::containerd::LIMIT;
use crate::support::grpc::{Client as Tasks, Io};
use crate::support::guests;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::netns::NetworkNamespace;
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        it_listens_at_8080_of_both_versions_of_ip,
        the_environment_says_another_port,
        a_port_that_is_none_is_an_error_of_create,
        an_address_in_use_is_an_error_of_create,
        threads_without_room_are_an_error_of_create,
        it_answers_from_the_start_on_and_not_before,
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

fn threads_without_room_are_an_error_of_create(namespace: &Namespace<'_>) {
    // So few would not do to compile it, either.
    Server::start(namespace, &[]).stop();
    let root = directory();
    std::fs::write(root.path().join("web.wasm"), guests::example("web")).unwrap();
    let with = |id: &str, pids: u64, settings: Value| {
        let mut spec = spec(namespace, id, root.path(), &["/web.wasm"]);
        spec["linux"]["resources"]["pids"] = json!({ "limit": pids });
        spec["annotations"] = settings;
        spec
    };
    let refuses = |pids: u64, settings: Value, words: &str| {
        let id = unique_id();
        let errors = namespace.run_spec(&with(&id, pids, settings), &id, &[]).expect_failure();
        assert!(errors.contains(words), "{errors}");
    };
    let (none, admin) = (json!({}), json!({"io.lighter.http.admin": ":9090"}));
    refuses(1, none.clone(), "linux.resources.pids.limit is 1: a server needs 2 threads");
    refuses(2, admin.clone(), "linux.resources.pids.limit is 2: a server needs 3 threads");
    for (pids, settings) in [(2, none), (3, admin)] {
        let id = unique_id();
        let server = Server::start_spec(namespace, &with(&id, pids, settings), &id);
        assert_eq!(server.get("/hello").status, 200);
        // There is no thread for files.
        assert_eq!(server.get("/open?/none").text(), "entity not found");
        server.stop();
    }
}

/// Connections that come before Start wait for it, as they do for any server that is slow to accept.
fn it_answers_from_the_start_on_and_not_before(namespace: &Namespace<'_>) {
    let network = NetworkNamespace::make("early");
    let (id, flag) = (unique_id(), format!("network:{}", network.path().display()));
    namespace.create_container(&image(), &id, &["--with-ns", &flag], &[]);
    let tasks = Tasks::of(namespace);
    tasks.create(&id, &Io::default()).unwrap();
    let connect = || network.within(|| TcpStream::connect("127.0.0.1:8080")).expect("it listens");
    let early = connect();
    early.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let mut early = Client::of(early);
    early.send(get("/hello").as_bytes());
    let answered = early.try_response("GET").unwrap_err().kind();
    assert_eq!(answered, io::ErrorKind::WouldBlock, "before the start");

    tasks.start(&id, "").unwrap();
    // No waiting, and no second try.
    let mut late = Client::of(connect());
    for client in [&mut late, &mut early] {
        client.0.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    }
    late.send(get("/hello").as_bytes());
    assert_eq!(late.response("GET").status, 200);
    assert_eq!(early.response("GET").status, 200);

    drop((early, late));
    tasks.kill(&id, "", 15, false).unwrap();
    assert_eq!(tasks.wait(&id, "").unwrap(), 0);
    tasks.delete(&id).unwrap();
    namespace.ctr(&["containers", "delete", &id]).expect_success();
}

fn an_unknown_annotation_is_an_error(namespace: &Namespace<'_>) {
    let flags = ["--annotation", "io.lighter.http.timeout=1s"];
    let errors = namespace.run_with(&image(), &flags, &[], b"").expect_failure();
    assert!(errors.contains("io.lighter.http.timeout"), "{errors}");
}
