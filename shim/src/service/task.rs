//! containerd's Task service, in both of its versions: they differ only in name.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::shim_async::{Task as TaskService, create_task};
use containerd_shim_protos::ttrpc::Result;
use containerd_shim_protos::ttrpc::r#async::{Service as Methods, TtrpcContext};
use lighter::container::ExecSpec;
use lighter::trace::{self, Who};

use super::convert::{metrics, mount, options, process_info, resources, status, timestamp};
use crate::process::{Name, Phase};
use crate::sandbox::Sandbox;
use crate::stdio::Paths;
use crate::task::{Code, Error};
use crate::tasks::{NewTask, Tasks};

/// The service under its names of 1.x and 2.x.
const TASK_VERSIONS: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// Services that containerd may ask for and that are not offered: each of their methods answers UNIMPLEMENTED.
const NOT_OFFERED: [&str; 1] = ["containerd.services.streaming.v1.Streaming"];

/// All services of this server.
pub(crate) fn services(
    tasks: &Arc<Tasks>,
    sandbox: &Arc<Sandbox>,
) -> Vec<HashMap<String, Methods>> {
    let task = TASK_VERSIONS.map(|name| {
        let methods =
            create_task(Arc::new(Service { tasks: tasks.clone(), sandbox: sandbox.clone() }));
        methods.into_values().map(|methods| (name.to_owned(), methods)).collect()
    });
    let none = NOT_OFFERED.map(|name| {
        let nothing = Methods { methods: HashMap::new(), streams: HashMap::new() };
        HashMap::from([(name.to_owned(), nothing)])
    });
    let pods = [super::sandbox::service(sandbox, tasks)];
    task.into_iter().chain(none).chain(pods).collect()
}

struct Service {
    tasks: Arc<Tasks>,
    sandbox: Arc<Sandbox>,
}

impl Service {
    /// For what is not supported; a task must exist all the same.
    fn unsupported<T>(&self, id: &str, what: &str) -> Result<T> {
        self.tasks.get(id).map_err(status)?;
        Err(status(Error::unsupported(what)))
    }
}

