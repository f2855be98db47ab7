//! Images made in memory: from a list of files and a configuration to a tarball that
//! `ctr images import`, `podman load` and `docker load` take.
//!
//! The tarball is an OCI image layout with a `manifest.json` beside it for readers of Docker's older format. The same
//! input gives the same bytes: entries in the order given, no times, no user names.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a Linux image has of busybox.
pub const TOOLS: [&str; 8] = ["sh", "cat", "echo", "hostname", "id", "ls", "nc", "sleep"];

/// One layer of files, or others, what the container shall run, and the name under which it is imported.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    os: String,
    architecture: String,
    config: serde_json::Map<String, Value>,
    layer: Vec<Entry>,
    others: Vec<Layer>,
    is_artifact: bool,
}

/// A layer that is no archive of files.
#[derive(Clone, Debug)]
struct Layer {
    media_type: String,
    bytes: Vec<u8>,
    title: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    mode: u32,
    owner: (u64, u64),
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    File(Vec<u8>),
    Directory,
    Symlink(String),
}

impl Image {
    /// An empty image `name`, a full reference such as `example.test/hello:latest`, for this machine's platform.
    pub fn new(name: &str) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            name: name.into(),
            os: "linux".into(),
            architecture: architecture.into(),
            config: serde_json::Map::new(),
            layer: Vec::new(),
            others: Vec::new(),
            is_artifact: false,
        }
    }

    /// An image with `wasm` as `/NAME.wasm` and nothing else, which is also what it runs.
    pub fn guest(name: &str, wasm: &[u8]) -> Self {
        let path = format!("/{name}.wasm");
        Self::new(&format!("example.test/{name}:latest")).file(&path, wasm).entrypoint(&[&path])
    }

    /// An image of Linux programs: busybox as a shell and what scripts need.
    pub fn linux(name: &str) -> Self {
        let busybox = std::fs::read(busybox()).expect("read busybox");
        let image =
            Self::new(&format!("example.test/{name}:latest")).file("/bin/busybox", &busybox);
        let link = |image: Self, tool: &&str| image.symlink(&format!("/bin/{tool}"), "busybox");
        TOOLS.iter().fold(image, link).env(&["PATH=/bin"]).cmd(&["sh"])
    }

    /// The reference under which the image is imported.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its platform, `OS/ARCHITECTURE`, unless that is this machine's.
    pub fn other_platform(&self) -> Option<String> {
        let own = Self::new("");
        let is_own =
            self.is_artifact || (&self.os, &self.architecture) == (&own.os, &own.architecture);
        (!is_own).then(|| format!("{}/{}", self.os, self.architecture))
    }

    /// The same under another name, for what is not the same image any more.
    pub fn named(mut self, name: &str) -> Self {
        self.name = format!("example.test/{name}:latest");
        self
    }

    /// For a platform other than this machine's, such as `wasi` and `wasm`.
    pub fn platform(mut self, os: &str, architecture: &str) -> Self {
        (self.os, self.architecture) = (os.into(), architecture.into());
        self
    }

    /// Adds a layer that is no archive of files, after that one, with a title if it has one.
    pub fn layer(mut self, media_type: &str, bytes: &[u8], title: Option<&str>) -> Self {
        let (media_type, title) = (media_type.into(), title.map(Into::into));
        self.others.push(Layer { media_type, bytes: bytes.into(), title });
        self
    }

    /// Gives it the configuration of a CNCF artifact, which has no place for an entrypoint, and is for no platform.
    pub fn artifact(mut self) -> Self {
        self.is_artifact = true;
        self
    }

    /// Adds a file that everyone may read and execute.
    pub fn file(self, path: &str, bytes: &[u8]) -> Self {
        self.file_with_mode(path, 0o755, bytes)
    }

    /// Adds a file with permission bits `mode`.
    pub fn file_with_mode(self, path: &str, mode: u32, bytes: &[u8]) -> Self {
        self.entry(path, mode, Kind::File(bytes.into()))
    }

    /// Adds a directory with permission bits `mode`.
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(path, mode, Kind::Directory)
    }

    /// Adds a symbolic link to `target`, which is not looked at.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, Kind::Symlink(target.into()))
    }

    /// Gives the entry added last to user `uid` and group `gid`.
    pub fn owned_by(mut self, uid: u64, gid: u64) -> Self {
        self.layer.last_mut().expect("owned_by follows the entry that it is about").owner =
            (uid, gid);
        self
    }

    /// What the container runs.
    pub fn entrypoint(self, args: &[&str]) -> Self {
        self.set("Entrypoint", json!(args))
    }

    /// Arguments that follow the entrypoint unless others are given at run time.
    pub fn cmd(self, args: &[&str]) -> Self {
        self.set("Cmd", json!(args))
    }

    /// Environment, each `NAME=value`.
    pub fn env(self, variables: &[&str]) -> Self {
        self.set("Env", json!(variables))
    }

    /// The initial working directory.
    pub fn working_dir(self, path: &str) -> Self {
        self.set("WorkingDir", json!(path))
    }

    /// User as `uid`, `uid:gid` or a name in the image's `/etc/passwd`.
    pub fn user(self, user: &str) -> Self {
        self.set("User", json!(user))
    }

    /// What Docker runs each second to learn whether the container is well.
    pub fn healthcheck(self, command: &[&str]) -> Self {
        let test: Vec<&str> = std::iter::once("CMD").chain(command.iter().copied()).collect();
        self.set("Healthcheck", json!({"Test": test, "Interval": 1_000_000_000, "Retries": 1}))
    }

    /// The signal that asks the container to stop, such as `SIGTERM`.
    pub fn stop_signal(self, signal: &str) -> Self {
        self.set("StopSignal", json!(signal))
    }

    /// Writes [`Self::tarball`] to `file`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        std::fs::write(file, self.tarball())
    }

    /// The whole image as an uncompressed tarball.
    pub fn tarball(&self) -> Vec<u8> {
        let files =
            (!self.layer.is_empty() || self.others.is_empty()).then(|| archive(&self.layer));
        let config = self.config_json(files.as_deref());
        let config_type = match self.is_artifact {
            true => "application/vnd.wasm.config.v0+json",
            false => "application/vnd.oci.image.config.v1+json",
        };
        let archive_type = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<_> = files
            .iter()
            .map(|files| descriptor(archive_type, files))
            .chain(self.others.iter().map(Layer::descriptor))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(config_type, &config),
            "layers": layers,
        })
        .to_string()
        .into_bytes();

        let mut root = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        if !self.is_artifact {
            root["platform"] = json!({"os": self.os, "architecture": self.architecture});
        }
        root["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name,
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [root],
        });
        let file = |path: String, bytes: Vec<u8>| Entry {
            path,
            mode: 0o644,
            owner: (0, 0),
            kind: Kind::File(bytes),
        };
        let mut entries = vec![
            file("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            file("index.json".into(), index.to_string().into_bytes()),
        ];
        // Older readers know no layers but archives.
        if let (Some(files), true) = (&files, self.others.is_empty()) {
            let docker = json!([{
                "Config": blob_path(&config),
                "RepoTags": [self.name],
                "Layers": [blob_path(files)],
            }]);
            entries.push(file("manifest.json".into(), docker.to_string().into_bytes()));
        }
        let others = self.others.iter().map(|layer| layer.bytes.clone());
        let blobs = [manifest, config].into_iter().chain(files).chain(others);
        entries.extend(blobs.map(|blob| file(blob_path(&blob), blob)));
        archive(&entries)
    }

    fn config_json(&self, files: Option<&[u8]>) -> Vec<u8> {
        let mut config = json!({
            "created": "1970-01-01T00:00:00Z",
            "os": self.os,
            "architecture": self.architecture,
        });
        if self.is_artifact {
            config["layerDigests"] =
                self.others.iter().map(|layer| digest(&layer.bytes)).collect::<Vec<_>>().into();
        } else {
            config["config"] = self.config.clone().into();
            // containerd counts archives alone.
            let diff_ids: Vec<_> = files.map(digest).into_iter().collect();
            config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        }
        config.to_string().into_bytes()
    }

    fn entry(mut self, path: &str, mode: u32, kind: Kind) -> Self {
        let path = path.trim_start_matches('/').to_owned();
        self.layer.push(Entry { path, mode, owner: (0, 0), kind });
        self
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.into(), value);
        self
    }
}

