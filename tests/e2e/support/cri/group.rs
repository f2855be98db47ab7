//! The control group of a process, whose files have other names and units on version 1 than on version 2.

use std::path::{Path, PathBuf};

use crate::support::process::Process;

/// Where the hierarchies are.
const ROOT: &str = "/sys/fs/cgroup";

/// A control group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The directory of each controller's group.
    memory: PathBuf,
    cpu: PathBuf,
    unified: bool,
}

impl Group {
    /// The one that `process` is in.
    #[track_caller]
    pub fn of(process: &Process) -> Self {
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let text = process.text("cgroup");
        let dir = |controller: &str| {
            let path = text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let controllers = parts.next()?;
                let wanted = if unified { "" } else { controller };
                controllers.split(',').any(|name| name == wanted).then(|| parts.next())?
            });
            let path = path.unwrap_or_else(|| panic!("no {controller} in {text}"));
            let root = PathBuf::from(ROOT).join(if unified { "" } else { controller });
            root.join(path.trim_start_matches('/'))
        };
        Self { memory: dir("memory"), cpu: dir("cpuacct"), unified }
    }

    /// The group that this one is in.
    pub fn parent(&self) -> Self {
        let above = |dir: &Path| dir.parent().expect("a group is in a directory").to_owned();
        Self { memory: above(&self.memory), cpu: above(&self.cpu), unified: self.unified }
    }

    /// The limit of memory, in bytes.
    #[track_caller]
    pub fn memory_limit(&self) -> u64 {
        number(&self.memory.join(if self.unified { "memory.max" } else { "memory.limit_in_bytes" }))
    }

    /// The memory in use, in bytes, page cache included.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        number(&self.memory.join(if self.unified {
            "memory.current"
        } else {
            "memory.usage_in_bytes"
        }))
    }

    /// The processor time used, in nanoseconds.
    #[track_caller]
    pub fn cpu(&self) -> u64 {
        if !self.unified {
            return number(&self.cpu.join("cpuacct.usage"));
        }
        let text = read(&self.cpu.join("cpu.stat"));
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        line.expect("cpu.stat has it").parse::<u64>().unwrap() * 1000
    }

    /// The processor time it may use in a period, and the period, in microseconds.
    #[track_caller]
    pub fn quota(&self) -> (u64, u64) {
        if !self.unified {
            let dir = PathBuf::from(self.cpu.to_string_lossy().replacen("/cpuacct/", "/cpu/", 1));
            return (number(&dir.join("cpu.cfs_quota_us")), number(&dir.join("cpu.cfs_period_us")));
        }
        let text = read(&self.cpu.join("cpu.max"));
        let (quota, period) = text.split_once(' ').expect("cpu.max has two words");
        (quota.parse().unwrap(), period.parse().unwrap())
    }

    /// The share of processors, in the unit of version 1, where 1024 is the default.
    #[track_caller]
    pub fn shares(&self) -> u64 {
        if !self.unified {
            let dir = PathBuf::from(self.cpu.to_string_lossy().replacen("/cpuacct/", "/cpu/", 1));
            return number(&dir.join("cpu.shares"));
        }
        // The inverse of what runtimes write, which have used two formulas.
        let weight = number(&self.cpu.join("cpu.weight"));
        2 + (weight - 1) * 262_142 / 9999
    }
}

#[track_caller]
fn read(file: &Path) -> String {
    let text = std::fs::read_to_string(file);
    text.unwrap_or_else(|e| panic!("read {}: {e}", file.display())).trim().to_owned()
}

#[track_caller]
fn number(file: &Path) -> u64 {
    let text = read(file);
    text.parse().unwrap_or_else(|e| panic!("{} is {text:?}: {e}", file.display()))
}
