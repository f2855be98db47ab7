//! The guest's standard streams: descriptors 0, 1 and 2 as they were inherited, read and written directly.
//!
//! No buffer and no thread of ours is between the guest and the descriptor: a write has reached it when the
//! guest's call returns, and a read takes no byte that the guest did not ask for. The descriptors are never
//! made non-blocking, because that would show to the other processes that hold them; instead each is asked
//! with `poll` before it is used, and waited for on the runtime's epoll instance.

use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::sys;

/// Bytes of the largest single read, and of the largest write to a regular file.
const LARGEST: usize = 64 << 10;

/// Bytes that a pipe which polls as writable takes without blocking (`PIPE_BUF`).
pub(crate) const ATOMIC: usize = 4096;

/// What a guest is told when the reader of its output is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokenPipe {
    /// Preview 1 has `EPIPE`.
    IsAnError,
    /// Preview 2 says that the stream is closed.
    Closes,
}

/// Standard input.
#[derive(Clone)]
pub(crate) struct Input(Arc<Descriptor>);

/// Standard output or standard error.
#[derive(Clone)]
pub(crate) struct Output {
    descriptor: Arc<Descriptor>,
    broken_pipe: BrokenPipe,
}

impl Input {
    /// This process's standard input.
    pub(crate) fn stdin() -> Self {
        Self(Descriptor::new(rustix::stdio::stdin(), Interest::READABLE))
    }
}

impl Output {
    /// This process's standard output.
    pub(crate) fn stdout(broken_pipe: BrokenPipe) -> Self {
        let descriptor = Descriptor::new(rustix::stdio::stdout(), Interest::WRITABLE);
        Self { descriptor, broken_pipe }
    }

    /// This process's standard error.
    pub(crate) fn stderr(broken_pipe: BrokenPipe) -> Self {
        let descriptor = Descriptor::new(rustix::stdio::stderr(), Interest::WRITABLE);
        Self { descriptor, broken_pipe }
    }

    fn failure(&self, error: Errno) -> StreamError {
        if error == Errno::PIPE && self.broken_pipe == BrokenPipe::Closes {
            StreamError::Closed
        } else {
            StreamError::LastOperationFailed(io::Error::from(error).into())
        }
    }
}

/// An inherited descriptor that is waited for in one direction.
pub(crate) struct Descriptor {
    fd: BorrowedFd<'static>,
    interest: Interest,
    /// Registered with the runtime when it is first waited for; `None` inside if epoll refuses it, as it
    /// does a regular file, which is then always ready.
    watch: OnceLock<Option<AsyncFd<BorrowedFd<'static>>>>,
}

impl Descriptor {
    pub(crate) fn new(fd: BorrowedFd<'static>, interest: Interest) -> Arc<Self> {
        Arc::new(Self { fd, interest, watch: OnceLock::new() })
    }

    /// Whether the next small read or write will not block: there is data, room, an end or an error.
    pub(crate) fn is_ready(&self) -> bool {
        self.wait(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    fn wait(&self, timeout: Option<&Timespec>) -> bool {
        let events = if self.interest.is_readable() { PollFlags::IN } else { PollFlags::OUT };
        loop {
            match rustix::event::poll(&mut [PollFd::new(&self.fd, events)], timeout) {
                Err(Errno::INTR) => {}
                // An error will show in the read or write that follows.
                Ok(ready) => return ready != 0,
                Err(_) => return true,
            }
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_ready() {
                return Poll::Ready(());
            }
            let watch = self.watch.get_or_init(|| sys::watch(self.fd, self.interest));
            let Some(watch) = watch else {
                return Poll::Ready(());
            };
            let guard = if self.interest.is_readable() {
                ready!(watch.poll_read_ready(context))
            } else {
                ready!(watch.poll_write_ready(context))
            };
            // The notification may be older than the last read or write: look again, and only then wait for
            // the next one.
            match guard {
                Ok(mut guard) if !self.is_ready() => guard.clear_ready(),
                _ => return Poll::Ready(()),
            }
        }
    }

    async fn ready(&self) {
        std::future::poll_fn(|context| self.poll_ready(context)).await;
    }

    /// Waits for room, as any number of tasks may at the same time.
    pub(crate) async fn room_for_any(&self) {
        while !self.is_ready() {
            let watch = self.watch.get_or_init(|| sys::watch(self.fd, self.interest));
            match watch {
                Some(watch) => match watch.writable().await {
                    Ok(mut guard) if !self.is_ready() => guard.clear_ready(),
                    _ => return,
                },
                None => return,
            }
        }
    }

    /// One read of at most `size` bytes; `None` if there is nothing to read now.
    fn read(&self, size: usize) -> StreamResult<Option<Bytes>> {
        let mut buffer = BytesMut::zeroed(size.min(LARGEST));
        loop {
            match rustix::io::read(self.fd, &mut buffer[..]) {
                Ok(0) if size > 0 => return Err(StreamError::Closed),
                Ok(read) => {
                    buffer.truncate(read);
                    return Ok(Some(buffer.freeze()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => {
                    return Err(StreamError::LastOperationFailed(io::Error::from(error).into()));
                }
            }
        }
    }

    /// One write; returns how many of the bytes it took. Waits if it must.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match rustix::io::write(self.fd, bytes) {
                Err(Errno::INTR) => {}
                // Another process made the pipe or terminal that we share non-blocking.
                Err(Errno::AGAIN) => {
                    self.wait(None);
                }
                done => return done,
            }
        }
    }

    /// How many bytes can be written now without blocking.
    fn room(&self) -> usize {
        let regular = || {
            rustix::fs::fstat(self.fd)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
        };
        match self.is_ready() {
            false => 0,
            true if regular() => LARGEST,
            true => ATOMIC,
        }
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(&self.0.fd)
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 || !self.0.is_ready() {
            return Ok(Bytes::new());
        }
        Ok(self.0.read(size)?.unwrap_or_default())
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        loop {
            self.0.ready().await;
            if let Some(bytes) = self.0.read(size)? {
                return Ok(bytes);
            }
        }
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_ready(context));
            return match self.0.read(buffer.remaining()) {
                Ok(None) => continue,
                Ok(Some(bytes)) => {
                    buffer.put_slice(&bytes);
                    Poll::Ready(Ok(()))
                }
                Err(StreamError::Closed) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(io::Error::other(error.to_string()))),
            };
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(&self.descriptor.fd)
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.descriptor.ready().await;
    }
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            let written = self.descriptor.write(&bytes).map_err(|error| self.failure(error))?;
            let _ = bytes.split_to(written);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing is held back.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.descriptor.room())
    }

    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            self.descriptor.ready().await;
            let chunk = &bytes[..bytes.len().min(ATOMIC)];
            let written = self.descriptor.write(chunk).map_err(|error| self.failure(error))?;
            let _ = bytes.split_to(written);
        }
        Ok(())
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.descriptor.poll_ready(context));
        let chunk = &bytes[..bytes.len().min(ATOMIC)];
        Poll::Ready(self.descriptor.write(chunk).map_err(io::Error::from))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
