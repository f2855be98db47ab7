//! Requests that a guest makes, by `wasi:http/outgoing-handler`.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lighter::plan::{Guest, HttpSetting, Network};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use wasmtime_wasi::runtime::spawn;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::observe::{self, Record};
use super::patience::Patient;
use super::roots::Roots;
use super::three::Bodies;
use super::tls::{self, HTTP_2};

/// What a guest may wait for by itself, if it does not say: no longer than a request may take by default.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that a guest of WASI 0.3 hands over at once.
const CHUNK: usize = 64 << 10;
/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// By which rules a guest's requests are sent; the same for all instances of a server.
#[derive(Clone)]
pub(crate) struct Hooks {
    rules: Arc<Rules>,
    /// Of the request that the guest serves.
    record: Option<Arc<Record>>,
    bodies: Bodies,
}

struct Rules {
    network: Network,
    names: bool,
    /// One for each connection that there may be.
    places: Arc<Semaphore>,
    most_places: u64,
    roots: Roots,
}

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Box<dyn Future<Output = Result<(Response<WasiBody>, Done), Error>> + Send>;

/// A connection, by TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Hooks {
    /// To the ports that the guest may connect to; to names only with `names`; by `https` to those whom the image's
    /// certificates speak for, or else the `host`'s.
    pub(crate) fn new(guest: &Guest, names: bool, host: Option<File>) -> Self {
        let most_places = guest.http.get(HttpSetting::Outgoing);
        let places = usize::try_from(most_places).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let rules = Rules {
            network: guest.network.clone(),
            names,
            places: Arc::new(Semaphore::new(places)),
            most_places,
            roots: Roots::new(&guest.env, host),
        };
        Self { rules: Arc::new(rules), record: None, bodies: Bodies::default() }
    }

    /// For the instances of a server, which is of WASI 0.3 if it is `concurrent`.
    pub(super) fn of_server(self, concurrent: bool) -> Self {
        Self { bodies: if concurrent { Bodies::three() } else { self.bodies }, ..self }
    }

    /// The bodies that an instance of WASI 0.3 writes.
    pub(super) fn bodies(&mut self) -> &mut Bodies {
        &mut self.bodies
    }

    /// Whether the guest may look names up.
    pub(crate) fn looks_names_up(&self) -> bool {
        self.rules.names
    }

    /// Sends a request of the server's own by the same rules.
    pub(super) async fn ask(
        &self,
        request: Request<WasiBody>,
    ) -> Result<Response<WasiBody>, Error> {
        send(&self.rules, request, RequestOptions::default()).await.map(|(answer, _)| answer)
    }

    /// Has what is sent from now on belong to the request of `record`.
    pub(super) fn belong_to(&mut self, record: Option<Arc<Record>>) {
        self.record = record;
    }
}

impl WasiHttpHooks for Hooks {
    /// Asked for bodies that a guest writes, and for no others.
    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.bodies.guest_writes();
        CHUNK
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Done,
    ) -> Sent {
        let request = request.map(|body| self.bodies.sent(body));
        let rules = Arc::clone(&self.rules);
        let send = async move |request| send(&rules, request, options.unwrap_or_default()).await;
        Box::new(observe::sent(self.record.clone(), request, send))
    }
}

async fn send(
    rules: &Rules,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Done), Error> {
    let patience = |asked: Option<Duration>| asked.unwrap_or(PATIENCE).min(FOR_EVER);
    let until = Instant::now() + patience(options.connect_timeout);
    let place = rules.place(request.uri(), until).await?;
    let (stream, is_http_2) = timeout_at(until, rules.connect(request.uri()))
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let first_byte = patience(options.first_byte_timeout);
    let (response, done) = timeout(first_byte, exchange(stream, is_http_2, request, place))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let between = patience(options.between_bytes_timeout);
    Ok((response.map(|body| Patient::new(body, between).boxed_unsync()), done))
}

/// Sends the request on a connection of its own, which ends with the answer's body, or when the guest has no use for that
/// any more.
async fn exchange(
    stream: Box<dyn Stream>,
    is_http_2: bool,
    mut request: Request<WasiBody>,
    place: OwnedSemaphorePermit,
) -> Result<(Response<Incoming>, Done), Error> {
    let stream = TokioIo::new(stream);
    // The connection is driven beside the guest, and is gone once nobody holds what is spawned here.
    macro_rules! drive {
        ($connection:expr) => {
            spawn(async move {
                let _place = place;
                $connection.await.map_err(tls::failed)
            })
        };
    }
    let (response, driver) = if is_http_2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.map_err(tls::failed)?;
        let driver = drive!(connection);
        // There it is part of the address.
        request.headers_mut().remove(HOST);
        (sender.send_request(request).await, driver)
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.map_err(tls::failed)?;
        let driver = drive!(connection);
        // Without scheme and authority, which are for proxies; Host has been set.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        (sender.send_request(request).await, driver)
    };
    Ok((response.map_err(tls::failed)?, Box::new(driver)))
}

impl Rules {
    /// Waits until there may be another connection.
    async fn place(&self, uri: &Uri, until: Instant) -> Result<OwnedSemaphorePermit, Error> {
        let port = port(uri)?;
        let closed = self.network.tcp_connect.as_ref().is_some_and(|open| !open.contains(port));
        if closed || self.most_places == 0 {
            return Err(Error::HttpRequestDenied);
        }
        let place = Arc::clone(&self.places).acquire_owned();
        let place = timeout_at(until, place).await.map_err(|_| Error::ConnectionLimitReached)?;
        place.map_err(|_| Error::ConnectionLimitReached)
    }

    /// A connection to the server, and whether HTTP/2 is spoken on it.
    async fn connect(&self, uri: &Uri) -> Result<(Box<dyn Stream>, bool), Error> {
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = self.reach(host, port(uri)?).await?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Ok((Box::new(stream), false));
        }
        let stream = tls::secure(&self.roots, host, stream).await?;
        let is_http_2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok((Box::new(stream), is_http_2))
    }

    /// Connects to the first address of the server that takes it.
    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses: Vec<SocketAddr> = match host.parse() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) if !self.names => return Err(Error::HttpRequestDenied),
            Err(_) => {
                let no_name = |_| Error::DnsError { rcode: None, info_code: None };
                tokio::net::lookup_host((host, port)).await.map_err(no_name)?.collect()
            }
        };
        let mut last = Error::DestinationNotFound;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = refused(error),
            }
        }
        Err(last)
    }
}

fn port(uri: &Uri) -> Result<u16, Error> {
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    Ok(authority.port_u16().unwrap_or(default))
}

fn refused(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::PermissionDenied => Error::HttpRequestDenied,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            Error::DestinationIpUnroutable
        }
        _ => Error::Connect(error),
    }
}
