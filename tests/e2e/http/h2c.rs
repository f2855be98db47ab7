//! HTTP/2 without TLS, by prior knowledge.

use std::future::poll_fn;

use libtest_mimic::Trial;

use super::server::Server;
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![http_2_is_spoken_without_tls]
}

type Sender = h2::client::SendRequest<tonic::codegen::Bytes>;

/// What came back: status, body and trailers.
async fn ask(
    sender: &Sender,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>, Option<String>), h2::Error> {
    let uri = format!("http://web.test{path}");
    let request =
        tonic::codegen::http::Request::builder().method(method).uri(uri).body(()).unwrap();
    let mut sender = sender.clone().ready().await?;
    let (answer, mut stream) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(body.to_vec().into(), true)?;
    }
    let (parts, mut incoming) = answer.await?.into_parts();
    let mut all = Vec::new();
    while let Some(piece) = incoming.data().await {
        let piece = piece?;
        incoming.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    let trailers = poll_fn(|context| incoming.poll_trailers(context)).await?;
    let sum = trailers.and_then(|all| Some(all.get("x-sum")?.to_str().ok()?.to_owned()));
    Ok((parts.status.as_u16(), all, sum))
}

fn http_2_is_spoken_without_tls(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.request-timeout", "2s")]);
    let stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);

        let (status, body, _) = ask(&sender, "GET", "/hello", b"").await.unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"hello\n"[..]));
        let (_, body, _) = ask(&sender, "GET", "/describe", b"").await.unwrap();
        assert!(body.starts_with(b"GET http web.test /describe\n"));
        let (_, body, _) = ask(&sender, "POST", "/count", &[2; 50_000]).await.unwrap();
        assert_eq!(body, b"50000 100000\n");
        let (_, body, _) = ask(&sender, "GET", "/bytes?300000", b"").await.unwrap();
        assert_eq!(body.len(), 300_000);
        let (_, body, sum) = ask(&sender, "GET", "/trailers", b"").await.unwrap();
        assert_eq!((body.as_slice(), sum.as_deref()), (&b"with trailers\n"[..], Some("42")));
        let (status, body, _) = ask(&sender, "HEAD", "/hello", b"").await.unwrap();
        assert_eq!((status, body.len()), (200, 0));
        // A failure is a stream's, and not the connection's.
        assert_eq!(ask(&sender, "GET", "/trap", b"").await.unwrap().0, 500);
        assert!(ask(&sender, "GET", "/late-trap", b"").await.is_err());
        // Streams do not wait for each other.
        let slow = [(); 10].map(|()| {
            let sender = sender.clone();
            tokio::spawn(async move { ask(&sender, "GET", "/sleep?500", b"").await.unwrap().0 })
        });
        let spinning = {
            let sender = sender.clone();
            tokio::spawn(async move { ask(&sender, "GET", "/spin", b"").await.unwrap().0 })
        };
        assert_eq!(ask(&sender, "GET", "/hello", b"").await.unwrap().0, 200);
        for slow in slow {
            assert_eq!(slow.await.unwrap(), 200);
        }
        assert_eq!(spinning.await.unwrap(), 504);
        // A goodbye, and an end, to a connection that is open when the server is told to stop.
        let last = {
            let sender = sender.clone();
            tokio::spawn(async move { ask(&sender, "GET", "/sleep?800", b"").await.unwrap().0 })
        };
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        server.signal("SIGTERM");
        assert_eq!(last.await.unwrap(), 200);
        assert!(connection.await.unwrap().is_ok());
    });
    server.expect_status(0);
}
