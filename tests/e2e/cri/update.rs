//! Limits that change while a container runs, as when a pod is resized in place.

use k8s_cri::v1::{LinuxContainerResources, UpdateContainerResourcesRequest};
use libtest_mimic::Trial;

use super::kubelet_trials;
use crate::support::cri::{Container, Group, Kubelet};
use crate::support::guests;
use crate::support::image::Image;

const MIB: i64 = 1 << 20;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![limits_are_raised_and_lowered, a_container_that_has_ended_is_not_changed]
}

fn update(kubelet: &Kubelet<'_>, container: &Container<'_>, memory: i64, quota: i64) -> bool {
    let request = UpdateContainerResourcesRequest {
        container_id: container.id().into(),
        linux: Some(LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: quota,
            cpu_shares: 256,
            memory_limit_in_bytes: memory,
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer =
        kubelet.ask(|mut cri| async move { cri.update_container_resources(request).await });
    answer.is_ok()
}

fn limits_are_raised_and_lowered(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let guest = Image::guest("sleep", &guests::module("sleep"));
    for (name, image, command) in [
        ("guest", &guest, ["/sleep.wasm", "1000"]),
        ("linux", &Image::linux("shell"), ["sleep", "1000"]),
    ] {
        let mut config = kubelet.container(name, image, &command);
        config.linux.as_mut().unwrap().resources = Some(LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            cpu_shares: 512,
            memory_limit_in_bytes: 64 * MIB,
            ..Default::default()
        });
        let container = pod.start(config);
        let pid = container.pid();
        let group = Group::of(&container.process());
        for (memory, quota) in [(128 * MIB, 80_000), (48 * MIB, 20_000)] {
            assert!(update(kubelet, &container, memory, quota), "{name}: {memory}");
            assert_eq!(group.memory_limit(), memory.cast_unsigned(), "{name}");
            assert_eq!(group.quota(), (quota.cast_unsigned(), 100_000), "{name}");
        }
        assert_eq!(container.pid(), pid, "{name}: it is the same process");
    }
    pod.end();
}

fn a_container_that_has_ended_is_not_changed(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("exit", &guests::module("exit"));
    let container = pod.start(kubelet.container("app", &image, &["/exit.wasm", "3"]));
    container.wait();
    // Whether that is an error is up to the plugin; the pod goes on.
    update(kubelet, &container, 64 * MIB, 50_000);
    assert_eq!(container.status().exit_code, 3);
    pod.end();
}
