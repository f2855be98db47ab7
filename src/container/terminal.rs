//! The terminal of a process that asks for one. One side of it is the process's standard streams; the other, the master,
//! is the supervisor's, which reads there what the process writes.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, fstatfs, major, minor, openat2,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Stdio, Streams};
use crate::error::{Refusal, Result};
use crate::plan;

/// A terminal that is to be made.
#[derive(Debug)]
pub(super) struct Wanted {
    size: plan::Terminal,
    /// The process's user as the host counts it; `None` where that is not known.
    owner: Option<Uid>,
    /// The process in whose root directory its file system is; `None`: it is one of the host's.
    inside: Option<u32>,
}

impl Wanted {
    /// What `process` wants in a container of `spec`: no terminal if its streams lead elsewhere.
    ///
    /// # Errors
    /// When the bundle and the caller, who gave `streams`, are not of one mind, or the size is none.
    pub(super) fn by(process: &Process, spec: &Spec, streams: &Streams) -> Result<Option<Self>> {
        match (plan::terminal(process)?, streams) {
            (None, Streams::Given(_)) => Ok(None),
            (Some(size), Streams::Terminal) => {
                let owner = outside(process.user().uid(), spec);
                Ok(Some(Self { size, owner, inside: None }))
            }
            (Some(_), Streams::Given(_)) => Err(Refusal::invalid(
                "process.terminal: true, but the caller has asked for no terminal",
            )),
            (None, Streams::Terminal) => Err(Refusal::invalid(
                "process.terminal: false, but the caller has asked for a terminal",
            )),
        }
    }

    /// One of the container of process `pid`, which has a name there; where the container has none, of the host.
    pub(super) fn inside(self, pid: u32) -> Self {
        Self { inside: Some(pid), ..self }
    }

    /// Makes it: the streams for the process, and the master.
    ///
    /// # Errors
    /// When the kernel has no more of them, or no `/dev/ptmx`.
    pub(super) fn open(&self) -> Result<(Stdio, OwnedFd)> {
        let open = || {
            let master = match self.inside.and_then(ptmx_of) {
                Some(master) => master,
                None => openpt(FLAGS)?,
            };
            unlockpt(&master)?;
            let stdin = ioctl_tiocgptpeer(&master, FLAGS)?;
            let (stdout, stderr) = (stdin.try_clone()?, stdin.try_clone()?);
            Ok((Stdio { stdin, stdout, stderr }, master))
        };
        let (stdio, master) =
            open().map_err(|e: io::Error| Refusal::system("process.terminal: open a pty", e))?;
        self.equip(&master)?;
        Ok((stdio, master))
    }

    /// Gives the terminal its size and its owner.
    fn equip(&self, master: &OwnedFd) -> Result<()> {
        let plan::Terminal { width, height } = self.size;
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(master, size).map_err(|e| Refusal::system("process.consoleSize", e))?;
        let Some(owner) = self.owner else { return Ok(()) };
        // For those who open it by its name; with the descriptors they have, all can work. So a supervisor that may not
        // give it away, being in a user namespace, does without.
        if let Err(error) =
            ioctl_tiocgptpeer(master, FLAGS).and_then(|side| fchown(side, Some(owner), None))
        {
            log::debug!("give the terminal to user {}: {error}", owner.as_raw());
        }
        Ok(())
    }
}

