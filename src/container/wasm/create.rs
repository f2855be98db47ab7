//! From a bundle to a guest that waits to be started; or to nothing at all.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use super::conversation::Errand;
use super::memory::GuestMemory;
use super::runner::{Runner, filters};
use super::{SIGKILL, WasmContainer, payer};
use crate::bundle::Bundle;
use crate::cache::Cache;
use crate::cgroup::Cgroup;
use crate::container::terminal::{self, Wanted};
use crate::container::{CreateRequest, reap, send_signal};
use crate::error::{Refusal, Result};
use crate::host::Host;
use crate::plan::{MemoryRule, plan};
use crate::report::Report;
use crate::sandbox::{self, Launched};
use crate::state::{Program, State};
use crate::wire::{Peer, ToRunner};

impl WasmContainer {
    /// Plans, launches and sets up; whatever fails, nothing is left.
    pub(in crate::container) fn create(
        request: CreateRequest,
        bundle: &Bundle,
        host: &Host,
        cgroup: Cgroup,
        wanted: Option<Wanted>,
    ) -> Result<Self> {
        let mut plan = plan(&request.id, bundle, host, &request.config)?;
        let (filters, profiled) = filters(&mut plan, host)?;
        let resources = bundle.spec.linux().as_ref().and_then(|l| l.resources().as_ref());
        let record = request.record;
        let report = Arc::new(match record.is_left() {
            true => Report::make(&record.report_file())?,
            false => Report::new()?,
        });
        let rule = MemoryRule::new(&bundle.requests, &request.config, &plan.limits);
        let memory = GuestMemory::new(rule, &plan.limits, &report);
        let (stdio, console) = terminal::open(request.streams, wanted)?;
        // Recorded before there is anything to clean up, so that whoever cleans up knows of it.
        let state = State::of_planned(&request.id, bundle, cgroup, Program::Wasm);
        let mut state = State {
            poststart: plan.sandbox.hooks.poststart.clone(),
            poststop: plan.sandbox.hooks.poststop.clone(),
            missing: plan.confinement.missing.clone(),
            guest: Some(memory.recorded(profiled)),
            ..state
        };
        let launched = state.write(&record).and_then(|()| {
            let group = state.cgroup.prepare(resources)?;
            let (programs, namespaces) = (&request.programs, &plan.sandbox.namespaces);
            sandbox::launch(programs, &request.id, stdio, namespaces, group.as_ref())
                .map(|launched| (launched, group.is_some()))
        });
        let (Launched { pid, pidfd, peer }, born_in_group) = launched.inspect_err(|_| {
            if let Err(left) = state.cgroup.remove() {
                log::warn!("after a refused create of {}: {left}", request.id);
            }
        })?;
        state.has_process(pid);
        let container = Self {
            runner: Runner { pid, pidfd, report, profiled },
            peer: Mutex::new(None),
            record,
            state,
            console: Mutex::new(console),
            memory: Mutex::new(memory),
        };
        let state = &container.state;
        let set_up = || {
            state.write(&container.record)?;
            if !born_in_group {
                state.cgroup.admit(pid, resources)?;
            }
            sandbox::set_oom_score(pid, plan.sandbox.oom_score_adj)?;
            let payer = payer(&state.cgroup, &request.config);
            let cache = Cache::open(&request.config, &request.programs).paid_by(payer);
            let root = bundle.root();
            let errand = Errand {
                plan,
                filters,
                state: &state.hook_state,
                root: root.as_deref(),
                cache: &cache,
                ca_bundle: request.config.ca_bundle.as_deref(),
                beside: None,
            };
            container.runner.converse(&peer, errand)?;
            container.leave(&peer)
        };
        match set_up() {
            Ok(()) => {
                for wall in &container.state.missing {
                    log::warn!("container {} runs without a wall, {wall}", request.id);
                }
                if !container.record.is_left() {
                    *container.peer.lock().unwrap_or_else(|e| e.into_inner()) = Some(peer);
                }
                Ok(container)
            }
            Err(refusal) => {
                if let Err(left) = container.tear_down() {
                    log::warn!("after a refused create of {}: {left}", request.id);
                }
                Err(refusal)
            }
        }
    }

    /// Has the guest wait at the record's door, if its supervisor is one that leaves.
    fn leave(&self, peer: &Peer) -> Result<()> {
        if !self.record.is_left() {
            return Ok(());
        }
        let failed = |e| Refusal::system("leave the container to itself", e);
        let door = self.record.hang_door().map_err(failed)?;
        peer.send(&ToRunner::WaitAt, Some(door.as_fd())).map_err(failed)
    }

    /// Undoes a create that was refused on the way.
    fn tear_down(&self) -> Result<()> {
        let _ = send_signal(self.pidfd(), SIGKILL);
        // Already collected if it ended on its own.
        let _ = reap(self.pidfd());
        self.delete()
    }
}
