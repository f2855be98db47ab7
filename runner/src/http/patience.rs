//! The body of an answer whose pieces come in time, or not at all.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use super::tls;

/// A body that fails once nothing of it has come for a while.
pub(super) struct Patient {
    body: Incoming,
    /// How long that is.
    between: Duration,
    /// Until when the next piece must be there, while one is waited for.
    sleep: Pin<Box<Sleep>>,
    waits: bool,
}

impl Patient {
    pub(super) fn new(body: Incoming, between: Duration) -> Self {
        Self { body, between, sleep: Box::pin(sleep(between)), waits: false }
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waits = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(tls::failed)));
        }
        if !self.waits {
            let until = Instant::now() + self.between;
            self.sleep.as_mut().reset(until);
            self.waits = true;
        }
        ready!(self.sleep.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
