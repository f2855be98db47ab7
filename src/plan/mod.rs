//! The plan: everything the runner will do for one container, decided before anything is changed.
//!
//! A [`Plan`] is plain data: no I/O made it, it can be printed, and golden tests hold it.

use serde::{Deserialize, Serialize};

use crate::engine::Settings;

mod guest;
mod sandbox;

#[cfg(feature = "supervisor")]
mod decide;

#[cfg(feature = "supervisor")]
pub use decide::{entrypoint, plan};
pub use guest::{Access, Entrypoint, Guest, Preopen};
pub use sandbox::*;

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
    /// How its code is compiled.
    pub engine: Settings,
}
