//! Connections: from the first one until all are done after a signal.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::Common;
use super::linger::Lingering;
use super::observe::{Connection, answer};
use super::places::LEISURE;
use crate::sys;

/// How long connections that are kept open are left for a last request, when the container is to stop: what was on its
/// way when it was told is answered.
const LAST_CALL: Duration = Duration::from_millis(250);
/// How long connections are waited for that the kernel was making when the socket turned away all further ones.
const HANDSHAKE: Duration = Duration::from_millis(100);
/// How long to wait for descriptors, when there are none for another connection.
const PAUSE: Duration = Duration::from_millis(50);
/// What a client of HTTP/2 says first, and no other.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Requests of one connection of HTTP/2 at the same time.
const STREAMS: u32 = 128;

/// One connection, as its requests see it.
pub(super) struct Client {
    local: SocketAddr,
    /// Requests of it that the guest has.
    running: AtomicUsize,
    /// When it last took or gave a byte, in milliseconds since `since`.
    moved: AtomicU64,
    since: Instant,
    leaving: watch::Receiver<bool>,
    /// It is about to be closed, unless a request has come in.
    closing: AtomicBool,
    /// Its end must not look like that of an answer.
    broken: AtomicBool,
    /// The last that was read of it may not be all that it sends.
    unread: Arc<AtomicBool>,
    /// One of those that there are.
    _place: OwnedSemaphorePermit,
    seen: Connection,
    /// Closed once nothing of any connection is left.
    _alive: mpsc::Sender<()>,
}

/// A request that the guest has.
pub(super) struct OfClient<'a>(&'a Client);

impl Drop for OfClient<'_> {
    fn drop(&mut self) {
        self.0.moves();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Client {
    /// Notes a request, until what is returned is dropped.
    pub(super) fn run(&self) -> OfClient<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        OfClient(self)
    }

    /// Whether no more requests are wanted.
    pub(super) fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }

    /// Has the connection end as one that broke, not as one that was closed.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Where it is noted that a request has been read to its end.
    pub(super) fn unread(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unread)
    }

    /// It, as it is observed.
    pub(super) fn seen(&self) -> &Connection {
        &self.seen
    }

    /// Our own address, as an authority.
    pub(super) fn local(&self) -> String {
        // One of IPv4 is another of IPv6's to a socket of both.
        SocketAddr::new(self.local.ip().to_canonical(), self.local.port()).to_string()
    }

    fn moves(&self) {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(elapsed, Ordering::Relaxed);
    }

    /// When it will have been silent for `limit`, if nothing moves and no request runs.
    fn silent_at(&self, limit: Duration) -> Instant {
        if self.running.load(Ordering::Relaxed) > 0 {
            return Instant::now() + limit;
        }
        self.since + Duration::from_millis(self.moved.load(Ordering::Relaxed)) + limit
    }
}

/// Serves until a signal says to stop, and then what is under way; returns the exit status.
///
/// # Errors
/// When connections cannot be waited for.
pub(super) async fn serve(
    common: &Arc<Common>,
    listener: TcpListener,
    stop: BorrowedFd<'static>,
) -> io::Result<u8> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let stop = sys::watch(stop, Interest::READABLE)
        .ok_or_else(|| io::Error::other("signals cannot be waited for"))?;
    let (leave, leaving) = watch::channel(false);
    let (alive, mut ended) = mpsc::channel(1);
    let take = |stream: TcpStream, place| {
        let Ok(local) = stream.local_addr() else { return };
        let client = Client {
            local,
            closing: false.into(),
            broken: false.into(),
            unread: Arc::default(),
            _place: place,
            running: 0.into(),
            moved: 0.into(),
            since: Instant::now(),
            leaving: leaving.clone(),
            seen: common.observer.connect(&stream),
            _alive: alive.clone(),
        };
        tokio::spawn(connection(Arc::clone(common), stream, Arc::new(client)));
    };
    // A place first: who comes while there is none waits with the kernel.
    let next = async || {
        let place = common.places.take().await;
        (listener.accept().await, place)
    };
    loop {
        tokio::select! {
            biased;
            _ = stop.readable() => break,
            (accepted, place) = next() => match accepted {
                Ok((stream, _)) => take(stream, place),
                Err(e) if is_of_one_connection(&e) => {}
                Err(_) => sleep(PAUSE).await,
            },
        }
    }

    let end = Instant::now() + common.settings.grace;
    common.observer.drains();
    let _ = leave.send(true);
    // Whom the kernel has accepted has been promised an answer, and closing the socket would reset them. So it stays until
    // nobody comes any more, as those that come too late are turned away. Where that cannot be, some are reset that the
    // kernel takes in the last moment.
    let patience =
        if sys::turn_away(listener.as_fd()).is_ok() { HANDSHAKE } else { Duration::ZERO };
    let rest = async {
        loop {
            let place = common.places.take().await;
            match timeout(patience, listener.accept()).await {
                Ok(Ok((stream, _))) => take(stream, place),
                Ok(Err(e)) if is_of_one_connection(&e) => {}
                Ok(Err(_)) => sleep(PAUSE).await,
                Err(_) => return,
            }
        }
    };
    let _ = timeout_at(end, rest).await;
    drop(listener);
    drop(alive);
    // Nobody sends anything: it is over when all that could are gone.
    match timeout_at(end, ended.recv()).await {
        Ok(_) => Ok(0),
        Err(_) => {
            let grace = common.settings.grace;
            common.error.say(&format!(
                "lighter: requests were still under way {grace:?} after the signal to stop\n"
            ));
            Ok(128_u8.saturating_add(sys::stopped_by()))
        }
    }
}

