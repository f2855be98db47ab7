//! Signals as something to wait for.
//!
//! The runtime's own signals keep a channel for each of 65 signals: a quarter of what the server's heap held.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// The signals of one number. Several that come at once may be one.
pub(crate) struct Signals(AsyncFd<BorrowedFd<'static>>);

impl Signals {
    /// From now on `signal` does nothing but come out of [`next`](Self::next).
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn of(signal: libc::c_int) -> io::Result<Self> {
        sys::event_of(signal).and_then(sys::watch_for_ever).map(Self)
    }

    /// Waits for the next. Whoever gives up waiting loses none.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match rustix::io::read(self.0.get_ref(), &mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
