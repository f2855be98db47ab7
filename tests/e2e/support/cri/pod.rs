//! A pod and its containers, from the request to the removal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_cri::v1::{
    ContainerConfig, ContainerState, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, ExecSyncResponse, PodSandboxConfig, PodSandboxStatus,
    PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};
use tonic::Status;

use super::kubelet::Kubelet;
use super::log::{Line, Stream, read, written};
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::process::Process;

/// A pod that runs; stopped and removed when dropped, with all its containers.
#[derive(Debug)]
pub struct Pod<'a> {
    kubelet: &'a Kubelet<'a>,
    config: PodSandboxConfig,
    id: String,
}

/// A container of a pod, which goes with it.
#[derive(Debug)]
pub struct Container<'a> {
    kubelet: &'a Kubelet<'a>,
    id: String,
    log: PathBuf,
}

impl<'a> Pod<'a> {
    /// RunPodSandbox
    pub(super) fn run(kubelet: &'a Kubelet<'a>, config: PodSandboxConfig) -> Result<Self, Status> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: kubelet.handler().into(),
        };
        let answer = kubelet.ask(|mut cri| async move { cri.run_pod_sandbox(request).await })?;
        kubelet.note(&answer.pod_sandbox_id);
        Ok(Self { kubelet, config, id: answer.pod_sandbox_id })
    }

    /// The id that containerd gave it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the control group that it has its containers' groups in.
    pub fn group(&self) -> &str {
        self.config.linux.as_ref().unwrap().cgroup_parent.trim_start_matches('/')
    }

    /// PodSandboxStatus
    ///
    /// # Errors
    /// The plugin's.
    pub fn try_status(&self) -> Result<PodSandboxStatus, Status> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose: false };
        let answer =
            self.kubelet.ask(|mut cri| async move { cri.pod_sandbox_status(request).await });
        answer.map(|answer| answer.status.expect("the status is there"))
    }

    /// PodSandboxStatus
    #[track_caller]
    pub fn status(&self) -> PodSandboxStatus {
        self.try_status().expect("PodSandboxStatus")
    }

    /// The process of the pod's own container, which has the pod's namespaces.
    #[track_caller]
    pub fn process(&self) -> Process {
        Process::of(self.kubelet.pid(&self.id))
    }

    /// CreateContainer. Of the namespaces that a container shares with its pod, it has the pod's network.
    ///
    /// # Errors
    /// The plugin's.
    pub fn create(&self, mut config: ContainerConfig) -> Result<Container<'a>, Status> {
        let sandbox = self.config.linux.as_ref().unwrap().security_context.as_ref().unwrap();
        let network = sandbox.namespace_options.as_ref().unwrap().network;
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.namespace_options.as_mut().unwrap().network = network;
        let log = PathBuf::from(&self.config.log_directory).join(&config.log_path);
        std::fs::create_dir_all(log.parent().expect("a log is in a directory")).unwrap();
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let kubelet = self.kubelet;
        let answer = kubelet.ask(|mut cri| async move { cri.create_container(request).await })?;
        kubelet.note(&answer.container_id);
        Ok(Container { kubelet, id: answer.container_id, log })
    }

    /// CreateContainer and StartContainer.
    ///
    /// # Panics
    /// When either is refused.
    #[track_caller]
    pub fn start(&self, config: ContainerConfig) -> Container<'a> {
        let container = self.create(config).unwrap_or_else(|e| panic!("CreateContainer: {e}"));
        container.start().unwrap_or_else(|e| panic!("StartContainer: {e}"));
        container
    }

    /// Runs a container to its end, as init containers run. Returns how it ended, and its log.
    #[track_caller]
    pub fn run_container(&self, config: ContainerConfig) -> (ContainerStatus, Vec<Line>) {
        let container = self.start(config);
        let status = container.wait();
        (status, container.lines())
    }

    /// StopPodSandbox, which ends all its containers.
    ///
    /// # Errors
    /// The plugin's.
    pub fn stop(&self) -> Result<(), Status> {
        let request = StopPodSandboxRequest { pod_sandbox_id: self.id.clone() };
        let stop = self.kubelet.ask(|mut cri| async move { cri.stop_pod_sandbox(request).await });
        stop.map(drop)
    }

    /// RemovePodSandbox, which removes all its containers.
    ///
    /// # Errors
    /// The plugin's.
    pub fn remove(&self) -> Result<(), Status> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        let kubelet = self.kubelet;
        kubelet.ask(|mut cri| async move { cri.remove_pod_sandbox(request).await }).map(drop)
    }

    /// Stops and removes it, and looks for what is left of it.
    #[track_caller]
    pub fn end(self) {
        self.stop().unwrap_or_else(|e| panic!("StopPodSandbox: {e}"));
        self.remove().unwrap_or_else(|e| panic!("RemovePodSandbox: {e}"));
        self.kubelet.nothing_remains();
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // A test that passes has done so itself; both may be done twice.
        let _ = self.stop();
        let _ = self.remove();
    }
}

