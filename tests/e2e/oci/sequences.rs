//! What is done in one container's life, by name.

use serde_json::json;

use super::bundle::Program::{Exit, Sleep};
use super::life::{Life, PATIENCE};
use super::runtime::Subject;
use super::{Sequence, named};
use crate::support::command::eventually;
use crate::support::process::Process;

/// All sequences.
pub fn all() -> Vec<(&'static str, Sequence)> {
    named![
        a_whole_life,
        killed_and_deleted,
        killed_when_created,
        killed_after_its_end,
        killed_by_names_and_numbers,
        killed_with_what_is_no_signal,
        all_are_killed_in_each_state,
        deleted_when_created,
        deleted_while_running,
        deleted_when_paused,
        deleted_twice,
        deleted_by_force_when_created,
        deleted_by_force_while_running,
        deleted_by_force_when_paused,
        created_twice,
        created_again_after_its_deletion,
        started_twice,
        started_after_its_end,
        paused_and_resumed,
        paused_when_created,
        paused_after_its_end,
        killed_when_paused,
        updated_in_each_state,
        listed_in_each_state,
        looked_at_in_each_state,
        run_to_its_end,
        run_detached,
        run_under_a_name_that_is_taken,
        unknown_to_every_command,
    ]
}

fn a_whole_life(life: &mut Life) {
    life.created(Exit(3));
    life.start_unseen();
    life.until_stopped();
    life.state();
    life.delete();
    life.state();
}

fn killed_and_deleted(life: &mut Life) {
    life.created(Sleep);
    life.start();
    life.kill_to_end(&["KILL"]);
    life.state();
    life.delete();
}

fn killed_when_created(life: &mut Life) {
    life.created(Sleep);
    life.kill_to_end(&["KILL"]);
    life.start();
    life.delete();
}

fn killed_after_its_end(life: &mut Life) {
    life.stopped();
    life.kill(&["KILL"]);
    life.kill(&["TERM"]);
    life.kill(&["0"]);
}

fn killed_by_names_and_numbers(life: &mut Life) {
    for signal in ["KILL", "SIGKILL", "9", "TERM", "SIGTERM", "15"] {
        life.started(Sleep);
        settle(life);
        life.kill_to_end(&[signal]);
        life.delete();
    }
    // Without a signal it is SIGTERM.
    life.started(Sleep);
    settle(life);
    life.kill_to_end(&[]);
}

/// Waits until the shell of a Linux container has said what SIGTERM does to it.
fn settle(life: &Life) {
    if life.subject() != Subject::Wasm {
        let process = Process::of(life.pid());
        let caught = || u64::from_str_radix(&process.status("SigCgt"), 16).expect("a mask");
        assert!(eventually(PATIENCE, || caught() & 1 << 14 != 0), "{}", process.text("status"));
    }
}

fn killed_with_what_is_no_signal(life: &mut Life) {
    life.started(Sleep);
    for signal in ["NONE", "SIG", "999", "12x", "KILLED"] {
        life.kill(&[signal]);
    }
    // It is there; nothing is sent.
    life.kill(&["0"]);
    life.state();
}

fn all_are_killed_in_each_state(life: &mut Life) {
    life.created(Sleep);
    life.kill_to_end(&["--all", "KILL"]);
    life.delete();
    life.started(Sleep);
    life.kill_to_end(&["--all", "KILL"]);
    life.kill(&["--all", "KILL"]);
    life.delete();
}

fn deleted_when_created(life: &mut Life) {
    life.created(Sleep);
    life.delete();
}

fn deleted_while_running(life: &mut Life) {
    life.started(Sleep);
    life.delete();
}

fn deleted_when_paused(life: &mut Life) {
    life.started(Sleep);
    life.pause();
    life.delete();
    life.resume();
}

fn deleted_twice(life: &mut Life) {
    life.stopped();
    life.delete();
    life.delete();
    life.delete_by_force();
}

fn deleted_by_force_when_created(life: &mut Life) {
    life.created(Sleep);
    life.delete_by_force();
}

fn deleted_by_force_while_running(life: &mut Life) {
    life.started(Sleep);
    life.delete_by_force();
}

fn deleted_by_force_when_paused(life: &mut Life) {
    life.started(Sleep);
    life.pause();
    life.delete_by_force();
}

fn created_twice(life: &mut Life) {
    life.created(Sleep);
    life.create();
    life.start();
    life.create();
    life.kill_to_end(&["KILL"]);
    life.create();
    life.delete();
}

fn created_again_after_its_deletion(life: &mut Life) {
    for _ in 0..2 {
        life.stopped();
        life.delete();
    }
}

fn started_twice(life: &mut Life) {
    life.created(Sleep);
    life.start();
    life.start();
    life.state();
}

fn started_after_its_end(life: &mut Life) {
    life.stopped();
    life.start();
    life.delete();
}

fn paused_and_resumed(life: &mut Life) {
    life.started(Sleep);
    life.resume();
    life.pause();
    life.start();
    life.pause();
    life.resume();
    life.resume();
    life.kill_to_end(&["KILL"]);
}

fn paused_when_created(life: &mut Life) {
    life.created(Sleep);
    life.pause();
    life.resume();
    life.start();
    life.state();
}

fn paused_after_its_end(life: &mut Life) {
    life.stopped();
    life.pause();
    life.resume();
    life.delete();
}

fn killed_when_paused(life: &mut Life) {
    life.started(Sleep);
    life.pause();
    life.kill(&["KILL"]);
    life.resume();
    life.until_stopped();
    life.delete();
}

fn updated_in_each_state(life: &mut Life) {
    let resources = json!({"pids": {"limit": 32}, "memory": {"limit": 128 << 20}});
    life.created(Sleep);
    life.update(&resources);
    life.start();
    life.update(&resources);
    life.update(&json!({}));
    life.update(&json!({"pids": {"limit": "many"}}));
    life.update(&json!([]));
    life.pause();
    life.update(&resources);
    life.resume();
    life.kill_to_end(&["KILL"]);
    life.update(&resources);
}

fn listed_in_each_state(life: &mut Life) {
    life.list();
    life.created(Sleep);
    life.list();
    life.start();
    life.list();
    life.pause();
    life.list();
    life.resume();
    life.kill_to_end(&["KILL"]);
    life.list();
    life.delete();
    life.list();
}

fn looked_at_in_each_state(life: &mut Life) {
    life.created(Sleep);
    life.ps();
    life.statistics();
    life.start();
    life.ps();
    life.statistics();
    life.pause();
    life.ps();
    life.resume();
    life.kill_to_end(&["KILL"]);
    life.ps();
    life.statistics();
}

fn run_to_its_end(life: &mut Life) {
    for status in [0, 3, 255] {
        life.bundle(Exit(status));
        life.run();
    }
}

fn run_detached(life: &mut Life) {
    life.bundle(Sleep);
    life.run_detached();
    life.run_detached();
    life.kill_to_end(&["KILL"]);
    life.delete();
}

fn run_under_a_name_that_is_taken(life: &mut Life) {
    life.created(Sleep);
    life.run();
    life.start();
    life.run();
}

fn unknown_to_every_command(life: &mut Life) {
    life.bundle(Sleep);
    life.of_another();
    life.state();
    life.start();
    life.kill(&["KILL"]);
    life.kill(&["--all", "KILL"]);
    life.pause();
    life.resume();
    life.ps();
    life.statistics();
    life.update(&json!({}));
    life.exec(Exit(0));
    life.exec_detached(Exit(0));
    life.delete();
    life.delete_by_force();
}
