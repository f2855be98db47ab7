//! What a guest may use up, by the engine's own means; the control group's limits hold around them.

use serde::{Deserialize, Serialize};

/// The engine's limits for one guest. `None` is no limit of the engine's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of all linear memories and tables together.
    pub memory: Option<u64>,
}
