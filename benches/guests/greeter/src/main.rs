//! Answers each request with a line.

use wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasi::http::proxy::export!(Hello);

struct Hello;

impl wasi::exports::http::incoming_handler::Guest for Hello {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        let text = b"hello\n";
        let headers = Fields::new();
        headers.append("content-type", b"text/plain").unwrap();
        headers.append("content-length", text.len().to_string().as_bytes()).unwrap();
        let response = OutgoingResponse::new(headers);
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(text).unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}
