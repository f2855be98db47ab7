//! On cgroup v2 a container's process is born in its group, and what its module costs to compile is counted there.
//!
//! Only with `LIGHTER_CGROUP=v2`, one at a time.

use std::path::Path;

use libtest_mimic::Trial;
use serde_json::json;

use crate::support::command::Output;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::node::Node;
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

const MIB: u64 = 1 << 20;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_group_too_small_for_the_process_is_said_to_be,
        compiling_is_paid_by_the_container,
        a_container_too_small_to_compile_its_module_runs_it_once_it_is_compiled,
        compiling_may_be_paid_by_the_node,
        too_few_processes_to_compile_are_named,
    ]
}

fn a_group_too_small_for_the_process_is_said_to_be(namespace: &Namespace<'_>) {
    let (root, id) = (directory(), unique_id());
    std::fs::write(root.path().join("hello.wasm"), guests::module("hello")).unwrap();
    // The container has no limit itself, as one has that is planned with room for the process.
    let above = Path::new("/sys/fs/cgroup").join(namespace.name());
    std::fs::create_dir_all(&above).unwrap();
    std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory").unwrap();
    std::fs::write(above.join("memory.max"), "262144").unwrap();
    let spec = spec(namespace, &id, root.path(), &["/hello.wasm"]);
    let output = namespace.run_spec(&spec, &id, &[]);
    std::fs::remove_dir(&above).unwrap();
    // Born outside and moved in, it would have its first pages for nothing.
    let expected = "killed by signal 9 before the guest was ready (the container's memory limit?)";
    expect_refusal(output, &[expected]);
}

fn compiling_is_paid_by_the_container(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let python = guests::program("python-3.12.0.wasm");
    let image = Image::guest("python", &python).cmd(&["-c", "import time; time.sleep(600)"]);
    let id = unique_id();
    namespace.run_detached(&image, &id, &node.flags(), &[]).expect_success();
    let used = stat(namespace, &id, "cpu.stat", "usage_usec");
    assert!(used > 2_000_000, "{used} microseconds: it takes seconds to compile it");
    let second = unique_id();
    namespace.run_detached(&image, &second, &node.flags(), &[]).expect_success();
    let used_warm = stat(namespace, &second, "cpu.stat", "usage_usec");
    assert!(used_warm * 4 < used, "{used_warm} microseconds with the code there, {used} without");
}

fn a_container_too_small_to_compile_its_module_runs_it_once_it_is_compiled(
    namespace: &Namespace<'_>,
) {
    let node = Node::new("");
    let guest = guests::program("boolector.wasm");
    let image = Image::guest("boolector", &guest).cmd(&["--version"]);
    let limit = (32 * MIB).to_string();
    let flags = [&node.flags()[..], &["--memory-limit", &limit]].concat();
    let refused = namespace.run_with(&image, &flags, &[], b"");
    expect_refusal(refused, &["linux.resources.memory.limit", "lighter cache warm"]);
    namespace.run_with(&image, &node.flags(), &[], b"").expect_success();
    let output = namespace.run_with(&image, &flags, &[], b"").expect_success();
    assert!(!output.text().is_empty(), "{output}");
}

fn compiling_may_be_paid_by_the_node(namespace: &Namespace<'_>) {
    let node = Node::new("[compile]\nin_container = false\n");
    let guest = guests::program("boolector.wasm");
    let image = Image::guest("boolector", &guest).cmd(&["--version"]);
    let limit = (32 * MIB).to_string();
    let flags = [&node.flags()[..], &["--memory-limit", &limit]].concat();
    let output = namespace.run_with(&image, &flags, &[], b"").expect_success();
    assert!(!output.text().is_empty(), "{output}");
}

fn too_few_processes_to_compile_are_named(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let (root, id) = (directory(), unique_id());
    std::fs::write(root.path().join("hello.wasm"), guests::module("hello")).unwrap();
    let mut spec = spec(namespace, &id, root.path(), &["/hello.wasm"]);
    spec["linux"]["resources"]["pids"] = json!({ "limit": 1 });
    let output = namespace.run_spec(&spec, &id, &node.flags());
    expect_refusal(output, &["linux.resources.pids.limit", "lighter cache warm"]);
}

#[track_caller]
fn expect_refusal(output: Output, sentences: &[&str]) {
    let errors = output.expect_failure();
    for sentence in sentences {
        assert!(errors.contains(sentence), "no {sentence:?} in {errors}");
    }
}

/// The number in the line of `file` of the container's group that begins with `name`.
#[track_caller]
fn stat(namespace: &Namespace<'_>, id: &str, file: &str, name: &str) -> u64 {
    let pid = namespace.task_pid(id).expect("it runs");
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = group.trim().strip_prefix("0::").expect("cgroup v2 alone");
    let text = std::fs::read_to_string(format!("/sys/fs/cgroup{group}/{file}")).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name).expect(name).1.parse().unwrap()
}
