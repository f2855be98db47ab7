//! Answers HTTP requests as their paths say, for tests: `/VERB?OPERAND`.

use std::hint::black_box;

use wasi::clocks::monotonic_clock::{now, subscribe_duration};
use wasi::http::outgoing_handler;
use wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasi::io::streams::{InputStream, OutputStream, StreamError};

wasi::http::proxy::export!(Web);

struct Web;

/// What one request may read or write at once.
const PIECE: u64 = 4096;
/// A word that is nowhere in the program, but with each of its bytes turned over.
const TURNED: [u8; 25] = {
    let mut word = *b"the-secret-of-one-request";
    let mut at = 0;
    while at < word.len() {
        word[at] = !word[at];
        at += 1;
    }
    word
};

fn secret() -> String {
    black_box(TURNED).iter().map(|byte| char::from(!byte)).collect()
}

static mut REQUESTS: u32 = 0;

impl wasi::exports::http::incoming_handler::Guest for Web {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, operand) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" | "/" | "*" => text(out, 200, "hello\n"),
            "/describe" => text(out, 200, &describe(&request)),
            "/echo" => echo(request, out),
            "/count" => count(&request, out),
            "/ignore" => text(out, 200, "ignored\n"),
            "/bytes" => bytes(out, number(operand), false),
            "/sized" => bytes(out, number(operand), true),
            "/short" => short(out, number(operand)),
            "/drip" => drip(out, number(operand)),
            "/status" => text(out, u16::try_from(number(operand)).unwrap(), "as asked\n"),
            "/header" => header(out, operand),
            "/trailers" => trailers(out),
            "/sleep" => {
                sleep(number(operand));
                text(out, 200, "slept\n")
            }
            "/after" => {
                text(out, 200, "answered\n");
                sleep(number(operand));
                eprintln!("went on after the answer");
            }
            "/spin" => spin(),
            "/simmer" => simmer(out, number(operand)),
            "/leave" => leave(out, number(operand)),
            "/drop" => drop(begin(out)),
            "/open" => {
                let answer = std::fs::read_to_string(operand);
                text(out, 200, &answer.unwrap_or_else(|e| e.kind().to_string()))
            }
            "/trap" => trap(),
            "/recurse" => text(out, 200, &recurse(1).to_string()),
            "/exhaust" => text(out, 200, &exhaust().to_string()),
            "/panic" => panic!("as asked"),
            "/late-trap" => late_trap(out),
            "/silent" => {}
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(None))),
            "/exit" => std::process::exit(3),
            "/grow" => grow(out, number(operand)),
            "/hold" => hold(out, operand),
            "/requests" => requests(out),
            "/hide" => hide(out, number(operand)),
            "/search" => search(out),
            "/env" => text(out, 200, &std::env::var(operand).unwrap_or_else(|_| "none".into())),
            "/write" => {
                let answer = std::fs::write("/written", operand).map(|()| "ok".to_owned());
                text(out, 200, &answer.unwrap_or_else(|e| e.kind().to_string()))
            }
            "/read" => {
                let answer = std::fs::read_to_string("/written");
                text(out, 200, &answer.unwrap_or_else(|e| e.kind().to_string()))
            }
            "/log" => {
                eprintln!("{operand}");
                text(out, 200, "logged\n")
            }
            "/fetch" => fetch(out, operand, None),
            "/fetch-within" => {
                let (milliseconds, operand) = operand.split_once(',').unwrap_or(("", operand));
                fetch(out, operand, Some(number(milliseconds)))
            }
            _ => text(out, 404, "no such path\n"),
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn sleep(milliseconds: u64) {
    subscribe_duration(milliseconds * 1_000_000).block();
}

