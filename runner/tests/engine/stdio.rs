//! The standard streams: direct, complete, pollable.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{Run, adapted, drain, feed, pipe, stderr, stdout, writing};

/// Copies standard input to standard output in reads of at most `size` bytes; exits with the errno of a
/// write that fails.
fn cat(size: u32) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 4)
            (func (export "_start") (local $error i32)
                (loop $again
                    (i32.store (i32.const 0) (i32.const 64))
                    (i32.store (i32.const 4) (i32.const {size}))
                    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4))
                        (then (call $exit (i32.const 98))))
                    (if (i32.load (i32.const 4)) (then
                        (local.set $error
                            (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                        (if (local.get $error) (then (call $exit (local.get $error))))
                        (br $again))))))"#
    )
}

/// Reads one byte and returns.
fn one_byte() -> String {
    cat(1).replace("(br $again)", "")
}

/// Waits for standard input or for 200 ms, and writes the kind of event that came first: 0 for the clock,
/// 1 for input.
const POLLING: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store8 (i32.const 8) (i32.const 0))
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 200000000))
        (i32.store8 (i32.const 56) (i32.const 1))
        (i32.store (i32.const 64) (i32.const 0))
        (if (call $poll (i32.const 0) (i32.const 256) (i32.const 2) (i32.const 512))
            (then (call $exit (i32.const 98))))
        (if (i32.load8_u (i32.const 266)) (then (call $exit (i32.const 1))))))"#;

fn both(text: &str) -> [(&'static str, Run); 2] {
    let wasm = wat::parse_str(text).expect("valid");
    [("module", Run::wasm(&wasm)), ("component", Run::wasm(&adapted(&wasm)))]
}

#[test]
fn input_is_echoed() {
    for (kind, run) in both(&cat(5)) {
        let mut child = run.spawn();
        feed(child.stdin.take().expect("pipe"), b"one two three\n");
        let output = child.wait_with_output().expect("wait");
        assert_eq!(stdout(&output), "one two three\n", "{kind}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(0), "{kind}");
    }
}

#[test]
fn input_is_echoed_as_it_comes() {
    for (kind, run) in both(&cat(4096)) {
        let mut child = run.spawn();
        let mut stdin = child.stdin.take().expect("pipe");
        let mut stdout = child.stdout.take().expect("pipe");
        for line in [b"first", b"later"] {
            stdin.write_all(line).expect("write");
            let mut echo = [0; 5];
            stdout.read_exact(&mut echo).expect("read");
            assert_eq!(&echo, line, "{kind}");
        }
        drop(stdin);
        assert_eq!(child.wait().expect("wait").code(), Some(0), "{kind}");
    }
}

#[test]
fn a_read_takes_no_more_than_asked() {
    let (read, write) = pipe();
    feed(std::fs::File::from(write), b"abc");
    let run = Run::module(&one_byte());
    for expected in ["a", "b", "c", ""] {
        let stdin = read.try_clone().expect("duplicate");
        let output = run.command().stdin(stdin).output().expect("run");
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    }
}

#[test]
fn large_output_is_complete() {
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    for (kind, run) in both(&cat(60_000)) {
        let mut child = run.spawn();
        let stdin = child.stdin.take().expect("pipe");
        let copy = big.clone();
        let feeder = std::thread::spawn(move || feed(stdin, &copy));
        let out = drain(child.stdout.take().expect("pipe"));
        feeder.join().expect("all was read");
        assert!(out == big, "{kind}: {} bytes came out", out.len());
        assert_eq!(child.wait().expect("wait").code(), Some(0), "{kind}");
    }
}

#[test]
fn large_output_to_a_nonblocking_pipe_is_complete() {
    let (read, write) = pipe();
    rustix::io::ioctl_fionbio(&write, true).expect("non-blocking");
    let text = "x".repeat(200_000);
    // Its directory holds the code that the child opens: it must outlive the start.
    let run = Run::module(&writing(1, &text, ""));
    let mut child = run.command().stdin(Stdio::null()).stdout(write).spawn().expect("start");
    std::thread::sleep(Duration::from_millis(100));
    let out = drain(std::fs::File::from(read));
    assert_eq!(out.len(), text.len());
    assert_eq!(child.wait().expect("wait").code(), Some(0));
}

#[test]
fn output_to_a_file_is_complete() {
    let run = Run::module(&writing(1, &"y".repeat(150_000), ""));
    let path = run.dir.path().join("out");
    let file = std::fs::File::create(&path).expect("create");
    let status = run.command().stdin(Stdio::null()).stdout(file).status().expect("run");
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::metadata(path).expect("file").len(), 150_000);
}

#[test]
fn reader_that_is_gone_is_the_guests_error() {
    const EPIPE: i32 = 64;
    let (read, write) = pipe();
    drop(read);
    let run = Run::module(&cat(4));
    let mut child = run.command().stdin(Stdio::piped()).stdout(write).spawn().expect("start");
    feed(child.stdin.take().expect("pipe"), b"text");
    assert_eq!(child.wait().expect("wait").code(), Some(EPIPE));
}

#[test]
fn full_disk_is_the_guests_error() {
    const ENOSPC: i32 = 51;
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let run = Run::module(&cat(4));
    let mut child = run.command().stdin(Stdio::piped()).stdout(full).spawn().expect("start");
    feed(child.stdin.take().expect("pipe"), b"text");
    assert_eq!(child.wait().expect("wait").code(), Some(ENOSPC));
}

#[test]
fn poll_waits_for_input_and_clock_together() {
    for (kind, run) in both(POLLING) {
        // Nothing comes: the clock.
        let started = Instant::now();
        let mut child = run.spawn();
        let stdin = child.stdin.take().expect("pipe");
        assert_eq!(child.wait().expect("wait").code(), Some(0), "{kind}: the clock is first");
        assert!(started.elapsed() >= Duration::from_millis(200), "{kind}: did not wait");
        drop(stdin);
        // Input comes at once.
        let mut child = run.spawn();
        let mut stdin = child.stdin.take().expect("pipe");
        stdin.write_all(b"x").expect("write");
        assert_eq!(child.wait().expect("wait").code(), Some(1), "{kind}: input is first");
        // The end of a file, and a file that never makes one wait, count as input.
        for file in ["/dev/null", "/proc/self/status"] {
            let file = std::fs::File::open(file).expect("open");
            let status = run.command().stdin(file).status().expect("run");
            assert_eq!(status.code(), Some(1), "{kind}");
        }
    }
}

#[test]
fn only_a_terminal_is_a_terminal() {
    // The file type that preview 1 reports for descriptor 1: 2 is a character device, as isatty expects.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $stat (i32.const 1) (i32.const 0)))
            (call $exit (i32.load8_u (i32.const 0)))))"#;
    let terminal = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).expect("open a pty");
    rustix::pty::grantpt(&terminal).expect("grant");
    rustix::pty::unlockpt(&terminal).expect("unlock");
    let name = rustix::pty::ptsname(&terminal, Vec::new()).expect("name");
    let name = name.to_str().expect("UTF-8");
    let tty =
        std::fs::File::options().read(true).write(true).open(name).expect("open the terminal");
    let run = Run::module(text);
    let status = run.command().stdin(Stdio::null()).stdout(tty).status().expect("run");
    assert_eq!(status.code(), Some(2), "a terminal");
    assert_ne!(run.output().status.code(), Some(2), "a pipe");
}
