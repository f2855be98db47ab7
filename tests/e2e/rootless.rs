//! Containers of a containerd that is not root: what works there, and how what does not is told.

use std::fs;
use std::os::unix::fs::MetadataExt;

use libtest_mimic::Trial;
use serde_json::json;

use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::process::Process;
use crate::support::rootless::{Ids, RANGE, Rootless, USER};
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        images_run_from_overlays_and_copies,
        a_guest_has_its_volumes_devices_and_user,
        a_guest_has_no_rights_and_namespaces_of_its_own,
        what_root_of_the_node_alone_may_lower_stays,
        a_user_namespace_lies_in_the_users,
        a_guest_runs_beside_the_first,
        limits_without_a_group_are_refused_and_none_are_needed,
        a_single_id_is_enough_for_root_and_others_are_refused,
        a_linux_container_needs_a_group,
    ]
}

/// Those that need cgroup v2.
pub fn delegated() -> Vec<Trial> {
    plain_trials![a_delegated_group_limits_and_counts, a_linux_container_runs_in_a_delegated_group]
}

fn images_run_from_overlays_and_copies() {
    let node = Rootless::start(Ids::Range, false);
    let image = Image::guest("hello", &guests::module("hello"));
    for snapshotter in ["overlayfs", "native"] {
        for flags in [&[][..], &["--read-only"]] {
            let flags = [&["--snapshotter", snapshotter], flags].concat();
            assert_eq!(
                node.run(&image, &flags, &[]).expect_success().text(),
                "hello\n",
                "{flags:?}"
            );
        }
    }
    node.run(&Image::guest("exit", &guests::module("exit")), &[], &["/exit.wasm", "7"])
        .expect_status(7);
    let broken = node.run(&Image::guest("broken", b"no module"), &[], &[]).expect_failure();
    assert!(broken.contains("is not WebAssembly"), "{broken}");
}

fn a_guest_has_its_volumes_devices_and_user() {
    let node = Rootless::start(Ids::Range, false);
    let image = Image::guest("probe", &guests::probe("probe"));
    let volume = node.directory();
    std::os::unix::fs::chown(&volume, Some(RANGE + 999), Some(RANGE + 1999)).unwrap();
    let bind = |access: &str| {
        format!("type=bind,src={},dst=/{access},options=rbind:{access}", volume.display())
    };
    let (open, closed) = (bind("rw"), bind("ro"));
    let tmpfs = "type=tmpfs,src=tmpfs,dst=/scratch,options=size=64k:mode=1777";
    let flags = ["--mount", &open, "--mount", &closed, "--mount", tmpfs];
    let args = [
        "/probe.wasm",
        "write /rw/new text",
        "cat /ro/new",
        "write /ro/other text",
        "fill /scratch/a 131072",
        "read /dev/zero 16",
        "write /dev/null x",
        "ls /dev",
    ];
    let output = node.run(&image.user("1000:2000"), &flags, &args).expect_success();
    let text = output.text();
    let answers: Vec<&str> = text.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(answers[..2], ["ok", "text"], "{output}");
    assert!(answers[2].starts_with("error"), "{output}");
    assert_eq!(answers[3], "no storage space after 64 KiB", "{output}");
    assert_eq!(
        answers[4..],
        ["16 bytes, sum 0", "ok", "full null random shm urandom zero"],
        "{output}"
    );
    let written = fs::metadata(volume.join("new")).unwrap();
    assert_eq!((written.uid(), written.gid()), (RANGE + 999, RANGE + 1999), "as the host counts");
}

/// A guest that sleeps until the node goes, and its process.
fn asleep(node: &Rootless, change: impl FnOnce(&mut serde_json::Value)) -> Process {
    let root = node.directory();
    fs::write(root.join("sleep.wasm"), guests::module("sleep")).unwrap();
    let mut spec = node.spec("asleep", &root, &["/sleep.wasm", "1000"]);
    change(&mut spec);
    node.run_spec(&spec, "asleep", &["--detach"]).expect_success();
    Process::of(node.task_pid("asleep"))
}

fn a_guest_has_no_rights_and_namespaces_of_its_own() {
    let node = Rootless::start(Ids::Range, false);
    let process = asleep(&node, |spec| {
        spec["process"]["user"] = json!({"uid": 1000, "gid": 2000, "additionalGids": [3000]});
        spec["hostname"] = json!("guest-of-a-user");
        spec["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "81"});
    });
    let (uid, gid) = (RANGE + 999, RANGE + 1999);
    assert_eq!(process.status("Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(process.status("Gid"), format!("{gid} {gid} {gid} {gid}"));
    assert_eq!(process.status("Groups"), (RANGE + 2999).to_string());
    assert_eq!(process.status("NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(process.status(set), "0000000000000000", "{set}");
    }
    for kind in ["mnt", "pid", "ipc", "uts", "net", "user"] {
        assert_ne!(process.namespace(kind), Process::own().namespace(kind), "{kind}");
    }
    assert_eq!(process.mounts().iter().filter(|mount| mount.point == "/").count(), 1);
    // It ends as it is told, and takes all with it.
    node.ctr(&["task", "kill", "--signal", "SIGTERM", "asleep"]).expect_success();
    let stopped = || node.ctr(&["task", "ls"]).text().contains("STOPPED");
    assert!(eventually(LIMIT, stopped));
    node.ctr(&["task", "delete", "asleep"]);
    assert!(!process.path("stat").exists());
}

fn what_root_of_the_node_alone_may_lower_stays() {
    let node = Rootless::start(Ids::Range, false);
    let process = asleep(&node, |spec| spec["process"]["oomScoreAdj"] = json!(-900));
    assert!(process.text("oom_score_adj").trim().parse::<i32>().unwrap() > -900);
    let log = node.log();
    assert!(log.contains("process.oomScoreAdj -900: not lowered"), "{log}");
}

fn a_user_namespace_lies_in_the_users() {
    let node = Rootless::start(Ids::Range, false);
    let process = asleep(&node, |spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 10_001, "size": 1000}]);
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map);
        // What is mounted needs a place that the container's own root could make.
        let root = spec["root"]["path"].as_str().unwrap();
        for dir in ["dev", "run"] {
            fs::create_dir(format!("{root}/{dir}")).unwrap();
        }
    });
    let uid = RANGE + 10_000;
    assert_eq!(process.status("Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(
        process.text("uid_map").split_whitespace().collect::<Vec<_>>(),
        ["0", &uid.to_string(), "1000"]
    );
}

