//! Images: where they are found, and what is in them.
//!
//! [`find`] takes what a person types, and answers with an [`Image`] whose content is on this machine: in an OCI layout, in
//! a tar file, or in the [`store`] of images, where those from a [`registry`] go. Nothing of it is used whose digest is
//! not what the manifest says.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

mod compression;
mod credentials;
mod files;
mod layout;
pub(crate) mod manifest;
pub(crate) mod programs;
mod reference;
pub(crate) mod registry;
pub(crate) mod store;
mod unpack;

use files::{Files, Verified};
pub(crate) use manifest::{Descriptor, Execution, ImageConfig, Manifest, Platform};
pub(crate) use reference::Reference;

/// An image that is on this machine.
#[derive(Debug)]
pub(crate) struct Image {
    /// What it is called where it was found; empty if it has no name there.
    pub(crate) name: String,
    /// Its manifest's: `sha256:…`; of a `docker save`, its configuration's.
    pub(crate) digest: String,
    /// Its manifest; empty of a `docker save`, which has none.
    pub(crate) manifest: Manifest,
    /// Its configuration; that of an artifact says nothing.
    pub(crate) config: ImageConfig,
    /// Its layers, from the lowest.
    pub(crate) layers: Vec<Layer>,
    files: Files,
    /// Keeps others from removing it.
    #[expect(dead_code, reason = "held, not read")]
    lock: Option<store::Lock>,
}

/// A layer of an image: an archive of files, or one WebAssembly file.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Its type, digest, size and annotations. The size of those in a `docker save` is not known, and 0.
    pub(crate) descriptor: Descriptor,
    /// Where it is among the image's files.
    path: String,
    /// What the digest is of.
    digested: Digested,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digested {
    /// The file as it is.
    File,
    /// What it has after decompression.
    Content,
}

impl Layer {
    fn of_layout(descriptor: Descriptor) -> Result<Self> {
        let path = manifest::blob_path(&descriptor.sha256()?);
        Ok(Self { descriptor, path, digested: Digested::File })
    }

    fn of_docker(digest: &str, path: &str, media_type: &str) -> Result<Self> {
        manifest::sha256(digest)?;
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_owned(),
            ..Descriptor::default()
        };
        Ok(Self { descriptor, path: path.to_owned(), digested: Digested::Content })
    }
}

impl Image {
    /// How its program is run, as its maker thinks.
    pub(crate) fn execution(&self) -> Execution {
        self.config.config.clone().unwrap_or_default()
    }

    /// Whether it says how it is run: an artifact does not.
    pub(crate) fn is_artifact(&self) -> bool {
        self.config == ImageConfig::default()
    }

    /// Gives the content of `layer`, decompressed if it is an archive, to `take`, and then checks that all of it was what its
    /// digest says.
    ///
    /// # Errors
    /// Names the layer; then nothing that `take` was given may be used.
    fn with_layer<T>(
        &self,
        layer: &Layer,
        take: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let about = || format!("layer {}", layer.descriptor.digest);
        let digest = layer.descriptor.sha256()?;
        let read = || -> Result<T> {
            let file = self.files.reader(&layer.path)?;
            match layer.digested {
                Digested::File => {
                    let mut file = Verified::new(file, digest, Some(layer.descriptor.size));
                    let taken = match layer.descriptor.is_archive() {
                        true => take(&mut *compression::uncompressed(&mut file)?),
                        false => take(&mut file),
                    };
                    // What is after the end of an archive counts, too. A wrong digest is the better reason of the two.
                    std::io::copy(&mut file, &mut std::io::sink())?;
                    taken
                }
                Digested::Content => {
                    let content = compression::uncompressed(file)?;
                    let mut content = Verified::new(content, digest, None);
                    let taken = take(&mut content);
                    std::io::copy(&mut content, &mut std::io::sink())?;
                    taken
                }
            }
        };
        read().with_context(about)
    }
}

/// When to ask the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pull {
    /// If the image is not on this machine
    #[default]
    Missing,
    /// Each time
    Always,
    /// Never
    Never,
}