/// A new master in the terminals' file system of a container, unless something else is in its place.
fn ptmx_of(pid: u32) -> Option<OwnedFd> {
    const DEVPTS: u64 = 0x1cd1;
    let root = File::open(format!("/proc/{pid}/root")).ok()?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(root, "dev/pts/ptmx", path, Mode::empty(), resolve).ok()?;
    let stat = fstat(&found).ok()?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2)
        && fstatfs(&found).is_ok_and(|file_system| file_system.f_type as u64 == DEVPTS);
    if !is_ptmx {
        return None;
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

/// What becomes a process's descriptors 0, 1 and 2, and the master if that is a terminal.
///
/// # Errors
/// As [`Wanted::open`].
pub(super) fn open(streams: Streams, wanted: Option<Wanted>) -> Result<(Stdio, Option<OwnedFd>)> {
    match (streams, wanted) {
        (Streams::Given(stdio), _) => Ok((stdio, None)),
        (Streams::Terminal, Some(wanted)) => {
            wanted.open().map(|(stdio, console)| (stdio, Some(console)))
        }
        (Streams::Terminal, None) => Err(Refusal::invalid("process: missing; it has a terminal")),
    }
}

/// It becomes nobody's controlling terminal by being opened.
const FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

/// A user of the container as the host counts them; `None` if that cannot be told from the bundle.
fn outside(uid: u32, spec: &Spec) -> Option<Uid> {
    let linux = spec.linux().as_ref()?;
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let user = namespaces.iter().find(|one| one.typ() == LinuxNamespaceType::User);
    let Some(user) = user else { return Some(Uid::from_raw(uid)) };
    if user.path().is_some() {
        return None;
    }
    linux.uid_mappings().as_deref().unwrap_or_default().iter().find_map(|map| {
        let offset = uid.checked_sub(map.container_id()).filter(|offset| *offset < map.size())?;
        map.host_id().checked_add(offset).map(Uid::from_raw)
    })
}

/// Where a process that makes its terminal by itself, inside its container, sends the master to.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Makes it in the directory `dir`, of whatever length its name is.
    ///
    /// # Errors
    /// When there is one already, or it cannot be made.
    pub(super) fn bind(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        let bind = || {
            // Addresses of sockets are short.
            let dir = File::open(dir)?;
            let short = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
            let listener = UnixListener::bind(short)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = bind()
            .map_err(|e: io::Error| Refusal::system(format!("bind {}", path.display()), e))?;
        Ok(Self { path, listener })
    }

    /// Its path, for the sender.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the master that has been sent, of a terminal that is to be as `wanted`.
    ///
    /// # Errors
    /// When none has been sent.
    pub(super) fn receive(&self, wanted: &Wanted) -> Result<OwnedFd> {
        let receive = || {
            let (stream, _) = self.listener.accept()?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            // What comes along is its name.
            let mut name = [0; 4096];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            recvmsg(&stream, &mut [io::IoSliceMut::new(&mut name)], &mut ancillary, flags)?;
            let sent = ancillary.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            sent.ok_or_else(|| io::Error::other("the message brought none"))
        };
        let master = receive().map_err(|e| {
            Refusal::system("process.terminal: receive the container's terminal", e)
        })?;
        wanted.equip(&master)?;
        Ok(master)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IsTerminal, Read, Write};

    use rustix::termios::tcgetwinsize;

    use super::*;

    #[test]
    fn a_terminal_has_its_size_and_leads_to_its_master() {
        let wanted =
            Wanted { size: plan::Terminal { width: 132, height: 43 }, owner: None, inside: None };
        let (stdio, master) = wanted.open().unwrap();
        assert!(
            stdio.stdin.is_terminal() && stdio.stdout.is_terminal() && stdio.stderr.is_terminal()
        );
        let size = tcgetwinsize(&stdio.stdin).unwrap();
        assert_eq!((size.ws_col, size.ws_row), (132, 43));
        File::from(stdio.stdout).write_all(b"x\n").unwrap();
        let mut text = [0; 3];
        File::from(master).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"x\r\n");
    }

    #[test]
    fn a_container_has_its_own_terminals() {
        // This process is one whose root has some.
        let Some(master) = ptmx_of(std::process::id()) else { panic!("/dev/pts/ptmx is none") };
        unlockpt(&master).unwrap();
        assert!(ioctl_tiocgptpeer(&master, FLAGS).unwrap().is_terminal());
        assert!(ptmx_of(0).is_none());
    }

    #[test]
    fn users_of_a_container_are_others_outside() {
        let spec = |linux: &str| -> Spec {
            serde_json::from_str(&format!(r#"{{"ociVersion": "1.0.2", "linux": {linux}}}"#))
                .unwrap()
        };
        let same = spec(r#"{"namespaces": [{"type": "pid"}]}"#);
        assert_eq!(outside(7, &same), Some(Uid::from_raw(7)));
        let mapped = spec(
            r#"{"namespaces": [{"type": "user"}],
                "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1},
                                {"containerID": 1, "hostID": 100000, "size": 10}]}"#,
        );
        let of_users = [0, 1, 10, 11].map(|uid| outside(uid, &mapped).map(Uid::as_raw));
        assert_eq!(of_users, [Some(1000), Some(100_000), Some(100_009), None]);
        let joined = spec(r#"{"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}"#);
        assert_eq!(outside(0, &joined), None);
    }

    #[test]
    fn a_console_comes_through_a_socket_whose_path_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120));
        fs::create_dir(&long).unwrap();
        let socket = ConsoleSocket::bind(&long, "console.sock").unwrap();
        let wanted =
            Wanted { size: plan::Terminal { width: 80, height: 24 }, owner: None, inside: None };
        let error = socket.receive(&wanted).unwrap_err();
        assert!(error.message.contains("process.terminal"), "{error}");
        assert!(socket.path().exists());
        drop(socket);
        assert!(fs::read_dir(&long).unwrap().next().is_none());
    }
}
