//! The WebAssembly that an image has as layers of their own, rather than as files in its root file system.
//!
//! containerd unpacks the layers that it knows, archives of files, and leaves the others in its content store. Only when
//! a container's entrypoint is not among its files is containerd asked which image the container is of, and then by a
//! child process, `lighter layers ORDER`: a supervisor stays resident, and need not have an HTTP/2 client in it. The
//! child keeps the layers in the node's store ([`crate::cache`]), once for each image, and answers with a list of them.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::config::{CacheConfig, Config};
use crate::error::{Refusal, Result};

/// The type of an artifact's layer, which is the CNCF's.
pub const ARTIFACT_LAYER: &str = "application/wasm";
/// That of a component, which is runwasi's.
pub const COMPONENT_LAYER: &str = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm";
/// That of a module, which is wasm-to-oci's.
pub const MODULE_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// The types of layers that are one WebAssembly file. Whichever it is, the file may be a module or a component.
pub const MEDIA_TYPES: [&str; 3] = [ARTIFACT_LAYER, COMPONENT_LAYER, MODULE_LAYER];

/// How long the child may take to have all layers of an image in the store.
const TIMEOUT: Duration = Duration::from_secs(100);

/// An answer of more bytes is none.
const MAX_ANSWER: u64 = 4 << 20;

/// Who knows of which image a container is, and has its layers: a containerd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentStore {
    /// Path of its gRPC socket.
    pub address: String,
    /// The namespace of the container and its image.
    pub namespace: String,
}

/// What the child shall do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Whom to ask.
    pub content: ContentStore,
    /// The container's id.
    pub container: String,
    /// Where the layers are kept.
    pub cache: CacheConfig,
    /// Bytes of the largest layer that is read.
    pub max_module_bytes: u64,
}

/// A WebAssembly layer, kept on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its digest, for messages: `sha256:…`.
    pub digest: String,
    /// Its annotation `org.opencontainers.image.title`: a file's name or path.
    pub title: Option<String>,
    /// The file with its content, which everybody may read.
    pub file: PathBuf,
}

/// What the child answers.
pub type Answer = Result<Vec<Layer>>;

/// The WebAssembly layers of the image of `container`; none if it has no image, or that has none. `program` is the `lighter`
/// command.
///
/// Blocks until the child has ended, which is reaped here.
///
/// # Errors
/// Says what is wrong with the image, or why its layers cannot be had.
pub(crate) fn of(
    container: &str,
    content: &ContentStore,
    config: &Config,
    program: &Path,
) -> Result<Vec<Layer>> {
    let order = Order {
        content: content.clone(),
        container: container.to_owned(),
        cache: config.cache.clone(),
        max_module_bytes: config.compile.max_module_bytes,
    };
    let failed = |e: std::io::Error| {
        Refusal::system(format_args!("look for the image's layers with {}", program.display()), e)
    };
    let order = serde_json::to_string(&order).map_err(|e| failed(e.into()))?;
    let mut child = Command::new(program)
        .args(["layers", &order])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let answer = read(&mut child, Instant::now() + TIMEOUT);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let answer = answer.map_err(failed)?;
    serde_json::from_slice::<Answer>(&answer)
        .map_err(|e| failed(std::io::Error::other(format!("it ended with {status}, and {e}"))))?
}

/// All that `child` writes until it closes its output.
fn read(child: &mut Child, deadline: Instant) -> std::io::Result<Vec<u8>> {
    let Some(mut output) = child.stdout.take() else { return Ok(Vec::new()) };
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Err(std::io::Error::other(format!("not done after {TIMEOUT:?}"))),
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
            Ok(_) => {}
        }
        match output.read(&mut piece)? {
            0 => return Ok(answer),
            _ if answer.len() as u64 > MAX_ANSWER => {
                return Err(std::io::Error::other("it says too much"));
            }
            len => answer.extend_from_slice(&piece[..len]),
        }
    }
}
