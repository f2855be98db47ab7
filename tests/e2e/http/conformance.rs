//! HTTP/1.1 as RFC 9110 and RFC 9112 have it: a table of requests as they are written, and what comes back.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::server::{Client, Server, get};
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![each_case_of_the_table]
}

type Case = (&'static str, fn(&Server<'_>));

const CASES: &[Case] = &[
    // Methods.
    ("GET", |server| {
        let response = server.get("/hello");
        assert_eq!((response.status, response.text().as_str()), (200, "hello\n"));
        assert_eq!(response.version, "HTTP/1.1");
        assert!(response.header("date").is_some());
    }),
    ("HEAD has the headers and no body", |server| {
        let mut client = Client::of(server.connect());
        client.send(b"HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response("HEAD");
        assert_eq!((response.status, response.header("content-length")), (200, Some("6")));
        // What follows is the next answer, and no body.
        client.send(get("/hello").as_bytes());
        assert_eq!(client.response("GET").text(), "hello\n");
    }),
    ("HEAD of a long body", |server| {
        let mut client = Client::of(server.connect());
        client.send(b"HEAD /bytes?1000000 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response("HEAD").status, 200);
        client.send(get("/hello").as_bytes());
        assert_eq!(client.response("GET").text(), "hello\n");
    }),
    ("POST, PUT, PATCH, DELETE and OPTIONS arrive as they are", |server| {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let request =
                format!("{method} /describe HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            let text = server.ask(&request).text();
            assert!(text.starts_with(&format!("{method} http a /describe\n")), "{text}");
        }
    }),
    ("a method of one's own", |server| {
        let text = server.ask("BREW /describe HTTP/1.1\r\nHost: a\r\n\r\n").text();
        assert!(text.starts_with("BREW "), "{text}");
    }),
    ("OPTIONS *", |server| {
        assert_eq!(server.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }),
    ("CONNECT is refused", |server| {
        assert_eq!(server.ask("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").status, 501);
    }),
    // Targets and headers.
    ("path and query arrive as they are", |server| {
        let target = "/describe?a=%20b&c=d/../e";
        let text = server.get(target).text();
        assert!(text.starts_with(&format!("GET http web.test {target}\n")), "{text}");
    }),
    ("an absolute target", |server| {
        let request = "GET http://other.test/describe HTTP/1.1\r\nHost: other.test\r\n\r\n";
        let text = server.ask(request).text();
        assert!(text.starts_with("GET http other.test /describe\n"), "{text}");
    }),
    ("a long target", |server| {
        let target = format!("/describe?{}", "x".repeat(8000));
        let text = server.get(&target).text();
        assert!(text.contains(&target));
    }),
    ("headers arrive, the same name twice, too", |server| {
        let request =
            "GET /describe HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-two:  2  \r\nX-One: 3\r\n\r\n";
        let text = server.ask(request).text();
        for line in ["x-one: 1\n", "x-one: 3\n", "x-two: 2\n"] {
            assert!(text.contains(line), "{text}");
        }
    }),
    ("headers of the connection are not the guest's", |server| {
        let text = server.ask("GET /describe HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\n\r\n").text();
        assert!(!text.contains("keep-alive"), "{text}");
    }),
    ("the guest cannot set headers of the connection", |server| {
        assert!(server.get("/header?connection=close").text().contains("Forbidden"));
        assert_eq!(server.get("/header?x-own=1").header("x-own"), Some("1"));
    }),
    ("a header with an empty value", |server| {
        let text = server.ask("GET /describe HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n").text();
        assert!(text.contains("x-empty: \n"), "{text}");
    }),
    // Host.
    ("no Host", |server| {
        assert_eq!(server.ask("GET /hello HTTP/1.1\r\n\r\n").status, 400);
    }),
    ("two Hosts", |server| {
        assert_eq!(server.ask("GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    }),
    ("a Host that is none", |server| {
        assert_eq!(server.ask("GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n").status, 400);
    }),
    ("HTTP/1.0 without Host", |server| {
        let mut client = Client::of(server.connect());
        client.send(b"GET /describe HTTP/1.0\r\n\r\n");
        let response = client.response("GET");
        assert!(response.text().starts_with("GET http 127.0.0.1:8080 /describe\n"), "{response:?}");
        assert!(client.is_closed());
    }),
    // Bodies.
    ("a body with its length", |server| {
        let response =
            server.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(response.text(), "hello");
    }),
    ("an empty body", |server| {
        let response = server.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!((response.status, response.text().as_str()), (200, ""));
    }),
    ("a body in chunks", |server| {
        let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                       5\r\nhello\r\n1;extension=1\r\n \r\n5\r\nworld\r\n0\r\n\r\n";
        assert_eq!(server.ask(request).text(), "hello world");
    }),
    ("trailers come in and go out", |server| {
        let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
                       Trailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n";
        let response = server.ask(request);
        assert_eq!(response.text(), "hi");
        assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
        let request = "GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n";
        let response = server.ask(request);
        assert_eq!(response.trailers, [("x-sum".to_owned(), "42".to_owned())]);
    }),
    ("trailers are left out for who does not want them", |server| {
        let mut client = Client::of(server.connect());
        for _ in 0..2 {
            client.send(get("/trailers").as_bytes());
            let response = client.response("GET");
            assert_eq!((response.text().as_str(), response.trailers), ("with trailers\n", vec![]));
        }
    }),
    ("bodies of many sizes to the guest", |server| {
        for size in [1, 4095, 4096, 4097, 65_536, 1_000_000] {
            let mut client = Client::of(server.connect());
            let head = format!("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
            client.send(head.as_bytes());
            client.send(&vec![1; size]);
            assert_eq!(client.response("POST").text(), format!("{size} {size}\n"));
        }
    }),
    ("bodies of many sizes from the guest, with and without their length", |server| {
        for size in [0, 1, 4096, 4097, 1_000_000] {
            let chunked = server.get(&format!("/bytes?{size}"));
            assert_eq!(chunked.body, vec![b'x'; size]);
            let sized = server.get(&format!("/sized?{size}"));
            assert_eq!(sized.header("content-length"), Some(size.to_string().as_str()));
            assert_eq!(sized.body.len(), size);
        }
    }),
    ("a large body both ways at once", |server| {
        const SIZE: usize = 32 << 20;
        let stream = server.connect();
        let mut writer = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
            writer.write_all(head.as_bytes()).unwrap();
            let piece = vec![b'y'; 1 << 16];
            for _ in 0..SIZE >> 16 {
                writer.write_all(&piece).unwrap();
            }
        });
        let response = Client::of(stream).response("POST");
        sending.join().unwrap();
        assert_eq!(response.body.len(), SIZE);
        assert!(response.body.iter().all(|byte| *byte == b'y'));
    }),
    ("a body streams before it is whole", |server| {
        let mut client = Client::of(server.connect());
        client.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        );
        let mut seen = Vec::new();
        while !seen.ends_with(b"first\r\n") {
            let mut piece = [0; 256];
            let read = client.0.read(&mut piece).unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&seen));
            seen.extend(&piece[..read]);
        }
        client.send(b"4\r\nlast\r\n0\r\n\r\n");
        let mut rest = Vec::new();
        while !rest.ends_with(b"0\r\n\r\n") {
            let mut piece = [0; 256];
            let read = client.0.read(&mut piece).unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&rest));
            rest.extend(&piece[..read]);
        }
        assert!(String::from_utf8_lossy(&rest).contains("last"));
    }),
    ("an answer streams before it is whole", |server| {
        let mut client = Client::of(server.connect());
        let begin = Instant::now();
        client.send(get("/drip?8").as_bytes());
        let mut seen = Vec::new();
        while !seen.ends_with(b"0\n\r\n") {
            let mut byte = [0];
            client.0.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        assert!(begin.elapsed() < Duration::from_millis(700), "{:?}", begin.elapsed());
    }),
    ("a body that the guest does not read", |server| {
        let request = "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(server.ask(request).text(), "ignored\n");
    }),
    ("an answer of the wrong length is cut off, not made up", |server| {
        let mut client = Client::of(server.connect());
        client.send(get("/short?100").as_bytes());
        assert!(client.try_response("GET").is_err());
    }),
    ("204 and 304 have no body", |server| {
        for status in [204, 304] {
            let mut client = Client::of(server.connect());
            client.send(get(&format!("/status?{status}")).as_bytes());
            assert_eq!(client.response("GET").status, status);
            client.send(get("/hello").as_bytes());
            assert_eq!(client.response("GET").text(), "hello\n");
        }
    }),
    ("the guest's status is the answer's", |server| {
        for status in [200, 201, 301, 404, 418, 500, 503] {
            assert_eq!(server.get(&format!("/status?{status}")).status, status);
        }
    }),
    // Expect.
    ("Expect: 100-continue is answered when the guest reads", |server| {
        let mut client = Client::of(server.connect());
        client.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(client.response("POST").status, 100);
        client.send(b"hello");
        assert_eq!(client.response("POST").text(), "hello");
    }),
    ("Expect: 100-continue needs no body if the guest reads none", |server| {
        let mut client = Client::of(server.connect());
        client.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.response("POST").status, 200);
    }),
    // Connections.
    ("a connection is kept for the next request", |server| {
        let mut client = Client::of(server.connect());
        for _ in 0..20 {
            client.send(get("/hello").as_bytes());
            assert_eq!(client.response("GET").text(), "hello\n");
        }
    }),
    ("Connection: close closes", |server| {
        let mut client = Client::of(server.connect());
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let response = client.response("GET");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed());
    }),
    ("HTTP/1.0 keeps a connection if it is asked for", |server| {
        let mut client = Client::of(server.connect());
        for _ in 0..2 {
            client.send(b"GET /hello HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
            assert_eq!(client.response("GET").text(), "hello\n");
        }
    }),
    ("requests sent at once are answered in their order", |server| {
        let mut client = Client::of(server.connect());
        let all: String = (0..10).map(|i| get(&format!("/describe?{i}"))).collect();
        client.send(all.as_bytes());
        for i in 0..10 {
            let text = client.response("GET").text();
            assert!(text.contains(&format!("/describe?{i}\n")), "{text}");
        }
    }),
    ("a request in single bytes", |server| {
        let mut client = Client::of(server.connect());
        for byte in get("/hello").bytes() {
            client.send(&[byte]);
        }
        assert_eq!(client.response("GET").text(), "hello\n");
    }),
    ("empty lines before a request", |server| {
        assert_eq!(server.ask(&format!("\r\n\r\n{}", get("/hello"))).status, 200);
    }),
    ("a client that leaves before the answer harms nobody", |server| {
        for _ in 0..10 {
            let mut client = Client::of(server.connect());
            client.send(get("/sleep?50").as_bytes());
        }
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("a client that leaves in the middle of its body", |server| {
        let mut client = Client::of(server.connect());
        client.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
        drop(client);
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("a client that leaves in the middle of the answer", |server| {
        let mut client = Client::of(server.connect());
        client.send(get("/drip?100").as_bytes());
        client.0.read_exact(&mut [0; 64]).unwrap();
        drop(client);
        server.logs("nobody reads any more");
    }),
    ("a connection without a request harms nobody", |server| {
        let _idle: Vec<_> = (0..50).map(|_| server.connect()).collect();
        assert_eq!(server.get("/hello").status, 200);
    }),
    // What is refused.
    ("no HTTP at all", |server| {
        assert_eq!(server.ask("HELLO\r\n\r\n").status, 400);
    }),
    ("a header without a colon", |server| {
        assert_eq!(server.ask("GET /hello HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n").status, 400);
    }),
    ("a space before the colon", |server| {
        assert_eq!(server.ask("GET /hello HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n").status, 400);
    }),
    ("a null byte in a header", |server| {
        assert_eq!(server.ask("GET /hello HTTP/1.1\r\nHost: a\r\nX-A: \0\r\n\r\n").status, 400);
    }),
    ("two different lengths", |server| {
        let request =
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(server.ask(request).status, 400);
    }),
    ("a length that is no number", |server| {
        for length in ["-1", "+1", "1x", "99999999999999999999999"] {
            let request =
                format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\na");
            assert_eq!(server.ask(&request).status, 400, "{length}");
        }
    }),
    ("a length beside chunks does not smuggle a request in", |server| {
        let mut client = Client::of(server.connect());
        client.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
              0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        let first = client.response("POST");
        // Refused, or by its chunks, and then the connection's other bytes are a request of their own or nothing.
        assert!(first.status == 400 || first.text().is_empty(), "{first:?}");
    }),
    ("an encoding that nobody knows", |server| {
        let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: wonder\r\n\r\n";
        let status = server.ask(request).status;
        assert!([400, 501].contains(&status), "{status}");
    }),
    ("a chunk size that is no number breaks the body off", |server| {
        let mut client = Client::of(server.connect());
        client
            .send(b"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
        let status = client.response("POST").status;
        assert_eq!(status, 400);
    }),
    ("heads that two readers could read in two ways", |server| {
        for head in [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: 5 6",
            "Content-Length: 0x5",
            "Content-Length: 5\r\nContent-Length:",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding\t: chunked",
            " Transfer-Encoding: chunked",
            "X-A: 1\r\n folded: 2",
            "X-A: 1\rX-B: 2",
            "X\0A: 1",
            "X A: 1",
            "\u{e9}: 1",
            ": 1",
        ] {
            refuses(server, &format!("POST /count HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n"));
        }
        for line in [
            "GET /\0 HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET  / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET / HTTP/1.2",
            "GET / HTTP/01.1",
            "GET / http/1.1",
            "GET /",
            " GET / HTTP/1.1",
            "GE(T / HTTP/1.1",
        ] {
            refuses(server, &format!("{line}\r\nHost: a\r\n\r\n"));
        }
    }),
    ("chunks that two readers could read in two ways", |server| {
        for chunks in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nX A: 1\r\n\r\n",
        ] {
            let head = "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            refuses(server, &format!("{head}{chunks}"));
        }
    }),
    ("chunks of HTTP/1.0", |server| {
        refuses(server, "POST /count HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    }),
    ("a chunk's extension without an end", |server| {
        let head = "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;";
        refuses(server, &format!("{head}{}", "x".repeat(100_000)));
    }),
    ("trailers without an end", |server| {
        let head = "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        refuses(server, &format!("{head}{}", "X-A: b\r\n".repeat(50_000)));
    }),
    ("more headers than anybody needs", |server| {
        let many = "A: b\r\n".repeat(2000);
        assert_eq!(
            server.ask(&format!("GET /hello HTTP/1.1\r\nHost: a\r\n{many}\r\n")).status,
            431
        );
    }),
    ("a target without an end", |server| {
        let status = server.ask(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(200_000))).status;
        assert!([414, 431].contains(&status), "{status}");
    }),
    ("a Host beside an absolute target does not count", |server| {
        let request = "GET http://other.test/describe HTTP/1.1\r\nHost: a\r\n\r\n";
        let text = server.ask(request).text();
        assert!(text.starts_with("GET http other.test /describe\n"), "{text}");
    }),
    ("another major version", |server| {
        let mut client = Client::of(server.connect());
        client.send(b"GET /hello HTTP/3.0\r\nHost: a\r\n\r\n");
        let response = client.try_response("GET");
        assert!(response.is_err() || response.is_ok_and(|r| r.status >= 400));
    }),
    ("WebSocket is refused", |server| {
        let request = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert_eq!(server.ask(request).status, 501);
    }),
    ("another upgrade is passed over", |server| {
        let request = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                       HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
        assert_eq!(server.ask(request).text(), "hello\n");
    }),
    // What a guest does wrong.
    ("a trap is its request's 500", |server| {
        assert_eq!(server.get("/trap").status, 500);
        server.logs("GET /trap: guest trapped: it reached an `unreachable` instruction\nbacktrace");
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("a stack that overflows is its request's 500", |server| {
        assert_eq!(server.get("/recurse").status, 500);
        // Its own stack, which is below all else in its memory, ends before the engine's.
        server.logs("GET /recurse: guest trapped: out of bounds memory access\nbacktrace");
        server.logs("web::recurse");
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("memory that is used up is its request's 500", |server| {
        assert_eq!(server.get("/exhaust").status, 500);
        server.logs("GET /exhaust: guest ran out of memory: it wanted a total of 128.");
        server.logs(", and may have 128 MiB for each request");
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("a panic is its request's 500", |server| {
        assert_eq!(server.get("/panic").status, 500);
        server.logs("as asked\n");
        server
            .logs("GET /panic: guest trapped: it reached an `unreachable` instruction\nbacktrace");
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("a trap after the beginning of the answer cuts it off", |server| {
        let mut client = Client::of(server.connect());
        client.send(get("/late-trap").as_bytes());
        assert!(client.try_response("GET").is_err());
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("an answer that is left unfinished is cut off", |server| {
        for target in ["/leave", "/leave?300", "/drop"] {
            let mut client = Client::of(server.connect());
            client.send(get(target).as_bytes());
            assert!(client.try_response("GET").is_err(), "{target}");
            let path = target.split('?').next().unwrap();
            server.logs(&format!("GET {path}: the guest left its answer unfinished\n"));
        }
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("an answer that is left unfinished does not look whole to HTTP/1.0", |server| {
        for target in ["/leave", "/late-trap"] {
            let mut client = Client::of(server.connect());
            client.send(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
            assert!(client.try_response("GET").is_err(), "{target}");
        }
        let mut client = Client::of(server.connect());
        client.send(b"GET /bytes?10000 HTTP/1.0\r\n\r\n");
        assert_eq!(client.response("GET").body.len(), 10_000);
    }),
    ("no answer is 500", |server| {
        assert_eq!(server.get("/silent").status, 500);
        server.logs("GET /silent: the guest gave no answer");
    }),
    ("an error for an answer is 500", |server| {
        assert_eq!(server.get("/error").status, 500);
    }),
    ("exit is the request's end, and not the server's", |server| {
        assert_eq!(server.get("/exit").status, 500);
        server.logs("GET /exit: the guest exited before it was done\n");
        assert_eq!(server.get("/hello").status, 200);
    }),
    ("a guest may go on after its answer", |server| {
        let begin = Instant::now();
        assert_eq!(server.get("/after?400").text(), "answered\n");
        assert!(begin.elapsed() < Duration::from_millis(350), "{:?}", begin.elapsed());
        server.logs("went on after the answer");
    }),
    ("what it logs is in the container's log", |server| {
        assert_eq!(server.get("/log?remember-this").status, 200);
        server.logs("remember-this\n");
    }),
    ("files are the container's", |server| {
        assert_eq!(server.get("/write?kept").text(), "ok");
        assert_eq!(server.get("/read").text(), "kept");
    }),
    ("many at the same time", |server| {
        let begin = Instant::now();
        let mut clients: Vec<_> = (0..40).map(|_| Client::of(server.connect())).collect();
        clients.iter_mut().for_each(|client| client.send(get("/sleep?300").as_bytes()));
        for client in &mut clients {
            assert_eq!(client.response("GET").text(), "slept\n");
        }
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    }),
];

/// That `request` is refused, or breaks off, and no other is found in what follows it.
#[track_caller]
fn refuses(server: &Server<'_>, request: &str) {
    let mut client = Client::of(server.connect());
    // It may be refused before it is whole.
    let _ = client.try_send(format!("{request}{}", get("/hello")).as_bytes());
    let mut all = Vec::new();
    let _ = client.0.read_to_end(&mut all);
    let all = String::from_utf8_lossy(&all);
    let refused = all.is_empty()
        || all.starts_with("HTTP/1.1 4")
        || all.starts_with("HTTP/1.0 4")
        || all.starts_with("HTTP/1.1 501");
    assert!(refused && all.matches("HTTP/1.").count() <= 1, "{request:?}: {all}");
}

fn each_case_of_the_table(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[]);
    let failed: Vec<&str> = CASES
        .iter()
        .filter(|(_, case)| catch_unwind(AssertUnwindSafe(|| case(&server))).is_err())
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "{failed:#?} failed of {}; log: {}", CASES.len(), server.log());
    server.stop();
}
