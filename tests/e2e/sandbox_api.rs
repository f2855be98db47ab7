//! Pods without a pause process: `sandboxer = "shim"`, which containerd 2 has.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_client::services::v1::sandbox;
use containerd_client::tonic::Request;
use containerd_client::{Client, types, with_namespace};
use k8s_cri::v1::{
    ContainerConfig, ContainerState, DnsConfig, IdMapping, ListPodSandboxStatsRequest, Mount,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxState, PodSandboxStatsRequest,
    PodSandboxStatusRequest, UserNamespace,
};
use libtest_mimic::Trial;
use prost::Message;
use prost_types::Any;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::command::eventually;
use crate::support::cri::{Kubelet, Node, Pod};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::leaks::{self, entries};
use crate::support::process::Process;
use crate::support::spec::directory;
use crate::support::suite::Suite;
use crate::support::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    macro_rules! sandbox_trials {
        ($($test:ident),* $(,)?) => {
            vec![$(trials::of_kubelet(
                module_path!(),
                stringify!($test),
                |kubelet| $test(&kubelet.without_pause()),
            )),*]
        };
    }
    sandbox_trials![
        a_pod_has_no_process_but_its_containers,
        containers_share_name_memory_and_files,
        the_server_itself_stays_in_the_nodes_namespaces,
        a_pod_in_the_nodes_network_has_the_nodes_name,
        containers_of_a_pod_with_shared_process_ids_see_each_other,
        no_container_has_the_nodes_process_ids_by_mistake,
        a_pod_on_the_node_has_the_nodes_process_ids,
        a_pod_has_a_user_namespace,
        a_pod_with_a_pause_container_has_a_user_namespace,
        a_refused_parameter_leaves_nothing,
        what_a_pod_uses_is_what_its_control_group_says,
        a_stopped_pod_takes_no_more_containers,
        a_killed_server_leaves_a_pod_that_can_be_removed,
        containerd_restarts_and_the_pod_goes_on,
    ]
}

/// What the tests of an older containerd lack.
const HANDLER: &str = "wasmtime-without-pause";

const LIMIT: Duration = Duration::from_secs(30);

trait WithoutPause {
    fn without_pause(&self) -> Kubelet<'_>;
}

impl WithoutPause for Kubelet<'_> {
    /// Another kubelet on the same node, whose pods are sandboxes of the shim.
    fn without_pause(&self) -> Kubelet<'_> {
        Kubelet::of(self.node(), "pods").with_handler(HANDLER)
    }
}

/// The process whose namespaces are the pod's, and the server.
#[track_caller]
fn processes(kubelet: &Kubelet<'_>, pod: &Pod<'_>) -> (u32, u32) {
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id().into(), verbose: true };
    let answer = kubelet.ask(|mut cri| async move { cri.pod_sandbox_status(request).await });
    let info: serde_json::Value = serde_json::from_str(&answer.unwrap().info["info"]).unwrap();
    let pid = |name: &str| u32::try_from(info[name].as_u64().unwrap()).unwrap();
    (pid("pid"), pid("shimPid"))
}

/// Stops and removes the pod; nothing of it may remain, of its sandbox neither.
#[track_caller]
fn end(kubelet: &Kubelet<'_>, pod: Pod<'_>) {
    let bundle = bundle(kubelet, pod.id());
    assert!(bundle.is_dir(), "{} is its bundle", bundle.display());
    pod.end();
    assert!(!bundle.exists(), "{} remains", bundle.display());
}

fn bundle(kubelet: &Kubelet<'_>, id: &str) -> PathBuf {
    let state = kubelet.node().containerd().state();
    state.join("io.containerd.sandbox.controller.v1.shim/k8s.io").join(id)
}

fn namespaces(config: &mut PodSandboxConfig) -> &mut NamespaceOption {
    let linux = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    linux.namespace_options.as_mut().unwrap()
}

