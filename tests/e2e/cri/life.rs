//! A container's life in a pod: created, started, ended by itself or by kubelet, removed, and started again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_cri::v1::{ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandboxState};
use libtest_mimic::Trial;
use tonic::Code;

use super::kubelet_trials;
use crate::support::cri::Kubelet;
use crate::support::guests;
use crate::support::image::Image;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        a_pod_from_its_start_to_its_end,
        exit_codes_and_reasons,
        a_trap_is_told_in_the_log,
        sigterm_ends_a_guest_within_its_grace,
        a_linux_program_that_ignores_sigterm_is_killed_after_its_grace,
        the_images_stop_signal_is_used,
        a_container_that_was_never_started_is_removed,
        a_container_that_runs_is_removed,
        a_pod_that_is_stopped_ends_its_containers,
        a_guest_that_cannot_run_is_refused_and_the_pod_stays,
        a_container_is_restarted_in_its_pod,
        what_is_asked_twice_is_done_once,
    ]
}

/// Those that show that containerd's release and we understand one another.
pub fn of_this_release() -> Vec<Trial> {
    kubelet_trials![
        a_pod_from_its_start_to_its_end,
        exit_codes_and_reasons,
        a_guest_that_cannot_run_is_refused_and_the_pod_stays,
        a_container_is_restarted_in_its_pod,
    ]
}

/// Nothing of ours needs as long to be killed.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A guest that runs for long.
fn sleeper() -> Image {
    Image::guest("sleep", &guests::module("sleep")).cmd(&["1000"])
}

fn exit() -> Image {
    Image::guest("exit", &guests::module("exit"))
}

fn a_pod_from_its_start_to_its_end(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let status = pod.status();
    assert_eq!(status.state(), PodSandboxState::SandboxReady);
    assert_eq!(status.runtime_handler, kubelet.handler());
    let address = status.network.expect("it has a network").ip;
    assert!(address.starts_with("10.85."), "{address}");

    let mut config = kubelet.container("sleep", &sleeper(), &[]);
    config.labels.insert("example.test/role".into(), "app".into());
    let container = pod.create(config).unwrap();
    assert!(container.is(ContainerState::ContainerCreated));
    container.start().unwrap();
    let status = container.status();
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    assert!(status.started_at >= status.created_at && status.finished_at == 0, "{status:?}");
    container.wait_for_output("sleeping\n");

    let listed = kubelet
        .ask(|mut cri| async move { cri.list_containers(ListContainersRequest::default()).await })
        .unwrap()
        .containers;
    let listed = listed.iter().find(|listed| listed.id == container.id()).expect("it is listed");
    assert_eq!(listed.state(), ContainerState::ContainerRunning);
    assert_eq!(listed.pod_sandbox_id, pod.id());
    assert_eq!(listed.labels["example.test/role"], "app");

    container.stop(Duration::from_secs(30)).unwrap();
    assert!(container.is(ContainerState::ContainerExited));
    container.remove().unwrap();
    assert_eq!(container.try_status().unwrap_err().code(), Code::NotFound);
    pod.stop().unwrap();
    assert_eq!(pod.status().state(), PodSandboxState::SandboxNotready);
    pod.remove().unwrap();
    let listed = kubelet
        .ask(|mut cri| async move { cri.list_pod_sandbox(ListPodSandboxRequest::default()).await });
    assert!(listed.unwrap().items.iter().all(|listed| listed.id != pod.id()));
    kubelet.nothing_remains();
}

fn exit_codes_and_reasons(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let linux = Image::linux("shell");
    for (name, image, command, code, reason) in [
        ("ok", &exit(), &["/exit.wasm", "0"][..], 0, "Completed"),
        ("failed", &exit(), &["/exit.wasm", "42"], 42, "Error"),
        ("linux", &linux, &["sh", "-c", "exit 0"], 0, "Completed"),
        ("linux-failed", &linux, &["sh", "-c", "exit 7"], 7, "Error"),
    ] {
        let before = now();
        let (status, _) = pod.run_container(kubelet.container(name, image, command));
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{status:?}");
        // It may have ended before the plugin takes the time of its start.
        for time in [status.started_at, status.finished_at] {
            let times = [before, status.created_at, time, now()];
            assert!(times.is_sorted(), "{times:?}");
        }
    }
    pod.end();
}

fn a_trap_is_told_in_the_log(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("trap", &guests::module("trap"));
    let container = pod.start(kubelet.container("trap", &image, &[]));
    let status = container.wait();
    assert_eq!((status.exit_code, status.reason.as_str()), (134, "Error"));
    // What kubelet shows as the container's message, if asked to fall back to the log.
    assert!(container.errors().contains("guest trapped"), "{:?}", container.lines());
    pod.end();
}

