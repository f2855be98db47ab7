//! The same by a plain user, who has no other ids than their own, and nobody's help.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use super::Here;
use crate::support::command::{Output, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::rootless::USER;
use crate::support::suite::Suite;
use crate::support::trials::plain_trials;

pub(super) fn tests() -> Vec<Trial> {
    plain_trials![
        a_plain_user_runs_files_and_images,
        what_takes_rights_is_refused,
        a_plain_users_detached_one_is_found,
    ]
}

/// The home of a plain user.
fn home() -> Here {
    let here = Here::new();
    chown(here.path(""), Some(USER), Some(USER)).unwrap();
    for dir in ["run", "data"] {
        fs::create_dir(here.path(dir)).unwrap();
        chown(here.path(dir), Some(USER), Some(USER)).unwrap();
    }
    here
}

#[track_caller]
fn lighter(here: &Here, args: &[&str]) -> Output {
    let user = USER.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(Suite::get().program("lighter"))
        .args(args)
        .env_remove("LIGHTER_CONFIG")
        .env_remove("XDG_DATA_HOME")
        .env("HOME", here.path(""))
        .env("XDG_RUNTIME_DIR", here.path("run"))
        .current_dir(here.path(""));
    run(&mut command, b"", LIMIT)
}

fn is_clean(here: &Here) {
    let state = here.path("run/lighter");
    let left = |dir: &Path| fs::read_dir(dir).into_iter().flatten().count();
    assert_eq!((left(&state), left(&state.join(".run"))), (1, 0));
}

fn a_plain_user_runs_files_and_images() {
    let here = home();
    here.file("probe.wasm", guests::probe("probe"));
    Image::guest("probe", &guests::probe("probe")).write(&here.path("probe.tar")).unwrap();
    for program in ["./probe.wasm", "probe.tar"] {
        let args = [
            "run",
            "-v",
            "./data:/data",
            program,
            "write /data/new text",
            "cat /data/new",
            "write /new x",
        ];
        let output = lighter(&here, &args).expect_success();
        let text = output.text();
        assert!(text.contains("cat /data/new: text\n"), "{output}");
        assert_eq!(text.contains("write /new x: ok"), program == "probe.tar", "{output}");
        assert_eq!(output.errors(), "");
        let written = fs::metadata(here.path("data/new")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&written), USER);
    }
    let alone = lighter(&here, &["run", "--network", "none", "./probe.wasm", "ls /"]);
    assert_eq!(alone.expect_success().text(), "ls /: probe.wasm\n");
    is_clean(&here);
}

fn what_takes_rights_is_refused() {
    let here = home();
    here.file("hello.wasm", guests::module("hello"));
    for (flags, words) in [
        (&["-m", "64m"][..], "linux.resources.memory"),
        (&["-u", "1000"], "without root there is one user, 0:0"),
    ] {
        let output =
            lighter(&here, &[&["run"], flags, &["./hello.wasm"]].concat()).expect_status(125);
        assert!(output.errors().contains(words), "no {words:?} in: {output}");
    }
    // The engine's own limits take none.
    let flags =
        ["run", "--annotation", "io.lighter.limits.memory=64Mi", "--timeout", "9", "./hello.wasm"];
    lighter(&here, &flags).expect_success();
    is_clean(&here);
}

fn a_plain_users_detached_one_is_found() {
    let here = home();
    here.file("nap.wasm", guests::module("nap"));
    lighter(&here, &["run", "-d", "--name", "left", "./nap.wasm", "1000"]).expect_success();
    let list = lighter(&here, &["list"]).expect_success().text();
    assert!(list.contains("left") && list.contains("running"), "{list}");
    lighter(&here, &["delete", "--force", "left"]).expect_success();
    is_clean(&here);
}
