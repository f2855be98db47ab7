//! The plan: everything the runner will do for one container, decided before anything is changed.
//!
//! A [`Plan`] is plain data: no I/O made it, it can be printed, and golden tests hold it.

use serde::{Deserialize, Serialize};

use crate::engine::Settings;

mod confinement;
mod guest;
mod http;
mod limits;
mod network;
mod sandbox;
mod seccomp;

#[cfg(feature = "supervisor")]
mod decide;

pub use confinement::{Beneath, Confinement, Landlock, Missing, OLDEST_LANDLOCK, Wall};
#[cfg(feature = "supervisor")]
pub use decide::{
    IdMapped, MemoryRule, entrypoint, exec_plan, id_mapped_mounts, only_tcp_port, plan,
};
#[cfg(feature = "supervisor")]
pub(crate) use decide::{namespaces, terminal};
pub use guest::{Access, Entrypoint, Guest, Preopen};
pub use http::{DEFAULT_PORT, Http, HttpAddress, HttpSetting};
pub use limits::{Limit, LimitKind, Limits, MEMORY_FIELDS, MemoryChange, Origin};
pub use network::{Network, Ports};
pub use sandbox::*;
pub use seccomp::*;

/// How one container will run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The container's id, as the caller named it.
    pub id: String,
    /// What the WebAssembly program sees.
    pub guest: Guest,
    /// The process around it.
    pub sandbox: Sandbox,
    /// What the guest may use up.
    pub limits: Limits,
    /// What the process gives up before the guest's first instruction.
    pub confinement: Confinement,
    /// How its code is compiled.
    pub engine: Settings,
}
