//! Images whose program is a layer, in pods; what else there is of them is in `images`.

use libtest_mimic::Trial;

use super::kubelet_trials;
use crate::images::takes_layers;
use crate::support::cri::Kubelet;
use crate::support::guests;
use crate::support::image::Image;

/// The tests of this module: none with a containerd that refuses such images itself.
pub fn tests() -> Vec<Trial> {
    match takes_layers() {
        true => kubelet_trials![a_layer_is_a_program, an_artifact_needs_a_command],
        false => Vec::new(),
    }
}

fn layer(name: &str) -> Image {
    Image::new(&format!("example.test/{name}:latest")).layer(
        "application/wasm",
        &guests::module("hello"),
        None,
    )
}

fn a_layer_is_a_program(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = layer("program-layer").entrypoint(&["/app.wasm"]).platform("wasi", "wasm");
    let container = pod.start(kubelet.container("app", &image, &[]));
    assert_eq!(container.wait().exit_code, 0, "{}", container.errors());
    container.wait_for_output("hello\n");
    pod.end();
}

fn an_artifact_needs_a_command(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = layer("artifact").artifact();
    for (number, command) in ["/app.wasm", "app", "/"].into_iter().enumerate() {
        let name = format!("app-{number}");
        let container = pod.start(kubelet.container(&name, &image, &[command]));
        assert_eq!(container.wait().exit_code, 0, "{command}: {}", container.errors());
        container.wait_for_output("hello\n");
    }
    let refused = pod.create(kubelet.container("without", &image, &[])).map(drop).unwrap_err();
    assert!(refused.message().contains("no command specified"), "{refused}");
    pod.end();
}
