//! From a bundle to a guest that waits to be started; or to nothing at all.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::conversation::Errand;
use super::memory::GuestMemory;
use super::runner::{Runner, filters};
use super::{SIGKILL, WasmContainer, payer};
use crate::bundle::Bundle;
use crate::cache::Cache;
use crate::cgroup::Cgroup;
use crate::container::terminal::{self, Wanted};
use crate::container::{CreateRequest, reap, send_signal};
use crate::error::Result;
use crate::host::Host;
use crate::plan::{MemoryRule, Plan, plan};
use crate::report::Report;
use crate::sandbox::{self, Launched};
use crate::state::{State, start_time};
use crate::wire::HookState;

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
        let report = Arc::new(Report::new()?);
        let rule = MemoryRule::new(&bundle.requests, &request.config, &plan.limits);
        let memory = GuestMemory::new(rule, &plan.limits, &report);
        let (stdio, console) = terminal::open(request.streams, wanted)?;
        // Recorded before there is anything to clean up, so that whoever cleans up knows of it.
        let mut state = planned(&request.id, bundle, cgroup, &plan);
        let launched = state.write(&bundle.path).and_then(|()| {
            let group = state.cgroup.prepare(resources)?;
            let (programs, namespaces) = (&request.programs, &plan.sandbox.namespaces);
            sandbox::launch(programs, &request.id, stdio, namespaces, group.as_ref())
                .map(|launched| (launched, group.is_some()))
        });
        let (Launched { pid, pidfd, peer }, born_in_group) = launched.inspect_err(|_| {
            if let Err(left) = state.cgroup.remove().and(State::remove(&bundle.path)) {
                log::warn!("after a refused create of {}: {left}", request.id);
            }
        })?;
        state.pid = pid;
        state.started = start_time(pid).unwrap_or(0);
        state.hook_state.pid = pid;
        let container = Self {
            runner: Runner { pid, pidfd, report, profiled },
            peer: Mutex::new(None),
            bundle: bundle.path.clone(),
            state,
            hooks: plan.sandbox.hooks.clone(),
            console: Mutex::new(console),
            memory: Mutex::new(memory),
        };
        let state = &container.state;
        let set_up = || {
            state.write(&bundle.path)?;
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
                beside: None,
            };
            container.runner.converse(&peer, errand)
        };
        match set_up() {
            Ok(()) => {
                for wall in &container.state.missing {
                    log::warn!("container {} runs without a wall, {wall}", request.id);
                }
                *container.peer.lock().unwrap_or_else(|e| e.into_inner()) = Some(peer);
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

    /// Undoes a create that was refused on the way.
    fn tear_down(&self) -> Result<()> {
        let _ = send_signal(self.pidfd(), SIGKILL);
        // Already collected if it ended on its own.
        let _ = reap(self.pidfd());
        self.delete()
    }
}

/// What is known before there is a process.
fn planned(id: &str, bundle: &Bundle, cgroup: Cgroup, plan: &Plan) -> State {
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    State {
        pid: 0,
        started: 0,
        cgroup,
        poststop: plan.sandbox.hooks.poststop.clone(),
        hook_state: hook_state(id, bundle),
        created: created.map_or(0, |since| since.as_secs()),
        missing: plan.confinement.missing.clone(),
    }
}

fn hook_state(id: &str, bundle: &Bundle) -> HookState {
    HookState {
        oci_version: bundle.spec.version().clone(),
        id: id.to_owned(),
        status: "creating".to_owned(),
        pid: 0,
        bundle: bundle.path.display().to_string(),
        annotations: bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect(),
    }
}
