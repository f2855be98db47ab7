//! Requests to the CRI plugin with what kubelet puts into them.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    ListPodSandboxRequest, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    SecurityProfile,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::node::{NAMESPACE, Node};
use super::pod::Pod;
use crate::support::command::{eventually, run};
use crate::support::containerd::LIMIT;
use crate::support::image::Image;
use crate::support::leaks::{self, cgroups_named, entries};
use crate::support::spec::directory;
use crate::support::suite::Suite;

/// The handler that our drop-ins define, or the one in `LIGHTER_HANDLER`: the tests of Linux containers can be tried with
/// `runc`.
fn handler() -> String {
    std::env::var("LIGHTER_HANDLER").unwrap_or_else(|_| "wasmtime".into())
}

/// What kubelet masks in containers that are not privileged, and makes read-only.
const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The kubelet of one test: its pods are known by its name.
#[derive(Debug)]
pub struct Kubelet<'a> {
    node: &'a Node,
    name: String,
    handler: String,
    tokio: Runtime,
    cri: RuntimeServiceClient<Channel>,
    logs: TempDir,
    /// The ids of all pods and containers that there ever were.
    ids: Mutex<Vec<String>>,
}

impl Kubelet<'static> {
    /// On the shared node, for the test `test`, a path such as `cri::life::exit_codes`.
    pub fn for_test(test: &str) -> Self {
        Self::of(Node::shared(), test)
    }
}

impl<'a> Kubelet<'a> {
    /// On a node of your own.
    pub fn of(node: &'a Node, test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = format!("unix:{}", node.containerd().address().display());
        let endpoint = Endpoint::from_shared(address).expect("a socket's path makes an address");
        // Connects with the first request, and again after containerd was away.
        let channel = tokio.block_on(async { endpoint.connect_lazy() });
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let words: Vec<&str> = test.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let name: String = words.join("-").chars().take(40).collect();
        Self {
            node,
            name: format!("{}{number}-{name}", leaks::mark()),
            handler: handler(),
            tokio,
            cri: RuntimeServiceClient::new(channel),
            logs: directory(),
            ids: Mutex::default(),
        }
    }

    /// The same with the runtime handler `handler` of containerd's configuration.
    pub fn with_handler(self, handler: &str) -> Self {
        Self { handler: handler.into(), ..self }
    }

    /// Where the pods are.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The runtime handler that its pods ask for.
    pub fn handler(&self) -> &str {
        &self.handler
    }

    /// Imports `image` for all pods of the node, and returns its name.
    #[track_caller]
    pub fn import(&self, image: &Image) -> String {
        self.node.import(image)
    }

