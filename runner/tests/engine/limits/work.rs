//! Stack, fuel and descriptors.

use lighter::plan::{Access, LimitKind};

use super::{LOOPING, ends};
use crate::{Run, adapted, stderr, writing};

/// Calls itself as often as its first argument has letters times 1000, and the host each time.
const RECURSING: &str = r#"(module
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get"
        (func $sizes (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $recurse (param $depth i32) (result i64)
        (local $a i64) (local $b i64)
        (drop (call $yield))
        (if (i32.eqz (local.get $depth)) (then (return (i64.const 1))))
        (local.set $a (call $recurse (i32.sub (local.get $depth) (i32.const 1))))
        (local.set $b (i64.mul (local.get $a) (i64.extend_i32_u (local.get $depth))))
        (i64.add (local.get $a) (local.get $b)))
    (func (export "_start")
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (drop (call $recurse (i32.mul (i32.const 1000) (i32.load (i32.const 4)))))))"#;

#[test]
fn a_stack_is_as_deep_as_its_limit() {
    let run = |stack, thousands: usize| {
        let letters = "x".repeat(thousands - 1);
        Run::module(RECURSING).args(&[&letters]).limit(LimitKind::Stack, stack)
    };
    ends(&run(64 << 10, 4), 134, Some(LimitKind::Stack));
    ends(&run(512 << 10, 2), 0, None);
    let output = ends(&run(512 << 10, 50), 134, Some(LimitKind::Stack));
    let text = stderr(&output);
    assert!(
        text.starts_with(
            "lighter: guest trapped: call stack exhausted (it recursed too deeply): it may have \
             512 KiB (annotation io.lighter.limits.stack)\nbacktrace, innermost call first:\n"
        ),
        "{text}"
    );
    ends(&run(16 << 20, 50), 0, None);
    ends(&run(16 << 20, 1000), 134, Some(LimitKind::Stack));
}

#[test]
fn fuel_is_used_up() {
    let wasm = wat::parse_str(LOOPING).unwrap();
    let run = |wasm: &[u8]| Run::compiled(wasm, &["--fuel"]).limit(LimitKind::Fuel, 100_000);
    let output = ends(&run(&wasm), 134, Some(LimitKind::Fuel));
    assert!(
        stderr(&output).starts_with(
            "lighter: guest trapped: its fuel is used up: it had 100000 (annotation \
             io.lighter.limits.fuel)\nbacktrace, "
        ),
        "{}",
        stderr(&output)
    );
    ends(&run(&adapted(&wasm)), 134, Some(LimitKind::Fuel));
    ends(&run(&wat::parse_str(writing(1, "", "")).unwrap()), 0, None);
}

#[test]
fn fuel_needs_code_that_counts_it() {
    let run = Run::module(LOOPING).limit(LimitKind::Fuel, 1);
    assert_eq!(run.output().status.code(), Some(crate::STALE));
}

/// Opens the file `f` of its directory until that fails, and exits with how often it did not.
const OPENING: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open" (func $open
        (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "f")
    (func (export "_start") (local $n i32)
        (block $failed (loop $again
            (br_if $failed (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
                (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 200)))))
        (call $exit (local.get $n))))"#;

#[test]
fn only_so_many_files_are_open() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "").unwrap();
    let wasm = wat::parse_str(OPENING).unwrap();
    for wasm in [wasm.clone(), adapted(&wasm)] {
        for (handles, opened) in [(0, 0), (1, 1), (20, 20), (1000, 200)] {
            let run = Run::wasm(&wasm).preopen("/", dir.path(), Access::ReadOnly);
            // A component can only say whether it went well.
            let status = if wasm[4..8] == [1, 0, 0, 0] { opened } else { opened.min(1) };
            ends(&run.limit(LimitKind::Handles, handles), status, None);
        }
    }
}
