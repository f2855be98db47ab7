//! The systemd cgroup driver against the systemd of the machine: as root, where systemd is the init and cgroup v2 is
//! mounted. `make vm-test` runs it in such a machine; elsewhere it is ignored, as each test says.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: panics are its errors"
)]

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lighter::cgroup::{Cgroup, CgroupManager};
use lighter::error::Refusal;
use lighter::host::{Cgroups, Host};
use serde_json::json;

/// Under emulation, with all else that runs there.
const SLOWEST: Duration = Duration::from_secs(10);

/// A process in a scope of its own. Both are gone when it is dropped, whatever the test came to.
struct Scope {
    unit: String,
    cgroup: Cgroup,
    process: Child,
    took: Duration,
}

impl Scope {
    fn start(name: &str, resources: &serde_json::Value) -> Result<Self, Refusal> {
        let hierarchy = Host::detect().cgroups;
        assert_eq!(hierarchy, Cgroups::V2, "this test needs cgroup v2 at /sys/fs/cgroup");
        assert!(Path::new("/run/systemd/system").is_dir(), "this test needs systemd as init");
        let path = format!("system.slice:lighter-test:{name}").into();
        let cgroup = Cgroup::of(Some(&path), CgroupManager::Systemd, name, hierarchy);
        let resources = serde_json::from_value(resources.clone()).unwrap();
        let mut process = Command::new("sleep").arg("600").spawn().unwrap();
        let begin = Instant::now();
        let admitted = cgroup.make_scope(process.id(), Some(&resources));
        let took = begin.elapsed();
        let unit = format!("lighter-test-{name}.scope");
        if let Err(refusal) = admitted {
            process.kill().unwrap();
            process.wait().unwrap();
            return Err(refusal);
        }
        Ok(Self { unit, cgroup, process, took })
    }

    #[track_caller]
    fn property(&self, name: &str) -> String {
        property(&self.unit, name)
    }

    #[track_caller]
    fn file(&self, name: &str) -> String {
        let file = format!("/sys/fs/cgroup/system.slice/{}/{name}", self.unit);
        std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_owned()
    }

    #[track_caller]
    /// The directory is gone at once; [`nothing_is_left`] of systemd, which takes longer to ask.
    fn end(self) {
        let unit = self.unit.clone();
        drop(self);
        assert!(!Path::new(&format!("/sys/fs/cgroup/system.slice/{unit}")).exists(), "{unit}");
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let removed = self.cgroup.remove();
        let _ = self.process.kill();
        self.process.wait().unwrap();
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

#[track_caller]
fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--value", "--property", name, unit])
}

#[track_caller]
fn systemctl(args: &[&str]) -> String {
    let output = Command::new("systemctl").args(args).output().unwrap();
    assert!(output.status.success(), "systemctl {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn nothing_is_left() {
    let units = systemctl(&["list-units", "--all", "--plain", "--no-legend", "lighter-test-*"]);
    assert_eq!(units, "");
}

fn limited() -> serde_json::Value {
    json!({
        "memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 67_108_864},
        "cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 100},
        "unified": {"memory.high": "50331648"},
    })
}

#[test]
#[ignore = "needs systemd as init, and cgroup v2"]
fn thirty_in_a_row_are_made_and_removed() {
    let mut times: Vec<Duration> = (0..30)
        .map(|i| {
            let scope = Scope::start(&format!("row-{i}"), &limited()).unwrap();
            let took = scope.took;
            scope.end();
            took
        })
        .collect();
    nothing_is_left();
    report("one at a time", &mut times);
}

#[test]
#[ignore = "needs systemd as init, and cgroup v2"]
fn five_at_once_are_made_and_removed() {
    let mut times = Vec::new();
    for round in 0..3 {
        let start = |i: usize| {
            std::thread::spawn(move || {
                let scope = Scope::start(&format!("once-{round}-{i}"), &limited()).unwrap();
                let took = scope.took;
                scope.end();
                took
            })
        };
        let threads: Vec<_> = (0..5).map(start).collect();
        times.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    }
    nothing_is_left();
    report("five at once", &mut times);
}

fn report(how: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{} scopes, {how}: p50 {median:.0?}, max {slowest:.0?}", times.len());
    assert!(slowest < SLOWEST, "{times:.0?}");
}

#[test]
#[ignore = "needs systemd as init, and cgroup v2"]
fn systemd_knows_the_limits_that_are_in_the_files() {
    let scope = Scope::start("limits", &limited()).unwrap();
    for (name, value) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Description", "Lighter container lighter-test-limits.scope"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "0"),
        ("MemoryHigh", "50331648"),
        ("CPUQuotaPerSecUSec", "400ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("TasksMax", "100"),
        ("AllowedCPUs", "0"),
        ("AllowedMemoryNodes", "0"),
    ] {
        assert_eq!(scope.property(name), value, "{name}");
    }
    assert_eq!(scope.property("CPUWeight"), scope.file("cpu.weight"));
    let files = |scope: &Scope| {
        [
            "memory.max",
            "memory.low",
            "memory.high",
            "cpu.max",
            "cpu.weight",
            "pids.max",
            "cpuset.cpus",
        ]
        .map(|file| scope.file(file))
    };
    let before = files(&scope);
    assert_eq!(before[..4], ["67108864", "33554432", "50331648", "20000 50000"]);
    // It writes them anew, from what it knows.
    systemctl(&["daemon-reload"]);
    systemctl(&["set-property", "--runtime", &scope.unit, "IOWeight=200"]);
    assert_eq!(files(&scope), before);
    scope.end();
    nothing_is_left();
}

#[test]
#[ignore = "needs systemd as init, and cgroup v2"]
fn a_name_in_use_is_refused_and_a_failed_unit_of_that_name_is_not() {
    let first = Scope::start("same", &json!({})).unwrap();
    let refusal = Scope::start("same", &json!({})).err().unwrap();
    assert!(refusal.message.contains("UnitExists"), "{refusal}");
    assert_eq!(first.cgroup.pids().unwrap(), [first.process.id()]);
    first.end();

    let unit = "lighter-test-same.scope";
    let mut short = Command::new("systemd-run");
    short.args([
        "--quiet",
        "--scope",
        "--unit",
        unit,
        "--property=RuntimeMaxSec=100ms",
        "sleep",
        "60",
    ]);
    assert!(!short.status().unwrap().success());
    assert_eq!(property(unit, "ActiveState"), "failed");
    Scope::start("same", &json!({})).unwrap().end();
}

#[test]
#[ignore = "needs systemd as init, and cgroup v2"]
fn a_scope_whose_processes_the_kernel_killed_does_not_stay() {
    let scope =
        Scope::start("oom", &json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}})).unwrap();
    // A child in the scope that fills its memory: moved in, it writes until it is killed.
    let procs = format!("/sys/fs/cgroup/system.slice/{}/cgroup.procs", scope.unit);
    let script = format!("echo $$ > {procs} && exec tail /dev/zero > /dev/null");
    let killed = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(!killed.success(), "{killed}");
    assert!(scope.cgroup.ran_out_of_memory());
    scope.end();
    nothing_is_left();
}

#[test]
#[ignore = "needs systemd as init, and cgroup v2"]
fn without_a_message_bus_systemd_is_asked_directly() {
    systemctl(&["stop", "dbus.socket", "dbus.service"]);
    let shown = Scope::start("direct", &limited()).map(|scope| {
        let shown = scope.property("MemoryMax");
        scope.end();
        shown
    });
    systemctl(&["start", "dbus.socket"]);
    assert_eq!(shown.unwrap(), "67108864");
}
