//! What a container of a pod finds: what the pod's specification says of it, for guests and Linux programs alike.

use k8s_cri::v1::{DnsConfig, KeyValue, Mount};
use libtest_mimic::Trial;

use super::{answers, kubelet_trials, probe};
use crate::support::cri::Kubelet;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::spec::directory;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        arguments_and_environment,
        the_working_directory,
        hosts_and_name_servers,
        the_hostname_and_sysctls_are_the_pods,
        a_name_in_hosts_is_found,
    ]
}

fn arguments_and_environment(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let guest = Image::guest("env-of-image", &guests::module("env"))
        .env(&["FROM_IMAGE=1", "BOTH=image"])
        .cmd(&["of the image"]);
    let linux =
        Image::linux("env-of-image-linux").env(&["PATH=/bin", "FROM_IMAGE=1", "BOTH=image"]);
    let script = "echo $0; echo $1; busybox env";
    for (name, image, command, program) in [
        ("guest", &guest, &[][..], "/env-of-image.wasm"),
        ("linux", &linux, &["sh", "-c", script, "/bin/script"], "/bin/script"),
    ] {
        let mut config = kubelet.container(name, image, command);
        config.args = vec!["two words".into()];
        for (key, value) in [("FROM_POD", "a=b"), ("BOTH", "pod"), ("EMPTY", "")] {
            config.envs.push(KeyValue { key: key.into(), value: value.into() });
        }
        let container = pod.start(config);
        assert_eq!(container.wait().exit_code, 0);
        let output = container.output();
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[..2], [program, "two words"], "{output}");
        for variable in ["FROM_IMAGE=1", "FROM_POD=a=b", "BOTH=pod", "EMPTY=", "HOSTNAME=app"] {
            assert_eq!(lines.iter().filter(|&&line| line == variable).count(), 1, "{output}");
        }
    }
    pod.end();
}

fn the_working_directory(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    // The first directory that the guest has, whose file it prints, is the working directory.
    let image = Image::guest("print-in-srv", &guests::module("print-file"))
        .file("/srv/motd", b"of the day")
        .file("/motd", b"of the root");
    let mut config = kubelet.container("app", &image, &["/print-in-srv.wasm", "motd"]);
    config.working_dir = "/srv".into();
    let container = pod.start(config);
    assert_eq!(container.wait().exit_code, 0);
    assert_eq!(container.output(), "of the day");
    pod.end();
}

/// kubelet writes `/etc/hosts` itself and mounts it; `/etc/resolv.conf` it leaves to the plugin.
fn hosts_and_name_servers(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("app");
    config.dns_config = Some(DnsConfig {
        servers: vec!["192.0.2.53".into()],
        searches: vec!["example.test".into()],
        options: vec!["ndots:5".into()],
    });
    let pod = kubelet.run(config);
    let dir = directory();
    std::fs::write(dir.path().join("hosts"), "10.1.2.3 db.example.test\n").unwrap();
    let hosts = Mount {
        container_path: "/etc/hosts".into(),
        host_path: dir.path().join("hosts").to_string_lossy().into_owned(),
        ..Default::default()
    };
    let requests = ["/probe.wasm", "cat /etc/hosts", "cat /etc/resolv.conf", "cat /etc/hostname"];
    let mut guest = kubelet.container("guest", &probe(), &requests);
    guest.mounts.push(hosts.clone());
    let container = pod.start(guest);
    assert_eq!(container.wait().exit_code, 0);
    let expected = "10.1.2.3 db.example.test\n/etc/resolv.conf: search example.test\nnameserver \
                    192.0.2.53\noptions ndots:5\n/etc/hostname: app\n";
    assert_eq!(container.output().replace("cat ", ""), format!("/etc/hosts: {expected}"));

    let script = "cat /etc/hosts /etc/resolv.conf /etc/hostname";
    let mut linux = kubelet.container("linux", &Image::linux("shell"), &["sh", "-c", script]);
    linux.mounts.push(hosts);
    let container = pod.start(linux);
    assert_eq!(container.wait().exit_code, 0);
    assert_eq!(
        container.output(),
        expected.replace("/etc/resolv.conf: ", "").replace("/etc/hostname: ", "")
    );
    pod.end();
}

fn the_hostname_and_sysctls_are_the_pods(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("web-0");
    let sysctls = [("net.ipv4.ip_unprivileged_port_start", "80"), ("kernel.shm_rmid_forced", "1")];
    for (name, value) in sysctls {
        config.linux.as_mut().unwrap().sysctls.insert(name.into(), value.into());
    }
    let pod = kubelet.run(config);
    let script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced";
    let linux = kubelet.container("linux", &Image::linux("shell"), &["sh", "-c", script]);
    let container = pod.start(linux);
    container.wait();
    assert_eq!(container.output(), "web-0\n80\n1\n");
    // The guest is in the same namespaces, and may now listen where without the sysctl only root may.
    let serve = kubelet.container("guest", &probe(), &["/probe.wasm", "echo 127.0.0.1:80"]);
    let guest = pod.start(serve);
    guest.wait_for_output("listening on 127.0.0.1:80\n");
    for kind in ["uts", "ipc", "net"] {
        assert_eq!(guest.process().namespace(kind), pod.process().namespace(kind), "{kind}");
    }
    pod.end();
}

fn a_name_in_hosts_is_found(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    std::fs::write(dir.path().join("hosts"), "10.1.2.3 db.example.test db\n").unwrap();
    let mut config = kubelet.container("app", &probe(), &["/probe.wasm", "lookup db"]);
    config.mounts.push(Mount {
        container_path: "/etc/hosts".into(),
        host_path: dir.path().join("hosts").to_string_lossy().into_owned(),
        ..Default::default()
    });
    assert_eq!(answers(&pod, config), ["10.1.2.3"]);
    pod.end();
}
