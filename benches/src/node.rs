//! The node that is measured: a private containerd with root, state, socket and configuration of its own, and the shims.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::contestant::{Contestant, Form};
use crate::guest::Guest;
use crate::image::{Image, digest};
use crate::memory;

/// containerd's namespace, and the control group of all that is measured.
pub const NAMESPACE: &str = "lighter-bench";

/// The programs that a run needs, each with what makes it.
const PROGRAMS: [(&str, &str); 4] = [
    ("target/stage/containerd-shim-wasmtime-v1", "make build"),
    ("target/stage/lighter-runner", "make build"),
    ("target/stage/lighter", "make build"),
    ("target/bench/release/containerd-shim-noop-v1", "make bench"),
];

/// Those with a compiler, which take minutes to build: the peer, and the bare engine.
const ENGINES: [(&str, &str); 2] = [
    ("target/bench/release/containerd-shim-peer-v1", "make bench"),
    ("target/bench/release/bare", "make bench"),
];

/// Programs of the machine, with Debian's packages of them.
const TOOLS: [(&str, &str); 5] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("crun", "crun"),
    ("busybox", "busybox-static"),
];

/// An image and what to run of it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The image's name.
    pub image: String,
    /// The snapshot that its containers' files are above; empty for none.
    pub parent: String,
    /// What is run.
    pub args: Vec<String>,
}

/// A running node; ended when dropped.
#[derive(Debug)]
pub struct Node {
    dir: TempDir,
    containerd: Child,
    images: Mutex<HashMap<String, String>>,
    count: AtomicU32,
}

