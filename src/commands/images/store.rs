//! The images that this user has pulled: an OCI layout, so that other tools read it, too.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use lighter::cache::{Digest, Hasher};
use lighter::host;
use lighter::layers::Layer;
use rustix::fs::{FlockOperation, flock};

use super::files::Files;
use super::manifest::{Descriptor, Manifest, Platform, REF_NAME, blob_path, sha256};
use super::unpack::Limits;
use super::{Image, Reference, layout};

/// Overrides where images are kept.
const VARIABLE: &str = "LIGHTER_IMAGES";

/// A directory with images.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// While it is held, nothing is removed from the store.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// An image's content as files. Nobody may write to them.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The root file system that its archives make; empty if it has none.
    pub(crate) files: PathBuf,
    /// Its WebAssembly layers.
    pub(crate) layers: Vec<Layer>,
    _lock: Lock,
}

impl Store {
    /// Opens this user's: `$LIGHTER_IMAGES`, else root's in /var/lib/lighter/images, others' in
    /// $XDG_DATA_HOME/lighter/images (~/.local/share by default). Makes it if it is not there.
    pub(crate) fn open() -> Result<Self> {
        let dir = match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None if is_root() => "/var/lib/lighter/images".into(),
            None => host::user_data()
                .ok_or_else(|| {
                    anyhow!("neither XDG_DATA_HOME nor HOME is set: no place for images")
                })?
                .join("lighter/images"),
        };
        Self::at(std::path::absolute(dir)?)
    }

    fn at(dir: PathBuf) -> Result<Self> {
        let store = Self { dir };
        let about = || format!("the store of images {}", store.dir.display());
        for part in ["blobs/sha256", "incoming", "unpacked"] {
            fs::DirBuilder::new()
                .recursive(true)
                // What comes from a private registry is for nobody else.
                .mode(0o700)
                .create(store.dir.join(part))
                .with_context(about)?;
        }
        let layout = store.dir.join("oci-layout");
        if !layout.exists() {
            store
                .replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
                .with_context(about)?;
        }
        Ok(store)
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps others from removing anything, or waits for them.
    pub(super) fn lock(&self) -> Result<Lock> {
        self.locked("lock", FlockOperation::LockShared)
    }

    fn locked(&self, name: &str, operation: FlockOperation) -> Result<Lock> {
        let path = self.dir.join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        rustix::io::retry_on_intr(|| flock(&file, operation))
            .with_context(|| path.display().to_string())?;
        Ok(Lock(file))
    }

    /// All images by name; those of one name are for several platforms.
    pub(crate) fn list(&self) -> Result<Vec<Descriptor>> {
        match self.dir.join("index.json").exists() {
            true => Ok(self.files().json::<Manifest>("index.json")?.manifests),
            false => Ok(Vec::new()),
        }
    }

    fn files(&self) -> Files {
        Files::Directory(self.dir.clone())
    }

    /// The image `reference`, if all of it is there.
    pub(crate) fn get(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<Option<Image>> {
        let lock = self.lock()?;
        let name = reference.to_string();
        let is_it = |found: &Descriptor| {
            found.annotations.get(REF_NAME) == Some(&name)
                || reference.digest() == Some(&found.digest)
        };
        let found: Vec<_> = self.list()?.into_iter().filter(is_it).collect();
        if found.is_empty() {
            return Ok(None);
        }
        // One that was pulled for another platform, or damaged, is pulled again.
        match layout::resolve(self.files(), found, platform) {
            Ok(image) if image.layers.iter().all(|layer| image.files.has(&layer.path)) => {
                Ok(Some(Image { name, lock: Some(lock), ..image }))
            }
            Ok(_) => Ok(None),
            Err(e) => {
                log::debug!("image {name} of the store: {e:#}");
                Ok(None)
            }
        }
    }

    /// The content of `image` as files, which all its containers share: unpacked now if it was not before. No module of it may
    /// have more than `max_module_bytes`.
    ///
    /// # Errors
    /// Names the layer that cannot be unpacked.
    pub(crate) fn unpacked(&self, image: &Image, max_module_bytes: u64) -> Result<Unpacked> {
        let digest = sha256(&image.digest)?;
        let dir = self.dir.join("unpacked").join(digest.to_string());
        let unpacked = Unpacked {
            files: dir.join("files"),
            layers: image.wasm_layers_in(&dir.join("layers")),
            _lock: self.lock()?,
        };
        if dir.exists() {
            return Ok(unpacked);
        }
        let aside = self.aside()?;
        let made = fs::create_dir(aside.join("files"))
            .and_then(|()| fs::create_dir(aside.join("layers")))
            .with_context(|| aside.display().to_string())
            .and_then(|()| image.unpack(&aside.join("files"), &Limits::default()))
            .and_then(|()| image.copy_wasm_layers(&aside.join("layers"), max_module_bytes))
            .and_then(|()| match fs::rename(&aside, &dir) {
                // Another process was faster.
                Err(_) if dir.exists() => Ok(fs::remove_dir_all(&aside)?),
                renamed => renamed.with_context(|| dir.display().to_string()),
            });
        if made.is_err() {
            let _ = fs::remove_dir_all(&aside);
        }
        made.map(|()| unpacked)
    }

    /// A directory that nobody else has, beside those that are whole.
    fn aside(&self) -> Result<PathBuf> {
        let mut number = 0_u32;
        loop {
            let dir = self.dir.join("incoming").join(format!("{}.{number}", std::process::id()));
            match fs::create_dir(&dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                made => {
                    return made.map(|()| dir.clone()).with_context(|| dir.display().to_string());
                }
            }
        }
    }

    /// Whether a blob is there.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.dir.join(blob_path(digest)).is_file()
    }

    /// A new blob.
    pub(super) fn writer(&self) -> Result<Writer> {
        let dir = self.dir.join("incoming");
        let file = tempfile_in(&dir).with_context(|| dir.display().to_string())?;
        Ok(Writer {
            file: file.1,
            path: file.0,
            hasher: Hasher::default(),
            size: 0,
            is_kept: false,
        })
    }

    /// Keeps bytes as a blob.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let mut writer = self.writer()?;
        writer.write_all(bytes)?;
        let digest = Digest::of(bytes);
        writer.finish(self, &digest)?;
        Ok(digest)
    }

    /// Calls `descriptor`, all of which is there, `name`.
    pub(super) fn name(&self, name: &str, mut descriptor: Descriptor) -> Result<()> {
        let _lock = self.locked("index.lock", FlockOperation::LockExclusive)?;
        let mut all = self.list()?;
        descriptor.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        all.retain(|other| other.annotations.get(REF_NAME).is_some_and(|other| other != name));
        all.push(descriptor);
        self.replace("index.json", layout::index(&all).to_string().as_bytes())
    }

    /// Writes a file as a whole.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, mut file) = tempfile_in(&self.dir.join("incoming"))?;
        let target = self.dir.join(name);
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&path, &target));
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        written.with_context(|| target.display().to_string())
    }
}

/// Whether we are root of the machine, and not in a user namespace alone, where all is some user's.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root() && !host::in_user_namespace()
}

/// A file that nobody else has, and its path.
fn tempfile_in(dir: &Path) -> io::Result<(PathBuf, File)> {
    let mut number = 0_u32;
    loop {
        let path = dir.join(format!("{}.{number}", std::process::id()));
        match File::options().create_new(true).write(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            opened => return opened.map(|file| (path, file)),
        }
    }
}

/// A blob in the making, which is gone unless it is finished.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    /// Bytes written.
    pub(super) size: u64,
    is_kept: bool,
}

impl Writer {
    /// Keeps it, if it is what `digest` says.
    pub(super) fn finish(mut self, store: &Store, digest: &Digest) -> Result<()> {
        let actual = std::mem::take(&mut self.hasher).finish();
        if actual != *digest {
            anyhow::bail!(
                "blob sha256:{digest} is not what its digest says: its content has sha256:{actual}"
            );
        }
        let target = store.dir.join(blob_path(digest));
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &target))
            .with_context(|| target.display().to_string())?;
        self.is_kept = true;
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
