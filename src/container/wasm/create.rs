//! From a runner that waits for its plan to a guest that waits to be started; or to nothing at all.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use super::conversation::Errand;
use super::memory::GuestMemory;
use super::runner::{Runner, filters};
use super::{SIGKILL, Waiting, WasmContainer, payer};
use crate::bundle::Bundle;
use crate::cache::Cache;
use crate::container::{CreateRequest, reap, send_signal};
use crate::error::{Refusal, Result};
use crate::host::Host;
use crate::plan::{MemoryRule, Plan, plan};
use crate::report::Report;
use crate::sandbox::{self, Launched};
use crate::state::State;
use crate::trace::{self, Who};
use crate::wire::{Peer, SeccompFilter, ToRunner};

/// What was decided while the runner was made ready.
struct Decided {
    plan: Plan,
    filters: Vec<SeccompFilter>,
    /// The bundle has a filter of system calls of its own.
    profiled: bool,
    report: Arc<Report>,
    memory: GuestMemory,
}

impl WasmContainer {
    /// Plans for the runner that waits, if it could be launched, limits its group, and sets it up; whatever fails, nothing is left.
    pub(in crate::container) fn create(
        request: CreateRequest,
        bundle: &Bundle,
        host: &Host,
        waiting: Result<Waiting>,
    ) -> Result<Self> {
        // What is wrong with the bundle is said before what is wrong with the node.
        let (decided, waiting) = match (decide(&request, bundle, host), waiting) {
            (Ok(decided), Ok(waiting)) => (decided, waiting),
            (Err(refusal), Ok(waiting)) => {
                waiting.abandon();
                return Err(refusal);
            }
            (Err(refusal), Err(_)) | (Ok(_), Err(refusal)) => return Err(refusal),
        };
        trace::step(Who::Supervisor, "plan decided");
        let Decided { plan, filters, profiled, report, memory } = decided;
        let Waiting { state, launched, born_in_group, console } = waiting;
        let Launched { pid, pidfd, peer } = launched;
        let mut state = State {
            poststart: plan.sandbox.hooks.poststart.clone(),
            poststop: plan.sandbox.hooks.poststop.clone(),
            missing: plan.confinement.missing.clone(),
            guest: Some(memory.recorded(profiled)),
            ..state
        };
        state.has_process(pid);
        let container = Self {
            runner: Runner { pid, pidfd, report, profiled },
            peer: Mutex::new(None),
            record: request.record,
            state,
            console: Mutex::new(console),
            memory: Mutex::new(memory),
        };
        let state = &container.state;
        let set_up = || {
            state.write(&container.record)?;
            let resources = bundle.spec.linux().as_ref().and_then(|l| l.resources().as_ref());
            match born_in_group {
                true => state.cgroup.limit_made(resources)?,
                false => state.cgroup.admit(pid, resources)?,
            }
            trace::step(Who::Supervisor, "control group limited");
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

fn decide(request: &CreateRequest, bundle: &Bundle, host: &Host) -> Result<Decided> {
    let mut plan = plan(&request.id, bundle, host, &request.config)?;
    let (filters, profiled) = filters(&mut plan, host)?;
    let report = Arc::new(match request.record.is_left() {
        true => Report::make(&request.record.report_file())?,
        false => Report::new()?,
    });
    let rule = MemoryRule::new(&bundle.requests, &request.config, &plan.limits);
    let memory = GuestMemory::new(rule, &plan.limits, &report);
    Ok(Decided { plan, filters, profiled, report, memory })
}