/// A guest that waits for long.
fn sleeper() -> (Image, [&'static str; 2]) {
    (Image::guest("sleep", &guests::module("sleep")), ["/sleep.wasm", "1000"])
}

fn probe() -> Image {
    Image::guest("probe", &guests::probe("probe"))
}

const WAIT: &str = "while :; do sleep 0.1; done";

/// The ids of all processes in the control group of the pod.
fn in_group(pod: &Pod<'_>) -> Vec<u32> {
    let of_pod = |process: &Path| {
        let groups = std::fs::read_to_string(process.join("cgroup")).ok()?;
        groups.contains(&format!("/{}", pod.group())).then_some(())?;
        process.file_name()?.to_str()?.parse().ok()
    };
    let mut all: Vec<u32> =
        entries(Path::new("/proc")).filter_map(|process| of_pod(&process)).collect();
    all.sort_unstable();
    all
}

fn a_pod_has_no_process_but_its_containers(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    assert_eq!(pod.status().state(), PodSandboxState::SandboxReady);
    let (pid, server) = processes(kubelet, &pod);
    assert_eq!(pid, server, "the server holds the namespaces");
    assert_eq!(in_group(&pod), [0; 0], "no pause");
    let program = Suite::get().program("containerd-shim-wasmtime-v1");
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
    assert_eq!(children.unwrap().trim(), "");
    assert_eq!(std::fs::read_link(format!("/proc/{server}/exe")).unwrap(), program);

    let (image, args) = sleeper();
    let guest = pod.start(kubelet.container("guest", &image, &args));
    let linux = Image::linux("shell");
    let sidecar = pod.start(kubelet.container("sidecar", &linux, &["sh", "-c", "exec sleep 1000"]));
    let (guest, sidecar) = (guest.process(), sidecar.process());
    let parent = |process: &Process| process.status("PPid").parse::<u32>().unwrap();
    assert_eq!((parent(&guest), parent(&sidecar)), (server, server), "one server for all");
    let shared = Process::of(pid);
    let own = Process::own();
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(guest.namespace(kind), shared.namespace(kind), "{kind}");
        assert_eq!(sidecar.namespace(kind), shared.namespace(kind), "{kind}");
        assert_ne!(shared.namespace(kind), own.namespace(kind), "{kind}");
    }
    let pids = [&guest, &sidecar, &own].map(|process| process.namespace("pid"));
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2], "{pids:?}");
    assert_eq!(in_group(&pod).len(), 2);
    end(kubelet, pod);
}

fn containers_share_name_memory_and_files(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("app");
    config.hostname = "web-7".into();
    config.dns_config = Some(DnsConfig {
        servers: vec!["10.96.0.10".into()],
        searches: vec!["default.svc.test".into(), "test".into()],
        options: vec!["ndots:5".into()],
    });
    let sysctls = [("kernel.shm_rmid_forced", "1"), ("net.ipv4.ip_local_port_range", "4000 5000")];
    config.linux.as_mut().unwrap().sysctls =
        sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let pod = kubelet.run(config);

    let script = "hostname; cat /etc/hostname /etc/resolv.conf; cd /proc/sys; \
        cat kernel/shm_rmid_forced net/ipv4/ip_local_port_range net/ipv4/ip_unprivileged_port_start; \
        echo 'from the sidecar' >/dev/shm/note; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2";
    let linux = kubelet.container("sidecar", &Image::linux("shell"), &["sh", "-c", script]);
    let sidecar = pod.start(linux);
    assert_eq!(sidecar.wait().exit_code, 0, "{}", sidecar.errors());
    let resolv = "search default.svc.test test\nnameserver 10.96.0.10\noptions ndots:5\n";
    assert_eq!(
        sidecar.output(),
        format!("web-7\nweb-7\n{resolv}1\n4000\t5000\n0\n65536\n"),
        "{}",
        sidecar.errors()
    );

    let asked =
        ["cat /dev/shm/note", "cat /etc/hostname", "cat /etc/resolv.conf", "write /dev/shm/new x"];
    let command = [&["/probe.wasm"][..], &asked].concat();
    let guest = pod.start(kubelet.container("guest", &probe(), &command));
    assert_eq!(guest.wait().exit_code, 0, "{}", guest.errors());
    let expected = format!(
        "cat /dev/shm/note: from the sidecar\ncat /etc/hostname: web-7\ncat /etc/resolv.conf: {resolv}write /dev/shm/new x: ok\n"
    );
    assert_eq!(guest.output(), expected);

    // What kubelet mounts for itself stays as it is, and another pod has memory of its own.
    let other = kubelet.run_pod("other");
    let look = ["sh", "-c", "ls /dev/shm; hostname"];
    let other_sidecar = other.start(kubelet.container("sidecar", &Image::linux("shell"), &look));
    assert_eq!(other_sidecar.wait().exit_code, 0);
    assert_eq!(other_sidecar.output(), "other\n");
    other.stop().unwrap();
    other.remove().unwrap();
    end(kubelet, pod);
}

