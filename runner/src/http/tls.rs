//! Connections by TLS, and what becomes of those that fail.

use std::error::Error as _;
use std::io;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

use super::roots::Roots;

/// The name of HTTP/2 among protocols, see RFC 9113.
pub(super) const HTTP_2: &[u8] = b"h2";

/// Speaks TLS with the server `host` on `stream`.
pub(super) async fn secure(
    roots: &Roots,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Error> {
    let config = roots.config().await.map_err(|why| Error::InternalError(Some(why)))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    TlsConnector::from(config).connect(name, stream).await.map_err(broken)
}

/// What is wrong with a connection by TLS.
fn broken(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(_) => Error::TlsProtocolError,
        None => match error.kind() {
            io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            _ => Error::ConnectionTerminated,
        },
    }
}

/// What is wrong with an exchange over HTTP.
pub(super) fn failed(error: hyper::Error) -> Error {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            // A server may still refuse a client after the handshake.
            let inner = inner.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return match inner {
                Some(inner) => broken(io::Error::other(inner.clone())),
                None => Error::ConnectionTerminated,
            };
        }
        cause = inner.source();
    }
    if error.is_incomplete_message() {
        return Error::HttpResponseIncomplete;
    }
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    if error.is_canceled() || error.is_closed() {
        return Error::ConnectionTerminated;
    }
    Error::Hyper(error)
}
