//! Authorities, the certificates that they give away, and servers that show them.

use std::future::poll_fn;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tonic::codegen::http::{Response, Version};

use super::server::Server;

/// Someone who certifies names.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, as bundles have it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a server with a certificate for `names` has, which is good until the year `until`.
    pub fn certifies(&self, names: &[&str], until: i32) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

/// A certificate and the key to it.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Identity {
    /// One that nobody else has signed.
    pub fn of_its_own(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Self { certificate, key }
    }

    /// The configuration of a server that speaks `protocols`, and wants a client to show a certificate of `clients`.
    pub fn server(
        &self,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Authority>,
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let mut config =
            config.with_single_cert(vec![self.certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A server in the network of a container, until it is dropped.
pub struct Neighbour {
    pub port: u16,
    _stop: oneshot::Sender<()>,
}

/// What a neighbour does with a connection.
#[derive(Clone)]
pub enum Manner {
    /// It answers by TLS.
    Tls(Arc<ServerConfig>),
    /// It answers without.
    Plain,
    /// It closes.
    Closes,
    /// It says nothing.
    Silent,
}

impl Neighbour {
    /// One at `port`, or at any with 0.
    pub fn new(server: &Server<'_>, port: u16, manner: Manner) -> Self {
        let listener = server.within(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(meet(stream, manner.clone()));
            }
        };
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! { () = serve => {}, _ = stopped => {} }
            });
        });
        Self { port, _stop: stop }
    }
}

async fn meet(stream: TcpStream, manner: Manner) {
    match manner {
        Manner::Plain => answer(stream).await,
        Manner::Closes => {}
        Manner::Silent => {
            let _silent = stream;
            std::future::pending().await
        }
        Manner::Tls(config) => {
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => answer_by_h2(stream).await,
                _ => answer(stream).await,
            }
        }
    }
}

/// The request's first line, and its host. `/silent` is not answered, and the answer to `/quiet` goes not on.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // A greeting by TLS.
            Ok(0x16) if asked.is_empty() => {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                return;
            }
            Ok(byte) => asked.push(byte),
            Err(_) => return,
        }
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    let mut lines = asked.lines();
    let first = lines.next().unwrap_or_default();
    let host = lines.find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    if first.contains(" /silent ") {
        std::future::pending::<()>().await;
    }
    let body = format!("{first} {host}");
    let length = if first.contains(" /quiet ") { 1000 } else { body.len() };
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.read_u8().await;
}

async fn answer_by_h2(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.version(), Version::HTTP_2);
        let body = format!("{} {}", request.method(), request.uri());
        let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
        let _ = stream.send_data(body.into_bytes().into(), true);
    }
    let _ = poll_fn(|context| connection.poll_closed(context)).await;
}
