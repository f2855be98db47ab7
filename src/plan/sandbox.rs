//! The sandbox's half of a plan: the process around the guest, as the bundle asks for it.

use serde::{Deserialize, Serialize};

/// The process around the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// The root file system; `None` for a process beside a container's first, which finds it in the mount namespace that
    /// it joins.
    pub root: Option<Root>,
    /// Namespaces, new and existing ones.
    pub namespaces: Namespaces,
    /// What is mounted over the root file system, in order.
    pub mounts: Vec<Mount>,
    /// Device nodes below a mounted `/dev`.
    pub devices: Vec<Device>,
    /// Paths inside that are made read-only where they exist, absolute.
    pub read_only_paths: Vec<String>,
    /// Paths inside that are hidden where they exist, absolute.
    pub masked_paths: Vec<String>,
    /// The SELinux label of what hides them.
    pub mask_label: Option<String>,
    /// Who runs the guest.
    pub user: User,
    /// Its descriptors 0, 1 and 2 are a terminal of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
    /// Resource limits of the process, setrlimit(2).
    pub rlimits: Vec<Rlimit>,
    /// `/proc/<pid>/oom_score_adj`; `None` leaves the caller's.
    pub oom_score_adj: Option<i32>,
    /// Kernel parameters of the container's namespaces: name with dots, value.
    pub sysctl: Vec<(String, String)>,
    /// Host name; needs a UTS namespace of its own.
    pub hostname: Option<String>,
    /// NIS domain name; needs a UTS namespace of its own.
    pub domainname: Option<String>,
    /// Programs of the operator to run at points of the container's life.
    pub hooks: Hooks,
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Directory on the host, absolute.
    pub path: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// How mounts of the host still arrive below it.
    pub propagation: Propagation,
}

/// Mount propagation, see mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Propagation {
    /// The type.
    pub kind: PropagationKind,
    /// Also of everything mounted below.
    pub recursive: bool,
}

impl MountIdMap {
    /// Nobody's: such a mount is made by the supervisor, and else as any other.
    pub fn identity() -> Self {
        let all = || vec![IdMap { container: 0, host: 0, size: u32::MAX }];
        Self { uid_map: all(), gid_map: all(), recursive: false }
    }
}

/// Types of mount propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PropagationKind {
    /// Both ways.
    Shared,
    /// From the host only.
    Slave,
    /// Neither way.
    Private,
    /// Neither way, and not to be bind-mounted.
    Unbindable,
}

/// Namespaces of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespaces {
    /// Made for this container.
    pub new: Vec<Namespace>,
    /// Existing ones to join: type and path.
    pub join: Vec<(Namespace, String)>,
    /// User id maps of a new user namespace, as lines of `/proc/<pid>/uid_map`.
    pub uid_map: Vec<IdMap>,
    /// Group id maps of a new user namespace.
    pub gid_map: Vec<IdMap>,
    /// Clock offsets of a new time namespace, as lines of `/proc/<pid>/timens_offsets`.
    pub time_offsets: Vec<TimeOffset>,
}

impl Namespaces {
    /// Whether the container gets a namespace of this type for itself.
    pub fn has_new(&self, kind: Namespace) -> bool {
        self.new.contains(&kind)
    }

    /// The path of the existing namespace of this type that it joins.
    pub fn joined(&self, kind: Namespace) -> Option<&str> {
        self.join.iter().find(|(joined, _)| *joined == kind).map(|(_, path)| path.as_str())
    }
}

/// Types of namespace, see namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// User and group ids.
    User,
    /// Process ids.
    Pid,
    /// Mount points.
    Mount,
    /// Network devices, addresses, ports.
    Network,
    /// System V IPC, POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Control group root.
    Cgroup,
    /// Boot and monotonic clocks.
    Time,
}

impl Namespace {
    /// Its file in `/proc/<pid>/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Mount => "mnt",
            Self::Network => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// A range of ids inside and outside of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The offset of one clock in a time namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, added to the seconds.
    pub nanoseconds: u32,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where, inside the container, absolute.
    pub destination: String,
    /// What.
    pub source: MountSource,
    /// Attributes that are switched on.
    pub set: Vec<MountAttribute>,
    /// Attributes that are switched off, where the source has them.
    pub clear: Vec<MountAttribute>,
    /// Attributes that are switched on here and on everything mounted below (`rro` and its like).
    pub set_recursive: Vec<MountAttribute>,
    /// Propagation, in order of application.
    pub propagation: Vec<Propagation>,
}

impl Mount {
    /// Whether a guest may only read below it.
    pub fn is_read_only(&self) -> bool {
        self.set.iter().chain(&self.set_recursive).any(|a| *a == MountAttribute::ReadOnly)
    }

    /// Whether the owners of its files are translated, if only each to itself: then it is made by the supervisor.
    pub fn is_id_mapped(&self) -> bool {
        matches!(self.source, MountSource::Bind { id_map: Some(_), .. })
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        path: String,
        /// With everything mounted below it.
        recursive: bool,
        /// Its files' owners are translated.
        id_map: Option<MountIdMap>,
    },
    /// A new file system.
    Filesystem {
        /// Its type: `tmpfs`.
        kind: String,
        /// What `mount` shows as its source.
        source: String,
        /// Its parameters: `size=64k`, or a bare flag.
        parameters: Vec<(String, Option<String>)>,
        /// Starts with a copy of what the root file system has there (`tmpcopyup`).
        copy_up: bool,
    },
}

/// How the owners of a mount's files are translated, see "ID-mapped mounts" in mount_setattr(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountIdMap {
    /// User ids as the file system has them (`container`) and as the host counts them (`host`); empty, like the
    /// groups: as the container's own user namespace maps them.
    pub uid_map: Vec<IdMap>,
    /// Group ids likewise.
    pub gid_map: Vec<IdMap>,
    /// Also of everything mounted below.
    pub recursive: bool,
}

/// Attributes of a mount, see mount_setattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountAttribute {
    /// `ro`
    ReadOnly,
    /// `nosuid`
    NoSuid,
    /// `nodev`
    NoDev,
    /// `noexec`
    NoExec,
    /// `noatime`
    NoAtime,
    /// `nodiratime`
    NoDirAtime,
    /// `relatime`
    RelAtime,
    /// `strictatime`
    StrictAtime,
    /// `nosymfollow`
    NoSymFollow,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Path inside the container.
    pub path: String,
    /// Character, block or pipe.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Types of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// Who runs the guest. Capabilities are not here: a guest never has any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask; 0022 where the bundle has none, as runc has it.
    pub umask: u32,
}

/// The terminal that a process gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminal {
    /// Characters in a line; 0: not known.
    pub width: u16,
    /// Lines; 0: not known.
    pub height: u16,
}

/// A resource limit of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// The resource, `RLIMIT_NOFILE`.
    pub resource: String,
    /// Soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is none.
    pub hard: u64,
}

/// Programs of the operator to run at points of the container's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// In the host's namespaces, once the container's exist (deprecated by the specification).
    pub prestart: Vec<Hook>,
    /// In the host's namespaces, once the container's exist.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before its root file system is entered.
    pub create_container: Vec<Hook>,
    /// In the container, before the guest runs.
    pub start_container: Vec<Hook>,
    /// In the host's namespaces, once the guest runs.
    pub poststart: Vec<Hook>,
    /// In the host's namespaces, once the container is deleted.
    pub poststop: Vec<Hook>,
}

/// A program of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// Arguments, the program's own name first; empty: its path.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Seconds until it is killed.
    pub timeout: Option<u64>,
}