fn the_server_itself_stays_in_the_nodes_namespaces(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let (_, server) = processes(kubelet, &pod);
    let containerd = kubelet.node().containerd();
    let of = |thread: &Path, kind: &str| std::fs::read_link(thread.join("ns").join(kind)).unwrap();
    let node = PathBuf::from(format!("/proc/{}", containerd.pid()));
    let threads: Vec<_> = entries(Path::new(&format!("/proc/{server}/task"))).collect();
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        let first = thread.ends_with(server.to_string());
        for kind in ["net", "ipc", "uts"] {
            let here = of(&thread, kind) == of(&node, kind);
            assert_eq!(here, !first, "{kind} of {}", thread.display());
        }
    }
    end(kubelet, pod);
}

/// By containerd's own interface for sandboxes: its plugin for Kubernetes ends it when it is asked for such a pod, up to
/// containerd 2.2.
#[allow(clippy::needless_update, reason = "some requests have no more fields than all have")]
fn a_pod_in_the_nodes_network_has_the_nodes_name(kubelet: &Kubelet<'_>) {
    let id = format!("{}host", leaks::mark());
    let config = kubelet.host_pod("app");
    let group = config.linux.as_ref().unwrap().cgroup_parent.clone();
    let options =
        Any { type_url: "runtime.v1.PodSandboxConfig".into(), value: config.encode_to_vec() };
    let sandbox = types::Sandbox {
        sandbox_id: id.clone(),
        runtime: Some(types::sandbox::Runtime {
            name: "io.containerd.wasmtime.v1".into(),
            options: None,
        }),
        spec: Some(Any::default()),
        sandboxer: "shim".into(),
        ..Default::default()
    };
    let address = kubelet.node().containerd().address();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let client = Client::from_path(&address).await.unwrap();
        let mut controller = client.sandbox_controller();
        macro_rules! ask {
            ($method:ident, $request:ident $({ $($field:ident: $value:expr),* })?) => {{
                let request = sandbox::$request {
                    sandbox_id: id.clone(),
                    sandboxer: "shim".into(),
                    $($($field: $value,)*)?
                    ..Default::default()
                };
                let request = with_namespace!(request, "k8s.io");
                controller.$method(request).await.map(tonic::Response::into_inner)
            }};
        }
        let create = ask!(
            create,
            ControllerCreateRequest { options: Some(options), sandbox: Some(sandbox) }
        );
        create.unwrap();
        let status = ask!(status, ControllerStatusRequest).unwrap();
        assert_eq!((status.state.as_str(), status.pid), ("SANDBOX_NOTREADY", 0));
        let pid = ask!(start, ControllerStartRequest).unwrap().pid;
        let (process, node) = (Process::of(pid), Process::of(kubelet.node().containerd().pid()));
        for (kind, shared) in [("net", true), ("uts", true), ("ipc", false), ("pid", true)] {
            assert_eq!(process.namespace(kind) == node.namespace(kind), shared, "{kind}");
        }
        // What its group uses: there is none before the first container.
        let group = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'));
        std::fs::create_dir(&group).unwrap();
        let metric = ask!(metrics, ControllerMetricsRequest).unwrap().metrics.unwrap();
        assert_eq!(metric.id, id);
        assert_eq!(metric.data.unwrap().type_url, "io.containerd.cgroups.v2.Metrics");
        std::fs::remove_dir(&group).unwrap();
        ask!(stop, ControllerStopRequest).unwrap();
        let ended = ask!(wait, ControllerWaitRequest).unwrap();
        assert_eq!(ended.exit_status, 0);
        ask!(shutdown, ControllerShutdownRequest).unwrap();
        assert!(eventually(LIMIT, || !process.path("").exists()), "the server goes");
    });
    assert!(!bundle(kubelet, &id).exists());
}

