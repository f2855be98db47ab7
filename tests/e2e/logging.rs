//! `binary://`: a program of the operator's that logs what a container writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::support::command::{Process, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_program_logs_both_streams,
        a_linux_container_is_logged,
        the_end_is_told_when_the_program_has_read_all,
        a_program_that_is_not_ready_is_an_error,
        a_program_that_ends_early_takes_nobody_along,
        a_program_that_does_not_end_is_ended,
    ]
}

/// A logging program of these lines of shell, beside which it keeps what it logs.
struct Logger {
    dir: TempDir,
    program: PathBuf,
}

impl Logger {
    fn new(script: &str) -> Self {
        let dir = TempDir::new_in(Suite::get().scratch()).unwrap();
        let program = dir.path().join("logger");
        let cd = format!("#!/bin/sh\nPATH=/usr/bin:/bin\ncd {} || exit 9\n", dir.path().display());
        fs::write(&program, format!("{cd}{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, program }
    }

    fn uri(&self, query: &str) -> String {
        format!("binary://{}{query}", self.program.display())
    }

    #[track_caller]
    fn text(&self, file: &str) -> String {
        let path = self.path(file);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The program's process, which has left its id in `pid`.
    #[track_caller]
    fn process(&self) -> Process {
        let pid = self.text("pid").trim().parse().expect("a process id");
        Process::open(pid).expect("it runs")
    }
}

fn a_program_logs_both_streams(namespace: &Namespace<'_>) {
    let logger = Logger::new(
        "printf '%s\\n' \"$@\" > args\n\
         tr '\\0' '\\n' < /proc/$$/environ > environment\n\
         ls -l /proc/$$/fd/ > descriptors\n\
         exec 5>&-\n\
         cat <&4 > stderr &\n\
         cat <&3 > stdout\n\
         wait",
    );
    let image = Image::guest("stderr", &guests::module("stderr"));
    let id = unique_id();
    let uri = logger.uri("?name=two%20words&flag&name=again&last=1");
    let mut ctr = namespace.run_command(&image, &id, &["--log-uri", &uri], &[]);
    let output = run(&mut ctr, b"", LIMIT).expect_success();
    // The task is deleted when the program has ended.
    assert_eq!((output.text(), output.errors()), (String::new(), String::new()));
    assert_eq!((logger.text("stdout"), logger.text("stderr")), ("out\n".into(), "err\n".into()));
    // containerd's client sorts the names, and has none twice.
    let args = logger.text("args");
    let mut pairs: Vec<_> = args.lines().collect::<Vec<_>>().chunks(2).map(<[_]>::to_vec).collect();
    pairs.sort();
    assert_eq!(pairs, [["flag", ""], ["last", "1"], ["name", "two words"]]);
    let environment = logger.text("environment");
    let mut environment: Vec<_> = environment.lines().collect();
    environment.sort_unstable();
    let expected =
        [format!("CONTAINER_ID={id}"), format!("CONTAINER_NAMESPACE={}", namespace.name())];
    assert_eq!(environment, expected);
    let descriptors = logger.text("descriptors");
    assert_eq!(descriptors.matches("-> /dev/null").count(), 3, "{descriptors}");
    assert_eq!(descriptors.matches("-> pipe:").count(), 3, "{descriptors}");
    nothing_remains(namespace);
}

fn a_linux_container_is_logged(namespace: &Namespace<'_>) {
    let logger = Logger::new("exec 5>&-; cat <&4 > stderr & cat <&3 > stdout; wait");
    let image = Image::linux("logged");
    let id = unique_id();
    let flags = ["--log-uri", &logger.uri("")];
    let script = "i=0; while [ $i -lt 10000 ]; do echo $i; i=$((i+1)); done; echo err >&2";
    namespace.run_detached(&image, &id, &flags, &["sh", "-c", script]).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 0);
    let numbers: String = (0..10_000).map(|number| format!("{number}\n")).collect();
    assert!(logger.text("stdout") == numbers, "{} bytes", logger.text("stdout").len());
    assert_eq!(logger.text("stderr"), "err\n");
    nothing_remains(namespace);
}

/// For a program that stops reading when it hears of the end, as nerdctl's does.
fn the_end_is_told_when_the_program_has_read_all(namespace: &Namespace<'_>) {
    let late = "sleep 0.5; [ ! -e told ] || exit; exec cat <&3 > stdout";
    let logger = Logger::new(&format!("exec 5>&-; {late}"));
    let image = Image::guest("hello", &guests::module("hello"));
    let id = unique_id();
    namespace.run_detached(&image, &id, &["--log-uri", &logger.uri("")], &[]).expect_success();
    namespace.wait_for_end(&id);
    fs::write(logger.path("told"), "").unwrap();
    assert_eq!(namespace.delete_task(&id), 0);
    assert_eq!(logger.text("stdout"), "hello\n");
    nothing_remains(namespace);
}

fn a_program_that_is_not_ready_is_an_error(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::module("hello"));
    let refused = |uri: &str| {
        let output = namespace.run_with(&image, &["--log-uri", uri], &[], b"");
        let errors = output.expect_failure();
        assert!(errors.contains(uri.trim_start_matches("binary://")), "{errors}");
        errors
    };
    let ends = Logger::new("exit 3");
    assert!(refused(&ends.uri("")).contains("ended with status 3"));
    let killed = Logger::new("kill -9 $$");
    assert!(refused(&killed.uri("")).contains("signal 9"));
    assert!(refused("binary:///no/such/logger").contains("No such file"));
    let plain = Logger::new("");
    fs::set_permissions(&plain.program, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&plain.uri("")).contains("ermission denied"));
    let text = Logger::new("");
    fs::write(&text.program, "no program").unwrap();
    assert!(refused(&text.uri("")).contains("could not be executed"));
    nothing_remains(namespace);
}