/// Answers with these headers, and returns the body.
fn answer(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> OutgoingBody {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(*name, value.as_bytes()).unwrap();
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    body
}

fn text(out: ResponseOutparam, status: u16, text: &str) {
    let length = text.len().to_string();
    let body = answer(out, status, &[("content-length", &length), ("content-type", "text/plain")]);
    let stream = body.write().unwrap();
    // Whoever asked may be gone.
    let _ = write(&stream, text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(PIECE as usize).try_for_each(|piece| stream.blocking_write_and_flush(piece))
}

fn read(stream: &InputStream) -> Result<Option<Vec<u8>>, StreamError> {
    match stream.blocking_read(PIECE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StreamError::Closed) => Ok(None),
        Err(error) => Err(error),
    }
}

fn method(method: &Method) -> String {
    match method {
        Method::Other(name) => name.clone(),
        known => format!("{known:?}").rsplit("::").next().unwrap().to_uppercase(),
    }
}

fn describe(request: &IncomingRequest) -> String {
    let scheme = match request.scheme() {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        _ => "none",
    };
    let mut lines = vec![format!(
        "{} {} {} {}",
        method(&request.method()),
        scheme,
        request.authority().unwrap_or_default(),
        request.path_with_query().unwrap_or_default()
    )];
    let headers = request.headers().entries();
    lines.extend(headers.iter().map(|(k, v)| format!("{k}: {}", String::from_utf8_lossy(v))));
    lines.join("\n") + "\n"
}

/// The body and its trailers come back as they come in.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().unwrap();
    let input = incoming.stream().unwrap();
    let announced = request.headers().get("trailer").pop().unwrap_or_default();
    let announced = String::from_utf8_lossy(&announced);
    let headers: &[_] = if announced.is_empty() { &[] } else { &[("trailer", &*announced)] };
    let body = answer(out, 200, headers);
    let output = body.write().unwrap();
    while let Ok(Some(piece)) = read(&input) {
        if write(&output, &piece).is_err() {
            return;
        }
    }
    drop((input, output));
    let trailers = IncomingBody::finish(incoming);
    trailers.subscribe().block();
    let trailers = match trailers.get() {
        Some(Ok(Ok(trailers))) => trailers.map(|fields| Fields::from_list(&fields.entries()).unwrap()),
        _ => None,
    };
    let _ = OutgoingBody::finish(body, trailers);
}

/// How long the body is, and the sum of its bytes.
fn count(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().unwrap();
    let input = incoming.stream().unwrap();
    let (mut bytes, mut sum) = (0_u64, 0_u64);
    loop {
        match read(&input) {
            Ok(Some(piece)) => {
                bytes += piece.len() as u64;
                sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            }
            Ok(None) => break text(out, 200, &format!("{bytes} {sum}\n")),
            Err(_) => break text(out, 400, "the body broke off\n"),
        }
    }
}

