//! A client of containerd's own API, for what `ctr` does not do: it has no `update`, starts what it creates, and
//! tells a failure's kind only in words.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    CheckpointTaskRequest, CloseIoRequest, CreateTaskRequest, DeleteProcessRequest,
    DeleteTaskRequest, ExecProcessRequest, GetContainerRequest, GetRequest, KillRequest,
    ListPidsRequest, MetricsRequest, PauseTaskRequest, ResizePtyRequest, ResumeTaskRequest,
    StartRequest, UpdateTaskRequest, WaitRequest,
};
use containerd_client::types::v1::{Process, Status};
use prost_types::Any;
use serde_json::Value;
use tokio::runtime::{self, Runtime};
use tonic::transport::Channel;
use tonic::{Code, Request, Response};

use super::containerd::{Containerd, LIMIT};
use super::image::Image;
use super::namespace::{Namespace, runtime};

/// A client in one namespace. Each blocks until it is answered: whoever waits for two answers at once has two clients.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    channel: Channel,
    namespace: String,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

/// What a call returns.
pub type Answer<T> = Result<T, Failure>;

/// Where a process's streams lead: empty is nowhere.
#[derive(Clone, Debug, Default)]
pub struct Io {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

impl Client {
    /// A client in `namespace`, of the containerd that has it.
    #[track_caller]
    pub fn of(namespace: &Namespace<'_>) -> Self {
        namespace.uses_containers();
        Self::connect(namespace.containerd(), namespace.name())
    }

    #[track_caller]
    pub(super) fn connect(containerd: &Containerd, namespace: &str) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let channel = runtime.block_on(containerd_client::connect(containerd.address()));
        Self { runtime, channel: channel.expect("connect"), namespace: namespace.to_owned() }
    }