/// A pod and its containers that see each other's processes.
fn shares_process_ids(kubelet: &Kubelet<'_>) -> PodSandboxConfig {
    let mut config = kubelet.pod("app");
    namespaces(&mut config).pid = NamespaceMode::Pod.into();
    config
}

fn sharing(mut config: ContainerConfig) -> ContainerConfig {
    let linux = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    linux.namespace_options.as_mut().unwrap().pid = NamespaceMode::Pod.into();
    config
}

fn containers_of_a_pod_with_shared_process_ids_see_each_other(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run(shares_process_ids(kubelet));
    let (holder, server) = processes(kubelet, &pod);
    assert_ne!(holder, server);
    let holder = Process::of(holder);
    assert_eq!(holder.status("NSpid").split(' ').nth(1), Some("1"), "its first process");
    assert_eq!(holder.descriptors(), []);
    assert_eq!(holder.status("CapPrm"), "0000000000000000");
    // Its root is empty, for whoever may look there through its process id.
    assert_eq!(entries(&holder.path("root")).count(), 0);
    assert_eq!(holder.mounts().len(), 1, "{:?}", holder.mounts());
    let (image, args) = sleeper();
    let guest = pod.start(sharing(kubelet.container("guest", &image, &args)));
    // Leaves a process to the first, which must collect it.
    let script = format!("(sleep 0.2 & exec true); ls -d /proc/[0-9]* | wc -l; {WAIT}");
    let linux = Image::linux("shell");
    let sidecar = pod.start(sharing(kubelet.container("sidecar", &linux, &["sh", "-c", &script])));
    let listed = eventually(LIMIT, || !sidecar.output().is_empty());
    assert!(listed, "{}", sidecar.errors());
    let count: u32 = sidecar.output().trim().parse().unwrap();
    assert!(count >= 4, "the holder, the guest, the shell and ls: {count}");
    for process in [guest.process(), sidecar.process()] {
        assert_eq!(process.namespace("pid"), holder.namespace("pid"));
        assert_eq!(process.namespace("ipc"), holder.namespace("ipc"));
        assert_eq!(process.namespace("net"), holder.namespace("net"));
    }
    let path = holder.path("task");
    let zombies = || {
        let pid = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let children = std::fs::read_to_string(path.join(pid).join("children")).unwrap();
        let state = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat"));
        children
            .split_whitespace()
            .filter(|pid| state(pid).is_ok_and(|s| s.contains(") Z")))
            .count()
    };
    assert!(eventually(LIMIT, || zombies() == 0), "it collects what is left to it");

    // Without its first process the pod is not ready.
    let pid = path.parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let ended = || pod.status().state() == PodSandboxState::SandboxNotready;
    assert!(eventually(LIMIT, ended), "{:?}", pod.status());
    assert_eq!(sidecar.wait().exit_code, 137);
    end(kubelet, pod);
}

