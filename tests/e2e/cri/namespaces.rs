//! Which namespaces the containers of a pod share: among themselves, and with the node.

use k8s_cri::v1::{ContainerConfig, NamespaceMode, PodSandboxConfig};
use libtest_mimic::Trial;

use super::{answers, kubelet_trials, probe};
use crate::support::cri::Kubelet;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::process::Process;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        containers_share_the_pods_network_and_have_their_own_processes,
        a_pod_in_the_nodes_network,
        a_pod_with_the_nodes_processes_and_ipc,
        containers_that_share_their_processes,
        a_container_that_joins_anothers_processes,
        a_pod_is_reached_by_its_address,
    ]
}

/// Runs a guest and a Linux program, each changed by `change`, and returns their processes.
fn both(
    kubelet: &Kubelet<'_>,
    pod: &crate::support::cri::Pod<'_>,
    change: impl Fn(&mut ContainerConfig),
) -> [Process; 2] {
    let guest = Image::guest("sleep", &guests::module("sleep"));
    let guest = kubelet.container("guest", &guest, &["/sleep.wasm", "1000"]);
    let linux = kubelet.container("linux", &Image::linux("shell"), &["sleep", "1000"]);
    [guest, linux].map(|mut config| {
        change(&mut config);
        pod.start(config).process()
    })
}

/// Sets the modes of the pod's network, processes and IPC.
fn set_pod(config: &mut PodSandboxConfig, [network, pid, ipc]: [NamespaceMode; 3]) {
    let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    let options = context.namespace_options.as_mut().unwrap();
    options.set_network(network);
    options.set_pid(pid);
    options.set_ipc(ipc);
}

/// The same of a container.
fn set(config: &mut ContainerConfig, [network, pid, ipc]: [NamespaceMode; 3]) {
    let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    let options = context.namespace_options.as_mut().unwrap();
    options.set_network(network);
    options.set_pid(pid);
    options.set_ipc(ipc);
}

fn containers_share_the_pods_network_and_have_their_own_processes(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let processes = both(kubelet, &pod, |_| ());
    for process in &processes {
        for kind in ["net", "ipc", "uts"] {
            assert_eq!(process.namespace(kind), pod.process().namespace(kind), "{kind}");
            assert_ne!(process.namespace(kind), Process::own().namespace(kind), "{kind}");
        }
        for kind in ["pid", "mnt"] {
            assert_ne!(process.namespace(kind), pod.process().namespace(kind), "{kind}");
        }
    }
    assert_ne!(processes[0].namespace("pid"), processes[1].namespace("pid"));
    pod.end();
}

fn a_pod_in_the_nodes_network(kubelet: &Kubelet<'_>) {
    use NamespaceMode::{Container, Node, Pod};
    let pod = kubelet.run(kubelet.host_pod("app"));
    let node = kubelet.node().within(|| Process::thread().namespace("net"));
    for process in both(kubelet, &pod, |config| set(config, [Node, Container, Pod])) {
        assert_eq!(process.namespace("net"), node);
        assert_ne!(process.namespace("ipc"), Process::own().namespace("ipc"));
    }
    pod.end();
}

fn a_pod_with_the_nodes_processes_and_ipc(kubelet: &Kubelet<'_>) {
    use NamespaceMode::{Node, Pod};
    let mut config = kubelet.pod("app");
    set_pod(&mut config, [Pod, Node, Node]);
    let pod = kubelet.run(config);
    for process in both(kubelet, &pod, |config| set(config, [Pod, Node, Node])) {
        for kind in ["pid", "ipc"] {
            assert_eq!(process.namespace(kind), Process::own().namespace(kind), "{kind}");
        }
        assert_eq!(process.namespace("net"), pod.process().namespace("net"));
    }
    pod.end();
}

fn containers_that_share_their_processes(kubelet: &Kubelet<'_>) {
    use NamespaceMode::Pod;
    let mut config = kubelet.pod("app");
    set_pod(&mut config, [Pod, Pod, Pod]);
    let pod = kubelet.run(config);
    for process in both(kubelet, &pod, |config| set(config, [Pod, Pod, Pod])) {
        assert_eq!(process.namespace("pid"), pod.process().namespace("pid"));
        assert_ne!(process.status("NSpid").split(' ').next_back(), Some("1"));
    }
    // Not as process 1, it ends by the same signals.
    let guest = Image::guest("spin", &guests::module("spin"));
    let mut config = kubelet.container("spin", &guest, &[]);
    set(&mut config, [Pod, Pod, Pod]);
    let container = pod.start(config);
    container.stop(std::time::Duration::from_secs(100)).unwrap();
    assert_eq!(container.status().exit_code, 143);
    // A Linux program sees the others.
    let script = "for p in /proc/[0-9]*; do cat $p/comm; done";
    let mut config = kubelet.container("look", &Image::linux("shell"), &["sh", "-c", script]);
    set(&mut config, [Pod, Pod, Pod]);
    let container = pod.start(config);
    container.wait();
    let output = container.output();
    assert!(output.matches("sleep\n").count() >= 2, "{output}");
    pod.end();
}

/// As a debugging container does (`kubectl debug --target`).
fn a_container_that_joins_anothers_processes(kubelet: &Kubelet<'_>) {
    use NamespaceMode::{Pod, Target};
    let pod = kubelet.run_pod("app");
    let guest = Image::guest("sleep", &guests::module("sleep"));
    let app = pod.start(kubelet.container("app", &guest, &["/sleep.wasm", "1000"]));
    let script = "sleep 1000";
    let mut config = kubelet.container("debug", &Image::linux("shell"), &["sh", "-c", script]);
    set(&mut config, [Pod, Target, Pod]);
    let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    context.namespace_options.as_mut().unwrap().target_id = app.id().into();
    let debug = pod.start(config).process();
    assert_eq!(debug.namespace("pid"), app.process().namespace("pid"));
    pod.end();
}

fn a_pod_is_reached_by_its_address(kubelet: &Kubelet<'_>) {
    let server = kubelet.run_pod("server");
    let serve = kubelet.container("app", &probe(), &["/probe.wasm", "echo 0.0.0.0:7000"]);
    let served = server.start(serve);
    served.wait_for_output("listening on 0.0.0.0:7000\n");
    let address = server.status().network.expect("it has a network").ip;
    let client = kubelet.run_pod("client");
    let request = format!("send {address}:7000 hello");
    let ask = kubelet.container("app", &probe(), &["/probe.wasm", &request]);
    assert_eq!(answers(&client, ask), ["hello"]);
    assert_eq!(served.wait().exit_code, 0);
    client.stop().unwrap();
    client.remove().unwrap();
    server.end();
}