#[async_trait]
impl TaskService for Service {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> Result<api::CreateTaskResponse> {
        trace::step(Who::Supervisor, "Create received");
        if !request.checkpoint.is_empty() {
            return Err(status(Error::unsupported("restoring a checkpoint")));
        }
        self.sandbox.admit(&request.id, request.bundle.as_ref()).map_err(status)?;
        let options = options(request.options.as_ref()).map_err(status)?;
        let config = options.source.load().map_err(|refusal| status(refusal.into()))?;
        if let Some(level) = config.log_level {
            log::set_max_level(level.into());
        }
        trace::step(Who::Supervisor, "configuration read");
        let new = NewTask {
            id: request.id,
            bundle: request.bundle.into(),
            rootfs: request.rootfs.into_iter().map(mount).collect(),
            paths: Paths {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            },
            config,
            systemd_cgroup: options.systemd_cgroup,
        };
        let pid = self.tasks.create(new).await.map_err(status)?;
        trace::step(Who::Supervisor, "Create done");
        Ok(api::CreateTaskResponse { pid, ..Default::default() })
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> Result<api::StartResponse> {
        trace::step(Who::Supervisor, "Start received");
        let pid = match request.exec_id.as_str() {
            "" => self.tasks.start(&request.id).await,
            exec_id => self.tasks.start_exec(&request.id, exec_id).await,
        };
        let pid = pid.map_err(status)?;
        trace::step(Who::Supervisor, "Start done");
        Ok(api::StartResponse { pid, ..Default::default() })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> Result<api::StateResponse> {
        let task = self.tasks.get(&request.id).map_err(status)?;
        let process = task.process(&request.exec_id).map_err(status)?;
        let pid = match &process.name {
            Name::Task(_) => task.pid(),
            Name::Exec(id) => task.exec(id).map_err(status)?.pid(),
        };
        // One after the other: they may be the same.
        let of_first = task.first.state().phase;
        let phase = match process.state().phase {
            // All of a container stands still.
            Phase::Running if of_first == Phase::Paused => Phase::Paused,
            phase => phase,
        };
        let (state, exit) = match phase {
            Phase::Creating => (api::Status::UNKNOWN, None),
            Phase::Created | Phase::Starting => (api::Status::CREATED, None),
            Phase::Running => (api::Status::RUNNING, None),
            Phase::Paused => (api::Status::PAUSED, None),
            Phase::Stopped(exit) | Phase::Deleting(exit) => (api::Status::STOPPED, Some(exit)),
        };
        Ok(api::StateResponse {
            id: process.name.id().to_owned(),
            bundle: task.bundle.display().to_string(),
            pid,
            status: EnumOrUnknown::new(state),
            stdin: process.paths.stdin.clone(),
            stdout: process.paths.stdout.clone(),
            stderr: process.paths.stderr.clone(),
            terminal: process.paths.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> Result<api::Empty> {
        let signal = i32::try_from(request.signal).map_err(|_| {
            status(Error::new(
                Code::InvalidArgument,
                format!("there is no signal {}", request.signal),
            ))
        })?;
        let killed = match request.exec_id.as_str() {
            "" => self.tasks.kill(&request.id, signal, request.all).await,
            exec_id => self.tasks.kill_exec(&request.id, exec_id, signal),
        };
        killed.map_err(status)?;
        Ok(api::Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> Result<api::WaitResponse> {
        let exit = match request.exec_id.as_str() {
            "" => self.tasks.wait(&request.id).await,
            exec_id => self.tasks.wait_exec(&request.id, exec_id).await,
        };
        let exit = exit.map_err(status)?;
        let exited_at = MessageField::some(timestamp(exit.at));
        Ok(api::WaitResponse { exit_status: exit.status, exited_at, ..Default::default() })
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> Result<api::DeleteResponse> {
        let deleted = match request.exec_id.as_str() {
            "" => self.tasks.delete(&request.id).await,
            exec_id => self.tasks.delete_exec(&request.id, exec_id).await,
        };
        let (pid, exit) = deleted.map_err(status)?;
        let exited_at = MessageField::some(timestamp(exit.at));
        Ok(api::DeleteResponse { pid, exit_status: exit.status, exited_at, ..Default::default() })
    }

    async fn pids(&self, _: &TtrpcContext, request: api::PidsRequest) -> Result<api::PidsResponse> {
        let pids = self.tasks.pids(&request.id).await.map_err(status)?;
        let processes = pids.into_iter().map(|(pid, exec_id)| process_info(pid, exec_id));
        let processes = processes.collect::<std::result::Result<_, _>>().map_err(|error| {
            status(Error::new(Code::Unknown, format!("encode processes: {error}")))
        })?;
        Ok(api::PidsResponse { processes, ..Default::default() })
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> Result<api::StatsResponse> {
        let usage = self.tasks.usage(&request.id).await.map_err(status)?;
        let stats = metrics(&usage).map_err(|error| {
            status(Error::new(Code::Unknown, format!("encode metrics: {error}")))
        })?;
        Ok(api::StatsResponse { stats: MessageField::some(stats), ..Default::default() })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> Result<api::ConnectResponse> {
        let task_pid = self.tasks.get(&request.id).map_or(0, |task| task.pid());
        Ok(api::ConnectResponse { shim_pid: std::process::id(), task_pid, ..Default::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> Result<api::Empty> {
        self.tasks.shut_down();
        Ok(api::Empty::default())
    }

    async fn close_io(&self, _: &TtrpcContext, request: api::CloseIORequest) -> Result<api::Empty> {
        let task = self.tasks.get(&request.id).map_err(status)?;
        let process = task.process(&request.exec_id).map_err(status)?;
        if request.stdin
            && let Some(held) = &mut process.state().held
        {
            held.close_stdin();
        }
        Ok(api::Empty::default())
    }

    async fn exec(&self, _: &TtrpcContext, request: api::ExecProcessRequest) -> Result<api::Empty> {
        self.tasks.get(&request.id).map_err(status)?;
        let spec = request.spec.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
        let spec = ExecSpec::from_json(spec).map_err(|refusal| status(refusal.into()))?;
        let paths = Paths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        self.tasks.add_exec(&request.id, &request.exec_id, spec, paths).map_err(status)?;
        Ok(api::Empty::default())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: api::ResizePtyRequest,
    ) -> Result<api::Empty> {
        let task = self.tasks.get(&request.id).map_err(status)?;
        let process = task.process(&request.exec_id).map_err(status)?;
        let state = process.state();
        // As runc has it: of a task's first process, that is nothing.
        if let Name::Exec(_) = process.name
            && let Phase::Stopped(_) | Phase::Deleting(_) = state.phase
        {
            let message = format!("{} has ended, and its terminal with it", process.name);
            return Err(status(Error::new(Code::FailedPrecondition, message)));
        }
        let held = state.held.as_ref();
        held.map_or(Ok(()), |held| held.resize(request.width, request.height)).map_err(status)?;
        Ok(api::Empty::default())
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> Result<api::Empty> {
        self.tasks.pause(&request.id).await.map_err(status)?;
        Ok(api::Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> Result<api::Empty> {
        self.tasks.resume(&request.id).await.map_err(status)?;
        Ok(api::Empty::default())
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: api::UpdateTaskRequest,
    ) -> Result<api::Empty> {
        let resources = resources(request.resources.as_ref()).map_err(status)?;
        self.tasks.update(&request.id, resources).await.map_err(status)?;
        Ok(api::Empty::default())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        request: api::CheckpointTaskRequest,
    ) -> Result<api::Empty> {
        self.unsupported(&request.id, "checkpointing a container")
    }
}
