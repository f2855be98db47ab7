//! What the guest sees of its container, and how it changes it: arguments, environment, directory, user, volumes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        arguments_and_environment_arrive_in_order,
        a_program_is_found_in_path,
        a_named_export_runs_instead_of_start,
        the_working_directory_is_the_first_that_is_open,
        the_working_directory_is_in_the_environment,
        files_belong_to_the_containers_user,
        a_read_only_volume_refuses_writes,
        a_read_only_root_refuses_writes,
    ]
}

fn arguments_and_environment_arrive_in_order(namespace: &Namespace<'_>) {
    for guest in [guests::module("env"), guests::component("env")] {
        let image = Image::guest("env", &guest).env(&["FROM_IMAGE=1", "BOTH=image"]);
        let args = ["/env.wasm", "two words", "", "ünïcode"];
        let flags = ["--env", "FROM_FLAG=a=b", "--env", "BOTH=flag"];
        let text = namespace.run_with(&image, &flags, &args, b"").expect_success().text();
        let (given, environment) = text.split_at(args.join("\n").len() + 1);
        assert_eq!(given, args.join("\n") + "\n");
        let variables: Vec<_> = environment.lines().collect();
        let at = |variable: &str| variables.iter().position(|&v| v == variable);
        assert!(at("FROM_IMAGE=1").is_some(), "{text}");
        assert!(at("FROM_IMAGE=1") < at("FROM_FLAG=a=b"), "{text}");
        assert!(at("BOTH=flag").is_some() && at("BOTH=image").is_none(), "{text}");
    }
}

fn a_program_is_found_in_path(namespace: &Namespace<'_>) {
    let image = Image::new("example.test/path:latest")
        .file("/opt/tools/greet.wasm", &guests::module("hello"))
        .env(&["PATH=/nowhere:/opt/tools"])
        .entrypoint(&["greet.wasm"]);
    assert_eq!(namespace.run(&image, &[]).expect_success().text(), "hello\n");
}

fn a_named_export_runs_instead_of_start(namespace: &Namespace<'_>) {
    let image = Image::guest("export", &guests::module("export"));
    let output = namespace.run(&image, &["/export.wasm#greet"]).expect_success();
    assert_eq!(output.text(), "greetings\n");
}

fn the_working_directory_is_the_first_that_is_open(namespace: &Namespace<'_>) {
    let image = Image::guest("print-file", &guests::module("print-file"))
        .file("/srv/motd", b"of the day")
        .file("/motd", b"of the root");
    let args = ["/print-file.wasm", "motd"];
    assert_eq!(namespace.run(&image, &args).expect_success().text(), "of the root");
    let output = namespace.run_with(&image, &["--cwd", "/srv"], &args, b"").expect_success();
    assert_eq!(output.text(), "of the day");
    namespace
        .run_with(&image, &["--cwd", "/srv"], &["/print-file.wasm", "none"], b"")
        .expect_status(2);
}

/// Go's library, for one, takes it from there.
fn the_working_directory_is_in_the_environment(namespace: &Namespace<'_>) {
    let image = Image::guest("env", &guests::module("env")).directory("/srv", 0o755);
    let output = namespace.run_with(&image, &["--cwd", "/srv"], &[], b"").expect_success();
    assert!(output.text().lines().any(|line| line == "PWD=/srv"), "{output}");
}

fn files_belong_to_the_containers_user(namespace: &Namespace<'_>) {
    let image = Image::guest("visits", &guests::example("hello-rust")).user("1234:5678");
    let volume = volume();
    let mount = format!("type=bind,src={},dst=/data,options=rbind:rw", volume.path().display());
    let output = namespace.run_with(&image, &["--mount", &mount], &[], b"").expect_success();
    assert!(output.text().contains("this is visit 1 to /data"), "{output}");
    let file = fs::metadata(volume.path().join("visits")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (1234, 5678, 0o644));
    // And the next container finds what this one wrote.
    let output = namespace.run_with(&image, &["--mount", &mount], &[], b"").expect_success();
    assert!(output.text().contains("this is visit 2 to /data"), "{output}");
}

fn a_read_only_volume_refuses_writes(namespace: &Namespace<'_>) {
    let image = Image::guest("visits", &guests::example("hello-rust"));
    let volume = volume();
    fs::write(volume.path().join("visits"), "6\n").unwrap();
    let mount = format!("type=bind,src={},dst=/data,options=rbind:ro", volume.path().display());
    // It may read what is there.
    let output =
        namespace.run_with(&image, &["--mount", &mount], &["/visits.wasm", "/data/visits"], b"");
    assert!(output.text().contains("/data/visits: 6"), "{output}");
    let output = output.expect_status(1);
    assert!(output.errors().contains("Error: Os"), "{output}");
    assert_eq!(fs::read_to_string(volume.path().join("visits")).unwrap(), "6\n");
}

fn a_read_only_root_refuses_writes(namespace: &Namespace<'_>) {
    let image = Image::guest("visits", &guests::example("hello-rust")).directory("/data", 0o777);
    let output = namespace.run_with(&image, &[], &[], b"").expect_success();
    assert!(output.text().contains("this is visit 1 to /data"), "{output}");
    let output = namespace.run_with(&image, &["--read-only"], &[], b"").expect_status(1);
    assert!(output.errors().contains("Error: Os"), "{output}");
}

/// A directory on the host that any user may write to.
fn volume() -> TempDir {
    let dir = TempDir::new_in(Suite::get().scratch()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    dir
}