impl Node {
    /// Starts containerd, with the programs of the repository at `root`.
    ///
    /// # Errors
    /// One sentence for all that is missing, or what containerd says.
    pub fn start(root: &Path, without: &[Contestant]) -> Result<Self> {
        let engines = ENGINES.into_iter().filter(|_| !without.contains(&Contestant::Peer));
        let programs: Vec<_> = PROGRAMS.into_iter().chain(engines).collect();
        complain_of_missing(root, &programs)?;
        // Sockets have paths of at most 107 bytes, hence not below `target`.
        let dir = tempfile::Builder::new().prefix("lighter-bench-").tempdir()?;
        let bin = dir.path().join("bin");
        fs::create_dir(&bin)?;
        for (program, _) in programs {
            let name = Path::new(program).file_name().context("a program has a name")?;
            fs::copy(root.join(program), bin.join(name))?;
        }
        let at = dir.path().display();
        fs::write(dir.path().join("config.toml"), configuration(dir.path()))?;
        fs::write(dir.path().join("lighter.toml"), format!("[cache]\ndir = \"{at}/cache\"\n"))?;
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let containerd = containerd()
            .arg("--config")
            .arg(dir.path().join("config.toml"))
            .env("PATH", path)
            .env("LIGHTER_CONFIG", dir.path().join("lighter.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("log"))?)
            .spawn()
            .context("start containerd")?;
        let images = Mutex::default();
        let node = Self { dir, containerd, images, count: AtomicU32::new(1) };
        let deadline = Instant::now() + Duration::from_secs(30);
        while node.ctr(&["version"]).is_err() {
            if Instant::now() > deadline {
                bail!("containerd does not answer; it says:\n{}", node.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(node)
    }

    /// A connection of your own to containerd.
    ///
    /// # Errors
    /// The transport's.
    pub fn client(&self) -> Result<Client> {
        Client::connect(&self.socket(), NAMESPACE)
    }

    /// Where everything of the node is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where containerd listens. It is in the command line of each shim, and of nothing else.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("sock")
    }

    /// The program for the bare engine.
    pub fn bare(&self) -> Command {
        Command::new(self.dir().join("bin/bare"))
    }

    /// An id that no container had.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// What containerd and its shims have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// `guest` as `contestant` runs it; imported when first asked for.
    ///
    /// # Errors
    /// What `ctr` says.
    pub fn program(&self, contestant: Contestant, guest: &Guest) -> Result<Program> {
        let form = contestant.form();
        let (image, args) = match form {
            Form::File => {
                let path = format!("/{}.wasm", guest.name);
                let args = [vec![path.clone()], guest.args.clone()].concat();
                let name = format!("example.test/{}:file", guest.name);
                (Image::new(&name).file(&path, &guest.wasm), args)
            }
            Form::Layer => {
                let path = format!("/{}.wasm", guest.name);
                let args = [vec![path], guest.args.clone()].concat();
                let name = format!("example.test/{}:layer", guest.name);
                let image = Image::new(&name).platform("wasi", "wasm");
                (image.layer("application/wasm", &guest.wasm, None), args)
            }
            Form::Native => (Image::linux("native"), guest.native.clone()),
        };
        let name = image.name().to_owned();
        let mut images = self.images.lock().expect("nobody panics with it");
        let parent = match images.get(&name) {
            Some(parent) => parent.clone(),
            None => {
                let tarball = image.tarball();
                let file = self.dir().join("image.tar");
                fs::write(&file, &tarball)?;
                let file = file.to_string_lossy();
                let unpacked = form != Form::Layer;
                let how: &[&str] =
                    if unpacked { &[] } else { &["--no-unpack", "--platform=wasi/wasm"] };
                self.ctr(&[&["images", "import"], how, &[&file]].concat())?;
                let parent = if unpacked { first_layer(&tarball)? } else { String::new() };
                images.insert(name.clone(), parent.clone());
                parent
            }
        };
        Ok(Program { image: name, parent, args })
    }

    fn ctr(&self, args: &[&str]) -> Result<()> {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", NAMESPACE])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("run ctr")?;
        if !output.status.success() {
            bail!("ctr {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What a run that failed has left: containerd cleans up after a shim that is gone.
        let left = memory::processes(&self.socket()).unwrap_or_default();
        for pid in left.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if !left.is_empty() {
            std::thread::sleep(Duration::from_secs(3));
        }
        if let Some(pid) = Pid::from_raw(self.containerd.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.containerd.wait();
    }
}

/// crun runs nothing where there are both versions of control groups: so nobody is shown the second.
fn containerd() -> Command {
    const SECOND: &str = "/sys/fs/cgroup/unified";
    if !Path::new(SECOND).exists() {
        return Command::new("containerd");
    }
    let mut command = Command::new("unshare");
    let script = format!("umount {SECOND}; exec containerd \"$@\"");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "containerd"]);
    command
}

/// Version 2 of the format is read by containerd 1.3 to 2.x.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
# Not needed here. Some would write outside of these directories, or look for devices.
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{dir}/sock"
[ttrpc]
  address = "{dir}/sock.ttrpc"
"#
    )
}

fn complain_of_missing(root: &Path, programs: &[(&str, &str)]) -> Result<()> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("The benchmarks start containers and must run as root.".to_owned());
    }
    for (program, made_by) in programs {
        if !root.join(program).is_file() {
            missing.push(format!("{program} is not built: run `{made_by}`."));
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, debian) in TOOLS {
        if !std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()) {
            missing.push(format!("The program {tool} is not in PATH: install {debian}."));
        }
    }
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n")) }
}

/// The digest of the only layer of the image in `tarball`, which is also the name of its snapshot.
fn first_layer(tarball: &[u8]) -> Result<String> {
    let mut blobs = HashMap::new();
    for entry in tar::Archive::new(tarball).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        blobs.insert(path, bytes);
    }
    let json = |path: &str| -> Result<Value> {
        Ok(serde_json::from_slice(blobs.get(path).with_context(|| format!("find {path}"))?)?)
    };
    let blob = |of: &Value| {
        let digest = of["digest"].as_str().unwrap_or_default();
        json(&digest.replacen("sha256:", "blobs/sha256/", 1))
    };
    let manifest = blob(&json("index.json")?["manifests"][0])?;
    let config = blob(&manifest["config"])?;
    let layer = config["rootfs"]["diff_ids"][0].as_str().context("an image has a layer")?;
    debug_assert_eq!(layer.len(), digest(b"").len());
    Ok(layer.to_owned())
}
