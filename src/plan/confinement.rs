//! What the process around the guest may still do once it is set up: the walls behind WebAssembly.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Access, SeccompProfile};

/// What the runner gives up before the guest's first instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The bundle's own filter of system calls, under which Lighter's stands.
    pub seccomp: Option<SeccompProfile>,
    /// Files and ports by rule; `None` where the kernel has no such thing.
    pub landlock: Option<Landlock>,
    /// The AppArmor profile to change to.
    pub apparmor: Option<String>,
    /// The SELinux label to change to.
    pub selinux: Option<String>,
    /// What this kernel cannot give, and the node's configuration lets go.
    pub missing: Vec<Missing>,
}

/// The first version of Landlock with which a program may still rename files from one directory into another; older
/// ones count as none.
pub const OLDEST_LANDLOCK: u32 = 2;

/// What the process may still open, see landlock(7). All else is denied: whatever is not below these paths,
/// execution, device nodes, sockets and pipes in the file system, ioctl(2) on devices, and, where the kernel is
/// new enough, abstract sockets and signals beyond the process itself. The ports are those of the guest's
/// [`super::Network`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Landlock {
    /// The version of the kernel's interface: how much it can deny.
    pub abi: u32,
    /// What may be opened. A path that is not there, or closed to the container's user, is passed over.
    pub beneath: Vec<Beneath>,
}

/// A path and what may be done to it, and to all below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beneath {
    /// Absolute, inside the container.
    pub path: String,
    /// What is allowed.
    pub access: Access,
}

/// A wall that a guest has to do without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Which one.
    pub wall: Wall,
    /// Why this kernel does not have it: a clause that begins with the kernel.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.wall, self.why)
    }
}

/// A layer of isolation that a kernel may or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wall {
    /// A filter of system calls, seccomp(2).
    Seccomp,
    /// Files by rule, landlock(7).
    Landlock,
    /// The kernel's own check of a guest's TCP ports, where a container limits them: also Landlock, from its
    /// version 4 on.
    Ports,
}

impl Wall {
    /// Its name, as the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Ports => "ports",
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