/// Where and how to look for an image.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FindArgs {
    /// When to ask the registry
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) pull: Pull,
    /// Operating system and architecture to choose of an image for several [default: wasi/wasm, else linux and this
    /// machine's]
    #[arg(long, value_name = "OS/ARCH", value_parser = Platform::parse)]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) registry: registry::RegistryArgs,
}

/// What a person means by the name of an image.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// A layout's directory or a tar file, and the image in it.
    Path(PathBuf, Option<String>),
    Registry(Reference),
}

/// Whether `text` is meant as a path of an image on this machine, or is one.
pub(crate) fn is_path(text: &str) -> bool {
    matches!(source(text), Ok(Source::Path(..)))
}

fn source(text: &str) -> Result<Source> {
    for prefix in ["oci:", "oci-archive:", "docker-archive:", "dir:"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            if prefix == "dir:" {
                bail!("{text}: directories of skopeo's own form are not read; use oci:DIR");
            }
            // `oci` alone may be a repository's name.
            if prefix == "oci:"
                && !rest.contains('/')
                && !Path::new(rest.split(':').next().unwrap_or(rest)).exists()
            {
                break;
            }
            let (path, name) = match rest.split_once(':') {
                Some((path, name)) => (path, Some(name.to_owned())),
                None => (rest, None),
            };
            return Ok(Source::Path(path.into(), name));
        }
    }
    let name = text.strip_prefix("docker://").unwrap_or(text);
    let path = Path::new(text);
    let is_named_as_path = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    let is_layout = || path.join("index.json").is_file() || path.join("manifest.json").is_file();
    if is_named_as_path || path.is_file() || is_layout() {
        return Ok(Source::Path(path.into(), None));
    }
    Reference::parse(name).map(Source::Registry).map_err(|why| anyhow!("image {text:?}: {why}"))
}

/// Finds the image that `text` names: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, the path of a
/// layout or a tar file, or a name for a registry, whose images are kept in the store.
///
/// # Errors
/// Says where it was looked for, and why it cannot be had or used.
pub(crate) fn find(text: &str, args: &FindArgs) -> Result<Image> {
    match source(text)? {
        Source::Path(path, name) => {
            let image = Files::open(&path)
                .and_then(|files| layout::choose(files, name.as_deref(), args.platform.as_ref()));
            let mut image = image.with_context(|| format!("image {text:?}"))?;
            if image.name.is_empty() {
                image.name = text.to_owned();
            }
            Ok(image)
        }
        Source::Registry(reference) => {
            let about = || format!("image {reference}");
            let store = store::Store::open().with_context(about)?;
            let found = match args.pull {
                Pull::Always => None,
                Pull::Missing | Pull::Never => store.get(&reference, args.platform.as_ref())?,
            };
            match (found, args.pull) {
                (Some(image), _) => Ok(image),
                (None, Pull::Never) => {
                    bail!(
                        "{} is not in {}, and --pull never forbids to ask for it",
                        about(),
                        store.dir().display()
                    )
                }
                (None, _) => {
                    registry::pull(&reference, &store, args).with_context(about)?;
                    let image = store.get(&reference, args.platform.as_ref())?;
                    image.with_context(|| format!("{} is gone from the store", about()))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_path_or_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().display().to_string();
        let path =
            |path: &str, name: Option<&str>| Source::Path(path.into(), name.map(str::to_owned));
        let name = |text: &str| Source::Registry(Reference::parse(text).unwrap());
        for (text, expected) in [
            ("./app".to_owned(), path("./app", None)),
            (layout.clone(), path(&layout, None)),
            (format!("oci:{layout}:v1"), path(&layout, Some("v1"))),
            ("oci-archive:a.tar".to_owned(), path("a.tar", None)),
            ("docker-archive:a.tar:app:1".to_owned(), path("a.tar", Some("app:1"))),
            ("app".to_owned(), name("app")),
            ("docker://example.com/app:2".to_owned(), name("example.com/app:2")),
            ("oci:1.2".to_owned(), name("docker.io/library/oci:1.2")),
        ] {
            assert_eq!(source(&text).unwrap(), expected, "{text}");
        }
        assert!(source("Not A Name").unwrap_err().to_string().contains("Not A Name"));
        assert!(source("dir:/x").is_err());
    }
}
