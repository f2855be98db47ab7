//! Control groups made by systemd, as Kubernetes has them on most nodes: scopes with the right names and limits.
//!
//! Only with `LIGHTER_CGROUP=systemd`, on a machine whose init is systemd.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::json;

use crate::exec;
use crate::resources::{Driver, compare_updates_with_runc, compare_with_runc};
use crate::restart::shim_of;
use crate::support::command::{self, eventually};
use crate::support::containerd::LIMIT;
use crate::support::grpc::Client;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_scope_has_the_name_and_the_limits,
        containers_made_at_once_have_a_scope_each,
        a_linux_container_has_a_scope_with_limits_too,
        what_runs_beside_the_first_is_in_its_scope,
        a_shim_that_crashes_leaves_no_scope,
        scopes_have_the_values_that_runc_writes,
        updated_scopes_have_the_values_that_runc_writes,
        an_update_outlives_a_reload_of_systemd,
    ]
}

fn a_scope_has_the_name_and_the_limits(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    let scope = Scope::run(namespace, &image, &LIMITS, &["/sleep.wasm", "600"]);
    scope.check_limits();
    let status = systemctl(&["status", "--no-pager", &scope.unit]);
    assert!(status.contains("active (running)"), "{status}");
    assert!(status.contains(&scope.pid.to_string()), "{status}");
    scope.delete(namespace);
}

