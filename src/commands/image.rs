//! The WebAssembly in images: an OCI layout (directory or tar), or what `docker save` writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lighter::layers::MEDIA_TYPES;
use serde::Deserialize;

/// A WebAssembly file found in an image.
pub(crate) struct Found {
    /// Its path in the image, or its layer's digest.
    pub(crate) name: String,
    /// Its content, in memory.
    pub(crate) file: File,
}

/// An image's files by name.
enum Blobs {
    Directory(PathBuf),
    Archive { file: File, places: BTreeMap<String, (u64, u64)> },
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
}

/// An index or a manifest: the fields that exist tell which.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct DockerManifest {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

#[derive(Deserialize, Default)]
struct ImageConfig {
    #[serde(default)]
    config: Option<Execution>,
}

#[derive(Deserialize, Default)]
struct Execution {
    #[serde(rename = "Entrypoint", default)]
    entrypoint: Option<Vec<String>>,
    #[serde(rename = "Cmd", default)]
    cmd: Option<Vec<String>>,
    #[serde(rename = "WorkingDir", default)]
    working_dir: Option<String>,
}

/// Finds the WebAssembly in the image at `path`: its entrypoint, or all `.wasm` files if that is none.
pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Vec<Found>> {
    let blobs = if path.is_dir() {
        Blobs::Directory(path.to_owned())
    } else {
        Blobs::archive(File::open(path)?)?
    };
    blobs.find(max_bytes)
}

/// The same for an image that is already open as a tar file.
pub(crate) fn read(archive: File, max_bytes: u64) -> Result<Vec<Found>> {
    Blobs::archive(archive)?.find(max_bytes)
}

impl Blobs {
    fn archive(file: File) -> Result<Self> {
        let mut places = BTreeMap::new();
        let mut archive = tar::Archive::new(BufReader::new(file.try_clone()?));
        for entry in archive.entries_with_seek()? {
            let entry = entry.context("read the tar archive")?;
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            places.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Self::Archive { file, places })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(dir) => dir.join(name).is_file(),
            Self::Archive { places, .. } => places.contains_key(name),
        }
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + '_>> {
        match self {
            Self::Directory(dir) => {
                let path = dir.join(name);
                Ok(Box::new(File::open(&path).with_context(|| path.display().to_string())?))
            }
            Self::Archive { file, places } => {
                let (at, len) =
                    places.get(name).with_context(|| format!("the image lacks {name}"))?;
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(*at))?;
                Ok(Box::new(file.take(*len)))
            }
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let mut text = Vec::new();
        self.open(name)?.take(16 << 20).read_to_end(&mut text)?;
        serde_json::from_slice(&text).with_context(|| format!("{name} of the image"))
    }

    fn find(&self, max_bytes: u64) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        if self.has("index.json") {
            let mut pending = vec!["index.json".to_owned()];
            while let Some(name) = pending.pop() {
                let manifest: Manifest = self.json(&name)?;
                for child in &manifest.manifests {
                    let blob = blob(&child.digest)?;
                    // Other platforms' manifests are often not there.
                    if self.has(&blob) {
                        pending.push(blob);
                    }
                }
                if !manifest.layers.is_empty() {
                    self.find_in_manifest(&manifest, max_bytes, &mut found)?;
                }
            }
        } else if self.has("manifest.json") {
            for manifest in self.json::<Vec<DockerManifest>>("manifest.json")? {
                let config = self.json(&manifest.config)?;
                self.find_in_layers(&config, &manifest.layers, max_bytes, &mut found)?;
            }
        } else {
            bail!("neither an OCI layout nor a docker archive: no index.json, no manifest.json");
        }
        Ok(found)
    }

    fn find_in_manifest(
        &self,
        manifest: &Manifest,
        max_bytes: u64,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let mut archives = Vec::new();
        for layer in &manifest.layers {
            let name = blob(&layer.digest)?;
            if MEDIA_TYPES.contains(&layer.media_type.as_str()) {
                let file = keep(&mut self.open(&name)?, max_bytes)?;
                found.push(Found { name: layer.digest.clone(), file });
            } else if layer.media_type.contains("tar") {
                archives.push(name);
            }
        }
        let config = match &manifest.config {
            Some(config) if !archives.is_empty() => self.json(&blob(&config.digest)?)?,
            _ => ImageConfig::default(),
        };
        self.find_in_layers(&config, &archives, max_bytes, found)
    }

    fn find_in_layers(
        &self,
        config: &ImageConfig,
        layers: &[String],
        max_bytes: u64,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let entrypoint = entrypoint(config);
        // A later layer's file of the same name is the one that is seen.
        let mut files = BTreeMap::new();
        for layer in layers {
            let reading = || format!("layer {layer}");
            let mut archive =
                tar::Archive::new(uncompressed(self.open(layer)?).with_context(reading)?);
            for entry in archive.entries().with_context(reading)? {
                let mut entry = entry.with_context(reading)?;
                let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
                let path = format!("/{}", path.trim_start_matches('/'));
                let wanted = is_entrypoint(&path, entrypoint.as_deref()) || path.ends_with(".wasm");
                if wanted && entry.header().entry_type().is_file() {
                    let file = keep(&mut entry, max_bytes).with_context(|| path.clone())?;
                    files.insert(path, file);
                }
            }
        }
        let any = files.keys().any(|path| is_entrypoint(path, entrypoint.as_deref()));
        files.retain(|path, _| !any || is_entrypoint(path, entrypoint.as_deref()));
        found.extend(files.into_iter().map(|(name, file)| Found { name, file }));
        Ok(())
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

/// The path of a blob. A digest is from the image, so it must not lead elsewhere.
fn blob(digest: &str) -> Result<String> {
    match digest.split_once(':') {
        Some((algorithm, hex))
            if !hex.is_empty()
                && algorithm.bytes().chain(hex.bytes()).all(|c| c.is_ascii_alphanumeric()) =>
        {
            Ok(format!("blobs/{algorithm}/{hex}"))
        }
        _ => bail!("{digest:?} is not a digest"),
    }
}

/// A layer as a plain tar stream.
fn uncompressed<'a>(mut layer: Box<dyn Read + 'a>) -> Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::new();
    layer.by_ref().take(4).read_to_end(&mut magic)?;
    let gzip = magic.starts_with(&[0x1f, 0x8b]);
    if magic == [0x28, 0xb5, 0x2f, 0xfd] {
        bail!("is compressed with zstd, which this command cannot read");
    }
    let whole = std::io::Cursor::new(magic).chain(layer);
    Ok(if gzip { Box::new(flate2::read::MultiGzDecoder::new(whole)) } else { Box::new(whole) })
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
