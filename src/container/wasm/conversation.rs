//! What the supervisor does for a runner on its way to a guest that is ready; [`crate::wire`] has the order.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::{KILL_TIMEOUT, WasmContainer, unexpected};
use crate::cache::{Artifact, Cache, Wasm};
use crate::container::{ended, reap};
use crate::error::{Refusal, Result};
use crate::hooks;
use crate::plan::Plan;
use crate::sandbox;
use crate::wire::{Peer, SeccompFilter, Setup, ToRunner, ToSupervisor};

impl WasmContainer {
    /// Answers the runner until its guest is ready.
    pub(super) fn converse(
        &self,
        peer: &Peer,
        plan: Plan,
        filters: Vec<SeccompFilter>,
        cache: &Cache,
    ) -> Result<()> {
        let namespaces = plan.sandbox.namespaces.clone();
        let mounts = plan.sandbox.mounts.clone();
        let settings = plan.engine.clone();
        let root = PathBuf::from(&plan.sandbox.root.path);
        let state = &self.state.hook_state;
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
                    sandbox::map_ids(self.pid(), &namespaces)?;
                    peer.send(&ToRunner::Proceed, None).map_err(gone)?;
                }
                ToSupervisor::NamespacesReady => {
                    hooks::run("prestart", &self.hooks.prestart, state, "creating")?;
                    let hooks = &self.hooks.create_runtime;
                    hooks::run("createRuntime", hooks, state, "creating")?;
                    peer.send(&ToRunner::Proceed, None).map_err(gone)?;
                }
                ToSupervisor::NeedsMount(number) => {
                    let mount = mounts.get(number).ok_or_else(|| unexpected(&message))?;
                    let mount = sandbox::id_mapped(mount, self.pid())?;
                    peer.send(&ToRunner::Mount, Some(mount.as_fd())).map_err(gone)?;
                }
                ToSupervisor::Entrypoint(path) => {
                    let file =
                        fd.ok_or_else(|| Refusal::system("receive the entrypoint", &path))?;
                    let (path, file) = module.insert((path, File::from(file)));
                    let wasm = Wasm { file, name: path, root: Some(&root) };
                    let code = artifact.insert(cache.get(&wasm, &settings)?);
                    peer.send(&ToRunner::Code, Some(code.file.as_fd())).map_err(gone)?;
                }
                // Made by another release or on another processor: once more, from the source.
                ToSupervisor::Stale(reason) if !stale => {
                    stale = true;
                    log::info!("compiling anew: {reason}");
                    let (Some((path, file)), Some(old)) = (&module, artifact.take()) else {
                        return Err(unexpected(&ToSupervisor::Stale(reason)));
                    };
                    cache.forget(&old);
                    let wasm = Wasm { file, name: path, root: Some(&root) };
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

    /// The runner closed its socket without a word: its exit says why.
    fn ended_early(&self) -> Refusal {
        if !ended(self.pidfd(), KILL_TIMEOUT) {
            return Refusal::system(
                "lighter-runner",
                "closed its socket before the guest was ready",
            );
        }
        let why = match reap(self.pidfd()).map(|exit| exit.status) {
            Ok(127) => "could not be executed".to_owned(),
            Ok(status @ 129..) => format!(
                "was killed by signal {} before the guest was ready{}",
                status - 128,
                if status == 137 { " (the container's memory limit?)" } else { "" }
            ),
            Ok(status) => format!("ended with status {status} before the guest was ready"),
            Err(e) => e.message,
        };
        Refusal::system("lighter-runner", why)
    }
}
