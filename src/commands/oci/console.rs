//! Sending a terminal to whoever looks after it: `--console-socket`.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// What goes with the descriptor: the name under which all such masters were opened.
const NAME: &[u8] = b"/dev/ptmx";

/// Sends the terminal's master, and closes it here.
pub(super) fn send(master: OwnedFd, socket: &Path) -> io::Result<()> {
    let stream = connect(socket)?;
    let fds = [master.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&stream, &[IoSlice::new(NAME)], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Addresses of sockets are short, and paths need not be.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
        return UnixStream::connect(socket);
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let dir = File::open(parent)?;
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    use std::io::{IsTerminal, Write};
    use std::os::unix::net::UnixListener;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use rustix::pty::{OpenptFlags, openpt};

    use super::*;

    #[test]
    fn a_terminal_arrives_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let here = File::open(&long).unwrap();
        let short = format!("/proc/self/fd/{}/console.sock", here.as_raw_fd());
        let listener = UnixListener::bind(short).unwrap();
        send(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap(), &long.join("console.sock"))
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 64];
        let buffers = &mut [io::IoSliceMut::new(&mut name)];
        let got = recvmsg(&stream, buffers, &mut ancillary, RecvFlags::empty()).unwrap();
        let master = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        assert_eq!(&name[..got.bytes], NAME);
        let mut master = File::from(master.unwrap());
        assert!(master.is_terminal());
        master.write_all(b"x").unwrap();
    }
}
