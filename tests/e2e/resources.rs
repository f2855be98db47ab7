//! The same bundle under runc and under us leaves the same values in the files of its control group.
//!
//! Only with `LIGHTER_CGROUP`. runc is asked to create the container and not to start it: it has written all
//! limits by then, and the entrypoint, which it could not run, need only be there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::command::{self, eventually};
use crate::support::containerd::LIMIT;
use crate::support::grpc::Client;
use crate::support::guests;
use crate::support::namespace::{Namespace, RUNTIME, unique_id};
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        the_files_have_the_values_that_runc_writes,
        updated_files_have_the_values_that_runc_writes,
    ]
}

/// Who makes the control group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The runtime, as directories.
    Cgroupfs,
    /// systemd, as scopes.
    Systemd,
}

const MIB: i64 = 1 << 20;

/// Some of all kinds, and several in each, for where a container takes seconds: systemd's machine is emulated.
fn short_table() -> Vec<Value> {
    vec![
        json!({}),
        json!({
            "cpu": {"shares": 512},
            "memory": {"limit": 64 * MIB, "reservation": 32 * MIB},
            "pids": {"limit": 100},
        }),
        json!({
            "cpu": {"quota": 20_000, "period": 50_000},
            "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
            "pids": {"limit": 0},
        }),
        json!({
            "cpu": {"quota": -1},
            "memory": {"limit": 64 * MIB, "swap": -1},
            "pids": {"limit": -1},
        }),
        json!({"unified": {"memory.high": "33554432", "cpu.weight": "300", "pids.max": "50"}}),
        json!({
            "unified": {"cpu.max": "30000 100000"},
            "cpu": {"cpus": "0", "mems": "0"},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MIB}],
        }),
    ]
}

/// `linux.resources` of the bundles that are tried.
fn table() -> Vec<Value> {
    vec![
        json!({}),
        json!({"cpu": {"shares": 2}}),
        json!({"cpu": {"shares": 512}}),
        json!({"cpu": {"shares": 1024}}),
        json!({"cpu": {"shares": 3072}}),
        json!({"cpu": {"shares": 262_144}}),
        json!({"cpu": {"quota": 20_000, "period": 100_000}}),
        json!({"cpu": {"quota": 20_000}}),
        json!({"cpu": {"period": 50_000}}),
        json!({"cpu": {"quota": -1}}),
        json!({"cpu": {"quota": -1, "period": 50_000}}),
        json!({"cpu": {"quota": 0, "period": 50_000}}),
        json!({"cpu": {"quota": 20_000, "period": 100_000, "burst": 10_000}}),
        json!({"cpu": {"idle": 1}}),
        json!({"memory": {"limit": 64 * MIB}}),
        json!({"memory": {"limit": -1}}),
        json!({"memory": {"limit": 0}}),
        json!({"memory": {"reservation": 32 * MIB}}),
        json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}),
        json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}),
        json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}),
        json!({"memory": {"limit": 64 * MIB, "swap": -1}}),
        json!({"memory": {"limit": 64 * MIB, "swap": 0}}),
        json!({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}),
        json!({"memory": {"limit": -1, "swap": -1}}),
        json!({"memory": {"limit": -1, "swap": 64 * MIB}}),
        json!({"memory": {"swap": 64 * MIB}}),
        json!({"pids": {"limit": 100}}),
        json!({"pids": {"limit": 0}}),
        json!({"pids": {"limit": -1}}),
        json!({"unified": {"memory.high": "33554432", "memory.low": "16777216"}}),
        json!({"unified": {"memory.oom.group": "1", "memory.swap.max": "0"}}),
        json!({"unified": {"cpu.weight": "300", "cpu.max": "30000 100000"}}),
        json!({"memory": {"limit": 64 * MIB}, "unified": {"memory.max": "50331648"}}),
        json!({"unified": {"memory.unheard-of": "1"}}),
        json!({"unified": {"unheard.of": "1"}}),
        json!({"unified": {"../memory.max": "33554432"}}),
        json!({"blockIO": {"weight": 500}}),
        json!({"blockIO": {"throttleReadBpsDevice": [disk(1_048_576)], "throttleWriteIOPSDevice": [disk(100)]}}),
    ]
}

/// Of controllers that not every machine has.
fn rare_table() -> Vec<Value> {
    vec![
        json!({"cpu": {"cpus": "0", "mems": "0"}}),
        json!({"cpu": {"cpus": "0-1"}}),
        json!({"cpu": {"cpus": "0-7000"}}),
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MIB}]}),
        json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 3 * MIB}]}),
        json!({"blockIO": {"weight": 500}}),
        json!({"blockIO": {"throttleWriteBpsDevice": [disk(1_048_576)], "throttleReadIOPSDevice": [disk(100)]}}),
    ]
}

