//! One request: what is refused without asking the guest, what the guest answers, and what became of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Incoming};
use lighter::plan::HttpSetting;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::p2::bindings::http::types;

use super::Common;
use super::bodies::{Broken, Course, Limited, Outgoing};
use super::cpu::{Meter, Spent};
use super::instance::{Live, TimedOut};
use super::observe::{self, Failed, Ours};
use super::proxy::Proxy;
use super::serve::Client;
use super::three::{self, Job, Sender};
use crate::exit;

/// A response as hyper sends it.
pub(super) type Answer = Response<Outgoing>;

/// How a request ended, and why it did badly.
pub(super) type Outcome = Result<(), (Failure, String)>;

/// Why a request has no answer of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It took too long.
    Time,
    /// There is not enough memory beside the other requests.
    Crowded,
    /// The guest failed, or gave no answer.
    Guest,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Time => Self::Timeout,
            Failure::Crowded => Self::Memory,
            Failure::Guest => Self::Guest,
        }
    }
}

/// Answers one request of `client`'s. Never fails: what goes wrong is an answer, too.
pub(super) async fn answer(
    common: Arc<Common>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (method, version) = (request.method().clone(), request.version());
    let mut answer = match check(&common, &client, request) {
        Ok(request) => handle(common, &client, request).await,
        Err((status, why)) => plain(status, why),
    };
    // Its last one: HTTP/2 has words of its own for it.
    if client.is_leaving() && version <= Version::HTTP_11 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(without_body(&method, answer))
}

/// What the guest need not see.
fn check(
    common: &Common,
    client: &Client,
    mut request: Request<Incoming>,
) -> Result<Request<Incoming>, (StatusCode, &'static str)> {
    let refuse = |status, why| Err((status, why));
    if request.method() == Method::CONNECT {
        return refuse(StatusCode::NOT_IMPLEMENTED, "this server is no proxy");
    }
    let upgrade = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    if upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return refuse(StatusCode::NOT_IMPLEMENTED, "WebSocket is not supported");
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host),
        (Some(_), Some(_)) => return refuse(StatusCode::BAD_REQUEST, "more than one Host"),
    };
    let host = match host {
        None => None,
        Some(host) => match Authority::try_from(host.as_bytes()) {
            Ok(host) => Some(host),
            Err(_) => return refuse(StatusCode::BAD_REQUEST, "Host is malformed"),
        },
    };
    if host.is_none() && request.uri().authority().is_none() {
        if request.version() == Version::HTTP_11 {
            return refuse(StatusCode::BAD_REQUEST, "Host is missing");
        }
        // A guest is always told whom it was asked as.
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri =
            Uri::builder().scheme(Scheme::HTTP).authority(client.local()).path_and_query(path);
        match uri.build() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(_) => return refuse(StatusCode::BAD_REQUEST, "the target is malformed"),
        }
    }
    if let Some(most) = common.settings.body_bytes
        && request.body().size_hint().lower() > most
    {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    }
    Ok(request)
}

/// Has the guest answer.
async fn handle(common: Arc<Common>, client: &Arc<Client>, request: Request<Incoming>) -> Answer {
    let number = common.next.fetch_add(1, Ordering::Relaxed);
    let deadline = Instant::now() + common.settings.request_timeout;
    let Some(permit) = common.admission.admit(deadline).await else {
        return unavailable("too many requests are being served");
    };
    let course = Arc::new(Course::default());
    let version = request.version();
    let record = observe::record(&request);
    let (method, path) = (request.method(), request.uri().path());
    let target: Arc<str> = format!("{}{method} {path}", observe::trace(&record)).into();
    let most = common.settings.body_bytes;
    let request =
        request.map(|body| Limited::new(body, most, Arc::clone(&course), record, client.unread()));
    let (sender, receiver) = oneshot::channel();
    let run = Run {
        common: Arc::clone(&common),
        client: Arc::clone(client),
        course: Arc::clone(&course),
        permit: Arc::new(permit),
        deadline,
    };
    // Apart from the connection: a guest may go on after it has answered, and is not cut off by a client that leaves.
    let of_task = Arc::clone(&target);
    let task = tokio::spawn(async move {
        let outcome = run.request(request, sender).await;
        outcome.map_err(|(failure, why)| {
            let why = why.trim_end();
            run.common.error.say(&format!("lighter: request {number}, {of_task}: {why}\n"));
            failure
        })
    });
    let answered = receiver.await;
    if course.too_large.load(Ordering::Relaxed) {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    }
    match answered {
        Ok(Ok(response)) => {
            let broken =
                Broken { common, client: Arc::clone(client), course, number, target, version };
            response.map(|body| Outgoing::of_guest(body, broken))
        }
        Ok(Err(code)) => {
            common.error.say(&format!(
                "lighter: request {number}, {target}: the guest answered with an error: {code}\n"
            ));
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the server failed")
        }
        // It ended without: the task knows why.
        Err(_) => match task.await {
            Ok(Err(Failure::Time)) => {
                plain(StatusCode::GATEWAY_TIMEOUT, "the server took too long")
            }
            Ok(Err(Failure::Crowded)) => unavailable("the server is short of memory"),
            Ok(Ok(()) | Err(Failure::Guest)) | Err(_) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the server failed")
            }
        },
    }
}

