//! AppArmor profiles, on a machine whose kernel has them switched on: only with `LIGHTER_LSM=apparmor`, which
//! `make vm-test` sets for the virtual machine with Debian's own kernel.

use std::process::Command;

use libtest_mimic::Trial;

use crate::support::command;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::probe;
use crate::support::process::Process;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![a_profile_holds, a_profile_that_is_not_loaded_is_refused]
}

/// Everything that a container may do by itself, but for one directory.
const PROFILE: &str = "profile lighter-test flags=(attach_disconnected,mediate_deleted) {
  file,
  network,
  signal,
  deny /denied/** rwkl,
}
";

/// Loads the profile.
///
/// # Panics
/// Where there is no AppArmor, or no `apparmor_parser`.
#[track_caller]
fn load() {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    assert_eq!(enabled.as_deref().map(str::trim).ok(), Some("Y"), "AppArmor is not switched on");
    let mut parser = Command::new("apparmor_parser");
    parser.args(["--replace", "--skip-cache"]);
    command::run(&mut parser, PROFILE.as_bytes(), LIMIT).expect_success();
}

fn a_profile_holds(namespace: &Namespace<'_>) {
    load();
    let flags = ["--apparmor-profile", "lighter-test"];
    let image = Image::guest("sleep", &guests::module("sleep"));
    namespace.run_detached(&image, "held", &flags, &["/sleep.wasm", "1000"]).expect_success();
    let process = Process::of(namespace.task_pid("held").expect("it runs"));
    assert_eq!(process.text("attr/apparmor/current").trim(), "lighter-test (enforce)");

    let image = probe::image().file("/denied/file", b"x").file("/allowed/file", b"x");
    let requests = ["read /allowed/file", "read /denied/file", "create /denied/new", "create /new"];
    let answers = probe::run(namespace, &image, &flags, &requests);
    for (request, answer) in requests.iter().zip(["ok", "EACCES", "EACCES", "ok"]) {
        assert_eq!(answers.to(request), answer, "{request}: {}", answers.output);
    }
    let answers = probe::run(namespace, &image, &[], &requests);
    assert_eq!(answers.to("read /denied/file"), "ok", "without the profile: {}", answers.output);
}

fn a_profile_that_is_not_loaded_is_refused(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::module("hello"));
    let flags = ["--apparmor-profile", "lighter-test-none"];
    let error = namespace.run_with(&image, &flags, &[], b"").expect_failure();
    let words = "process.apparmorProfile \"lighter-test-none\": no such profile is loaded";
    assert!(error.contains(words), "{error}");
    crate::support::remains::nothing_remains(namespace);
}
