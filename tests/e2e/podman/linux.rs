//! Linux programs under the same runtime: `lighter` can be the only one of a whole host.

use std::time::Duration;

use libtest_mimic::Trial;

use super::node::Podman;
use super::podman_trials;
use crate::frontends::converse;
use crate::support::image::Image;
use crate::support::terminal::Session;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![
        a_program_runs_to_its_end,
        commands_run_beside_it,
        what_ignores_the_signal_is_killed,
        a_server_has_a_port_and_a_health_check,
        what_is_not_there_is_127_here_too,
    ]
}

fn shell(podman: &Podman) -> String {
    podman.load(&Image::linux("shell"))
}

fn a_program_runs_to_its_end(podman: &Podman) {
    let image = shell(podman);
    let script = ["sh", "-c", "echo hello; echo oh >&2; exit 4"];
    let output = podman.run(&[&["--rm", "--net", "none", &image], &script[..]].concat());
    let output = output.expect_status(4);
    assert_eq!((output.text().as_str(), output.errors().as_str()), ("hello\n", "oh\n"));
    let args = ["--rm", "-i", "--net", "none", "--user", "1000", &image, "sh", "-c", "cat; id -u"];
    let output = podman.run_with_input(&args, b"typed\n").expect_success();
    assert_eq!(output.text(), "typed\n1000\n");
    let output = podman.run(&["--rm", "-t", "--net", "none", &image, "echo", "x"]);
    assert_eq!(output.expect_success().text(), "x\r\n");
}

fn commands_run_beside_it(podman: &Podman) {
    let image = shell(podman);
    podman
        .run(&["-d", "--name", "host", "--net", "none", &image, "sleep", "1000"])
        .expect_success();
    let output = podman.call(&["exec", "host", "sh", "-c", "echo hello; exit 4"]);
    assert_eq!(output.expect_status(4).text(), "hello\n");
    podman.call(&["exec", "host", "/absent"]).expect_status(127);
    let mut exec = podman.command();
    exec.args(["exec", "-it", "host", "sh"]);
    let mut terminal = Session::start(&mut exec);
    terminal.press("echo $((6 * 7)); exit 3\r");
    terminal.expect("42");
    assert_eq!(terminal.end().1, 3);
    podman.remove("host");
}

fn what_ignores_the_signal_is_killed(podman: &Podman) {
    let image = shell(podman);
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let flags = ["-d", "--name", "deaf", "--net", "none", &image, "sh", "-c", script];
    podman.run(&flags).expect_success();
    podman.wait_for_log("deaf", "ready");
    let output = podman.call(&["stop", "-t", "1", "deaf"]).expect_success();
    assert!(output.elapsed >= Duration::from_secs(1), "{output}");
    assert_eq!(podman.inspect("deaf")["State"]["ExitCode"], 137);
    podman.call(&["rm", "deaf"]).expect_success();
}

fn a_server_has_a_port_and_a_health_check(podman: &Podman) {
    let image = shell(podman);
    let flags = ["-d", "--name", "web", "-p", "127.0.0.1::7000", "--health-interval", "disable"];
    let check = ["--health-cmd", "test -e /bin/sh", &image];
    let command = ["nc", "-ll", "-p", "7000", "-e", "cat"];
    podman.run(&[&flags[..], &check, &command].concat()).expect_success();
    let address = podman.call(&["port", "web", "7000"]).expect_success().text();
    let listens = || std::net::TcpStream::connect(address.trim()).is_ok();
    assert!(crate::support::command::eventually(crate::support::containerd::LIMIT, listens));
    assert_eq!(converse(address.trim(), "hello"), "hello");
    podman.call(&["healthcheck", "run", "web"]).expect_success();
    podman.remove("web");
}

fn what_is_not_there_is_127_here_too(podman: &Podman) {
    let image = shell(podman);
    let output = podman.run(&["--rm", "--net", "none", &image, "/absent"]).expect_status(127);
    assert!(output.errors().contains("/absent"), "{output}");
    podman.run(&["--rm", "--net", "none", &image, "/bin"]).expect_status(126);
}
