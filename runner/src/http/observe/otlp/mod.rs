//! OpenTelemetry spans: one for each request, and one for each that the guest makes for it; sent by OTLP over HTTP.
//!
//! As in the access log, requests only leave what is known of them in a queue, and the thread of this part does the rest.

mod export;
mod message;
mod settings;
mod span;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::mpsc;

use super::context::{Context, Received, TRACEPARENT, TRACESTATE};
use super::record::{Done, Record};

pub(super) use export::export;
pub(super) use settings::Settings;

/// Which requests have spans, and where those wait to be sent.
pub(super) struct Tracer {
    sampler: settings::Sampler,
    spans: mpsc::Sender<Span>,
}

/// One that is over.
pub(super) enum Span {
    Server(Done),
    Client(Box<Client>),
}

/// A request that the guest made.
pub(super) struct Client {
    /// To serve this one.
    pub(super) record: Arc<Record>,
    pub(super) context: Context,
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) at: SystemTime,
    /// Until its answer began.
    pub(super) took: Duration,
    /// `Err`: why there was no answer.
    pub(super) outcome: Result<StatusCode, String>,
}

impl Tracer {
    pub(super) fn new(settings: &Settings) -> (Self, mpsc::Receiver<Span>) {
        let (spans, receiver) = mpsc::channel(settings.queue);
        (Self { sampler: settings.sampler, spans }, receiver)
    }

    /// Begins the span of a request, and has the guest see it as its parent.
    pub(super) fn begin(&self, parent: Option<&Received>, headers: &mut HeaderMap) -> Context {
        let context = match parent {
            Some(parent) => parent.context.child(),
            None => {
                // A state without a parent is of no trace.
                headers.remove(TRACESTATE);
                Context::random()
            }
        };
        let context = context.sampled(self.sampler.takes(parent, context));
        if let Some(value) = context.header() {
            headers.insert(TRACEPARENT, value);
        }
        context
    }

    /// Hands a span over; false if it is dropped.
    pub(super) fn end(&self, span: Span) -> bool {
        self.spans.try_send(span).is_ok()
    }
}
