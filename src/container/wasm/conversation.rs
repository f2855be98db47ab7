//! What the supervisor does for a runner on its way to a guest that is ready; [`crate::wire`] has the order.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::runner::Runner;
use super::unexpected;
use crate::cache::{Artifact, Cache, Wasm};
use crate::certificates;
use crate::container::ended;
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::plan::Plan;
use crate::sandbox;
use crate::wire::{HookState, Peer, SeccompFilter, Setup, ToRunner, ToSupervisor};

/// What a runner is told, and what it takes to answer it.
pub(super) struct Errand<'a> {
    pub(super) plan: Plan,
    pub(super) filters: Vec<SeccompFilter>,
    /// The container's.
    pub(super) state: &'a HookState,
    /// The container's root, as we see it.
    pub(super) root: Option<&'a Path>,
    pub(super) cache: &'a Cache,
    /// The certificates for guests that have none, if the configuration names them.
    pub(super) ca_bundle: Option<&'a Path>,
    /// The container's first process, if the runner runs beside it.
    pub(super) beside: Option<BorrowedFd<'a>>,
}

impl Runner {
    /// Answers the runner until its guest is ready.
    pub(super) fn converse(&self, peer: &Peer, errand: Errand<'_>) -> Result<()> {
        let Errand { plan, filters, state, root, cache, ca_bundle, beside } = errand;
        let namespaces = plan.sandbox.namespaces.clone();
        let mounts = plan.sandbox.mounts.clone();
        let hooks = plan.sandbox.hooks.clone();
        let settings = plan.engine.clone();
        let name = plan.guest.entrypoint.name.clone();
        let setup = Setup { plan, state: state.clone(), filters };
        let gone = |_| self.ended_early();
        let report = Some(self.report.as_fd());
        peer.send(&ToRunner::Setup(Box::new(setup)), report).map_err(gone)?;
        let mut module: Option<(String, File)> = None;
        let mut artifact: Option<Artifact> = None;
        let mut stale = false;
        loop {
            let Some((message, fd)) = peer.receive::<ToSupervisor>().map_err(gone)? else {
                return Err(self.ended_early());
            };
            match message {
                ToSupervisor::NeedsIdMaps => {
                    sandbox::map_ids(self.pid, &namespaces)?;
                    peer.send(&ToRunner::Proceed, None).map_err(gone)?;
                }
                ToSupervisor::NamespacesReady => {
                    hooks::run("prestart", &hooks.prestart, state, "creating")?;
                    hooks::run("createRuntime", &hooks.create_runtime, state, "creating")?;
                    peer.send(&ToRunner::Proceed, None).map_err(gone)?;
                }
                ToSupervisor::NeedsMount(number) => {
                    let mount = mounts.get(number).ok_or_else(|| unexpected(&message))?;
                    let mount = sandbox::id_mapped(mount, self.pid)?;
                    peer.send(&ToRunner::Mount, Some(mount.as_fd())).map_err(gone)?;
                }
                ToSupervisor::Entrypoint(path) => {
                    let file =
                        fd.ok_or_else(|| Refusal::system("receive the entrypoint", &path))?;
                    let (path, file) = module.insert((path, File::from(file)));
                    if let Some(first) = beside {
                        may_join(first, &name, file)?;
                    }
                    let wasm = Wasm { file, name: path, root };
                    let code = artifact.insert(cache.get(&wasm, &settings)?);
                    peer.send(&ToRunner::Code, Some(code.file.as_fd())).map_err(gone)?;
                }
                ToSupervisor::NeedsRoots => {
                    let roots = certificates::of_host(ca_bundle)?;
                    peer.send(&ToRunner::Roots, roots.as_ref().map(AsFd::as_fd)).map_err(gone)?;
                }
                // Made by another release or on another processor: once more, from the source.
                ToSupervisor::Stale(reason) if !stale => {
                    stale = true;
                    log::info!("compiling anew: {reason}");
                    let (Some((path, file)), Some(old)) = (&module, artifact.take()) else {
                        return Err(unexpected(&ToSupervisor::Stale(reason)));
                    };
                    cache.forget(&old);
                    let wasm = Wasm { file, name: path, root };
                    let code = artifact.insert(cache.get(&wasm, &settings)?);
                    peer.send(&ToRunner::Code, Some(code.file.as_fd())).map_err(gone)?;
                }
                ToSupervisor::Stale(reason) => {
                    return Err(Refusal::system(
                        "load code compiled just now (do lighter and lighter-runner belong together?)",
                        reason,
                    ));
                }
                ToSupervisor::Ready => return Ok(()),
                ToSupervisor::Refused(refusal) => return Err(refusal),
                ToSupervisor::Started => return Err(unexpected(&message)),
            }
        }
    }
}

/// Whether a runner that has joined the namespaces of process `first`, and found `file` there for its entrypoint `name`,
/// may go on.
fn may_join(first: BorrowedFd<'_>, name: &str, file: &File) -> Result<()> {
    // As long as it has not ended, nobody else has its id, and the namespaces that were found by it are its own.
    if ended(first, Duration::ZERO) {
        return Err(Refusal::not_found("the container's first process has ended"));
    }
    let mut magic = [0; 4];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) if &magic == b"\x7fELF" => Err(Refusal::denied(format!(
            "process.args[0] {name:?}: is a Linux program; in a WebAssembly container exec runs WebAssembly programs of \
             its root filesystem"
        ))),
        // Whatever else it is, the cache has words for it.
        _ => Ok(()),
    }
}