/// A request that the guest has.
struct Run {
    common: Arc<Common>,
    client: Arc<Client>,
    course: Arc<Course>,
    /// Given back when the instance has left its place.
    permit: Arc<OwnedSemaphorePermit>,
    deadline: Instant,
}

impl Run {
    /// From an instance's beginning to its end, or until it has handled this request.
    async fn request(&self, request: Request<Limited>, sender: Sender) -> Outcome {
        let _running = self.common.clock.run();
        let _of_client = self.client.run();
        let record = observe::record(&request);
        let failed = |why: String| {
            self.course.fails();
            observe::fails(&record, Failed::Guest);
            Err((Failure::Guest, why))
        };
        if let Some(together) = &self.common.instances.together {
            let job = Job {
                request: request.map(BodyExt::boxed_unsync),
                deadline: self.deadline,
                permit: Arc::clone(&self.permit),
                course: Arc::clone(&self.course),
            };
            let outcome = together.serve(&self.common, job, sender).await;
            return outcome.inspect_err(|(failure, _)| observe::fails(&record, (*failure).into()));
        }
        let mut live = match self.common.instances.get() {
            Ok(live) => live,
            Err(error) => return failed(format!("cannot be served: {error:#}")),
        };
        let limit = self.common.settings.cpu_time;
        let meter = limit.map(|limit| Arc::new(Meter::new(limit)));
        let work = self.handle(&mut live, meter.as_ref(), request, sender);
        let handled = timeout_at(self.deadline, Meter::count(meter.as_deref(), work)).await;
        let outcome = match handled {
            Ok(outcome) => outcome,
            // It waited for something.
            Err(_) => Err(TimedOut.into()),
        };
        match outcome {
            Ok(true) => {
                self.common.instances.put_back(live);
                Ok(())
            }
            Ok(false) => failed("the guest gave no answer".into()),
            Err(error) => {
                // Before the store is gone, and with it what the body waits for.
                self.course.fails();
                live.close_bodies();
                let (failure, why) = judge(&self.common, &live, &error);
                observe::fails(&record, failure.into());
                Err((failure, why))
            }
        }
    }

    /// Whether it has answered once it returns.
    async fn handle(
        &self,
        live: &mut Live,
        meter: Option<&Arc<Meter>>,
        request: Request<Limited>,
        sender: Sender,
    ) -> wasmtime::Result<bool> {
        use wasmtime_wasi_http::WasiHttpView;
        live.prepare(&self.common.instances, self.deadline, meter).await?;
        live.store.data_mut().exchange.hooks.belong_to(observe::record(&request));
        if let (Proxy::Three(service), store) = live.parts()? {
            return three::handle(service, store, request, sender).await.map(|()| true);
        }
        let scheme = types::Scheme::Http;
        let request = live.store.data_mut().http().new_incoming_request(scheme, request)?;
        let answered = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&answered);
        let send = move |answer: Result<_, types::ErrorCode>| {
            seen.store(true, Ordering::Relaxed);
            // The client may have left.
            let _ = sender.send(answer.map_err(|code| code.to_string()));
        };
        let answer = live.store.data_mut().http().new_response_outparam_from_callback(send)?;
        if let (Proxy::Two(proxy), store) = live.parts()? {
            proxy.wasi_http_incoming_handler().call_handle(store, request, answer).await?;
        }
        Ok(answered.load(Ordering::Relaxed))
    }
}

/// What `error`, which ended what `live` was at, is to its requests.
pub(super) fn judge(common: &Common, live: &Live, error: &wasmtime::Error) -> (Failure, String) {
    let limiter = &live.store.data().limiter;
    if error.is::<TimedOut>() {
        let limit = common.settings.request_timeout;
        let where_it_was = exit::backtrace(error);
        return (Failure::Time, format!("it took longer than {limit:?}\n{where_it_was}"));
    }
    if let (true, Some(limit)) = (error.is::<Spent>(), common.settings.cpu_time) {
        let setting = HttpSetting::CpuTime.annotation();
        let where_it_was = exit::backtrace(error);
        let why = format!(
            "it used more than {limit:?} of processor time (annotation {setting} sets it)\n{where_it_was}"
        );
        return (Failure::Time, why);
    }
    if error.is::<I32Exit>() {
        return (Failure::Guest, "the guest exited before it was done".into());
    }
    let failure = if limiter.crowded_out() { Failure::Crowded } else { Failure::Guest };
    (failure, exit::explain(error, limiter))
}

/// An answer of ours, of one line.
fn plain(status: StatusCode, why: &'static str) -> Answer {
    let body = Full::new(Bytes::from(format!("{why}\n"))).map_err(|never| match never {});
    let mut answer = Response::new(Outgoing::ours(body.boxed_unsync()));
    *answer.status_mut() = status;
    answer.extensions_mut().insert(Ours);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn unavailable(why: &'static str) -> Answer {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// Takes the body from an answer that has none to its reader, and reads it: the guest writes it all the same.
fn without_body(method: &Method, answer: Answer) -> Answer {
    let status = answer.status();
    let none = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if method != Method::HEAD && !none {
        return answer;
    }
    let (mut parts, mut body) = answer.into_parts();
    if method == Method::HEAD
        && let Some(length) = body.size_hint().exact().filter(|length| *length > 0)
    {
        parts.headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Response::from_parts(parts, Outgoing::ours(empty))
}
