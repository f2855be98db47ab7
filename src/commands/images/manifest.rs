//! What images are made of: indexes, manifests, and what they refer to, after OCI's image specification and Docker's.

use std::collections::BTreeMap;

use lighter::cache::Digest;
use lighter::error::{Refusal, Result};
use lighter::layers::MEDIA_TYPES;
use serde::{Deserialize, Serialize};

use crate::commands::host_architecture;

/// The type of an index of OCI's.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The type of a manifest of OCI's.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The file's name or path, as `oras` and others keep it with a layer.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
/// A tag, as an OCI layout keeps it.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name of an image, as containerd keeps it in a layout.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// Bytes of the largest index or manifest that is read.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

/// An index may name so many manifests.
pub(crate) const MAX_MANIFESTS: usize = 64;

/// Archives of files begin with these.
const ARCHIVES: [&str; 2] =
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];

/// Names a piece of content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    /// Bytes.
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

/// What a manifest is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
}

/// An index or a manifest: the fields that exist tell which.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Manifest {
    #[serde(rename = "mediaType")]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Platform {
    /// Reads `OS/ARCH`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((os, architecture)) if !os.is_empty() && !architecture.is_empty() => {
                Ok(Self { os: os.to_owned(), architecture: architecture.to_owned() })
            }
            _ => Err("not of the form OS/ARCH, such as linux/amd64 or wasi/wasm".into()),
        }
    }

    /// How well it suits us, the least the best; `None`: not at all.
    fn rank(&self) -> Option<u8> {
        match (self.os.as_str(), self.architecture.as_str()) {
            ("wasi", "wasm") => Some(0),
            (_, architecture) if architecture.starts_with("wasm") => Some(1),
            ("linux", architecture) if architecture == host_architecture() => Some(2),
            _ => None,
        }
    }
}

impl Descriptor {
    /// A file's name or path, as whoever made the image has called it.
    pub(crate) fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }

    /// Its digest, which must be of the only kind there is in practice.
    pub(crate) fn sha256(&self) -> Result<Digest> {
        sha256(&self.digest)
    }

    /// Whether it is one WebAssembly file.
    pub(crate) fn is_wasm(&self) -> bool {
        MEDIA_TYPES.contains(&self.media_type.as_str())
    }

    /// Whether it is an archive of files.
    pub(crate) fn is_archive(&self) -> bool {
        ARCHIVES.iter().any(|archive| self.media_type.starts_with(archive))
    }
}

/// Those of an index that suit this machine, or are of the platform `wanted`: the best first.
pub(crate) fn suiting(manifests: Vec<Descriptor>, wanted: Option<&Platform>) -> Vec<Descriptor> {
    let rank = |descriptor: &Descriptor| match (&descriptor.platform, wanted) {
        (Some(platform), Some(wanted)) => (platform == wanted).then_some(0),
        (Some(platform), None) => platform.rank(),
        // Those that do not say what they are for are tried when nothing else is there.
        (None, _) => Some(u8::MAX),
    };
    let mut ranked: Vec<_> =
        manifests.into_iter().filter_map(|found| Some((rank(&found)?, found))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, manifest)| manifest).collect()
}

/// Reads `sha256:` and 64 digits.
pub(crate) fn sha256(digest: &str) -> Result<Digest> {
    digest.strip_prefix("sha256:").and_then(Digest::parse).ok_or_else(|| {
        Refusal::invalid(format!("digest {digest:?}: only sha256 is supported, with 64 digits"))
    })
}

/// The path of a blob in a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// An image's configuration, of which only this concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct ImageConfig {
    /// How its program is run; an artifact does not say.
    #[serde(default)]
    pub(crate) config: Option<Execution>,
    /// Its root file system.
    #[serde(default)]
    pub(crate) rootfs: Rootfs,
    /// What it is for.
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
}

/// The archives of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Rootfs {
    /// Digests of the archives before compression.
    #[serde(default)]
    pub(crate) diff_ids: Vec<String>,
}

/// How an image's program is run, as its maker thinks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Execution {
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    /// `NAME=VALUE` each.
    pub(crate) env: Option<Vec<String>>,
    pub(crate) working_dir: Option<String>,
    /// `UID`, `UID:GID`, or names of them.
    pub(crate) user: Option<String>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// `80/tcp` and the like.
    pub(crate) exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// Paths inside.
    pub(crate) volumes: Option<BTreeMap<String, serde_json::Value>>,
    pub(crate) stop_signal: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(platform: Option<(&str, &str)>) -> Descriptor {
        let platform = platform.map(|(os, architecture)| Platform {
            os: os.into(),
            architecture: architecture.into(),
        });
        Descriptor { platform, ..Descriptor::default() }
    }

    #[test]
    fn webassembly_comes_first_and_others_machines_not_at_all() {
        let here = ("linux", host_architecture());
        let all = vec![
            of(None),
            of(Some(here)),
            of(Some(("linux", "s390x"))),
            of(Some(("wasip1", "wasm"))),
            of(Some(("unknown", "unknown"))),
            of(Some(("wasi", "wasm"))),
        ];
        let expected = [Some(("wasi", "wasm")), Some(("wasip1", "wasm")), Some(here), None].map(of);
        assert_eq!(suiting(all.clone(), None), expected);
        let wanted = Platform::parse("linux/s390x").unwrap();
        assert_eq!(suiting(all, Some(&wanted)), [of(Some(("linux", "s390x"))), of(None)]);
        assert!(Platform::parse("linux").is_err());
    }

    #[test]
    fn a_digest_leads_nowhere_else() {
        let hex = "0".repeat(64);
        assert_eq!(
            blob_path(&sha256(&format!("sha256:{hex}")).unwrap()),
            format!("blobs/sha256/{hex}")
        );
        for text in ["sha256:../../x", "sha256:", "sha512:00", "", &hex] {
            assert!(sha256(text).is_err(), "{text}");
        }
    }
}
