//! Annotations of pods that the runtime handler passes on (`pod_annotations`).

use std::collections::HashMap;

use libtest_mimic::Trial;

use super::kubelet_trials;
use crate::support::cri::Kubelet;
use crate::support::guests;
use crate::support::image::Image;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        a_limit_by_annotation,
        a_handler_by_annotation,
        an_annotation_that_is_not_known_is_refused,
        annotations_of_others_change_nothing,
    ]
}

fn annotations(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
}

fn a_limit_by_annotation(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("app");
    config.annotations = annotations(&[("io.lighter.limits.timeout", "1s")]);
    let pod = kubelet.run(config);
    let image = Image::guest("spin", &guests::module("spin"));
    let container = pod.start(kubelet.container("app", &image, &[]));
    let status = container.wait();
    assert_eq!((status.exit_code, status.reason.as_str()), (124, "Error"));
    assert!(container.errors().contains("its time is used up"), "{:?}", container.lines());
    pod.end();
}

/// The pod's own container stays a Linux program, whatever the pod's annotation says.
fn a_handler_by_annotation(kubelet: &Kubelet<'_>) {
    let text = b"(module (memory (export \"memory\") 1) (func (export \"_start\")))";
    let image = Image::new("example.test/text:latest").file("/app", text).entrypoint(&["/app"]);
    let mut config = kubelet.pod("app");
    config.annotations = annotations(&[("io.lighter.handler", "wasm")]);
    let pod = kubelet.run(config);
    let (status, lines) = pod.run_container(kubelet.container("app", &image, &[]));
    assert_eq!(status.exit_code, 0, "{lines:?}");
    pod.end();
    // Without it, the file is taken for a program of Linux, which it is not.
    let pod = kubelet.run_pod("other");
    let container = pod.create(kubelet.container("app", &image, &[])).unwrap();
    assert!(container.start().is_err() || container.wait().exit_code != 0);
    pod.end();
}

fn an_annotation_that_is_not_known_is_refused(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("app");
    config.annotations = annotations(&[("io.lighter.limits.patience", "1s")]);
    let image = Image::guest("hello", &guests::module("hello"));
    // By the pod's own container, or by the first that is a guest.
    let refused = match kubelet.try_run(config) {
        Err(refused) => refused,
        Ok(pod) => {
            let container = pod.create(kubelet.container("app", &image, &[])).unwrap();
            container.start().unwrap_err()
        }
    };
    assert!(refused.message().contains("io.lighter.limits.patience"), "{refused}");
    kubelet.nothing_remains();
}

fn annotations_of_others_change_nothing(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("app");
    config.annotations = annotations(&[
        ("kubernetes.io/config.source", "api"),
        ("example.test/io.lighter.handler", "nonsense"),
    ]);
    let pod = kubelet.run(config);
    let image = Image::guest("hello", &guests::module("hello"));
    let (status, _) = pod.run_container(kubelet.container("app", &image, &[]));
    assert_eq!(status.exit_code, 0);
    pod.end();
}
