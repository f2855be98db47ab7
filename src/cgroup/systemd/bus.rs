//! A connection to systemd's manager: over the message bus, or where there is none over the manager's own socket.
//!
//! A connection is made for each request: one supervisor runs per pod, and a message bus allows each
//! user only some hundreds of connections. What is needed is one call and one signal, which is far from worth the
//! megabytes of a library that keeps a connection served.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::message::{FIXED, Kind, Message, Value, Writer};

const BUS: Object<'static> = Object {
    name: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
const MANAGER: Object<'static> = Object {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const JOB_REMOVED: &str = "JobRemoved";

/// The error of a manager that already knows a unit of this name.
pub(super) const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// The error of a manager that does not know a unit of this name.
pub(super) const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(
        "connect to systemd: {tried}. The systemd cgroup driver needs the message bus (dbus) to run; to do without, use the \
         cgroupfs driver: leave SystemdCgroup unset in containerd's configuration, and cgroupDriver: cgroupfs in kubelet's"
    )]
    Unreachable { tried: String },
    #[error("talk to systemd over {}: {error}", socket.display())]
    Lost { socket: PathBuf, error: io::Error },
    #[error("systemd did not answer {what} within {within:?}")]
    Late { what: String, within: Duration },
    #[error("systemd refuses {what}: {message} ({name})")]
    Refused { what: String, name: String, message: String },
    #[error("systemd's job for {unit} ended as {result:?}; see `systemctl status {unit}`")]
    Job { unit: String, result: String },
}

impl Failure {
    pub(super) fn is(&self, error_name: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == error_name)
    }
}

/// A socket behind which systemd's manager is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) socket: PathBuf,
    /// The manager itself is at the other end, not a bus.
    pub(super) direct: bool,
}

impl Address {
    /// The system's manager. Its own socket is not meant for others, and only the second choice.
    pub(super) fn of_system() -> [Self; 2] {
        let at = |path: &str, direct| Self { socket: path.into(), direct };
        [at("/run/dbus/system_bus_socket", false), at("/run/systemd/private", true)]
    }
}

struct Object<'a> {
    name: &'a str,
    path: &'a str,
    interface: &'a str,
}

/// An open connection, for requests that have to be done by its deadline.
#[derive(Debug)]
pub(super) struct Manager {
    stream: UnixStream,
    address: Address,
    within: Duration,
    deadline: Instant,
    serial: u32,
    /// Received while the answer to a call was awaited.
    signals: VecDeque<Message>,
}

impl Manager {
    /// Connects to the first of `addresses` where somebody listens.
    pub(super) fn connect(addresses: &[Address], within: Duration) -> Result<Self, Failure> {
        let deadline = Instant::now() + within;
        let mut tried = Vec::new();
        for address in addresses {
            let stream = match open(&address.socket, within) {
                Ok(stream) => stream,
                Err(e) => {
                    tried.push(format!("{}: {e}", address.socket.display()));
                    continue;
                }
            };
            let mut manager = Self {
                stream,
                address: address.clone(),
                within,
                deadline,
                serial: 0,
                signals: VecDeque::new(),
            };
            manager.authenticate().map_err(|e| manager.failure("the greeting", e))?;
            if !address.direct {
                manager.call(&BUS, "Hello", "", Writer::default())?;
            }
            return Ok(manager);
        }
        Err(Failure::Unreachable { tried: tried.join("; ") })
    }

    /// Starts a unit that goes away with its processes; returns when it is up.
    pub(super) fn start_transient_unit<'a>(
        &mut self,
        unit: &str,
        properties: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<(), Failure> {
        self.listen_for_jobs()?;
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        body.properties(properties);
        body.no_structures();
        let job = self.call(&MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)?;
        self.await_job(unit, &job)
    }

    /// Stops a unit; returns when it has stopped.
    pub(super) fn stop_unit(&mut self, unit: &str) -> Result<(), Failure> {
        self.listen_for_jobs()?;
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        let job = self.call(&MANAGER, "StopUnit", "ss", body)?;
        self.await_job(unit, &job)
    }

    /// Forgets that a unit failed, and the unit if there is nothing else to it.
    pub(super) fn reset_failed_unit(&mut self, unit: &str) -> Result<(), Failure> {
        let mut body = Writer::default();
        body.text(unit);
        self.call(&MANAGER, "ResetFailedUnit", "s", body).map(drop)
    }

