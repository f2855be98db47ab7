//! Control groups: how they are mounted, which limits work in them, and who makes them.

use std::fs;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Findings, Group, listed};
use super::kubelet;

const ROOT: &str = "/sys/fs/cgroup";

/// Controllers on which limits of containers depend, and which.
const CONTROLLERS: [(&str, &str); 6] = [
    ("memory", "memory"),
    ("cpu", "CPU time"),
    ("pids", "the number of processes"),
    ("cpuset", "which CPUs"),
    ("io", "disk throughput"),
    ("hugetlb", "huge pages"),
];

/// Those without which a limit of every other container is not kept.
const NEEDED: [&str; 3] = ["memory", "cpu", "pids"];

/// How control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Version 2 alone.
    V2,
    /// Controllers on version 1; version 2 beside it, without any.
    Hybrid,
    V1,
    None,
}

/// Whether the kernel tells of pressure (PSI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressure {
    On,
    /// Turned off at boot.
    Off,
    Missing,
}

/// What is mounted, and what for.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    mode: Mode,
    /// On version 2 those of the root, on version 1 those mounted.
    controllers: Vec<String>,
    root: bool,
    /// Our own group on version 2, and the controllers that it may hand on, if we may make groups in it.
    own: Option<(PathBuf, Option<Vec<String>>)>,
    /// The files of some group with a memory limit; `None` if there is none to look at.
    files: Option<Vec<String>>,
    pressure: Pressure,
    /// Swap is on.
    swap: bool,
    /// Init is systemd.
    systemd: bool,
    /// Lighter's configuration asks for systemd's scopes.
    systemd_wanted: bool,
    kubelet: kubelet::Facts,
}

impl Facts {
    pub(super) fn gather(kubelet: kubelet::Facts, systemd_wanted: bool) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let (mode, v1) = mounted(&mounts);
        let root = Path::new(ROOT);
        let controllers = match mode {
            Mode::V2 => words(&root.join("cgroup.controllers")).unwrap_or_default(),
            _ => v1,
        };
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        Self {
            mode,
            controllers,
            root: rustix::process::geteuid().is_root(),
            own: (mode == Mode::V2).then(own).flatten(),
            files: match mode {
                Mode::V2 => limited_group(root, 3).as_deref().and_then(names),
                _ => names(&root.join("memory")),
            },
            // Version 2's files of a machine; on version 1 there are none for groups.
            pressure: match fs::read("/proc/pressure/memory") {
                Ok(_) => Pressure::On,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Pressure::Missing,
                Err(_) => Pressure::Off,
            },
            swap: swaps.lines().count() > 1,
            systemd: Path::new("/run/systemd/system").is_dir(),
            systemd_wanted,
            kubelet,
        }
    }
}

/// How control groups are mounted below [`ROOT`], and version 1's controllers.
fn mounted(mountinfo: &str) -> (Mode, Vec<String>) {
    let (mut v1, mut v2_alone, mut v2_beside) = (Vec::new(), false, false);
    for line in mountinfo.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let point = mount.split(' ').nth(4).unwrap_or_default();
        let mut words = file_system.split(' ');
        match (words.next(), words.nth(1)) {
            (Some("cgroup2"), _) if point == ROOT => v2_alone = true,
            (Some("cgroup2"), _) if point.starts_with(ROOT) => v2_beside = true,
            (Some("cgroup"), Some(options)) if point.starts_with(ROOT) => {
                let words = options.split(',').filter(|word| !word.contains('='));
                v1.extend(words.filter(|word| !MOUNT_OPTIONS.contains(word)).map(str::to_owned));
            }
            _ => {}
        }
    }
    let mode = match (v2_alone, v1.is_empty(), v2_beside) {
        (true, ..) => Mode::V2,
        (_, true, _) => Mode::None,
        (_, _, true) => Mode::Hybrid,
        _ => Mode::V1,
    };
    (mode, v1)
}

/// What the options of a mount of version 1 have beside controllers.
const MOUNT_OPTIONS: [&str; 6] =
    ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"];

fn words(file: &Path) -> Option<Vec<String>> {
    Some(fs::read_to_string(file).ok()?.split_whitespace().map(str::to_owned).collect())
}

