//! Servers as each language's own tool makes them: what they get and give is the same in all.
//!
//! Those whose tools are large are asked with `LIGHTER_GUESTS=more` (`make languages`).

use std::fs;

use libtest_mimic::Trial;

use super::server::{Client, Server};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::spec::directory;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let mut tests = trials![a_server_in_python];
    if std::env::var("LIGHTER_GUESTS").as_deref() == Ok("more") {
        tests.extend(trials![a_server_in_javascript, a_server_in_c]);
    }
    tests
}

fn a_server_in_python(namespace: &Namespace<'_>) {
    serves(namespace, "Python", &guests::example("web-python"));
}

fn a_server_in_javascript(namespace: &Namespace<'_>) {
    serves(namespace, "JavaScript", &guests::example("web-js"));
}

fn a_server_in_c(namespace: &Namespace<'_>) {
    serves(namespace, "C", &guests::library(&guests::example("web-c")));
}

fn serves(namespace: &Namespace<'_>, language: &str, component: &[u8]) {
    let dir = directory();
    fs::write(dir.path().join("note"), "from the node\n").unwrap();
    let mount = format!("type=bind,src={},dst=/data,options=rbind:ro", dir.path().display());
    let flags = ["--env", "PORT=9000", "--env", "WORD=ahoy", "--mount", &mount];
    let image = Image::guest("web", component);
    let server = Server::start_image(namespace, &image, &[], &flags, 9000);

    let hello = format!("hello from {language}\n");
    for (target, status, body) in [
        ("/", 200, hello.as_str()),
        ("/env?WORD", 200, "ahoy"),
        ("/file?/data/note", 200, "from the node\n"),
        ("/fetch?http://127.0.0.1:9000/env?WORD", 200, "ahoy"),
        ("/log?mark", 200, "logged\n"),
        ("/nowhere", 404, "no such path\n"),
    ] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{target}");
    }
    server.logs("out: mark\n");
    server.logs("error: mark\n");
    // More than fits into any one buffer.
    let body: String = (0..30_000).map(|line| format!("{line}\n")).collect();
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    assert!(server.ask(&(head + &body)).text() == body, "the body comes back changed");
    // As many as run at the same time, each in an instance of its own.
    let mut clients: Vec<_> = (0..64).map(|_| Client::of(server.connect())).collect();
    clients.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    for client in &mut clients {
        assert_eq!(client.response("GET").text(), hello);
    }
    server.stop();
}
