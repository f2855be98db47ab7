//! Streams through containerd's own server: to a port of a pod, and to a running container's standard streams.

use k8s_cri::v1::{AttachRequest, PortForwardRequest};
use libtest_mimic::Trial;

use super::{kubelet_trials, probe};
use crate::support::cri::socket::{STDIN, STDOUT, Socket};
use crate::support::cri::{Kubelet, Pod};
use crate::support::image::Image;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        a_port_of_a_guest_is_forwarded,
        a_port_of_a_guest_in_the_nodes_network_is_forwarded,
        a_guest_is_attached_to,
        a_linux_program_is_attached_to,
    ]
}

fn a_port_of_a_guest_is_forwarded(kubelet: &Kubelet<'_>) {
    forward(kubelet, kubelet.run_pod("app"), 7000);
}

fn a_port_of_a_guest_in_the_nodes_network_is_forwarded(kubelet: &Kubelet<'_>) {
    forward(kubelet, kubelet.run(kubelet.host_pod("app")), 7123);
}

fn forward(kubelet: &Kubelet<'_>, pod: Pod<'_>, port: u16) {
    // The channels of the one port: what it sends, and what went wrong.
    const DATA: u8 = 0;
    let request = format!("echo 127.0.0.1:{port}");
    let config = kubelet.container("app", &probe(), &["/probe.wasm", &request]);
    let app = pod.start(config);
    app.wait_for_output(&format!("listening on 127.0.0.1:{port}\n"));
    let request =
        PortForwardRequest { pod_sandbox_id: pod.id().into(), port: vec![i32::from(port)] };
    let answer = kubelet.ask(|mut cri| async move { cri.port_forward(request).await });
    let mut socket =
        Socket::connect(kubelet.node(), &answer.unwrap().url, &format!("?port={port}"));
    socket.send(DATA, b"hello through the node\n");
    let said = socket.receive_until(DATA, |said| said.ends_with(b"\n"));
    // First of all, each channel says which port it is about.
    let expected = [&port.to_le_bytes(), &b"hello through the node\n"[..]].concat();
    assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&expected));
    assert_eq!(app.wait().exit_code, 0);
    pod.end();
}

fn a_guest_is_attached_to(kubelet: &Kubelet<'_>) {
    attach(kubelet, &probe(), &["/probe.wasm", "line"], "line: hello\n");
}

fn a_linux_program_is_attached_to(kubelet: &Kubelet<'_>) {
    // containerd may close the stream before it has passed on what a program wrote that is gone.
    let script = ["sh", "-c", "read line; echo line: $line; sleep 1"];
    attach(kubelet, &Image::linux("shell"), &script, "line: hello\n");
}

fn attach(kubelet: &Kubelet<'_>, image: &Image, command: &[&str], expected: &str) {
    let pod = kubelet.run_pod("app");
    let mut config = kubelet.container("app", image, command);
    config.stdin = true;
    let container = pod.start(config);
    let request = AttachRequest {
        container_id: container.id().into(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let answer = kubelet.ask(|mut cri| async move { cri.attach(request).await });
    let mut socket = Socket::connect(kubelet.node(), &answer.unwrap().url, "");
    socket.send(STDIN, b"hello\n");
    let said = socket.receive_until(STDOUT, |said| said.ends_with(b"\n"));
    assert_eq!(String::from_utf8_lossy(&said), expected);
    assert_eq!(container.wait().exit_code, 0);
    container.wait_for_output(expected);
    pod.end();
}
