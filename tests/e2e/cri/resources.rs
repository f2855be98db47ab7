//! Limits of pods' containers, in the control group that kubelet names, and what happens when memory runs out.

use k8s_cri::v1::{ContainerConfig, LinuxContainerResources};
use libtest_mimic::Trial;

use super::{kubelet_trials, probe};
use crate::support::cri::{Group, Kubelet};
use crate::support::guests;
use crate::support::image::Image;

const MIB: i64 = 1 << 20;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        limits_are_in_the_pods_group,
        a_guest_that_runs_out_of_memory_is_oom_killed,
        a_guest_that_the_kernel_kills_is_oom_killed,
        a_linux_program_that_the_kernel_kills_is_oom_killed,
    ]
}

fn limit(config: &mut ContainerConfig, resources: LinuxContainerResources) {
    config.linux.as_mut().unwrap().resources = Some(resources);
}

fn limits_are_in_the_pods_group(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let guest = Image::guest("sleep", &guests::module("sleep"));
    for (name, image, command) in [
        ("guest", &guest, ["/sleep.wasm", "1000"]),
        ("linux", &Image::linux("shell"), ["sleep", "1000"]),
    ] {
        let mut config = kubelet.container(name, image, &command);
        limit(
            &mut config,
            LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 25_000,
                cpu_shares: 512,
                memory_limit_in_bytes: 64 * MIB,
                oom_score_adj: 987,
                ..Default::default()
            },
        );
        let container = pod.start(config);
        let process = container.process();
        let groups = process.text("cgroup");
        assert!(groups.contains(&format!(":/{}/{}", pod.group(), container.id())), "{groups}");
        let group = Group::of(&process);
        assert_eq!(group.memory_limit(), 64 << 20, "{name}");
        assert_eq!(group.quota(), (25_000, 100_000), "{name}");
        let shares = group.shares();
        assert!((256..=1700).contains(&shares), "{name}: {shares} shares");
        assert_eq!(process.text("oom_score_adj").trim(), "987", "{name}");
    }
    pod.end();
}

/// Runs a container that uses more than it may, and says how it ended.
#[track_caller]
fn exhausted(kubelet: &Kubelet<'_>, mut config: ContainerConfig) {
    let pod = kubelet.run_pod("app");
    let sleep = Image::guest("sleep", &guests::module("sleep"));
    let beside = pod.start(kubelet.container("beside", &sleep, &["/sleep.wasm", "1000"]));
    limit(
        &mut config,
        LinuxContainerResources { memory_limit_in_bytes: 48 * MIB, ..Default::default() },
    );
    let (status, lines) = pod.run_container(config);
    let how = (status.exit_code, status.reason.as_str());
    assert_eq!(how, (137, "OOMKilled"), "{status:?}: {lines:?}");
    assert_eq!(beside.status().finished_at, 0, "the one beside goes on");
    pod.end();
}

fn a_guest_that_runs_out_of_memory_is_oom_killed(kubelet: &Kubelet<'_>) {
    let image = Image::guest("hungry", &guests::module("hungry"));
    exhausted(kubelet, kubelet.container("app", &image, &[]));
}

fn a_guest_that_the_kernel_kills_is_oom_killed(kubelet: &Kubelet<'_>) {
    // The pod's own file system in memory is larger than what the container may have.
    let requests = ["/probe.wasm", "fill /dev/shm/full 60000000"];
    exhausted(kubelet, kubelet.container("app", &probe(), &requests));
}

fn a_linux_program_that_the_kernel_kills_is_oom_killed(kubelet: &Kubelet<'_>) {
    let script = "text=0123456789; while :; do text=$text$text; done";
    let command = ["sh", "-c", script];
    exhausted(kubelet, kubelet.container("app", &Image::linux("shell"), &command));
}
