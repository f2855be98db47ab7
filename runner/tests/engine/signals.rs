//! Signals end a guest at once, with a shell's status, whatever it is doing; also as pid 1.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Run, adapted};

const LOOPING: &str = r#"(module (memory (export "memory") 1)
    (func (export "_start") (loop $l (br $l))))"#;

const SLEEPING: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 3600000000000))
        (drop (call $poll (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 512)))))"#;

fn end_with(mut child: Child, signal: Signal, status: i32) {
    std::thread::sleep(Duration::from_millis(300));
    let sent = Instant::now();
    let pid = Pid::from_child(&child);
    kill_process(pid, signal).expect("still runs");
    assert_eq!(child.wait().expect("wait").code(), Some(status));
    assert!(sent.elapsed() < Duration::from_secs(1));
}

#[test]
fn ending_signals_end_a_busy_guest() {
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::USR1, 138)] {
        end_with(Run::module(LOOPING).spawn(), signal, status);
    }
}

#[test]
fn ending_signals_end_a_waiting_guest() {
    let wasm = wat::parse_str(SLEEPING).expect("valid");
    end_with(Run::wasm(&wasm).spawn(), Signal::TERM, 143);
    end_with(Run::wasm(&adapted(&wasm)).spawn(), Signal::HUP, 129);
}

#[test]
fn first_process_of_a_pid_namespace_ends_too() {
    let run = Run::module(LOOPING);
    let inner = run.command();
    // `unshare` keeps its own process outside; the signal goes to the one it made.
    let mut outer = Command::new("unshare");
    outer.args(["--pid", "--fork"]).arg(inner.get_program()).args(inner.get_args());
    let mut outer = outer
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("unshare of util-linux must be installed");
    std::thread::sleep(Duration::from_millis(500));
    let children = format!("/proc/{pid}/task/{pid}/children", pid = outer.id());
    let children = std::fs::read_to_string(children).expect("children of unshare");
    let init: i32 = children.trim().parse().expect("one child; are you root?");
    kill_process(Pid::from_raw(init).expect("pid"), Signal::TERM).expect("still runs");
    assert_eq!(outer.wait().expect("wait").code(), Some(143));
}