fn no_container_has_the_nodes_process_ids_by_mistake(kubelet: &Kubelet<'_>) {
    // A pod whose process ids are each container's own, and a container that says it shares the pod's.
    let pod = kubelet.run_pod("app");
    let (image, args) = sleeper();
    for (name, image, args) in
        [("guest", &image, &args[..]), ("sidecar", &Image::linux("shell"), &["sh", "-c", WAIT])]
    {
        let container = pod.create(sharing(kubelet.container(name, image, args))).unwrap();
        let refused = container.start().unwrap_err();
        assert!(refused.message().contains("pid namespace"), "{refused}");
    }
    assert_eq!(in_group(&pod), [0; 0]);
    end(kubelet, pod);
}

fn a_pod_on_the_node_has_the_nodes_process_ids(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("app");
    namespaces(&mut config).pid = NamespaceMode::Node.into();
    let pod = kubelet.run(config);
    let mut config = kubelet.container("sidecar", &Image::linux("shell"), &["sh", "-c", WAIT]);
    let linux = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    linux.namespace_options.as_mut().unwrap().pid = NamespaceMode::Node.into();
    let process = pod.start(config).process();
    assert_eq!(process.namespace("pid"), Process::own().namespace("pid"));
    end(kubelet, pod);
}

/// The first id on the node of the pods' user namespace.
const FIRST: u32 = 0x50000;

fn a_pod_has_a_user_namespace(kubelet: &Kubelet<'_>) {
    let pod = runs_in_a_user_namespace(kubelet);
    let (holder, server) = processes(kubelet, &pod);
    assert_ne!(holder, server);
    let holder = Process::of(holder);
    assert_eq!(holder.status("Uid"), format!("{FIRST} {FIRST} {FIRST} {FIRST}"));
    end(kubelet, pod);
}

fn a_pod_with_a_pause_container_has_a_user_namespace(kubelet: &Kubelet<'_>) {
    let kubelet = Kubelet::of(kubelet.node(), "pause");
    let pod = runs_in_a_user_namespace(&kubelet);
    pod.end();
}

/// Runs a container of each kind in a pod with a user namespace: both are root of what is theirs, and nobody on the node; a
/// volume's files belong to the node's root.
#[track_caller]
fn runs_in_a_user_namespace<'a>(kubelet: &'a Kubelet<'a>) -> Pod<'a> {
    let map = || vec![IdMapping { host_id: FIRST, container_id: 0, length: 65536 }];
    let user = || UserNamespace { mode: NamespaceMode::Pod.into(), uids: map(), gids: map() };
    let mut config = kubelet.pod("app");
    namespaces(&mut config).userns_options = Some(user());
    let pod = kubelet.run(config);
    let volume = directory();
    std::fs::write(volume.path().join("old"), "old\n").unwrap();
    let with = |mut config: ContainerConfig| {
        let linux = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        linux.namespace_options.as_mut().unwrap().userns_options = Some(user());
        config.mounts.push(Mount {
            container_path: "/data".into(),
            host_path: volume.path().to_string_lossy().into_owned(),
            uid_mappings: map(),
            gid_mappings: map(),
            ..Default::default()
        });
        config
    };
    let script = "id -u; set -- $(cat /proc/self/uid_map); echo $1 $2 $3; stat -c %u:%g /bin /data/old /etc/hostname; \
        hostname; echo linux >/data/linux && echo mine >/mine && echo shared >/dev/shm/note && cat /mine; exec sleep 1000";
    let linux = Image::linux("shell");
    let sidecar = pod.start(with(kubelet.container("sidecar", &linux, &["sh", "-c", script])));
    sidecar.wait_for_output(&format!("0\n0 {FIRST} 65536\n0:0\n0:0\n0:0\napp\nmine\n"));
    let asked = ["cat /data/linux", "write /data/wasm x", "write /mine x", "cat /dev/shm/note"];
    let command = [&["/probe.wasm"][..], &asked].concat();
    let guest = pod.start(with(kubelet.container("guest", &probe(), &command)));
    assert_eq!(guest.wait().exit_code, 0, "{}", guest.errors());
    let expected = "cat /data/linux: linux\nwrite /data/wasm x: ok\nwrite /mine x: ok\ncat /dev/shm/note: shared\n";
    assert_eq!(guest.output(), expected);
    for name in ["linux", "wasm"] {
        let file = std::fs::metadata(volume.path().join(name)).unwrap();
        assert_eq!((file.uid(), file.gid()), (0, 0), "{name}");
    }
    let process = sidecar.process();
    assert_eq!(process.status("Uid"), format!("{FIRST} {FIRST} {FIRST} {FIRST}"));
    assert_ne!(process.namespace("user"), Process::own().namespace("user"));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("lighter-mounts"), "seen outside:\n{mounts}");
    pod
}

