//! Streams to and from containers over WebSocket, which kubelet passes on from `kubectl exec`, `attach` and
//! `port-forward`. Each message begins with a byte that names its channel.

use std::net::TcpStream;
use std::time::Duration;

use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use super::node::Node;

/// A version of the protocol that all releases speak.
const PROTOCOL: &str = "v4.channel.k8s.io";

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The channels of `exec` and `attach`.
pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
/// How it went, as JSON, at the end.
pub const STATUS: u8 = 3;

/// An open connection to the plugin's stream server.
pub struct Socket(WebSocket<TcpStream>);

impl Socket {
    /// Connects to `url`, an answer to Exec, Attach or PortForward; `query` is what the URL itself does not have.
    ///
    /// # Panics
    /// When there is no such connection to be had.
    #[track_caller]
    pub fn connect(node: &Node, url: &str, query: &str) -> Self {
        let address = url.strip_prefix("http://").expect("the URL is one of HTTP");
        let (host, _) = address.split_once('/').expect("the URL has a path");
        let stream = node.within(|| TcpStream::connect(host)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("ws://{address}{query}").into_client_request().unwrap();
        let protocol = HeaderValue::from_static(PROTOCOL);
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        let (socket, _) = tungstenite::client(request, stream)
            .unwrap_or_else(|error| panic!("connect to {url}: {error}"));
        Self(socket)
    }

    /// Sends `bytes` on `channel`.
    #[track_caller]
    pub fn send(&mut self, channel: u8, bytes: &[u8]) {
        self.0.send(Message::binary([&[channel], bytes].concat())).expect("send a message");
    }

    /// The next message: its channel and what is in it; nothing when the other side has ended.
    #[track_caller]
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match self.0.read() {
                Ok(Message::Binary(bytes)) => {
                    let (channel, rest) = bytes.split_first().expect("a message names its channel");
                    return Some((*channel, rest.to_vec()));
                }
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return None;
                }
                // Some releases close the connection without a word.
                Err(tungstenite::Error::Protocol(_)) => return None,
                Err(error) => panic!("receive a message: {error}"),
            }
        }
    }

    /// All that comes on `channel` until it is `enough`, or the other side has ended.
    #[track_caller]
    pub fn receive_until(&mut self, channel: u8, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut all = Vec::new();
        while !enough(&all) {
            match self.receive() {
                Some((of, bytes)) if of == channel => all.extend(bytes),
                Some(_) => {}
                None => break,
            }
        }
        all
    }
}
