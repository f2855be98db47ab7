//! Standard output and standard error of a server: one descriptor each, which requests on several threads write to.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::{AsyncWrite, Interest};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::stdio::{ATOMIC, Descriptor};

/// One of the two, as all requests have it.
#[derive(Clone)]
pub(crate) struct Output {
    descriptor: Arc<Descriptor>,
    /// Held from asking whether there is room until it is used.
    turn: Arc<Mutex<()>>,
}

/// It, as one request has it: with what was not taken yet.
struct Stream {
    output: Output,
    rest: Bytes,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self::of(Descriptor::new(rustix::stdio::stdout(), Interest::WRITABLE))
    }

    pub(super) fn stderr() -> Self {
        Self::of(Descriptor::new(rustix::stdio::stderr(), Interest::WRITABLE))
    }

    fn of(descriptor: Arc<Descriptor>) -> Self {
        Self { descriptor, turn: Arc::default() }
    }

    /// The same for the event loop of another thread.
    pub(super) fn again(&self) -> Self {
        let descriptor = Descriptor::new(rustix::stdio::stdout(), Interest::WRITABLE);
        Self { descriptor, turn: Arc::clone(&self.turn) }
    }

    /// Waits for room.
    pub(super) async fn room(&self) {
        self.descriptor.room_for_any().await;
    }

    /// Writes `message`, as much as is taken at once: no request waits for whoever reads the log.
    pub(super) fn say(&self, message: &str) {
        let mut rest = message.as_bytes();
        while let Ok(written @ 1..) = self.offer(rest) {
            rest = &rest[written..];
        }
    }

    /// One write of what is taken without waiting, which may be nothing.
    pub(super) fn offer(&self, bytes: &[u8]) -> Result<usize, Errno> {
        // Nobody leaves anything half done under it.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes.is_empty() || !self.descriptor.is_ready() {
            true => Ok(0),
            false => self.descriptor.write(&bytes[..bytes.len().min(ATOMIC)]),
        }
    }
}

impl Stream {
    /// Writes what is left of earlier writes, as far as that is taken.
    fn push(&mut self) -> StreamResult<()> {
        while !self.rest.is_empty() {
            match self.output.offer(&self.rest) {
                Ok(0) => break,
                Ok(written) => drop(self.rest.split_to(written)),
                Err(Errno::PIPE) => return Err(StreamError::Closed),
                Err(error) => {
                    return Err(StreamError::LastOperationFailed(io::Error::from(error).into()));
                }
            }
        }
        Ok(())
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Unused)
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Stream { output: self.clone(), rest: Bytes::new() })
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        loop {
            self.output.descriptor.room_for_any().await;
            if self.push().is_err() || self.rest.is_empty() {
                return;
            }
        }
    }
}

#[async_trait]
impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // No more than `check_write` allows, and that only while nothing is left.
        self.push()?;
        self.rest = match self.rest.is_empty() {
            true => bytes,
            false => [&self.rest[..], &bytes[..]].concat().into(),
        };
        self.push()
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.push()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.push()?;
        Ok(if self.rest.is_empty() && self.output.descriptor.is_ready() { ATOMIC } else { 0 })
    }
}

/// What preview 1 would write to, which no server is of.
struct Unused;

impl AsyncWrite for Unused {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