impl Layer {
    fn descriptor(&self) -> Value {
        let mut descriptor = descriptor(&self.media_type, &self.bytes);
        if let Some(title) = &self.title {
            descriptor["annotations"] = json!({"org.opencontainers.image.title": title});
        }
        descriptor
    }
}

/// A tar archive of `entries`. Directories that they need and do not name are made by whoever unpacks it.
fn archive(entries: &[Entry]) -> Vec<u8> {
    const IN_MEMORY: &str = "writing to memory does not fail";
    let mut tar = tar::Builder::new(Vec::new());
    for Entry { path, mode, owner: (uid, gid), kind } in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_uid(*uid);
        header.set_gid(*gid);
        header.set_mtime(0);
        header.set_size(0);
        match kind {
            Kind::File(bytes) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice()).expect(IN_MEMORY);
            }
            Kind::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{path}/"), &[][..]).expect(IN_MEMORY);
            }
            Kind::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target).expect(IN_MEMORY);
            }
        }
    }
    tar.into_inner().expect(IN_MEMORY)
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn blob_path(blob: &[u8]) -> String {
    digest(blob).replacen("sha256:", "blobs/sha256/", 1)
}

/// The machine's busybox, linked statically, and so a Linux program for any root.
///
/// # Panics
/// When there is none.
pub fn busybox() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("busybox")).find(|p| p.is_file());
    found.expect("busybox is not in PATH: install busybox-static (Debian) or busybox (Fedora)")
}

/// `sha256:` and the digest of `bytes` in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}
