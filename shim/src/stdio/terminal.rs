//! A terminal: the one kind of stream that we copy, since containerd has fifos and the process a pty.
//!
//! Two tasks on the shim's own thread, each with one small buffer. Neither reads on before the other side has taken what
//! it read, so a reader that does not read makes the process wait, and nobody else.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{AbortHandle, JoinHandle};

use super::ready::{read, write_all};
use crate::sys;

/// Bytes that a terminal gives at once.
const CHUNK: usize = 4096;
/// Ctrl-D: what a terminal takes for the end of its input, where a line begins.
const END: u8 = 4;

/// What leads to containerd.
#[derive(Debug)]
pub(super) struct Ends {
    /// Standard input's fifo: its reading end, and a writing one that keeps it open.
    pub(super) input: Option<(OwnedFd, OwnedFd)>,
    /// Where the output goes.
    pub(super) output: OwnedFd,
}

/// A terminal that is being copied from and to.
#[derive(Debug)]
pub(super) struct Terminal {
    master: Arc<AsyncFd<OwnedFd>>,
    keeps_input_open: Option<OwnedFd>,
    input: Option<AbortHandle>,
    /// Ends when all that the process's side had written is where it goes, and nobody can write any more.
    output: JoinHandle<()>,
}

impl Terminal {
    /// Starts the copies between `master` and `ends`.
    pub(super) fn attach(master: OwnedFd, ends: Ends) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let master = Arc::new(sys::watch(master, Interest::READABLE | Interest::WRITABLE)?);
        let (keeps_input_open, input) = match ends.input {
            Some((reader, writer)) => {
                let reader = sys::watch(reader, Interest::READABLE)?;
                (Some(writer), Some(tokio::spawn(feed(reader, master.clone())).abort_handle()))
            }
            None => (None, None),
        };
        let output = Sink::of(ends.output)?;
        let output = tokio::spawn(drain(master.clone(), output));
        Ok(Self { master, keeps_input_open, input, output })
    }

    /// Ends the input, once it has been read and all its writers are gone.
    pub(super) fn close_input(&mut self) {
        self.keeps_input_open = None;
    }

    /// Sets its size in characters; whoever runs in its foreground is told.
    pub(super) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.master.get_ref(), size)?)
    }

    /// Waits for the end of the output; takes no more input.
    pub(super) async fn finish(mut self) {
        if let Some(input) = &self.input {
            input.abort();
        }
        let _ = (&mut self.output).await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Without these, the master is closed, which hangs the terminal up.
        self.output.abort();
        if let Some(input) = &self.input {
            input.abort();
        }
    }
}

/// From the fifo to the terminal.
async fn feed(fifo: AsyncFd<OwnedFd>, master: Arc<AsyncFd<OwnedFd>>) {
    let mut buffer = [0; CHUNK];
    let mut begins_line = true;
    loop {
        let bytes = match read(&fifo, &mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => &buffer[..bytes],
        };
        begins_line = bytes.ends_with(b"\n") || bytes.ends_with(b"\r");
        if write_all(&master, bytes).await.is_err() {
            return;
        }
    }
    // There is no other way to tell a terminal. In the middle of a line the first only ends that.
    let _ = write_all(&master, if begins_line { &[END] } else { &[END, END] }).await;
}

/// From the terminal to where the output goes.
async fn drain(master: Arc<AsyncFd<OwnedFd>>, output: Sink) {
    let mut buffer = [0; CHUNK];
    let mut lost = false;
    loop {
        match read(&master, &mut buffer).await {
            // "I/O error": nobody has the other side open any more.
            Ok(0) | Err(Errno::IO) => return,
            Err(error) => {
                log::warn!("read from a terminal: {error}");
                return;
            }
            // The process must be able to go on all the same.
            Ok(_) if lost => {}
            Ok(bytes) => {
                if let Err(error) = output.write_all(&buffer[..bytes]).await {
                    log::warn!("a terminal's output is lost from here on: {error}");
                    lost = true;
                }
            }
        }
    }
}

/// Where a terminal's output goes.
enum Sink {
    /// A fifo or a pipe.
    Pipe(AsyncFd<OwnedFd>),
    /// What always takes everything at once.
    File(OwnedFd),
}

impl Sink {
    fn of(fd: OwnedFd) -> io::Result<Self> {
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        match kind {
            rustix::fs::FileType::Fifo => {
                rustix::io::ioctl_fionbio(&fd, true)?;
                Ok(Self::Pipe(sys::watch(fd, Interest::WRITABLE)?))
            }
            _ => Ok(Self::File(fd)),
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Pipe(pipe) => write_all(pipe, bytes).await,
            Self::File(file) => {
                while !bytes.is_empty() {
                    bytes = &bytes[rustix::io::write(file, bytes)?..];
                }
                Ok(())
            }
        }
    }
}
