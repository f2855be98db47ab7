//! How it begins and ends: signals, the terminal, detached containers, and what a killed one leaves.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use super::Here;
use crate::support::command::{ended_within, eventually};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::leaks::mark;
use crate::support::terminal::Session;
use crate::support::trials::plain_trials;

pub(super) fn tests() -> Vec<Trial> {
    plain_trials![
        signals_end_it_and_nothing_is_left,
        a_signal_ends_it_before_it_has_begun,
        a_signal_that_is_ignored_is_not_passed_on,
        a_terminal_is_given_and_given_back,
        a_detached_one_is_found_by_the_other_verbs,
        what_a_killed_one_leaves_is_swept,
    ]
}

/// Starts `lighter run ARGS` and waits for its guest to say `word`.
fn started(here: &Here, args: &[&str], word: &str) -> Child {
    let said = here.path("said");
    let out = std::fs::File::create(&said).unwrap();
    // Whoever runs these tests in the background of a script has SIGINT ignored, which would be inherited.
    let mut command = through(&["env", "--default-signal=INT,QUIT"], &here.run_command(args));
    let child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn().unwrap();
    let speaks = || std::fs::read_to_string(&said).is_ok_and(|text| text.contains(word));
    assert!(eventually(LIMIT, speaks), "it does not say {word:?}");
    child
}

/// `command`, executed by another program.
fn through(other: &[&str], command: &Command) -> Command {
    let mut through = Command::new(other[0]);
    through.args(&other[1..]).arg(command.get_program()).args(command.get_args());
    through.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        through.current_dir(dir);
    }
    through
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn status(mut child: Child) -> Option<i32> {
    assert!(ended_within(&child, LIMIT), "it goes on");
    child.wait().unwrap().code()
}

fn signals_end_it_and_nothing_is_left() {
    let here = Here::new();
    here.file("spin.wasm", guests::module("spin"));
    for (signal, flags, expected) in [
        (Signal::INT, &[][..], 130),
        (Signal::TERM, &[], 143),
        (Signal::HUP, &[], 129),
        (Signal::TERM, &["--stop-signal", "INT"], 130),
    ] {
        let child = started(&here, &[flags, &["./spin.wasm"]].concat(), "spinning");
        send(&child, signal);
        assert_eq!(status(child), Some(expected), "{signal:?} {flags:?}");
        here.is_clean();
    }
}

fn a_signal_ends_it_before_it_has_begun() {
    let here = Here::new();
    here.file("large.wasm", guests::program("python-3.12.0.wasm"));
    here.file("empty.toml", format!("[cache]\ndir = {:?}\n", here.path("cache")));
    let mut command = here.run_command(&["./large.wasm"]);
    command.env("LIGHTER_CONFIG", here.path("empty.toml"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    // The runner, and the compiler that it waits for.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let compiles =
        || std::fs::read_to_string(&children).is_ok_and(|all| all.split_whitespace().count() == 2);
    assert!(eventually(LIMIT, compiles), "nothing is compiled");
    send(&child, Signal::TERM);
    assert_eq!(status(child), Some(143));
    here.is_clean();
}

fn a_signal_that_is_ignored_is_not_passed_on() {
    let here = Here::new();
    here.file("spin.wasm", guests::module("spin"));
    let mut command = through(&["nohup"], &here.run_command(&["./spin.wasm"]));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap();
    let mut said = [0; 8];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    send(&child, Signal::HUP);
    assert!(!ended_within(&child, Duration::from_millis(200)), "it ended");
    send(&child, Signal::TERM);
    assert_eq!(status(child), Some(143));
    here.is_clean();
}

fn a_terminal_is_given_and_given_back() {
    let here = Here::new();
    here.file("terminal.wasm", guests::module("terminal"))
        .file("spin.wasm", guests::module("spin"));
    let mut session = Session::start(&mut here.run_command(&["-it", "./terminal.wasm"]));
    session.expect("222");
    session.press("typed\r");
    session.expect("typed");
    // Ctrl-D ends the input.
    session.press("\x04");
    session.expect("end");
    assert_eq!(session.end().1, 0);
    let mut session = Session::start(&mut here.run_command(&["-it", "./spin.wasm"]));
    session.expect("spinning");
    // Ctrl-C is a key of the guest's own terminal.
    session.press("\x03");
    assert_eq!(session.end().1, 130);
    let error = here.run(&["-it", "./spin.wasm"]).expect_status(125).errors();
    assert!(error.contains("standard input is not a terminal"), "{error}");
    here.is_clean();
}

fn a_detached_one_is_found_by_the_other_verbs() {
    let here = Here::new();
    here.file("nap.wasm", guests::module("nap"));
    let name = format!("{}left", mark());
    let run = |args: &[&str]| here.run(&[&["-d", "--name", &name], args].concat());
    let output = run(&["--output", "log", "./nap.wasm", "1000"]).expect_success();
    assert_eq!(output.text(), format!("{name}\n"));
    assert!(
        eventually(LIMIT, || std::fs::read(here.path("log")).is_ok_and(|log| log == b"napping\n"))
    );
    let list = here.lighter(&["list"]).expect_success().text();
    assert!(list.contains(&name) && list.contains("running"), "{list}");
    let again = run(&["./nap.wasm"]).expect_status(125).errors();
    assert!(again.contains("already exists"), "{again}");
    let beside = here.lighter(&["exec", &name, "/nap.wasm", "0", "3"]);
    assert_eq!(beside.expect_status(3).text(), "napping\nawake\n");
    here.lighter(&["kill", &name, "TERM"]).expect_success();
    let stopped =
        || here.lighter(&["state", &name]).expect_success().text().contains("\"stopped\"");
    assert!(eventually(LIMIT, stopped));
    here.lighter(&["delete", &name]).expect_success();
    here.is_clean();
}

fn what_a_killed_one_leaves_is_swept() {
    let here = Here::new();
    here.file("spin.wasm", guests::module("spin")).file("hello.wasm", guests::module("hello"));
    let name = format!("{}killed", mark());
    let mut child = started(&here, &["--name", &name, "./spin.wasm"], "spinning");
    let attended = here.run(&["./hello.wasm"]).expect_success();
    assert!(here.state().join(&name).exists(), "one that is attended to was swept: {attended}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(here.state().join(&name).exists());
    here.run(&["./hello.wasm"]).expect_success();
    here.is_clean();
}
