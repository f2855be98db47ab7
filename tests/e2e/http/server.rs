//! A container that serves, and a client that shows every byte.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::command::{Process, eventually};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::suite::Suite;

/// A container of the guest `web`, or of another, with a network namespace of its own.
pub struct Server<'a> {
    namespace: &'a Namespace<'a>,
    pub id: String,
    pub pid: u32,
    log: PathBuf,
    process: Process,
    network: File,
    pub address: SocketAddr,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Fields after a body in chunks.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The value of a header, whose name is in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn image() -> Image {
    Image::guest("web", &guests::example("web"))
}

impl<'a> Server<'a> {
    /// One that listens at port 8080, with these annotations below `io.lighter.`.
    #[track_caller]
    pub fn start(namespace: &'a Namespace<'a>, annotations: &[(&str, &str)]) -> Self {
        Self::start_with(namespace, annotations, &[], 8080)
    }

    /// The same with other flags of `ctr run`, and another port.
    #[track_caller]
    pub fn start_with(
        namespace: &'a Namespace<'a>,
        annotations: &[(&str, &str)],
        flags: &[&str],
        port: u16,
    ) -> Self {
        Self::start_image(namespace, &image(), annotations, flags, port)
    }

    /// The same of an image that has more than the guest.
    #[track_caller]
    pub fn start_image(
        namespace: &'a Namespace<'a>,
        image: &Image,
        annotations: &[(&str, &str)],
        flags: &[&str],
        port: u16,
    ) -> Self {
        let id = unique_id();
        let (log, uri) = log_of(&id);
        let annotations: Vec<String> =
            annotations.iter().map(|(name, value)| format!("io.lighter.{name}={value}")).collect();
        let mut all = vec!["--log-uri", &uri];
        all.extend(annotations.iter().flat_map(|annotation| ["--annotation", annotation]));
        all.extend(flags);
        namespace.run_detached(image, &id, &all, &[]).expect_success();
        Self::of(namespace, id, log, port)
    }

    /// One of a whole `config.json`, whose container is to be called `id`.
    #[track_caller]
    pub fn start_spec(namespace: &'a Namespace<'a>, spec: &serde_json::Value, id: &str) -> Self {
        let (log, uri) = log_of(id);
        namespace.run_spec(spec, id, &["-d", "--log-uri", &uri]).expect_success();
        Self::of(namespace, id.to_owned(), log, 8080)
    }

    #[track_caller]
    fn of(namespace: &'a Namespace<'a>, id: String, log: PathBuf, port: u16) -> Self {
        let pid = namespace.task_pid(&id).expect("it runs");
        let process = Process::open(pid).expect("it runs");
        let network = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { namespace, id, pid, log, process, network, address }
    }

    /// A connection to it, from inside its network.
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        self.try_connect().expect("connect")
    }

    pub fn try_connect(&self) -> io::Result<TcpStream> {
        self.try_connect_to(self.address)
    }

    pub fn try_connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.within(|| TcpStream::connect_timeout(&address, LIMIT))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// What `work` returns on a thread in its network.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.network.as_fd(), kind).expect("enter a namespace");
                work()
            });
            inside.join().expect("the work does not panic")
        })
    }

    /// The answer to `request`, as it is written, on a connection of its own.
    #[track_caller]
    pub fn ask(&self, request: &str) -> Response {
        let mut client = Client::of(self.connect());
        client.send(request.as_bytes());
        client.response(request.split(' ').next().unwrap())
    }

    /// The answer to a GET of `target`.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.ask(&get(target))
    }

    /// All that the container has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the container has written `words`.
    #[track_caller]
    pub fn logs(&self, words: &str) {
        let written = eventually(LIMIT, || self.log().contains(words));
        assert!(written, "no {words:?} in {:?}", self.log());
    }

    #[track_caller]
    pub fn signal(&self, signal: &str) {
        self.namespace.ctr(&["task", "kill", "--signal", signal, &self.id]).expect_success();
    }

    pub fn ends_within(&self, limit: Duration) -> bool {
        self.process.ends_within(limit)
    }

    /// Waits for its end, and cleans up.
    #[track_caller]
    pub fn expect_status(self, status: i32) {
        assert!(self.process.ends_within(LIMIT), "{} does not end: {}", self.id, self.log());
        self.namespace.wait_for_end(&self.id);
        let log = self.log();
        assert_eq!(self.namespace.delete_task(&self.id), status, "{log}");
        self.namespace.ctr(&["containers", "delete", &self.id]).expect_success();
        fs::remove_file(&self.log).unwrap();
    }

    /// Stops it with nothing under way.
    #[track_caller]
    pub fn stop(self) {
        self.signal("SIGTERM");
        self.expect_status(0);
    }
}

/// Where the container `id` writes what it logs, and the same for `ctr`.
fn log_of(id: &str) -> (PathBuf, String) {
    let log = Suite::get().scratch().join(format!("{id}.log"));
    let uri = format!("file://{}", log.display());
    (log, uri)
}

/// A request for `target` and nothing else.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: web.test\r\n\r\n")
}

/// One end of a connection.
pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub fn of(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("send");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// The next answer, which is to a request of `method`.
    #[track_caller]
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method).expect("a response")
    }

    pub fn try_response(&mut self, method: &str) -> io::Result<Response> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let line = self.line()?;
        let mut words = line.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| broken(&format!("no status line: {line:?}")))?;
        let headers = self.fields()?;
        let mut response =
            Response { version, status, headers, body: Vec::new(), trailers: Vec::new() };
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Ok(response);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(&line, 16).map_err(|_| broken("chunk size"))?;
                if size == 0 {
                    response.trailers = self.fields()?;
                    return Ok(response);
                }
                let begin = response.body.len();
                response.body.resize(begin + size, 0);
                self.0.read_exact(&mut response.body[begin..])?;
                if !self.line()?.is_empty() {
                    return Err(broken("end of a chunk"));
                }
            }
        }
        match response.header("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| broken("content-length"))?;
                response.body.resize(length, 0);
                self.0.read_exact(&mut response.body)?;
            }
            None => drop(self.0.read_to_end(&mut response.body)?),
        }
        Ok(response)
    }

    /// Whether the server has closed the connection, after what was read.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches("\r\n").to_owned())
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(fields) };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}