/// Whether the next connection may have better luck.
fn is_of_one_connection(error: &io::Error) -> bool {
    let of_one = [Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR, Errno::PERM, Errno::PROTO];
    of_one.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// One connection, from its first byte to its last.
async fn connection(common: Arc<Common>, stream: TcpStream, client: Arc<Client>) {
    // What is written is whole messages and parts of bodies: none of them should wait for the next.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Watched {
        stream,
        client: Arc::clone(&client),
        is_http_2: None,
        lingering: None,
    });
    let settings = &common.settings;
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle_timeout)
        .max_buf_size(settings.header_bytes);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(settings.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS);
    let service = service_fn(|request| answer(Arc::clone(&common), Arc::clone(&client), request));
    let mut connection = pin!(server.serve_connection(io, service));

    let mut leaving = client.leaving.clone();
    let mut wanted = common.places.wanted();
    loop {
        tokio::select! {
            biased;
            // What went wrong was the client's doing, or is told where it happened.
            _ = connection.as_mut() => return,
            _ = leaving.wait_for(|leaving| *leaving) => break,
            // Somebody waits for a place.
            Ok(()) = wanted.changed() => {
                if client.silent_at(LEISURE) <= Instant::now() {
                    return;
                }
            }
            () = sleep_until(client.silent_at(settings.idle_timeout)) => {
                // Unless it has moved in the meantime.
                if client.silent_at(settings.idle_timeout) <= Instant::now() {
                    return;
                }
            }
        }
    }
    if timeout(LAST_CALL, connection.as_mut()).await.is_ok() {
        return;
    }
    // One more look for a request, by which it is under way.
    client.closing.store(true, Ordering::Relaxed);
    if timeout(Duration::ZERO, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A stream that notes when it moves.
struct Watched {
    stream: TcpStream,
    client: Arc<Client>,
    /// Whether it begins as HTTP/2 does.
    is_http_2: Option<bool>,
    /// Once our side is closed, if the client may still be sending.
    lingering: Option<Lingering>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.client.broken.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() && self.client.closing.load(Ordering::Relaxed) {
            // What the runtime has not been told of yet.
            let room = buffer.initialize_unfilled();
            if let Ok((_, taken @ 1..)) = recv(&self.stream, room, RecvFlags::DONTWAIT) {
                buffer.advance(taken);
                read = Poll::Ready(Ok(()));
            }
        }
        if read.is_ready() {
            self.client.moves();
            let new = &buffer.filled()[before..];
            self.is_http_2.get_or_insert_with(|| new.starts_with(PREFACE));
            // Nothing follows the end.
            self.client.unread.store(!new.is_empty(), Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.client.moves();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        if written.is_ready() {
            self.client.moves();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, client, is_http_2, lingering } = &mut *self;
        if lingering.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            if !client.unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering =
            lingering.get_or_insert_with(|| Lingering::new(is_http_2.unwrap_or_default()));
        lingering.poll(stream, context, || client.moves()).map(Ok)
    }
}
