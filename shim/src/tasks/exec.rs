//! Processes beside a task's first.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lighter::container::{ExecRequest, ExecSpec, Exit, Process};
use lighter::programs::Programs;
use tokio::time::timeout;

use super::{Tasks, not_killed, readable, run_to_end, stopped};
use crate::events::Event;
use crate::process::{Phase, Request};
use crate::stdio::{self, Paths};
use crate::task::{Code, Error, Exec, Task};

/// How long the exit of a task's first process waits for those of the others, which were killed.
const PATIENCE: Duration = Duration::from_secs(5);

impl Tasks {
    /// Takes in a process that shall run beside the first of the task `id`.
    pub(crate) fn add_exec(
        &self,
        id: &str,
        exec_id: &str,
        spec: ExecSpec,
        paths: Paths,
    ) -> Result<(), Error> {
        let task = self.get(id)?;
        if exec_id.is_empty() {
            return Err(Error::new(Code::InvalidArgument, "a process needs an id"));
        }
        task.first.permit(Request::Exec)?;
        task.add_exec(exec_id.to_owned(), spec, paths)?;
        self.events.publish(Event::ExecAdded { container: task.id.clone(), id: exec_id.into() });
        Ok(())
    }

    /// Starts it; returns its process id.
    pub(crate) async fn start_exec(
        self: &Arc<Self>,
        id: &str,
        exec_id: &str,
    ) -> Result<u32, Error> {
        let task = self.get(id)?;
        let exec = task.exec(exec_id)?;
        let tasks = self.clone();
        run_to_end(async move {
            let _step = exec.process.step.lock().await;
            let container = task.container_for(Request::Exec)?;
            exec.process.permit(Request::Start)?;
            exec.process.state().phase = Phase::Starting;
            let started = tasks.run_exec(&task, &exec, container).await;
            // While we hold the step, nobody but us changes the phase.
            match started {
                Ok((process, pidfd)) => {
                    let pid = process.pid();
                    let first = exec.running.set(Arc::new(process)).is_ok();
                    debug_assert!(first, "a process is started once");
                    let (container, id) = (task.id.clone(), exec.process.name.id().to_owned());
                    tasks.events.publish(Event::ExecStarted { container, id, pid });
                    exec.process.state().phase = Phase::Running;
                    tokio::spawn(tasks.clone().watch_exec(task, exec.clone(), pidfd));
                    Ok(pid)
                }
                Err(error) => {
                    let mut state = exec.process.state();
                    state.phase = Phase::Created;
                    state.held = None;
                    Err(error)
                }
            }
        })
        .await
    }

    async fn run_exec(
        &self,
        task: &Task,
        exec: &Exec,
        container: Arc<lighter::container::Container>,
    ) -> Result<(Process, OwnedFd), Error> {
        let (streams, mut held) = {
            let (paths, namespace) = (exec.process.paths.clone(), self.namespace.clone());
            let id = exec.process.name.id().to_owned();
            let open =
                move || stdio::open(&paths, stdio::Identity { id: &id, namespace: &namespace });
            self.call(open).await?
        };
        held.leave_stdin_to_its_writer();
        exec.process.state().held = Some(held);
        let (spec, config) = (exec.spec.clone(), task.config.clone());
        let run = move || {
            let programs = Programs::locate()?;
            Ok(container.exec(ExecRequest { spec, streams, config, programs })?)
        };
        let process = self.call(run).await?;
        let pidfd = process
            .pidfd()
            .try_clone_to_owned()
            .map_err(|error| Error::new(Code::Unknown, format!("duplicate a pidfd: {error}")));
        let attached = pidfd.and_then(|pidfd| {
            let mut state = exec.process.state();
            let held = state.held.as_mut();
            held.map_or(Ok(()), |held| held.attach(process.take_console()))?;
            Ok(pidfd)
        });
        match attached {
            Ok(pidfd) => Ok((process, pidfd)),
            Err(error) => {
                let _ = process.kill(libc::SIGKILL);
                let _ = self.call(move || Ok(process.reap()?)).await;
                Err(error)
            }
        }
    }

    /// Waits for its end and makes it known.
    async fn watch_exec(self: Arc<Self>, task: Arc<Task>, exec: Arc<Exec>, pidfd: OwnedFd) {
        let name = &exec.process.name;
        if let Err(error) = readable(pidfd).await {
            log::error!("watch {name} of task {:?}: {error}", task.id);
            return;
        }
        let _step = exec.process.step.lock().await;
        let Some(running) = exec.running.get().cloned() else { return };
        let pid = running.pid();
        let exit = match self.call(move || Ok(running.reap()?)).await {
            Ok(exit) => exit,
            Err(error) => {
                log::error!("collect the exit of {name} of task {:?}: {error}", task.id);
                Exit { status: 255, at: SystemTime::now(), oom: false, limit: None }
            }
        };
        stopped(&exec.process, exit).await;
        if let Some(limit) = exit.limit {
            log::info!("{name} of task {:?} was ended by its limit {limit}", task.id);
        }
        self.publish_exit(&task, &exec.process, pid, exit);
    }

    /// Sends it a signal.
    pub(crate) fn kill_exec(&self, id: &str, exec_id: &str, signal: i32) -> Result<(), Error> {
        let exec = self.get(id)?.exec(exec_id)?;
        exec.process.permit(Request::Kill)?;
        let running = exec.running.get().ok_or_else(|| Error::unknown_exec(exec_id))?;
        running.kill(signal).map_err(not_killed)
    }

    /// Waits for its end.
    pub(crate) async fn wait_exec(&self, id: &str, exec_id: &str) -> Result<Exit, Error> {
        let ended = self.get(id)?.exec(exec_id)?.process.ended();
        ended.await.ok_or_else(|| Error::unknown_exec(exec_id))
    }

    /// Forgets it, if it has ended or was never started.
    pub(crate) async fn delete_exec(&self, id: &str, exec_id: &str) -> Result<(u32, Exit), Error> {
        let task = self.get(id)?;
        let exec = task.exec(exec_id)?;
        let _step = exec.process.step.lock().await;
        exec.process.permit(Request::Delete)?;
        let exit = match exec.process.state().phase {
            Phase::Stopped(exit) => exit,
            // Never started, and so never ended.
            _ => Exit { status: 0, at: SystemTime::UNIX_EPOCH, oom: false, limit: None },
        };
        let output = {
            let mut state = exec.process.state();
            state.phase = Phase::Deleting(exit);
            state.output.take()
        };
        if let Some(output) = output {
            output.finish().await;
        }
        task.remove_exec(exec_id);
        Ok((exec.pid(), exit))
    }

    /// Ends the processes beside the first of a task, which has ended, and waits until that has been told.
    pub(super) async fn end_execs(&self, task: &Task) {
        let ended = async {
            let execs = task.execs();
            for exec in &execs {
                // What is being started either runs by then, or never will.
                drop(exec.process.step.lock().await);
                if let Some(running) = exec.running.get() {
                    // In a pid namespace of the container's, the kernel has done it.
                    let _ = running.kill(libc::SIGKILL);
                }
            }
            for exec in execs.iter().filter(|exec| exec.running.get().is_some()) {
                exec.process.ended().await;
            }
        };
        if timeout(PATIENCE, ended).await.is_err() {
            log::warn!("not all processes of task {:?} ended within {PATIENCE:?}", task.id);
        }
    }
}
