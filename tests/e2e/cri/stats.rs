//! What kubelet is told of the use of resources, beside what the control groups' files say.

use std::time::Duration;

use k8s_cri::v1::{
    ContainerStats, ContainerStatsFilter, ContainerStatsRequest, ListContainerStatsRequest,
    ListPodSandboxStatsRequest, PodSandboxStatsFilter, PodSandboxStatsRequest,
};
use libtest_mimic::Trial;

use super::kubelet_trials;
use crate::support::command::eventually;
use crate::support::cri::{Group, Kubelet};
use crate::support::guests;
use crate::support::image::Image;

const MIB: u64 = 1 << 20;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![containers_use_what_their_groups_say, a_pod_uses_what_its_group_says]
}

fn containers_use_what_their_groups_say(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let spin = Image::guest("spin", &guests::module("spin"));
    let script = "text=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do \
                  text=$text$text; done; echo ready; while :; do :; done";
    for (name, image, command) in
        [("guest", &spin, &[][..]), ("linux", &Image::linux("shell"), &["sh", "-c", script])]
    {
        let container = pod.start(kubelet.container(name, image, command));
        let group = Group::of(&container.process());
        let busy = || group.cpu() > 300_000_000 && !container.output().is_empty();
        assert!(eventually(Duration::from_secs(60), busy), "{name} does not run");
        let id = container.id().to_owned();
        let before = group.cpu();
        let request = ContainerStatsRequest { container_id: id.clone() };
        let answer = kubelet.ask(|mut cri| async move { cri.container_stats(request).await });
        let stats = answer.unwrap().stats.expect("there are some");
        let (used, after) = (cpu(&stats), group.cpu());
        assert!((before..=after).contains(&used), "{name}: {before} <= {used} <= {after} ns");
        let (told, in_file) = (memory(&stats), group.memory());
        assert!(told > 0 && told.abs_diff(in_file) < 2 * MIB, "{name}: {told} and {in_file} bytes");
        let attributes = stats.attributes.as_ref().expect("there are some");
        assert_eq!(attributes.metadata.as_ref().unwrap().name, name);

        let filter = ContainerStatsFilter { pod_sandbox_id: pod.id().into(), ..Default::default() };
        let request = ListContainerStatsRequest { filter: Some(filter) };
        let answer = kubelet.ask(|mut cri| async move { cri.list_container_stats(request).await });
        let listed = answer.unwrap().stats;
        let listed = listed.iter().find(|stats| stats.attributes.as_ref().unwrap().id == id);
        assert!(cpu(listed.expect("it is listed")) >= used, "{name}");
    }
    pod.end();
}

fn a_pod_uses_what_its_group_says(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let spin = Image::guest("spin", &guests::module("spin"));
    let container = pod.start(kubelet.container("app", &spin, &[]));
    let group = Group::of(&container.process()).parent();
    let busy = || group.cpu() > 300_000_000;
    assert!(eventually(Duration::from_secs(60), busy), "it does not run");
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.id().into() };
    let before = group.cpu();
    let answer = kubelet.ask(|mut cri| async move { cri.pod_sandbox_stats(request).await });
    let stats = answer.unwrap().stats.expect("there are some");
    let after = group.cpu();
    let linux = stats.linux.expect("it is a pod of Linux");
    let used = linux.cpu.unwrap().usage_core_nano_seconds.unwrap().value;
    assert!((before..=after).contains(&used), "{before} <= {used} <= {after} ns");
    let told = linux.memory.unwrap().working_set_bytes.unwrap().value;
    let in_file = group.memory();
    assert!(told > 0 && told <= in_file + 2 * MIB, "{told} and {in_file} bytes");
    // Some releases count the pod's own container.
    let processes = linux.process.unwrap().process_count.unwrap().value;
    assert!((1..=2).contains(&processes), "{processes} processes");
    assert_eq!(linux.containers.len(), 1);
    assert!(cpu(&linux.containers[0]) > 0);

    let filter = PodSandboxStatsFilter { id: pod.id().into(), ..Default::default() };
    let request = ListPodSandboxStatsRequest { filter: Some(filter) };
    let answer = kubelet.ask(|mut cri| async move { cri.list_pod_sandbox_stats(request).await });
    assert_eq!(answer.unwrap().stats.len(), 1);
    pod.end();
}

/// The processor time that was used, in nanoseconds.
#[track_caller]
fn cpu(stats: &ContainerStats) -> u64 {
    let cpu = stats.cpu.as_ref().unwrap_or_else(|| panic!("no processor time in {stats:?}"));
    cpu.usage_core_nano_seconds.as_ref().expect("a number").value
}

/// The memory in use, in bytes, without page cache that could be given back at once.
#[track_caller]
fn memory(stats: &ContainerStats) -> u64 {
    let memory = stats.memory.as_ref().unwrap_or_else(|| panic!("no memory in {stats:?}"));
    memory.working_set_bytes.as_ref().expect("a number").value
}
