//! Making a group on version 1 before its first process exists, which then moves itself into it: cgroup-v1/cgroups.rst.
//!
//! Moving another process takes a lock of the whole machine, and so waits for all its processors to have been through the
//! scheduler, some milliseconds. A process with one thread that writes `0` to a file `tasks` moves itself, and waits for
//! nobody. So the runner does, before it becomes the runner.
//!
//! `libcgroups` would look for where each controller is mounted, for each in the list of all mounts; it still writes the limits
//! that bundles of engines mostly do not have.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxDeviceCgroup;

use super::birth;

/// The controllers of version 1, and so the names of the directories where they are mounted.
pub(super) const CONTROLLERS: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

/// Without them, no process of a group may run.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// What every container may use, whatever its bundle says: null, zero, full, tty, urandom, random, nodes of all kinds, the
/// console, terminals, and tun. As `libcgroups` has it for Linux containers.
const DEVICES: [&str; 12] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:9 rwm",
    "c 1:8 rwm",
    "c *:* m",
    "b *:* m",
    "c 5:1 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
];

/// Makes the group at `relative` in each hierarchy below `root`; returns its files `tasks`, for a process that moves itself.
///
/// # Errors
/// Names the directory that cannot be made, or the file that cannot be opened.
pub(super) fn make(root: &Path, relative: &Path) -> io::Result<Vec<OwnedFd>> {
    let names = birth::names(relative)?;
    let mut tasks = Vec::with_capacity(CONTROLLERS.len());
    for controller in CONTROLLERS {
        let mut group = root.join(controller);
        if !group.join("tasks").exists() {
            continue;
        }
        for name in &names {
            let above = group.clone();
            group.push(name);
            match fs::create_dir(&group) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(|e| named("make", &group, &e))?,
            }
            if controller == "cpuset" {
                CPUSET.iter().try_for_each(|file| hand_on(&above.join(file), &group.join(file)))?;
            }
        }
        tasks.push(open(&group.join("tasks"))?);
    }
    Ok(tasks)
}

/// Opens a file `tasks`.
///
/// # Errors
/// Names it.
pub(super) fn open(tasks: &Path) -> io::Result<OwnedFd> {
    let opened = File::options().write(true).open(tasks);
    opened.map(OwnedFd::from).map_err(|e| named("open", tasks, &e))
}

/// Gives a group what the one above it has, unless it has something.
fn hand_on(above: &Path, below: &Path) -> io::Result<()> {
    let read = |file: &Path| fs::read_to_string(file).map_err(|e| named("read", file, &e));
    if read(below)?.trim().is_empty() {
        let value = read(above)?;
        fs::write(below, value.trim()).map_err(|e| named("write", below, &e))?;
    }
    Ok(())
}

/// Writes the bundle's rules about devices to the group's `directory`, in their order, and then those that are always there.
///
/// # Errors
/// Names the rule that the kernel refuses.
pub(super) fn limit_devices(directory: &Path, rules: &[LinuxDeviceCgroup]) -> io::Result<()> {
    let own = rules.iter().map(|rule| (rule.allow(), rule.to_string()));
    let always = DEVICES.iter().map(|rule| (true, (*rule).to_owned()));
    // The kernel takes one rule with each write.
    let mut files: [Option<(PathBuf, File)>; 2] = [None, None];
    for (allow, rule) in own.chain(always) {
        let file = &mut files[usize::from(allow)];
        let (path, file) = match file {
            Some(opened) => opened,
            None => {
                let name = if allow { "devices.allow" } else { "devices.deny" };
                let path = directory.join(name);
                let opened = File::options().write(true).open(&path);
                file.insert((path.clone(), opened.map_err(|e| named("open", &path, &e))?))
            }
        };
        file.write_all(rule.as_bytes())
            .map_err(|e| named(&format!("write {rule:?} to"), path, &e))?;
    }
    Ok(())
}

fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_made_where_controllers_are_and_gets_processors_from_above() {
        let root = tempfile::tempdir().expect("a directory");
        for controller in ["cpuset", "pids"] {
            let dir = root.path().join(controller);
            fs::create_dir_all(dir.join("a")).unwrap();
            fs::write(dir.join("tasks"), "").unwrap();
            fs::write(dir.join("a/tasks"), "").unwrap();
        }
        for (file, value) in [("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")] {
            fs::write(root.path().join("cpuset").join(file), value).unwrap();
            fs::write(root.path().join("cpuset/a").join(file), "\n").unwrap();
        }
        // Not mounted.
        fs::create_dir(root.path().join("memory")).unwrap();
        assert_eq!(make(root.path(), Path::new("/a")).expect("made").len(), 2);
        let given = fs::read_to_string(root.path().join("cpuset/a/cpuset.cpus")).unwrap();
        assert_eq!(given, "0-1");
        assert!(!root.path().join("memory/a").exists());
        let error = make(root.path(), Path::new("/a/../../b")).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
    }

    #[test]
    fn rules_about_devices_keep_their_order() {
        let group = tempfile::tempdir().expect("a directory");
        for file in ["devices.allow", "devices.deny"] {
            fs::write(group.path().join(file), "").unwrap();
        }
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]"#,
        )
        .expect("rules");
        limit_devices(group.path(), &rules).expect("written");
        let read = |file: &str| fs::read_to_string(group.path().join(file)).unwrap();
        assert_eq!(read("devices.deny"), "a *:* rwm");
        assert!(
            read("devices.allow").starts_with("c 1:11 rc 1:3 rwm"),
            "{}",
            read("devices.allow")
        );
    }
}