impl Container<'_> {
    /// The id that containerd gave it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// StartContainer
    ///
    /// # Errors
    /// The plugin's.
    pub fn start(&self) -> Result<(), Status> {
        let request = StartContainerRequest { container_id: self.id.clone() };
        self.kubelet.ask(|mut cri| async move { cri.start_container(request).await }).map(drop)
    }

    /// ContainerStatus
    ///
    /// # Errors
    /// The plugin's, such as that it is not there.
    pub fn try_status(&self) -> Result<ContainerStatus, Status> {
        let request = ContainerStatusRequest { container_id: self.id.clone(), verbose: false };
        let answer = self.kubelet.ask(|mut cri| async move { cri.container_status(request).await });
        answer.map(|answer| answer.status.expect("the status is there"))
    }

    /// ContainerStatus
    #[track_caller]
    pub fn status(&self) -> ContainerStatus {
        self.try_status().unwrap_or_else(|e| panic!("ContainerStatus: {e}"))
    }

    /// Whether it is in `state`.
    #[track_caller]
    pub fn is(&self, state: ContainerState) -> bool {
        self.status().state() == state
    }

    /// Waits until it has ended, as kubelet does: by asking.
    ///
    /// # Panics
    /// When it has not after a generous time.
    #[track_caller]
    pub fn wait(&self) -> ContainerStatus {
        let ended = eventually(LIMIT, || self.is(ContainerState::ContainerExited));
        assert!(ended, "{} does not end: {:?}", self.id, self.status());
        self.status()
    }

    /// The id of its first process, as the host sees it.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.kubelet.pid(&self.id)
    }

    /// Its first process, as the host sees it.
    #[track_caller]
    pub fn process(&self) -> Process {
        Process::of(self.pid())
    }

    /// StopContainer: SIGTERM, or the image's signal, and SIGKILL after `grace`, which is in whole seconds.
    ///
    /// # Errors
    /// The plugin's.
    pub fn stop(&self, grace: Duration) -> Result<(), Status> {
        let timeout = i64::try_from(grace.as_secs()).expect("a grace of less than centuries");
        let request = StopContainerRequest { container_id: self.id.clone(), timeout };
        self.kubelet.ask(|mut cri| async move { cri.stop_container(request).await }).map(drop)
    }

    /// RemoveContainer
    ///
    /// # Errors
    /// The plugin's.
    pub fn remove(&self) -> Result<(), Status> {
        let request = RemoveContainerRequest { container_id: self.id.clone() };
        self.kubelet.ask(|mut cri| async move { cri.remove_container(request).await }).map(drop)
    }

    /// ExecSync, by which probes and hooks run programs; `timeout` is in whole seconds, and 0 for none.
    ///
    /// # Errors
    /// The plugin's.
    pub fn exec(&self, command: &[&str], timeout: Duration) -> Result<ExecSyncResponse, Status> {
        let request = ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|&word| word.into()).collect(),
            timeout: i64::try_from(timeout.as_secs()).expect("less than centuries"),
        };
        self.kubelet.ask(|mut cri| async move { cri.exec_sync(request).await })
    }

    /// The file of its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The lines of its log so far.
    #[track_caller]
    pub fn lines(&self) -> Vec<Line> {
        read(&self.log)
    }

    /// What it has written to standard output so far.
    #[track_caller]
    pub fn output(&self) -> String {
        written(&self.lines(), Stream::Stdout)
    }

    /// What it has written to standard error so far.
    #[track_caller]
    pub fn errors(&self) -> String {
        written(&self.lines(), Stream::Stderr)
    }

    /// Waits until its standard output is `expected`.
    ///
    /// # Panics
    /// When it is not after a generous time.
    #[track_caller]
    pub fn wait_for_output(&self, expected: &str) {
        let said = eventually(LIMIT, || self.output() == expected);
        assert!(said, "it wrote {:?}, and {:?}", self.output(), self.errors());
    }
}
