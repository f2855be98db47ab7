//! What is in the store, and keeping it within its size.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};

use super::super::key::Key;
use super::{Meta, Store};

/// Memos kept; beyond it, the older half goes. One costs about 200 bytes, and reading one module to make anew.
const MAX_MEMOS: usize = 20_000;

/// One entry of the store.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// When it was last used.
    pub used: SystemTime,
    /// Bytes of compiled code.
    pub bytes: u64,
    /// What is known of it; `None` if that is missing or broken, and then it will not be used.
    pub meta: Option<Meta>,
}

impl Store {
    /// All entries, the least recently used first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = self
            .names("objects")?
            .iter()
            .filter_map(|name| Key::parse(name.strip_suffix(".cwasm")?))
            .filter_map(|key| {
                let nofollow = AtFlags::SYMLINK_NOFOLLOW;
                let object =
                    rustix::fs::statat(&self.dir, format!("objects/{key}.cwasm"), nofollow).ok()?;
                let used = rustix::fs::statat(&self.dir, format!("seals/{key}"), nofollow)
                    .map_or(modified(&object), |seal| modified(&seal));
                let meta = self.meta(&key).ok();
                Some(Entry { key, used, bytes: object.st_size.unsigned_abs(), meta })
            })
            .collect();
        entries.sort_by_key(|entry| entry.used);
        Ok(entries)
    }

    /// Removes the least recently used entries until no more than `max_bytes` are left, except `keep`.
    /// Returns what was removed.
    pub fn prune(&self, max_bytes: u64, keep: Option<&Key>) -> Vec<Entry> {
        let entries = self.entries().unwrap_or_else(|e| {
            log::warn!("cannot list {}: {e}", self.path.display());
            Vec::new()
        });
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let mut removed = Vec::new();
        for entry in entries {
            if total <= max_bytes {
                break;
            }
            if Some(&entry.key) != keep {
                self.remove(&entry.key);
                total -= entry.bytes;
                removed.push(entry);
            }
        }
        removed
    }

    /// Removes everything that is not in use by a compilation: entries, memos, leftovers.
    pub fn clear(&self) -> Vec<Entry> {
        self.sweep_temporary();
        for directory in ["memos", "seals"] {
            for name in self.names(directory).unwrap_or_default() {
                self.unlink(directory, &name);
            }
        }
        let removed = self.prune(0, None);
        // Also what describes code that is not there, and empty code, which counts nothing above.
        for name in self.names("objects").unwrap_or_default() {
            self.unlink("objects", &name);
        }
        removed
    }

    /// Removes what a writer left that is no more: its lock went with it.
    pub fn sweep_temporary(&self) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for name in self.names("tmp").unwrap_or_default() {
            let path = format!("tmp/{name}");
            match rustix::fs::openat(&self.dir, &path, flags, Mode::empty()) {
                Ok(file) => {
                    let file = File::from(file);
                    // A file just created is not locked yet: its writer has a moment for it.
                    let old = file.metadata().and_then(|facts| facts.modified()).is_ok_and(is_old);
                    let lock = FlockOperation::NonBlockingLockExclusive;
                    if old && rustix::fs::flock(&file, lock).is_ok() {
                        self.unlink("tmp", &name);
                    }
                }
                // A symbolic link on its way to replace another.
                Err(rustix::io::Errno::LOOP) => {
                    let facts = rustix::fs::statat(&self.dir, &path, AtFlags::SYMLINK_NOFOLLOW);
                    if facts.is_ok_and(|facts| is_old(modified(&facts))) {
                        self.unlink("tmp", &name);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Keeps the number of memos within bounds.
    pub(super) fn prune_memos(&self) {
        let names = self.names("memos").unwrap_or_default();
        if names.len() <= MAX_MEMOS {
            return;
        }
        let age = |name: &String| {
            rustix::fs::statat(&self.dir, format!("memos/{name}"), AtFlags::SYMLINK_NOFOLLOW)
                .map_or(UNIX_EPOCH, |facts| modified(&facts))
        };
        let mut aged: Vec<_> = names.iter().map(|name| (age(name), name)).collect();
        aged.sort_unstable();
        for (_, name) in aged.iter().take(names.len() / 2) {
            self.unlink("memos", name);
        }
    }

    fn unlink(&self, directory: &str, name: &str) {
        let _ = rustix::fs::unlinkat(&self.dir, format!("{directory}/{name}"), AtFlags::empty());
    }

    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.dir, directory, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::new(dir)? {
            let entry = entry?;
            if entry.file_type() != FileType::Directory
                && let Ok(name) = entry.file_name().to_str()
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

fn is_old(time: SystemTime) -> bool {
    time.elapsed().is_ok_and(|age| age > Duration::from_secs(1))
}

fn modified(facts: &rustix::fs::Stat) -> SystemTime {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    let (seconds, nanos) = (facts.st_mtime as u64, facts.st_mtime_nsec as u32);
    UNIX_EPOCH + Duration::new(seconds, nanos.min(999_999_999))
}
