//! A collector of OpenTelemetry's spans, which takes JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::server::Server;
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;

pub struct Collector(Arc<Mutex<Vec<Span>>>);

/// One span, with what is looked at.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub trace: String,
    pub id: String,
    /// Empty, if it has none.
    pub parent: String,
    pub name: String,
    pub kind: u64,
    attributes: Vec<(String, String)>,
    times: (u64, u64),
    status: u64,
}

impl Span {
    /// The value of an attribute, which is there once.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut all = self.attributes.iter().filter(|(known, _)| known == key);
        let value = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{key} is there twice: {self:?}");
        value
    }

    pub fn is_error(&self) -> bool {
        self.status == 2
    }

    pub fn took_nanoseconds(&self) -> u64 {
        self.times.1 - self.times.0
    }

    fn read(span: &Value, resource: &Value) -> Self {
        let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| text(key).parse().unwrap();
        let service = attributes(resource).into_iter().find(|(key, _)| key == "service.name");
        Self {
            service: service.unwrap().1,
            trace: text("traceId"),
            id: text("spanId"),
            parent: text("parentSpanId"),
            name: text("name"),
            kind: span["kind"].as_u64().unwrap(),
            attributes: attributes(span),
            times: (number("startTimeUnixNano"), number("endTimeUnixNano")),
            status: span["status"]["code"].as_u64().unwrap_or_default(),
        }
    }
}

fn attributes(of: &Value) -> Vec<(String, String)> {
    let pair = |pair: &Value| {
        let value = pair["value"]["stringValue"].as_str();
        let value = value.or(pair["value"]["intValue"].as_str());
        (pair["key"].as_str().unwrap().to_owned(), value.unwrap().to_owned())
    };
    of["attributes"].as_array().unwrap().iter().map(pair).collect()
}

impl Collector {
    /// One at `address` in the network of `server`'s container.
    pub fn listen(server: &Server<'_>, address: &str) -> Self {
        let listener = server.within(|| TcpListener::bind(address)).unwrap();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&spans);
        // It ends with the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let taken_now = take(stream.unwrap());
                taken.lock().unwrap().extend(taken_now);
            }
        });
        Self(spans)
    }

    pub fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }

    /// The first span of a request for `path`, once it is there.
    #[track_caller]
    pub fn span(&self, path: &str) -> Span {
        self.find(|span| span.get("url.path") == Some(path))
    }

    /// The first that `is` what is looked for, once it is there.
    #[track_caller]
    pub fn find(&self, is: impl Fn(&Span) -> bool) -> Span {
        let find = || self.spans().into_iter().find(&is);
        assert!(eventually(LIMIT, || find().is_some()), "it is not among {:#?}", self.spans());
        find().unwrap()
    }
}

/// The spans of one request, which is answered.
fn take(stream: TcpStream) -> Vec<Span> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let expected = ["post /v1/traces http/1.1", "content-type: application/json", "x-key: secret"];
    for line in expected {
        assert!(head.iter().any(|known| known == line), "{line} is not in {head:?}");
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    reader.get_mut().write_all(answer).unwrap();
    let message: Value = serde_json::from_slice(&body).unwrap();
    let mut spans = Vec::new();
    for of_resource in message["resourceSpans"].as_array().unwrap() {
        for of_scope in of_resource["scopeSpans"].as_array().unwrap() {
            let all = of_scope["spans"].as_array().unwrap().iter();
            spans.extend(all.map(|span| Span::read(span, &of_resource["resource"])));
        }
    }
    spans
}
