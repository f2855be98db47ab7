//! How spans are sent: some at a time, to whom they are asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use wasmtime_wasi_http::Error;

use super::super::Common;
use super::super::counters::Count;
use super::settings::{Protocol, Settings};
use super::{Span, message, span};

/// How long to wait before spans that were not taken are sent again.
const AGAIN: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Why spans were not taken.
struct Refused {
    why: String,
    /// They might be, later.
    for_now: bool,
}

/// Sends what comes, until it is to `stop` and all is sent.
pub(in crate::http::observe) async fn export(
    mut spans: mpsc::Receiver<Span>,
    settings: Settings,
    common: Arc<Common>,
    mut stop: watch::Receiver<bool>,
) {
    // Whether the log has been told that they are not taken.
    let mut told = false;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            _ = spans.recv_many(&mut batch, settings.batch) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = gather(&mut spans, &mut batch, &settings) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        while batch.len() < settings.batch
            && let Ok(next) = spans.try_recv()
        {
            batch.push(next);
        }
        match deliver(&batch, &settings, &common, &stop).await {
            Ok(()) => {
                told = false;
                common.observer.count(Count::SpansExported, batch.len() as u64);
            }
            Err(Refused { why, .. }) => {
                common.observer.count(Count::SpansDropped, batch.len() as u64);
                if !told {
                    let endpoint = &settings.endpoint;
                    let line =
                        format!("lighter: spans are lost: {endpoint} does not take them: {why}\n");
                    common.error.say(&line);
                }
                told = true;
            }
        }
    }
}

/// Waits until there are enough, or until those that are there have waited enough.
async fn gather(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>, settings: &Settings) {
    let wait = sleep(settings.delay);
    let mut wait = std::pin::pin!(wait);
    while batch.len() < settings.batch {
        let left = settings.batch - batch.len();
        tokio::select! {
            () = wait.as_mut() => return,
            taken = spans.recv_many(batch, left) => if taken == 0 { return },
        }
    }
}

/// Sends them, more than once if need be.
async fn deliver(
    batch: &[Span],
    settings: &Settings,
    common: &Common,
    stop: &watch::Receiver<bool>,
) -> Result<(), Refused> {
    let fields = span::request(&settings.resource, batch);
    let body = Bytes::from(match settings.protocol {
        Protocol::Protobuf => message::protobuf(&fields),
        Protocol::Json => message::json(fields).to_string().into_bytes(),
    });
    let mut again = AGAIN.into_iter();
    loop {
        let sent = timeout(settings.timeout, post(body.clone(), settings, common)).await;
        let late = || Refused { why: "it took too long".into(), for_now: true };
        let Err(refused) = sent.unwrap_or_else(|_| Err(late())) else { return Ok(()) };
        match again.next().filter(|_| refused.for_now && !*stop.borrow()) {
            Some(pause) => {
                let mut stop = stop.clone();
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }
            None => return Err(refused),
        }
    }
}

/// As the guest's own requests are sent: to the ports it may connect to, believing whom it believes.
async fn post(body: Bytes, settings: &Settings, common: &Common) -> Result<(), Refused> {
    let endpoint = &settings.endpoint;
    let authority = endpoint.authority().map_or("", |authority| authority.as_str());
    let kind = match settings.protocol {
        Protocol::Protobuf => "application/x-protobuf",
        Protocol::Json => "application/json",
    };
    let mut request = Request::post(endpoint)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("lighter/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_LENGTH, body.len())
        .body(Full::new(body).map_err(|never| match never {}).boxed_unsync())
        .map_err(|e| Refused { why: e.to_string(), for_now: false })?;
    request.headers_mut().extend(settings.headers.iter().cloned());
    let status = match common.instances.hooks.ask(request).await {
        Ok(answer) => answer.status(),
        Err(Error::HttpRequestDenied) => {
            let why = "the container's settings forbid the connection".to_owned();
            return Err(Refused { why, for_now: false });
        }
        Err(error) => return Err(Refused { why: error.to_string(), for_now: true }),
    };
    let for_now = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    match status.is_success() {
        true => Ok(()),
        false => Err(Refused {
            why: format!("it answered {status}"),
            for_now: for_now.contains(&status),
        }),
    }
}
