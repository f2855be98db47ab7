//! Looking at what is mounted, and for whom.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::kubelet;
use super::{Facts, Mode, Pressure, ROOT};

impl Facts {
    pub(in super::super) fn gather(kubelet: kubelet::Facts, systemd_wanted: bool) -> Self {
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
    // A session is in a group of root's; what systemd delegates to its user is beside it.
    let user = rustix::process::getuid().as_raw();
    let manager = format!("{ROOT}/user.slice/user-{user}.slice/user@{user}.service");
    let above = dir.ancestors().take_while(|dir| dir.starts_with(ROOT));
    let ours = above.chain([Path::new(&manager)]).find(|dir| {
        let access = rustix::fs::Access::WRITE_OK;
        rustix::fs::access(*dir, access).is_ok()
            && rustix::fs::access(dir.join("cgroup.procs"), access).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let v2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounted(v2), (Mode::V2, vec![]));
        let v1 = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
              32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
              40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n";
        assert_eq!(mounted(v1), (Mode::V1, vec!["cpu".to_owned(), "cpuacct".to_owned()]));
        let hybrid = format!("{v1}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        assert_eq!(mounted(&hybrid).0, Mode::Hybrid);
        assert_eq!(mounted("22 1 0:1 / /proc rw - proc proc rw\n"), (Mode::None, vec![]));
    }
}
