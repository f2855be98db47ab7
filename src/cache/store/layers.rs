//! WebAssembly layers of images, kept as they are in the content store of whoever pulled them.
//!
//! They are files of the container's, so that these read what the digest says, and nobody reads the content store for
//! each start. A layer is verified like compiled code: while it is written, and by its checksum once in each boot.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::digest::Digest;
use super::super::lock::{self, Acquired};
use super::super::source::{Form, form_of};
use super::{Store, Temporary};
use crate::error::{Refusal, Result};

/// What is known of an image may have so many bytes.
const MAX_NOTE: u64 = 1 << 20;

/// What a seal of a layer begins with.
const KIND: &str = "layer";

/// A layer as the image's manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// SHA-256 of its content.
    pub digest: Digest,
    /// Bytes of its content.
    pub bytes: u64,
    /// Its annotation `org.opencontainers.image.title`: a file's name or path.
    pub title: Option<String>,
}

/// A layer being written; dropped unfinished, nothing stays of it.
pub struct Writer<'a> {
    temporary: Temporary<'a>,
    layer: &'a Described,
    hasher: Sha256,
    written: u64,
}

impl Store {
    /// The layers of the image whose manifest, or index, has the digest `image`; `None` if that is not known or one of
    /// them is not there any more.
    pub fn layers_of(&self, image: &Digest) -> Option<Vec<Described>> {
        let path = format!("images/{image}");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.dir, &path, flags, Mode::empty()).ok()?);
        self.own_file(&file).ok()?;
        let mut text = Vec::new();
        file.take(MAX_NOTE).read_to_end(&mut text).ok()?;
        let layers: Vec<Described> = serde_json::from_slice(&text).ok()?;
        layers.iter().all(|layer| self.has_layer(layer)).then_some(layers)
    }

    /// Remembers the layers of an image, which are all there.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn remember_layers(&self, image: &Digest, layers: &[Described]) -> io::Result<()> {
        self.prune_memos();
        let note = Temporary::create(self)?;
        note.file.write_all_at(&serde_json::to_vec(layers)?, 0)?;
        note.publish(&format!("images/{image}"))
    }

    /// Where the content of a layer is, for a bind mount.
    pub fn layer_path(&self, digest: &Digest) -> PathBuf {
        self.path.join(format!("layers/{digest}"))
    }

    /// Waits until nobody else reads the layers of `image`, and keeps others from it as long as the result is held.
    pub fn lock_image(&self, image: &Digest) -> Option<impl Sized + '_> {
        match lock::acquire(self, image, lock::PATIENCE) {
            Acquired::Held(lock) => Some(lock),
            _ => None,
        }
    }

    /// Whether the layer is there and is what it was; notes that it is used now.
    pub fn has_layer(&self, layer: &Described) -> bool {
        let path = format!("layers/{}", layer.digest);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.dir, &path, flags, Mode::empty()) else {
            return false;
        };
        match self.verify_layer(&layer.digest, &File::from(file)) {
            Ok(()) => true,
            Err(why) => {
                log::warn!(
                    "{}/{path} is not used and will be read anew: {why}",
                    self.path.display()
                );
                self.remove_layer(&layer.digest);
                false
            }
        }
    }

    fn verify_layer(&self, digest: &Digest, file: &File) -> Result<(), String> {
        let facts = self.own_file(file)?;
        let (seal, stamp) = (format!("seals/{digest}"), self.stamp(&facts));
        let sealed = format!("{KIND} {stamp}");
        if rustix::fs::readlinkat(&self.dir, &seal, Vec::with_capacity(160))
            .is_ok_and(|target| target.to_bytes() == sealed.as_bytes())
        {
            self.touch(&seal);
            return Ok(());
        }
        let read = Digest::of_file(file, facts.size(), |_| Ok(())).map_err(|e| e.to_string())?;
        if read != *digest {
            return Err(format!("its checksum is {read}"));
        }
        if let Err(e) = self.link(&sealed, &seal) {
            log::debug!("cannot remember that layer {digest} is verified: {e}");
        }
        Ok(())
    }

    /// Begins to write a layer.
    ///
    /// # Errors
    /// When no file can be made, or the layer is larger than the store may be.
    pub fn write_layer<'a>(&'a self, layer: &'a Described) -> Result<Writer<'a>> {
        if layer.bytes > self.max_bytes {
            return Err(Refusal::denied(format!(
                "layer sha256:{} has {} bytes, more than cache.max_bytes ({})",
                layer.digest, layer.bytes, self.max_bytes
            )));
        }
        self.sweep_temporary();
        let temporary = Temporary::create(self).map_err(|e| self.unwritable(e))?;
        Ok(Writer { temporary, layer, hasher: Sha256::new(), written: 0 })
    }

    fn unwritable(&self, e: io::Error) -> Refusal {
        Refusal::system(
            format_args!("keep a layer of an image in cache.dir {}", self.path.display()),
            e,
        )
    }

    /// Removes a layer. A container that has it keeps it.
    pub(super) fn remove_layer(&self, digest: &Digest) {
        for path in [format!("layers/{digest}"), format!("seals/{digest}")] {
            let _ = rustix::fs::unlinkat(&self.dir, path, AtFlags::empty());
        }
    }
}

impl Writer<'_> {
    /// Takes the next piece of the content.
    ///
    /// # Errors
    /// When it is more than the layer has, or cannot be written.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.written += piece.len() as u64;
        if self.written > self.layer.bytes {
            return Err(self.differs(format_args!("more than {} bytes", self.layer.bytes)));
        }
        self.hasher.update(piece);
        let store = self.temporary.store();
        (&self.temporary.file).write_all(piece).map_err(|e| store.unwritable(e))
    }

    /// Gives the layer its name, if it is what it should be.
    ///
    /// # Errors
    /// When the content has another size or digest, is not WebAssembly, or cannot be kept.
    pub fn finish(self) -> Result<()> {
        let digest = self.layer.digest;
        if self.written != self.layer.bytes {
            let (got, expected) = (self.written, self.layer.bytes);
            return Err(self.differs(format_args!("{got} bytes rather than {expected}")));
        }
        let read = Digest::from_bytes(self.hasher.clone().finalize().into());
        if read != digest {
            return Err(self.differs(format_args!("the digest sha256:{read}")));
        }
        let store = self.temporary.store();
        let failed = |e| store.unwritable(e);
        let mut head = [0; 4096];
        let len = self.temporary.file.read_at(&mut head, 0).map_err(failed)?;
        match form_of(&head[..len]) {
            Ok(Form::Module | Form::Component) => {}
            Ok(Form::Text) => {
                return Err(Refusal::denied(format!(
                    "layer sha256:{digest}: is text; a layer holds WebAssembly's binary form"
                )));
            }
            Err(why) => return Err(Refusal::denied(format!("layer sha256:{digest}: {why}"))),
        }
        rustix::fs::fsync(&self.temporary.file).map_err(|e| failed(e.into()))?;
        self.temporary.publish(&format!("layers/{digest}")).map_err(failed)?;
        store.prune(store.max_bytes, Some(&digest.to_string()));
        Ok(())
    }

    fn differs(&self, what: std::fmt::Arguments<'_>) -> Refusal {
        Refusal::system(
            format_args!("layer sha256:{}", self.layer.digest),
            format_args!("its content in containerd has {what}"),
        )
    }
}