fn containers_made_at_once_have_a_scope_each(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    namespace.import(&image);
    let scopes: Vec<_> = std::thread::scope(|threads| {
        let run = || Scope::run(namespace, &image, &LIMITS, &["/sleep.wasm", "600"]);
        let started: Vec<_> = (0..5).map(|_| threads.spawn(run)).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    scopes.into_iter().for_each(|scope| scope.delete(namespace));
    assert_eq!(units(namespace), "");
}

fn a_linux_container_has_a_scope_with_limits_too(namespace: &Namespace<'_>) {
    let image = Image::linux("pause");
    let scope = Scope::run(namespace, &image, &LIMITS, &["sleep", "600"]);
    scope.check_limits();
    let own = fs::read_to_string(scope.file("cgroup.procs")).unwrap();
    assert_eq!(own.trim(), scope.pid.to_string(), "whoever made it is still in it");
    scope.delete(namespace);
    // Refused after the scope was made: there is no such program.
    let id = unique_id();
    let path = format!("system.slice:{}:{id}", namespace.name());
    let refused = namespace.run_detached(&image, &id, &["--cgroup", &path], &["none"]);
    let why = refused.expect_failure();
    assert!(why.contains("executable file not found"), "{why}");
    assert!(eventually(LIMIT, || units(namespace).is_empty()), "{}", units(namespace));
}

fn what_runs_beside_the_first_is_in_its_scope(namespace: &Namespace<'_>) {
    let guest = Image::guest("sleep", &guests::module("sleep"));
    let linux = Image::linux("pause");
    for (image, args) in [(guest, ["/sleep.wasm", "600"]), (linux, ["sleep", "600"])] {
        let scope = Scope::run(namespace, &image, &LIMITS, &args);
        let beside = exec::detached(namespace, &scope.id, "beside", &[], &args).status("Pid");
        let pids = fs::read_to_string(scope.file("cgroup.procs")).unwrap();
        assert!(pids.lines().any(|pid| pid == beside), "no {beside} in {pids}");
        scope.delete(namespace);
    }
    assert_eq!(units(namespace), "");
}

fn a_shim_that_crashes_leaves_no_scope(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    let scope = Scope::run(namespace, &image, &[], &["/sleep.wasm", "600"]);
    shim_of(namespace, &scope.id).kill9();
    let noticed = || namespace.task_status(&scope.id).as_deref() != Some("RUNNING");
    assert!(eventually(LIMIT, noticed), "containerd has not noticed");
    namespace.ctr(&["task", "delete", "--force", &scope.id]);
    assert!(eventually(LIMIT, || units(namespace).is_empty()), "{}", units(namespace));
}

const LIMITS: [&str; 6] =
    ["--memory-limit", "67108864", "--cpu-quota", "20000", "--cpu-period", "100000"];

/// A running container in a scope that is named after it.
struct Scope {
    id: String,
    unit: String,
    pid: u32,
}

impl Scope {
    #[track_caller]
    fn run(namespace: &Namespace<'_>, image: &Image, flags: &[&str], args: &[&str]) -> Self {
        let id = unique_id();
        let path = format!("system.slice:{}:{id}", namespace.name());
        let flags = [flags, &["--cgroup", &path]].concat();
        namespace.run_detached(image, &id, &flags, args).expect_success();
        let unit = format!("{}-{id}.scope", namespace.name());
        let pid = namespace.task_pid(&id).unwrap();
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert_eq!(group.trim(), format!("0::/system.slice/{unit}"));
        Self { id, unit, pid }
    }

    fn file(&self, name: &str) -> String {
        format!("/sys/fs/cgroup/system.slice/{}/{name}", self.unit)
    }

    /// That systemd knows of [`LIMITS`], and that they are in the files.
    #[track_caller]
    fn check_limits(&self) {
        let expected = [
            ("ActiveState", "active"),
            ("CPUQuotaPerSecUSec", "200ms"),
            ("Delegate", "yes"),
            ("MemoryMax", "67108864"),
            ("Slice", "system.slice"),
        ];
        let names = expected.map(|(name, _)| name).join(",");
        let shown = systemctl(&["show", "--property", &names, &self.unit]);
        let mut shown: Vec<_> = shown.lines().collect();
        shown.sort_unstable();
        assert_eq!(shown, expected.map(|(name, value)| format!("{name}={value}")));
        assert_eq!(fs::read_to_string(self.file("memory.max")).unwrap(), "67108864\n");
        assert_eq!(fs::read_to_string(self.file("cpu.max")).unwrap(), "20000 100000\n");
    }

    #[track_caller]
    fn delete(self, namespace: &Namespace<'_>) {
        namespace.ctr(&["task", "delete", "--force", &self.id]).expect_success();
        assert!(!Path::new(&self.file("")).exists(), "{} is still there", self.unit);
        let loaded = systemctl(&["show", "--property", "LoadState", &self.unit]);
        assert_eq!(loaded, "LoadState=not-found", "{}", self.unit);
    }
}

fn scopes_have_the_values_that_runc_writes(namespace: &Namespace<'_>) {
    compare_with_runc(namespace, Driver::Systemd);
}

fn updated_scopes_have_the_values_that_runc_writes(namespace: &Namespace<'_>) {
    compare_updates_with_runc(namespace, Driver::Systemd);
}

fn an_update_outlives_a_reload_of_systemd(namespace: &Namespace<'_>) {
    let guest = Image::guest("sleep", &guests::module("sleep"));
    let (client, linux) = (Client::of(namespace), Image::linux("pause"));
    for (image, args) in [(&guest, ["/sleep.wasm", "600"]), (&linux, ["sleep", "600"])] {
        let scope = Scope::run(namespace, image, &LIMITS, &args);
        let resources = json!({
            "memory": {"limit": 100 << 20},
            "cpu": {"quota": 30_000, "period": 50_000, "shares": 2048},
            "pids": {"limit": 77},
        });
        client.update(&scope.id, &resources).unwrap();
        for reloaded in [false, true] {
            if reloaded {
                systemctl(&["daemon-reload"]);
                // Has systemd write them all.
                systemctl(&["set-property", "--runtime", &scope.unit, "MemoryLow=1M"]);
            }
            for (file, value) in [
                ("memory.max", "104857600"),
                ("cpu.max", "30000 50000"),
                ("cpu.weight", "174"),
                ("pids.max", "77"),
            ] {
                let now = fs::read_to_string(scope.file(file)).unwrap();
                assert_eq!(now.trim(), value, "{file} (reloaded: {reloaded})");
            }
        }
        scope.delete(namespace);
    }
}

/// The units of this namespace's containers that systemd knows of.
#[track_caller]
fn units(namespace: &Namespace<'_>) -> String {
    let pattern = format!("{}-*", namespace.name());
    systemctl(&["list-units", "--all", "--plain", "--no-legend", &pattern])
}

#[track_caller]
fn systemctl(args: &[&str]) -> String {
    let mut systemctl = Command::new("systemctl");
    let output = command::run(systemctl.args(args), b"", LIMIT);
    output.expect_success().text().trim().to_owned()
}
