//! What is done to containers once they run: stop, kill, pause, exec, attach, restart, health checks.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::node::{Podman, RUNTIME};
use super::podman_trials;
use crate::frontends::client::{answers, resting};
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::image::{Image, busybox};
use crate::support::process::Process;
use crate::support::spec::directory;
use crate::support::terminal::Session;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![
        detached_it_is_listed_logged_and_waited_for,
        stop_and_kill_end_it,
        created_it_is_started_or_removed,
        it_is_restarted,
        it_is_paused_and_goes_on,
        statistics_are_its_own,
        a_command_runs_beside_it,
        files_are_copied_in_and_out,
        somebody_attaches_to_it,
        a_health_check_is_a_command_beside_it,
        restart_policies_are_followed,
        removed_by_force_it_is_gone,
    ]
}

/// A guest in the background that rests, under the name `name`.
#[track_caller]
fn sleeping(podman: &Podman, name: &str) {
    let image = podman.guest("sleep");
    podman.run(&["-d", "--name", name, "--net", "none", &image, "1000"]).expect_success();
}

fn detached_it_is_listed_logged_and_waited_for(podman: &Podman) {
    let image = podman.guest("nap");
    let flags = ["-d", "--name", "napping", "--net", "none", &image, "2", "7"];
    let output = podman.run(&flags).expect_success();
    let id = output.text().trim().to_owned();
    let format = "{{.ID}} {{.Names}}";
    let listed = podman.call(&["ps", "--no-trunc", "--filter", "name=napping", "--format", format]);
    assert_eq!(listed.text(), format!("{id} napping\n"));
    let inspected = podman.inspect("napping");
    assert_eq!(inspected["OCIRuntime"], RUNTIME);
    assert_eq!(inspected["State"]["Status"], "running");
    let program = std::fs::read_link(Process::of(podman.pid("napping")).path("exe")).unwrap();
    assert!(program.ends_with("lighter-runner"), "{program:?}");
    assert_eq!(podman.call(&["wait", "napping"]).expect_success().text(), "7\n");
    assert_eq!(podman.call(&["logs", "napping"]).expect_success().text(), "napping\nawake\n");
    let state = podman.inspect("napping")["State"].clone();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("exited"), &json!(7)));
    assert_eq!((&state["OOMKilled"], &state["Error"]), (&json!(false), &json!("")));
    podman.call(&["start", "napping"]).expect_success();
    assert_eq!(podman.call(&["wait", "napping"]).expect_success().text(), "7\n");
    podman.call(&["rm", "napping"]).expect_success();
}

fn stop_and_kill_end_it(podman: &Podman) {
    for (command, status) in [
        (&["stop", "ended"][..], 143),
        (&["kill", "ended"], 137),
        (&["kill", "--signal", "INT", "ended"], 130),
        (&["kill", "-s", "USR1", "ended"], 138),
    ] {
        sleeping(podman, "ended");
        let output = podman.call(command).expect_success();
        assert!(output.elapsed < Duration::from_secs(9), "no waiting for SIGKILL: {output}");
        assert_eq!(podman.call(&["wait", "ended"]).text(), format!("{status}\n"), "{command:?}");
        podman.wait_for("ended", "Status", &json!("exited"));
        assert_eq!(podman.inspect("ended")["State"]["ExitCode"], status, "{command:?}");
        podman.call(&["rm", "ended"]).expect_success();
    }
}

fn created_it_is_started_or_removed(podman: &Podman) {
    let image = podman.guest("exit");
    let create = ["create", "--runtime", RUNTIME, "--net", "none", "--name"];
    podman.call(&[&create[..], &["later", &image, "5"]].concat()).expect_success();
    assert_eq!(podman.inspect("later")["State"]["Status"], "created");
    podman.call(&["init", "later"]).expect_success();
    assert_eq!(podman.inspect("later")["State"]["Status"], "initialized");
    podman.call(&["start", "--attach", "later"]).expect_status(5);
    podman.call(&["rm", "later"]).expect_success();
    // The runtime has created it, and it never starts.
    podman.call(&[&create[..], &["never", &image, "5"]].concat()).expect_success();
    podman.call(&["init", "never"]).expect_success();
    podman.call(&["rm", "--force", "never"]).expect_success();
}

fn it_is_restarted(podman: &Podman) {
    sleeping(podman, "again");
    let before = podman.pid("again");
    podman.call(&["restart", "again"]).expect_success();
    let state = podman.inspect("again")["State"].clone();
    assert_eq!(state["Status"], "running");
    assert_ne!(state["Pid"], before);
    podman.remove("again");
}

fn it_is_paused_and_goes_on(podman: &Podman) {
    let image = podman.guest("spin");
    podman.run(&["-d", "--name", "paused", "--net", "none", &image]).expect_success();
    let process = Process::of(podman.pid("paused"));
    let ticks = || process.text("stat").split_whitespace().nth(13).unwrap().to_owned();
    podman.call(&["pause", "paused"]).expect_success();
    assert_eq!(podman.inspect("paused")["State"]["Status"], "paused");
    let before = ticks();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ticks(), before, "it goes on");
    podman.call(&["unpause", "paused"]).expect_success();
    assert!(eventually(LIMIT, || ticks() != before), "it stands still");
    podman.remove("paused");
}

