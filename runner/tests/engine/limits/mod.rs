//! Limits: what a guest meets at each of them, and what its user is told.

use std::process::Output;

use lighter::plan::LimitKind;

use crate::{REFUSED, Run, stderr};

mod memory;
mod time;
mod work;

const LOOPING: &str = r#"(module (memory (export "memory") 1)
    (func (export "_start") (loop $l (br $l))))"#;

/// What ended `run` and how, in one comparison.
#[track_caller]
fn ends(run: &Run, status: i32, limit: Option<LimitKind>) -> Output {
    let output = run.output();
    assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
    assert_eq!(run.blamed(), limit, "{}", stderr(&output));
    output
}

#[track_caller]
fn refused(run: &Run, sentence: &str) {
    let output = ends(run, REFUSED, None);
    assert_eq!(stderr(&output).trim_end(), sentence);
}

/// A module with these fields that does `body` and then exits with what it leaves on the stack.
fn exiting(fields: &str, body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            {fields}
            (func (export "_start") {body} (call $exit)))"#
    )
}
