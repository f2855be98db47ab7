//! The node's own configuration: where things are kept and what may be spent on a module.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Node configuration, read from TOML; every field has a default, an unknown one is an error.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's store of compiled code.
    pub cache: CacheConfig,
    /// What compiling one module may cost.
    pub compile: CompileConfig,
}

/// The node's store of compiled code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Directory, owned by root and closed to others.
    pub dir: PathBuf,
    /// Bytes of compiled code kept; the least recently used goes first.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { dir: "/var/lib/lighter/cache".into(), max_bytes: 4 << 30 }
    }
}

/// What compiling one module may cost. The compiler is a process of its own, and these are its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompileConfig {
    /// Bytes of the largest module accepted.
    pub max_module_bytes: u64,
    /// Bytes of address space.
    pub max_memory_bytes: u64,
    /// Seconds of wall-clock time.
    pub timeout_seconds: u64,
    /// Seconds of CPU time, over all of the compiler's threads.
    pub cpu_seconds: u64,
}

impl CompileConfig {
    /// [`CompileConfig::timeout_seconds`] as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

impl Default for CompileConfig {
    fn default() -> Self {
        Self {
            max_module_bytes: 256 << 20,
            max_memory_bytes: 8 << 30,
            timeout_seconds: 300,
            cpu_seconds: 600,
        }
    }
}
