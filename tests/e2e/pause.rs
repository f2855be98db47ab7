//! Stopping containers where they are, and letting them go on.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::events::{Events, topics};
use crate::restart::shim_of;
use crate::support::command::{self, eventually};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::process::Process;
use crate::support::remains::nothing_remains;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_paused_guest_stands_still_until_it_is_resumed,
        a_paused_linux_container_stands_still_until_it_is_resumed,
        a_paused_guest_can_be_killed,
        a_signal_to_a_paused_guest_waits_for_it,
        what_cannot_be_paused_is_not,
        a_shim_that_crashes_leaves_nothing_of_a_paused_guest,
    ]
}

/// A guest that never rests, and its process.
#[track_caller]
fn spinning(namespace: &Namespace<'_>, id: &str) -> Process {
    let image = Image::guest("spin", &guests::module("spin"));
    namespace.run_detached(&image, id, &["--null-io"], &[]).expect_success();
    Process::of(namespace.task_pid(id).expect("it runs"))
}

#[track_caller]
fn expect_status(namespace: &Namespace<'_>, id: &str, status: &str) {
    assert_eq!(namespace.task_status(id).as_deref(), Some(status));
}

/// Processor time in clock ticks: fields 14 and 15 of proc_pid_stat(5).
#[track_caller]
fn ticks(process: &Process) -> u64 {
    let stat = process.text("stat");
    let fields = stat.rsplit_once(") ").unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[track_caller]
fn expect_to_stand_still(process: &Process) {
    let before = ticks(process);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ticks(process), before, "it goes on");
}

#[track_caller]
fn expect_to_go_on(process: &Process) {
    let before = ticks(process);
    assert!(eventually(LIMIT, || ticks(process) > before), "it stands still");
}

fn a_paused_guest_stands_still_until_it_is_resumed(namespace: &Namespace<'_>) {
    let events = Events::subscribe(namespace, &Image::guest("spin", &guests::module("spin")));
    let id = unique_id();
    let process = spinning(namespace, &id);
    expect_to_go_on(&process);
    for _ in 0..2 {
        namespace.ctr(&["task", "pause", &id]).expect_success();
        expect_status(namespace, &id, "PAUSED");
        expect_to_stand_still(&process);
        // It can still be looked at.
        namespace.ctr(&["task", "metrics", &id]).expect_success();
        namespace.ctr(&["task", "ps", &id]).expect_success();
        namespace.ctr(&["task", "resume", &id]).expect_success();
        expect_status(namespace, &id, "RUNNING");
        expect_to_go_on(&process);
    }
    namespace.ctr(&["task", "delete", "--force", &id]);
    let told = events.of(&id);
    let expected = ["create", "start", "paused", "resumed", "paused", "resumed", "exit", "delete"];
    assert_eq!(topics(&told), expected, "{told:#?}");
}

fn a_paused_linux_container_stands_still_until_it_is_resumed(namespace: &Namespace<'_>) {
    let image = Image::linux("spinner");
    let id = unique_id();
    let args = ["/bin/sh", "-c", "while :; do :; done"];
    namespace.run_detached(&image, &id, &["--null-io"], &args).expect_success();
    let process = Process::of(namespace.task_pid(&id).expect("it runs"));
    namespace.ctr(&["task", "pause", &id]).expect_success();
    expect_status(namespace, &id, "PAUSED");
    expect_to_stand_still(&process);
    namespace.ctr(&["task", "resume", &id]).expect_success();
    expect_to_go_on(&process);
    namespace.ctr(&["task", "pause", &id]).expect_success();
    namespace.ctr(&["task", "delete", "--force", &id]);
    nothing_remains(namespace);
}

fn a_paused_guest_can_be_killed(namespace: &Namespace<'_>) {
    let id = unique_id();
    spinning(namespace, &id);
    namespace.ctr(&["task", "pause", &id]).expect_success();
    namespace.ctr(&["task", "kill", "--signal", "SIGKILL", &id]).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 137);
    nothing_remains(namespace);
}

fn a_signal_to_a_paused_guest_waits_for_it(namespace: &Namespace<'_>) {
    let id = unique_id();
    spinning(namespace, &id);
    namespace.ctr(&["task", "pause", &id]).expect_success();
    namespace.ctr(&["task", "kill", "--signal", "SIGTERM", &id]).expect_success();
    std::thread::sleep(Duration::from_millis(300));
    expect_status(namespace, &id, "PAUSED");
    namespace.ctr(&["task", "resume", &id]).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 143);
}

fn what_cannot_be_paused_is_not(namespace: &Namespace<'_>) {
    let id = unique_id();
    let process = spinning(namespace, &id);
    let refused = |verb: &str, why: &str| {
        let errors = namespace.ctr(&["task", verb, &id]).expect_failure();
        assert!(errors.contains(why), "no {why:?} in {errors}");
    };
    refused("resume", "is not paused");
    namespace.ctr(&["task", "pause", &id]).expect_success();
    refused("pause", "is paused");
    refused("delete", "paused");
    expect_status(namespace, &id, "PAUSED");
    expect_to_stand_still(&process);
    namespace.ctr(&["task", "kill", "--signal", "SIGKILL", &id]).expect_success();
    namespace.wait_for_end(&id);
    refused("pause", "ended");
    refused("resume", "ended");
}

fn a_shim_that_crashes_leaves_nothing_of_a_paused_guest(namespace: &Namespace<'_>) {
    let id = unique_id();
    spinning(namespace, &id);
    let process = command::Process::open(namespace.task_pid(&id).unwrap()).expect("it runs");
    namespace.ctr(&["task", "pause", &id]).expect_success();
    shim_of(namespace, &id).kill9();
    assert!(process.ends_within(Duration::from_secs(20)), "the guest stays");
    namespace.ctr(&["task", "delete", &id]);
    namespace.ctr(&["containers", "delete", &id]).expect_success();
    nothing_remains(namespace);
}
