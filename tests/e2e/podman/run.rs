//! `podman run`: what a guest says, reads and ends with, as a module and as a component.

use libtest_mimic::Trial;

use super::node::{Podman, RUNTIME};
use super::podman_trials;
use crate::frontends::page;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::terminal::Session;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![
        modules_and_components_say_hello,
        the_exit_status_is_the_guests,
        a_trap_is_an_exit_status_with_its_trace,
        a_guest_reads_its_input,
        it_has_a_terminal,
        the_page_is_true,
    ]
}

fn modules_and_components_say_hello(podman: &Podman) {
    let component = podman.load(&Image::guest("hello-p2", &guests::component("hello")));
    for image in [podman.guest("hello"), component] {
        let output = podman.run(&["--rm", "--net", "none", &image]).expect_success();
        assert_eq!((output.text().as_str(), output.errors().as_str()), ("hello\n", ""));
    }
    let output = podman.run(&["--rm", "--net", "none", &podman.guest("stderr")]).expect_success();
    assert_eq!((output.text().as_str(), output.errors().as_str()), ("out\n", "err\n"));
}

fn the_exit_status_is_the_guests(podman: &Podman) {
    let image = podman.guest("exit");
    for status in [1, 42, 255] {
        podman.run(&["--rm", "--net", "none", &image, &status.to_string()]).expect_status(status);
    }
}

fn a_trap_is_an_exit_status_with_its_trace(podman: &Podman) {
    let image = podman.guest("trap");
    let output = podman.run(&["--name", "trapped", "--net", "none", &image]).expect_status(134);
    assert!(output.errors().contains("unreachable"), "{output}");
    let logged = podman.call(&["logs", "trapped"]).expect_success();
    assert_eq!(output.errors(), logged.errors());
}

fn a_guest_reads_its_input(podman: &Podman) {
    let args = ["--rm", "-i", "--net", "none", &podman.guest("echo")];
    let output = podman.run_with_input(&args, b"one\ntwo\n").expect_success();
    assert_eq!(output.text(), "one\ntwo\n");
}

fn it_has_a_terminal(podman: &Podman) {
    let output = podman.run(&["--rm", "-t", "--net", "none", &podman.guest("stderr")]);
    assert_eq!(output.expect_success().text(), "out\r\nerr\r\n");
    let image = podman.probe();
    let mut run = podman.command();
    run.args(["run", "--rm", "-it", "--net", "none", "--runtime", RUNTIME, &image, "line"]);
    let mut terminal = Session::start(&mut run);
    terminal.press("typed\r");
    terminal.expect("line: typed");
    assert_eq!(terminal.end().1, 0);
}

fn the_page_is_true(podman: &Podman) {
    page::run("podman.md", podman.environment());
}
