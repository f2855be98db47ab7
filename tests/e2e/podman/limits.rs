//! Limits of control groups, which are version 2 here.

use libtest_mimic::Trial;
use serde_json::json;

use super::node::Podman;
use super::podman_trials;
use crate::frontends::group_file;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![
        limits_are_in_the_files,
        its_limits_are_updated,
        its_memory_is_limited,
        without_memory_it_is_ended,
    ]
}

fn limits_are_in_the_files(podman: &Podman) {
    let image = podman.guest("sleep");
    let limits = ["-m", "64m", "--cpus", "0.25", "--pids-limit", "20"];
    let flags = [&["-d", "--name", "limited", "--net", "none"], &limits[..]].concat();
    podman.run(&[&flags[..], &[&image, "1000"]].concat()).expect_success();
    let pid = podman.pid("limited");
    assert_eq!(group_file(pid, "memory.max"), "67108864");
    assert_eq!(group_file(pid, "cpu.max"), "25000 100000");
    assert_eq!(group_file(pid, "pids.max"), "20");
    podman.remove("limited");
}

fn its_limits_are_updated(podman: &Podman) {
    let image = podman.guest("sleep");
    let flags = ["-d", "--name", "updated", "--net", "none", "-m", "64m", &image, "1000"];
    podman.run(&flags).expect_success();
    podman.call(&["update", "-m", "96m", "--cpus", "0.5", "updated"]).expect_success();
    let pid = podman.pid("updated");
    assert_eq!(group_file(pid, "memory.max"), "100663296");
    assert_eq!(group_file(pid, "cpu.max"), "50000 100000");
    podman.remove("updated");
}

fn its_memory_is_limited(podman: &Podman) {
    let image = podman.guest("memory");
    let run = |megabytes| podman.run(&["--rm", "--net", "none", "-m", "64m", &image, megabytes]);
    assert_eq!(run("50").expect_success().text(), "grown\n");
    let errors = run("100").expect_status(9).errors();
    assert!(errors.contains("lighter: memory limit: "), "{errors}");
}

fn without_memory_it_is_ended(podman: &Podman) {
    let image = podman.guest("hungry");
    let flags = ["--name", "hungry", "--net", "none", "-m", "32m", "--memory-swap", "32m", &image];
    podman.run(&flags).expect_status(137);
    let state = podman.inspect("hungry")["State"].clone();
    // conmon asks the kernel, which did not have to kill.
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&json!(false), &json!(137)));
    podman.call(&["rm", "hungry"]).expect_success();
}
