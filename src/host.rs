//! What this machine offers, found out once and handed to the plan as plain facts.

use std::path::PathBuf;

use rustix::fs::statfs;
use serde::{Deserialize, Serialize};

use crate::sys;

/// Facts about the machine that decide how a container can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// How control groups are mounted.
    pub cgroups: Cgroups,
    /// Whether we act with the rights of the host's root.
    pub root: bool,
    /// The kernel filters system calls, see seccomp(2).
    pub seccomp: bool,
    /// The kernel's release, for messages.
    pub kernel: String,
    /// The version of the kernel's Landlock, see landlock(7); 0 where there is none.
    pub landlock: u32,
    /// AppArmor is there and switched on.
    pub apparmor: bool,
    /// SELinux is there, and has a policy.
    pub selinux: bool,
}

/// How control groups are mounted, see cgroups(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cgroups {
    /// Version 2 alone.
    V2,
    /// Controllers on version 1; version 2, if mounted at all, has none of them.
    V1,
    /// There, but closed to us, and so nothing that a container is in: a user namespace that nobody has delegated a group to.
    Closed,
    /// Not mounted where they belong.
    None,
}

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` and `TMPFS_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;
const TMPFS_MAGIC: u64 = 0x0102_1994;
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
const APPARMOR_ENABLED: &str = "/sys/module/apparmor/parameters/enabled";

/// Whether we are root of a user namespace only, as a rootless containerd and all that it starts are.
pub fn in_user_namespace() -> bool {
    // The first one of all maps each id to itself, see user_namespaces(7).
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Where a user's programs keep data: `$XDG_DATA_HOME`, else `~/.local/share`, as the XDG base directory specification says; `None`
/// where neither is known.
pub fn user_data() -> Option<PathBuf> {
    let directory =
        |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    directory("XDG_DATA_HOME").or_else(|| Some(directory("HOME")?.join(".local/share")))
}

impl Host {
    /// Looks at the running machine.
    pub fn detect() -> Self {
        let cgroups = match statfs(CGROUP_ROOT).map(|fs| fs.f_type as u64) {
            Ok(CGROUP2_MAGIC) => Cgroups::V2,
            Ok(TMPFS_MAGIC) => Cgroups::V1,
            _ => Cgroups::None,
        };
        Self {
            cgroups,
            root: rustix::process::geteuid().is_root(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            seccomp: sys::has_seccomp(),
            landlock: sys::landlock_version(),
            apparmor: std::fs::read(APPARMOR_ENABLED).is_ok_and(|flag| flag.starts_with(b"Y")),
            selinux: has_selinux(),
        }
    }
}

/// A kernel with SELinux but without a policy labels every process `kernel`.
fn has_selinux() -> bool {
    statfs("/sys/fs/selinux").is_ok_and(|fs| fs.f_type as u64 == SELINUX_MAGIC)
        && std::fs::read("/proc/self/attr/current").is_ok_and(|label| {
            label.split(|&end| end == 0 || end == b'\n').next() != Some(b"kernel")
        })
}