    /// Changes properties of a unit until the machine restarts.
    pub(super) fn set_unit_properties<'a>(
        &mut self,
        unit: &str,
        properties: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<(), Failure> {
        let mut body = Writer::default();
        body.text(unit);
        body.bool(true);
        body.properties(properties);
        self.call(&MANAGER, "SetUnitProperties", "sba(sv)", body).map(drop)
    }

    /// A property of the manager that is a text.
    pub(super) fn property(&mut self, name: &str) -> Result<String, Failure> {
        let mut body = Writer::default();
        body.text(MANAGER.interface);
        body.text(name);
        let object = Object { interface: PROPERTIES, ..MANAGER };
        let reply = self.call(&object, "Get", "ss", body)?;
        let mut value = reply.arguments();
        let text = value.signature().and_then(|of_type| match of_type.as_str() {
            "s" => value.text(),
            other => Err(io::Error::other(format!("{name} is a {other:?}, not a text"))),
        });
        text.map_err(|e| self.failure(name, e))
    }

    /// The bus passes on what is asked for; the manager tells everyone who is directly connected.
    fn listen_for_jobs(&mut self) -> Result<(), Failure> {
        if self.address.direct {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(&format!(
            "type='signal',sender='{}',path='{}',interface='{}',member='{JOB_REMOVED}'",
            MANAGER.name, MANAGER.path, MANAGER.interface
        ));
        self.call(&BUS, "AddMatch", "s", body).map(drop)
    }

    /// `JobRemoved` has the job's number, its path, its unit, and how it ended.
    fn await_job(&mut self, unit: &str, reply: &Message) -> Result<(), Failure> {
        let what = format!("the job for {unit}");
        let wrong = |manager: &Self, e| manager.failure(&what, e);
        let job = reply.arguments().text().map_err(|e| wrong(self, e))?;
        loop {
            let message = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.receive().map_err(|e| wrong(self, e))?,
            };
            if message.kind != Kind::Signal
                || message.member != JOB_REMOVED
                || message.interface != MANAGER.interface
            {
                continue;
            }
            let mut arguments = message.arguments();
            let mut read = || {
                arguments.u32()?;
                let path = arguments.text()?;
                arguments.text()?;
                Ok((path, arguments.text()?))
            };
            let (path, result) = read().map_err(|e| wrong(self, e))?;
            match result.as_str() {
                _ if path != job => {}
                "done" => return Ok(()),
                _ => return Err(Failure::Job { unit: unit.to_owned(), result }),
            }
        }
    }

    fn call(
        &mut self,
        object: &Object<'_>,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<Message, Failure> {
        self.serial += 1;
        let call = Message {
            path: object.path.to_owned(),
            interface: object.interface.to_owned(),
            member: member.to_owned(),
            destination: object.name.to_owned(),
            signature: signature.to_owned(),
            body: body.bytes,
            ..Message::new(Kind::Call, self.serial)
        };
        self.send(&call.encode()).map_err(|e| self.failure(member, e))?;
        loop {
            let message = self.receive().map_err(|e| self.failure(member, e))?;
            match message.kind {
                Kind::Signal => self.signals.push_back(message),
                Kind::Return if message.reply_to == Some(self.serial) => return Ok(message),
                Kind::Error if message.reply_to == Some(self.serial) => {
                    return Err(Failure::Refused {
                        what: member.to_owned(),
                        message: message.arguments().text().unwrap_or_default(),
                        name: message.error_name,
                    });
                }
                // Not for us, or too late to matter.
                Kind::Call | Kind::Return | Kind::Error => {}
            }
        }
    }

    /// Says who we are, which the kernel confirms; see "Authentication Protocol". Nothing is gained by waiting for the
    /// answer before the next line.
    fn authenticate(&mut self) -> io::Result<()> {
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").as_bytes())?;
        let answer = self.line()?;
        match answer.starts_with("OK ") {
            true => Ok(()),
            false => Err(io::Error::other(format!("it answers {answer:?} to who we are"))),
        }
    }

    /// A line, read no further than its end.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 1024 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its greeting has no end"));
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut fixed = [0; FIXED];
        self.read_exact(&mut fixed)?;
        let mut bytes = vec![0; Message::length(&fixed)?];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.read_exact(&mut bytes[FIXED..])?;
        Message::decode(&bytes)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read_exact(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }

    fn failure(&self, what: &str, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Failure::Late { what: what.to_owned(), within: self.within }
            }
            _ => Failure::Lost { socket: self.address.socket.clone(), error },
        }
    }
}

/// A listener whose queue is full lets us wait, but no longer than `within`.
fn open(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}
