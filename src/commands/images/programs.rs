//! All the WebAssembly in images, for whoever wants it compiled beforehand: an OCI layout (directory or tar), or what
//! `docker save` writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Image;
use super::compression::uncompressed;
use super::files::Files;
use super::layout::DockerManifest;
use super::manifest::{ImageConfig, Manifest, blob_path};

/// A WebAssembly file found in an image.
pub(crate) struct Found {
    /// Its path in the image, or its layer's digest.
    pub(crate) name: String,
    /// Its content, in memory.
    pub(crate) file: File,
}

/// Finds the WebAssembly in the image at `path`: its entrypoint, or all `.wasm` files if that is none.
pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Vec<Found>> {
    find(&Files::open(path)?, max_bytes)
}

/// The same for an image that is already open as a tar file.
pub(crate) fn read(archive: File, max_bytes: u64) -> Result<Vec<Found>> {
    find(&Files::archive(archive)?, max_bytes)
}

impl Image {
    /// The WebAssembly in the image: its layers, and its entrypoint, or all `.wasm` files if that is none.
    ///
    /// # Errors
    /// Names the layer that is not what its digest says, or the file with more than `max_bytes`.
    pub(crate) fn programs(&self, max_bytes: u64) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut seen = Seen::new(&self.config);
        for layer in &self.layers {
            if layer.descriptor.is_wasm() {
                let file = self.with_layer(layer, |mut content| keep(&mut content, max_bytes))?;
                let name = layer.descriptor.title().unwrap_or(&layer.descriptor.digest).to_owned();
                found.push(Found { name, file });
            } else if layer.descriptor.is_archive() {
                self.with_layer(layer, |archive| seen.read(archive, max_bytes))?;
            }
        }
        found.extend(seen.found());
        Ok(found)
    }
}

fn find(files: &Files, max_bytes: u64) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    if files.has("index.json") {
        let mut pending = vec!["index.json".to_owned()];
        while let Some(name) = pending.pop() {
            let manifest: Manifest = files.json(&name)?;
            for child in &manifest.manifests {
                let blob = blob_path(&child.sha256()?);
                // Other platforms' manifests are often not there.
                if files.has(&blob) {
                    pending.push(blob);
                }
            }
            if !manifest.layers.is_empty() {
                find_in_manifest(files, &manifest, max_bytes, &mut found)?;
            }
        }
    } else if files.has("manifest.json") {
        for manifest in files.json::<Vec<DockerManifest>>("manifest.json")? {
            let config = files.json(&manifest.config)?;
            find_in_layers(files, &config, &manifest.layers, max_bytes, &mut found)?;
        }
    } else {
        bail!("neither an OCI layout nor a docker archive: no index.json, no manifest.json");
    }
    Ok(found)
}

fn find_in_manifest(
    files: &Files,
    manifest: &Manifest,
    max_bytes: u64,
    found: &mut Vec<Found>,
) -> Result<()> {
    let mut archives = Vec::new();
    for layer in &manifest.layers {
        let name = blob_path(&layer.sha256()?);
        if layer.is_wasm() {
            let file = keep(&mut files.reader(&name)?, max_bytes)?;
            found.push(Found { name: layer.digest.clone(), file });
        } else if layer.media_type.contains("tar") {
            archives.push(name);
        }
    }
    let config = match &manifest.config {
        Some(config) if !archives.is_empty() => files.json_blob(config)?,
        _ => ImageConfig::default(),
    };
    find_in_layers(files, &config, &archives, max_bytes, found)
}

fn find_in_layers(
    files: &Files,
    config: &ImageConfig,
    layers: &[String],
    max_bytes: u64,
    found: &mut Vec<Found>,
) -> Result<()> {
    let mut seen = Seen::new(config);
    for layer in layers {
        let reading = || format!("layer {layer}");
        let mut plain = uncompressed(files.reader(layer)?).with_context(reading)?;
        seen.read(&mut plain, max_bytes).with_context(reading)?;
    }
    found.extend(seen.found());
    Ok(())
}

/// The programs in an image's archives, read from the lowest.
struct Seen {
    entrypoint: Option<String>,
    files: BTreeMap<String, File>,
}

impl Seen {
    fn new(config: &ImageConfig) -> Self {
        Self { entrypoint: entrypoint(config), files: BTreeMap::new() }
    }

    fn read(&mut self, archive: &mut dyn Read, max_bytes: u64) -> Result<()> {
        let entrypoint = self.entrypoint.as_deref();
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            let path = format!("/{}", path.trim_start_matches('/'));
            let wanted = is_entrypoint(&path, entrypoint) || path.ends_with(".wasm");
            if wanted && entry.header().entry_type().is_file() {
                let file = keep(&mut entry, max_bytes).with_context(|| path.clone())?;
                // A later layer's file of the same name is the one that is seen.
                self.files.insert(path, file);
            }
        }
        Ok(())
    }

    fn found(mut self) -> impl Iterator<Item = Found> {
        let entrypoint = self.entrypoint.as_deref();
        let any = self.files.keys().any(|path| is_entrypoint(path, entrypoint));
        self.files.retain(|path, _| !any || is_entrypoint(path, entrypoint));
        self.files.into_iter().map(|(name, file)| Found { name, file })
    }
}

/// The program that the image runs, without the function after `#`.
fn entrypoint(config: &ImageConfig) -> Option<String> {
    let config = config.config.as_ref()?;
    let mut words = config.entrypoint.iter().chain(&config.cmd).flatten();
    let word = words.next()?.split('#').next()?.to_owned();
    if word.starts_with('/') || !word.contains('/') {
        return Some(word);
    }
    let cwd = config.working_dir.as_deref().unwrap_or("/").trim_end_matches('/');
    Some(format!("{cwd}/{}", word.trim_start_matches("./")))
}

/// Whether a file is that program; one without a slash is in the working directory or on the `PATH`.
fn is_entrypoint(path: &str, entrypoint: Option<&str>) -> bool {
    match entrypoint {
        Some(entrypoint) if entrypoint.contains('/') => path == entrypoint,
        Some(entrypoint) => path.rsplit('/').next() == Some(entrypoint),
        None => false,
    }
}

/// Copies a file of the image to memory.
fn keep(content: &mut dyn Read, max_bytes: u64) -> Result<File> {
    let memory = rustix::fs::memfd_create("lighter-wasm", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    if std::io::copy(&mut content.take(max_bytes.saturating_add(1)), &mut file)? > max_bytes {
        bail!("has more bytes than compile.max_module_bytes ({max_bytes})");
    }
    Ok(file)
}
