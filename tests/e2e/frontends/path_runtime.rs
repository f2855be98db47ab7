//! Docker with `lighter` as a runtime by its path: containerd's shim of runc calls it as it would call runc.

use libtest_mimic::Trial;
use serde_json::json;

use super::client::{Client, alone_with, resting};
use super::docker::shared;
use super::dockerd::{Docker, PATH_RUNTIME};
use super::group_file;
use crate::support::command::{Output, eventually, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::process::Process;
use crate::support::terminal::Session;

macro_rules! shared_trials {
    ($($test:ident),* $(,)?) => {
        vec![$(alone_with(module_path!(), stringify!($test), shared, $test)),*]
    };
}

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    shared_trials![
        a_guest_says_hello_reads_and_exits,
        in_the_background_it_is_logged_stopped_and_inspected,
        a_command_runs_beside_it,
        it_is_paused_and_its_limits_are_updated,
        without_memory_it_ends_as_if_it_were_killed,
        it_has_a_terminal,
        errors_are_told_apart,
        volumes_and_ports_are_its_own,
        a_linux_container_runs_under_the_same_runtime,
    ]
}

/// `docker run --runtime lighter ARGS`
#[track_caller]
fn run_by_path(docker: &Client, args: &[&str]) -> Output {
    docker.call(&[&["run", "--runtime", PATH_RUNTIME], args].concat())
}

fn a_guest_says_hello_reads_and_exits(docker: &Docker) {
    let output = run_by_path(docker, &["--rm", &docker.guest("stderr")]).expect_success();
    assert_eq!((output.text().as_str(), output.errors().as_str()), ("out\n", "err\n"));
    let image = docker.guest("exit");
    for status in [1, 42, 255] {
        run_by_path(docker, &["--rm", &image, &status.to_string()]).expect_status(status);
    }
    let image = docker.guest("echo");
    let mut command = docker.command();
    command.args(["run", "--rm", "-i", "--runtime", PATH_RUNTIME, &image]);
    assert_eq!(run(&mut command, b"one\ntwo\n", LIMIT).expect_success().text(), "one\ntwo\n");
}

fn in_the_background_it_is_logged_stopped_and_inspected(docker: &Docker) {
    let image = docker.guest("nap");
    run_by_path(docker, &["-d", "--name", "napping", &image, "1", "7"]).expect_success();
    assert_eq!(docker.call(&["wait", "napping"]).expect_success().text(), "7\n");
    assert_eq!(docker.call(&["logs", "napping"]).expect_success().text(), "napping\nawake\n");
    let it = docker.inspect("napping");
    assert_eq!((&it["State"]["ExitCode"], &it["State"]["Error"]), (&json!(7), &json!("")));
    assert_eq!(it["HostConfig"]["Runtime"], PATH_RUNTIME);
    let image = docker.guest("sleep");
    for (command, status) in [(&["stop", "it"][..], 143), (&["kill", "-s", "INT", "it"], 130)] {
        run_by_path(docker, &["-d", "--name", "it", &image, "1000"]).expect_success();
        let process = Process::of(docker.pid("it"));
        assert_ne!(process.namespace("pid"), Process::own().namespace("pid"));
        docker.call(command).expect_success();
        docker.wait_for("it", "Running", &json!(false));
        assert_eq!(docker.inspect("it")["State"]["ExitCode"], status, "{command:?}");
        docker.call(&["rm", "it"]).expect_success();
    }
}

fn a_command_runs_beside_it(docker: &Docker) {
    let image = docker.load(&resting("resting"));
    run_by_path(docker, &["-d", "--name", "it", &image]).expect_success();
    let exec = |args: &[&str]| docker.call(&[&["exec", "it"], args].concat());
    let output = exec(&["/probe.wasm", "write /file text", "cat /file"]).expect_success();
    assert_eq!(output.text(), "write /file text: ok\ncat /file: text\n");
    exec(&["/exit.wasm", "42"]).expect_status(42);
    let refused = exec(&["/absent.wasm"]).expect_status(127);
    assert!(format!("{refused}").contains("/absent.wasm"), "{refused}");
    docker.call(&["exec", "-d", "it", "/probe.wasm", "write /later text"]).expect_success();
    let there = || exec(&["/probe.wasm", "cat /later"]).text() == "cat /later: text\n";
    assert!(eventually(LIMIT, there), "nothing was written");
}

