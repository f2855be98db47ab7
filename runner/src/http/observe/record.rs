//! What is known of one request, from its head to the end of its answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::Observer;
use super::context::{Context, Received};
use super::counters::{FAILED, Failed};

/// One request.
pub(in crate::http) struct Record {
    pub(super) observer: Arc<Observer>,
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) version: Version,
    pub(super) referer: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) host: Option<HeaderValue>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) at: SystemTime,
    began: Instant,
    /// What its sender says of itself.
    pub(super) received: Option<Received>,
    /// Its own span, if there are spans.
    pub(super) span: Option<Context>,
    status: AtomicU16,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// The number of [`Failed`], plus one.
    failed: AtomicU8,
    /// The answer is the server's, and not the guest's.
    ours: AtomicBool,
}

/// One that is done.
#[derive(Clone)]
pub(super) struct Done {
    pub(super) record: Arc<Record>,
    pub(super) took: Duration,
}

impl Record {
    pub(super) fn new(
        observer: &Arc<Observer>,
        peer: Option<SocketAddr>,
        request: &Request<Incoming>,
        received: Option<Received>,
        span: Option<Context>,
    ) -> Self {
        // Only what somebody will ask for.
        let header = |name| match observer.tells() {
            true => request.headers().get(name).cloned(),
            false => None,
        };
        Self {
            observer: Arc::clone(observer),
            method: request.method().clone(),
            target: request.uri().clone(),
            version: request.version(),
            referer: header(REFERER),
            user_agent: header(USER_AGENT),
            host: header(HOST),
            peer,
            at: SystemTime::now(),
            began: Instant::now(),
            received,
            span,
            status: 0.into(),
            bytes_in: 0.into(),
            bytes_out: 0.into(),
            failed: 0.into(),
            ours: false.into(),
        }
    }

    /// The context of what is done for it.
    pub(super) fn context(&self) -> Option<Context> {
        self.span.or_else(|| self.received.as_ref().map(|received| received.context))
    }

    /// Notes `bytes` of the body that the client sent.
    pub(in crate::http) fn takes(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that the guest did not serve it.
    pub(super) fn fails(&self, why: Failed) {
        self.failed.store(why as u8 + 1, Ordering::Relaxed);
        if let Some(counters) = &self.observer.counters {
            counters.failed(why);
        }
    }

    pub(super) fn answers(&self, status: StatusCode, ours: bool) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
        self.ours.store(ours, Ordering::Relaxed);
        // The guest answered with an error, or the host failed.
        if ours && status == StatusCode::INTERNAL_SERVER_ERROR && self.failure().is_none() {
            self.fails(Failed::Guest);
        }
    }

    /// The status of its answer; 499 if its client left before there was one.
    pub(super) fn status(&self) -> StatusCode {
        let left = || StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        StatusCode::from_u16(self.status.load(Ordering::Relaxed)).unwrap_or_else(|_| left())
    }

    pub(super) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// How the guest failed to serve it, if it did.
    pub(super) fn failure(&self) -> Option<&'static str> {
        let number = usize::from(self.failed.load(Ordering::Relaxed)).checked_sub(1)?;
        FAILED.get(number).copied()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.status.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_ours(&self) -> bool {
        self.ours.load(Ordering::Relaxed)
    }
}

/// Tells the observer of a request when it is dropped: with the answer's body, or with the client.
pub(super) struct End(pub(super) Arc<Record>);

impl Drop for End {
    fn drop(&mut self) {
        let took = self.0.began.elapsed();
        self.0.observer.done(&Done { record: Arc::clone(&self.0), took });
    }
}

/// An answer's body, as it is sent.
pub(in crate::http) struct Seen<B> {
    pub(super) body: B,
    pub(super) end: Option<End>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Seen<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match (&self.end, &frame) {
            (Some(End(record)), Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                record.bytes_out.fetch_add(bytes, Ordering::Relaxed);
            }
            // The guest left it unfinished.
            (Some(End(record)), Some(Err(_))) if record.failure().is_none() => {
                record.fails(Failed::Guest);
            }
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