fn statistics_are_its_own(podman: &Podman) {
    let image = podman.guest("spin");
    podman.run(&["-d", "--name", "busy", "--net", "none", &image]).expect_success();
    let stats = podman.call(&["stats", "--no-stream", "--format", "json", "busy"]);
    let stats: Value = serde_json::from_slice(&stats.expect_success().stdout).expect("JSON");
    assert_eq!(stats[0]["pids"], "1", "{stats}");
    let percent = stats[0]["cpu_percent"].as_str().expect("text").trim_end_matches('%');
    assert!(percent.parse::<f64>().expect("a number") > 10.0, "{stats}");
    assert!(!stats[0]["mem_usage"].as_str().expect("text").starts_with("0B"), "{stats}");
    podman.remove("busy");
}

fn a_command_runs_beside_it(podman: &Podman) {
    let busybox = std::fs::read(busybox()).expect("read busybox");
    let image = podman.load(&resting("resting").file("/busybox", &busybox));
    podman.run(&["-d", "--name", "beside", "--net", "none", &image]).expect_success();
    let exec = |args: &[&str]| podman.call(&[&["exec"], args].concat());
    let requests = ["write /data/file text", "cat /data/file"];
    let output = exec(&[&["beside", "/probe.wasm"][..], &requests].concat()).expect_success();
    assert_eq!(answers(&output, &requests), ["ok", "text"]);
    exec(&["beside", "/exit.wasm", "42"]).expect_status(42);
    let refused = exec(&["beside", "/absent.wasm"]).expect_status(127);
    assert!(refused.errors().contains("/absent.wasm"), "{refused}");
    let refused = exec(&["beside", "/busybox", "true"]).expect_failure();
    assert!(refused.contains("is a Linux program"), "{refused}");
    exec(&["-d", "beside", "/probe.wasm", "write /data/later text"]).expect_success();
    let there =
        || exec(&["beside", "/probe.wasm", "cat /data/later"]).text() == "cat /data/later: text\n";
    assert!(eventually(LIMIT, there), "nothing was written");

    let mut typed = podman.command();
    typed.args(["exec", "-it", "beside", "/probe.wasm", "line"]);
    let mut terminal = Session::start(&mut typed);
    terminal.press("typed\r");
    terminal.expect("line: typed");
    assert_eq!(terminal.end().1, 0);
    podman.remove("beside");
}

fn files_are_copied_in_and_out(podman: &Podman) {
    let dir = directory();
    let (there, back) = (dir.path().join("there"), dir.path().join("back"));
    std::fs::write(&there, "text\n").unwrap();
    sleeping(podman, "copied");
    let (there, back) = (there.display().to_string(), back.display().to_string());
    podman.call(&["cp", &there, "copied:/file"]).expect_success();
    podman.call(&["cp", "copied:/file", &back]).expect_success();
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "text\n");
    let changed = podman.call(&["diff", "copied"]).expect_success().text();
    assert!(changed.lines().any(|line| line == "A /file"), "{changed}");
    podman.remove("copied");
}

fn somebody_attaches_to_it(podman: &Podman) {
    let image = podman.probe();
    let flags = ["-d", "-i", "--name", "attached", "--net", "none", &image, "line"];
    podman.run(&flags).expect_success();
    let mut attach = podman.command();
    attach.args(["attach", "attached"]);
    let output = crate::support::command::run(&mut attach, b"said\n", LIMIT).expect_success();
    assert_eq!(output.text().trim_end(), "line: said");
    podman.remove("attached");
}

fn a_health_check_is_a_command_beside_it(podman: &Podman) {
    let image = podman.load(&resting("checked"));
    for (name, status, health) in [("well", 0, "healthy"), ("ill", 1, "unhealthy")] {
        let command = format!("[\"/exit.wasm\", \"{status}\"]");
        let flags = ["-d", "--name", name, "--net", "none", "--health-retries", "1"];
        // Without a timer, which would be systemd's.
        let check = ["--health-interval", "disable", "--health-cmd", &command, &image];
        podman.run(&[&flags[..], &check].concat()).expect_success();
        podman.call(&["healthcheck", "run", name]).expect_status(status);
        let state = podman.inspect(name)["State"].clone();
        // Podman 5 calls it Health, as 4 does beside Healthcheck.
        assert_eq!(state["Health"]["Status"], health, "{state:#}");
        podman.remove(name);
    }
}

fn restart_policies_are_followed(podman: &Podman) {
    let image = podman.guest("exit");
    let flags = ["-d", "--name", "retried", "--restart", "on-failure:2", "--net", "none"];
    podman.run(&[&flags[..], &[&image, "3"]].concat()).expect_success();
    let ended = || {
        let it = podman.inspect("retried");
        it["RestartCount"] == 2 && it["State"]["Status"] == "exited"
    };
    assert!(eventually(LIMIT, ended), "{:#}", podman.inspect("retried"));
    assert_eq!(podman.inspect("retried")["State"]["ExitCode"], 3);
}

fn removed_by_force_it_is_gone(podman: &Podman) {
    sleeping(podman, "gone");
    let pid = podman.pid("gone");
    podman.call(&["rm", "--force", "gone"]).expect_success();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    podman.call(&["container", "exists", "gone"]).expect_status(1);
    // An image as the program of which nothing is left can be removed.
    let image = podman.load(&Image::guest("unused", b"(module)"));
    podman.call(&["rmi", &image]).expect_success();
}
