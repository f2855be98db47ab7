//! What an operator does with a task: run, list, look at, kill, delete; and what containerd tells of it.

use libtest_mimic::Trial;

use crate::support::command::{Process, eventually};
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
        a_detached_task_is_listed_killed_and_deleted,
        the_task_is_its_runner,
        a_task_has_processes_and_metrics,
        a_task_that_has_ended_cannot_be_killed,
        a_deleted_task_cannot_be_deleted_again,
        a_running_task_is_not_deleted_unless_forced,
        a_container_can_be_started_again,
        fifty_containers_run_at_once,
    ]
}

fn a_detached_task_is_listed_killed_and_deleted(namespace: &Namespace<'_>) {
    let id = spin(namespace);
    assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
    namespace.ctr(&["task", "kill", &id]).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 143);
    assert_eq!(namespace.task_status(&id), None);
    namespace.ctr(&["containers", "delete", &id]).expect_success();
    nothing_remains(namespace);
}

fn the_task_is_its_runner(namespace: &Namespace<'_>) {
    let id = spin(namespace);
    let pid = namespace.task_pid(&id).expect("it runs");
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(program, Suite::get().program("lighter-runner"));
}

fn a_task_has_processes_and_metrics(namespace: &Namespace<'_>) {
    let id = spin(namespace);
    let pid = namespace.task_pid(&id).expect("it runs").to_string();

    let processes = namespace.ctr(&["task", "ps", &id]).expect_success().text();
    let pids: Vec<_> =
        processes.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(pids, [&pid], "{processes}");

    // A guest that spins has used some processor time, and has some memory.
    let mut text = String::new();
    let plausible = eventually(LIMIT, || {
        text = namespace.ctr(&["task", "metrics", &id]).expect_success().text();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        };
        // The names of the first version of control groups, and of the second.
        let memory = value("memory.usage_in_bytes").or_else(|| value("memory.usage"));
        let cpu = value("cpuacct.usage").or_else(|| value("cpu.usage_usec"));
        memory.is_some_and(|bytes| bytes > 100_000) && cpu.is_some_and(|time| time > 10_000)
    });
    assert!(plausible, "{text}");
}

fn a_task_that_has_ended_cannot_be_killed(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::module("hello"));
    let id = unique_id();
    namespace.run_detached(&image, &id, &["--null-io"], &[]).expect_success();
    namespace.wait_for_end(&id);
    for signal in ["SIGTERM", "SIGKILL"] {
        let error = namespace.ctr(&["task", "kill", "-s", signal, &id]).expect_failure();
        // From 2.0 on, ctr leaves the code's name out.
        let known = ["not found", "process already finished"];
        assert!(known.iter().any(|words| error.contains(words)), "{error}");
    }
    namespace.ctr(&["task", "delete", &id]).expect_success();
}

fn a_deleted_task_cannot_be_deleted_again(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::module("hello"));
    let id = unique_id();
    namespace.run_detached(&image, &id, &["--null-io"], &[]).expect_success();
    namespace.wait_for_end(&id);
    namespace.ctr(&["task", "delete", &id]).expect_success();
    let error = namespace.ctr(&["task", "delete", &id]).expect_failure();
    assert!(error.contains("not found"), "{error}");
    nothing_remains(namespace);
}

fn a_running_task_is_not_deleted_unless_forced(namespace: &Namespace<'_>) {
    let id = spin(namespace);
    let process = Process::open(namespace.task_pid(&id).expect("it runs")).expect("it runs");
    let error = namespace.ctr(&["task", "delete", &id]).expect_failure();
    assert!(error.contains("must be stopped before deletion"), "{error}");
    assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
    assert!(process.runs());
    namespace.ctr(&["task", "delete", "--force", &id]).expect_success();
    assert!(!process.runs());
    nothing_remains(namespace);
}

fn a_container_can_be_started_again(namespace: &Namespace<'_>) {
    let image = Image::guest("exit", &guests::module("exit"));
    let id = unique_id();
    let flags = ["--null-io"];
    namespace.run_detached(&image, &id, &flags, &["/exit.wasm", "3"]).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 3);
    namespace.ctr(&["task", "start", &id]).expect_status(3);
    nothing_remains(namespace);
}

fn fifty_containers_run_at_once(namespace: &Namespace<'_>) {
    let image = Image::guest("env", &guests::module("env"));
    namespace.import(&image);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..50)
            .map(|number| {
                let image = &image;
                scope.spawn(move || {
                    let own = format!("number {number}");
                    let output = namespace.run(image, &["/env.wasm", &own]).expect_success();
                    let lines = format!("/env.wasm\n{own}\n");
                    assert!(output.text().starts_with(&lines), "{number}: {output}");
                })
            })
            .collect();
        // A panic's message belongs to the thread of the test.
        let failed = runs.into_iter().filter_map(|run| run.join().err());
        let messages: Vec<String> = failed
            .map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
            .collect();
        assert!(messages.is_empty(), "{} failed:\n{}", messages.len(), messages.join("\n"));
    });
    nothing_remains(namespace);
}

/// Starts a guest that never ends by itself, and returns its id.
fn spin(namespace: &Namespace<'_>) -> String {
    let image = Image::guest("spin", &guests::module("spin"));
    let id = unique_id();
    namespace.run_detached(&image, &id, &["--null-io"], &[]).expect_success();
    id
}
