//! A container's life in a pod: created, started, ended by itself or by kubelet, removed.

use libtest_mimic::Trial;

use super::kubelet_trials;
use crate::support::cri::Kubelet;
use crate::support::guests;
use crate::support::image::Image;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![a_pod_from_its_start_to_its_end]
}

fn a_pod_from_its_start_to_its_end(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("hello", &guests::module("hello"));
    let (status, lines) = pod.run_container(kubelet.container("hello", &image, &[]));
    assert_eq!(status.exit_code, 0);
    assert_eq!(lines.len(), 1, "{lines:?}");
    pod.end();
}
