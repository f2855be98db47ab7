//! What can be seen of a server from outside: its health and metrics, its access log, its traces.
//!
//! | file | what |
//! |---|---|
//! | `record` | what is known of one request, from its head to the end of its answer |
//! | `counters` | what is counted, by each thread for itself |
//! | `exposition` | the counters as Prometheus reads them |
//! | `admin` | the listener that answers for health and metrics |
//! | `access` | the access log |
//! | `context` | W3C trace context |
//! | `otlp/` | spans, for a collector |
//! | `local` | what each thread has for itself |
//! | `background` | the thread that does all that no request should wait for |
//!
//! With all of it off, a request is asked for one header more, and there is no thread.

mod access;
mod admin;
mod background;
mod context;
mod counters;
mod exposition;
mod local;
mod otlp;
mod record;

use std::convert::Infallible;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use lighter::plan::{Guest, HttpSetting};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, WasiBody};

use super::bodies::Outgoing;
use super::serve::Client;
use super::{Common, Output};

pub(super) use background::Background;
pub(super) use counters::Failed;
pub(super) use record::{Record, Seen};

use context::{Context, TRACEPARENT, TRACESTATE};
use counters::{Count, Counters, Refused};
use otlp::{Client as Made, Settings, Span, Tracer};
use record::{Done, End};

/// What is to be seen, and where it goes.
pub(super) struct Observer {
    /// There is somebody to ask for them.
    counters: Option<Counters>,
    log: Option<Log>,
    tracer: Option<Tracer>,
    draining: AtomicBool,
}

/// Which requests are logged, and where they wait for that.
struct Log {
    /// One of so many.
    one_of: u64,
    lines: mpsc::Sender<Done>,
}

/// An answer that is the server's own, and not the guest's: among its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours;

/// A client's connection.
pub(super) struct Connection {
    peer: Option<SocketAddr>,
    /// If it is counted.
    observer: Option<Arc<Observer>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            observer.count(Count::Closed, 1);
        }
    }
}

/// How many threads there may be for it: one that does it, and one that looks up the collector's name.
pub(super) fn threads(guest: &Guest) -> usize {
    let spans = Settings::read(&guest.env, &guest.entrypoint.name);
    let sends = spans.is_ok_and(|settings| settings.is_some());
    let tells = guest.http.admin.is_some() || guest.http.get(HttpSetting::AccessLog) > 0;
    usize::from(tells || sends) + usize::from(sends)
}

impl Observer {
    /// What `guest` asks for, and what is to be done about it beside the requests.
    pub(super) fn new(
        guest: &Guest,
        admin: Option<TcpListener>,
        error: &Output,
    ) -> (Arc<Self>, Background) {
        let one_of = guest.http.get(HttpSetting::AccessLog);
        let (log, lines) = match one_of {
            0 => (None, None),
            _ => {
                let (sender, lines) = mpsc::channel(access::QUEUE);
                (Some(Log { one_of, lines: sender }), Some(lines))
            }
        };
        let settings = Settings::read(&guest.env, &guest.entrypoint.name).unwrap_or_else(|why| {
            // A server is not kept from serving by what it is watched with.
            error.say(&format!("lighter: no spans are made: {why}\n"));
            None
        });
        let (tracer, spans) = match settings {
            None => (None, None),
            Some(settings) => {
                let (tracer, spans) = Tracer::new(&settings);
                (Some(tracer), Some((spans, settings)))
            }
        };
        let counters = admin.is_some().then(Counters::new);
        let observer = Self { counters, log, tracer, draining: false.into() };
        (Arc::new(observer), Background { admin, lines, spans })
    }

    /// Notes a connection, until what is returned is dropped.
    pub(super) fn connect(self: &Arc<Self>, stream: &TcpStream) -> Connection {
        self.count(Count::Opened, 1);
        let peer = if self.tells() { stream.peer_addr().ok() } else { None };
        Connection { peer, observer: self.counters.is_some().then(|| Arc::clone(self)) }
    }

