//! gRPC to containerd over its socket: a request, and the messages of the answer.
//!
//! gRPC is HTTP/2 with five bytes before each message and a status in the trailers. A library for all of it would bring
//! what a server, other transports and balancing between hosts need.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request};
use lighter::error::{Refusal, Result};
use lighter::layers::ContentStore;
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long containerd may take for the next piece of an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that may be on their way to us.
const WINDOW: u32 = 4 << 20;

/// No message of containerd's is longer.
const MAX_MESSAGE: usize = 16 << 20;

/// The status of gRPC for what does not exist.
const NOT_FOUND: &str = "5";

/// A connection to containerd.
pub(super) struct Client {
    sender: SendRequest<Bytes>,
    content: ContentStore,
}

impl Client {
    /// Connects to the socket.
    ///
    /// # Errors
    /// Names the socket, and why it cannot be connected to.
    pub(super) async fn connect(content: &ContentStore) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| {
            Refusal::system(format_args!("connect to {}", content.address), e)
        };
        let path = content.address.trim_start_matches("unix://");
        let stream = within(UnixStream::connect(path)).await.map_err(|e| failed(&e))?;
        let handshake = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(stream.map_err(|e| failed(&e))?);
        let (sender, connection) =
            within(handshake).await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        // Ends with the connection; requests tell of its errors.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, content: content.clone() })
    }

    /// Calls a method, and gives `take` each message of the answer.
    ///
    /// # Errors
    /// [`lighter::error::Cause::NotFound`] if containerd says so; else names the method and what went wrong; and what `take` fails with.
    pub(super) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
        mut take: impl FnMut(A) -> Result<()>,
    ) -> Result<()> {
        let address = self.content.address.clone();
        let what = move || format!("ask containerd at {address} ({method})");
        let failed = |e: &dyn std::fmt::Display| Refusal::system(what(), e);
        let head = Request::post(format!("http://localhost/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", &self.content.namespace)
            .body(())
            .map_err(|e| failed(&e))?;
        let mut body = BytesMut::with_capacity(5 + request.encoded_len());
        body.put_u8(0);
        body.put_u32(u32::try_from(request.encoded_len()).map_err(|e| failed(&e))?);
        request.encode(&mut body).map_err(|e| failed(&e))?;

        let sender = self.sender.clone();
        let mut sender =
            within(sender.ready()).await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let (response, mut stream) = sender.send_request(head, false).map_err(|e| failed(&e))?;
        stream.send_data(body.freeze(), true).map_err(|e| failed(&e))?;
        let response = within(response).await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let (head, mut answer) = response.into_parts();

        let mut pending = BytesMut::new();
        while let Some(piece) = within(answer.data()).await.map_err(|e| failed(&e))? {
            let piece = piece.map_err(|e| failed(&e))?;
            answer.flow_control().release_capacity(piece.len()).map_err(|e| failed(&e))?;
            pending.extend_from_slice(&piece);
            while let Some(message) = split(&mut pending).map_err(|e| failed(&e))? {
                take(A::decode(message).map_err(|e| failed(&e))?)?;
            }
        }
        let trailers = within(answer.trailers()).await.map_err(|e| failed(&e))?;
        let trailers = trailers.map_err(|e| failed(&e))?.unwrap_or_default();
        // An answer without messages has its status at the front.
        let status = trailers.get("grpc-status").or(head.headers.get("grpc-status"));
        match status.map(HeaderValue::as_bytes) {
            Some(b"0") if pending.is_empty() => Ok(()),
            Some(b"0") => Err(failed(&"the answer is cut short")),
            Some(status) => {
                let message = message_of(&trailers).or(message_of(&head.headers));
                let message = message.unwrap_or_else(|| "no reason is given".to_owned());
                match status == NOT_FOUND.as_bytes() {
                    true => Err(Refusal::not_found(format!("{}: {message}", what()))),
                    false => Err(failed(&message)),
                }
            }
            None => Err(failed(&format_args!("no status, HTTP status {}", head.status))),
        }
    }
}

/// Waits no longer than [`PATIENCE`].
async fn within<T>(work: impl Future<Output = T>) -> Result<T, String> {
    timeout(PATIENCE, work).await.map_err(|_| format!("no answer in {PATIENCE:?}"))
}

/// The first whole message of what has arrived.
fn split(pending: &mut BytesMut) -> Result<Option<BytesMut>, String> {
    let Some((head, rest)) = pending.split_at_checked(5) else { return Ok(None) };
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 || len > MAX_MESSAGE {
        return Err(format!("a message of {len} bytes with flags {}", head[0]));
    }
    if rest.len() < len {
        return Ok(None);
    }
    pending.advance(5);
    Ok(Some(pending.split_to(len)))
}

/// What went wrong, in words. Bytes that a header cannot have are in it as `%` and two digits.
fn message_of(headers: &HeaderMap) -> Option<String> {
    let mut text = headers.get("grpc-message")?.as_bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let escaped = (first == b'%')
            .then(|| rest.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        plain.push(escaped.unwrap_or(first));
        text = if escaped.is_some() { &rest[2..] } else { rest };
    }
    Some(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split() {
        let mut pending = BytesMut::from(&b"\0\0\0\0\x02hi\0\0\0\0\0\0\0\0\0\x04abc"[..]);
        assert_eq!(split(&mut pending).unwrap().unwrap(), "hi");
        assert_eq!(split(&mut pending).unwrap().unwrap(), "");
        assert_eq!(split(&mut pending), Ok(None));
        pending.extend_from_slice(b"d");
        assert_eq!(split(&mut pending).unwrap().unwrap(), "abcd");
        assert_eq!(split(&mut pending), Ok(None));
        for wrong in [&b"\x01\0\0\0\0"[..], b"\0\xff\xff\xff\xff"] {
            assert!(split(&mut BytesMut::from(wrong)).is_err());
        }
    }

    #[test]
    fn what_went_wrong_is_readable() {
        let mut headers = HeaderMap::new();
        assert_eq!(message_of(&headers), None);
        headers.insert("grpc-message", HeaderValue::from_static("100%: \"%C3%BC\" %zz %4"));
        assert_eq!(message_of(&headers).unwrap(), "100%: \"ü\" %zz %4");
    }
}