    /// One request, such as `|mut cri| async move { cri.version(request).await }`.
    ///
    /// # Errors
    /// The plugin's.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn ask<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        request: impl FnOnce(RuntimeServiceClient<Channel>) -> F,
    ) -> Result<T, Status> {
        let answer = async { tokio::time::timeout(LIMIT, request(self.cri.clone())).await };
        match self.tokio.block_on(answer) {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => panic!("no answer from containerd after {LIMIT:?}"),
        }
    }

    /// Waits until the plugin takes requests, as after containerd's start.
    ///
    /// # Panics
    /// When it does not after a generous time.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let ready = || {
            let request = ListPodSandboxRequest::default();
            self.ask(|mut cri| async move { cri.list_pod_sandbox(request).await }).is_ok()
        };
        assert!(eventually(LIMIT, ready), "the plugin does not answer");
    }

    /// The directory of the control groups, and of the logs, of the pod `pod`.
    pub fn place(&self, pod: &str) -> (String, PathBuf) {
        let name = format!("{}-{pod}", self.name);
        let logs = self.logs.path().join(&name);
        (name, logs)
    }

    /// The request for the pod `pod`, with a network of its own.
    pub fn pod(&self, pod: &str) -> PodSandboxConfig {
        let (place, logs) = self.place(pod);
        std::fs::create_dir_all(&logs).unwrap();
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: pod.into(),
                uid: place.clone(),
                namespace: self.name.clone(),
                attempt: 0,
            }),
            hostname: pod.into(),
            log_directory: logs.to_string_lossy().into_owned(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("/{place}"),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces()),
                    seccomp: Some(SecurityProfile::default()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// The request for the pod `pod` in the node's network.
    pub fn host_pod(&self, pod: &str) -> PodSandboxConfig {
        let mut config = self.pod(pod);
        // The node's own stays.
        config.hostname.clear();
        let linux = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        linux.namespace_options.as_mut().unwrap().network = NamespaceMode::Node.into();
        config
    }

    /// The request for a container of `image`, whose program is the image's unless `command` has words.
    #[track_caller]
    pub fn container(&self, name: &str, image: &Image, command: &[&str]) -> ContainerConfig {
        let image = self.import(image);
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(ImageSpec { image, ..Default::default() }),
            command: command.iter().map(|&word| word.into()).collect(),
            log_path: format!("{name}/0.log"),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    cpu_period: 100_000,
                    cpu_shares: 2,
                    oom_score_adj: 1000,
                    ..Default::default()
                }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                    seccomp: Some(SecurityProfile::default()),
                    masked_paths: MASKED.map(str::to_owned).into(),
                    readonly_paths: READ_ONLY.map(str::to_owned).into(),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    /// Runs the pod.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn run(&self, config: PodSandboxConfig) -> Pod<'_> {
        self.try_run(config).unwrap_or_else(|status| panic!("RunPodSandbox: {status}"))
    }

    /// Asks for the pod.
    ///
    /// # Errors
    /// The plugin's.
    pub fn try_run(&self, config: PodSandboxConfig) -> Result<Pod<'_>, Status> {
        Pod::run(self, config)
    }

    /// Runs the pod `pod`, which has nothing special.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn run_pod(&self, pod: &str) -> Pod<'_> {
        self.run(self.pod(pod))
    }

    /// The first process of the pod or container `id`, which containerd's own list of tasks tells.
    #[track_caller]
    pub(super) fn pid(&self, id: &str) -> u32 {
        let mut ctr = self.node.containerd().command();
        let list =
            run(ctr.args(["--namespace", NAMESPACE, "task", "ls"]), b"", LIMIT).expect_success();
        let text = list.text();
        let line = text.lines().find_map(|line| line.strip_prefix(id));
        let pid = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        pid.unwrap_or_else(|| panic!("there is no task {id} in:\n{text}"))
    }

    /// Notes what there is, for the search of [`Self::nothing_remains`].
    pub(super) fn note(&self, id: &str) {
        self.ids.lock().unwrap().push(id.into());
    }

    /// Panics with a list of what there still is of the pods and containers that there ever were.
    #[track_caller]
    pub fn nothing_remains(&self) {
        let mut left = Vec::new();
        let clean = eventually(Duration::from_secs(10), || {
            left = self.remains();
            left.is_empty()
        });
        assert!(clean, "left behind:\n{}", left.join("\n"));
    }

    fn remains(&self) -> Vec<String> {
        let ids = self.ids.lock().unwrap();
        let of_ours =
            |text: &str| text.contains(&self.name) || ids.iter().any(|id| text.contains(&**id));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read our mounts");
        let mounts =
            mounts.lines().filter(|line| of_ours(line)).map(|line| format!("mount {line}"));
        let bundles = self.node.containerd().bundle(NAMESPACE, "any");
        let bundles = entries(bundles.parent().expect("a bundle is in a directory"));
        let bundles = bundles.map(|bundle| format!("bundle {}", bundle.display()));
        let bundles = bundles.filter(|line| of_ours(line));
        let groups = cgroups_named(|name| name.starts_with(&self.name));
        let groups = groups.iter().flat_map(|dir| entries(dir)).filter(|path| path.is_dir());
        let groups = groups.map(|path| format!("cgroup {}", path.display()));
        let processes = entries("/proc".as_ref()).filter_map(|process| {
            let exe = std::fs::read_link(process.join("exe")).ok()?;
            let cmdline = std::fs::read_to_string(process.join("cmdline")).ok()?;
            let groups = std::fs::read_to_string(process.join("cgroup")).ok()?;
            let ours = exe.starts_with(Suite::get().programs()) && of_ours(&cmdline);
            (ours || groups.contains(&self.name))
                .then(|| format!("process {}: {}", process.display(), cmdline.replace('\0', " ")))
        });
        mounts.chain(bundles).chain(groups).chain(processes).collect()
    }
}

/// What a pod shares, as kubelet has it unless the pod asks for something else.
fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Pod.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..Default::default()
    }
}
