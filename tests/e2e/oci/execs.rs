//! What is done with processes beside a container's first.

use super::bundle::Program::{Directory, Exit, Forbidden, Missing, Sleep};
use super::life::Life;
use super::{Sequence, named};

/// All sequences.
pub fn all() -> Vec<(&'static str, Sequence)> {
    named![
        exec_to_its_end,
        exec_of_what_cannot_run,
        exec_detached_of_what_cannot_run,
        exec_in_each_state,
        exec_ends_with_the_container,
    ]
}

fn exec_to_its_end(life: &mut Life) {
    life.started(Sleep);
    for status in [0, 5, 255] {
        life.exec(Exit(status));
        life.exec_by_arguments(Exit(status));
    }
    life.state();
}

fn exec_of_what_cannot_run(life: &mut Life) {
    life.started(Sleep);
    for program in [Missing, Forbidden, Directory] {
        life.exec(program);
        life.exec_by_arguments(program);
    }
    life.state();
}

fn exec_detached_of_what_cannot_run(life: &mut Life) {
    life.started(Sleep);
    for program in [Missing, Forbidden, Directory] {
        life.exec_detached(program);
    }
}

fn exec_in_each_state(life: &mut Life) {
    life.created(Sleep);
    life.exec(Exit(4));
    life.start();
    life.pause();
    life.exec(Exit(4));
    life.resume();
    life.kill_to_end(&["KILL"]);
    life.exec(Exit(4));
    life.exec_detached(Sleep);
}

fn exec_ends_with_the_container(life: &mut Life) {
    life.started(Sleep);
    life.exec_detached(Sleep);
    let beside = std::fs::read_to_string(life.runtime.dir.join("beside")).expect("its pid file");
    let beside = beside.trim().parse().expect("a pid");
    let beside = crate::support::command::Process::open(beside).expect("it runs");
    life.delete();
    life.kill_to_end(&["KILL"]);
    assert!(beside.ends_within(super::life::PATIENCE), "{:?}: it goes on", life.subject());
    life.delete();
}
