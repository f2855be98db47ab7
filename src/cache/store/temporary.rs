//! Files on their way into the store.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::Store;

/// A name that no other writer uses.
pub(super) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos());
    format!("{}-{}-{time:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A file being written, locked by us; dropped unpublished, it is removed.
pub(super) struct Temporary<'a> {
    store: &'a Store,
    path: String,
    pub(super) file: File,
}

impl<'a> Temporary<'a> {
    pub(super) fn create(store: &'a Store) -> io::Result<Self> {
        let path = format!("tmp/{}", unique());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // Readable to all, for runners of any user open what they are handed anew; nobody else can
        // reach it by its name. Set apart from the umask.
        let mode = Mode::RUSR | Mode::RGRP | Mode::ROTH;
        let file = File::from(rustix::fs::openat(&store.dir, &path, flags, mode)?);
        rustix::fs::fchmod(&file, mode)?;
        let this = Self { store, path, file };
        rustix::fs::flock(&this.file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(this)
    }

    /// The store that it is for.
    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// Gives the file its name.
    pub(super) fn publish(self, path: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.store.dir, &self.path, &self.store.dir, path)?)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Does nothing once it is published.
        let _ = rustix::fs::unlinkat(&self.store.dir, &self.path, AtFlags::empty());
    }
}
