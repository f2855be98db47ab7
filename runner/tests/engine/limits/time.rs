//! Time and processor time.

use std::process::Stdio;
use std::time::{Duration, Instant};

use lighter::plan::LimitKind;
use rustix::process::{Pid, Signal, kill_process};

use super::{LOOPING, ends};
use crate::{Run, adapted, pipe, stderr, stdout, writing};

const SLEEPING: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 900000000))
        (drop (call $poll (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 512)))))"#;

const FILLING: &str = r#"(module (memory (export "memory") 16384)
    (func (export "_start") (loop $l
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 1073741823)) (br $l))))"#;

#[track_caller]
fn times_out(run: Run) {
    let begin = Instant::now();
    let output = ends(&run.limit(LimitKind::Timeout, 300), 124, Some(LimitKind::Timeout));
    let elapsed = begin.elapsed();
    assert_eq!(
        stderr(&output),
        "lighter: guest ended: its time is used up: 300 ms (annotation io.lighter.limits.timeout)\n"
    );
    assert!(elapsed >= Duration::from_millis(300) && elapsed < Duration::from_secs(2));
}

#[test]
fn time_is_used_up_in_a_loop() {
    times_out(Run::module(LOOPING));
}

#[test]
fn time_is_used_up_in_a_call_to_the_host() {
    let wasm = wat::parse_str(SLEEPING).unwrap();
    times_out(Run::wasm(&wasm));
    times_out(Run::wasm(&adapted(&wasm)));
}

#[test]
fn time_is_used_up_in_one_instruction() {
    times_out(Run::module(FILLING));
}

#[test]
fn time_is_used_up_while_nobody_reads_its_errors() {
    let text = writing(2, &"x".repeat(65_536), "(loop $l (br $l))");
    let run = Run::module(&text).limit(LimitKind::Timeout, 300);
    // Whether its last page is full or its guest still waits to write: the sentence has no room.
    let (reader, writer) = pipe();
    let mut child =
        run.command().stdin(Stdio::null()).stderr(Stdio::from(writer)).spawn().expect("start");
    let begin = Instant::now();
    assert_eq!(child.wait().expect("wait").code(), Some(124));
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(run.blamed(), Some(LimitKind::Timeout));
    let written = crate::drain(std::fs::File::from(reader));
    assert!(written.iter().all(|byte| *byte == b'x'), "{}", written.len());
}

#[test]
fn a_guest_that_is_in_time_is_left_alone() {
    let run = Run::module(&writing(1, "hello", "")).limit(LimitKind::Timeout, 60_000);
    assert_eq!(stdout(&ends(&run, 0, None)), "hello");
}

#[test]
fn processor_time_is_used_up_by_work() {
    let begin = Instant::now();
    let run = Run::module(LOOPING).limit(LimitKind::CpuTime, 200);
    let output = ends(&run, 152, Some(LimitKind::CpuTime));
    assert_eq!(
        stderr(&output),
        "lighter: guest ended: its processor time is used up: 200 ms (annotation \
         io.lighter.limits.cpu-time)\n"
    );
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[test]
fn processor_time_is_not_used_up_by_sleep() {
    ends(&Run::module(SLEEPING).limit(LimitKind::CpuTime, 200), 0, None);
}

#[test]
fn the_same_signals_from_others_are_no_limits() {
    for (signal, status) in [(Signal::ALARM, 142), (Signal::XCPU, 152)] {
        let run = Run::module(LOOPING)
            .limit(LimitKind::Timeout, 60_000)
            .limit(LimitKind::CpuTime, 60_000);
        let mut child = run.spawn();
        std::thread::sleep(Duration::from_millis(300));
        kill_process(Pid::from_child(&child), signal).expect("still runs");
        assert_eq!(child.wait().expect("wait").code(), Some(status));
        assert_eq!(run.blamed(), None);
    }
}
