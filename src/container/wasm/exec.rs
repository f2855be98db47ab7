//! A runner beside a container's first: it enters what the first one has made.

use std::sync::{Arc, Mutex};

use super::conversation::Errand;
use super::runner::{Runner, filters};
use super::{WasmContainer, payer};
use crate::bundle::Bundle;
use crate::cache::Cache;
use crate::cgroup::Cgroup;
use crate::container::terminal::{self, Wanted};
use crate::container::{ExecRequest, ExecSpec, Process};
use crate::error::Result;
use crate::host::Host;
use crate::plan::exec_plan;
use crate::report::Report;
use crate::sandbox::{self, Launched};

impl WasmContainer {
    /// Runs a guest beside the first; returns once it runs. Nothing is left of one that does not.
    pub(in crate::container) fn exec(
        &self,
        request: ExecRequest,
        bundle: &Bundle,
        cgroup: &Cgroup,
    ) -> Result<Process> {
        let ExecRequest { spec: ExecSpec(process), streams, config, programs } = request;
        let wanted = Wanted::by(&process, &bundle.spec, &streams)?;
        let (id, host) = (&self.state.hook_state.id, Host::detect());
        let mut plan = exec_plan(id, bundle, &process, self.pid(), &host, &config)?;
        let (filters, profiled) = filters(&mut plan, &host)?;
        let report = Arc::new(Report::new()?);
        self.limit_as_now(&report)?;
        let (stdio, console) = terminal::open(streams, wanted)?;
        let group = cgroup.open()?;
        let namespaces = &plan.sandbox.namespaces;
        let Launched { pid, pidfd, peer } =
            sandbox::launch(&programs, id, stdio, namespaces, group.as_ref())?;
        let runner = Runner { pid, pidfd, report, profiled };
        let set_up = || {
            if group.is_none() {
                cgroup.take_in(pid)?;
            }
            sandbox::set_oom_score(pid, plan.sandbox.oom_score_adj)?;
            let payer = payer(cgroup, &config);
            let cache = Cache::open(&config, &programs).paid_by(payer);
            let root = bundle.root();
            let errand = Errand {
                plan,
                filters,
                state: &self.state.hook_state,
                root: root.as_deref(),
                cache: &cache,
                ca_bundle: config.ca_bundle.as_deref(),
                beside: Some(self.pidfd()),
            };
            runner.converse(&peer, errand)?;
            runner.start(&peer)
        };
        let started = set_up();
        let process = Process {
            pid,
            pidfd: runner.pidfd,
            report: Some(runner.report),
            console: Mutex::new(console),
        };
        match started {
            Ok(()) => Ok(process),
            Err(refusal) => {
                process.abandon();
                Err(refusal)
            }
        }
    }
}
