//! Servers of WASI 0.3: refused unless they are asked for, and then served as others are.

use std::io::Read;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::server::{Client, Server, get};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        wasi_3_is_refused_unless_it_is_asked_for,
        wasi_3_is_served,
        bodies_of_wasi_3_stream_and_have_trailers,
        what_goes_wrong_in_wasi_3_is_one_requests_affair,
        an_instance_of_wasi_3_serves_several_requests_at_once,
        servers_of_wasi_3_stop_as_others_do,
    ]
}

fn image() -> Image {
    Image::guest("web3", &guests::example("web3"))
}

fn start<'a>(namespace: &'a Namespace<'a>, annotations: &[(&str, &str)]) -> Server<'a> {
    let mut all = vec![("http.p3", "on")];
    all.extend(annotations);
    Server::start_image(namespace, &image(), &all, &[], 8080)
}

fn wasi_3_is_refused_unless_it_is_asked_for(namespace: &Namespace<'_>) {
    for flags in [&[][..], &["--annotation", "io.lighter.http.p3=off"]] {
        let id = unique_id();
        let said = namespace.run_detached(&image(), &id, flags, &[]).expect_failure();
        let sentence = "the component is a server of WASI 0.3, as it exports \"wasi:http/handler@0.3.x\"; what \
            Wasmtime has of it is experimental and gets no security fixes, so it is served only with the annotation \
            io.lighter.http.p3=on, or with p3 = \"on\" in the table [http] of the node's configuration";
        let said = said.replace('\\', "");
        assert!(said.contains(sentence), "{said}");
        namespace.ctr(&["containers", "delete", &id]);
    }
}

fn wasi_3_is_served(namespace: &Namespace<'_>) {
    let server = start(namespace, &[("http.access-log", "on")]);
    let answer = server.get("/hello");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello\n"));
    assert_eq!(answer.header("content-length"), Some("6"));
    assert_eq!(server.get("/status?418").status, 418);
    assert_eq!(server.get("/nowhere").status, 404);
    let described = server.get("/describe?a=b").text();
    let head = "Method::Get Some(Scheme::Http) Some(\"web.test\") Some(\"/describe?a=b\")\n";
    assert!(described.starts_with(head), "{described}");
    // A fresh instance for each.
    assert_eq!(server.get("/requests").text(), "1\n");
    assert_eq!(server.get("/requests").text(), "1\n");
    // Of itself: what is passed on is not the guest's own writing.
    assert_eq!(server.get("/fetch?127.0.0.1:8080/hello").text(), "hello\n");
    assert_eq!(server.get("/fetch?127.0.0.1:8080/status?418").status, 418);
    assert_eq!(server.get("/env?PATH").status, 200);
    assert_eq!(server.get("/after?50").text(), "answered\n");
    server.logs("went on after the answer");
    server.logs("\"GET /status?418 HTTP/1.1\" 418");
    server.stop();

    let server = start(namespace, &[("http.requests-per-instance", "3")]);
    let counted: Vec<_> = (0..4).map(|_| server.get("/requests").text()).collect();
    assert_eq!(counted, ["1\n", "2\n", "3\n", "1\n"]);
    server.stop();
}

