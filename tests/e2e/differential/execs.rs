//! What is done and asked with processes beside a container's first.

use super::life::{Life, Program};
use super::{Sequence, named};

/// All sequences.
pub fn all() -> Vec<(&'static str, Sequence)> {
    named![
        exec_lives_beside,
        exec_is_killed,
        exec_in_a_created_container,
        exec_in_a_paused_container,
        exec_paused_before_its_start,
        exec_in_a_stopped_container,
        exec_stopped_before_its_start,
        exec_ends_with_the_first,
        exec_and_unknown_ids,
        exec_killed_before_its_start,
        exec_deleted_before_its_start,
        exec_of_a_name_that_is_taken,
        exec_deleted_while_it_runs,
        exec_started_twice,
        exec_after_its_end,
        exec_keeps_no_container_from_deletion,
    ]
}

/// A container with a process beside its first that runs.
fn with_exec(life: &mut Life<'_>, program: Program) {
    life.started(Program::Sleep);
    life.exec(program);
    life.start_exec();
}

fn exec_lives_beside(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.exec(Program::Exit(5));
    life.state_of_exec();
    life.start_exec();
    life.wait_for_exec();
    life.state_of_exec();
    life.delete_exec();
    life.state_of_exec();
    life.delete_exec();
    life.state();
}

fn exec_is_killed(life: &mut Life<'_>) {
    with_exec(life, Program::Sleep);
    life.state_of_exec();
    life.pids();
    life.close_stdin_of_exec();
    life.resize_exec();
    life.kill_exec(9);
    life.wait_for_exec();
    life.kill_exec(9);
    life.state();
    life.delete_exec();
}

fn exec_in_a_created_container(life: &mut Life<'_>) {
    life.created(Program::Sleep);
    life.exec(Program::Exit(0));
    life.state_of_exec();
    life.start();
    life.start_exec();
    life.wait_for_exec();
    life.delete_exec();
}

fn exec_in_a_paused_container(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.pause();
    life.exec(Program::Exit(0));
    life.state();
    life.resume();
}

fn exec_paused_before_its_start(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.exec(Program::Exit(0));
    life.pause();
    life.resume();
    life.start_exec();
    life.wait_for_exec();
}

fn exec_in_a_stopped_container(life: &mut Life<'_>) {
    life.stopped(Program::Sleep);
    life.exec(Program::Exit(0));
}

fn exec_stopped_before_its_start(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.exec(Program::Exit(0));
    life.kill(9);
    life.until_stopped();
    life.start_exec();
    life.delete_exec();
}

fn exec_ends_with_the_first(life: &mut Life<'_>) {
    with_exec(life, Program::Sleep);
    life.kill(9);
    life.until_stopped();
    life.wait();
    life.wait_for_exec();
    life.state_of_exec();
    life.delete_exec();
    life.delete();
}

fn exec_and_unknown_ids(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.of_another_exec();
    life.start_exec();
    life.state_of_exec();
    life.kill_exec(9);
    life.wait_for_exec();
    life.close_stdin_of_exec();
    life.resize_exec();
    life.delete_exec();
    life.of_another();
    life.exec(Program::Exit(0));
    life.start_exec();
    life.delete_exec();
}

fn exec_killed_before_its_start(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.exec(Program::Sleep);
    life.kill_exec(9);
    life.state_of_exec();
    life.close_stdin_of_exec();
    life.resize_exec();
}

fn exec_deleted_before_its_start(life: &mut Life<'_>) {
    life.started(Program::Sleep);
    life.exec(Program::Sleep);
    life.delete_exec();
    life.start_exec();
    life.exec(Program::Exit(1));
    life.start_exec();
    life.wait_for_exec();
}

fn exec_of_a_name_that_is_taken(life: &mut Life<'_>) {
    with_exec(life, Program::Sleep);
    life.exec(Program::Exit(0));
    life.kill_exec(9);
    life.wait_for_exec();
    life.exec(Program::Exit(0));
}

fn exec_deleted_while_it_runs(life: &mut Life<'_>) {
    with_exec(life, Program::Sleep);
    life.delete_exec();
    life.state_of_exec();
}

fn exec_started_twice(life: &mut Life<'_>) {
    with_exec(life, Program::Sleep);
    life.start_exec();
    life.state_of_exec();
}

fn exec_after_its_end(life: &mut Life<'_>) {
    with_exec(life, Program::Exit(0));
    life.wait_for_exec();
    life.start_exec();
    life.kill_exec(15);
    life.close_stdin_of_exec();
    life.resize_exec();
}

fn exec_keeps_no_container_from_deletion(life: &mut Life<'_>) {
    with_exec(life, Program::Sleep);
    life.delete();
    life.kill_all(9);
    life.until_stopped();
    life.delete();
    life.state_of_exec();
}