fn sigterm_ends_a_guest_within_its_grace(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    for guest in ["sleep", "spin"] {
        let image = Image::guest(guest, &guests::module(guest)).cmd(&["1000"]);
        let container = pod.start(kubelet.container(guest, &image, &[]));
        let begin = Instant::now();
        container.stop(Duration::from_secs(100)).unwrap();
        assert!(begin.elapsed() < AT_ONCE, "{guest} took {:?}", begin.elapsed());
        let status = container.status();
        assert_eq!((status.exit_code, status.reason.as_str()), (143, "Error"), "{guest}");
    }
    pod.end();
}

fn a_linux_program_that_ignores_sigterm_is_killed_after_its_grace(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let script = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"];
    let container = pod.start(kubelet.container("deaf", &Image::linux("shell"), &script));
    container.wait_for_output("ready\n");
    let begin = Instant::now();
    container.stop(Duration::from_secs(2)).unwrap();
    let took = begin.elapsed();
    assert!((Duration::from_secs(2)..AT_ONCE).contains(&took), "it took {took:?}");
    assert_eq!(container.status().exit_code, 137);
    pod.end();
}

fn the_images_stop_signal_is_used(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("stop-by-int", &guests::module("sleep")).stop_signal("SIGINT");
    let command = ["/stop-by-int.wasm", "1000"];
    let container = pod.start(kubelet.container("app", &image, &command));
    container.stop(Duration::from_secs(100)).unwrap();
    assert_eq!(container.status().exit_code, 130);
    pod.end();
}

fn a_container_that_was_never_started_is_removed(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let container = pod.create(kubelet.container("idle", &sleeper(), &[])).unwrap();
    container.remove().unwrap();
    assert_eq!(container.try_status().unwrap_err().code(), Code::NotFound);
    pod.end();
}

fn a_container_that_runs_is_removed(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let container = pod.start(kubelet.container("app", &sleeper(), &[]));
    container.remove().unwrap();
    assert_eq!(container.try_status().unwrap_err().code(), Code::NotFound);
    pod.end();
}

fn a_pod_that_is_stopped_ends_its_containers(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let guest = pod.start(kubelet.container("guest", &sleeper(), &[]));
    let script = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"];
    let linux = pod.start(kubelet.container("linux", &Image::linux("shell"), &script));
    pod.stop().unwrap();
    for container in [&guest, &linux] {
        assert_eq!(container.status().exit_code, 137);
    }
    pod.end();
}

fn a_guest_that_cannot_run_is_refused_and_the_pod_stays(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let unknown = Image::guest("unknown-import", &guests::module("unknown-import"));
    // When the task is created is up to the plugin: with the container's start.
    let container = pod.create(kubelet.container("unknown", &unknown, &[])).unwrap();
    let refused = container.start().unwrap_err();
    assert!(refused.message().contains("moon"), "{refused}");
    let status = container.status();
    assert_eq!(status.state(), ContainerState::ContainerExited);
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    assert!(status.message.contains("moon"), "{status:?}");
    container.remove().unwrap();

    let absent = pod.create(kubelet.container("absent", &exit(), &["/absent.wasm"])).unwrap();
    let refused = absent.start().unwrap_err();
    assert!(refused.message().contains("/absent.wasm"), "{refused}");
    let (status, _) = pod.run_container(kubelet.container("good", &exit(), &[]));
    assert_eq!(status.exit_code, 0);
    pod.end();
}

/// As of a container that fails again and again.
fn a_container_is_restarted_in_its_pod(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let mut last_end = now();
    let mut last = None;
    for attempt in 0..4_u32 {
        let code = (attempt + 3).to_string();
        let mut config = kubelet.container("app", &exit(), &["/exit.wasm", &code]);
        config.metadata.as_mut().unwrap().attempt = attempt;
        config.log_path = format!("app/{attempt}.log");
        let container = pod.start(config);
        let status = container.wait();
        assert_eq!(status.exit_code.to_string(), code);
        assert_eq!(status.metadata.as_ref().unwrap().attempt, attempt);
        let times = [last_end, status.created_at, status.finished_at];
        assert!(times.is_sorted(), "{times:?}");
        last_end = status.finished_at;
        // kubelet keeps the one before, for `kubectl logs --previous`.
        if let Some(before) = last.replace(container) {
            before.remove().unwrap();
        }
    }
    assert_eq!(pod.status().state(), PodSandboxState::SandboxReady);
    pod.end();
}

fn what_is_asked_twice_is_done_once(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let container = pod.start(kubelet.container("app", &exit(), &["/exit.wasm", "5"]));
    container.wait();
    assert!(container.start().is_err(), "it has run");
    for _ in 0..2 {
        container.stop(Duration::from_secs(5)).unwrap();
    }
    assert_eq!(container.status().exit_code, 5);
    for _ in 0..2 {
        container.remove().unwrap();
    }
    for _ in 0..2 {
        pod.stop().unwrap();
    }
    for _ in 0..2 {
        pod.remove().unwrap();
    }
    kubelet.nothing_remains();
}

/// Nanoseconds since 1970, as the CRI tells times.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap()
}
