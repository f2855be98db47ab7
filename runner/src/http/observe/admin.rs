//! The listener that is asked for the server's health and for its metrics.
//!
//! It has a thread of its own, so that it answers however many requests are in loops.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::Common;
use super::exposition::{Format, Gauges, page};

const HEALTH: &str = "/.well-known/lighter/health";
const METRICS: &str = "/metrics";
/// Connections at the same time.
const CONNECTIONS: usize = 64;
/// How long one may be silent.
const IDLE: Duration = Duration::from_secs(30);
/// How long to wait for descriptors, when there are none for another connection.
const PAUSE: Duration = Duration::from_millis(50);

type Answer = Response<Full<Bytes>>;

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, common: Arc<Common>) {
    // It has been bound: it fails only where there is no event loop.
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let common = Arc::clone(&common);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                std::future::ready(Ok::<_, Infallible>(answer(&common, &request)))
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(IDLE);
            // What goes wrong is the client's doing.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn answer(common: &Common, request: &Request<Incoming>) -> Answer {
    let known = matches!(request.uri().path(), HEALTH | METRICS);
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "it is asked with GET\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        HEALTH if common.observer.draining.load(Ordering::Relaxed) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        HEALTH => text(StatusCode::OK, "ok\n"),
        METRICS => metrics(common, request),
        _ => text(StatusCode::NOT_FOUND, "/metrics and /.well-known/lighter/health are here\n"),
    }
}

fn metrics(common: &Common, request: &Request<Incoming>) -> Answer {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::of(accept);
    // There are counters where there is a listener.
    let Some(counters) = &common.observer.counters else {
        return text(StatusCode::NOT_FOUND, "nothing is counted\n");
    };
    let (running, waiting) = common.admission.now();
    let gauges = Gauges {
        running: running as u64,
        waiting: waiting as u64,
        memory: common.instances.memory.used(),
        draining: common.observer.draining.load(Ordering::Relaxed),
    };
    let mut answer = text(StatusCode::OK, page(format, &counters.sums(), gauges));
    let kind = HeaderValue::from_static(format.content_type());
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