fn a_program_that_ends_early_takes_nobody_along(namespace: &Namespace<'_>) {
    let wasm = Image::guest("big", &guests::module("big"));
    let linux = Image::linux("chatty");
    let script = "i=0; while [ $i -lt 50000 ]; do echo $i; i=$((i+1)); done; exit 7";
    let runs: [(&Image, &[&str], i32); 2] =
        [(&wasm, &["/big.wasm", "20"], 0), (&linux, &["sh", "-c", script], 7)];
    for (image, args, expected) in runs {
        let logger = Logger::new("echo x >&5; head -c 10 <&3 > stdout");
        let id = unique_id();
        let flags = ["--log-uri", &logger.uri("")];
        namespace.run_detached(image, &id, &flags, args).expect_success();
        namespace.wait_for_end(&id);
        assert_eq!(namespace.delete_task(&id), expected);
        assert_eq!(fs::metadata(logger.path("stdout")).unwrap().len(), 10);
        let log = namespace.containerd().log();
        assert!(log.contains(&*logger.program.to_string_lossy()), "nobody was told");
    }
    nothing_remains(namespace);
}

fn a_program_that_does_not_end_is_ended(namespace: &Namespace<'_>) {
    // One that could be asked, and one that does not listen.
    for (trap, at_least) in [("", 4), ("trap '' TERM;", 9)] {
        let script = format!(
            "{trap} echo $$ > pid; exec 5>&-; cat <&3 > stdout; echo > done; exec sleep 600"
        );
        let logger = Logger::new(&script);
        let image = Image::guest("hello", &guests::module("hello"));
        let id = unique_id();
        let flags = ["--log-uri", &logger.uri("")];
        namespace.run_detached(&image, &id, &flags, &[]).expect_success();
        // Nobody hears of the exit any later for it.
        let begin = Instant::now();
        namespace.wait_for_end(&id);
        assert!(begin.elapsed() < Duration::from_secs(4));
        let process = logger.process();
        assert!(process.runs());
        assert_eq!(namespace.delete_task(&id), 0);
        assert!(begin.elapsed() >= Duration::from_secs(at_least), "{:?}", begin.elapsed());
        assert!(process.ends_within(Duration::ZERO), "it outlives the task");
        assert_eq!(logger.text("stdout"), "hello\n");
    }
    nothing_remains(namespace);
}
