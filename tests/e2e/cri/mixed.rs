//! Pods with guests and Linux programs: one prepares, one serves, one asks.

use k8s_cri::v1::Mount;
use libtest_mimic::Trial;

use super::{answers, kubelet_trials, probe};
use crate::support::cri::{Kubelet, Node};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::leaks::entries;
use crate::support::spec::directory;
use crate::support::suite::Suite;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        an_init_container_prepares_for_a_guest_with_a_sidecar,
        a_linux_server_is_asked_by_a_guest,
        one_shim_serves_the_pod,
    ]
}

fn an_init_container_prepares_for_a_guest_with_a_sidecar(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("web");
    let dir = directory();
    let volume = |at: &str| Mount {
        container_path: at.into(),
        host_path: dir.path().to_string_lossy().into_owned(),
        ..Default::default()
    };
    let script = "echo prepared > /work/motd; echo done";
    let mut init = kubelet.container("init", &Image::linux("shell"), &["sh", "-c", script]);
    init.mounts.push(volume("/work"));
    let (status, _) = pod.run_container(init);
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));

    let requests = ["/probe.wasm", "cat /data/motd", "echo 127.0.0.1:7000"];
    let mut app = kubelet.container("app", &probe(), &requests);
    app.mounts.push(volume("/data"));
    let app = pod.start(app);
    app.wait_for_output("cat /data/motd: prepared\nlistening on 127.0.0.1:7000\n");
    let script = "echo hello from the sidecar | nc 127.0.0.1 7000";
    let sidecar = kubelet.container("sidecar", &Image::linux("shell"), &["sh", "-c", script]);
    let sidecar = pod.start(sidecar);
    assert_eq!(sidecar.wait().exit_code, 0);
    assert_eq!(sidecar.output(), "hello from the sidecar\n");
    assert_eq!(app.wait().exit_code, 0);
    pod.end();
}

fn a_linux_server_is_asked_by_a_guest(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("web");
    let serve = "nc -l -p 7001 -e cat & until busybox netstat -tln | busybox grep -q :7001; do sleep 0.05; \
                 done; echo listening; wait";
    let server = kubelet.container("server", &Image::linux("shell"), &["sh", "-c", serve]);
    let server = pod.start(server);
    server.wait_for_output("listening\n");
    let ask = kubelet.container("app", &probe(), &["/probe.wasm", "send 127.0.0.1:7001 hello"]);
    assert_eq!(answers(&pod, ask), ["hello"]);
    pod.end();
}

fn one_shim_serves_the_pod(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let sleep = Image::guest("sleep", &guests::module("sleep"));
    pod.start(kubelet.container("guest", &sleep, &["/sleep.wasm", "1000"]));
    pod.start(kubelet.container("linux", &Image::linux("shell"), &["sleep", "1000"]));
    let program = Suite::get().program("containerd-shim-wasmtime-v1");
    let serving = entries("/proc".as_ref()).filter(|process| {
        let line = std::fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        std::fs::read_link(process.join("exe")).is_ok_and(|exe| exe == program)
            && line.split('\0').any(|word| word == pod.id())
    });
    assert_eq!(serving.count(), 1, "under containerd {:?}", Node::release());
    pod.end();
}
