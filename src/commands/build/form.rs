//! The forms that an image with WebAssembly has, as blobs and a manifest: OCI's image specification, and CNCF's
//! "Wasm OCI Artifact layout".

use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use lighter::cache::{Digest, Form as Wasm};
use lighter::layers::{ARTIFACT_LAYER, COMPONENT_LAYER, MODULE_LAYER};
use serde_json::{Map, Value, json};

use crate::commands::images::manifest::{MANIFEST, TITLE};
use crate::commands::images::registry::{self, RegistryArgs};
use crate::commands::images::{Platform, Reference};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const ARCHIVE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ARTIFACT_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// No time of making, so that the same input makes the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A content-addressed part of an image.
pub(super) struct Blob {
    media_type: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    /// `sha256:` and 64 digits.
    pub(super) fn digest(&self) -> String {
        digest(&self.bytes)
    }

    /// What refers to it.
    pub(super) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len() })
    }

    fn of_json(media_type: &'static str, value: &Value) -> Self {
        Self { media_type, bytes: value.to_string().into_bytes() }
    }
}

/// An image of one layer.
pub(super) struct Image {
    /// What it refers to below.
    pub(super) manifest: Blob,
    /// Its configuration.
    pub(super) config: Blob,
    /// What is in it.
    pub(super) layer: Blob,
    /// What it is for; an artifact does not say.
    pub(super) platform: Option<Value>,
}

impl Image {
    /// Of the archive of a root file system.
    pub(super) fn of_rootfs(
        files: &[u8],
        platform: &Platform,
        config: Value,
        annotations: Map<String, Value>,
    ) -> Result<Self> {
        let mut compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        compressed.write_all(files)?;
        let layer = Blob { media_type: ARCHIVE, bytes: compressed.finish()? };
        let config = configuration(platform, config, &[digest(files)]);
        let descriptor = layer.descriptor();
        Ok(Self::assembled(config, layer, descriptor, Some(platform), annotations))
    }

    /// Of the program as a layer, with an ordinary configuration.
    pub(super) fn of_layer(
        wasm: Vec<u8>,
        kind: Wasm,
        path: &str,
        platform: &Platform,
        config: Value,
        annotations: Map<String, Value>,
    ) -> Self {
        let media_type = if kind == Wasm::Component { COMPONENT_LAYER } else { MODULE_LAYER };
        let layer = Blob { media_type, bytes: wasm };
        // containerd expects one for each archive, and runs no image that has another number of them.
        let config = configuration(platform, config, &[]);
        let mut descriptor = layer.descriptor();
        descriptor["annotations"] = json!({ TITLE: path.trim_start_matches('/') });
        Self::assembled(config, layer, descriptor, Some(platform), annotations)
    }

    /// Of the program as an artifact.
    pub(super) fn of_artifact(
        wasm: Vec<u8>,
        kind: Wasm,
        annotations: Map<String, Value>,
    ) -> Result<Self> {
        let layer = Blob { media_type: ARTIFACT_LAYER, bytes: wasm };
        let mut config = json!({
            "created": CREATED,
            "architecture": "wasm",
            "os": if kind == Wasm::Component { "wasip2" } else { "wasip1" },
            "layerDigests": [layer.digest()],
        });
        if kind == Wasm::Component {
            let world =
                super::super::world::World::of(&layer.bytes).context("read the component")?;
            config["component"] = json!({ "exports": world.exports, "imports": world.imports });
        }
        let config = Blob::of_json(ARTIFACT_CONFIG, &config);
        let descriptor = layer.descriptor();
        Ok(Self::assembled(config, layer, descriptor, None, annotations))
    }

    fn assembled(
        config: Blob,
        layer: Blob,
        layer_descriptor: Value,
        platform: Option<&Platform>,
        annotations: Map<String, Value>,
    ) -> Self {
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer_descriptor],
        });
        if !annotations.is_empty() {
            manifest["annotations"] = Value::Object(annotations);
        }
        let platform = platform.map(|p| json!({ "os": p.os, "architecture": p.architecture }));
        Self { manifest: Blob::of_json(MANIFEST, &manifest), config, layer, platform }
    }

    /// Pushes it, and calls it `reference` there.
    pub(super) fn push(&self, reference: &Reference, args: &RegistryArgs) -> Result<()> {
        let blobs = [&self.layer, &self.config].map(|blob| (blob.digest(), blob.bytes.as_slice()));
        registry::push(reference, &blobs, &self.manifest.bytes, args)
    }

    /// The digest by which it is known.
    pub(super) fn digest(&self) -> String {
        self.manifest.digest()
    }
}

fn configuration(platform: &Platform, config: Value, diff_ids: &[String]) -> Blob {
    let configuration = json!({
        "created": CREATED,
        "os": platform.os,
        "architecture": platform.architecture,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    Blob::of_json(CONFIG, &configuration)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(blob: &Blob) -> Value {
        serde_json::from_slice(&blob.bytes).unwrap()
    }

    #[test]
    fn an_artifact_says_what_its_component_needs() {
        let wat =
            r#"(component (import "a:b/c@0.1.0" (instance)) (instance (export "x:y/z@1.0.0")))"#;
        let wasm = wat::parse_str(wat).unwrap();
        let image = Image::of_artifact(wasm.clone(), Wasm::Component, Map::new()).unwrap();
        let config = parsed(&image.config);
        assert_eq!(config["os"], "wasip2");
        assert_eq!(config["component"]["imports"], json!(["a:b/c@0.1.0"]));
        assert_eq!(config["layerDigests"], json!([digest(&wasm)]));
        let manifest = parsed(&image.manifest);
        assert_eq!(manifest["config"]["mediaType"], ARTIFACT_CONFIG);
        assert_eq!(manifest["layers"][0]["mediaType"], ARTIFACT_LAYER);
    }

    #[test]
    fn a_root_file_system_is_compressed_and_known_by_what_it_was() {
        let platform = Platform { os: "linux".into(), architecture: "amd64".into() };
        let image = Image::of_rootfs(b"files", &platform, json!({}), Map::new()).unwrap();
        assert_eq!(parsed(&image.config)["rootfs"]["diff_ids"], json!([digest(b"files")]));
        assert_eq!(parsed(&image.manifest)["layers"][0]["digest"], json!(image.layer.digest()));
        assert!(image.layer.bytes.starts_with(&[0x1f, 0x8b]));
    }
}
