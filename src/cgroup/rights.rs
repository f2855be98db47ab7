//! What root of a user namespace may do with control groups: what has been delegated to it, and else nothing.
//! See "Delegation" in cgroup-v2.rst of the kernel's documentation.

use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use oci_spec::runtime::LinuxResources;

use super::{Cgroup, read};
use crate::error::{Refusal, Result};
use crate::host::{Cgroups, in_user_namespace};

/// A name that no file can have: the directory of a group that is not there, and that nobody else's can be taken for.
const NOWHERE: &str = "\0";

impl Cgroup {
    /// This group as far as our rights go. In a user namespace it is made by us, never by systemd, which does not
    /// know our ids; and it is none if we may not make it.
    pub fn within_rights(self) -> Self {
        if !in_user_namespace() {
            return self;
        }
        let group = match self.systemd {
            true => Self { systemd: false, path: self.directory.clone(), ..self },
            false => self,
        };
        let open = match group.hierarchy {
            Cgroups::V2 => {
                is_delegated(read::ROOT.as_ref(), &group.directory, own_group().as_deref())
            }
            Cgroups::V1 => {
                hierarchies().iter().all(|root| may_make(root, &group.directory).is_some())
            }
            Cgroups::Closed | Cgroups::None => false,
        };
        match open {
            true => group,
            false => group.closed(),
        }
    }

    /// None, for a container that is to have none.
    pub(super) fn closed(self) -> Self {
        Self { hierarchy: Cgroups::Closed, directory: NOWHERE.into(), systemd: false, ..self }
    }

    /// Whether the container is in no group of its own.
    pub fn is_closed(&self) -> bool {
        self.hierarchy == Cgroups::Closed
    }
}

/// Whether a process in the group `own` may make `group` and move into it.
fn is_delegated(root: &Path, group: &Path, own: Option<&Path>) -> bool {
    let (Some(existing), Some(own)) = (may_make(root, group), own) else { return false };
    // A process moves if both ends are below a group whose processes we may decide on.
    let own = root.join(own.strip_prefix("/").unwrap_or(own));
    let common = existing.ancestors().find(|dir| own.starts_with(dir) && dir.starts_with(root));
    common.is_some_and(|dir| allows(&dir.join("cgroup.procs"), AccessFlags::W_OK))
}

/// The directory of `group` that is there already, if the rest may be made in it.
fn may_make(root: &Path, group: &Path) -> Option<PathBuf> {
    let group = root.join(group.strip_prefix("/").unwrap_or(group));
    let existing = group.ancestors().find(|dir| dir.is_dir())?;
    (existing.starts_with(root) && allows(existing, AccessFlags::W_OK | AccessFlags::X_OK))
        .then(|| existing.to_owned())
}

fn allows(path: &Path, access: AccessFlags) -> bool {
    faccessat(None, path, access, AtFlags::AT_EACCESS).is_ok()
}

/// The group on version 2 that we are in, as our cgroup namespace shows it.
fn own_group() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    (!path.contains("..")).then(|| path.into())
}

/// Where the controllers of version 1 are mounted.
fn hierarchies() -> Vec<PathBuf> {
    ["pids", "memory", "cpu", "devices", "freezer"]
        .iter()
        .map(|controller| Path::new(read::ROOT).join(controller))
        .filter(|dir| dir.is_dir())
        .collect()
}

/// Refuses what cannot be had without a group; rules about devices are none of it, since they are the kernel's here.
///
/// # Errors
/// Names the first limit that the bundle asks for.
pub(super) fn refuse_limits(resources: &LinuxResources) -> Result<()> {
    let Some(limit) = first_limit(resources) else { return Ok(()) };
    Err(Refusal::invalid(format!(
        "linux.resources.{limit}: cannot be limited, because control groups are closed to this user namespace: have \
         one delegated (systemd: Delegate=yes for user@.service, on cgroup v2), or ask for no limits"
    )))
}

/// What every group has, and engines write although nobody asked.
const DEFAULT_SHARES: u64 = 1024;

fn first_limit(resources: &LinuxResources) -> Option<&'static str> {
    let memory = resources.memory().as_ref().is_some_and(|memory| {
        let limits = [
            memory.limit(),
            memory.reservation(),
            memory.swap(),
            memory.kernel(),
            memory.kernel_tcp(),
        ];
        limits.into_iter().flatten().any(|limit| limit > 0)
    });
    let cpu = resources.cpu().as_ref().is_some_and(|cpu| {
        cpu.shares().is_some_and(|shares| shares > 0 && shares != DEFAULT_SHARES)
            || cpu.quota().is_some_and(|quota| quota > 0)
            || cpu.realtime_runtime().is_some_and(|runtime| runtime > 0)
            || [cpu.cpus(), cpu.mems()].into_iter().flatten().any(|set| !set.is_empty())
    });
    [
        (memory, "memory"),
        (cpu, "cpu"),
        (resources.pids().as_ref().is_some_and(|pids| pids.limit() > 0), "pids"),
        (resources.block_io().is_some(), "blockIO"),
        (
            resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()),
            "hugepageLimits",
        ),
        (resources.network().is_some(), "network"),
        (resources.unified().as_ref().is_some_and(|files| !files.is_empty()), "unified"),
    ]
    .into_iter()
    .find_map(|(asked, name)| asked.then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<()> {
        refuse_limits(&serde_json::from_str(json).expect("resources"))
    }

    #[test]
    fn limits_are_named_and_rules_about_devices_are_none() {
        let none =
            r#"{"devices":[{"allow":false,"access":"rwm"}],"memory":{},"cpu":{"shares":1024}}"#;
        assert!(of(none).is_ok());
        for (limit, json) in [
            ("memory", r#"{"memory":{"limit":1048576}}"#),
            ("cpu", r#"{"cpu":{"quota":1000}}"#),
            ("pids", r#"{"pids":{"limit":10}}"#),
            ("unified", r#"{"unified":{"memory.high":"1"}}"#),
        ] {
            let refusal = of(json).unwrap_err();
            assert!(
                refusal.message.starts_with(&format!("linux.resources.{limit}: ")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_group_is_open_if_it_can_be_made_and_entered() {
        let root = tempfile::tempdir().expect("a directory");
        let own = root.path().join("user/containerd");
        std::fs::create_dir_all(&own).expect("groups");
        // A write to it is what moves a process, and root of a test may make any.
        assert!(!is_delegated(
            root.path(),
            Path::new("/user/new/c1"),
            Some(Path::new("/user/containerd"))
        ));
        std::fs::write(root.path().join("user/cgroup.procs"), "").expect("a file");
        assert!(is_delegated(
            root.path(),
            Path::new("/user/new/c1"),
            Some(Path::new("/user/containerd"))
        ));
        assert!(!is_delegated(
            root.path(),
            Path::new("/other/c1"),
            Some(Path::new("/user/containerd"))
        ));
        assert!(!is_delegated(root.path(), Path::new("/user/new/c1"), None));
    }
}
