//! Spans as OTLP has them, with the attributes of OpenTelemetry's semantic conventions for HTTP (stable since 1.23).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::uri::Authority;
use http::{HeaderValue, Version};

use super::super::context::Context;
use super::super::counters::METHODS;
use super::super::record::{Done, Record};
use super::message::{Field, Value};
use super::{Client, Span};

/// Of the message `Span`.
const KIND_SERVER: u64 = 2;
const KIND_CLIENT: u64 = 3;
const STATUS_ERROR: u64 = 2;

/// The message `ExportTraceServiceRequest` with these.
pub(super) fn request(resource: &[(String, String)], spans: &[Span]) -> Vec<Field> {
    let mut attributes = Attributes::default();
    resource.iter().for_each(|(key, value)| attributes.text(key, value));
    let scope = vec![
        Field(1, "name", Value::Text("lighter".into())),
        Field(2, "version", Value::Text(env!("CARGO_PKG_VERSION").into())),
    ];
    let spans = spans.iter().map(|span| match span {
        Span::Server(done) => server(done),
        Span::Client(client) => of_client(client),
    });
    let scope_spans = vec![
        Field(1, "scope", Value::Message(scope)),
        Field(2, "spans", Value::Repeated(spans.collect())),
    ];
    let resource_spans = vec![
        Field(1, "resource", Value::Message(vec![Field(1, "attributes", attributes.value())])),
        Field(2, "scopeSpans", Value::Repeated(vec![scope_spans])),
    ];
    vec![Field(1, "resourceSpans", Value::Repeated(vec![resource_spans]))]
}

/// What all spans have.
struct Common<'a> {
    context: Context,
    parent: Option<[u8; 8]>,
    state: Option<&'a HeaderValue>,
    name: &'a str,
    kind: u64,
    at: SystemTime,
    took: Duration,
    failed: bool,
}

fn span(common: Common<'_>, attributes: Attributes) -> Vec<Field> {
    let begin = common.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds =
        |since: Duration| Value::Fixed(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let mut fields = vec![
        Field(1, "traceId", Value::Bytes(common.context.trace.to_vec())),
        Field(2, "spanId", Value::Bytes(common.context.span.to_vec())),
    ];
    if let Some(state) = common.state.and_then(|state| state.to_str().ok()) {
        fields.push(Field(3, "traceState", Value::Text(state.into())));
    }
    if let Some(parent) = common.parent {
        fields.push(Field(4, "parentSpanId", Value::Bytes(parent.to_vec())));
    }
    fields.extend([
        Field(5, "name", Value::Text(common.name.into())),
        Field(6, "kind", Value::Enum(common.kind)),
        Field(7, "startTimeUnixNano", nanoseconds(begin)),
        Field(8, "endTimeUnixNano", nanoseconds(begin + common.took)),
        Field(9, "attributes", attributes.value()),
    ]);
    if common.failed {
        let status = vec![Field(3, "code", Value::Enum(STATUS_ERROR))];
        fields.push(Field(15, "status", Value::Message(status)));
    }
    fields
}

fn server(Done { record, took }: &Done) -> Vec<Field> {
    let mut attributes = Attributes::default();
    let name = attributes.method(record.method.as_str());
    attributes.text("url.path", record.target.path());
    if let Some(query) = record.target.query() {
        attributes.text("url.query", query);
    }
    attributes.text("url.scheme", "http");
    if let Some(host) = host(record) {
        attributes.address(&host);
    }
    let version = match record.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    attributes.text("network.protocol.version", version);
    if let Some(peer) = record.peer {
        let ip = peer.ip().to_canonical().to_string();
        attributes.text("client.address", &ip);
        attributes.text("network.peer.address", &ip);
        attributes.number("network.peer.port", peer.port().into());
    }
    if let Some(agent) = record.user_agent.as_ref().and_then(|agent| agent.to_str().ok()) {
        attributes.text("user_agent.original", agent);
    }
    attributes.number("http.request.body.size", record.bytes_in());
    attributes.number("http.response.body.size", record.bytes_out());
    let status = record.status();
    let failed = record.failure().is_some() || status.is_server_error();
    match record.is_answered() {
        true => attributes.number("http.response.status_code", status.as_u16().into()),
        // Its client left.
        false => attributes.text("error.type", "canceled"),
    }
    match record.failure() {
        Some(failure) => attributes.text("error.type", failure),
        None if failed => attributes.text("error.type", status.as_str()),
        None => {}
    }
    let common = Common {
        // There is one where there are spans.
        context: record.context().unwrap_or_else(Context::random),
        parent: record.received.as_ref().map(|received| received.context.span),
        state: record.received.as_ref().and_then(|received| received.state.as_ref()),
        name,
        kind: KIND_SERVER,
        at: record.at,
        took: *took,
        failed,
    };
    span(common, attributes)
}

fn of_client(client: &Client) -> Vec<Field> {
    let record = &client.record;
    let mut attributes = Attributes::default();
    let name = attributes.method(client.method.as_str());
    attributes.text("url.full", &client.target.to_string());
    if let Some(authority) = client.target.authority() {
        attributes.address(authority);
    }
    let failed = match &client.outcome {
        Ok(status) => {
            attributes.number("http.response.status_code", status.as_u16().into());
            let failed = status.is_client_error() || status.is_server_error();
            if failed {
                attributes.text("error.type", status.as_str());
            }
            failed
        }
        Err(why) => {
            attributes.text("error.type", why);
            true
        }
    };
    let common = Common {
        context: client.context,
        parent: record.context().map(|context| context.span),
        state: record.received.as_ref().and_then(|received| received.state.as_ref()),
        name,
        kind: KIND_CLIENT,
        at: client.at,
        took: client.took,
        failed,
    };
    span(common, attributes)
}

/// As whom the server was asked.
fn host(record: &Record) -> Option<Authority> {
    let of_header = || Authority::try_from(record.host.as_ref()?.as_bytes()).ok();
    record.target.authority().cloned().or_else(of_header)
}

#[derive(Default)]
struct Attributes(Vec<Vec<Field>>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        self.push(key, Field(1, "stringValue", Value::Text(value.into())));
    }

    fn number(&mut self, key: &str, value: u64) {
        self.push(key, Field(3, "intValue", Value::Integer(value)));
    }

    fn push(&mut self, key: &str, value: Field) {
        self.0.push(vec![
            Field(1, "key", Value::Text(key.into())),
            Field(2, "value", Value::Message(vec![value])),
        ]);
    }

    /// Adds the method, and returns the span's name: there is no route to name it by.
    fn method<'a>(&mut self, method: &'a str) -> &'a str {
        if METHODS.contains(&method) {
            self.text("http.request.method", method);
            return method;
        }
        self.text("http.request.method", "_OTHER");
        self.text("http.request.method_original", method);
        "HTTP"
    }

    fn address(&mut self, authority: &Authority) {
        self.text("server.address", authority.host());
        if let Some(port) = authority.port_u16() {
            self.number("server.port", port.into());
        }
    }

    fn value(self) -> Value {
        Value::Repeated(self.0)
    }
}
