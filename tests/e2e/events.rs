//! The order in which containerd's subscribers hear of a container's life.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use libtest_mimic::Trial;

use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_guest_that_ends_at_once_is_created_started_exits_and_is_deleted,
        a_killed_guest_is_created_started_exits_and_is_deleted,
        a_guest_that_dies_of_a_failed_growth_is_out_of_memory,
        a_guest_whose_host_side_overruns_is_out_of_memory,
        a_guest_that_handles_a_failed_growth_is_not_out_of_memory,
        a_guest_that_exits_with_137_is_not_out_of_memory,
        a_refused_guest_is_never_created,
    ]
}

fn a_guest_that_ends_at_once_is_created_started_exits_and_is_deleted(namespace: &Namespace<'_>) {
    let image = Image::guest("exit", &guests::module("exit"));
    let events = Events::subscribe(namespace, &image);
    // The exit is a race with the start's answer: give it a few chances to be lost.
    for _ in 0..5 {
        let id = unique_id();
        let mut ctr = namespace.run_command(&image, &id, &[], &["/exit.wasm", "7"]);
        let status = ctr.stdin(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(7));
        let told = events.of(&id);
        assert_eq!(topics(&told), ["create", "start", "exit", "delete"], "{told:#?}");
        assert!(told[2].contains(r#""exit_status":7"#), "{told:#?}");
    }
}

fn a_killed_guest_is_created_started_exits_and_is_deleted(namespace: &Namespace<'_>) {
    let image = Image::guest("spin", &guests::module("spin"));
    let events = Events::subscribe(namespace, &image);
    let id = unique_id();
    namespace.run_detached(&image, &id, &["--null-io"], &[]).expect_success();
    let pid = namespace.task_pid(&id).expect("it runs");
    namespace.ctr(&["task", "kill", "-s", "SIGKILL", &id]).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 137);
    let told = events.of(&id);
    assert_eq!(topics(&told), ["create", "start", "exit", "delete"], "{told:#?}");
    assert!(told.iter().all(|event| event.contains(&format!(r#""pid":{pid}"#))), "{told:#?}");
    assert!(told[2].contains(r#""exit_status":137"#), "{told:#?}");
}

fn a_guest_that_dies_of_a_failed_growth_is_out_of_memory(namespace: &Namespace<'_>) {
    let image = Image::guest("hungry", &guests::module("hungry"));
    out_of_memory(namespace, &image, &[]);
}

fn a_guest_whose_host_side_overruns_is_out_of_memory(namespace: &Namespace<'_>) {
    // Its own memory stays small, but what it writes to a tmpfs is its group's.
    let image = Image::guest("probe", &guests::probe("probe"));
    out_of_memory(namespace, &image, &["/probe.wasm", "fill /dev/shm/full 62914560"]);
}

/// Both ways look the same from outside: 137, and the event before the exit.
#[track_caller]
fn out_of_memory(namespace: &Namespace<'_>, image: &Image, args: &[&str]) {
    let events = Events::subscribe(namespace, image);
    let id = unique_id();
    let mut ctr = namespace.run_command(image, &id, &["--memory-limit", "33554432"], args);
    let output = ctr.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(137), "{errors}");
    let told = events.of(&id);
    assert_eq!(topics(&told), ["create", "start", "oom", "exit", "delete"], "{told:#?}");
}

fn a_guest_that_handles_a_failed_growth_is_not_out_of_memory(namespace: &Namespace<'_>) {
    let image = Image::guest("memory", &guests::module("memory"));
    let events = Events::subscribe(namespace, &image);
    let id = unique_id();
    let limit = ["--memory-limit", "33554432"];
    let mut ctr = namespace.run_command(&image, &id, &limit, &["/memory.wasm", "200"]);
    let status = ctr.stdin(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(9));
    let told = events.of(&id);
    assert_eq!(topics(&told), ["create", "start", "exit", "delete"], "{told:#?}");
}

fn a_guest_that_exits_with_137_is_not_out_of_memory(namespace: &Namespace<'_>) {
    let image = Image::guest("exit", &guests::module("exit"));
    let events = Events::subscribe(namespace, &image);
    let id = unique_id();
    let mut ctr = namespace.run_command(&image, &id, &[], &["/exit.wasm", "137"]);
    assert_eq!(ctr.stdin(Stdio::null()).status().unwrap().code(), Some(137));
    let told = events.of(&id);
    assert_eq!(topics(&told), ["create", "start", "exit", "delete"], "{told:#?}");
}

fn a_refused_guest_is_never_created(namespace: &Namespace<'_>) {
    let image = Image::guest("broken", b"no module");
    let events = Events::subscribe(namespace, &image);
    let id = unique_id();
    let mut ctr = namespace.run_command(&image, &id, &[], &[]);
    assert!(!ctr.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    // A later container's events come after all that there will be of this one.
    let hello = Image::guest("hello", &guests::module("hello"));
    let later = unique_id();
    let mut ctr = namespace.run_command(&hello, &later, &[], &[]);
    assert!(ctr.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
    assert_eq!(topics(&events.of(&later)).len(), 4);
    let told = events.lines_about(&id);
    assert!(!topics(&told).contains(&"create"), "{told:#?}");
    assert!(!topics(&told).contains(&"start"), "{told:#?}");
}

/// `create` of `… /tasks/create {…}`.
pub fn topics(events: &[String]) -> Vec<&str> {
    let topic = |event: &'_ str| {
        let start = event.find("/tasks/")? + "/tasks/".len();
        let len = event[start..].find(' ')?;
        Some((start, start + len))
    };
    events.iter().filter_map(|event| topic(event).map(|(from, to)| &event[from..to])).collect()
}

/// A running `ctr events`.
pub struct Events {
    ctr: Child,
    reader: Option<JoinHandle<()>>,
    lines: Arc<Mutex<Vec<String>>>,
    namespace: String,
}

impl Events {
    /// Returns once events arrive.
    pub fn subscribe(namespace: &Namespace<'_>, image: &Image) -> Self {
        let image = namespace.import(image);
        let mut ctr = namespace.command();
        let mut ctr = ctr.arg("events").stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, collected) = (ctr.stdout.take().unwrap(), lines.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                collected.lock().unwrap().push(line);
            }
        });
        let events =
            Self { ctr, reader: Some(reader), lines, namespace: namespace.name().to_owned() };
        let mut count = 0;
        let subscribed = eventually(LIMIT, || {
            count += 1;
            let label = format!("count={count}");
            namespace.ctr(&["images", "label", &image, &label]).expect_success();
            !events.lines_about(&image).is_empty()
        });
        assert!(subscribed, "no event comes");
        events
    }

    /// The events of the task `id`, once the last one is there.
    pub fn of(&self, id: &str) -> Vec<String> {
        let tasks = || -> Vec<String> {
            let mut lines = self.lines_about(id);
            lines.retain(|line| line.contains("/tasks/"));
            lines
        };
        let complete =
            eventually(LIMIT, || tasks().iter().any(|line| line.contains("/tasks/delete ")));
        assert!(complete, "{id} is never deleted: {:#?}", tasks());
        tasks()
    }

    fn lines_about(&self, name: &str) -> Vec<String> {
        let quoted = format!("{name:?}");
        let lines = self.lines.lock().unwrap();
        let ours = |line: &&String| {
            line.split_whitespace().any(|word| word == self.namespace) && line.contains(&quoted)
        };
        lines.iter().filter(ours).cloned().collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.ctr.kill();
        let _ = self.ctr.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
