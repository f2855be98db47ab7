//! A client of containerd's own API: `ctr` would hide in its own start what is to be seen.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use containerd_client::services::v1::container::Runtime as ContainerRuntime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest,
    DeleteProcessRequest, DeleteTaskRequest, ExecProcessRequest, KillRequest, StartRequest,
    WaitRequest,
};
use containerd_client::types::Mount;
use prost_types::Any;
use serde_json::Value;
use tokio::runtime::{self, Runtime};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// No answer takes longer.
const LIMIT: Duration = Duration::from_secs(120);

const SNAPSHOTTER: &str = "overlayfs";

/// A client in one namespace. Each call blocks until it is answered.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    channel: Channel,
    namespace: String,
}

impl Client {
    /// Connects to the containerd that listens at `socket`.
    ///
    /// # Errors
    /// The transport's.
    pub fn connect(socket: &Path, namespace: &str) -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let channel = runtime.block_on(containerd_client::connect(socket))?;
        Ok(Self { runtime, channel, namespace: namespace.to_owned() })
    }

    fn call<M, A, F>(&self, message: M, work: impl FnOnce(Channel, Request<M>) -> F) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.parse()?);
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(LIMIT, work(self.channel.clone(), request)).await
        });
        let answer = answer.with_context(|| format!("no answer after {LIMIT:?}"))?;
        answer.map(Response::into_inner).map_err(|status| anyhow::anyhow!("{}", status.message()))
    }

    /// Makes a snapshot to write to; returns how to mount it.
    pub fn prepare(&self, key: &str, parent: &str) -> Result<Vec<Mount>> {
        let request = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            // Otherwise it may be collected before there is a container that uses it.
            labels: HashMap::from([("containerd.io/gc.root".to_owned(), "now".to_owned())]),
        };
        let prepared = self.call(request, |channel, request| async move {
            SnapshotsClient::new(channel).prepare(request).await
        });
        Ok(prepared.with_context(|| format!("prepare snapshot {key} above {parent}"))?.mounts)
    }

    /// Makes a container, which has no task yet.
    pub fn add(
        &self,
        id: &str,
        image: &str,
        runtime: &str,
        options: Option<Any>,
        spec: &Value,
    ) -> Result<()> {
        let container = Container {
            id: id.to_owned(),
            image: image.to_owned(),
            runtime: Some(ContainerRuntime { name: runtime.to_owned(), options }),
            spec: Some(any("Spec", spec)),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: id.to_owned(),
            ..Default::default()
        };
        let request = CreateContainerRequest { container: Some(container) };
        self.call(request, |channel, request| async move {
            ContainersClient::new(channel).create(request).await
        })
        .with_context(|| format!("make container {id}"))?;
        Ok(())
    }

    /// Creates the container's task; returns its process.
    pub fn create(&self, id: &str, rootfs: Vec<Mount>, stdout: &str) -> Result<u32> {
        let request = CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs,
            stdout: stdout.to_owned(),
            // The shim of runc opens both, whatever they are called.
            stderr: stdout.to_owned(),
            ..Default::default()
        };
        let created = self.call(request, |channel, request| async move {
            TasksClient::new(channel).create(request).await
        });
        Ok(created.with_context(|| format!("create task {id}"))?.pid)
    }

    /// Adds a process to the task.
    pub fn exec(&self, id: &str, exec: &str, process: &Value, stdout: &str) -> Result<()> {
        let request = ExecProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            stdout: stdout.to_owned(),
            // The shim of runc opens both, whatever they are called.
            stderr: stdout.to_owned(),
            spec: Some(any("Process", process)),
            ..Default::default()
        };
        let added = self.call(request, |channel, request| async move {
            TasksClient::new(channel).exec(request).await
        });
        added.with_context(|| format!("add process {exec} to task {id}"))
    }

    /// Starts the task, or a process of it.
    pub fn start(&self, id: &str, exec: &str) -> Result<()> {
        let request = StartRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        let started = self.call(request, |channel, request| async move {
            TasksClient::new(channel).start(request).await
        });
        started.with_context(|| format!("start task {id}")).map(drop)
    }

    /// Kills the task.
    pub fn kill(&self, id: &str) -> Result<()> {
        let request =
            KillRequest { container_id: id.to_owned(), signal: 9, all: true, ..Default::default() };
        self.call(request, |channel, request| async move {
            TasksClient::new(channel).kill(request).await
        })
    }

    /// Waits for the end of the task, or of a process of it; returns its exit status.
    pub fn wait(&self, id: &str, exec: &str) -> Result<u32> {
        let request = WaitRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        let exit = self.call(request, |channel, request| async move {
            TasksClient::new(channel).wait(request).await
        });
        Ok(exit.with_context(|| format!("wait for task {id}"))?.exit_status)
    }

    /// Deletes a process of the task that has ended.
    pub fn remove_process(&self, id: &str, exec: &str) -> Result<()> {
        let request =
            DeleteProcessRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        let removed = self.call(request, |channel, request| async move {
            TasksClient::new(channel).delete_process(request).await
        });
        removed.with_context(|| format!("remove process {exec} of task {id}")).map(drop)
    }

    /// Deletes the task, the container and its snapshot: what one fails at does not keep the others from being tried.
    pub fn remove(&self, id: &str) -> Result<()> {
        let task = DeleteTaskRequest { container_id: id.to_owned() };
        let task = self.call(task, |channel, request| async move {
            TasksClient::new(channel).delete(request).await
        });
        let container = DeleteContainerRequest { id: id.to_owned() };
        let container = self.call(container, |channel, request| async move {
            ContainersClient::new(channel).delete(request).await
        });
        let snapshot =
            RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: id.to_owned() };
        let snapshot = self.call(snapshot, |channel, request| async move {
            SnapshotsClient::new(channel).remove(request).await
        });
        task.map(drop).and(container).and(snapshot).with_context(|| format!("remove {id}"))
    }
}

/// JSON of the runtime specification's, as containerd packs it.
fn any(kind: &str, value: &Value) -> Any {
    Any {
        type_url: format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}"),
        value: value.to_string().into_bytes(),
    }
}
