//! Arguments, environment and directories.

use lighter::plan::Access;

use crate::{Run, stderr, stdout};

/// Writes what `$sizes` and `$get` (of arguments or of the environment) give: the strings with their NULs.
fn printing(what: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "{what}_sizes_get"
                (func $sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "{what}_get" (func $get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")
                (drop (call $sizes (i32.const 0) (i32.const 4)))
                (drop (call $get (i32.const 1024) (i32.const 4096)))
                (i32.store (i32.const 0) (i32.const 4096))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}

/// Opens `path` below the first directory for writing (`oflags` 1 is create) and exits with the errno.
fn opening(path: &str, oflags: u32) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "{path}")
            (func (export "_start")
                (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 16)
                    (i32.const {len}) (i32.const {oflags})
                    (i64.const 0x42) (i64.const 0) (i32.const 0) (i32.const 8)))))"#,
        len = path.len()
    )
}

#[test]
fn arguments_arrive_in_order() {
    let output = Run::module(&printing("args")).args(&["/app.wasm", "two words", ""]).output();
    assert_eq!(stdout(&output), "/app.wasm\0two words\0\0", "{}", stderr(&output));
}

#[test]
fn environment_arrives_in_order_and_is_all_there_is() {
    let mut run = Run::module(&printing("environ"));
    run.guest.env = vec![("B".into(), "2".into()), ("A".into(), "x=y".into())];
    let output = run.output();
    assert_eq!(stdout(&output), "B=2\0A=x=y\0", "{}", stderr(&output));
}

#[test]
fn directories_have_their_access() {
    const ROFS_OR_PERM: [i32; 4] = [2, 63, 69, 76];
    let data = tempfile::tempdir().expect("directory");
    let write = opening("new", 1);
    let output = Run::module(&write).preopen("/", data.path(), Access::ReadOnly).output();
    let errno = output.status.code().expect("exits");
    assert!(ROFS_OR_PERM.contains(&errno), "errno {errno}: {}", stderr(&output));
    assert!(!data.path().join("new").exists());
    let output = Run::module(&write).preopen("/", data.path(), Access::ReadWrite).output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(data.path().join("new").exists());
}

#[test]
fn nothing_is_reached_above_a_directory() {
    let data = tempfile::tempdir().expect("directory");
    std::fs::create_dir(data.path().join("inner")).expect("create");
    std::fs::write(data.path().join("secret"), "").expect("write");
    std::os::unix::fs::symlink("../secret", data.path().join("inner/link")).expect("link");
    std::os::unix::fs::symlink("/etc/passwd", data.path().join("inner/absolute")).expect("link");
    for path in ["../secret", "link", "absolute", "/etc/passwd"] {
        let output = Run::module(&opening(path, 0))
            .preopen("/", data.path().join("inner"), Access::ReadWrite)
            .output();
        assert_ne!(output.status.code(), Some(0), "{path} was opened");
    }
}

#[test]
fn what_is_not_a_directory_is_left_out() {
    let data = tempfile::tempdir().expect("directory");
    std::fs::write(data.path().join("file"), "").expect("write");
    let output = Run::module(&opening("new", 1))
        .preopen("/file", data.path().join("file"), Access::ReadWrite)
        .preopen("/", data.path(), Access::ReadWrite)
        .output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_missing_directory_is_left_out() {
    let data = tempfile::tempdir().expect("directory");
    let output = Run::module(&opening("new", 1))
        .preopen("/data", "/nonexistent/data", Access::ReadWrite)
        .preopen("/", data.path(), Access::ReadWrite)
        .output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
