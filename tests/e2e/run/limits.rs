//! What it may use.

use std::path::Path;
use std::process::Stdio;

use libtest_mimic::Trial;

use super::Here;
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::leaks::mark;
use crate::support::trials::plain_trials;

pub(super) fn tests() -> Vec<Trial> {
    plain_trials![
        memory_is_limited_and_its_want_told,
        time_is_limited,
        limits_of_the_process_are_set
    ]
}

pub(super) fn of_cgroup_v2() -> Vec<Trial> {
    plain_trials![limits_are_those_of_its_group]
}

fn memory_is_limited_and_its_want_told() {
    let here = Here::new();
    here.file("hungry.wasm", guests::module("hungry"));
    let output = here.run(&["-m", "64m", "./hungry.wasm"]).expect_status(137);
    let words = "guest ran out of memory: it wanted a total of";
    assert!(output.errors().contains(words) && output.errors().contains("64 MiB"), "{output}");
    here.is_clean();
}

fn time_is_limited() {
    let here = Here::new();
    here.file("spin.wasm", guests::module("spin"));
    let output = here.run(&["--timeout", "1", "./spin.wasm"]).expect_status(124);
    assert!(output.errors().contains("its time is used up: 1 s"), "{output}");
    let fuel = here.run(&["--annotation", "io.lighter.limits.fuel=1M", "./spin.wasm"]);
    assert!(fuel.expect_status(134).errors().contains("its fuel is used up"));
    here.is_clean();
}

fn limits_of_the_process_are_set() {
    let here = Here::new();
    here.file("probe.wasm", guests::probe("probe"));
    let output =
        here.run(&["--ulimit", "fsize=4096", "--tmpfs", "/t", "./probe.wasm", "fill /t/a 65536"]);
    assert!(output.expect_success().text().contains("after 4 KiB"));
    here.is_clean();
}

fn limits_are_those_of_its_group() {
    let here = Here::new();
    here.file("spin.wasm", guests::module("spin"));
    let name = format!("{}limited", mark());
    let parent = format!("{}parent", mark());
    let mut child = here
        .command(&[
            "run",
            "--cgroup-parent",
            &parent,
            "--name",
            &name,
            "-m",
            "64m",
            "--memory-swap",
            "96m",
        ])
        .args(["--cpus", "0.5", "--pids-limit", "7", "--cpu-shares", "512", "./spin.wasm"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let group = Path::new("/sys/fs/cgroup").join(&parent).join(&name);
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap_or_default();
    assert!(eventually(LIMIT, || read("cgroup.procs").lines().count() == 1));
    let values = ["memory.max", "cpu.max", "pids.max"].map(|file| read(file).trim().to_owned());
    assert_eq!(values, ["67108864", "50000 100000", "7"]);
    here.lighter(&["kill", &name, "KILL"]).expect_success();
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert!(!group.exists());
    here.is_clean();
}
