//! Components: `wasi:cli/command` by way of the preview 1 adapter, and named exports.

use crate::{Run, adapted, stderr, stdout, writing};

fn command(text: &str) -> Run {
    Run::wasm(&adapted(&wat::parse_str(text).expect("valid")))
}

#[test]
fn command_runs() {
    let output = command(&writing(1, "hello\n", "")).output();
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), "hello\n", ""));
}

#[test]
fn command_is_loaded_through_a_descriptor_of_proc() {
    let mut run = command(&writing(1, "hello\n", ""));
    run.proc_self = true;
    let output = run.output();
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), "hello\n", ""));
}

#[test]
fn exit_with_an_error_is_1() {
    // The adapter has only ok and error to exit with.
    let output = command(&writing(1, "", "(call $exit (i32.const 7))")).output();
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), ""));
}

#[test]
fn trap_is_134() {
    let output = command(&writing(1, "", "unreachable")).output();
    assert_eq!(output.status.code(), Some(134));
    let first = stderr(&output).lines().next().unwrap_or_default();
    assert_eq!(first, "lighter: guest trapped: it reached an `unreachable` instruction");
}

#[test]
fn named_export_of_a_component_runs() {
    let component = wat::parse_str(
        r#"(component
            (core module $m
                (func (export "good") (result i32) (i32.const 0))
                (func (export "bad") (result i32) (i32.const 1))
                (func (export "trap") unreachable))
            (core instance $i (instantiate $m))
            (func (export "good") (result (result)) (canon lift (core func $i "good")))
            (func (export "bad") (result (result)) (canon lift (core func $i "bad")))
            (func (export "trap") (canon lift (core func $i "trap"))))"#,
    )
    .expect("valid");
    for (export, status) in [("good", 0), ("bad", 1), ("trap", 134)] {
        let output = Run::wasm(&component).export(export).output();
        assert_eq!(output.status.code(), Some(status), "{export}: {}", stderr(&output));
    }
}
