//! The command line itself: what is refused before anything is done, options of all commands, and commands about none.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Trial;
use serde_json::Value;

use super::bundle::Program::{Exit, Missing, Sleep};
use super::bundle::{group, rootfs};
use super::life::Life;
use super::runtime::Subject;
use crate::frontends::page;
use crate::support::leaks;
use crate::support::suite::Suite;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        what_makes_no_sense_is_refused,
        names_never_lead_out_of_the_state_directory,
        signals_are_named_in_any_case,
        without_a_log_reasons_go_to_standard_error,
        a_log_is_text_if_asked_for,
        the_state_directory_is_private,
        the_version_and_the_features_are_told,
        a_specification_that_is_made_runs,
        control_groups_can_be_left_alone,
        the_page_is_true,
    ]
}

const OURS: [Subject; 2] = [Subject::Linux, Subject::Wasm];

fn the_page_is_true() {
    let suite = Suite::get();
    let path = suite.path_variable().into_string().expect("PATH is text");
    let configuration = suite.node_configuration().display().to_string();
    page::run("oci.md", &[("PATH", path), ("LIGHTER_CONFIG", configuration)]);
}

fn what_makes_no_sense_is_refused() {
    let life = Life::new(Subject::Wasm);
    life.bundle(Sleep);
    for args in [
        &["create"][..],
        &["create", "--bundle"],
        &["create", "--bundle", "bundle"],
        &["create", "--bundle", "bundle", "one", "two"],
        &["create", "--unknown", "--bundle", "bundle", "one"],
        &["start"],
        &["start", "one", "two"],
        &["state"],
        &["kill"],
        &["delete"],
        &["delete", "--force"],
        &["pause"],
        &["exec"],
        &["exec", "one"],
        &["ps"],
        &["list", "--format", "xml"],
        &["update", "--resources"],
        &["unknown"],
        &["--log-format", "xml", "state", "one"],
        &["--cgroup-manager", "unknown", "state", "one"],
        &["--log", "nowhere/log", "state", "one"],
        &["checkpoint", "one"],
    ] {
        let output = life.runtime.run(args);
        let errors = output.errors();
        assert!([1, 2, 255].contains(&output.status), "{output}");
        assert!(!errors.is_empty() && !errors.contains("panicked"), "{output}");
        let left: Vec<_> = leaks::entries(&life.runtime.root()).collect();
        assert!(left.is_empty(), "{args:?} leaves {left:?}");
    }
    life.end();
}

fn names_never_lead_out_of_the_state_directory() {
    let mut life = Life::new(Subject::Wasm);
    life.created(Sleep);
    let outside = life.runtime.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("state.json"), "{}").unwrap();
    let absolute = outside.display().to_string();
    for name in ["", ".", "..", "../outside", "./outside", "x/../..", &absolute] {
        for args in [
            &["delete", "--force", name][..],
            &["delete", name],
            &["kill", name, "KILL"],
            &["state", name],
        ] {
            let output = life.quietly(args);
            assert!(output.status != 0, "{output}");
            assert!(output.errors().contains(&format!("{name:?}")), "{output}");
        }
        assert!(outside.join("state.json").exists());
        assert_eq!(life.status(), "created");
    }
    life.end();
}

fn signals_are_named_in_any_case() {
    for name in ["kill", "sigkill", "SigKill"] {
        let mut life = Life::new(Subject::Wasm);
        life.started(Sleep);
        life.quietly(&["kill", &life.id, name]).expect_success();
        life.until_stopped();
        life.end();
    }
}

fn without_a_log_reasons_go_to_standard_error() {
    for subject in OURS {
        let life = Life::new(subject);
        life.bundle(Missing);
        let mut command = subject.program();
        command
            .arg("--root")
            .arg(life.runtime.root())
            .args(["create", "--bundle", "bundle", &life.id]);
        command.current_dir(&life.runtime.dir);
        let errors = life.runtime.end(command).expect_failure();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(&Missing.args(subject)[0]), "{errors}");
        life.end();
    }
}

fn a_log_is_text_if_asked_for() {
    let life = Life::new(Subject::Wasm);
    let args = ["--log-format", "text", "state", "unknown"];
    assert!(life.runtime.run(&args).status != 0);
    let log = life.runtime.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("does not exist") && !log.starts_with('{'), "{log}");
    life.end();
}

fn the_state_directory_is_private() {
    let mut life = Life::new(Subject::Wasm);
    life.created(Sleep);
    for dir in [life.runtime.root(), life.runtime.root().join(&life.id)] {
        let mode = fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", dir.display());
    }
    life.end();
}

fn the_version_and_the_features_are_told() {
    let life = Life::new(Subject::Wasm);
    let version = life.runtime.run(&["--version"]).expect_success().text();
    assert!(version.starts_with("lighter ") && version.contains("spec: 1."), "{version}");
    let output = life.runtime.run(&["features"]).expect_success();
    let features: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for field in ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"] {
        assert!(!features[field].is_null(), "no {field} in {features}");
    }
    life.end();
}

fn a_specification_that_is_made_runs() {
    for subject in [Subject::Runc, Subject::Crun, Subject::Linux, Subject::Wasm] {
        let life = Life::new(subject);
        let bundle = life.runtime.dir.join("bundle");
        fs::create_dir(&bundle).unwrap();
        life.runtime.run(&["spec", "--bundle", "bundle"]).expect_success();
        // What is there is nobody's to replace.
        assert!(life.runtime.run(&["spec", "--bundle", "bundle"]).status != 0, "{subject:?}");
        let text = fs::read(bundle.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        config["process"]["args"] = Exit(9).args(subject).into();
        config["process"]["terminal"] = false.into();
        config["root"]["path"] = rootfs().to_str().into();
        config["linux"]["cgroupsPath"] = format!("/{}/{}", group(), life.id).into();
        life.write_config(&config);
        life.quietly(&["run", "--bundle", "bundle", &life.id]).expect_status(9);
        life.end();
    }
}

fn control_groups_can_be_left_alone() {
    let life = Life::new(Subject::Wasm);
    let mut config = life.config(Sleep);
    config["linux"]["resources"] = Value::Null;
    life.write_config(&config);
    let disabled = ["--cgroup-manager", "disabled"];
    let run = ["run", "--detach", "--bundle", "bundle", &life.id];
    life.runtime.run(&[&disabled[..], &run].concat()).expect_success();
    let groups = leaks::cgroups_named(|name| name == group());
    assert!(groups.iter().all(|group| !group.join(&life.id).exists()), "{groups:?}");
    life.end();
    // libcontainer makes one in any case.
    let life = Life::new(Subject::Linux);
    life.bundle(Sleep);
    let run = ["run", "--detach", "--bundle", "bundle", &life.id];
    let why = life.runtime.run(&[&disabled[..], &run].concat()).expect_failure();
    assert!(why.contains("a Linux container needs a control group"), "{why}");
    life.end();
}
