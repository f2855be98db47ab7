//! What the supervisor and the runner say to each other while a container comes up.
//!
//! One inherited stream socket carries length-prefixed JSON, each message with at most one
//! descriptor. The order is fixed:
//!
//! | supervisor | runner |
//! |---|---|
//! | `Setup` + the [report](crate::report) | |
//! | | `NeedsIdMaps` (a new user namespace) |
//! | `Proceed` | |
//! | | `NamespacesReady` (hooks of the host wait for it) |
//! | `Proceed` | |
//! | | `NeedsMount` (for each id-mapped mount) |
//! | `Mount` + the mount | |
//! | | `Entrypoint` + the module |
//! | `Code` + the compiled code | |
//! | | `NeedsRoots` (a guest that makes requests, and has no certificates in its image) |
//! | `Roots` + the host's certificates, if there are any | |
//! | | `Stale` (then `Code` again), `Ready` or `Refused` |
//! | `WaitAt` + a listening socket, from a supervisor that leaves: it and the next go on over that, and the one here closes | |
//! | `Start` | |
//! | | `Started` or `Refused`, and the socket closes |
//!
//! A runner beside a container's first finds all made, and begins with `Entrypoint`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg,
    socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::plan::Plan;

/// The descriptor on which the runner finds its socket.
pub const RUNNER_SOCKET: i32 = 3;

/// No message is longer than this: a plan is a few kilobytes, its arguments at most `ARG_MAX`.
const MAX_MESSAGE: usize = 16 << 20;

/// What the supervisor says.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToRunner {
    /// What to do.
    Setup(Box<Setup>),
    /// What the runner waited for is done.
    Proceed,
    /// The mount asked for is the descriptor sent along, attached nowhere yet.
    Mount,
    /// The compiled code is the descriptor sent along.
    Code,
    /// The host's certificates of authorities are the descriptor sent along, if it has any.
    Roots,
    /// The supervisor leaves: wait for another one at the listening socket sent along. Who connects and says nothing has only
    /// looked whether the guest still waits.
    WaitAt,
    /// Run the guest.
    Start,
}

/// The first message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The plan.
    pub plan: Plan,
    /// The container's state as hooks get it, `status` aside.
    pub state: HookState,
    /// Filters of system calls, in the order in which they are to be installed.
    pub filters: Vec<SeccompFilter>,
}

/// A filter of system calls, ready for the kernel. Filters are made by the supervisor, so that the runner needs to know
/// nothing about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompFilter {
    /// Whose it is, for messages.
    pub name: String,
    /// `struct sock_filter` of linux/filter.h, an instruction in each number.
    pub program: Vec<u64>,
    /// Which instructions compare with the id of the runner's own process: it replaces their constant.
    pub own_pid: Vec<usize>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// The container's state as hooks get it on their standard input, see "State" in runtime.md of the
/// OCI runtime specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState {
    /// Version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Where it is in its life: `creating`, `created`, `running` or `stopped`.
    pub status: String,
    /// Its first process, in the host's pid namespace.
    pub pid: u32,
    /// The bundle's directory.
    pub bundle: String,
    /// The bundle's annotations.
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// What the runner says.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// It is in its new user namespace, which has no id maps yet.
    NeedsIdMaps,
    /// It is in its namespaces, before its root file system is entered.
    NamespacesReady,
    /// It needs a mount that only the host's root can make: that of the plan with this number.
    NeedsMount(usize),
    /// It found the entrypoint at this path inside the container; the descriptor sent along reads it.
    Entrypoint(String),
    /// The guest makes requests by HTTP, and its image has no certificates of authorities.
    NeedsRoots,
    /// This engine cannot load the code it was given: it needs to be compiled anew.
    Stale(String),
    /// The guest is loaded and waits to be started.
    Ready,
    /// The guest runs from here on.
    Started,
    /// It cannot go on.
    Refused(Refusal),
}

/// One end of the conversation.
#[derive(Debug)]
pub struct Peer(OwnedFd);

/// Both ends of a new conversation, closed on exec.
pub fn pair() -> io::Result<(Peer, Peer)> {
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    Ok((Peer(a), Peer(b)))
}

impl From<OwnedFd> for Peer {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<std::os::unix::net::UnixStream> for Peer {
    fn from(socket: std::os::unix::net::UnixStream) -> Self {
        Self(socket.into())
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Peer {
    /// Sends a message, and a descriptor along with it.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn send<T: Serialize>(&self, message: &T, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        // The descriptor travels with the length, so that the body can be read plainly.
        let sent =
            sendmsg(&self.0, &[io::IoSlice::new(&length)], &mut ancillary, SendFlags::NOSIGNAL)?;
        if sent != length.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            match send(&self.0, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Waits for a message; `None` once the other end is gone.
    ///
    /// # Errors
    /// When what arrives is no message of this type.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut length = [0; 4];
        let received = loop {
            let mut parts = [io::IoSliceMut::new(&mut length)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
            match recvmsg(&self.0, &mut parts, &mut ancillary, flags) {
                Ok(message) => break message.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => break 0,
                Err(e) => return Err(e.into()),
            }
        };
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if received == 0 {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if received != 4 || length > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a message"));
        }
        let mut body = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match recv(&self.0, &mut body[filled..], RecvFlags::WAITALL) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, received)) => filled += received,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some((serde_json::from_slice(&body)?, fd)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (a, b) = pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"module").unwrap();
        let long = "x".repeat(1 << 20);
        let path = long.clone();
        let sender = std::thread::spawn(move || {
            a.send(&ToSupervisor::Entrypoint(path), Some(file.as_fd())).unwrap();
            a.send(&ToSupervisor::Ready, None).unwrap();
        });
        let (message, fd) = b.receive::<ToSupervisor>().unwrap().unwrap();
        assert!(matches!(message, ToSupervisor::Entrypoint(path) if path == long));
        let mut file = std::fs::File::from(fd.unwrap());
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "module");
        assert!(matches!(b.receive().unwrap().unwrap(), (ToSupervisor::Ready, None)));
        sender.join().unwrap();
        assert!(b.receive::<ToSupervisor>().unwrap().is_none());
    }
}
