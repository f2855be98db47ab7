//! What outlives the supervisor: enough, in the container's record, for another process to go on in its place.

use std::io;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::error::{Refusal, Result};
use crate::plan::{Hook, MemoryChange, MemoryRule, Missing};
use crate::record::Record;
use crate::wire::HookState;

/// A container as it is recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// What runs it.
    pub(crate) program: Program,
    /// Its first process; 0 before there is one.
    pub(crate) pid: u32,
    /// When that started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`. Tells it from a
    /// later process with the same id.
    pub(crate) started: u64,
    /// Its control group.
    pub(crate) cgroup: Cgroup,
    /// Hooks to run once its guest runs; libcontainer has those of a Linux container.
    pub(crate) poststart: Vec<Hook>,
    /// Hooks to run once it is gone.
    pub(crate) poststop: Vec<Hook>,
    /// What they get to know.
    pub(crate) hook_state: HookState,
    /// When it was created.
    pub(crate) created: SystemTime,
    /// The walls that it does without.
    pub(crate) missing: Vec<Missing>,
    /// What its guest has.
    pub(crate) guest: Option<GuestState>,
}

/// What runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Program {
    /// The runner.
    Wasm,
    /// The kernel.
    Linux,
}

/// What is known of a guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuestState {
    /// The bundle has a filter of system calls of its own.
    pub(crate) profiled: bool,
    /// What follows for its memory from its group's limit.
    pub(crate) memory_rule: MemoryRule,
    /// The memory that it may have now.
    pub(crate) memory: MemoryChange,
    /// How often that was changed.
    pub(crate) memory_changes: u64,
}

impl State {
    /// What is known of a container of `program` before it has a process, as its bundle says.
    pub(crate) fn of_planned(id: &str, bundle: &Bundle, cgroup: Cgroup, program: Program) -> Self {
        let annotations = bundle.spec.annotations().clone().unwrap_or_default();
        Self {
            program,
            pid: 0,
            started: 0,
            cgroup,
            poststart: Vec::new(),
            poststop: Vec::new(),
            hook_state: HookState {
                oci_version: bundle.spec.version().clone(),
                id: id.to_owned(),
                status: "creating".to_owned(),
                pid: 0,
                bundle: bundle.path.display().to_string(),
                annotations: annotations.into_iter().collect(),
            },
            created: SystemTime::now(),
            missing: Vec::new(),
            guest: None,
        }
    }

    /// Its first process is the one with this id.
    pub(crate) fn has_process(&mut self, pid: u32) {
        self.pid = pid;
        self.started = start_time(pid).unwrap_or(0);
        self.hook_state.pid = pid;
    }

    /// Its first process, unless that is gone. One that has ended and was not collected is still there.
    pub(crate) fn process(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid as i32)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The pidfd holds whichever process has the id now; its start tells whether it is ours.
        (start_time(self.pid) == Some(self.started)).then_some(pidfd)
    }

    /// Writes it down.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let file = record.state_file();
        let text = serde_json::to_vec(self).map_err(|e| Refusal::system("record state", e))?;
        // Written aside and renamed: whoever reads it after a crash reads all of it or nothing.
        let aside = record.state_file_aside();
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, &file))
            .map_err(|e| Refusal::system(format!("record state in {}", file.display()), e))
    }

    /// Reads it; `None` if there is nothing yet, or not any more.
    pub(crate) fn read(record: &Record) -> Result<Option<Self>> {
        let file = record.state_file();
        let wrong = |e: &dyn std::fmt::Display| {
            Refusal::system(format!("read state from {}", file.display()), e)
        };
        match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| wrong(&e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(wrong(&e)),
        }
    }
}

/// When process `pid` started, in clock ticks since boot; `None` once it is gone.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn knows_when_a_process_started() {
        let own = super::start_time(std::process::id()).expect("we run");
        assert!(own > super::start_time(1).expect("so does process 1"));
        assert_eq!(super::start_time(u32::MAX), None);
    }
}
