//! The directory of compiled code, and of the WebAssembly in images' layers.
//!
//! ```text
//! objects/KEY.cwasm   compiled code
//! objects/KEY.json    what it is and its checksum
//! seals/KEY           symbolic link: "KIND BOOT FILE", this file has been verified in this boot;
//!                     its modification time is when the entry was last used
//! memos/FILE          symbolic link: digest of a module's file, see `memo`
//! layers/DIGEST       a layer of an image, its seal beside those of the code; see `layers`
//! images/DIGEST       which layers the image of this manifest or index has
//! locks/KEY           while KEY is being compiled, or the layers of an image are read, see `lock`
//! tmp/…               what is being written; locked by its writer
//! ```
//!
//! A crash leaves whole entries and, in `tmp`, things without a writer, which the next insertion removes.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use serde::{Deserialize, Serialize};

use crate::config::CacheConfig;
use crate::engine::Settings;

use super::compile::Compiled;
use super::digest::Digest;
use super::key::{self, Key};
use super::{Artifact, Kind, Origin};

mod layers;
mod sweep;
mod temporary;

pub use layers::{Described, Writer};
pub use sweep::{Entry, Layer};
use temporary::{Temporary, unique};

const DIRECTORIES: [&str; 7] = ["objects", "seals", "memos", "layers", "images", "locks", "tmp"];

/// What is known of an entry beside its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Under which name the module was seen first.
    pub name: String,
    /// Module or component.
    pub kind: Kind,
    /// SHA-256 of the WebAssembly.
    pub digest: Digest,
    /// Bytes of the WebAssembly.
    pub wasm_bytes: u64,
    /// SHA-256 of the compiled code.
    pub checksum: Digest,
    /// Bytes of the compiled code.
    pub code_bytes: u64,
    /// What it was compiled for, in words.
    pub engine: String,
    /// Wasmtime's own hash of what compiled code depends on.
    pub compatibility: String,
    /// Milliseconds that it took to compile.
    pub compile_ms: u64,
}

/// The directory of compiled code.
#[derive(Debug)]
pub struct Store {
    dir: OwnedFd,
    path: PathBuf,
    boot: String,
    max_bytes: u64,
}

