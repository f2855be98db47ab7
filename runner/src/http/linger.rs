//! The end of a connection whose client may still be sending.
//!
//! Closing a socket that has bytes nobody read, or gets some afterwards, resets the connection, and the client's kernel throws away
//! what it has not given to the client yet: the answer to a body that is too large, say. So our side is closed first, and what comes is
//! thrown away until the client closes its own, within bounds.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may be silent that neither sends nor closes.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a client may go on sending.
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes that it may send: with HTTP/1 the body that it has begun, with HTTP/2 no more than it has been allowed already.
const MOST: usize = 64 << 20;
const MOST_OF_HTTP_2: usize = 1 << 20;
const PIECE: usize = 16 << 10;

/// A connection that is closed on our side.
pub(super) struct Lingering {
    end: Instant,
    left: usize,
    sleep: Pin<Box<Sleep>>,
}

impl Lingering {
    pub(super) fn new(is_http_2: bool) -> Self {
        let now = Instant::now();
        let left = if is_http_2 { MOST_OF_HTTP_2 } else { MOST };
        Self { end: now + LONGEST, left, sleep: Box::pin(sleep_until(now + SILENCE)) }
    }

    /// Ready once nothing more will come, or too much has. `moved` is called for each piece that comes.
    pub(super) fn poll(
        &mut self,
        stream: &mut TcpStream,
        context: &mut Context<'_>,
        moved: impl Fn(),
    ) -> Poll<()> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        loop {
            let mut piece = ReadBuf::uninit(&mut piece);
            let Poll::Ready(read) = Pin::new(&mut *stream).poll_read(context, &mut piece) else {
                return self.sleep.as_mut().poll(context);
            };
            let taken = piece.filled().len();
            if read.is_err() || taken == 0 || taken >= self.left || Instant::now() >= self.end {
                return Poll::Ready(());
            }
            self.left -= taken;
            self.sleep.as_mut().reset(self.end.min(Instant::now() + SILENCE));
            moved();
        }
    }
}
