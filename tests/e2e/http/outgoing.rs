//! Requests that a guest makes.

use std::io::{Read, Write};
use std::net::TcpListener;

use libtest_mimic::Trial;

use super::server::Server;
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![a_guest_asks_other_servers, a_guest_asks_at_the_ports_it_is_given]
}

/// A server in the container's own network that answers one request, and returns it.
fn neighbour(server: &Server<'_>, answer: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = server.within(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 512];
            let read = stream.read(&mut piece).unwrap();
            asked.extend(&piece[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&asked).into_owned()
    });
    (port, thread)
}

fn a_guest_asks_other_servers(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (port, asked) = neighbour(&server, answer);
    assert_eq!(server.get(&format!("/fetch?http,127.0.0.1:{port},/a?b=c")).text(), "200 hello");
    let asked = asked.join().unwrap().to_ascii_lowercase();
    assert!(asked.starts_with("get /a?b=c http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{asked}");
    // Nobody there, and no such name.
    let answer = server.get("/fetch?http,127.0.0.1:9,/").text();
    assert!(answer.contains("ConnectionRefused"), "{answer}");
    let answer = server.get("/fetch?http,no-such-name.test,/").text();
    assert!(answer.contains("DnsError"), "{answer}");
    // It may ask itself.
    let answer = server.get("/fetch?http,127.0.0.1:8080,/hello").text();
    assert_eq!(answer, "200 hello\n");
    server.stop();
}

fn a_guest_asks_at_the_ports_it_is_given(namespace: &Namespace<'_>) {
    let settings = [("network.tcp-connect", "8080"), ("network.tcp-bind", "")];
    let server = Server::start(namespace, &settings);
    // Its own port is the runner's to listen at, whatever the guest may listen at itself.
    assert_eq!(server.get("/fetch?http,127.0.0.1:8080,/hello").text(), "200 hello\n");
    for scheme in ["http", "https"] {
        let answer = server.get(&format!("/fetch?{scheme},127.0.0.1:9,/")).text();
        assert!(answer.contains("HttpRequestDenied"), "{answer}");
    }
    server.stop();
}
