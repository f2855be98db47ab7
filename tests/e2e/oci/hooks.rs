//! Hooks: in which order, and what they are told.

use std::fs;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::bundle::Program::Sleep;
use super::life::Life;
use super::runtime::Subject;
use crate::support::spec::directory;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![hooks_run_in_order_with_the_state_of_the_container]
}

/// Kinds, after which command they have run, and the status that they may be told.
const KINDS: [(&str, &str, &[&str]); 6] = [
    ("prestart", "create", &["creating", "created"]),
    ("createRuntime", "create", &["creating", "created"]),
    ("createContainer", "create", &["creating", "created"]),
    ("startContainer", "start", &["creating", "created", "starting"]),
    ("poststart", "start", &["running"]),
    ("poststop", "delete", &["stopped"]),
];

fn hooks_run_in_order_with_the_state_of_the_container() {
    // runc 1.1 runs poststart hooks in create, and crun 1.8 before the startContainer hooks or after them.
    for subject in [Subject::Linux, Subject::Wasm] {
        let mut life = Life::new(subject);
        let dir = directory();
        let log = dir.path().join("log");
        fs::write(&log, "").unwrap();
        let mut config = life.config(Sleep);
        for (kind, ..) in KINDS {
            let script = format!("state=$(cat); echo \"{kind} $state\" >>{}", log.display());
            config["hooks"][kind] = json!([{
                "path": "/bin/sh",
                "args": ["sh", "-c", script],
                "env": ["PATH=/bin:/usr/bin"],
            }]);
        }
        // Those that run inside write there, too.
        let mounts = config["mounts"].as_array_mut().unwrap();
        let path = dir.path();
        mounts.push(json!({"destination": path, "type": "bind", "source": path, "options": ["rbind", "rw"]}));
        life.write_config(&config);

        let told = || {
            let text = fs::read_to_string(&log).unwrap();
            let entry = |line: &str| {
                let (kind, state) = line.split_once(' ').expect("a kind and a state");
                let state: Value = serde_json::from_str(state)
                    .unwrap_or_else(|e| panic!("{subject:?}: {e}: {text}"));
                (kind.to_owned(), state)
            };
            let mut entries = text.lines().map(entry).collect::<Vec<_>>();
            // libcontainer does not wait for the one before it runs the other.
            let early = entries.iter().position(|(kind, _)| kind == "poststart");
            if let Some(early) = early.filter(|_| subject == Subject::Linux)
                && entries.get(early + 1).is_some_and(|(kind, _)| kind == "startContainer")
            {
                entries.swap(early, early + 1);
            }
            entries
        };
        let ran = |verb: &str| {
            let verbs = ["create", "start", "delete"];
            let done = verbs.iter().position(|it| *it == verb).unwrap();
            let expected = KINDS.iter().filter(|(_, when, _)| verbs[..=done].contains(when));
            let expected: Vec<&str> = expected.map(|(kind, ..)| *kind).collect();
            let told = told();
            let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
            assert_eq!(kinds, expected, "{subject:?}, after {verb}");
        };
        life.create();
        ran("create");
        let pid = life.pid();
        life.start();
        ran("start");
        life.kill_to_end(&["KILL"]);
        life.delete();
        ran("delete");
        for ((kind, state), (_, _, statuses)) in told().iter().zip(KINDS) {
            let status = state["status"].as_str().expect("a status");
            assert!(statuses.contains(&status), "{subject:?}, {kind}: {state}");
            assert_eq!(state["id"], life.id.as_str(), "{subject:?}, {kind}");
            let bundle = life.runtime.dir.join("bundle").display().to_string();
            assert_eq!(state["bundle"], bundle, "{subject:?}, {kind}");
            let color = &state["annotations"]["test.example/color"];
            assert_eq!(color, "green", "{subject:?}, {kind}");
            // libcontainer does not tell those that run inside.
            let inside = ["createContainer", "startContainer"].contains(&kind.as_str());
            if kind != "poststop" && !(inside && subject == Subject::Linux) {
                assert_eq!(state["pid"], pid, "{subject:?}, {kind}");
            }
        }
        life.end();
    }
}
