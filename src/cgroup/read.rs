//! Reading a control group's files: cgroup-v1/ and cgroup-v2.rst of the kernel's documentation.
//!
//! A file that this kernel does not have counts as nothing used and no limit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::v1;
use crate::host::Cgroups;
use crate::metrics::{CpuUsage, Hierarchy, MemoryUsage, PidsUsage, Usage};

pub(super) const ROOT: &str = "/sys/fs/cgroup";
/// Clock ticks per second of `cpuacct.stat`; fixed on all of Linux's current architectures (`USER_HZ`).
const TICK_NS: u64 = 1_000_000_000 / 100;
/// Version 1 writes the largest page-aligned number for "no limit".
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_f000;

/// Where one group's files are: one directory on version 2, one for each controller on version 1.
pub(super) struct Directories {
    pub(super) hierarchy: Cgroups,
    pub(super) relative: PathBuf,
}

impl Directories {
    pub(super) fn of(hierarchy: Cgroups, path: &Path) -> Self {
        Self { hierarchy, relative: path.strip_prefix("/").unwrap_or(path).to_owned() }
    }

    pub(super) fn controller(&self, name: &str) -> PathBuf {
        match self.hierarchy {
            Cgroups::V1 => Path::new(ROOT).join(name).join(&self.relative),
            _ => Path::new(ROOT).join(&self.relative),
        }
    }

    /// Whether there is any of them: whoever made or removed them may have been stopped in between, in no certain order.
    pub(super) fn exist(&self) -> bool {
        v1::CONTROLLERS.iter().any(|controller| self.controller(controller).is_dir())
    }

    /// Opens the group's directory of version 2.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        Ok(File::open(self.controller(""))?.into())
    }

    /// Opens the files through which a process moves itself into the group of version 1. `None` where one of its
    /// hierarchies has none, as that of version 2.
    ///
    /// # Errors
    /// When the group is nowhere, or closed to us.
    pub(super) fn tasks(&self) -> io::Result<Option<Vec<OwnedFd>>> {
        let files = self.entrances().into_iter().map(|entrance| entrance.with_file_name("tasks"));
        let files: Vec<PathBuf> = files.collect();
        if files.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it does not exist"));
        }
        match files.iter().all(|file| file.exists()) {
            true => files.iter().map(|file| v1::open(file)).collect::<io::Result<_>>().map(Some),
            false => Ok(None),
        }
    }

    /// Kills all processes in it and below it, where one write does that.
    pub(super) fn kill(&self) {
        let _ = std::fs::write(self.controller("").join("cgroup.kill"), "1");
    }

    /// Lets what is stopped in the group of version 1 go on. Not by `libcgroups`, which would make the group where it has just
    /// been removed.
    pub(super) fn let_go(&self) {
        let state = self.controller("freezer").join("freezer.state");
        if let Ok(mut state) = File::options().write(true).open(state) {
            let _ = state.write_all(b"THAWED");
        }
    }

    /// Whether its processes are stopped.
    pub(super) fn are_frozen(&self) -> bool {
        let (file, word) = match self.hierarchy {
            Cgroups::V1 => (self.controller("freezer").join("freezer.state"), "FROZEN"),
            _ => (self.controller("").join("cgroup.events"), "frozen 1"),
        };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| line == word)
    }

    /// Whether there is such a file in the group's directory of version 2.
    pub(super) fn have(&self, file: &str) -> bool {
        self.controller("").join(file).exists()
    }

    /// The files `cgroup.procs` of the group, in every hierarchy that has it.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        let hierarchies = match self.hierarchy {
            Cgroups::V1 => std::fs::read_dir(ROOT)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect(),
            _ => vec![PathBuf::from(ROOT)],
        };
        let mut files: Vec<PathBuf> = hierarchies
            .iter()
            .map(|hierarchy| hierarchy.join(&self.relative).join("cgroup.procs"))
            .filter(|file| file.exists())
            .collect();
        files.sort();
        files
    }

    fn processes(&self) -> PathBuf {
        ["pids", "memory", "devices", "freezer"]
            .iter()
            .map(|controller| self.controller(controller))
            .find(|dir| dir.is_dir())
            .unwrap_or_else(|| self.controller("pids"))
    }
}

pub(super) fn pids(directories: &Directories) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    collect_pids(&directories.processes(), &mut pids)?;
    pids.sort_unstable();
    Ok(pids)
}

pub(super) fn collect_pids(dir: &Path, pids: &mut Vec<u32>) -> io::Result<()> {
    let file = dir.join("cgroup.procs");
    let text = std::fs::read_to_string(&file)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_pids(&entry.path(), pids)?;
        }
    }
    Ok(())
}

pub(super) fn usage(hierarchy: Cgroups, directories: &Directories) -> io::Result<Usage> {
    if !directories.exist() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it does not exist"));
    }
    let pids = directories.controller("pids");
    let pids = PidsUsage {
        current: number(&pids.join("pids.current")).unwrap_or(0),
        limit: number(&pids.join("pids.max")).unwrap_or(0),
    };
    Ok(match hierarchy {
        Cgroups::V1 => Usage {
            hierarchy: Hierarchy::V1,
            cpu: v1_cpu(&directories.controller("cpu"), &directories.controller("cpuacct")),
            memory: v1_memory(&directories.controller("memory")),
            pids,
        },
        _ => {
            let dir = directories.controller("");
            Usage { hierarchy: Hierarchy::V2, cpu: v2_cpu(&dir), memory: v2_memory(&dir), pids }
        }
    })
}

