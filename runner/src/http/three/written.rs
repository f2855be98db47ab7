//! Bodies that guests of WASI 0.3 write, which must not look whole when they are not.
//!
//! The engine ends the body of a guest that is gone as it ends one that is finished. While the guest is there, the two
//! can be told apart: so before an instance goes, its bodies are read as far as they were written, and closed with
//! what that shows. As bodies of guests of 0.2, those that are finished end with trailers, if only none at all.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::unconstrained;
use wasmtime_wasi_http::{Error, WasiBody};

use super::together::Seat;
use crate::http::whole;

/// The bodies that an instance writes.
#[derive(Clone, Default)]
pub(in crate::http) struct Bodies {
    /// Whether it is of WASI 0.3.
    three: bool,
    /// Whether the body that the engine is about to hand over is the guest's own writing, and not another's passed on.
    of_guest: bool,
    open: Vec<Weak<Mutex<State>>>,
}

impl Bodies {
    /// Of instances of a server of WASI 0.3.
    pub(in crate::http) fn three() -> Self {
        Self { three: true, ..Self::default() }
    }

    /// Notes that the next body is one that the guest writes.
    pub(in crate::http) fn guest_writes(&mut self) {
        self.of_guest = true;
    }

    /// The body of an answer of WASI 0.3.
    /// It keeps `seat`.
    pub(super) fn written(&mut self, body: WasiBody, seat: Option<Seat>) -> WasiBody {
        let state = Arc::new(Mutex::new(State::new(body)));
        if let Some(seat) = seat {
            seat.answered(Some(Writing(Arc::downgrade(&state))));
            lock(&state).seat = Some(seat);
        }
        // One that is passed on ends by itself, wherever the guest is then.
        if std::mem::take(&mut self.of_guest) {
            self.open.retain(|open| open.strong_count() > 0);
            self.open.push(Arc::downgrade(&state));
        }
        Written(state).boxed_unsync()
    }

    /// The body of a request that the guest makes, by whichever version.
    pub(in crate::http) fn sent(&mut self, body: WasiBody) -> WasiBody {
        match self.three {
            // None of 0.2 is told apart here from one that is passed on.
            true => whole::sent(self.written(body, None)),
            false => whole::sent(body),
        }
    }

    /// Closes all bodies, before what writes them is gone; whether each was finished.
    pub(in crate::http) fn close(&mut self) -> bool {
        let mut finished = true;
        for open in self.open.drain(..) {
            if let Some(state) = open.upgrade() {
                finished &= lock(&state).close();
            }
        }
        finished
    }
}

/// A body that may be closed from outside of its instance.
pub(super) struct Writing(Weak<Mutex<State>>);

impl Writing {
    pub(super) fn close(&self) {
        if let Some(state) = self.0.upgrade() {
            lock(&state).close();
        }
    }
}

struct Written(Arc<Mutex<State>>);

struct State {
    body: WasiBody,
    /// What has been read of it and not taken.
    read: VecDeque<Result<Frame<Bytes>, Error>>,
    /// Nothing more is read of it.
    closed: bool,
    /// Who waits for more.
    reader: Option<Waker>,
    seat: Option<Seat>,
}

impl State {
    fn new(body: WasiBody) -> Self {
        Self { body, read: VecDeque::new(), closed: false, reader: None, seat: None }
    }

    /// Reads one frame more; after the last one come trailers, if there were none.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let frame = frame.unwrap_or_else(|| Ok(Frame::trailers(HeaderMap::new())));
        self.closed = frame.as_ref().map_or(true, Frame::is_trailers);
        self.read.push_back(frame);
        Poll::Ready(())
    }

    /// Reads what is there; whether that was all.
    fn close(&mut self) -> bool {
        let rest = poll_fn(|context| {
            while !self.closed {
                ready!(self.poll_read(context));
            }
            Poll::Ready(())
        });
        // However much this task has done already.
        let rest = pin!(unconstrained(rest));
        let finished = rest.poll(&mut Context::from_waker(Waker::noop())).is_ready();
        if !finished {
            self.closed = true;
            self.read.push_back(Err(Error::HttpResponseIncomplete));
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        finished
    }
}

impl Body for Written {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = lock(&self.0);
        if state.read.is_empty() && !state.closed && state.poll_read(context).is_pending() {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.read.pop_front())
    }

    fn size_hint(&self) -> SizeHint {
        let state = lock(&self.0);
        // What has been read is no longer part of it.
        if state.read.is_empty() { state.body.size_hint() } else { SizeHint::default() }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// What a guest writes: it ends, without a word, when the writer is gone.
    struct Source(mpsc::Receiver<Frame<Bytes>>);

    impl Body for Source {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            self.0.poll_recv(context).map(|frame| frame.map(Ok))
        }
    }

    fn written() -> (Bodies, mpsc::Sender<Frame<Bytes>>, WasiBody) {
        let (writer, source) = mpsc::channel(4);
        let mut bodies = Bodies::three();
        bodies.guest_writes();
        let body = bodies.written(Source(source).boxed_unsync(), None);
        writer.try_send(Frame::data(Bytes::from_static(b"first"))).unwrap();
        (bodies, writer, body)
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn one_that_is_closed_while_it_is_written_is_not_whole() {
        let (mut bodies, writer, mut body) = written();
        assert!(!bodies.close());
        drop(writer);
        block_on(async {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
            assert!(matches!(body.frame().await, Some(Err(Error::HttpResponseIncomplete))));
            assert!(body.frame().await.is_none());
        });
    }

    #[test]
    fn one_that_is_finished_ends_with_trailers() {
        let (mut bodies, writer, mut body) = written();
        drop(writer);
        assert!(bodies.close());
        block_on(async {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
            assert!(body.frame().await.unwrap().unwrap().into_trailers().unwrap().is_empty());
            assert!(body.frame().await.is_none());
        });
    }

    #[test]
    fn who_waits_for_more_hears_of_the_end() {
        let (mut bodies, writer, mut body) = written();
        block_on(async {
            assert!(body.frame().await.unwrap().unwrap().is_data());
            let close = async {
                tokio::task::yield_now().await;
                assert!(!bodies.close());
            };
            let (next, ()) = tokio::join!(body.frame(), close);
            assert!(next.unwrap().is_err());
        });
        drop(writer);
    }

    #[test]
    fn one_that_is_passed_on_is_nobodys_to_close() {
        let (writer, source) = mpsc::channel(4);
        let mut bodies = Bodies::three();
        let mut body = bodies.written(Source(source).boxed_unsync(), None);
        assert!(bodies.close());
        writer.try_send(Frame::data(Bytes::from_static(b"later"))).unwrap();
        drop(writer);
        block_on(async {
            assert!(body.frame().await.unwrap().unwrap().is_data());
            assert!(body.frame().await.unwrap().unwrap().is_trailers());
        });
    }
}