fn limits_without_a_group_are_refused_and_none_are_needed() {
    let node = Rootless::start(Ids::Range, false);
    let image = Image::guest("hello", &guests::module("hello"));
    node.run(&image, &[], &[]).expect_success();
    let log = node.log();
    assert!(log.contains("has no control group (none is delegated"), "{log}");
    let error = node.run(&image, &["--memory-limit", "67108864"], &[]).expect_failure();
    for word in ["linux.resources.memory: ", "closed to this user namespace", "Delegate=yes"] {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    // What is there without a group.
    let process = asleep(&node, |_| {});
    let pids = node.ctr(&["task", "ps", "asleep"]).expect_success().text();
    let pid = process.status("Pid");
    assert!(pids.lines().any(|line| line.split_whitespace().next() == Some(&*pid)), "{pids}");
    node.ctr(&["task", "metrics", "asleep"]).expect_failure();
    node.ctr(&["task", "kill", "--all", "--signal", "SIGKILL", "asleep"]).expect_success();
}

fn a_single_id_is_enough_for_root_and_others_are_refused() {
    let node = Rootless::start(Ids::Single, false);
    let image = Image::guest("hello", &guests::module("hello"));
    assert_eq!(node.run(&image, &[], &[]).expect_success().text(), "hello\n");
    let root = node.directory();
    fs::write(root.join("hello.wasm"), guests::module("hello")).unwrap();
    for (user, words) in [
        (json!({"uid": 1000, "gid": 0}), "process.user.uid 1000: is not mapped"),
        (json!({"uid": 0, "gid": 2000}), "process.user.gid 2000: is not mapped"),
        (
            json!({"uid": 0, "gid": 0, "additionalGids": [0, 10]}),
            "process.user.additionalGids [0, 10]: ",
        ),
    ] {
        let mut spec = node.spec("other", &root, &["/hello.wasm"]);
        spec["process"]["user"] = user;
        let error = node.run_spec(&spec, "other", &["--rm"]).expect_failure();
        assert!(error.contains(words) && error.contains("/etc/subgid"), "no {words:?} in: {error}");
    }
    let uid = USER.to_string();
    assert_eq!(asleep(&node, |_| {}).status("Uid"), [&*uid; 4].join(" "));
}

fn a_linux_container_needs_a_group() {
    let node = Rootless::start(Ids::Range, false);
    let error = node.run(&Image::linux("sidecar"), &[], &["echo", "native"]).expect_failure();
    assert!(error.contains("a Linux container needs a control group"), "{error}");
}

fn a_guest_runs_beside_the_first() {
    for ids in [Ids::Range, Ids::Single] {
        runs_beside_the_first(&Rootless::start(ids, false));
    }
}

#[track_caller]
fn runs_beside_the_first(node: &Rootless) {
    asleep(node, |_| {});
    let exec = ["task", "exec", "--exec-id", "beside", "asleep", "/sleep.wasm", "0"];
    assert_eq!(node.ctr(&exec).expect_success().text(), "sleeping\nawake\n");
    node.ctr(&["task", "delete", "--force", "asleep"]);
}

fn a_linux_container_runs_in_a_delegated_group() {
    let node = Rootless::start(Ids::Range, true);
    let output = node.run(&Image::linux("sidecar"), &[], &["echo", "native"]);
    assert_eq!(output.expect_success().text(), "native\n");
    runs_beside_the_first(&node);
}

fn a_delegated_group_limits_and_counts() {
    let node = Rootless::start(Ids::Range, true);
    let process = asleep(&node, |spec| {
        spec["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}});
    });
    let path = process.text("cgroup").trim().strip_prefix("0::").unwrap().to_owned();
    let group = std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    assert!(
        group.starts_with(node.group()),
        "{} is not in {}",
        group.display(),
        node.group().display()
    );
    let value = |file: &str| fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    assert_eq!(value("memory.max"), (64u64 << 20).to_string());
    assert_eq!(value("pids.max"), "20");
    let metrics = node.ctr(&["task", "metrics", "asleep"]).expect_success().text();
    assert!(metrics.contains("67108864"), "{metrics}");
    node.ctr(&["task", "delete", "--force", "asleep"]);
    assert!(eventually(LIMIT, || !group.exists()), "the group goes with the container");
    assert!(!node.log().contains("has no control group"), "{}", node.log());
}