/// The microseconds of processor time that a group of version 2 has, −1 for no limit, and in which time it has them.
pub(super) fn quota_and_period(directories: &Directories) -> (Option<i64>, Option<u64>) {
    let file = directories.controller("").join("cpu.max");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut words = text.split_whitespace();
    let quota =
        words.next().and_then(|quota| if quota == "max" { Some(-1) } else { quota.parse().ok() });
    (quota, words.next().and_then(|period| period.parse().ok()))
}

/// How many processes the kernel killed because the group was out of memory.
pub(super) fn oom_kills(hierarchy: Cgroups, directories: &Directories) -> u64 {
    let file = match hierarchy {
        Cgroups::V1 => "memory.oom_control",
        _ => "memory.events",
    };
    get(&table(&directories.controller("memory").join(file)), "oom_kill")
}

fn v1_cpu(cpu: &Path, cpuacct: &Path) -> CpuUsage {
    let times = table(&cpuacct.join("cpuacct.stat"));
    let throttling = table(&cpu.join("cpu.stat"));
    CpuUsage {
        total: number(&cpuacct.join("cpuacct.usage")).unwrap_or(0),
        user: get(&times, "user") * TICK_NS,
        system: get(&times, "system") * TICK_NS,
        periods: get(&throttling, "nr_periods"),
        throttled_periods: get(&throttling, "nr_throttled"),
        throttled: get(&throttling, "throttled_time"),
    }
}

fn v1_memory(dir: &Path) -> MemoryUsage {
    let stat = table(&dir.join("memory.stat"));
    let limit = |file: &str| match number(&dir.join(file)) {
        Some(limit) if limit < V1_UNLIMITED => limit,
        _ => u64::MAX,
    };
    let usage = number(&dir.join("memory.usage_in_bytes")).unwrap_or(0);
    let with_swap = number(&dir.join("memory.memsw.usage_in_bytes")).unwrap_or(usage);
    let memory_limit = limit("memory.limit_in_bytes");
    MemoryUsage {
        usage,
        peak: number(&dir.join("memory.max_usage_in_bytes")).unwrap_or(0),
        limit: memory_limit,
        failures: number(&dir.join("memory.failcnt")).unwrap_or(0),
        swap_usage: with_swap.saturating_sub(usage),
        swap_limit: match limit("memory.memsw.limit_in_bytes") {
            u64::MAX => u64::MAX,
            limit => limit.saturating_sub(memory_limit),
        },
        inactive_file: get(&stat, "total_inactive_file"),
        stat,
    }
}

fn v2_cpu(dir: &Path) -> CpuUsage {
    let stat = table(&dir.join("cpu.stat"));
    CpuUsage {
        total: get(&stat, "usage_usec") * 1000,
        user: get(&stat, "user_usec") * 1000,
        system: get(&stat, "system_usec") * 1000,
        periods: get(&stat, "nr_periods"),
        throttled_periods: get(&stat, "nr_throttled"),
        throttled: get(&stat, "throttled_usec") * 1000,
    }
}

fn v2_memory(dir: &Path) -> MemoryUsage {
    let stat = table(&dir.join("memory.stat"));
    MemoryUsage {
        usage: number(&dir.join("memory.current")).unwrap_or(0),
        peak: number(&dir.join("memory.peak")).unwrap_or(0),
        limit: number(&dir.join("memory.max")).unwrap_or(u64::MAX),
        failures: get(&table(&dir.join("memory.events")), "max"),
        swap_usage: number(&dir.join("memory.swap.current")).unwrap_or(0),
        swap_limit: number(&dir.join("memory.swap.max")).unwrap_or(u64::MAX),
        inactive_file: get(&stat, "inactive_file"),
        stat,
    }
}

/// A file of one number; `None` also for "max".
fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A file of lines "name number".
fn table(file: &Path) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn get(table: &BTreeMap<String, u64>, name: &str) -> u64 {
    table.get(name).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        dir
    }

    #[test]
    fn version_2_counts_microseconds_and_knows_max() {
        let dir = files(&[
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_throttled 2\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1024\ninactive_file 512\n"),
        ]);
        let cpu = v2_cpu(dir.path());
        assert_eq!((cpu.total, cpu.user, cpu.throttled_periods), (1_500_000, 1_000_000, 2));
        let memory = v2_memory(dir.path());
        assert_eq!((memory.usage, memory.limit, memory.inactive_file), (4096, u64::MAX, 512));
    }

    #[test]
    fn version_1_counts_ticks_and_its_largest_number_is_no_limit() {
        let dir = files(&[
            ("cpuacct.usage", "123456\n"),
            ("cpuacct.stat", "user 3\nsystem 1\n"),
            ("memory.usage_in_bytes", "8192\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.memsw.usage_in_bytes", "12288\n"),
        ]);
        let cpu = v1_cpu(dir.path(), dir.path());
        assert_eq!((cpu.total, cpu.user), (123_456, 30_000_000));
        let memory = v1_memory(dir.path());
        assert_eq!((memory.usage, memory.limit, memory.swap_usage), (8192, u64::MAX, 4096));
    }
}
