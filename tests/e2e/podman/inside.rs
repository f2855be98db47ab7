//! What a guest finds inside: files, names, ports, its user and environment.

use std::os::unix::fs::{MetadataExt, chown};

use libtest_mimic::Trial;

use super::node::Podman;
use super::podman_trials;
use crate::frontends::converse;
use crate::support::process::Process;
use crate::support::spec::directory;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![
        volumes_are_its_directories,
        a_volume_is_given_to_its_user,
        roots_are_read_only_and_tmpfs_are_not,
        user_environment_and_host_name_are_as_said,
        names_are_as_the_command_says,
        a_published_port_leads_to_it,
        its_ids_are_those_of_a_user_namespace,
        annotations_set_limits,
    ]
}

const NO_NETWORK: [&str; 2] = ["--net", "none"];

fn volumes_are_its_directories(podman: &Podman) {
    let dir = directory();
    std::fs::write(dir.path().join("note"), "from the host\n").unwrap();
    let host = dir.path().display();
    // (Labels, `z`, are for SELinux, and nothing without it.)
    let (rw, ro) = (format!("{host}:/rw:z"), format!("{host}:/ro:ro"));
    let flags = [&NO_NETWORK[..], &["-v", &rw, "-v", &ro]].concat();
    let requests = ["cat /ro/note", "write /ro/new text", "write /rw/new text", "cat /ro/new"];
    let answers = podman.ask(&flags, &requests);
    assert_eq!(answers[0], "from the host");
    assert!(answers[1].starts_with("error: "), "{answers:?}");
    assert_eq!(answers[2..], ["ok", "text"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("new")).unwrap(), "text\n");

    // A volume of Podman's own outlives its containers.
    let flags = [&NO_NETWORK[..], &["-v", "kept:/kept"]].concat();
    assert_eq!(podman.ask(&flags, &["write /kept/it text"]), ["ok"]);
    assert_eq!(podman.ask(&flags, &["cat /kept/it"]), ["text"]);
    podman.call(&["volume", "rm", "kept"]).expect_success();
}

fn a_volume_is_given_to_its_user(podman: &Podman) {
    let dir = directory();
    let volume = format!("{}:/its:U", dir.path().display());
    let flags = [&NO_NETWORK[..], &["--user", "4711:4712", "-v", &volume]].concat();
    assert_eq!(podman.ask(&flags, &["write /its/file text"]), ["ok"]);
    let owner = |path| std::fs::metadata(path).map(|made| (made.uid(), made.gid())).unwrap();
    assert_eq!(owner(dir.path().join("file")), (4711, 4712));
    assert_eq!(owner(dir.path().into()), (4711, 4712));
}

fn roots_are_read_only_and_tmpfs_are_not(podman: &Podman) {
    assert_eq!(
        podman.ask(&NO_NETWORK, &["write /data/file text", "cat /data/file"]),
        ["ok", "text"]
    );
    let flags = [&NO_NETWORK[..], &["--read-only", "--tmpfs", "/scratch:size=1m"]].concat();
    let requests = ["write /data/file text", "ls /scratch", "fill /scratch/full 2097152"];
    let answers = podman.ask(&flags, &requests);
    assert!(answers[0].starts_with("error: "), "{answers:?}");
    assert_eq!(answers[1], "");
    assert!(answers[2].ends_with(" after 1024 KiB"), "{answers:?}");
}

fn user_environment_and_host_name_are_as_said(podman: &Podman) {
    let image = podman.guest("env");
    let flags = ["--rm", "--net", "none", "--env", "NAME=value", "--hostname", "box"];
    let output = podman.run(&[&flags[..], &[&image, "argument"]].concat()).expect_success();
    let text = output.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["/env.wasm", "argument"]);
    assert!(lines.contains(&"NAME=value") && lines.contains(&"HOSTNAME=box"), "{output}");

    let dir = directory();
    chown(dir.path(), Some(4711), None).unwrap();
    let volume = format!("{}:/its", dir.path().display());
    let flags = ["--user", "4711:4712", "--workdir", "/its", "-v", &volume];
    let flags = [&flags[..], &["--entrypoint", "../probe.wasm"]].concat();
    let requests = ["write /its/file text", "write /data/file text"];
    let answers = podman.ask(&[&NO_NETWORK[..], &flags].concat(), &requests);
    assert_eq!(answers, ["ok", "error: permission denied"]);
    assert_eq!(std::fs::metadata(dir.path().join("file")).unwrap().uid(), 4711);
}

fn names_are_as_the_command_says(podman: &Podman) {
    let flags = ["--add-host", "db.example.test:10.1.2.3"];
    assert_eq!(podman.ask(&flags, &["lookup db.example.test"]), ["10.1.2.3"]);
    let image = podman.probe();
    let flags = ["--rm", "--dns", "192.0.2.53", "--dns-search", "example.test"];
    let output = podman.run(&[&flags[..], &[&image, "cat /etc/resolv.conf"]].concat());
    let text = output.expect_success().text();
    assert!(
        text.contains("nameserver 192.0.2.53") && text.contains("search example.test"),
        "{text}"
    );
}

fn a_published_port_leads_to_it(podman: &Podman) {
    let image = podman.probe();
    let serve = ["-d", "--name", "server", "-p", "127.0.0.1::7000", &image, "echo 0.0.0.0:7000"];
    podman.run(&serve).expect_success();
    podman.wait_for_log("server", "listening");
    let address = podman.call(&["port", "server", "7000"]).expect_success().text();
    assert_eq!(converse(address.trim(), "hello"), "hello");
    assert_eq!(podman.call(&["wait", "server"]).expect_success().text(), "0\n");
    podman.call(&["rm", "server"]).expect_success();
}

fn its_ids_are_those_of_a_user_namespace(podman: &Podman) {
    let image = podman.guest("sleep");
    let maps = ["--uidmap", "0:200000:4096", "--gidmap", "0:300000:4096", "--user", "7:8"];
    let flags = [&["-d", "--name", "mapped"], &NO_NETWORK[..], &maps].concat();
    podman.run(&[&flags[..], &[&image, "1000"]].concat()).expect_success();
    let process = Process::of(podman.pid("mapped"));
    assert_eq!(process.status("Uid").split_whitespace().next(), Some("200007"));
    assert_eq!(process.status("Gid").split_whitespace().next(), Some("300008"));
    assert_ne!(process.namespace("user"), Process::own().namespace("user"));
    podman.remove("mapped");
    let flags = [&NO_NETWORK[..], &maps[..4]].concat();
    assert_eq!(podman.ask(&flags, &["write /data/file text", "cat /data/file"]), ["ok", "text"]);
}

fn annotations_set_limits(podman: &Podman) {
    let image = podman.guest("spin");
    let flags = ["--rm", "--net", "none", "--annotation", "io.lighter.limits.timeout=200ms"];
    let errors = podman.run(&[&flags[..], &[&image]].concat()).expect_failure();
    assert!(errors.contains("timeout"), "{errors}");
    let flags = ["--rm", "--net", "none", "--annotation", "io.lighter.limits.patience=1s"];
    let errors = podman.run(&[&flags[..], &[&image]].concat()).expect_status(126).errors();
    assert!(errors.contains("io.lighter.limits.patience"), "{errors}");
}
