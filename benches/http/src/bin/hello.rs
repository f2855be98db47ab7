//! `hello ADDRESS`: a native server that does what the guest `greeter` does: the floor.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("usage: hello ADDRESS")?;
    let address: SocketAddr = address.parse().context("read the address")?;
    // As many threads as there are processors, as the others have.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(address))
}

async fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(|_| async {
                let mut response = Response::new(Full::new(Bytes::from_static(b"hello\n")));
                let kind = HeaderValue::from_static("text/plain");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                Ok::<_, Infallible>(response)
            });
            // A client that leaves is no business of ours.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
