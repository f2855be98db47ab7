//! Commands at the same time: one of them wins, and the others say why not.

use std::process::Stdio;

use libtest_mimic::Trial;

use super::bundle::Program::Sleep;
use super::life::{Life, PATIENCE};
use super::runtime::{Runtime, Subject};
use crate::support::command::{eventually, status_code};
use crate::support::leaks;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        one_of_many_creates_wins,
        one_of_many_starts_wins,
        many_deletes_leave_nothing,
        twenty_containers_live_at_once,
    ]
}

const OURS: [Subject; 2] = [Subject::Linux, Subject::Wasm];
const MANY: usize = 6;

/// The command `ARGS` many times at once: how often it succeeded, and what the others said.
#[track_caller]
fn at_once(runtime: &Runtime, args: &[&str]) -> (usize, Vec<String>) {
    let children: Vec<_> = (0..MANY)
        .map(|number| {
            let errors = runtime.dir.join(format!("errors-{number}"));
            let file = std::fs::File::create(&errors).unwrap();
            let mut command = runtime.subject.program();
            command.arg("--root").arg(runtime.root()).args(args).current_dir(&runtime.dir);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
            (command.spawn().unwrap(), errors)
        })
        .collect();
    let ends = children.into_iter().map(|(mut child, errors)| {
        let status = status_code(child.wait().unwrap());
        (status, std::fs::read_to_string(errors).unwrap())
    });
    let (won, lost): (Vec<_>, Vec<_>) = ends.partition(|(status, _)| *status == 0);
    (won.len(), lost.into_iter().map(|(_, said)| said).collect())
}

fn one_of_many_creates_wins() {
    for subject in OURS {
        let life = Life::new(subject);
        life.bundle(Sleep);
        for _ in 0..3 {
            let (won, said) = at_once(&life.runtime, &["create", "--bundle", "bundle", &life.id]);
            assert_eq!(won, 1, "{subject:?}: {said:#?}");
            assert!(said.iter().all(|said| said.contains("already exists")), "{said:#?}");
            assert_eq!(life.status(), "created");
            life.quietly(&["start", &life.id]).expect_success();
            life.quietly(&["delete", "--force", &life.id]).expect_success();
        }
        life.end();
    }
}

fn one_of_many_starts_wins() {
    for subject in OURS {
        let mut life = Life::new(subject);
        for _ in 0..3 {
            life.created(Sleep);
            let (won, said) = at_once(&life.runtime, &["start", &life.id]);
            assert_eq!(won, 1, "{subject:?}: {said:#?}");
            assert!(said.iter().all(|said| said.contains("running")), "{said:#?}");
            assert_eq!(life.status(), "running");
            life.delete_by_force();
        }
        life.end();
    }
}

fn many_deletes_leave_nothing() {
    for subject in OURS {
        let mut life = Life::new(subject);
        life.stopped();
        let (won, said) = at_once(&life.runtime, &["delete", &life.id]);
        assert_eq!(won, 1, "{subject:?}: {said:#?}");
        assert!(said.iter().all(|said| said.contains("does not exist")), "{said:#?}");
        // By force it is done when it is gone, whoever did it.
        life.started(Sleep);
        let (won, said) = at_once(&life.runtime, &["delete", "--force", &life.id]);
        assert_eq!(won, MANY, "{subject:?}: {said:#?}");
        life.end();
    }
}

fn twenty_containers_live_at_once() {
    let lives: Vec<Life> = (0..20).map(|number| Life::new(OURS[number % 2])).collect();
    // All of them in one state directory.
    let root = lives[0].runtime.dir.join("root");
    let verb = |verb: &str, life: &Life, args: &[&str]| {
        let mut command = life.runtime.subject.program();
        command.arg("--root").arg(&root).arg(verb).args(args).current_dir(&life.runtime.dir);
        life.runtime.end(command)
    };
    std::thread::scope(|threads| {
        for life in &lives {
            threads.spawn(|| {
                life.bundle(Sleep);
                verb("create", life, &["--bundle", "bundle", &life.id]).expect_success();
                verb("start", life, &[&life.id]).expect_success();
            });
        }
    });
    let listed = lives[0].quietly(&["list", "--quiet"]).expect_success().text();
    let mut ids: Vec<&str> = lives.iter().map(|life| life.id.as_str()).collect();
    ids.sort_unstable();
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ids);
    std::thread::scope(|threads| {
        for life in &lives {
            threads.spawn(|| {
                verb("kill", life, &[&life.id, "KILL"]).expect_success();
                let deleted = || verb("delete", life, &[&life.id]).status == 0;
                assert!(eventually(PATIENCE, deleted), "{}: it stays", life.id);
            });
        }
    });
    let left: Vec<_> = leaks::entries(&root).collect();
    assert!(left.is_empty(), "{left:?}");
    lives.into_iter().for_each(|life| drop(life.end()));
}
