//! What is in the store, and keeping it within its size.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};

use super::super::digest::Digest;
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

/// One kept layer of an image.
#[derive(Clone, Debug)]
pub struct Layer {
    /// SHA-256 of its content, which is its name.
    pub digest: Digest,
    /// When it was last used.
    pub used: SystemTime,
    /// Bytes of its content.
    pub bytes: u64,
}

impl Store {
    /// All entries, the least recently used first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let known = |(key, bytes, used)| {
            let meta = self.meta(&key).ok();
            Entry { key, used, bytes, meta }
        };
        let mut entries: Vec<Entry> = self.code()?.into_iter().map(known).collect();
        entries.sort_by_key(|entry| entry.used);
        Ok(entries)
    }

    /// All compiled code, with its size, and when it was last used: without reading what is known of each.
    fn code(&self) -> io::Result<Vec<(Key, u64, SystemTime)>> {
        let names = self.names("objects")?;
        let keys = names.iter().filter_map(|name| Key::parse(name.strip_suffix(".cwasm")?));
        let of = |key: Key| {
            let (bytes, used) = self.use_of(&format!("objects/{key}.cwasm"), &key.to_string())?;
            Some((key, bytes, used))
        };
        Ok(keys.filter_map(of).collect())
    }

    /// All kept layers, the least recently used first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn layers(&self) -> io::Result<Vec<Layer>> {
        let mut layers: Vec<Layer> = self
            .names("layers")?
            .iter()
            .filter_map(|name| Digest::parse(name))
            .filter_map(|digest| {
                let (bytes, used) =
                    self.use_of(&format!("layers/{digest}"), &digest.to_string())?;
                Some(Layer { digest, used, bytes })
            })
            .collect();
        layers.sort_by_key(|layer| layer.used);
        Ok(layers)
    }

    /// The size of a file, and when it was last used, by its seal.
    fn use_of(&self, path: &str, seal: &str) -> Option<(u64, SystemTime)> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let file = rustix::fs::statat(&self.dir, path, nofollow).ok()?;
        let used = rustix::fs::statat(&self.dir, format!("seals/{seal}"), nofollow)
            .map_or(modified(&file), |seal| modified(&seal));
        Some((file.st_size.unsigned_abs(), used))
    }

    /// Removes the least recently used entries and layers until no more than `max_bytes` are left, except the one named
    /// `keep`. Returns the sizes of what was removed.
    pub fn prune(&self, max_bytes: u64, keep: Option<&str>) -> Vec<u64> {
        enum Name {
            Code(Key),
            Layer(Digest),
        }
        let failed = |e: io::Error| log::warn!("cannot list {}: {e}", self.path.display());
        let code = self.code().map_err(failed).unwrap_or_default();
        let layers = self.layers().map_err(failed).unwrap_or_default();
        let mut all: Vec<_> = code
            .into_iter()
            .map(|(key, bytes, used)| (used, bytes, key.to_string(), Name::Code(key)))
            .chain(layers.into_iter().map(|layer| {
                (layer.used, layer.bytes, layer.digest.to_string(), Name::Layer(layer.digest))
            }))
            .collect();
        all.sort_by_key(|(used, ..)| *used);
        let mut total: u64 = all.iter().map(|(_, bytes, ..)| bytes).sum();
        let mut removed = Vec::new();
        for (_, bytes, name, of) in all {
            if total <= max_bytes {
                break;
            }
            if Some(name.as_str()) != keep {
                match of {
                    Name::Code(key) => self.remove(&key),
                    Name::Layer(digest) => self.remove_layer(&digest),
                }
                total -= bytes;
                removed.push(bytes);
            }
        }
        removed
    }

    /// Removes everything that is not in use by a compilation: entries, memos, leftovers.
    /// Returns the sizes of what was removed.
    pub fn clear(&self) -> Vec<u64> {
        self.sweep_temporary();
        for directory in ["memos", "seals", "images"] {
            for name in self.names(directory).unwrap_or_default() {
                self.unlink(directory, &name);
            }
        }
        let removed = self.prune(0, None);
        // Also what describes code that is not there, and empty code, which counts nothing above.
        for directory in ["objects", "layers"] {
            for name in self.names(directory).unwrap_or_default() {
                self.unlink(directory, &name);
            }
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

    /// Keeps the numbers of memos and of known images within bounds.
    pub(super) fn prune_memos(&self) {
        for directory in ["memos", "images"] {
            let names = self.names(directory).unwrap_or_default();
            if names.len() <= MAX_MEMOS {
                continue;
            }
            let age = |name: &String| {
                let path = format!("{directory}/{name}");
                rustix::fs::statat(&self.dir, path, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(UNIX_EPOCH, |facts| modified(&facts))
            };
            let mut aged: Vec<_> = names.iter().map(|name| (age(name), name)).collect();
            aged.sort_unstable();
            for (_, name) in aged.iter().take(names.len() / 2) {
                self.unlink(directory, name);
            }
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
