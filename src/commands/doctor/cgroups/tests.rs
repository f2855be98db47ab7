//! Machines with control groups of all kinds.

use super::super::finding::{Status, find};
use super::*;

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn v2() -> Facts {
    Facts {
        mode: Mode::V2,
        controllers: strings(&["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "misc"]),
        root: true,
        own: Some(("/".into(), None)),
        files: Some(strings(&["memory.max", "memory.oom.group", "memory.swap.max"])),
        pressure: Pressure::On,
        swap: true,
        systemd: true,
        systemd_wanted: false,
        kubelet: kubelet::Facts::default(),
    }
}

fn v1() -> Facts {
    Facts {
        mode: Mode::Hybrid,
        controllers: strings(&["cpuset", "cpu", "blkio", "memory", "hugetlb", "pids", "devices"]),
        own: None,
        files: Some(strings(&["memory.memsw.limit_in_bytes"])),
        ..v2()
    }
}

fn kubelet(driver: &str) -> kubelet::Facts {
    kubelet::Facts { present: true, driver: Some((driver.into(), "/k".into())) }
}

#[test]
fn a_good_node_has_nothing_but_ok() {
    let findings = judge(&v2());
    assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
}

#[test]
fn version_1_is_a_warning_and_nothing_a_problem() {
    let findings = judge(&v1());
    let hybrid = find(&findings, "cgroups.mode");
    assert_eq!(hybrid.status, Status::Warning);
    assert!(hybrid.message.contains("hybrid"), "{hybrid:?}");
    assert!(hybrid.remedy.as_ref().unwrap().contains("systemd.unified_cgroup_hierarchy=1"));
    assert_eq!(find(&findings, "cgroups.controllers").status, Status::Ok);
    assert!(!findings.iter().any(|finding| finding.id == "cgroups.oom-group"), "{findings:#?}");

    let findings = judge(&Facts { mode: Mode::None, systemd: false, ..v1() });
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let none = find(&findings, "cgroups.mode");
    assert_eq!(none.status, Status::Problem);
    assert!(none.remedy.as_ref().unwrap().contains("mount -t cgroup2"));
}

#[test]
fn missing_controllers_are_named() {
    let findings = judge(&Facts { controllers: strings(&["cpu", "cpuset", "pids"]), ..v2() });
    let all: Vec<_> = findings.iter().filter(|f| f.id == "cgroups.controllers").collect();
    assert_eq!(all[0].status, Status::Warning);
    assert!(all[0].message.contains("memory (limits memory) are missing"), "{all:?}");
    assert!(all[1].message.contains("cpu, pids and cpuset are there"), "{all:?}");
    let light = find(&findings, "cgroups.controllers-optional");
    assert!(light.message.contains("io (limits disk throughput) and hugetlb"), "{light:?}");
}

#[test]
fn swap_is_accounted_or_not() {
    let status = |swap, file: &str| {
        let files = Some(strings(&[file, "memory.oom.group"]));
        find(&judge(&Facts { swap, files, ..v2() }), "cgroups.swap").status
    };
    assert_eq!(status(true, "memory.swap.max"), Status::Ok);
    assert_eq!(status(true, "memory.max"), Status::Warning);
    assert_eq!(status(false, "memory.max"), Status::Note);
    let blind = judge(&Facts { files: None, ..v2() });
    assert!(!blind.iter().any(|finding| finding.id == "cgroups.swap"), "{blind:#?}");
}

#[test]
fn a_controller_may_lack_its_limit() {
    let files =
        strings(&["memory.oom.group", "memory.swap.max", "cpu.weight", "io.stat", "io.max"]);
    let findings = judge(&Facts { files: Some(files), ..v2() });
    assert!(find(&findings, "cgroups.files").message.starts_with("cpu.max is missing"));
}

#[test]
fn other_users_need_delegation() {
    let finding = |own| {
        let findings = judge(&Facts { root: false, own, ..v2() });
        find(&findings, "cgroups.delegation").clone()
    };
    let path = PathBuf::from("/user.slice/user-7.slice/session-1.scope");
    let none = finding(Some((path.clone(), None)));
    assert!(none.message.contains("user-7.slice") && none.remedy.is_some(), "{none:?}");
    let some = finding(Some((path.clone(), Some(strings(&["memory", "pids"])))));
    assert!(some.message.ends_with("the controllers cpu"), "{some:?}");
    let all = finding(Some((path, Some(strings(&["cpu", "memory", "pids"])))));
    assert_eq!(all.status, Status::Ok);
    assert!(finding(None).message.contains("version 1"));
}

#[test]
fn drivers_must_suit_the_node() {
    let finding = |facts| {
        let findings = judge(&facts);
        find(&findings, "cgroups.driver").clone()
    };
    let with = |driver, systemd| Facts { kubelet: kubelet(driver), systemd, ..v2() };
    assert_eq!(finding(with("systemd", true)).status, Status::Ok);
    assert_eq!(finding(with("cgroupfs", true)).status, Status::Warning);
    assert_eq!(finding(with("cgroupfs", false)).status, Status::Ok);
    assert_eq!(finding(with("systemd", false)).status, Status::Warning);
    assert_eq!(finding(Facts { kubelet: kubelet("systemd"), ..v1() }).status, Status::Ok);
    assert!(finding(Facts { systemd: false, ..v2() }).message.contains("cgroupfs"));

    let wanted = Facts { systemd_wanted: true, systemd: false, ..v2() };
    assert_eq!(find(&judge(&wanted), "cgroups.systemd-wanted").status, Status::Warning);
}
