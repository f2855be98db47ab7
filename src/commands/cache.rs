//! `lighter cache`: the node's store of compiled code.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use lighter::cache::{Cache, Entry, Layer, Origin, Store, Wasm};
use lighter::config::Config;
use lighter::engine::Settings;
use lighter::programs::Programs;
use serde_json::json;

use super::images::programs::{self, Found};
use super::{ConfigArg, human_bytes, parse_bytes};

/// Look after the node's store of compiled code
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List what is in the store, the least recently used first
    Ls {
        /// As JSON, one array of objects; sizes in bytes, times in seconds since 1970
        #[arg(long)]
        json: bool,
    },
    /// Remove the least recently used code beyond a size
    Prune {
        /// Remove everything
        #[arg(long, conflicts_with = "max_size")]
        all: bool,
        /// What may be left, like 512M [default: cache.max_bytes of the configuration]
        #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
        max_size: Option<u64>,
    },
    /// Compile before the first container needs it
    Warm {
        /// A .wasm or .wat file, an OCI layout (directory or tar), a docker archive, or the name of an image in
        /// containerd
        #[arg(required = true, value_name = "FILE|IMAGE")]
        sources: Vec<String>,
        /// The containerd namespace of images
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// containerd's socket
        #[arg(long, default_value = "/run/containerd/containerd.sock")]
        address: String,
        /// The platform of images in containerd [default: wasi/wasm, else this node's]
        #[arg(long)]
        platform: Option<String>,
    },
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    match args.verb {
        Verb::Ls { json } => list(&open(&config)?, json),
        Verb::Prune { all, max_size } => prune(&open(&config)?, &config, all, max_size),
        Verb::Warm { sources, namespace, address, platform } => {
            let containerd = Containerd { namespace, address, platform };
            return warm(&config, &sources, &containerd);
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn open(config: &Config) -> Result<Store> {
    Store::open(&config.cache).map_err(|e| anyhow!(e))
}

fn list(store: &Store, as_json: bool) -> Result<()> {
    let entries = store.entries().context("read the store")?;
    let layers = store.layers().context("read the store")?;
    let mut out = std::io::stdout().lock();
    if as_json {
        let all: Vec<_> =
            entries.iter().map(to_json).chain(layers.iter().map(layer_to_json)).collect();
        serde_json::to_writer_pretty(&mut out, &all)?;
        return Ok(writeln!(out)?);
    }
    let header = ["DIGEST", "KIND", "WASM", "CODE", "USED", "NAME"];
    writeln!(out, "{}", row(header.map(str::to_owned)))?;
    for entry in &entries {
        let used = ago(entry.used);
        let code = human_bytes(entry.bytes);
        let cells = match &entry.meta {
            Some(meta) => [
                meta.digest.to_string()[..12].to_owned(),
                meta.kind.as_str().to_owned(),
                human_bytes(meta.wasm_bytes),
                code,
                used,
                meta.name.escape_debug().to_string(),
            ],
            None => ["-".into(), "broken".into(), "-".into(), code, used, "-".into()],
        };
        writeln!(out, "{}", row(cells))?;
    }
    for layer in &layers {
        let digest = layer.digest.to_string()[..12].to_owned();
        let (bytes, used) = (human_bytes(layer.bytes), ago(layer.used));
        let cells = [digest, "layer".into(), bytes, "-".into(), used, "-".into()];
        writeln!(out, "{}", row(cells))?;
    }
    Ok(())
}

fn row([digest, kind, wasm, code, used, name]: [String; 6]) -> String {
    format!("{digest:<12}  {kind:<9}  {wasm:>10}  {code:>10}  {used:>14}  {name}")
}

fn to_json(entry: &Entry) -> serde_json::Value {
    json!({
        "key": entry.key.to_string(),
        "code_bytes": entry.bytes,
        "used": seconds(entry.used),
        "meta": entry.meta,
    })
}

fn layer_to_json(layer: &Layer) -> serde_json::Value {
    json!({
        "layer": layer.digest.to_string(),
        "wasm_bytes": layer.bytes,
        "used": seconds(layer.used),
    })
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// How long ago, in the largest unit that fits.
pub(super) fn ago(time: SystemTime) -> String {
    let seconds = time.elapsed().map_or(0, |age| age.as_secs());
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}

fn prune(store: &Store, config: &Config, all: bool, max_size: Option<u64>) -> Result<()> {
    store.sweep_temporary();
    let removed = if all {
        store.clear()
    } else {
        store.prune(max_size.unwrap_or(config.cache.max_bytes), None)
    };
    let bytes = removed.iter().sum();
    let count = removed.len();
    let noun = if count == 1 { "entry" } else { "entries" };
    Ok(writeln!(std::io::stdout(), "removed {count} {noun}, {}", human_bytes(bytes))?)
}

/// Where images are, beside files.
struct Containerd {
    namespace: String,
    address: String,
    platform: Option<String>,
}

fn warm(config: &Config, sources: &[String], containerd: &Containerd) -> Result<ExitCode> {
    let lighter = std::env::current_exe().context("find our own program")?;
    // Only the compiler is started here.
    let programs = Programs { runner: lighter.clone(), lighter };
    let cache = Cache::open(config, &programs);
    if cache.store().is_none() {
        bail!("there is nowhere to keep compiled code");
    }
    let mut code = ExitCode::SUCCESS;
    for source in sources {
        let found = find(source, config.compile.max_module_bytes, containerd)
            .with_context(|| source.clone())
            .and_then(|found| match found.is_empty() {
                true => Err(anyhow!("{source}: there is no WebAssembly in it")),
                false => Ok(found),
            });
        let results = match found {
            Ok(found) => found.iter().map(|found| warm_one(&cache, found)).collect(),
            Err(e) => vec![Err(e)],
        };
        for result in results {
            if let Err(error) = result {
                // The others are still worth the while.
                writeln!(std::io::stderr(), "lighter: {error:#}")?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn warm_one(cache: &Cache, found: &Found) -> Result<()> {
    let wasm = Wasm { file: &found.file, name: &found.name, root: None };
    let artifact = cache.get(&wasm, &Settings::default())?;
    let state = match artifact.origin {
        Origin::Hit => "already there",
        Origin::Compiled => "compiled",
        Origin::Uncached => bail!("{}: compiled, but could not be stored", found.name),
    };
    let (digest, kind) = (artifact.digest.to_string(), artifact.kind.as_str());
    Ok(writeln!(std::io::stdout(), "{}  {kind:<9}  {}  {state}", &digest[..12], found.name)?)
}

/// The WebAssembly in what the user named: a path if there is such a file, else an image in containerd.
fn find(source: &str, max_bytes: u64, containerd: &Containerd) -> Result<Vec<Found>> {
    let path = Path::new(source);
    if path.is_dir() {
        return programs::open(path, max_bytes);
    }
    if path.exists() {
        let file = File::open(path)?;
        if is_tar(&file)? {
            return programs::open(path, max_bytes);
        }
        return Ok(vec![Found { name: source.to_owned(), file }]);
    }
    programs::read(containerd.export(source)?, max_bytes)
}

fn is_tar(file: &File) -> Result<bool> {
    let mut magic = [0; 5];
    let len = std::os::unix::fs::FileExt::read_at(file, &mut magic, 257)?;
    Ok(&magic[..len] == b"ustar")
}

impl Containerd {
    /// Has an image written to a file without a name.
    fn export(&self, image: &str) -> Result<File> {
        let platforms = match &self.platform {
            Some(platform) => vec![Some(platform.as_str())],
            None => vec![Some("wasi/wasm"), None],
        };
        let mut words = String::new();
        for platform in platforms {
            let dir = std::env::temp_dir();
            let flags = rustix::fs::OFlags::TMPFILE
                | rustix::fs::OFlags::RDWR
                | rustix::fs::OFlags::CLOEXEC;
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            let file = File::from(
                rustix::fs::open(&dir, flags, mode)
                    .with_context(|| format!("make a temporary file in {}", dir.display()))?,
            );
            let output = Command::new("ctr")
                .args(["--address", &self.address, "--namespace", &self.namespace])
                .args(["images", "export"])
                .args(platform.map(|platform| format!("--platform={platform}")))
                .args(["--", "-", image])
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(Stdio::piped())
                .output()
                .context(
                    "not a file, and to find it as an image needs containerd's command `ctr`",
                )?;
            if output.status.success() && file.metadata()?.len() > 0 {
                std::io::Seek::rewind(&mut &file)?;
                return Ok(file);
            }
            words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
        }
        bail!("neither a file nor an image in containerd's namespace {:?}: {words}", self.namespace)
    }
}
