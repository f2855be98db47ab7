//! The file for the message about a guest's end.

use std::path::PathBuf;

use lighter::plan::LimitKind;

use crate::{Run, adapted};

const TRAP: &str = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;
const LOOP: &str =
    r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;

/// What is in the file once `run` has ended, if it began as `before`.
#[track_caller]
fn message(mut run: Run, before: &str) -> String {
    let file = run.dir.path().join("message");
    std::fs::write(&file, before).expect("write");
    run.guest.termination_message = Some(path(file.clone()));
    run.output();
    std::fs::read_to_string(file).expect("read")
}

fn path(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}

#[test]
fn the_first_line_of_what_went_wrong_is_left() {
    let trapped = "lighter: guest trapped: it reached an `unreachable` instruction";
    assert_eq!(message(Run::module(TRAP), ""), trapped);
    assert_eq!(message(Run::wasm(&adapted(&wat::parse_str(TRAP).unwrap())), ""), trapped);
    let timeout = Run::module(LOOP).limit(LimitKind::Timeout, 100);
    let told =
        "lighter: guest ended: its time is used up: 100 ms (annotation io.lighter.limits.timeout)";
    assert_eq!(message(timeout, ""), told);
    let long = format!(
        r#"(module (memory 1) (func (export "_start") call 1) (func $"{}" unreachable))"#,
        "x".repeat(9000)
    );
    assert!(message(Run::module(&long), "").len() <= 4096);
}

#[test]
fn nothing_is_left_where_nothing_is_wrong_or_somebody_has() {
    let fine = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    assert_eq!(message(Run::module(fine), ""), "");
    assert_eq!(message(Run::module(TRAP), "my own"), "my own");
    assert_eq!(message(Run::module(LOOP).limit(LimitKind::Timeout, 100), "my own"), "my own");
}

#[test]
fn only_a_file_gets_a_message() {
    let run = |make: fn(&std::path::Path)| {
        let mut run = Run::module(TRAP);
        let file = run.dir.path().join("message");
        make(&file);
        run.guest.termination_message = Some(path(file));
        assert_eq!(run.output().status.code(), Some(134));
        run
    };
    // A link to a file, a FIFO that nobody reads, a directory, nothing.
    let linked = run(|file| {
        let target = file.with_file_name("target");
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, file).unwrap();
    });
    assert_eq!(std::fs::read_to_string(linked.dir.path().join("target")).unwrap(), "");
    run(|file| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    });
    run(|file| std::fs::create_dir(file).unwrap());
    let absent = run(|_| {});
    assert!(!absent.dir.path().join("message").exists());
}
