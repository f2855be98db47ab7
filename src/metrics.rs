//! What a container uses, read from its cgroup, in units that do not depend on the cgroup version.

/// Which cgroup hierarchy the figures come from; front ends report in its terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// cgroup v1, also beside a v2 tree without controllers (hybrid).
    V1,
    /// cgroup v2.
    V2,
}

/// Resource usage of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Where the figures come from.
    pub hierarchy: Hierarchy,
    /// CPU.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Processes and threads.
    pub pids: PidsUsage,
}

/// CPU time, nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// In all.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Enforcement periods so far.
    pub periods: u64,
    /// Periods in which the container was throttled.
    pub throttled_periods: u64,
    /// Time throttled, nanoseconds.
    pub throttled: u64,
}

/// Memory, bytes. A limit of `u64::MAX` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// In use.
    pub usage: u64,
    /// The most ever in use; 0 where the kernel does not tell.
    pub peak: u64,
    /// The limit.
    pub limit: u64,
    /// How often the limit was hit.
    pub failures: u64,
    /// Swap in use.
    pub swap_usage: u64,
    /// The limit on swap.
    pub swap_limit: u64,
    /// Inactive page cache, which front ends subtract to get the working set.
    pub inactive_file: u64,
    /// All lines of `memory.stat`, by name.
    pub stat: std::collections::BTreeMap<String, u64>,
}

/// Processes and threads. A limit of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsUsage {
    /// Now.
    pub current: u64,
    /// The limit.
    pub limit: u64,
}

/// Block I/O with one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoUsage {
    /// The device's major and minor number.
    pub device: (u64, u64),
    /// What was read.
    pub read: IoCount,
    /// What was written.
    pub written: IoCount,
}

/// How much, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCount {
    /// Bytes.
    pub bytes: u64,
    /// Operations.
    pub operations: u64,
}
