//! What is done and asked, by name.

use serde_json::json;

use super::life::{Life, Program};
use super::{Sequence, named};

/// All sequences.
pub fn all() -> Vec<(&'static str, Sequence)> {
    named![
        a_whole_life,
        a_killed_life,
        killed_when_created,
        deleted_when_created,
        deleted_while_running,
        deleted_twice,
        created_twice,
        started_twice,
        started_after_its_end,
        killed_after_its_end,
        waited_for_early_and_late,
        paused_and_resumed,
        paused_when_created,
        paused_after_its_end,
        killed_when_paused,
        deleted_when_paused,
        updated_in_each_state,
        looked_at_in_each_state,
        input_closed_in_each_state,
        resized_without_a_terminal,
        checkpointed,
        killed_with_a_signal_that_there_is_not,
        unknown,
    ]
}

fn a_whole_life(life: &mut Life<'_>) {
    life.container(Program::Exit(7));
    life.state();
    life.create();
    life.state();
    life.start();
    life.wait();
    life.state();
    life.delete();
    life.state();
}

fn a_killed_life(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.state();
    life.kill(0);
    life.kill(9);
    life.until_stopped();
    life.wait();
    life.delete();
}

fn killed_when_created(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.kill(9);
    life.wait();
    life.state();
    life.start();
    life.delete();
}

fn deleted_when_created(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.delete();
    life.state();
}

fn deleted_while_running(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.delete();
    life.state();
    life.kill_all(9);
    life.until_stopped();
    life.delete();
}

fn deleted_twice(life: &mut Life<'_>) {
    life.stopped(Program::Exit(3));
    life.delete();
    life.delete();
}

fn created_twice(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.create();
    life.start();
    life.create();
}

fn started_twice(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.start();
    life.state();
}

fn started_after_its_end(life: &mut Life<'_>) {
    life.stopped(Program::Exit(0));
    life.start();
    life.state();
}

fn killed_after_its_end(life: &mut Life<'_>) {
    life.stopped(Program::Exit(0));
    life.kill(15);
    life.kill(9);
    life.kill_all(9);
    life.kill(0);
}

fn waited_for_early_and_late(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.wait_while(|life| {
        life.start();
        life.kill(9);
    });
    life.wait();
    life.wait();
    life.delete();
    life.wait();
}

fn paused_and_resumed(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.resume();
    life.pause();
    life.state();
    life.pause();
    life.state();
    life.metrics();
    life.pids();
    life.start();
    life.resume();
    life.state();
    life.resume();
    life.state();
}

fn paused_when_created(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.pause();
    life.resume();
    life.state();
}

fn paused_after_its_end(life: &mut Life<'_>) {
    life.stopped(Program::Exit(0));
    life.pause();
    life.resume();
    life.state();
}

fn killed_when_paused(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.pause();
    life.kill(9);
    life.until_stopped();
    life.wait();
    life.delete();
}

fn deleted_when_paused(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.pause();
    life.delete();
    life.state();
}

fn updated_in_each_state(life: &mut Life<'_>) {
    let resources = json!({"cpu": {"shares": 512}});
    life.created(Program::Sleep);
    life.update(&resources);
    life.start();
    life.update(&resources);
    life.update(&json!({}));
    life.pause();
    life.update(&resources);
    life.resume();
    life.kill(9);
    life.until_stopped();
    life.update(&resources);
    life.delete();
    life.update(&resources);
}

fn looked_at_in_each_state(life: &mut Life<'_>) {
    life.container(Program::Sleep);
    life.pids();
    life.metrics();
    life.create();
    life.pids();
    life.metrics();
    life.start();
    life.pids();
    life.metrics();
    life.kill(9);
    life.until_stopped();
    life.pids();
    life.metrics();
}

fn input_closed_in_each_state(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.close_stdin();
    life.start();
    life.close_stdin();
    life.close_stdin();
    life.kill(9);
    life.until_stopped();
    life.close_stdin();
}

fn resized_without_a_terminal(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.resize();
    life.start();
    life.resize();
    life.kill(9);
    life.until_stopped();
    life.resize();
}

fn checkpointed(life: &mut Life<'_>) {
    life.stopped(Program::Exit(0));
    life.checkpoint();
}

fn killed_with_a_signal_that_there_is_not(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.kill(200);
    life.state();
}

fn unknown(life: &mut Life<'_>) {
    life.container(Program::Sleep);
    life.of_another();
    life.create();
    life.start();
    life.state();
    life.kill(9);
    life.wait();
    life.pause();
    life.resume();
    life.update(&json!({}));
    life.pids();
    life.metrics();
    life.close_stdin();
    life.resize();
    life.checkpoint();
    life.delete();
}
