//! What becomes of a bundle on this node, without running it; or of one that runs, as it was recorded.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupManager};
use crate::config::Config;
use crate::container;
use crate::error::Result;
use crate::host::Host;
use crate::plan::{Missing, Plan, plan};
use crate::record::Record;
use crate::state::State;

/// A bundle and what becomes of it.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The container's id: as recorded, else what containerd would take, the directory's name.
    pub id: String,
    /// Where it is below the control groups' root.
    pub cgroup: PathBuf,
    /// Its state.
    #[serde(flatten)]
    pub state: Is,
}

/// How far a bundle has come.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Is {
    /// Not created here; it would run like this.
    Planned {
        /// What it would get.
        plan: Box<Plan>,
        /// Limits of its control group: `linux.resources`.
        resources: serde_json::Value,
        /// The machine that this is planned for.
        host: Host,
    },
    /// A Linux program, which libcontainer runs as the bundle says.
    Linux,
    /// Created here, and perhaps running.
    Recorded {
        /// Its first process.
        pid: u32,
        /// Whether that is still there.
        alive: bool,
        /// When it was created, in seconds since 1970.
        created: u64,
        /// The walls that it does without.
        missing: Vec<Missing>,
    },
}

/// Looks at the bundle in the directory `path`.
///
/// # Errors
/// What Create would say of the bundle before it starts anything.
pub fn inspect(path: &Path, config: &Config) -> Result<Inspection> {
    let bundle = Bundle::load(path)?;
    if let Some(inspection) = recorded(&Record::in_bundle(&bundle.path))? {
        return Ok(inspection);
    }
    let host = Host::detect();
    let id = bundle.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let linux = bundle.spec.linux().as_ref();
    let group = linux.and_then(|l| l.cgroups_path().as_ref());
    let cgroup = Cgroup::of(group, CgroupManager::of(config.systemd_cgroup), &id, host.cgroups)
        .directory()
        .to_owned();
    let state = if container::is_wasm(&bundle)? {
        let plan = Box::new(plan(&id, &bundle, &host, config)?);
        let resources = linux.and_then(|l| l.resources().as_ref());
        let resources = resources.and_then(|r| serde_json::to_value(r).ok()).unwrap_or_default();
        Is::Planned { plan, resources, host }
    } else {
        Is::Linux
    };
    Ok(Inspection { bundle: bundle.path, id, cgroup, state })
}

/// Looks at the container of a record; `None` while it is being created.
///
/// # Errors
/// When the record cannot be read.
pub fn recorded(record: &Record) -> Result<Option<Inspection>> {
    let Some(state) = State::read(record)? else { return Ok(None) };
    let alive = state.process().is_some();
    let since = state.created.duration_since(SystemTime::UNIX_EPOCH);
    Ok(Some(Inspection {
        bundle: state.hook_state.bundle.into(),
        id: state.hook_state.id,
        cgroup: state.cgroup.directory().to_owned(),
        state: Is::Recorded {
            pid: state.pid,
            alive,
            created: since.map_or(0, |since| since.as_secs()),
            missing: state.missing,
        },
    }))
}
