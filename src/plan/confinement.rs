//! What the process around the guest may still do once it is set up: the walls behind WebAssembly.

use serde::{Deserialize, Serialize};

use super::SeccompProfile;

/// What the runner gives up before the guest's first instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The bundle's own filter of system calls, under which Lighter's stands.
    pub seccomp: Option<SeccompProfile>,
    /// What this kernel cannot give, and the node's configuration lets go.
    pub missing: Vec<Wall>,
}

/// A layer of isolation that a kernel may or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wall {
    /// A filter of system calls, seccomp(2).
    Seccomp,
    /// Files and ports by rule, landlock(7).
    Landlock,
}
