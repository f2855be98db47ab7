//! Collectors of OpenTelemetry's spans: one that takes JSON, and one that takes protobuf, at the second time.

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

/// A request's head, line by line in small letters, and its body.
fn read(reader: &mut BufReader<TcpStream>) -> (Vec<String>, Vec<u8>) {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (head, body)
}

/// The spans of one request, which is answered.
fn take(stream: TcpStream) -> Vec<Span> {
    let mut reader = BufReader::new(stream);
    let (head, body) = read(&mut reader);
    let expected = ["post /v1/traces http/1.1", "content-type: application/json", "x-key: secret"];
    for line in expected {
        assert!(head.iter().any(|known| known == line), "{line} is not in {head:?}");
    }
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

/// What `opentelemetry/proto/collector/trace/v1` calls `ExportTraceServiceRequest`, as far as it is looked at.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Export {
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<OfResource>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OfResource {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<OfScope>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OfScope {
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Written>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Written {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(int32, tag = "6")]
    pub kind: i32,
    #[prost(fixed64, tag = "7")]
    pub start: u64,
    #[prost(fixed64, tag = "8")]
    pub end: u64,
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AnyValue {
    #[prost(string, tag = "1")]
    pub text: String,
    #[prost(int64, tag = "3")]
    pub number: i64,
}

fn value(attributes: &[Attribute], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?;
    Some(if value.text.is_empty() { value.number.to_string() } else { value.text.clone() })
}

impl Resource {
    pub fn get(&self, key: &str) -> Option<String> {
        value(&self.attributes, key)
    }
}

impl Written {
    pub fn get(&self, key: &str) -> Option<String> {
        value(&self.attributes, key)
    }
}

/// Is not ready for the first request, and takes the second; returns both.
pub fn refuse_once(listener: &TcpListener) -> (Export, Export) {
    let take = |answer: &str| {
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        let (head, body) = read(&mut reader);
        let kind = "content-type: application/x-protobuf";
        assert!(head.iter().any(|line| line == kind), "{head:?}");
        let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        reader.get_mut().write_all(head.as_bytes()).unwrap();
        prost::Message::decode(&body[..]).unwrap()
    };
    (take("503 Service Unavailable"), take("200 OK"))
}