fn a_refused_parameter_leaves_nothing(kubelet: &Kubelet<'_>) {
    for (name, value) in [("net.ipv4.no_such", "1"), ("vm.swappiness", "1")] {
        let mut config = kubelet.pod("app");
        config.linux.as_mut().unwrap().sysctls = [(name.to_owned(), value.to_owned())].into();
        let refused = kubelet.try_run(config).unwrap_err();
        assert!(refused.message().contains(name), "{refused}");
    }
    let state = kubelet.node().containerd().state();
    let dir = state.join("io.containerd.sandbox.controller.v1.shim/k8s.io");
    let left = || entries(&dir).any(|bundle| is_unknown(kubelet, &bundle));
    assert!(eventually(LIMIT, || !left()), "bundles in {} remain", dir.display());
    kubelet.nothing_remains();
}

/// Whether no sandbox is known to which the bundle belongs.
fn is_unknown(kubelet: &Kubelet<'_>, bundle: &Path) -> bool {
    let pod_sandbox_id = bundle.file_name().unwrap().to_string_lossy().into_owned();
    let request = PodSandboxStatusRequest { pod_sandbox_id, verbose: false };
    kubelet.ask(|mut cri| async move { cri.pod_sandbox_status(request).await }).is_err()
}

fn what_a_pod_uses_is_what_its_control_group_says(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("spin", &guests::module("spin"));
    let spin = pod.start(kubelet.container("spin", &image, &[]));
    let group = Path::new("/sys/fs/cgroup").join(pod.group());
    let used = || -> u64 {
        let stat = std::fs::read_to_string(group.join("cpu.stat")).unwrap();
        let line = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        line.parse::<u64>().unwrap() * 1000
    };
    assert!(eventually(LIMIT, || used() > 200_000_000), "it spins");
    let before = used();
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.id().into() };
    let stats = kubelet.ask(|mut cri| async move { cri.pod_sandbox_stats(request).await });
    let stats = stats.unwrap().stats.unwrap().linux.unwrap();
    let after = used();
    let cpu = stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value;
    assert!((before..=after).contains(&cpu), "{before} <= {cpu} <= {after}");
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 100_000);
    assert_eq!(stats.process.unwrap().process_count.unwrap().value, 1);
    assert_eq!(stats.containers.len(), 1);
    assert_eq!(stats.containers[0].attributes.as_ref().unwrap().id, spin.id());

    let list = ListPodSandboxStatsRequest::default();
    let listed = kubelet.ask(|mut cri| async move { cri.list_pod_sandbox_stats(list).await });
    let listed = listed.unwrap().stats;
    let listed = listed.iter().find(|s| s.attributes.as_ref().unwrap().id == pod.id());
    let listed = listed.expect("it is listed").linux.as_ref().unwrap();
    assert!(listed.cpu.as_ref().unwrap().usage_core_nano_seconds.as_ref().unwrap().value >= cpu);
    end(kubelet, pod);
}

