//! The bodies of requests and answers, as hyper and the guest pass them through here.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::Common;
use super::observe::Record;
use super::serve::Client;
use super::whole::Whole;

/// What is known of a request before and after the guest has it, shared with its bodies.
#[derive(Default)]
pub(super) struct Course {
    /// The guest failed, and that has been said.
    pub(super) failed: AtomicBool,
    /// The client sent a larger body than it may.
    pub(super) too_large: AtomicBool,
}

impl Course {
    /// Notes that the guest failed, which is said elsewhere.
    pub(super) fn fails(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

/// A request's body, which may be cut off where it is longer than it may be.
pub(super) struct Limited {
    /// `None` once it is cut off: who sends it is not to wait for a guest that reads no further.
    body: Option<Incoming>,
    /// Bytes that may still come; `None`: any number.
    left: Option<u64>,
    course: Arc<Course>,
    record: Option<Arc<Record>>,
    /// Whether its client may still be sending. Not the client: an instance that is kept may keep this, too.
    unread: Arc<AtomicBool>,
}

impl Limited {
    /// At most `left` bytes of `body`; whether more of it may come is noted in `unread`.
    pub(super) fn new(
        body: Incoming,
        left: Option<u64>,
        course: Arc<Course>,
        record: Option<Arc<Record>>,
        unread: Arc<AtomicBool>,
    ) -> Self {
        if body.is_end_stream() {
            unread.store(false, Ordering::Relaxed);
        }
        Self { body: Some(body), left, course, record, unread }
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        if frame.is_none() || body.is_end_stream() {
            self.unread.store(false, Ordering::Relaxed);
        }
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        if let Some(record) = &self.record {
            record.takes(bytes);
        }
        if let Some(left) = self.left {
            self.left = left.checked_sub(bytes);
            if self.left.is_none() {
                self.course.too_large.store(true, Ordering::Relaxed);
                self.body = None;
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// An answer's body.
pub(super) struct Outgoing {
    body: Whole,
    /// What becomes of a guest's that is not whole.
    broken: Option<Broken>,
}

/// The request of an answer that may break off.
pub(super) struct Broken {
    pub(super) common: Arc<Common>,
    pub(super) client: Arc<Client>,
    pub(super) course: Arc<Course>,
    pub(super) number: u64,
    pub(super) target: Arc<str>,
    pub(super) version: Version,
}

impl Outgoing {
    /// One that a guest writes.
    pub(super) fn of_guest(body: HyperOutgoingBody, broken: Broken) -> Self {
        Self { body: Whole::of_guest(body), broken: Some(broken) }
    }

    /// One that is whole already.
    pub(super) fn ours(body: HyperOutgoingBody) -> Self {
        Self { body: Whole::ours(body), broken: None }
    }
}

impl Broken {
    fn tell(&self) {
        let Self { common, client, course, number, target, version } = self;
        if !course.failed.load(Ordering::Relaxed) {
            common.error.say(&format!(
                "lighter: request {number}, {target}: the guest left its answer unfinished\n"
            ));
        }
        // Whose end is nothing but the connection's.
        if *version < Version::HTTP_11 {
            client.break_off();
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if matches!(frame, Some(Err(_)))
            && let Some(broken) = self.broken.take()
        {
            broken.tell();
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
