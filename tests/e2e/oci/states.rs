//! What is told of a container: its state, the list of all, its processes, its pid file.

use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::bundle::Program::Sleep;
use super::life::Life;
use super::runtime::Subject;
use crate::support::process::Process;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        the_state_is_as_the_specification_says,
        lists_are_for_people_and_for_programs,
        processes_are_for_people_and_for_programs,
        pid_files_hold_a_number,
    ]
}

const ALL: [Subject; 4] = [Subject::Runc, Subject::Crun, Subject::Linux, Subject::Wasm];

fn the_state_is_as_the_specification_says() {
    for subject in ALL {
        let mut life = Life::new(subject);
        life.created(Sleep);
        let state = |status: &str| {
            let output = life.quietly(&["state", &life.id]).expect_success();
            let state: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
            assert_eq!(state["id"], life.id.as_str(), "{subject:?}");
            assert_eq!(state["status"], status, "{subject:?}");
            let bundle = state["bundle"].as_str().expect("a bundle");
            assert_eq!(Path::new(bundle), life.runtime.dir.join("bundle"), "{subject:?}");
            assert_eq!(state["annotations"], json!({"test.example/color": "green"}), "{subject:?}");
            // Beyond the specification, and looked for by programs that know runc.
            let created = state["created"].as_str().expect("when it was created");
            assert!(
                created.len() > 19 && created.ends_with('Z') && created.contains('T'),
                "{state}"
            );
            assert!(state["rootfs"].is_string() && state["owner"].is_string(), "{state}");
            state["pid"].as_u64()
        };
        let pid = state("created").expect("a pid");
        assert!(life.quietly(&["start", &life.id]).status == 0);
        assert_eq!(state("running"), Some(pid), "{subject:?}");
        let process = Process::of(u32::try_from(pid).unwrap());
        assert_ne!(process.namespace("pid"), Process::own().namespace("pid"), "{subject:?}");
        assert!(process.status("NSpid").ends_with(" 1"), "{subject:?}");
        life.quietly(&["pause", &life.id]).expect_success();
        assert_eq!(state("paused"), Some(pid), "{subject:?}");
        life.quietly(&["resume", &life.id]).expect_success();
        life.quietly(&["kill", &life.id, "KILL"]).expect_success();
        life.until_stopped();
        assert_eq!(state("stopped").unwrap_or_default(), 0, "{subject:?}: nobody has it any more");
        life.end();
    }
}

fn lists_are_for_people_and_for_programs() {
    for subject in ALL {
        let mut life = Life::new(subject);
        life.created(Sleep);
        let pid = life.pid();
        let text = life.quietly(&["list"]).expect_success().text();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 2, "{subject:?}: {text}");
        let heading = if subject == Subject::Crun { "NAME" } else { "ID" };
        assert_eq!(lines[0][..4], [heading, "PID", "STATUS", "BUNDLE"], "{subject:?}: {text}");
        let bundle = life.runtime.dir.join("bundle").display().to_string();
        let expected = [&*life.id, &pid.to_string(), "created", &bundle];
        assert_eq!(lines[1][..4], expected, "{subject:?}: {text}");
        let text = life.quietly(&["list", "--quiet"]).expect_success().text();
        assert_eq!(text, format!("{}\n", life.id), "{subject:?}");
        let output = life.quietly(&["list", "--format", "json"]).expect_success();
        let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(listed[0]["pid"], pid, "{subject:?}: {listed}");
        assert_eq!(listed[0]["bundle"], bundle.as_str(), "{subject:?}: {listed}");
        life.end();
    }
}

fn processes_are_for_people_and_for_programs() {
    for subject in ALL {
        let mut life = Life::new(subject);
        life.started(Sleep);
        let pid = life.pid();
        let output = life.quietly(&["ps", "--format", "json", &life.id]).expect_success();
        let pids: Vec<u32> = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(pids.contains(&pid), "{subject:?}: {pids:?}");
        let text = life.quietly(&["ps", &life.id]).expect_success().text();
        let mut lines = text.lines();
        let heading = lines.next().expect("a heading");
        assert!(heading.split_whitespace().any(|word| word == "PID"), "{subject:?}: {text}");
        let shown = |line: &str| line.split_whitespace().any(|word| word == pid.to_string());
        assert!(lines.any(shown), "{subject:?}: {text}");
        life.end();
    }
}

fn pid_files_hold_a_number() {
    for subject in ALL {
        let mut life = Life::new(subject);
        life.bundle(Sleep);
        let file = life.runtime.dir.join("pid");
        let id = life.id.clone();
        // crun takes one that is relative for one below the bundle.
        let path = file.display().to_string();
        let args = ["create", "--bundle", "bundle", "--pid-file", &path, &id];
        life.quietly(&args).expect_success();
        // Readers take it for a number as it is.
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, life.pid().to_string(), "{subject:?}");
        life.quietly(&["start", &id]).expect_success();
        assert!(life.exec_detached(Sleep), "{subject:?}: {}", life.runtime.log());
        let beside = std::fs::read_to_string(life.runtime.dir.join("beside")).unwrap();
        let namespace = |pid: &str| Process::of(pid.parse().expect("a pid")).namespace("pid");
        assert_ne!(beside, text, "{subject:?}");
        assert_eq!(namespace(&beside), namespace(&text), "{subject:?}");
        if subject.is_ours() {
            // Who fails to take its name does not touch it; with the others it is gone.
            life.quietly(&args).expect_failure();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{subject:?}");
        }
        life.end();
    }
}
