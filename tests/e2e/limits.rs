//! Limits on cgroup v2: what a bundle asks for is in the group's files, and has its effect.
//!
//! Only with `LIGHTER_CGROUP=v2`, one at a time: some measure time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::command::{Output, eventually};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::trials::trials;

const MIB: u64 = 1 << 20;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        limits_are_in_the_files,
        a_fifth_of_a_processor_is_a_fifth,
        weights_share_a_processor,
        a_guest_within_its_memory_is_left_alone,
        the_least_memory_is_enough,
        too_much_memory_is_refused_before_the_kernel_kills,
        a_large_program_meets_its_limit_before_the_kernels,
        too_much_on_the_hosts_side_ends_the_guest_alone,
        metrics_are_those_of_the_files,
        the_group_goes_with_the_container,
    ]
}

fn limits_are_in_the_files(namespace: &Namespace<'_>) {
    let flags = ["--memory-limit", "67108864", "--cpu-quota", "20000", "--cpu-period", "100000"];
    let container = Running::start(namespace, "sleep", &flags, &["600"]);
    assert_eq!(container.read("memory.max"), "67108864");
    assert_eq!(container.read("cpu.max"), "20000 100000");
    let pid = namespace.task_pid(&container.id).unwrap();
    assert_eq!(container.read("cgroup.procs"), pid.to_string(), "the runner, and nobody else");
}

fn a_fifth_of_a_processor_is_a_fifth(namespace: &Namespace<'_>) {
    let flags = ["--cpu-quota", "20000", "--cpu-period", "100000"];
    let container = Running::start(namespace, "spin", &flags, &[]);
    let [share] = shares([&container]);
    assert!((0.17..=0.23).contains(&share), "the guest had {share:.3} of a processor");
    assert!(container.stat("cpu.stat", "nr_throttled") > 10);
}

fn weights_share_a_processor(namespace: &Namespace<'_>) {
    // Of one processor, however many there are: both groups in a group of one.
    let light = Running::start(namespace, "spin", &["--cpu-shares", "1024"], &[]);
    let heavy = Running::start(namespace, "spin", &["--cpu-shares", "3072"], &[]);
    std::fs::write(light.group.parent().unwrap().join("cpu.max"), "100000 100000").unwrap();
    let weight = |container: &Running<'_>| container.read("cpu.weight").parse::<f64>().unwrap();
    let expected = weight(&heavy) / weight(&light);
    let [a, b] = shares([&light, &heavy]);
    let ratio = b / a;
    assert!(
        (0.85..=1.15).contains(&(ratio / expected)),
        "weights as 1 : {expected:.2} gave {a:.3} and {b:.3} of a processor, 1 : {ratio:.2}"
    );
}

fn a_guest_within_its_memory_is_left_alone(namespace: &Namespace<'_>) {
    // With nearly all that it may have, what the runtime needs besides still fits.
    assert_eq!(in_64_mib(namespace, "59").expect_success().text(), "grown\n");
}

fn the_least_memory_is_enough(namespace: &Namespace<'_>) {
    let limit = (6 * MIB).to_string();
    let run = |image: &Image, args: &[&str]| {
        namespace.run_with(image, &["--memory-limit", &limit], args, b"")
    };
    let image = Image::guest("memory", &guests::module("memory"));
    assert_eq!(run(&image, &["/memory.wasm", "1"]).expect_success().text(), "grown\n");
    let image = Image::guest("hello", &guests::component("hello"));
    run(&image, &[]).expect_success();
}

fn too_much_memory_is_refused_before_the_kernel_kills(namespace: &Namespace<'_>) {
    let output = in_64_mib(namespace, "200").expect_status(9);
    assert_eq!(
        output.errors(),
        "lighter: memory limit: the guest asked for a total of 60 MiB, and may have 59.25 MiB \
         (linux.resources.memory.limit is 64 MiB, of which 4.75 MiB are for the runtime)\n"
    );
}

fn a_large_program_meets_its_limit_before_the_kernels(namespace: &Namespace<'_>) {
    let image = Image::guest("python", &guests::program("python-3.12.0.wasm"));
    let code = "
pieces = []
try:
    while True:
        pieces.append(bytearray(1 << 20))
except MemoryError:
    count = len(pieces)
    pieces = None
    print(count)
";
    // Compiling it takes more than the container has.
    namespace.run(&image, &["/python.wasm", "--version"]).expect_success();
    let flags = ["--memory-limit", "67108864"];
    let output = namespace.run_with(&image, &flags, &["/python.wasm", "-c", code], b"");
    let count: u64 = output.expect_success().text().trim().parse().unwrap();
    assert!((20..59).contains(&count), "{count} MiB");
}

/// Has a guest grow to so many megabytes, in a group that may have 64.
#[track_caller]
fn in_64_mib(namespace: &Namespace<'_>, megabytes: &str) -> Output {
    let image = Image::guest("memory", &guests::module("memory"));
    let limit = (64 * MIB).to_string();
    namespace.run_with(&image, &["--memory-limit", &limit], &["/memory.wasm", megabytes], b"")
}

