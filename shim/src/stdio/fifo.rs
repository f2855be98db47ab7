//! Streams that go through containerd's fifos. The process gets them as they are.
//!
//! A fifo whose last reader or writer goes away tells the other side so. Holding an end of each kind keeps the process
//! from noticing that containerd restarts.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, SpliceFlags};

/// Whether `path` is one.
pub(super) fn is_fifo(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.file_type().is_fifo())
}

/// Our own end of standard input's fifo.
#[derive(Debug)]
pub(super) enum Input {
    /// Until the process may read.
    Reader(OwnedFd),
    /// From then on, if nobody had come to write.
    Writer { _keeps_open: OwnedFd },
}

impl Input {
    /// Opens it without waiting for a writer: the process's end, and ours.
    pub(super) fn open(path: &Path) -> io::Result<(OwnedFd, Self)> {
        // The reading end comes without waiting, and then writers do, too.
        let ours = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        // The process gets this same opening: one of its own, if the writer has come and gone in between, would
        // never poll as ended.
        let reader = ours.try_clone()?;
        rustix::io::ioctl_fionbio(&reader, false)?;
        Ok((reader.into(), Self::Reader(ours.into())))
    }

    /// What keeps the input open from when the process can read: nothing, if a writer has come, with which it then ends.
    pub(super) fn left_to_its_writer(self) -> Option<Self> {
        match self {
            Self::Reader(reader) if !had_writer(&reader) => {
                let writer = reopen(&reader, File::options().write(true)).ok()?;
                Some(Self::Writer { _keeps_open: writer })
            }
            _ => None,
        }
    }
}

/// Both ends of an output's fifo: the process's, and ours.
pub(super) fn open_output(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = open_both(path)?;
    rustix::io::ioctl_fionbio(&writer, false)?;
    Ok((writer, reader))
}

/// Both ends of a fifo, a reading one and a writing one, of which neither waits.
pub(super) fn open_both(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    // At both ends at once, for which the kernel waits for nobody.
    let both = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let reader = reopen(&both, File::options().read(true).custom_flags(libc::O_NONBLOCK))?;
    let writer = reopen(&both, File::options().write(true).custom_flags(libc::O_NONBLOCK))?;
    Ok((reader, writer))
}

/// Opens what `file` is once more, in another way.
pub(super) fn reopen(file: &impl AsFd, how: &fs::OpenOptions) -> io::Result<OwnedFd> {
    how.open(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())).map(Into::into)
}

/// The writing end for the reading end: then only other processes' reading ends are left.
pub(super) fn swap_ends(reader: OwnedFd) -> Option<OwnedFd> {
    reopen(&reader, File::options().write(true).custom_flags(libc::O_NONBLOCK)).ok()
}

/// Whether anybody has the fifo of `writer` open to read.
pub(super) fn has_reader(writer: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(writer, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_err() || !fds[0].revents().contains(PollFlags::ERR)
}

/// Whether there is nothing in the fifo.
pub(super) fn is_empty(end: &OwnedFd) -> bool {
    rustix::io::ioctl_fionread(end).is_ok_and(|bytes| bytes == 0)
}

/// Whether anybody writes to the fifo, or did. Takes nothing out of it.
fn had_writer(reader: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(reader, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut fds, Some(&now)) != Ok(0) {
        // There is something in it, or all its writers have gone.
        return true;
    }
    let Ok((_unused, scratch)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
        return true;
    };
    // An empty fifo says "again" if somebody may still write, and 0 if nobody can.
    !matches!(rustix::pipe::tee(reader, &scratch, 1, SpliceFlags::NONBLOCK), Ok(0))
}
