//! An image's files, unpacked once for all containers of it. Nothing changes them: what a container writes lies above.

use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lighter::config::Config;
use lighter::layers::Layer;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::commands::images::store::Store;
use crate::commands::images::{Image, Limits};

/// Below the store of images.
const DIRECTORY: &str = "unpacked";
/// One that is not whole yet.
const PARTIAL: &str = ".partial";

/// Where an image's files are.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The root file system of its archives.
    pub(super) root: PathBuf,
    /// Its WebAssembly layers.
    pub(super) layers: Vec<Layer>,
}

/// A WebAssembly layer as it is noted.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    digest: String,
    title: Option<String>,
    /// Beside the note.
    file: PathBuf,
}

/// Unpacks `image`, unless that has been done.
pub(super) fn of(image: &Image, config: &Config) -> Result<Unpacked> {
    let store = Store::open()?.dir().join(DIRECTORY);
    // One user's owners of files are not another's.
    let dir = store.join(image.digest.replace(':', "-"));
    if !dir.is_dir() {
        unpack(image, config, &store, &dir)
            .with_context(|| format!("unpack it to {}", dir.display()))?;
    }
    let note: Vec<Noted> = serde_json::from_slice(&fs::read(dir.join("layers.json"))?)?;
    let layer = |noted: Noted| Layer {
        digest: noted.digest,
        title: noted.title,
        file: dir.join("layers").join(noted.file),
    };
    Ok(Unpacked { root: dir.join("rootfs"), layers: note.into_iter().map(layer).collect() })
}

fn unpack(image: &Image, config: &Config, store: &Path, dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(store)?;
    let lock = File::open(store)?;
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
    // Another may have been faster.
    if dir.is_dir() {
        return Ok(());
    }
    let partial = store.join(PARTIAL);
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let (root, layers) = (partial.join("rootfs"), partial.join("layers"));
    fs::create_dir_all(&root)?;
    fs::create_dir(&layers)?;
    fs::set_permissions(&root, Permissions::from_mode(0o755))?;
    let unpacked = image.unpack(&root, &Limits::default()).and_then(|()| {
        let files = image.wasm_layers(&layers, config.compile.max_module_bytes)?;
        let note = files.into_iter().map(|layer| Noted {
            digest: layer.digest,
            title: layer.title,
            file: layer.file.file_name().unwrap_or_default().into(),
        });
        let note: Vec<Noted> = note.collect();
        fs::write(partial.join("layers.json"), serde_json::to_vec(&note)?)?;
        Ok(fs::rename(&partial, dir)?)
    });
    if unpacked.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    unpacked
}