    /// Does `work` with a channel and the request's message, within [`LIMIT`].
    pub fn call<M, A, F>(
        &self,
        message: M,
        work: impl FnOnce(Channel, Request<M>) -> F,
    ) -> Answer<A>
    where
        F: Future<Output = Result<Response<A>, tonic::Status>>,
    {
        let mut request = Request::new(message);
        let namespace = self.namespace.parse().expect("a namespace is plain text");
        request.metadata_mut().insert("containerd-namespace", namespace);
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(LIMIT, work(self.channel.clone(), request)).await
        });
        let answer = answer.unwrap_or_else(|_| panic!("no answer after {LIMIT:?}"));
        answer.map(Response::into_inner).map_err(Failure::from)
    }

    /// For whoever listens.
    pub(super) fn into_parts(self) -> (Runtime, Channel) {
        (self.runtime, self.channel)
    }

    fn task<M, A, F>(
        &self,
        message: M,
        work: impl FnOnce(TasksClient<Channel>, Request<M>) -> F,
    ) -> Answer<A>
    where
        F: Future<Output = Result<Response<A>, tonic::Status>>,
    {
        self.call(message, |channel, request| work(TasksClient::new(channel), request))
    }

    /// The task of the container `id`, created and not started; returns its first process.
    pub fn create(&self, id: &str, io: &Io) -> Answer<u32> {
        let container = self
            .call(GetContainerRequest { id: id.to_owned() }, |channel, request| async move {
                ContainersClient::new(channel).get(request).await
            })?;
        let container = container.container.expect("the container that was asked for");
        // A container of a whole config.json has files of its own.
        let rootfs = match container.snapshot_key.is_empty() {
            true => Vec::new(),
            false => {
                let of = MountsRequest {
                    snapshotter: container.snapshotter,
                    key: container.snapshot_key,
                };
                let mounts = self.call(of, |channel, request| async move {
                    SnapshotsClient::new(channel).mounts(request).await
                })?;
                mounts.mounts
            }
        };
        let request = CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs,
            stdin: io.stdin.clone(),
            stdout: io.stdout.clone(),
            stderr: io.stderr.clone(),
            terminal: io.terminal,
            ..Default::default()
        };
        self.task(request, |mut tasks, request| async move { tasks.create(request).await })
            .map(|created| created.pid)
    }

    /// Starts the task, or the process `exec` of it; returns the process.
    pub fn start(&self, id: &str, exec: &str) -> Answer<u32> {
        let request = StartRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.start(request).await })
            .map(|started| started.pid)
    }

    /// The state of a process.
    pub fn state(&self, id: &str, exec: &str) -> Answer<Process> {
        let request = GetRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.get(request).await })
            .map(|state| state.process.unwrap_or_default())
    }

    /// `RUNNING` and its like, of a process.
    pub fn status(&self, id: &str, exec: &str) -> Answer<&'static str> {
        self.state(id, exec).map(|process| {
            Status::try_from(process.status).map_or("a status nobody knows", |s| s.as_str_name())
        })
    }

    /// Sends a signal to a process, or with `all` to all of the container.
    pub fn kill(&self, id: &str, exec: &str, signal: u32, all: bool) -> Answer<()> {
        let request =
            KillRequest { container_id: id.to_owned(), exec_id: exec.to_owned(), signal, all };
        self.task(request, |mut tasks, request| async move { tasks.kill(request).await })
    }

    /// Waits for a process's end; returns its exit status.
    pub fn wait(&self, id: &str, exec: &str) -> Answer<u32> {
        let request = WaitRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.wait(request).await })
            .map(|exit| exit.exit_status)
    }

    /// Deletes the task; returns its exit status.
    pub fn delete(&self, id: &str) -> Answer<u32> {
        let request = DeleteTaskRequest { container_id: id.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.delete(request).await })
            .map(|deleted| deleted.exit_status)
    }

    /// Deletes a process that [`Self::exec`] added; returns its exit status.
    pub fn delete_process(&self, id: &str, exec: &str) -> Answer<u32> {
        let request =
            DeleteProcessRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.delete_process(request).await })
            .map(|deleted| deleted.exit_status)
    }

    /// Stops the task where it is.
    pub fn pause(&self, id: &str) -> Answer<()> {
        let request = PauseTaskRequest { container_id: id.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.pause(request).await })
    }

    /// Lets a paused task go on.
    pub fn resume(&self, id: &str) -> Answer<()> {
        let request = ResumeTaskRequest { container_id: id.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.resume(request).await })
    }

    /// Changes the resources, `linux.resources` of the specification.
    pub fn update(&self, id: &str, resources: &Value) -> Answer<()> {
        self.update_with(id, resources, &[])
    }

    /// The same with annotations.
    pub fn update_with(
        &self,
        id: &str,
        resources: &Value,
        annotations: &[(&str, &str)],
    ) -> Answer<()> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = UpdateTaskRequest {
            container_id: id.to_owned(),
            resources: Some(any("LinuxResources", resources)),
            annotations: annotations.iter().map(owned).collect::<HashMap<_, _>>(),
        };
        self.task(request, |mut tasks, request| async move { tasks.update(request).await })
    }

    /// Adds the process `exec`, `process` of the specification, to the task.
    pub fn exec(&self, id: &str, exec: &str, process: &Value, io: &Io) -> Answer<()> {
        let request = ExecProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            stdin: io.stdin.clone(),
            stdout: io.stdout.clone(),
            stderr: io.stderr.clone(),
            terminal: io.terminal,
            spec: Some(any("Process", process)),
        };
        self.task(request, |mut tasks, request| async move { tasks.exec(request).await }).map(drop)
    }

    /// The processes of the task.
    pub fn pids(&self, id: &str) -> Answer<Vec<u32>> {
        let request = ListPidsRequest { container_id: id.to_owned() };
        self.task(request, |mut tasks, request| async move { tasks.list_pids(request).await })
            .map(|list| list.processes.iter().map(|process| process.pid).collect())
    }

    /// How many sets of metrics there are of the task: one.
    pub fn metrics(&self, id: &str) -> Answer<usize> {
        let request = MetricsRequest { filters: vec![format!("id=={id}")] };
        self.task(request, |mut tasks, request| async move { tasks.metrics(request).await })
            .map(|metrics| metrics.metrics.len())
    }

    /// Tells a process that there will be no more input.
    pub fn close_stdin(&self, id: &str, exec: &str) -> Answer<()> {
        let request =
            CloseIoRequest { container_id: id.to_owned(), exec_id: exec.to_owned(), stdin: true };
        self.task(request, |mut tasks, request| async move { tasks.close_io(request).await })
    }

    /// Says how large a process's terminal is.
    pub fn resize(&self, id: &str, exec: &str, width: u32, height: u32) -> Answer<()> {
        let request = ResizePtyRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            width,
            height,
        };
        self.task(request, |mut tasks, request| async move { tasks.resize_pty(request).await })
    }

    /// Asks for a checkpoint.
    pub fn checkpoint(&self, id: &str) -> Answer<()> {
        let request = CheckpointTaskRequest { container_id: id.to_owned(), ..Default::default() };
        self.task(request, |mut tasks, request| async move { tasks.checkpoint(request).await })
            .map(drop)
    }
}

impl Namespace<'_> {
    /// A container `id` of `image` under our runtime, which has no task yet: [`Client::create`] makes it.
    #[track_caller]
    pub fn create_container(&self, image: &Image, id: &str, flags: &[&str], args: &[&str]) {
        self.create_container_under(&runtime(), image, id, flags, args);
    }

    /// The same under another runtime.
    #[track_caller]
    pub fn create_container_under(
        &self,
        runtime: &str,
        image: &Image,
        id: &str,
        flags: &[&str],
        args: &[&str],
    ) {
        let name = self.import(image);
        let mut ctr = self.command();
        ctr.args(["containers", "create", "--runtime", runtime]).args(flags).args([&name, id]);
        super::command::run(ctr.args(args), b"", Duration::from_secs(60)).expect_success();
    }
}

/// JSON of the runtime specification's, as containerd packs it.
fn any(kind: &str, value: &Value) -> Any {
    Any {
        type_url: format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}"),
        value: value.to_string().into_bytes(),
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}
