//! Signals end a guest at once, whatever it is doing, with 128 + their number.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::support::command::{Process, eventually, run};
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
        sigterm_ends_a_spinning_module_with_143,
        sigint_ends_a_spinning_module_with_130,
        sigkill_ends_a_spinning_module_with_137,
        sigterm_ends_a_spinning_component_with_143,
        sigkill_ends_a_spinning_component_with_137,
        sigterm_ends_a_sleeping_guest_with_143,
        sigterm_ends_a_guest_that_waits_for_input_with_143,
        ctr_run_ends_with_the_status_of_the_signal,
    ]
}

/// From typing the command to the guest's end.
const AT_ONCE: Duration = Duration::from_secs(1);

fn sigterm_ends_a_spinning_module_with_143(namespace: &Namespace<'_>) {
    expect_end(namespace, &guests::module("spin"), "SIGTERM", 143);
}

fn sigint_ends_a_spinning_module_with_130(namespace: &Namespace<'_>) {
    expect_end(namespace, &guests::module("spin"), "SIGINT", 130);
}

fn sigkill_ends_a_spinning_module_with_137(namespace: &Namespace<'_>) {
    expect_end(namespace, &guests::module("spin"), "SIGKILL", 137);
}

fn sigterm_ends_a_spinning_component_with_143(namespace: &Namespace<'_>) {
    expect_end(namespace, &guests::component("spin"), "SIGTERM", 143);
}

fn sigkill_ends_a_spinning_component_with_137(namespace: &Namespace<'_>) {
    expect_end(namespace, &guests::component("spin"), "SIGKILL", 137);
}

fn sigterm_ends_a_sleeping_guest_with_143(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    let guest = Guest::start(namespace, &image, &["/sleep.wasm", "3600"], "sleeping\n");
    guest.signal("SIGTERM");
    guest.expect_status(143);
}

/// Nobody ever writes to the fifo that it reads from.
fn sigterm_ends_a_guest_that_waits_for_input_with_143(namespace: &Namespace<'_>) {
    let image = Image::guest("echo", &guests::module("echo"));
    let id = unique_id();
    let stdin = std::io::pipe().unwrap();
    let mut ctr = namespace.run_command(&image, &id, &[], &[]);
    let mut ctr = ctr.stdin(stdin.0).spawn().unwrap();
    assert!(eventually(LIMIT, || namespace.task_status(&id).as_deref() == Some("RUNNING")));
    namespace.ctr(&["task", "kill", &id]).expect_success();
    assert_eq!(ctr.wait().unwrap().code(), Some(143));
}

fn ctr_run_ends_with_the_status_of_the_signal(namespace: &Namespace<'_>) {
    let image = Image::guest("spin", &guests::module("spin"));
    let id = unique_id();
    let mut ctr = namespace.run_command(&image, &id, &[], &[]);
    let output = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut ctr, b"", LIMIT));
        let started = || namespace.task_status(&id).as_deref() == Some("RUNNING");
        assert!(eventually(LIMIT, started), "{id} does not run");
        namespace.ctr(&["task", "kill", &id]).expect_success();
        running.join().unwrap()
    });
    assert_eq!(output.expect_status(143).text(), "spinning\n");
    nothing_remains(namespace);
}

/// `signal` ends the guest with `status` within [`AT_ONCE`]: in the best of a few attempts, since all the other tests
/// keep the processors busy meanwhile.
fn expect_end(namespace: &Namespace<'_>, guest: &[u8], signal: &str, status: i32) {
    let image = Image::guest("spin", guest);
    let attempt = || {
        let guest = Guest::start(namespace, &image, &[], "spinning\n");
        let took = guest.signal(signal);
        guest.expect_status(status);
        took
    };
    let mut times = Vec::new();
    let in_time = (0..4).any(|_| {
        times.push(attempt());
        times.last().is_some_and(|&took| took < AT_ONCE)
    });
    assert!(in_time, "{signal} took {times:.2?} to end a spinning guest");
    nothing_remains(namespace);
}

/// A detached guest that has written its first line.
struct Guest<'a> {
    namespace: &'a Namespace<'a>,
    id: String,
    log: PathBuf,
    process: Process,
}

impl<'a> Guest<'a> {
    fn start(namespace: &'a Namespace<'a>, image: &Image, args: &[&str], line: &str) -> Self {
        let id = unique_id();
        let log = Suite::get().scratch().join(format!("{id}.log"));
        let uri = format!("file://{}", log.display());
        namespace.run_detached(image, &id, &["--log-uri", &uri], args).expect_success();
        let said = || fs::read_to_string(&log).is_ok_and(|text| text == line);
        assert!(eventually(LIMIT, said), "{id} has not said {line:?}");
        let pid = namespace.task_pid(&id).expect("it runs");
        let process = Process::open(pid).expect("it runs");
        Self { namespace, id, log, process }
    }

    /// How long `ctr task kill` and the guest's end took together.
    fn signal(&self, signal: &str) -> Duration {
        let begin = Instant::now();
        self.namespace.ctr(&["task", "kill", "--signal", signal, &self.id]).expect_success();
        assert!(self.process.ends_within(LIMIT), "{signal} does not end {}", self.id);
        begin.elapsed()
    }

    fn expect_status(self, status: i32) {
        self.namespace.wait_for_end(&self.id);
        assert_eq!(self.namespace.delete_task(&self.id), status);
        self.namespace.ctr(&["containers", "delete", &self.id]).expect_success();
        fs::remove_file(&self.log).unwrap();
    }
}
