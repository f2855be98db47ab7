//! Requests that a guest makes, by `wasi:http/outgoing-handler`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lighter::plan::Network;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::observe::{self, Record};

/// What a guest may wait for by itself, if it does not say: no longer than a request may take by default.
const PATIENCE: Duration = Duration::from_secs(60);

/// By which rules a guest's requests are sent.
#[derive(Clone)]
pub(crate) struct Hooks {
    network: Network,
    names: bool,
    /// Of the request that the guest serves.
    record: Option<Arc<Record>>,
}

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Box<dyn Future<Output = Result<(Response<WasiBody>, Done), Error>> + Send>;

impl Hooks {
    /// To the ports that `network` allows; to names only with `names`.
    pub(crate) fn new(network: &Network, names: bool) -> Self {
        Self { network: network.clone(), names, record: None }
    }

    /// Has what is sent from now on belong to the request of `record`.
    pub(super) fn belong_to(&mut self, record: Option<Arc<Record>>) {
        self.record = record;
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Done,
    ) -> Sent {
        let hooks = self.clone();
        let send = async move |request| send(hooks, request, options.unwrap_or_default()).await;
        Box::new(observe::sent(self.record.clone(), request, send))
    }
}

async fn send(
    hooks: Hooks,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Done), Error> {
    let uri = request.uri().clone();
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return Err(Error::InternalError(Some("https is not supported yet".into())));
    }
    let patience = |asked: Option<Duration>| asked.unwrap_or(PATIENCE);
    let stream = timeout(patience(options.connect_timeout), connect(&hooks, &uri))
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) =
        http1::Builder::new().handshake::<_, WasiBody>(TokioIo::new(stream)).await?;
    // Without scheme and authority, which are for proxies; Host has been set.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    // It ends with the response's body, or when the guest has no use for that any more.
    let driver = tokio::spawn(connection);
    let response = timeout(patience(options.first_byte_timeout), sender.send_request(request))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let between = patience(options.between_bytes_timeout);
    let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
    let _ = between;
    Ok((
        response,
        Box::new(async move { driver.await.map_or(Ok(()), |ended| ended.map_err(Error::from)) }),
    ))
}

/// Connects to the first address of the server that takes it.
async fn connect(hooks: &Hooks, uri: &Uri) -> Result<TcpStream, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = authority.port_u16().unwrap_or(default);
    if hooks.network.tcp_connect.as_ref().is_some_and(|ports| !ports.contains(port)) {
        return Err(Error::HttpRequestDenied);
    }
    let host = authority.host();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    let addresses: Vec<SocketAddr> = match literal {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) if !hooks.names => return Err(Error::HttpRequestDenied),
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
