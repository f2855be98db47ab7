//! Control groups made by systemd, as Kubernetes has them on most nodes: scopes with the right names and limits.
//!
//! Only with `LIGHTER_CGROUP=systemd`, on a machine whose init is systemd.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::resources::{Driver, compare_with_runc};
use crate::support::command::{self, eventually};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![a_scope_has_the_name_and_the_limits, scopes_have_the_values_that_runc_writes]
}

fn a_scope_has_the_name_and_the_limits(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    let id = unique_id();
    let prefix = namespace.name();
    let path = format!("system.slice:{prefix}:{id}");
    let mut flags = vec!["--cgroup", &path];
    flags.extend(["--memory-limit", "67108864", "--cpu-quota", "20000", "--cpu-period", "100000"]);
    namespace.run_detached(&image, &id, &flags, &["/sleep.wasm", "600"]).expect_success();

    let unit = format!("{prefix}-{id}.scope");
    let pid = namespace.task_pid(&id).unwrap();
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(group.trim(), format!("0::/system.slice/{unit}"));
    assert_eq!(property(&unit, "ActiveState"), "active");
    assert_eq!(property(&unit, "Slice"), "system.slice");
    assert_eq!(property(&unit, "MemoryMax"), "67108864");
    assert_eq!(property(&unit, "CPUQuotaPerSecUSec"), "200ms");
    assert_eq!(property(&unit, "Delegate"), "yes");
    let file = format!("/sys/fs/cgroup/system.slice/{unit}/memory.max");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "67108864\n");

    namespace.ctr(&["task", "delete", "--force", &id]).expect_success();
    let gone = || property(&unit, "LoadState") == "not-found";
    assert!(eventually(Duration::from_secs(10), gone), "{unit} is still there");
}

fn scopes_have_the_values_that_runc_writes(namespace: &Namespace<'_>) {
    compare_with_runc(namespace, Driver::Systemd);
}

/// What systemd says of a unit.
#[track_caller]
fn property(unit: &str, name: &str) -> String {
    let mut systemctl = std::process::Command::new("systemctl");
    systemctl.args(["show", "--value", "--property", name, unit]);
    let output = command::run(&mut systemctl, b"", Duration::from_secs(30));
    output.expect_success().text().trim().to_owned()
}
