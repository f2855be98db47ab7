//! Containers that cannot be: each is refused by its creation, and leaves nothing behind, not even its name.

use serde_json::{Value, json};

use super::bundle::Program::{Directory, Forbidden, Missing, Sleep};
use super::life::Life;
use super::{Sequence, named};

/// All sequences.
pub fn all() -> Vec<(&'static str, Sequence)> {
    named![
        programs_that_cannot_run,
        programs_that_cannot_run_at_once,
        a_bundle_that_is_not_there,
        configurations_that_are_none,
        configurations_that_lack_something,
        names_that_are_none,
        a_pid_file_that_cannot_be_written,
        files_to_preserve_that_are_not_there,
        terminals_that_nobody_takes,
        a_prestart_hook_fails,
        a_create_runtime_hook_fails,
        a_create_container_hook_fails,
        a_start_container_hook_fails,
        a_poststart_hook_fails,
        a_poststop_hook_fails,
    ]
}

/// Creates it, which fails or does not; then another can be created under the same name.
fn refused(life: &mut Life) {
    life.create();
    life.delete_by_force();
}

fn programs_that_cannot_run(life: &mut Life) {
    for program in [Missing, Forbidden, Directory] {
        life.bundle(program);
        refused(life);
    }
    life.created(Sleep);
}

fn programs_that_cannot_run_at_once(life: &mut Life) {
    for program in [Missing, Forbidden, Directory] {
        life.bundle(program);
        life.run();
    }
}

fn a_bundle_that_is_not_there(life: &mut Life) {
    life.create();
    let id = life.id.clone();
    std::fs::create_dir(life.runtime.dir.join("empty")).unwrap();
    life.command("create in an empty directory", &["create", "--bundle", "empty", &id]);
    life.bundle(Sleep);
    let file = "bundle/config.json";
    life.command("create in a file", &["create", "--bundle", file, &id]);
    // Without --bundle it is the current directory.
    life.command("create here", &["create", &id]);
    life.create();
}

fn configurations_that_are_none(life: &mut Life) {
    for text in ["", "{", "null", "[]", "\"text\"", "{}", "{\"process\": 7}"] {
        life.bundle(Sleep);
        std::fs::write(life.runtime.dir.join("bundle/config.json"), text).unwrap();
        refused(life);
    }
}

fn configurations_that_lack_something(life: &mut Life) {
    let good = life.config(Sleep);
    for (pointer, value) in [
        ("/ociVersion", Value::Null),
        ("/ociVersion", json!("9.0.0")),
        ("/process", Value::Null),
        ("/process/args", json!([])),
        ("/process/args", Value::Null),
        ("/process/cwd", json!("relative")),
        ("/process/cwd", Value::Null),
        ("/root", Value::Null),
        ("/root/path", json!("/nonexistent")),
        ("/linux/namespaces", json!([{"type": "spacetime"}])),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "mount"}])),
        ("/linux/resources/pids/limit", json!("many")),
    ] {
        let mut config = good.clone();
        *config.pointer_mut(pointer).expect("it is there") = value;
        life.write_config(&config);
        refused(life);
    }
}

fn names_that_are_none(life: &mut Life) {
    life.bundle(Sleep);
    let long = "x".repeat(300);
    for name in ["", ".", "..", "a/b", "../a", "/a", "a b", "ä", "a\nb", "a:b", "a%b", &long] {
        // What runc and crun have made of one is nobody else's.
        life.command(&format!("create {name:?}"), &["create", "--bundle", "bundle", name]);
        if is_plain(name) {
            life.quietly(&["delete", "--force", name]);
        }
    }
}

/// Whether it leads to no other directory: runc and crun delete what they are told.
fn is_plain(name: &str) -> bool {
    !["", ".", ".."].contains(&name) && !name.contains('/')
}

fn a_pid_file_that_cannot_be_written(life: &mut Life) {
    life.bundle(Sleep);
    let id = life.id.clone();
    let args = ["create", "--bundle", "bundle", "--pid-file", "nowhere/pid", &id];
    life.command("create", &args);
    life.delete_by_force();
}

fn files_to_preserve_that_are_not_there(life: &mut Life) {
    life.bundle(Sleep);
    let id = life.id.clone();
    for number in ["7", "many"] {
        let args = ["create", "--bundle", "bundle", "--preserve-fds", number, &id];
        life.command(&format!("create --preserve-fds {number}"), &args);
        life.delete_by_force();
    }
}

fn terminals_that_nobody_takes(life: &mut Life) {
    let mut config = life.config(Sleep);
    let id = life.id.clone();
    let with_socket = ["create", "--bundle", "bundle", "--console-socket", "nowhere", &id];
    for terminal in [true, false] {
        config["process"]["terminal"] = terminal.into();
        life.write_config(&config);
        life.command(
            &format!("create, terminal: {terminal}, a socket that is not there"),
            &with_socket,
        );
        life.delete_by_force();
    }
    config["process"]["terminal"] = true.into();
    life.write_config(&config);
    life.command("create, terminal: true, no socket", &["create", "--bundle", "bundle", &id]);
    life.delete_by_force();
}

fn a_prestart_hook_fails(life: &mut Life) {
    with_failing_hook(life, "prestart");
}

fn a_create_runtime_hook_fails(life: &mut Life) {
    with_failing_hook(life, "createRuntime");
}

fn a_create_container_hook_fails(life: &mut Life) {
    with_failing_hook(life, "createContainer");
}

fn a_start_container_hook_fails(life: &mut Life) {
    with_failing_hook(life, "startContainer");
}

fn a_poststart_hook_fails(life: &mut Life) {
    with_failing_hook(life, "poststart");
}

fn a_poststop_hook_fails(life: &mut Life) {
    with_failing_hook(life, "poststop");
}

fn with_failing_hook(life: &mut Life, kind: &str) {
    let hook = json!({
        "path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; exit 3"], "env": ["PATH=/bin:/usr/bin"],
    });
    let mut config = life.config(Sleep);
    config["hooks"] = json!({kind: [hook]});
    life.write_config(&config);
    life.create();
    life.start_unseen();
    if life.settled_status() == "running" {
        life.quietly(&["kill", &life.id, "KILL"]);
        life.until_stopped();
    }
    life.state();
    life.delete();
}
