//! What the entrypoint is: WebAssembly for the runner, or a Linux program.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::annotations::Handler;
use crate::bundle::Bundle;
use crate::error::Result;
use crate::inside;
use crate::plan;
use crate::state::Program;

const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// Decides by the annotations, else by the entrypoint's name, else by its first bytes.
///
/// # Errors
/// When there is no entrypoint.
pub(super) fn program(bundle: &Bundle) -> Result<Program> {
    let Some(process) = bundle.spec.process() else { return Ok(Program::Wasm) };
    if is_sandbox(bundle) {
        return Ok(Program::Linux);
    }
    let entrypoint = plan::entrypoint(process)?;
    let named = is_named_wasm(&entrypoint.name);
    Ok(match bundle.requests.handler {
        Some(Handler::Wasm) => Program::Wasm,
        Some(Handler::Linux) => Program::Linux,
        Some(Handler::WasmBySuffix) if named => Program::Wasm,
        Some(Handler::WasmBySuffix) => Program::Linux,
        None if named || starts_as_wasm(bundle, &entrypoint.candidates) => Program::Wasm,
        None => Program::Linux,
    })
}

/// Whether it is WebAssembly for certain, whatever files there are: they may not have been mounted yet.
pub(super) fn is_wasm_by_name(bundle: &Bundle) -> bool {
    let Some(process) = bundle.spec.process() else { return false };
    let named =
        || plan::entrypoint(process).is_ok_and(|entrypoint| is_named_wasm(&entrypoint.name));
    match bundle.requests.handler {
        _ if is_sandbox(bundle) => false,
        Some(Handler::Wasm) => true,
        Some(Handler::Linux) => false,
        Some(Handler::WasmBySuffix) | None => named(),
    }
}

fn is_named_wasm(entrypoint: &str) -> bool {
    let file = entrypoint.split('#').next().unwrap_or_default();
    [".wasm", ".wat"].iter().any(|suffix| file.ends_with(suffix))
}

/// Whether it is a pod's own container: the pause image, whatever its pod's annotations say of the others.
pub(super) fn is_sandbox(bundle: &Bundle) -> bool {
    let annotations = bundle.spec.annotations().as_ref();
    annotations.and_then(|a| a.get(CONTAINER_TYPE)).is_some_and(|kind| kind == "sandbox")
}

/// Whether one of the candidates is a file.
pub(super) fn is_there(bundle: &Bundle, candidates: &[String]) -> bool {
    candidates.iter().any(|path| find(bundle, path).is_some())
}

/// Whether the first of the candidates that exists starts with the magic bytes of WebAssembly.
///
/// Only a guess for choosing who reports the errors: the runner opens the file anew, from inside.
fn starts_as_wasm(bundle: &Bundle, candidates: &[String]) -> bool {
    candidates.iter().find_map(|path| first_bytes(bundle, path)).is_some_and(|b| &b == b"\0asm")
}

fn first_bytes(bundle: &Bundle, path: &str) -> Option<[u8; 4]> {
    let found = find(bundle, path)?;
    let mut file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic).ok()?;
    Some(magic)
}

/// The regular file at `path`, not opened for anything yet.
fn find(bundle: &Bundle, path: &str) -> Option<OwnedFd> {
    let (base, rest) = locate(bundle, Path::new(path))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut found = openat(CWD, &base, flags, Mode::empty()).ok()?;
    if !rest.as_os_str().is_empty() {
        found = inside::open(&found, rest, flags).ok()?;
    }
    // Looked at before it is opened: with our rights, opening a device node of the image's would open the device.
    let kind = FileType::from_raw_mode(fstat(&found).ok()?.st_mode);
    (kind == FileType::RegularFile).then_some(found)
}

/// The directory of the host that holds `path`: the last bind mount over it, else the root.
fn locate<'p>(bundle: &Bundle, path: &'p Path) -> Option<(std::path::PathBuf, &'p Path)> {
    let mounts = bundle.spec.mounts().as_deref().unwrap_or_default();
    for mount in mounts.iter().rev() {
        let bind = mount.options().iter().flatten().any(|o| o == "bind" || o == "rbind");
        if let (true, Ok(rest), Some(source)) =
            (bind, path.strip_prefix(mount.destination()), mount.source())
        {
            return Some((bundle.path.join(source), rest));
        }
    }
    let root = bundle.spec.root().as_ref()?.path();
    Some((bundle.path.join(root), path.strip_prefix("/").unwrap_or(path)))
}