fn a_stopped_pod_takes_no_more_containers(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let (image, args) = sleeper();
    let guest = pod.start(kubelet.container("guest", &image, &args));
    let process = guest.process().path("");
    let (_, server) = processes(kubelet, &pod);
    pod.stop().unwrap();
    assert_eq!(pod.status().state(), PodSandboxState::SandboxNotready);
    assert!(!process.exists() && guest.is(ContainerState::ContainerExited));
    for kind in ["net", "ipc", "uts"] {
        let node = Process::of(kubelet.node().containerd().pid());
        assert_eq!(Process::of(server).namespace(kind), node.namespace(kind), "{kind} is left");
    }
    let late = pod.create(kubelet.container("late", &image, &args)).and_then(|late| late.start());
    late.unwrap_err();
    end(kubelet, pod);
}

#[track_caller]
fn killed_and_removed(kubelet: &Kubelet<'_>, config: PodSandboxConfig, shares: bool) {
    let pod = kubelet.run(config);
    let of = |config| if shares { sharing(config) } else { config };
    let (image, args) = sleeper();
    let guest = pod.start(of(kubelet.container("guest", &image, &args)));
    let linux = Image::linux("shell");
    let sidecar = pod.start(of(kubelet.container("sidecar", &linux, &["sh", "-c", WAIT])));
    let (holder, server) = processes(kubelet, &pod);
    let all = [guest.process(), sidecar.process(), Process::of(holder), Process::of(server)];
    kill_process(Pid::from_raw(server as i32).unwrap(), Signal::KILL).unwrap();
    // No answer while containerd notices.
    let ended = || pod.try_status().is_ok_and(|s| s.state() == PodSandboxState::SandboxNotready);
    assert!(eventually(LIMIT, ended), "{:?}", pod.status());
    let gone = || all.iter().all(|process| !process.path("").exists());
    assert!(eventually(LIMIT, gone), "{all:?}");
    for container in [&guest, &sidecar] {
        assert_ne!(container.wait().exit_code, 0);
    }
    // What the server had made goes before anybody asks for that.
    let bundle = bundle(kubelet, pod.id());
    assert!(eventually(LIMIT, || !bundle.join("lighter-pod").exists()), "{}", bundle.display());
    pod.end();
    assert!(!bundle.exists() || entries(&bundle).next().is_none(), "{} remains", bundle.display());
}

fn a_killed_server_leaves_a_pod_that_can_be_removed(kubelet: &Kubelet<'_>) {
    killed_and_removed(kubelet, kubelet.pod("app"), false);
    killed_and_removed(kubelet, shares_process_ids(kubelet), true);
}

fn containerd_restarts_and_the_pod_goes_on(_: &Kubelet<'_>) {
    let node = Node::start("restarted-node", "");
    let kubelet = Kubelet::of(&node, "restart").with_handler(HANDLER);
    let pod = kubelet.run_pod("app");
    let (image, args) = sleeper();
    let guest = pod.start(kubelet.container("guest", &image, &args));
    let process = guest.process();
    let (_, server) = processes(&kubelet, &pod);
    let address = pod.status().network.unwrap().ip;

    node.containerd().kill9();
    node.containerd().restart();
    let ready = || {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id().into(), verbose: false };
        kubelet.ask(|mut cri| async move { cri.pod_sandbox_status(request).await }).is_ok()
    };
    assert!(eventually(LIMIT, ready), "{}", node.containerd().log());
    assert_eq!(pod.status().state(), PodSandboxState::SandboxReady);
    assert_eq!(pod.status().network.unwrap().ip, address);
    assert_eq!(processes(&kubelet, &pod), (server, server));
    assert!(guest.is(ContainerState::ContainerRunning) && process.path("").exists());

    // It takes containers as before, and sees them end.
    let sidecar = kubelet.container("sidecar", &Image::linux("shell"), &["sh", "-c", WAIT]);
    let sidecar = pod.start(sidecar);
    assert_eq!(sidecar.process().namespace("ipc"), process.namespace("ipc"));
    guest.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(guest.status().exit_code, 143);
    end(&kubelet, pod);
    drop(kubelet);
    drop(node);
}
