use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

const IDENTITY: Identity<'static> = Identity { id: "test", namespace: "tests" };

fn given(paths: &Paths) -> (Stdio, Held) {
    match open(paths, IDENTITY).expect("opens") {
        (Streams::Given(stdio), held) => (stdio, held),
        (Streams::Terminal, _) => panic!("nobody asked for a terminal"),
    }
}

fn fifo(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("lighter-stdio-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&dir);
    nix::unistd::mkfifo(&dir, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("mkfifo");
    dir
}

fn uris(path: &Path) -> Paths {
    Paths { stdout: path.display().to_string(), ..Paths::default() }
}

fn run(work: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(5), work).await.expect("in time")
    });
}

#[test]
fn output_outlives_its_reader_and_waits_for_the_next() {
    let path = fifo("late");
    let (stdio, held) = given(&uris(&path));
    File::from(stdio.stdout).write_all(b"hello").expect("no EPIPE without a reader");
    drop(stdio.stderr);
    run(async {
        let begin = Instant::now();
        let rest = held.hand_over().await;
        assert!(begin.elapsed() < Duration::from_millis(100), "waited for nobody");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut reader = reader(&path);
        let mut text = String::new();
        while text.len() < 5 {
            let _ = reader.read_to_string(&mut text);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(text, "hello");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(reader.read(&mut [0]).expect("the end"), 0);
        rest.finish().await;
    });
    fs::remove_file(path).expect("clean up");
}

#[test]
fn a_reader_sees_the_end_at_once() {
    let path = fifo("end");
    let (stdio, held) = given(&uris(&path));
    let mut reader = File::options().read(true).open(&path).expect("reader");
    drop(stdio);
    run(async {
        let begin = Instant::now();
        let rest = held.hand_over().await;
        assert_eq!(reader.read(&mut [0]).expect("read"), 0);
        assert!(begin.elapsed() < Duration::from_millis(50), "{:?}", begin.elapsed());
        rest.finish().await;
    });
    fs::remove_file(path).expect("clean up");
}

#[test]
fn the_end_waits_a_moment_for_a_reader_to_take_the_rest() {
    let path = fifo("rest");
    let (stdio, held) = given(&uris(&path));
    let mut reader = reader(&path);
    File::from(stdio.stdout).write_all(&[b'x'; 30_000]).expect("write");
    run(async {
        let reading = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            reader.read(&mut [0; 40_000]).expect("read")
        });
        let begin = Instant::now();
        let rest = held.hand_over().await;
        assert!(begin.elapsed() >= Duration::from_millis(50), "{:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
        assert_eq!(reading.await.expect("join"), 30_000);
        rest.finish().await;
    });
    fs::remove_file(path).expect("clean up");
}

#[test]
fn the_end_does_not_wait_long_for_a_reader_that_does_not_read() {
    let path = fifo("stuck");
    let (stdio, held) = given(&uris(&path));
    let mut reader = reader(&path);
    File::from(stdio.stdout).write_all(b"unread").expect("write");
    run(async {
        let begin = Instant::now();
        let rest = held.hand_over().await;
        assert!(begin.elapsed() < Duration::from_millis(400), "{:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("all, then the end");
        assert_eq!(text, "unread");
        rest.finish().await;
    });
    fs::remove_file(path).expect("clean up");
}

fn reader(path: &Path) -> File {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).expect("reader")
}

fn ended(stdin: &File) -> bool {
    let mut fds = [PollFd::new(stdin, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
        && !fds[0].revents().contains(PollFlags::IN)
}

#[test]
fn input_ends_with_its_writer() {
    let path = fifo("input");
    let paths = Paths { stdin: path.display().to_string(), ..Paths::default() };
    let (stdio, mut held) = given(&paths);
    let mut stdin = File::from(stdio.stdin);
    let mut writer = File::options().write(true).open(&path).expect("writer");
    held.leave_stdin_to_its_writer();
    assert!(!ended(&stdin), "though there is a writer");
    writer.write_all(b"x").expect("write");
    drop(writer);
    let mut text = String::new();
    stdin.read_to_string(&mut text).expect("read");
    assert_eq!(text, "x");
    fs::remove_file(path).expect("clean up");
}

#[test]
fn input_of_a_writer_that_left_at_once_is_empty() {
    let path = fifo("empty");
    let paths = Paths { stdin: path.display().to_string(), ..Paths::default() };
    let (stdio, mut held) = given(&paths);
    drop(File::options().write(true).open(&path).expect("writer"));
    held.leave_stdin_to_its_writer();
    assert_eq!(File::from(stdio.stdin).read(&mut [0]).expect("read"), 0);
    fs::remove_file(path).expect("clean up");
}

#[test]
fn input_without_a_writer_stays_open_until_closed() {
    let path = fifo("closed");
    let paths = Paths { stdin: path.display().to_string(), ..Paths::default() };
    let (stdio, mut held) = given(&paths);
    let mut stdin = File::from(stdio.stdin);
    held.leave_stdin_to_its_writer();
    File::options().write(true).open(&path).expect("writer").write_all(b"x").expect("write");
    assert_eq!(stdin.read(&mut [0; 8]).expect("read"), 1);
    assert!(!ended(&stdin), "though it was not closed");
    held.close_stdin();
    assert_eq!(stdin.read(&mut [0; 8]).expect("read"), 0);
    fs::remove_file(path).expect("clean up");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let refused = |paths: &Paths| open(paths, IDENTITY).map(drop).expect_err("refused");
    let missing = refused(&Paths { stdout: "/does/not/exist".into(), ..Paths::default() });
    assert!(missing.message.contains("/does/not/exist"), "{}", missing.message);
    let logger = refused(&Paths { stdout: "binary:///no/such/logger".into(), ..Paths::default() });
    assert!(logger.message.contains("/no/such/logger"), "{}", logger.message);
    let backwards = refused(&Paths { stdin: "binary:///bin/true".into(), ..Paths::default() });
    assert_eq!(backwards.code, Code::InvalidArgument);
}

#[test]
fn a_file_is_appended_to_and_its_directory_made() {
    let dir = std::env::temp_dir().join(format!("lighter-stdio-{}-dir", std::process::id()));
    let uri = format!("file://{}/sub/log?x=y", dir.display());
    for text in ["one", "two"] {
        let paths = Paths { stdout: uri.clone(), stderr: uri.clone(), ..Paths::default() };
        let (stdio, _) = given(&paths);
        File::from(stdio.stdout).write_all(text.as_bytes()).expect("write");
        File::from(stdio.stderr).write_all(b"!").expect("write");
    }
    assert_eq!(fs::read_to_string(dir.join("sub/log")).expect("read"), "one!two!");
    fs::remove_dir_all(dir).expect("clean up");
}
