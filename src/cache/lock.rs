//! One compilation of one module at a time on the node.
//!
//! A lock file exists only while its holder works. The holder removes it, and then lets go; who waited finds
//! a file that is no longer there and looks again. If the compilation failed, the reason is written in it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use crate::error::Refusal;

use super::store::Store;

/// How long another process's compilation is waited for. It may have less of a processor than we have, so
/// that who waited that long does the work itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What came of asking for a lock.
pub(super) enum Acquired<'a> {
    /// It is ours. What we want may be there meanwhile.
    Held(Lock<'a>),
    /// Another process held it, and could not compile the module.
    Failed(Refusal),
    /// Another process has held it for too long.
    Busy,
    /// There can be no lock in this store (it is read-only or full).
    Impossible(io::Error),
}

/// A held lock; dropped, it is free.
pub(super) struct Lock<'a> {
    store: &'a Store,
    path: String,
    file: File,
}

/// Waits for the lock of `name`, at most for `timeout`, the time that its holder's work may take.
pub(super) fn acquire<'a>(store: &'a Store, name: impl Display, timeout: Duration) -> Acquired<'a> {
    let path = format!("locks/{name}");
    let deadline = Instant::now() + timeout.min(PATIENCE);
    let mut pause = Duration::from_millis(1);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        let mut file = match rustix::fs::openat(store.dir(), &path, flags, Mode::RUSR | Mode::WUSR)
        {
            Ok(file) => File::from(file),
            Err(e) => return Acquired::Impossible(e.into()),
        };
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Acquired::Impossible(e.into()),
            }
            if Instant::now() > deadline {
                return Acquired::Busy;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        match file.metadata() {
            // Removed by who held it.
            Ok(facts) if facts.nlink() == 0 => {
                let mut reason = String::new();
                if file.read_to_string(&mut reason).is_ok_and(|len| len > 0)
                    && let Ok(refusal) = serde_json::from_str(&reason)
                {
                    return Acquired::Failed(refusal);
                }
            }
            // Ours; if its holder was killed while it wrote, that is not ours to read.
            Ok(_) => {
                let _ = file.set_len(0);
                return Acquired::Held(Lock { store, path, file });
            }
            Err(e) => return Acquired::Impossible(e),
        }
    }
}

impl Lock<'_> {
    /// Tells those who wait that there is no point in trying again.
    pub(super) fn publish_failure(&self, refusal: &Refusal) {
        if let Ok(text) = serde_json::to_vec(refusal) {
            let _ = (&self.file).write_all(&text);
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.store.dir(), &self.path, AtFlags::empty());
    }
}