/// This process's group, and its controllers if we may make groups in it.
fn own() -> Option<(PathBuf, Option<Vec<String>>)> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let dir = Path::new(ROOT).join(path.trim_start_matches('/'));
    // A user's session is in a group of root's; what is delegated to the user is above it.
    let ours = dir.ancestors().take_while(|dir| dir.starts_with(ROOT)).find(|dir| {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(*dir, access).is_ok()
            && rustix::fs::access(dir.join("cgroup.procs"), access & !rustix::fs::Access::EXEC_OK)
                .is_ok()
    });
    let controllers = ours.and_then(|dir| words(&dir.join("cgroup.controllers")));
    Some((path.into(), controllers))
}

/// Some group at most `depth` below `dir` that has the memory controller: the root has no limits.
fn limited_group(dir: &Path, depth: u32) -> Option<PathBuf> {
    let below = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        dirs.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let groups = below(dir);
    let limited = groups.iter().find(|group| group.join("memory.max").exists());
    limited.cloned().or_else(|| match depth {
        0 => None,
        _ => groups.iter().find_map(|group| limited_group(group, depth - 1)),
    })
}

fn names(dir: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    Some(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Group::Cgroups);
    mode(facts, &mut found);
    if facts.mode == Mode::None {
        return found.done();
    }
    controllers(facts, &mut found);
    limits(facts, &mut found);
    delegation(facts, &mut found);
    driver(facts, &mut found);
    found.done()
}

fn mode(facts: &Facts, found: &mut Findings) {
    const ID: &str = "cgroups.mode";
    let remedy = match facts.systemd {
        true => "boot with the kernel's parameter systemd.unified_cgroup_hierarchy=1",
        false => {
            "have the system mount version 2 alone at boot: mount -t cgroup2 none /sys/fs/cgroup"
        }
    };
    let lacks = "there is no memory.high, no pressure, and no delegation to users other than root";
    match facts.mode {
        Mode::V2 => found.ok(ID, "control groups are version 2"),
        Mode::Hybrid => found.warning(
            ID,
            format!("control groups are version 1, with an empty version 2 beside it (hybrid), so {lacks}"),
            remedy,
        ),
        Mode::V1 => found.warning(ID, format!("control groups are version 1, so {lacks}"), remedy),
        Mode::None => found.problem(
            ID,
            format!("no control groups are mounted at {ROOT}: containers cannot be limited, and are refused"),
            remedy,
        ),
    }
}

/// The controllers that this kernel has for containers.
fn controllers(facts: &Facts, found: &mut Findings) {
    const ID: &str = "cgroups.controllers";
    let has = |name: &str| {
        let name = if name == "io" && facts.mode != Mode::V2 { "blkio" } else { name };
        facts.controllers.iter().any(|known| known == name)
    };
    let (there, missing): (Vec<_>, Vec<_>) =
        CONTROLLERS.into_iter().partition(|(name, _)| has(name));
    let there: Vec<&str> = there.into_iter().map(|(name, _)| name).collect();
    let needed = |(name, _): &&(&str, &str)| NEEDED.contains(name);
    let words = |limits: &mut dyn Iterator<Item = &(&str, &str)>| -> Vec<String> {
        limits.map(|(name, what)| format!("{name} (limits {what})")).collect()
    };
    let grave = words(&mut missing.iter().filter(needed));
    let light = words(&mut missing.iter().filter(|limit| !needed(limit)));
    if !grave.is_empty() {
        found.warning(
            ID,
            format!("the controllers {} are missing: a container with such a limit may be refused", listed(&grave)),
            "look for cgroup_disable= in /proc/cmdline (on a Raspberry Pi, boot with cgroup_enable=memory); else use \
             a kernel that has them, or, in a container, delegate them from outside",
        );
    }
    if !there.is_empty() {
        found.ok(ID, format!("the controllers {} are there", listed(&there)));
    }
    if !light.is_empty() {
        found.note(
            "cgroups.controllers-optional",
            format!("without {}: a container with such a limit may be refused", listed(&light)),
        );
    }
}