fn it_is_paused_and_its_limits_are_updated(docker: &Docker) {
    let image = docker.guest("sleep");
    let flags = ["-d", "--name", "it", "-m", "64m", "--cpus", "0.25", "--pids-limit", "20"];
    run_by_path(docker, &[&flags[..], &[&image, "1000"]].concat()).expect_success();
    let pid = docker.pid("it");
    assert_eq!(group_file(pid, "memory.max"), "67108864");
    assert_eq!(group_file(pid, "cpu.max"), "25000 100000");
    assert_eq!(group_file(pid, "pids.max"), "20");
    docker.call(&["pause", "it"]).expect_success();
    assert_eq!(docker.inspect("it")["State"]["Status"], "paused");
    assert_eq!(group_file(pid, "cgroup.freeze"), "1");
    docker.call(&["unpause", "it"]).expect_success();
    let update = ["update", "-m", "96m", "--memory-swap", "96m", "--cpus", "0.5", "it"];
    docker.call(&update).expect_success();
    assert_eq!(group_file(pid, "memory.max"), "100663296");
    assert_eq!(group_file(pid, "cpu.max"), "50000 100000");
    let stats = docker.call(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "it"]);
    assert!(stats.text().trim_end().ends_with("/ 96MiB 1"), "{stats}");
    let processes = docker.call(&["top", "it", "-o", "pid,args"]).expect_success().text();
    assert!(processes.contains("lighter-runner"), "{processes}");
}

fn without_memory_it_ends_as_if_it_were_killed(docker: &Docker) {
    let image = docker.guest("hungry");
    let output = run_by_path(docker, &["--name", "hungry", "-m", "32m", &image]).expect_status(137);
    assert!(output.errors().contains("memory limit"), "{output}");
    // The shim is not ours: it looks for those whom the kernel has killed, and this one was refused memory before that.
    assert_eq!(docker.inspect("hungry")["State"]["OOMKilled"], false);
}

fn it_has_a_terminal(docker: &Docker) {
    let image = docker.guest("terminal");
    let mut command = docker.command();
    command.args(["run", "--rm", "-it", "--runtime", PATH_RUNTIME, &image]);
    let mut session = Session::start(&mut command);
    session.expect("types 222");
    session.press("hello\n");
    session.expect("hello\r\nhello\r\n");
    session.press("\u{4}");
    let (_, status) = session.end();
    assert_eq!(status, 0);
}

fn errors_are_told_apart(docker: &Docker) {
    let refused = |image: &Image, status: i32, words: &str| {
        let image = docker.load(image);
        let output = run_by_path(docker, &["--rm", &image]).expect_status(status);
        assert!(output.errors().contains(words), "{output}");
    };
    let image = || Image::new("example.test/nothing:latest");
    refused(&image().file("/x", b"").entrypoint(&["/absent.wasm"]), 127, "/absent.wasm");
    let closed = image().file_with_mode("/closed.wasm", 0o600, &guests::module("hello"));
    refused(&closed.entrypoint(&["/closed.wasm"]).user("1000"), 126, "/closed.wasm");
    refused(&Image::guest("unknown", &guests::module("unknown-import")), 125, "\"moon::phase\"");
}

fn volumes_and_ports_are_its_own(docker: &Docker) {
    let image = docker.probe();
    let flags = ["--rm", "--tmpfs", "/scratch", "--read-only", &image];
    let requests = ["write /scratch/it text", "cat /scratch/it", "write /file text"];
    let output = run_by_path(docker, &[&flags[..], &requests].concat()).expect_success();
    let text = output.text();
    assert!(text.starts_with("write /scratch/it text: ok\ncat /scratch/it: text\n"), "{output}");
    assert!(text.contains("write /file text: error: "), "{output}");
    let serve = ["-d", "--name", "server", "-p", "127.0.0.1::7000", &image, "echo 0.0.0.0:7000"];
    run_by_path(docker, &serve).expect_success();
    docker.wait_for_log("server", "listening");
    let address = docker.call(&["port", "server", "7000"]).expect_success().text();
    assert_eq!(super::converse(address.trim(), "hello"), "hello");
}

fn a_linux_container_runs_under_the_same_runtime(docker: &Docker) {
    let image = docker.load(&Image::linux("shell"));
    let output = run_by_path(docker, &["--rm", &image, "sh", "-c", "echo hello; exit 4"]);
    assert_eq!(output.expect_status(4).text(), "hello\n");
    run_by_path(docker, &["-d", "--name", "it", &image, "sleep", "1000"]).expect_success();
    let output = docker.call(&["exec", "it", "sh", "-c", "echo hello; exit 5"]);
    assert_eq!(output.expect_status(5).text(), "hello\n");
    docker.call(&["kill", "it"]).expect_success();
    docker.wait_for("it", "Running", &json!(false));
    assert_eq!(docker.inspect("it")["State"]["ExitCode"], 137);
}