fn too_much_on_the_hosts_side_ends_the_guest_alone(namespace: &Namespace<'_>) {
    let sibling = Running::start(namespace, "sleep", &["--memory-limit", "67108864"], &["600"]);
    let image = Image::guest("probe", &guests::probe("probe"));
    let id = unique_id();
    let mount = "type=tmpfs,src=tmpfs,dst=/scratch,options=size=300m";
    let flags = ["--memory-limit", "67108864", "--mount", mount, "--null-io"];
    let args = ["/probe.wasm", "fill /scratch/full 209715200"];
    namespace.run_detached(&image, &id, &flags, &args).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 137);
    assert_eq!(namespace.task_status(&sibling.id).as_deref(), Some("RUNNING"));
    assert_eq!(sibling.stat("memory.events", "oom_kill"), 0);
}

fn metrics_are_those_of_the_files(namespace: &Namespace<'_>) {
    let flags = ["--memory-limit", "67108864", "--cpu-quota", "50000", "--cpu-period", "100000"];
    let container = Running::start(namespace, "spin", &flags, &[]);
    std::thread::sleep(Duration::from_secs(1));
    let before = container.stat("cpu.stat", "usage_usec");
    let metrics = container.metrics();
    let after = container.stat("cpu.stat", "usage_usec");

    let number = |path: &str| match metrics.pointer(path) {
        Some(Value::Number(number)) => number.as_u64().unwrap(),
        // Go writes 64 bits as text in JSON made from protocol buffers.
        Some(Value::String(text)) => text.parse().unwrap(),
        _ => panic!("no {path} in {metrics:#}"),
    };
    let used = number("/cpu/usage_usec");
    assert!((before..=after).contains(&used), "{before} <= {used} <= {after} microseconds");
    assert!(number("/cpu/nr_throttled") > 0);
    assert_eq!(number("/memory/usage_limit"), 64 * MIB);
    let (usage, current) = (number("/memory/usage"), container.number("memory.current"));
    assert!(usage.abs_diff(current) < MIB, "memory: {usage} in metrics, {current} in the file");
    let (anon, in_file) = (number("/memory/anon"), container.stat("memory.stat", "anon"));
    assert!(anon.abs_diff(in_file) < MIB, "anon: {anon} in metrics, {in_file} in the file");
    assert_eq!(number("/pids/current"), container.number("pids.current"));
}

fn the_group_goes_with_the_container(namespace: &Namespace<'_>) {
    let container = Running::start(namespace, "sleep", &[], &["600"]);
    let group = container.group.clone();
    assert!(group.is_dir());
    drop(container);
    assert!(!group.exists(), "{} is still there", group.display());
}

/// A container of a fixture that runs until it is dropped.
struct Running<'a> {
    namespace: &'a Namespace<'a>,
    id: String,
    /// The directory of its control group.
    group: PathBuf,
}

impl<'a> Running<'a> {
    #[track_caller]
    fn start(namespace: &'a Namespace<'a>, guest: &str, flags: &[&str], args: &[&str]) -> Self {
        let image = Image::guest(guest, &guests::module(guest));
        let program = format!("/{guest}.wasm");
        let id = unique_id();
        let args = [&[program.as_str()], args].concat();
        namespace.run_detached(&image, &id, flags, &args).expect_success();
        let pid = namespace.task_pid(&id).unwrap();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let group = groups.trim().strip_prefix("0::/").expect("one line, of version 2");
        let group = Path::new("/sys/fs/cgroup").join(group);
        assert!(group.ends_with(&id), "it runs in {}", group.display());
        Self { namespace, id, group }
    }

    #[track_caller]
    fn read(&self, file: &str) -> String {
        let file = self.group.join(file);
        let text = std::fs::read_to_string(&file);
        text.unwrap_or_else(|e| panic!("read {}: {e}", file.display())).trim().to_owned()
    }

    #[track_caller]
    fn number(&self, file: &str) -> u64 {
        self.read(file).parse().unwrap()
    }

    /// The number in the line of `file` that begins with `name`.
    #[track_caller]
    fn stat(&self, file: &str, name: &str) -> u64 {
        let text = self.read(file);
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(key, _)| *key == name).unwrap();
        value.parse().unwrap()
    }

    #[track_caller]
    fn metrics(&self) -> Value {
        let args = ["task", "metrics", "--format", "json", &self.id];
        let text = self.namespace.ctr(&args).expect_success().text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("metrics are no JSON: {e}: {text}"))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.namespace.ctr(&["task", "delete", "--force", &self.id]);
        eventually(Duration::from_secs(5), || !self.group.exists());
    }
}

/// How much of a processor each has over some seconds.
fn shares<const N: usize>(containers: [&Running<'_>; N]) -> [f64; N] {
    let used = || containers.map(|container| container.stat("cpu.stat", "usage_usec"));
    let (begin, before) = (Instant::now(), used());
    std::thread::sleep(Duration::from_secs(5));
    let (elapsed, after) = (begin.elapsed(), used());
    std::array::from_fn(|i| (after[i] - before[i]) as f64 / 1e6 / elapsed.as_secs_f64())
}
