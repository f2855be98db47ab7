//! Answers HTTP requests of WASI 0.3 as their paths say, for tests: `/VERB?OPERAND`.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Web);

struct Web;

/// Requests that this instance has had, and those that it is at.
static REQUESTS: AtomicU32 = AtomicU32::new(0);
static RUNNING: AtomicU32 = AtomicU32::new(0);

impl wasip3::exports::http::handler::Guest for Web {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, operand) = target.split_once('?').unwrap_or((&target, ""));
        Ok(match path {
            "/hello" | "/" => text("hello\n"),
            "/describe" => text(&describe(&request)),
            "/echo" => echo(request),
            "/copy" => copy(request),
            "/count" => count(request).await,
            "/status" => {
                let answer = text("as asked\n");
                answer.set_status_code(number(operand) as u16).unwrap();
                answer
            }
            "/trailers" => trailers(),
            "/sleep" => {
                wait_for(number(operand) * 1_000_000).await;
                text("slept\n")
            }
            "/after" => {
                let milliseconds = number(operand);
                wit_bindgen::spawn_local(async move {
                    wait_for(milliseconds * 1_000_000).await;
                    eprintln!("went on after the answer");
                });
                text("answered\n")
            }
            "/together" => {
                let together = RUNNING.fetch_add(1, Ordering::Relaxed) + 1;
                wait_for(number(operand) * 1_000_000).await;
                RUNNING.fetch_sub(1, Ordering::Relaxed);
                text(&format!("{together}\n"))
            }
            "/requests" => text(&format!("{}\n", REQUESTS.load(Ordering::Relaxed))),
            "/spin" => loop {
                std::hint::spin_loop();
            },
            "/trap" => std::process::abort(),
            "/late-trap" => late(|| std::process::abort()),
            "/late-spin" => late(|| loop {
                std::hint::spin_loop();
            }),
            "/error" => return Err(ErrorCode::InternalError(Some("as asked".into()))),
            "/exit" => std::process::exit(3),
            "/env" => text(&std::env::var(operand).unwrap_or_else(|_| "none".into())),
            "/open" => {
                let answer = std::fs::read_to_string(operand);
                text(&answer.unwrap_or_else(|e| e.kind().to_string()))
            }
            "/fetch" => return fetch(operand).await,
            _ => {
                let answer = text("no such path\n");
                answer.set_status_code(404).unwrap();
                answer
            }
        })
    }
}

fn number(operand: &str) -> u64 {
    operand.parse().unwrap()
}

fn text(text: &str) -> Response {
    let headers = Fields::new();
    headers.append("content-type", b"text/plain").unwrap();
    headers.append("content-length", text.len().to_string().as_bytes()).unwrap();
    let (mut body, contents) = wit_stream::new();
    let (_, end) = wit_future::new(|| Ok(None));
    let (answer, _) = Response::new(headers, Some(contents), end);
    let text = text.as_bytes().to_vec();
    wit_bindgen::spawn_local(async move {
        body.write_all(text).await;
    });
    answer
}

fn describe(request: &Request) -> String {
    let mut lines = vec![format!(
        "{:?} {:?} {:?} {:?}",
        request.get_method(),
        request.get_scheme(),
        request.get_authority(),
        request.get_path_with_query()
    )];
    for (name, value) in request.get_headers().copy_all() {
        lines.push(format!("{name}: {}", String::from_utf8_lossy(&value)));
    }
    lines.join("\n") + "\n"
}

/// What names the trailers of these tests, as HTTP/1.1 has it.
fn with_trailers() -> Fields {
    let headers = Fields::new();
    headers.append("trailer", b"x-sum").unwrap();
    headers
}

/// The body and its trailers as they came, without a look at them.
fn echo(request: Request) -> Response {
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, received);
    Response::new(with_trailers(), Some(body), trailers).0
}

/// The same, piece by piece.
fn copy(request: Request) -> Response {
    let (_, received) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, received);
    let (mut copy, contents) = wit_stream::new();
    let (end, ended) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        while let Some(byte) = body.next().await {
            copy.write_all(vec![byte]).await;
        }
        drop(copy);
        let _ = end.write(trailers.await).await;
    });
    Response::new(with_trailers(), Some(contents), ended).0
}

async fn count(request: Request) -> Response {
    let (_, received) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, received);
    let mut bytes = 0;
    loop {
        let (status, piece) = body.read(Vec::with_capacity(65_536)).await;
        bytes += piece.len();
        if !matches!(status, wit_bindgen::StreamResult::Complete(_)) {
            break;
        }
    }
    match trailers.await {
        Ok(_) => text(&format!("{bytes}\n")),
        Err(error) => text(&format!("{bytes}, then {error:?}\n")),
    }
}

fn trailers() -> Response {
    let (mut body, contents) = wit_stream::new();
    let (end, ended) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        body.write_all(b"with trailers\n".to_vec()).await;
        drop(body);
        let trailers = Fields::new();
        trailers.append("x-sum", b"42").unwrap();
        let _ = end.write(Ok(Some(trailers))).await;
    });
    Response::new(with_trailers(), Some(contents), ended).0
}

/// Begins an answer, and does not finish it.
fn late(then: impl FnOnce() + 'static) -> Response {
    let (mut body, contents) = wit_stream::new();
    let (end, ended) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        body.write_all(b"it begins".to_vec()).await;
        wait_for(50_000_000).await;
        then();
        drop((body, end));
    });
    Response::new(Fields::new(), Some(contents), ended).0
}

/// Asks `authority/path`, and passes the answer on.
async fn fetch(target: &str) -> Result<Response, ErrorCode> {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let (_, end) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, end, None);
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let answer = client::send(request).await?;
    let status = answer.get_status_code();
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(answer, received);
    let answer = Response::new(Fields::new(), Some(body), trailers).0;
    answer.set_status_code(status).unwrap();
    Ok(answer)
}