impl Store {
    /// Opens the directory, creating it if needed.
    ///
    /// # Errors
    /// When it cannot be created or opened, or others than its owner, the calling user, may enter it.
    pub fn open(config: &CacheConfig) -> Result<Self, String> {
        let path = config.dir.clone();
        let failed = |step: &str, e: io::Error| format!("{step} cache.dir {}: {e}", path.display());

        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(io::Error::from);
        let dir = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent).map_err(|e| failed("create", e))?;
                }
                match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(failed("create", e));
                    }
                    _ => open(),
                }
            }
            opened => opened,
        }
        .map_err(|e| failed("open", e))?;
        let store = Self::adopt(dir, config)?;
        for name in DIRECTORIES {
            match rustix::fs::mkdirat(&store.dir, name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => log::debug!("create {}/{name}: {e}", path.display()),
            }
        }
        Ok(store)
    }

    /// Opens the directory to look at it: nothing is created. `None` if it does not exist.
    ///
    /// # Errors
    /// When it cannot be opened, or others than its owner, the calling user, may enter it.
    pub fn existing(config: &CacheConfig) -> Result<Option<Self>, String> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, &config.dir, flags, Mode::empty()) {
            Ok(dir) => Self::adopt(dir, config).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(format!("open cache.dir {}: {e}", config.dir.display())),
        }
    }

    /// Takes an opened directory, if it is closed to others.
    fn adopt(dir: OwnedFd, config: &CacheConfig) -> Result<Self, String> {
        let path = config.dir.clone();
        let failed = |step: &str, e: io::Error| format!("{step} cache.dir {}: {e}", path.display());
        let facts = rustix::fs::fstat(&dir).map_err(|e| failed("stat", e.into()))?;
        let own = rustix::process::geteuid().as_raw();
        if facts.st_uid != own || facts.st_mode & 0o077 != 0 {
            return Err(format!(
                "cache.dir {} belongs to user {} with mode {:03o}; it must belong to user {own} with mode 700",
                path.display(),
                facts.st_uid,
                facts.st_mode & 0o777,
            ));
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|e| format!("read /proc/sys/kernel/random/boot_id: {e}"))?;
        Ok(Self { dir, path, boot: boot.trim().to_owned(), max_bytes: config.max_bytes })
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The compiled code of this name, if it is there and is what was stored.
    pub(super) fn look_up(&self, key: &Key, digest: Digest) -> Option<Artifact> {
        let path = format!("objects/{key}.cwasm");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.dir, &path, flags, Mode::empty()).ok()?);
        let kind = self.verify(key, &file, &digest).map_err(|why| {
            log::warn!("{}/{path} is not used and will be made anew: {why}", self.path.display());
            self.forget(key, &file);
        });
        Some(Artifact { file, digest, key: *key, kind: kind.ok()?, origin: Origin::Hit })
    }

    /// Checks that the file is what was stored: by its seal, or by its checksum, once per boot.
    fn verify(&self, key: &Key, file: &File, digest: &Digest) -> Result<Kind, String> {
        let facts = self.own_file(file)?;
        let (seal, stamp) = (format!("seals/{key}"), self.stamp(&facts));
        if let Ok(target) = rustix::fs::readlinkat(&self.dir, &seal, Vec::with_capacity(160))
            && let Some((kind, sealed)) = target.to_str().ok().and_then(|t| t.split_once(' '))
            && sealed == stamp
            && let Some(kind) =
                [Kind::Module, Kind::Component].into_iter().find(|k| k.as_str() == kind)
        {
            self.touch(&seal);
            return Ok(kind);
        }
        let meta = self.meta(key)?;
        if meta.digest != *digest {
            return Err(format!("it is of the module {}, not {digest}", meta.digest));
        }
        checksum(file, &facts, &meta)?;
        if let Err(e) = self.link(&format!("{} {stamp}", meta.kind.as_str()), &seal) {
            log::debug!("cannot remember that {key} is verified: {e}");
        }
        Ok(meta.kind)
    }

    /// Checks an entry in full, whether or not it has been before, and changes nothing.
    ///
    /// # Errors
    /// Says why the entry would not be used.
    pub fn check(&self, entry: &Entry) -> Result<(), String> {
        let path = format!("objects/{}.cwasm", entry.key);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, &path, flags, Mode::empty())
            .map_err(|e| e.to_string())?;
        let file = File::from(file);
        let facts = self.own_file(&file)?;
        checksum(&file, &facts, &self.meta(&entry.key)?)
    }

    /// What is known of an entry.
    fn meta(&self, key: &Key) -> Result<Meta, String> {
        let path = format!("objects/{key}.json");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, &path, flags, Mode::empty())
            .map_err(|e| format!("{path}: {e}"))?;
        let file = File::from(file);
        self.own_file(&file).map_err(|e| format!("{path}: {e}"))?;
        let mut text = Vec::new();
        file.take(64 << 10).read_to_end(&mut text).map_err(|e| format!("{path}: {e}"))?;
        serde_json::from_slice(&text).map_err(|e| format!("{path}: {e}"))
    }

    /// Checks that nobody but the calling user can have written the file.
    fn own_file(&self, file: &File) -> Result<Metadata, String> {
        let facts = file.metadata().map_err(|e| e.to_string())?;
        let own = rustix::process::geteuid().as_raw();
        if !facts.is_file() || facts.uid() != own || facts.mode() & 0o7333 != 0 {
            return Err(format!(
                "it is not a regular file of user {own} that nobody may write (user {}, mode {:o})",
                facts.uid(),
                facts.mode()
            ));
        }
        Ok(facts)
    }

    /// What tells a verified file in this boot from any other state of it.
    fn stamp(&self, facts: &Metadata) -> String {
        format!(
            "{} {:x}-{:x}-{:x}.{:x}-{:x}.{:x}",
            self.boot,
            facts.ino(),
            facts.size(),
            facts.mtime(),
            facts.mtime_nsec(),
            facts.ctime(),
            facts.ctime_nsec()
        )
    }

    /// Notes that an entry is used now. Failing to costs no more than a wrong order of eviction.
    fn touch(&self, seal: &str) {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        let _ = rustix::fs::utimensat(&self.dir, seal, &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Makes `path` a symbolic link with this target, whatever it was.
    pub(super) fn link(&self, target: &str, path: &str) -> io::Result<()> {
        match rustix::fs::symlinkat(target, &self.dir, path) {
            Err(rustix::io::Errno::EXIST) => {
                let temporary = format!("tmp/{}", unique());
                rustix::fs::symlinkat(target, &self.dir, &temporary)?;
                Ok(rustix::fs::renameat(&self.dir, &temporary, &self.dir, path)?)
            }
            made => Ok(made?),
        }
    }

    /// Stores compiled code; returns it as stored, opened for reading.
    pub(super) fn insert(
        &self,
        key: &Key,
        settings: &Settings,
        name: &str,
        compiled: &Compiled,
    ) -> Result<File, String> {
        let failed = |e: io::Error| format!("write to cache.dir {}: {e}", self.path.display());
        let report = &compiled.report;
        let len = compiled.file.metadata().map_err(failed)?.size();
        if len > self.max_bytes {
            return Err(format!(
                "its code has {len} bytes, more than cache.max_bytes ({})",
                self.max_bytes
            ));
        }
        self.sweep_temporary();

        // The code, with its checksum taken on the way.
        let code = Temporary::create(self).map_err(failed)?;
        let checksum = Digest::of_file(&compiled.file, len, |piece| (&code.file).write_all(piece))
            .map_err(failed)?;

        // What is known of it: in place before the code, so that the code is never without it.
        let meta = Meta {
            name: name.to_owned(),
            kind: report.kind,
            digest: report.digest,
            wasm_bytes: report.wasm_bytes,
            checksum,
            code_bytes: len,
            engine: key::engine(settings),
            compatibility: report.compatibility.clone(),
            compile_ms: report.compile_ms,
        };
        let note = Temporary::create(self).map_err(failed)?;
        let text = serde_json::to_vec_pretty(&meta).map_err(|e| failed(e.into()))?;
        note.file.write_all_at(&text, 0).map_err(failed)?;
        note.publish(&format!("objects/{key}.json")).map_err(failed)?;
        rustix::fs::fsync(&code.file).map_err(|e| failed(e.into()))?;
        code.publish(&format!("objects/{key}.cwasm")).map_err(failed)?;

        // What the runner gets is not the descriptor that could write.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = format!("objects/{key}.cwasm");
        let file = rustix::fs::openat(&self.dir, &path, flags, Mode::empty());
        let file = File::from(file.map_err(|e| failed(e.into()))?);
        let stamp = self.stamp(&file.metadata().map_err(failed)?);
        if let Err(e) =
            self.link(&format!("{} {stamp}", meta.kind.as_str()), &format!("seals/{key}"))
        {
            log::debug!("cannot remember that {key} is verified: {e}");
        }
        self.prune(self.max_bytes, Some(&key.to_string()));
        self.prune_memos();
        Ok(file)
    }

    /// Removes an entry, unless its code is no longer this file.
    pub(super) fn forget(&self, key: &Key, file: &File) {
        let path = format!("objects/{key}.cwasm");
        let there = rustix::fs::statat(&self.dir, &path, AtFlags::SYMLINK_NOFOLLOW);
        if let (Ok(there), Ok(ours)) = (there, file.metadata())
            && there.st_ino == ours.ino()
            && there.st_dev == ours.dev()
        {
            self.remove(key);
        }
    }

    /// Removes an entry. Whoever has it open or mapped keeps it.
    fn remove(&self, key: &Key) {
        for path in
            [format!("objects/{key}.cwasm"), format!("objects/{key}.json"), format!("seals/{key}")]
        {
            let _ = rustix::fs::unlinkat(&self.dir, path, AtFlags::empty());
        }
    }
}

/// Checks that the code is the one that `meta` describes.
fn checksum(code: &File, facts: &Metadata, meta: &Meta) -> Result<(), String> {
    if meta.code_bytes != facts.size() {
        return Err(format!("it has {} bytes, not {}", facts.size(), meta.code_bytes));
    }
    let checksum = Digest::of_file(code, facts.size(), |_| Ok(())).map_err(|e| e.to_string())?;
    if meta.checksum != checksum {
        return Err(format!("its checksum is {checksum}, not {}", meta.checksum));
    }
    Ok(())
}
