//! Pods, of which the first container is Podman's own Linux program that waits, and `podman kube`.

use libtest_mimic::Trial;
use serde_json::json;

use super::node::Podman;
use super::podman_trials;
use crate::support::image::Image;
use crate::support::process::Process;
use crate::support::spec::directory;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![guests_and_programs_share_a_pod, a_pod_of_kubernetes_is_played]
}

fn guests_and_programs_share_a_pod(podman: &Podman) {
    let image = podman.probe();
    let pod = |args: &[&str]| podman.call(&[&["pod"], args].concat()).expect_success();
    // The first container's runtime is the engine's default one, unless this says otherwise.
    let create = ["--runtime", "lighter", "pod", "create", "--name", "shared"];
    podman.call(&create).expect_success();
    let server = ["-d", "--name", "listening", "--pod", "shared", &image, "echo 127.0.0.1:7000"];
    podman.run(&server).expect_success();
    podman.wait_for_log("listening", "listening");
    let infra = pod(&["inspect", "shared", "--format", "{{.InfraContainerID}}"]).text();
    let infra = podman.inspect(infra.trim());
    assert_eq!(infra["OCIRuntime"], "lighter");
    let network = |pid: u32| Process::of(pid).namespace("net");
    let first = u32::try_from(infra["State"]["Pid"].as_u64().unwrap()).unwrap();
    assert_eq!(network(podman.pid("listening")), network(first));

    let shell = podman.load(&Image::linux("shell"));
    let script = "echo hello | nc 127.0.0.1 7000";
    let flags = ["--rm", "--pod", "shared", &shell, "sh", "-c", script];
    assert_eq!(podman.run(&flags).expect_success().text(), "hello\n");

    let sleep = podman.guest("sleep");
    let flags = ["-d", "--name", "staying", "--pod", "shared", &sleep, "1000"];
    podman.run(&flags).expect_success();
    // (`pod unpause` stops at a container that has ended, whatever the runtime.)
    podman.call(&["pause", "staying"]).expect_success();
    assert_eq!(podman.inspect("staying")["State"]["Status"], "paused");
    podman.call(&["unpause", "staying"]).expect_success();
    pod(&["stop", "shared"]);
    podman.wait_for("staying", "Status", &json!("exited"));
    assert_eq!(podman.inspect("staying")["State"]["ExitCode"], 143);
    pod(&["start", "shared"]);
    assert_eq!(podman.inspect("staying")["State"]["Status"], "running");
    pod(&["rm", "--force", "--time", "0", "shared"]);
}

fn a_pod_of_kubernetes_is_played(podman: &Podman) {
    let (guest, shell) = (podman.probe(), podman.load(&Image::linux("shell")));
    let dir = directory();
    std::fs::write(dir.path().join("note"), "from the host\n").unwrap();
    let mounts = json!([{"name": "notes", "mountPath": "/notes", "readOnly": true}]);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "played"},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "notes", "hostPath": {"path": dir.path(), "type": "Directory"}}],
            "containers": [
                {
                    "name": "guest",
                    "image": guest,
                    "args": ["cat /notes/note", "write /notes/new text", "echo 127.0.0.1:7000"],
                    "volumeMounts": mounts,
                },
                {"name": "beside", "image": shell, "command": ["sleep", "1000"]},
            ],
        },
    });
    let file = dir.path().join("pod.json");
    std::fs::write(&file, pod.to_string()).unwrap();
    let file = file.display().to_string();
    podman.call(&["--runtime", "lighter", "kube", "play", &file]).expect_success();
    podman.wait_for_log("played-guest", "listening");
    let log = podman.call(&["logs", "played-guest"]).text();
    assert!(log.contains("cat /notes/note: from the host\n"), "{log}");
    assert!(log.contains("write /notes/new text: error: "), "{log}");
    let ask = ["exec", "played-beside", "sh", "-c", "echo hello | nc 127.0.0.1 7000"];
    assert_eq!(podman.call(&ask).expect_success().text(), "hello\n");
    podman.call(&["kube", "down", &file]).expect_success();
    podman.call(&["pod", "exists", "played"]).expect_status(1);
}