/// A rate for the disk that holds the root directory.
fn disk(rate: u64) -> Value {
    let device = fs::metadata("/").unwrap().dev();
    json!({"major": rustix::fs::major(device), "minor": rustix::fs::minor(device), "rate": rate})
}

fn the_files_have_the_values_that_runc_writes(namespace: &Namespace<'_>) {
    compare_with_runc(namespace, Driver::Cgroupfs);
}

fn updated_files_have_the_values_that_runc_writes(namespace: &Namespace<'_>) {
    compare_updates_with_runc(namespace, Driver::Cgroupfs);
}

/// Creates a bundle under runc and under us, and then changes its limits, one after the other.
///
/// # Panics
/// With all differences in what is in the files.
pub fn compare_updates_with_runc(namespace: &Namespace<'_>, driver: Driver) {
    for (resources, updates) in updates() {
        compare(namespace, driver, vec![resources], &updates);
    }
}

/// Limits to begin with, and what they are changed to: each is judged with all that went before.
fn updates() -> Vec<(Value, Vec<Value>)> {
    let memory =
        |limit: i64, swap: i64| json!({"memory": {"limit": limit * MIB, "swap": swap * MIB}});
    vec![
        (
            json!({"memory": {"limit": 64 * MIB}, "cpu": {"shares": 512}, "pids": {"limit": 100}}),
            vec![
                json!({}),
                json!({"memory": {"limit": 96 * MIB}}),
                json!({"memory": {"limit": 32 * MIB}}),
                memory(64, 96),
                memory(128, 160),
                memory(32, 48),
                memory(48, 48),
                json!({"memory": {"reservation": 16 * MIB}}),
                json!({"memory": {"swap": 64 * MIB}}),
                memory(64, 32),
                json!({"memory": {"limit": 64 * MIB, "swap": -1}}),
                json!({"memory": {"limit": -1}}),
                json!({"memory": {"limit": 48 * MIB}, "pids": {"limit": 50}, "cpu": {"shares": 2048}}),
                json!({"pids": {"limit": 0}}),
                json!({"pids": {"limit": -1}}),
            ],
        ),
        (
            json!({"cpu": {"quota": 20_000, "period": 50_000}}),
            vec![
                json!({"cpu": {"quota": 30_000}}),
                json!({"cpu": {"period": 100_000}}),
                json!({"cpu": {"quota": 0}}),
                json!({"cpu": {"quota": 10_000, "period": 20_000}}),
                json!({"cpu": {"quota": -1}}),
                json!({"cpu": {"quota": -1, "period": 100_000}}),
                json!({"unified": {"memory.high": "33554432", "cpu.weight": "300"}}),
                json!({"unified": {"unheard.of": "1"}}),
            ],
        ),
        (json!({}), vec![json!({"cpu": {"period": 50_000}}), json!({"cpu": {"quota": 20_000}})]),
    ]
}

/// Creates each bundle of the table under runc and under us.
///
/// # Panics
/// With all differences in what is in the files.
pub fn compare_with_runc(namespace: &Namespace<'_>, driver: Driver) {
    match driver {
        Driver::Cgroupfs => compare(namespace, driver, table(), &[]),
        Driver::Systemd => compare(namespace, driver, short_table(), &[]),
    }
}

/// The same for what needs the controllers cpuset, hugetlb and io.
///
/// # Panics
/// As [`compare_with_runc`].
pub fn compare_rare_controllers_with_runc(namespace: &Namespace<'_>) {
    compare(namespace, Driver::Cgroupfs, rare_table(), &[]);
}

