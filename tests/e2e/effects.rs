//! What limits do, beyond standing in files: processors, processes, and the speed of a disk.
//!
//! Only with `LIGHTER_CGROUP=full`, on a machine with all controllers and several processors, one at a time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::resources;
use crate::support::command::Output;
use crate::support::guests;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

const MIB: u64 = 1 << 20;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_guest_runs_on_its_processors_alone,
        a_guest_gets_no_more_processes_than_it_may,
        a_disk_is_as_slow_as_it_may_be,
        the_files_of_all_controllers_have_the_values_that_runc_writes,
    ]
}

fn a_guest_runs_on_its_processors_alone(namespace: &Namespace<'_>) {
    for processor in ["0", "1"] {
        let guest = Guest::new(namespace, "spin", &guests::module("spin"));
        let id = guest.start(&[], json!({"cpu": {"cpus": processor, "mems": "0"}}));
        let pid = namespace.task_pid(&id).unwrap();
        assert_eq!(group(pid).file("cpuset.cpus.effective"), processor);
        for _ in 0..10 {
            // Field 39 of proc_pid_stat(5): the processor it was last on. The second is a name in parentheses.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let last = stat.rsplit_once(") ").unwrap().1.split_whitespace().nth(36);
            assert_eq!(last, Some(processor));
            std::thread::sleep(Duration::from_millis(50));
        }
        namespace.ctr(&["task", "delete", "--force", &id]).expect_success();
    }
}

fn a_guest_gets_no_more_processes_than_it_may(namespace: &Namespace<'_>) {
    let guest = Guest::new(namespace, "probe", &guests::probe("probe-p2"));
    // A name is looked up in a thread of its own.
    let lookup = ["lookup localhost"];
    // This also compiles it, which needs threads, too.
    let output = guest.run(&lookup, json!({"pids": {"limit": 20}})).expect_success();
    assert!(output.text().contains("127.0.0.1"), "{output}");
    let output = guest.run(&lookup, json!({"pids": {"limit": 1}}));
    assert!(!output.text().contains("127.0.0.1"), "it had a thread more than allowed: {output}");
}

fn a_disk_is_as_slow_as_it_may_be(namespace: &Namespace<'_>) {
    let disk = tempfile::tempdir_in("/var/tmp").unwrap();
    let device = device_of(disk.path());
    let guest = Guest::new(namespace, "probe", &guests::probe("probe"));
    let write = |resources: Value| {
        let requests = ["fill /disk/x 4194304", "sync /disk/x", "remove /disk/x"];
        let output = guest.run_with_disk(&requests, resources, disk.path()).expect_success();
        assert!(output.text().contains("sync /disk/x: ok"), "{output}");
        output.elapsed
    };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let rate = json!([{"major": major, "minor": minor, "rate": MIB}]);
    let slow = write(json!({"blockIO": {"throttleWriteBpsDevice": rate}}));
    let fast = write(json!({}));
    assert!(slow > fast + Duration::from_secs(2), "4 MiB at 1 MiB/s took {slow:?}, else {fast:?}");
}

fn the_files_of_all_controllers_have_the_values_that_runc_writes(namespace: &Namespace<'_>) {
    resources::compare_rare_controllers_with_runc(namespace);
}

/// A guest's file in a root directory of its own.
struct Guest<'a> {
    namespace: &'a Namespace<'a>,
    root: TempDir,
    program: String,
}

impl<'a> Guest<'a> {
    fn new(namespace: &'a Namespace<'a>, name: &str, module: &[u8]) -> Self {
        let (root, program) = (directory(), format!("/{name}.wasm"));
        fs::write(root.path().join(&program[1..]), module).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
        Self { namespace, root, program }
    }

    fn spec(&self, id: &str, args: &[&str], resources: Value) -> Value {
        let args = [&[self.program.as_str()], args].concat();
        let mut spec = spec(self.namespace, id, self.root.path(), &args);
        for (name, values) in resources.as_object().unwrap() {
            spec["linux"]["resources"][name] = values.clone();
        }
        spec
    }

    fn run(&self, args: &[&str], resources: Value) -> Output {
        let id = unique_id();
        self.namespace.run_spec(&self.spec(&id, args, resources), &id, &["--rm"])
    }

    fn run_with_disk(&self, args: &[&str], resources: Value, disk: &Path) -> Output {
        let id = unique_id();
        let mut spec = self.spec(&id, args, resources);
        let mount = json!({"destination": "/disk", "type": "bind", "source": disk, "options": ["rbind", "rw"]});
        spec["mounts"].as_array_mut().unwrap().push(mount);
        self.namespace.run_spec(&spec, &id, &["--rm"])
    }

    fn start(&self, args: &[&str], resources: Value) -> String {
        let id = unique_id();
        let spec = self.spec(&id, args, resources);
        self.namespace.run_spec(&spec, &id, &["--detach"]).expect_success();
        id
    }
}

/// The control group of a process.
fn group(pid: u32) -> Group {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.trim().strip_prefix("0::/").expect("cgroup v2 alone");
    Group(Path::new("/sys/fs/cgroup").join(path))
}

struct Group(PathBuf);

impl Group {
    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap().trim().to_owned()
    }
}

/// The disk that a directory is on.
fn device_of(dir: &Path) -> u64 {
    let device = fs::metadata(dir).unwrap().dev();
    let disk =
        format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    assert!(
        Path::new(&disk).exists(),
        "{} is not on a disk, whose speed could be limited",
        dir.display()
    );
    device
}