fn bodies_of_wasi_3_stream_and_have_trailers(namespace: &Namespace<'_>) {
    let server = start(namespace, &[("http.body-bytes", "1Mi")]);
    let body = "x".repeat(300_000);
    for target in ["/echo", "/copy"] {
        let mut client = Client::of(server.connect());
        client.send(
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
                .as_bytes(),
        );
        // What came is answered before there is more.
        read_until(&mut client, "b\r\n");
        client.send(b"2\r\ncd\r\n0\r\nx-sum: 7\r\n\r\n");
        read_until(&mut client, "d\r\n0\r\nx-sum: 7\r\n\r\n");
    }
    let post = |target: &str, body: &str| {
        server.ask(&format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert_eq!(post("/echo", &body).text(), body);
    assert_eq!(post("/count", &body).text(), "300000\n");
    assert_eq!(post("/count", &body.repeat(4)).status, 413);
    let answer = server.ask("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    assert_eq!(answer.text(), "with trailers\n");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "42".to_owned())]);
    server.stop();
}

/// Reads what comes until it ends with `end`.
fn read_until(client: &mut Client, end: &str) {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let mut byte = [0];
        client.0.read_exact(&mut byte).unwrap_or_else(|e| {
            panic!("{e}, after {:?}", String::from_utf8_lossy(&read));
        });
        read.extend(byte);
    }
}

fn what_goes_wrong_in_wasi_3_is_one_requests_affair(namespace: &Namespace<'_>) {
    let settings = [("http.request-timeout", "1s"), ("http.concurrency", "8")];
    let server = start(namespace, &settings);
    let mut others: Vec<_> = (0..3).map(|_| Client::of(server.connect())).collect();
    for other in &mut others {
        other.send(get("/sleep?400").as_bytes());
    }
    for (target, status, said) in [
        ("/trap", 500, "guest trapped: it reached an `unreachable` instruction"),
        ("/exit", 500, "the guest exited before it was done"),
        ("/error", 500, "the guest answered with an error"),
        ("/sleep?5000", 504, "it took longer than 1s"),
        ("/spin", 504, "it took longer than 1s"),
    ] {
        assert_eq!(server.get(target).status, status, "{target}");
        server.logs(&format!("GET {}: {said}", target.split('?').next().unwrap()));
    }
    for other in &mut others {
        assert_eq!(other.response("GET").text(), "slept\n");
    }
    for target in ["/late-trap", "/late-spin"] {
        let mut client = Client::of(server.connect());
        client.send(get(target).as_bytes());
        assert!(client.try_response("GET").is_err(), "{target}: it looks whole");
    }
    assert_eq!(server.get("/hello").text(), "hello\n");
    server.stop();

    let server = start(namespace, &[("http.cpu-time", "200ms")]);
    assert_eq!(server.get("/spin").status, 504);
    server.logs("it used more than 200ms of processor time");
    assert_eq!(server.get("/hello").text(), "hello\n");
    server.stop();
}

fn an_instance_of_wasi_3_serves_several_requests_at_once(namespace: &Namespace<'_>) {
    // Each by itself, unless it is asked for.
    for (at_once, most) in [("1", 1), ("3", 3)] {
        let settings = [("http.requests-at-once", at_once), ("http.requests-per-instance", "100")];
        let server = start(namespace, &settings);
        let mut clients: Vec<_> = (0..3).map(|_| Client::of(server.connect())).collect();
        for client in &mut clients {
            client.send(get("/together?300").as_bytes());
        }
        let together = clients.iter_mut().map(|client| client.response("GET").text());
        let together = together.map(|text| text.trim().parse::<u32>().unwrap()).max();
        assert_eq!(together, Some(most), "at once: {at_once}");
        server.stop();
    }
    let settings = [
        ("http.requests-at-once", "3"),
        ("http.requests-per-instance", "100"),
        ("http.request-timeout", "1s"),
    ];
    let server = start(namespace, &settings);
    let begin = |target: &str| {
        let mut client = Client::of(server.connect());
        client.send(get(target).as_bytes());
        std::thread::sleep(Duration::from_millis(100));
        client
    };
    // What ends an instance ends all that it is at.
    let mut beside = begin("/sleep?800");
    assert_eq!(server.get("/trap").status, 500);
    assert_eq!(beside.response("GET").status, 500);
    assert_eq!(server.get("/requests").text(), "1\n");
    // One that takes too long is the last that it takes, and ends nobody else.
    let mut late = begin("/sleep?3000");
    let started = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    beside = begin("/sleep?800");
    assert_eq!(late.response("GET").status, 504);
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    assert_eq!(server.get("/requests").text(), "1\n");
    assert_eq!(beside.response("GET").text(), "slept\n");
    server.stop();
}

fn servers_of_wasi_3_stop_as_others_do(namespace: &Namespace<'_>) {
    let server = start(namespace, &[]);
    let mut client = Client::of(server.connect());
    client.send(get("/sleep?700").as_bytes());
    std::thread::sleep(Duration::from_millis(100));
    let begin = Instant::now();
    server.signal("SIGTERM");
    assert_eq!(client.response("GET").text(), "slept\n");
    assert!(begin.elapsed() > Duration::from_millis(300));
    server.expect_status(0);

    let server = start(namespace, &[("http.grace", "100ms")]);
    client = Client::of(server.connect());
    client.send(get("/sleep?5000").as_bytes());
    std::thread::sleep(Duration::from_millis(100));
    server.signal("SIGTERM");
    server.expect_status(143);
}