fn compare(namespace: &Namespace<'_>, driver: Driver, table: Vec<Value>, updates: &[Value]) {
    let mut differences = Vec::new();
    for resources in table {
        let bundle = Bundle::new(namespace, &resources, driver);
        let theirs = bundle.created_by_runc(updates);
        let ours = bundle.created_by_us(namespace, updates);
        let steps = std::iter::once(&resources).chain(updates);
        for (resources, (theirs, ours)) in steps.zip(theirs.into_iter().zip(ours)) {
            differences.extend(differ(resources, theirs, ours));
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

fn differ(resources: &Value, theirs: Limited, ours: Limited) -> Vec<String> {
    let mut differences = Vec::new();
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => differences.extend(
            theirs.iter().filter(|&(file, value)| ours.get(file) != Some(value)).map(
                |(file, value)| {
                    let ours = ours.get(file).map_or("nothing", String::as_str);
                    format!("{resources}: {file} is {value:?} by runc and {ours:?} by us")
                },
            ),
        ),
        (Err(_), Err(_)) => {}
        (Err(why), Ok(_)) => {
            differences.push(format!("{resources}: runc refuses what we accept: {}", why.trim()))
        }
        (Ok(_), Err(why)) => {
            differences.push(format!("{resources}: we refuse what runc accepts: {}", why.trim()))
        }
    }
    differences
}

/// The limits in a control group, by file; or what the runtime said when it refused.
type Limited = Result<BTreeMap<String, String>, String>;

struct Bundle {
    driver: Driver,
    dir: tempfile::TempDir,
    id: String,
    group: PathBuf,
}

impl Bundle {
    fn new(namespace: &Namespace<'_>, resources: &Value, driver: Driver) -> Self {
        let dir = tempfile::tempdir_in(Suite::get().scratch()).unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir(&root).unwrap();
        fs::create_dir(root.join("proc")).unwrap();
        fs::create_dir(root.join("dev")).unwrap();
        let guest = root.join("sleep.wasm");
        fs::write(&guest, guests::module("sleep")).unwrap();
        fs::set_permissions(&guest, fs::Permissions::from_mode(0o755)).unwrap();
        let id = unique_id();
        let name = namespace.name();
        let (path, group) = match driver {
            Driver::Cgroupfs => (format!("/{name}/{id}"), format!("{name}/{id}")),
            Driver::Systemd => {
                (format!("system.slice:{name}:{id}"), format!("system.slice/{name}-{id}.scope"))
            }
        };
        let mut resources = resources.clone();
        resources["devices"] = json!([{"allow": false, "access": "rwm"}]);
        let spec = json!({
            "ociVersion": "1.2.0",
            "process": {"args": ["/sleep.wasm", "600"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": root},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            ],
            "linux": {
                "cgroupsPath": path,
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "network"}],
                "resources": resources,
            },
        });
        fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
        Self { driver, dir, id, group: Path::new("/sys/fs/cgroup").join(group) }
    }

    /// What is in the files after it was created, and after each update.
    fn created_by_runc(&self, updates: &[Value]) -> Vec<Limited> {
        let runc = |args: &[&str]| {
            let state = self.dir.path().join("runc");
            let mut runc = Command::new("runc");
            runc.arg("--root").arg(state);
            if self.driver == Driver::Systemd {
                runc.arg("--systemd-cgroup");
            }
            runc.args(args).arg(&self.id);
            // Into a file: the container would hold a pipe open.
            let log = fs::File::create(self.dir.path().join("runc.log")).unwrap();
            let status = runc
                .current_dir(self.dir.path())
                .stdin(std::process::Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .status()
                .unwrap();
            let log = fs::read_to_string(self.dir.path().join("runc.log")).unwrap();
            if status.success() { Ok(()) } else { Err(log) }
        };
        let mut limited = vec![runc(&["create"]).map(|()| limits(&self.group))];
        for update in updates {
            let file = self.dir.path().join("update.json");
            fs::write(&file, update.to_string()).unwrap();
            let updated = runc(&["update", "--resources", &file.to_string_lossy()]);
            limited.push(updated.map(|()| limits(&self.group)));
        }
        let _ = runc(&["delete", "--force"]);
        limited
    }

    /// The same by us.
    fn created_by_us(&self, namespace: &Namespace<'_>, updates: &[Value]) -> Vec<Limited> {
        let config = self.dir.path().join("config.json");
        let mut ctr = namespace.command();
        ctr.args(["run", "--detach", "--runtime", RUNTIME, "--config"]).arg(config).arg(&self.id);
        let output = command::run(&mut ctr, b"", LIMIT);
        let created = match output.status {
            0 => Ok(limits(&self.group)),
            _ => Err(output.errors()),
        };
        let mut limited = vec![created];
        if !updates.is_empty() {
            let client = Client::of(namespace);
            let update = |resources| match client.update(&self.id, resources) {
                Ok(()) => Ok(limits(&self.group)),
                Err(why) => Err(why.to_string()),
            };
            limited.extend(updates.iter().map(update));
        }
        namespace.ctr(&["task", "delete", "--force", &self.id]);
        namespace.ctr(&["containers", "delete", &self.id]);
        let gone = eventually(Duration::from_secs(5), || !self.group.exists());
        assert!(gone, "{} is still there", self.group.display());
        limited
    }
}

/// All limits of a control group, by file.
fn limits(group: &Path) -> BTreeMap<String, String> {
    const KINDS: [&str; 9] =
        ["max", "min", "low", "high", "weight", "idle", "burst", "group", "cpus"];
    let files = fs::read_dir(group)
        .unwrap_or_else(|e| panic!("read {}: {e}", group.display()))
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    files
        .filter(|file| KINDS.iter().any(|kind| file.rsplit('.').next() == Some(kind)))
        .map(|file| {
            let value = fs::read_to_string(group.join(&file)).unwrap();
            (file, value.trim().to_owned())
        })
        .collect()
}
