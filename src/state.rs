//! What outlives the supervisor: enough, in the bundle, for another process to clean up after it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::error::{Refusal, Result};
use crate::plan::{Hook, Missing};
use crate::wire::HookState;

const FILE: &str = "lighter.json";

/// A container as it is recorded in its bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Its first process; 0 before there is one.
    pub(crate) pid: u32,
    /// When that started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`. Tells it from a
    /// later process with the same id.
    pub(crate) started: u64,
    /// Its control group.
    pub(crate) cgroup: Cgroup,
    /// Hooks to run once it is gone.
    pub(crate) poststop: Vec<Hook>,
    /// What they get to know.
    pub(crate) hook_state: HookState,
    /// When it was created, in seconds since 1970.
    #[serde(default)]
    pub(crate) created: u64,
    /// The walls that it does without. (An earlier release recorded neither this nor the time.)
    #[serde(default)]
    pub(crate) missing: Vec<Missing>,
}

impl State {
    pub(crate) fn file(bundle: &Path) -> PathBuf {
        bundle.join(FILE)
    }

    pub(crate) fn write(&self, bundle: &Path) -> Result<()> {
        let file = Self::file(bundle);
        let text = serde_json::to_vec(self).map_err(|e| Refusal::system("record state", e))?;
        // Written aside and renamed: whoever reads it after a crash reads all of it or nothing.
        let aside = bundle.join(".lighter.json.new");
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, &file))
            .map_err(|e| Refusal::system(format!("record state in {}", file.display()), e))
    }

    pub(crate) fn read(bundle: &Path) -> Result<Option<Self>> {
        let file = Self::file(bundle);
        let wrong = |e: &dyn std::fmt::Display| {
            Refusal::system(format!("read state from {}", file.display()), e)
        };
        match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| wrong(&e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(wrong(&e)),
        }
    }

    pub(crate) fn remove(bundle: &Path) -> Result<()> {
        match std::fs::remove_file(Self::file(bundle)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Refusal::system("remove recorded state", e))
            }
            _ => Ok(()),
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
