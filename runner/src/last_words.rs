//! The file in which Kubernetes looks for why a container ended: see "Customizing the termination message" in its documentation.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};

/// kubelet reads no more than this.
const MOST: usize = 4096;

/// Where to leave what happened, unless the guest has left word itself.
#[derive(Clone, Copy)]
pub(crate) struct LastWords(&'static OwnedFd);

impl LastWords {
    /// Opens the file at `path`, as the container's user; `None` if that is nothing for a message.
    ///
    /// No link is followed: an image cannot lead it elsewhere.
    pub(crate) fn open(path: &str) -> Option<Self> {
        // A FIFO in its place would have us wait.
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(CWD, path, flags, Mode::empty(), resolve).ok()?;
        fstat(&file).is_ok_and(|stat| is_empty_file(&stat)).then(|| {
            // Open until the process ends: signal handlers use it, too.
            Self(Box::leak(Box::new(file)))
        })
    }

    /// Leaves the first line of `message`, if the file is still empty. May be called by a signal handler.
    pub(crate) fn say(self, message: &str) {
        let line = message.lines().next().unwrap_or_default();
        let line = &line[..line.floor_char_boundary(MOST)];
        if fstat(self.0).is_ok_and(|stat| is_empty_file(&stat)) {
            let _ = rustix::io::write(self.0, line.as_bytes());
        }
    }
}

fn is_empty_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0
}