/// What of the limits beyond the controllers works.
fn limits(facts: &Facts, found: &mut Findings) {
    let v2 = facts.mode == Mode::V2;
    if let Some(files) = &facts.files {
        let has = |name: &str| files.iter().any(|file| file == name);
        if v2 && !has("memory.oom.group") {
            found.warning(
                "cgroups.oom-group",
                "memory.oom.group is missing: at its memory limit a container may lose some of its processes only",
                "use a kernel of 4.19 or newer",
            );
        }
        let swap = if v2 { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
        match (has(swap), facts.swap) {
            (true, true) => found.ok("cgroups.swap", "swap is on, and limited with memory"),
            (true, false) => found.ok("cgroups.swap", "there is no swap; limits on it are accepted"),
            (false, true) => found.warning(
                "cgroups.swap",
                "swap is on and not accounted: a container goes on in swap beyond its memory limit",
                "boot with the kernel's parameter swapaccount=1, or turn swap off",
            ),
            (false, false) => found.note(
                "cgroups.swap",
                "there is no swap, and it is not accounted: a container with a limit on it may be refused",
            ),
        }
    }
    if v2 {
        match facts.pressure {
            Pressure::On => found.ok("cgroups.pressure", "pressure (PSI) is measured"),
            Pressure::Off => found.hint(
                "cgroups.pressure",
                "pressure (PSI) is turned off: metrics do not have it",
                "boot with the kernel's parameter psi=1, if you want it",
            ),
            Pressure::Missing => {
                found.note("cgroups.pressure", "the kernel does not measure pressure (PSI)");
            }
        }
    }
}

/// What a user who is not root may do.
fn delegation(facts: &Facts, found: &mut Findings) {
    const ID: &str = "cgroups.delegation";
    if facts.root {
        return;
    }
    const REMEDY: &str = "for containers of this user: Delegate=cpu cpuset io memory pids in the section [Service] of \
                          /etc/systemd/system/user@.service.d/delegate.conf, systemctl daemon-reload, and log in again";
    let Some((path, controllers)) = &facts.own else {
        return found.note(
            ID,
            "you are not root, and version 1 cannot be delegated: your own containers have no limits",
        );
    };
    let Some(controllers) = controllers else {
        let path = path.display();
        return found.hint(
            ID,
            format!("you are not root, and may make no groups in yours ({path}) or above it"),
            REMEDY,
        );
    };
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !controllers.iter().any(|known| known == name)).collect();
    match missing.is_empty() {
        true => found.ok(ID, format!("you are delegated the controllers {}", listed(controllers))),
        false => found.hint(
            ID,
            format!("you are not root, and not delegated the controllers {}", listed(&missing)),
            REMEDY,
        ),
    }
}

/// Who makes the groups: kubelet and containerd must agree, and with them who else does.
fn driver(facts: &Facts, found: &mut Findings) {
    const ID: &str = "cgroups.driver";
    let scopes = facts.systemd && facts.mode == Mode::V2;
    if facts.systemd_wanted && !scopes {
        found.warning(
            "cgroups.systemd-wanted",
            "systemd_cgroup is set in Lighter's configuration, but systemd cannot make groups here: plain ones are made",
            "remove systemd_cgroup, or boot with systemd and control groups of version 2",
        );
    }
    match (&facts.kubelet.driver, scopes) {
        (Some((driver, file)), true) if driver == "cgroupfs" => found.warning(
            ID,
            format!("kubelet has the cgroup driver cgroupfs ({}), but systemd manages this node's groups", file.display()),
            "cgroupDriver: systemd in kubelet's configuration, and SystemdCgroup = true for runc in containerd's; \
             then restart both",
        ),
        (Some((driver, file)), false) if driver == "systemd" && !facts.systemd => found.warning(
            ID,
            format!("kubelet has the cgroup driver systemd ({}), but init is not systemd", file.display()),
            "cgroupDriver: cgroupfs in kubelet's configuration, and restart it",
        ),
        (Some((driver, _)), _) => {
            found.ok(ID, format!("kubelet's cgroup driver is {driver}, which suits this node"));
        }
        (None, true) => found.ok(
            ID,
            "init is systemd, and makes a container's group if the caller names one of systemd's form \
             (cgroup driver systemd)",
        ),
        (None, false) => found.ok(ID, "a container's group is made directly (cgroup driver cgroupfs)"),
    }
}

#[cfg(test)]
mod tests;
