//! Which image of a layout or of a `docker save` is meant.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::files::Files;
use super::manifest::{
    Descriptor, IMAGE_NAME, INDEX, ImageConfig, MAX_MANIFESTS, Manifest, Platform, REF_NAME,
    suiting,
};
use super::{Image, Layer, Reference};

/// An entry of the `manifest.json` that `docker save` writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerManifest {
    pub(super) config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    pub(super) layers: Vec<String>,
}

/// The type of a layer of such an archive.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// The image called `name` in `files`, or the only one there is.
pub(super) fn choose(
    files: Files,
    name: Option<&str>,
    platform: Option<&Platform>,
) -> Result<Image> {
    if files.has("index.json") {
        let index: Manifest = files.json("index.json")?;
        return resolve(files, named(index.manifests, name)?, platform);
    }
    if files.has("manifest.json") {
        return of_docker(files, name);
    }
    bail!("neither an OCI layout nor what `docker save` writes: no index.json, no manifest.json")
}

/// What a layout calls an image: as OCI has it, and as containerd has it.
fn names(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    [IMAGE_NAME, REF_NAME]
        .into_iter()
        .filter_map(|name| descriptor.annotations.get(name).map(String::as_str))
}

/// Whether `given` is what the image is called, in full or as people shorten it.
fn is_called(called: &str, given: &str) -> bool {
    let full = |text: &str| Reference::parse(text).map(|reference| reference.to_string()).ok();
    called == given || (full(given).is_some() && full(called) == full(given))
}

/// Those that have the name; without one, all if they are of one image.
fn named(all: Vec<Descriptor>, name: Option<&str>) -> Result<Vec<Descriptor>> {
    let list = |all: &[Descriptor]| {
        let list: BTreeSet<&str> = all.iter().filter_map(|found| names(found).next()).collect();
        list.into_iter().collect::<Vec<_>>().join(", ")
    };
    match name {
        Some(name) => {
            let there = list(&all);
            let found: Vec<_> = all
                .into_iter()
                .filter(|one| {
                    one.digest == name || names(one).any(|called| is_called(called, name))
                })
                .collect();
            if found.is_empty() {
                bail!("there is no image {name:?} in it, but these: {there}");
            }
            Ok(found)
        }
        None => {
            let different: BTreeSet<_> = all.iter().map(|one| names(one).next()).collect();
            if different.len() > 1 {
                bail!("there are several images in it; name one of these: {}", list(&all));
            }
            Ok(all)
        }
    }
}

/// Follows indexes to the manifest that suits best and is there.
pub(super) fn resolve(
    files: Files,
    roots: Vec<Descriptor>,
    platform: Option<&Platform>,
) -> Result<Image> {
    let mut pending = suiting(roots.clone(), platform);
    pending.reverse();
    let mut seen = 0;
    while let Some(descriptor) = pending.pop() {
        seen += 1;
        if seen > MAX_MANIFESTS {
            bail!("the image has more than {MAX_MANIFESTS} manifests");
        }
        // Other platforms' manifests are often not there.
        if !files.has(&super::manifest::blob_path(&descriptor.sha256()?)) && seen > 1 {
            continue;
        }
        let manifest: Manifest = files.json_blob(&descriptor)?;
        if manifest.config.is_some() || !manifest.layers.is_empty() {
            return assemble(files, descriptor, manifest);
        }
        if manifest.manifests.is_empty() {
            bail!("{} is neither a manifest nor an index of any", descriptor.digest);
        }
        pending.extend(suiting(manifest.manifests, platform).into_iter().rev());
    }
    match platform {
        Some(Platform { os, architecture }) => {
            bail!("the image has nothing for the platform {os}/{architecture}")
        }
        None => bail!(
            "the image has nothing for this machine: neither wasi/wasm nor linux/{}",
            crate::commands::host_architecture()
        ),
    }
}

fn assemble(files: Files, descriptor: Descriptor, manifest: Manifest) -> Result<Image> {
    let config = match &manifest.config {
        // An artifact's may be anything, or empty.
        Some(config) if config.media_type.contains("image") => files.json_blob(config)?,
        _ => ImageConfig::default(),
    };
    let layers = manifest.layers.iter().cloned().map(Layer::of_layout).collect::<Result<_>>()?;
    Ok(Image {
        name: names(&descriptor).next().unwrap_or_default().to_owned(),
        digest: descriptor.digest.clone(),
        manifest,
        config,
        layers,
        files,
        lock: None,
    })
}

/// Of an archive without an index, in which only the configuration tells digests.
fn of_docker(files: Files, name: Option<&str>) -> Result<Image> {
    let all: Vec<DockerManifest> = files.json("manifest.json")?;
    let tags = |one: &DockerManifest| one.repo_tags.clone().unwrap_or_default();
    let list = all.iter().flat_map(tags).collect::<Vec<_>>().join(", ");
    let is_meant = |one: &DockerManifest| match name {
        Some(name) => tags(one).iter().any(|tag| is_called(tag, name)),
        None => true,
    };
    let mut meant = all.into_iter().filter(is_meant);
    let one = match (meant.next(), meant.next(), name) {
        (Some(one), None, _) => one,
        (None, _, Some(name)) => bail!("there is no image {name:?} in it, but these: {list}"),
        (None, ..) => bail!("there is no image in it"),
        _ => bail!("there are several images in it; name one of these: {list}"),
    };
    let config: ImageConfig = files.json(&one.config)?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != one.layers.len() {
        bail!("{} layers, but {} digests of them", one.layers.len(), diff_ids.len());
    }
    let layers = diff_ids
        .iter()
        .zip(&one.layers)
        .map(|(digest, path)| Layer::of_docker(digest, path, DOCKER_LAYER))
        .collect::<Result<_>>()?;
    // Such an image is known by its configuration.
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut files.reader(&one.config)?, &mut text)
        .with_context(|| one.config.clone())?;
    Ok(Image {
        name: tags(&one).into_iter().next().unwrap_or_default(),
        digest: format!("sha256:{}", lighter::cache::Digest::of(&text)),
        manifest: Manifest::default(),
        config,
        layers,
        files,
        lock: None,
    })
}

/// An index of one descriptor and its names.
pub(super) fn index(manifests: &[Descriptor]) -> serde_json::Value {
    serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}
