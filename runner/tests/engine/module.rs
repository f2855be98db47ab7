//! Core modules: how they end, what their traps look like, which function runs.

use crate::{REFUSED, Run, STALE, stderr, stdout, writing};

fn exiting(status: i32) -> Run {
    Run::module(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const {status}))))"#
    ))
}

#[test]
fn returning_is_success() {
    let output = Run::module(&writing(1, "hello\n", "")).output();
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), "hello\n", ""));
}

#[test]
fn exit_status_is_the_low_byte() {
    for (status, expected) in
        [(0, 0), (7, 7), (126, 126), (255, 255), (256, 0), (300, 44), (-1, 255)]
    {
        let output = exiting(status).output();
        assert_eq!((output.status.code(), stderr(&output)), (Some(expected), ""), "exit({status})");
    }
}

#[test]
fn preview_0_programs_run() {
    let output = Run::module(
        r#"(module
            (import "wasi_unstable" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 200))))"#,
    )
    .output();
    assert_eq!(output.status.code(), Some(200), "{}", stderr(&output));
}

#[test]
fn module_without_imports_runs() {
    let output = Run::module(r#"(module (func (export "_start")))"#).output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn trap_says_what_and_where() {
    let output = Run::module(
        r#"(module $shop
            (func $till unreachable)
            (func $counter (call $till))
            (func (export "_start") (call $counter)))"#,
    )
    .output();
    assert_eq!(output.status.code(), Some(134));
    let text = stderr(&output);
    let (first, frames) = text.split_once('\n').expect("more than one line");
    assert_eq!(first, "lighter: guest trapped: it reached an `unreachable` instruction");
    let till = frames.find("shop!till").expect(frames);
    let counter = frames.find("shop!counter").expect(frames);
    assert!(till < counter, "innermost call is not first: {frames}");
}

#[test]
fn each_trap_has_its_words() {
    for (body, words) in [
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "integer overflow"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid conversion to integer"),
        (
            "(drop (i32.load (i32.const 0x7fffffff)))",
            "out of bounds memory access (memory fault at wasm address 0x7fffffff in linear memory \
             of size 0x10000)",
        ),
        ("(call_indirect (type 0) (i32.const 5))", "undefined element: out of bounds table access"),
        ("(call_indirect (type 0) (i32.const 0))", "uninitialized element"),
        ("(call $f)", "call stack exhausted (it recursed too deeply)"),
    ] {
        let output = Run::module(&format!(
            r#"(module (type (func)) (memory 1) (table 1 funcref)
                (func $f (export "_start") {body}))"#
        ))
        .output();
        let first = stderr(&output).lines().next().unwrap_or_default();
        assert_eq!(first, format!("lighter: guest trapped: {words}"), "{body}");
        assert_eq!(output.status.code(), Some(134), "{body}");
    }
}

#[test]
fn deep_recursion_into_the_host_traps() {
    // The host's own frames come on top of the guest's at the deepest point: there must be room for them.
    let output = Run::module(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\01\00\00\00")
            (data (i32.const 16) ".")
            (func $f (export "_start")
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (drop (call $random (i32.const 32) (i32.const 8)))
                (drop (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 1)
                    (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 64)))
                (call $f)))"#,
    )
    .output();
    assert_eq!(output.status.code(), Some(134), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("lighter: guest trapped: call stack exhausted"));
    assert!(stdout(&output).len() > 1000, "only {} deep", stdout(&output).len());
}

#[test]
fn memory_that_does_not_fit_is_the_hosts_failure() {
    let output =
        Run::module(r#"(module (memory i64 0x1_0000_0000) (func (export "_start")))"#).output();
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("lighter: cannot run the guest: "), "{}", stderr(&output));
}

#[test]
fn trap_in_the_start_function_is_a_trap() {
    let output =
        Run::module(r#"(module (func $s unreachable) (start $s) (func (export "_start")))"#)
            .output();
    assert_eq!(output.status.code(), Some(134), "{}", stderr(&output));
}

#[test]
fn named_export_runs_instead_of_start() {
    let output = Run::module(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") unreachable)
            (func (export "migrate") (result i32 i64) (call $exit (i32.const 3)) unreachable))"#,
    )
    .export("migrate")
    .output();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn results_of_a_named_export_are_ignored() {
    let output = Run::module(r#"(module (func (export "f") (result i32) (i32.const 9)))"#)
        .export("f")
        .output();
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), ""), "{}", stderr(&output));
}

#[test]
fn reactor_is_initialized_before_its_export() {
    let output = Run::module(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (global $status (mut i32) (i32.const 1))
            (func (export "_initialize") (global.set $status (i32.const 42)))
            (func (export "run") (call $exit (global.get $status))))"#,
    )
    .export("run")
    .output();
    assert_eq!(output.status.code(), Some(42), "{}", stderr(&output));
}

#[test]
fn foreign_code_is_stale_and_not_refused() {
    for code in [&b""[..], b"\0asm\x01\0\0\0", b"no code at all"] {
        assert_eq!(Run::code(code).output().status.code(), Some(STALE));
    }
    // The same program compiled for other settings.
    let wasm = wat::parse_str(r#"(module (func (export "_start")))"#).expect("valid");
    let output = Run::compiled(&wasm, &["--epochs"]).output();
    assert_eq!(output.status.code(), Some(STALE), "{}", stderr(&output));
    assert_ne!(REFUSED, STALE);
}