    /// Notes that no more connections are taken.
    pub(super) fn drains(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Notes an instance that is to serve: a fresh one, or one that has served before.
    pub(super) fn instance(&self, is_fresh: bool) {
        self.count(if is_fresh { Count::Created } else { Count::Reused }, 1);
    }

    fn count(&self, count: Count, much: u64) {
        if let Some(counters) = &self.counters {
            counters.add(count, much);
        }
    }

    /// Whether single requests are told of.
    fn tells(&self) -> bool {
        self.log.is_some() || self.tracer.is_some()
    }

    /// Notes a request; `None` if nobody wants to know.
    fn begin(
        self: &Arc<Self>,
        connection: &Connection,
        request: &mut Request<Incoming>,
    ) -> Option<Arc<Record>> {
        let received = context::received(request.headers());
        if self.counters.is_none() && !self.tells() && received.is_none() {
            return None;
        }
        let tracer = self.tracer.as_ref();
        let span = tracer.map(|tracer| tracer.begin(received.as_ref(), request.headers_mut()));
        let record = Arc::new(Record::new(self, connection.peer, request, received, span));
        request.extensions_mut().insert(Arc::clone(&record));
        Some(record)
    }

    /// Counts what is done, and hands it on to those who write and send it.
    fn done(&self, done: &Done) {
        let record = &done.record;
        if let Some(counters) = &self.counters {
            counters.request(&record.method, record.status(), done.took);
            counters.add(Count::BytesIn, record.bytes_in());
            counters.add(Count::BytesOut, record.bytes_out());
            if let Some(why) = refusal(record) {
                counters.refused(why);
            }
        }
        if let Some(Log { one_of, lines }) = &self.log
            && local::is_turn(*one_of)
            && lines.try_send(done.clone()).is_err()
        {
            self.count(Count::LinesDropped, 1);
        }
        if record.span.is_some_and(Context::is_sampled) {
            self.end(Span::Server(done.clone()));
        }
    }

    fn end(&self, span: Span) {
        if self.tracer.as_ref().is_some_and(|tracer| !tracer.end(span)) {
            self.count(Count::SpansDropped, 1);
        }
    }
}

/// Why the guest did not get a request, if it did not.
fn refusal(record: &Record) -> Option<Refused> {
    if !record.is_ours() || record.failure().is_some() {
        return None;
    }
    match record.status() {
        StatusCode::BAD_REQUEST => Some(Refused::Malformed),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Refused::BodyTooLarge),
        StatusCode::NOT_IMPLEMENTED => Some(Refused::Unsupported),
        StatusCode::SERVICE_UNAVAILABLE => Some(Refused::Busy),
        _ => None,
    }
}

/// Answers a request, and sees what comes of it.
pub(super) async fn answer(
    common: Arc<Common>,
    client: Arc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<Seen<Outgoing>>, Infallible> {
    let record = common.observer.begin(client.seen(), &mut request);
    // If the client leaves, this is dropped before there is an answer.
    let end = record.map(End);
    let answer = super::answer::answer(common, client, request).await?;
    if let Some(End(record)) = &end {
        record.answers(answer.status(), answer.extensions().get::<Ours>().is_some());
    }
    Ok(answer.map(|body| Seen { body, end }))
}

/// What is noted of a request; `None` if nobody wants to know.
pub(super) fn record<B>(request: &Request<B>) -> Option<Arc<Record>> {
    request.extensions().get().cloned()
}

/// Notes that the guest did not serve a request, before anybody can see that.
pub(super) fn fails(record: &Option<Arc<Record>>, why: Failed) {
    if let Some(record) = record {
        record.fails(why);
    }
}

/// The trace that a request belongs to, for lines about it: nothing, or with a comma behind it.
pub(super) fn trace(record: &Option<Arc<Record>>) -> impl fmt::Display {
    fmt::from_fn(move |f| match record.as_ref().and_then(|record| record.context()) {
        Some(context) => write!(f, "trace {}, ", context::Hex(&context.trace)),
        None => Ok(()),
    })
}

/// Sends a request of the guest's, which it makes to serve that of `record`: with its trace, unless it has one.
pub(super) async fn sent<T>(
    record: Option<Arc<Record>>,
    mut request: Request<WasiBody>,
    send: impl AsyncFnOnce(Request<WasiBody>) -> Result<(Response<WasiBody>, T), Error>,
) -> Result<(Response<WasiBody>, T), Error> {
    let Some(record) = record else { return send(request).await };
    // A guest that says itself whose child its request is has spans of its own.
    let has_own = request.headers().contains_key(TRACEPARENT);
    let received = record.received.as_ref();
    let made = record.span.filter(|_| !has_own).map(|span| {
        let context = span.child();
        let (method, target) = (request.method().clone(), request.uri().clone());
        (context, method, target, SystemTime::now(), Instant::now())
    });
    let parent = match &made {
        Some((context, ..)) => context.header(),
        None => received.map(|received| received.parent.clone()),
    };
    if let (false, Some(parent)) = (has_own, parent) {
        request.headers_mut().insert(TRACEPARENT, parent);
        if let Some(state) = received.and_then(|received| received.state.clone()) {
            request.headers_mut().insert(TRACESTATE, state);
        }
    }
    let sent = send(request).await;
    let outcome = sent.as_ref().map(|(response, _)| response.status());
    if let Some(counters) = &record.observer.counters {
        counters.outgoing(outcome.as_ref().ok().copied());
    }
    if let Some((context, method, target, at, since)) = made
        && context.is_sampled()
    {
        let outcome = outcome.map_err(name_of);
        let took = since.elapsed();
        let observer = Arc::clone(&record.observer);
        let made = Made { record, context, method, target, at, took, outcome };
        observer.end(Span::Client(Box::new(made)));
    }
    sent
}

/// An error without what differs from one time to the next.
fn name_of(error: &Error) -> String {
    let text = format!("{error:?}");
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text[..end].to_owned()
}