/// So many bytes, with their number said before, or not.
fn bytes(out: ResponseOutparam, bytes: u64, sized: bool) {
    let length = bytes.to_string();
    let sized: &[_] = if sized { &[("content-length", length.as_str())] } else { &[] };
    let body = answer(out, 200, sized);
    let stream = body.write().unwrap();
    let piece = [b'x'; PIECE as usize];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE);
        if write(&stream, &piece[..now as usize]).is_err() {
            return;
        }
        left -= now;
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// One byte less than announced.
fn short(out: ResponseOutparam, bytes: u64) {
    let body = answer(out, 200, &[("content-length", &bytes.to_string())]);
    let stream = body.write().unwrap();
    let _ = write(&stream, &vec![b'x'; bytes as usize - 1]);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// A line every 100 milliseconds.
fn drip(out: ResponseOutparam, lines: u64) {
    let body = answer(out, 200, &[]);
    let stream = body.write().unwrap();
    for line in 0..lines {
        if write(&stream, format!("{line}\n").as_bytes()).is_err() {
            eprintln!("nobody reads any more");
            return;
        }
        sleep(100);
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn header(out: ResponseOutparam, operand: &str) {
    let (name, value) = operand.split_once('=').unwrap_or((operand, ""));
    let fields = Fields::new();
    match fields.append(name, value.as_bytes()) {
        Ok(()) => drop(OutgoingBody::finish(answer(out, 200, &[(name, value)]), None)),
        Err(error) => text(out, 200, &format!("{error:?}\n")),
    }
}

fn trailers(out: ResponseOutparam) {
    let body = answer(out, 200, &[("trailer", "x-sum")]);
    let stream = body.write().unwrap();
    let _ = write(&stream, b"with trailers\n");
    drop(stream);
    let fields = Fields::new();
    fields.append("x-sum", b"42").unwrap();
    let _ = OutgoingBody::finish(body, Some(fields));
}

#[inline(never)]
fn spin() {
    let mut turns = 0_u64;
    while black_box(turns) != u64::MAX {
        turns += 1;
    }
}

#[inline(never)]
fn trap() {
    core::arch::wasm32::unreachable()
}

/// Calls itself without end.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let kept = black_box([depth; 16]);
    recurse(depth + 1) + black_box(kept)[3]
}

/// Takes memory until there is none, and then does what a program does for which that is the end.
fn exhaust() -> usize {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// So many milliseconds of work, with a pause after each.
fn simmer(out: ResponseOutparam, milliseconds: u64) {
    for _ in 0..milliseconds {
        let end = now() + 1_000_000;
        while now() < end {}
        sleep(1);
    }
    text(out, 200, "done\n")
}

/// The beginning of an answer.
fn begin(out: ResponseOutparam) -> OutgoingBody {
    let body = answer(out, 200, &[]);
    let stream = body.write().unwrap();
    let _ = write(&stream, b"so far so good\n");
    drop(stream);
    body
}

/// The beginning of an answer, which is never finished, nor given up, by a guest that ends after so many milliseconds.
fn leave(out: ResponseOutparam, milliseconds: u64) {
    std::mem::forget(begin(out));
    sleep(milliseconds);
}

fn late_trap(out: ResponseOutparam) {
    let body = answer(out, 200, &[]);
    let stream = body.write().unwrap();
    let _ = write(&stream, b"so far so good\n");
    trap()
}

/// Takes so many bytes, and writes to all of them.
fn grow(out: ResponseOutparam, bytes: u64) {
    let mut all = Vec::<u8>::new();
    match all.try_reserve_exact(bytes as usize) {
        Ok(()) => {
            all.resize(bytes as usize, 1);
            text(out, 200, &format!("{}\n", black_box(&all).len()))
        }
        Err(_) => text(out, 507, "no memory\n"),
    }
}

/// Takes `BYTES,MILLISECONDS`, and gives them back after that time.
fn hold(out: ResponseOutparam, operand: &str) {
    let (bytes, milliseconds) = operand.split_once(',').unwrap_or((operand, ""));
    let mut all = Vec::<u8>::new();
    if all.try_reserve_exact(number(bytes) as usize).is_err() {
        return text(out, 507, "no memory\n");
    }
    all.resize(number(bytes) as usize, 1);
    sleep(number(milliseconds));
    text(out, 200, &format!("{}\n", black_box(&all).len()))
}

/// How many requests this instance has had.
fn requests(out: ResponseOutparam) {
    // SAFETY: there is one thread, and nobody else looks at it.
    let requests = unsafe {
        REQUESTS += 1;
        REQUESTS
    };
    text(out, 200, &format!("{requests}\n"))
}

/// Leaves the secret all over so many bytes of memory.
fn hide(out: ResponseOutparam, bytes: u64) {
    let secret = secret();
    let hidden = secret.repeat(bytes as usize / secret.len());
    let copies = black_box(&hidden).matches(&secret).count();
    std::mem::forget(hidden);
    text(out, 200, &format!("{copies}\n"))
}

/// Looks for the secret in all memory that there is, after taking more of it.
fn search(out: ResponseOutparam) {
    // Without initialising it.
    core::arch::wasm32::memory_grow(0, 256);
    let end = core::arch::wasm32::memory_size(0) << 16;
    let mut found = 0;
    // SAFETY: every byte of the memory can be read; nothing is assumed of what is there.
    let byte = |at: usize| unsafe { core::ptr::read_volatile(at as *const u8) };
    let turned = black_box(TURNED);
    for at in 16..end - turned.len() {
        if turned.iter().enumerate().all(|(i, turned)| !byte(at + i) == *turned) {
            found += 1;
        }
    }
    text(out, 200, &format!("{found}\n"))
}

/// What `SCHEME AUTHORITY PATH`, joined by commas, answers: its status and its body. It is waited so many milliseconds for
/// a connection, for the answer's beginning, and for each of its pieces.
fn fetch(out: ResponseOutparam, operand: &str, within: Option<u64>) {
    let answer = match operand.splitn(3, ',').collect::<Vec<_>>()[..] {
        [scheme, authority, path] => ask(scheme, authority, path, within),
        _ => Err("what to fetch is missing".to_owned()),
    };
    text(out, 200, &answer.unwrap_or_else(|error| format!("error: {error}\n")))
}

fn ask(
    scheme: &str,
    authority: &str,
    path: &str,
    within: Option<u64>,
) -> Result<String, String> {
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "path")?;
    let options = within.map(|milliseconds| {
        let options = RequestOptions::new();
        let within = Some(milliseconds * 1_000_000);
        options.set_connect_timeout(within).unwrap();
        options.set_first_byte_timeout(within).unwrap();
        options.set_between_bytes_timeout(within).unwrap();
        options
    });
    let future = outgoing_handler::handle(request, options).map_err(|e| format!("{e:?}"))?;
    future.subscribe().block();
    let response: IncomingResponse = match future.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(error))) => return Err(format!("{error:?}")),
        _ => return Err("nothing".into()),
    };
    let status = response.status();
    let body = response.consume().map_err(|()| "body")?;
    let stream = body.stream().map_err(|()| "stream")?;
    let mut all = Vec::new();
    loop {
        match read(&stream) {
            Ok(Some(piece)) => all.extend(piece),
            Ok(None) => break,
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    Ok(format!("{status} {}", String::from_utf8_lossy(&all)))
}

