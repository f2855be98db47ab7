//! Control groups: how they are mounted, which limits work in them, and who makes them.

use std::path::PathBuf;

use super::finding::{Finding, Findings, Group, listed};
use super::kubelet;

mod gather;
#[cfg(test)]
mod tests;

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
        // What is enabled for that group, but without its limit.
        for (sign, limit, option) in [
            ("cpu.weight", "cpu.max", "CONFIG_CFS_BANDWIDTH"),
            ("io.stat", "io.max", "CONFIG_BLK_DEV_THROTTLING"),
        ] {
            if v2 && has(sign) && !has(limit) {
                found.hint(
                    "cgroups.files",
                    format!("{limit} is missing: a container with such a limit is refused"),
                    format!("use a kernel with {option}, if you need it"),
                );
            }
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
    let remedy = match facts.systemd {
        true => {
            "for containers of this user: Delegate=cpu cpuset io memory pids in the section [Service] of \
                 /etc/systemd/system/user@.service.d/delegate.conf, systemctl daemon-reload, and log in again"
        }
        false => {
            "for containers of this user: have root make a group, enable controllers for it, and give the user its \
                  directory, cgroup.procs and cgroup.subtree_control"
        }
    };
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
            format!(
                "you are not root, and may make no groups in yours ({path}), above it or beside it"
            ),
            remedy,
        );
    };
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !controllers.iter().any(|known| known == name)).collect();
    match missing.is_empty() {
        true => found.ok(ID, format!("you are delegated the controllers {}", listed(controllers))),
        false => found.hint(
            ID,
            format!("you are not root, and not delegated the controllers {}", listed(&missing)),
            remedy,
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
