//! All tasks of this server, and what can be done to them.

mod exec;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lighter::cgroup::CgroupManager;
use lighter::config::Config;
use lighter::container::{Container, CreateRequest, Exit, Resources};
use lighter::error::{Cause, Refusal};
use lighter::layers::ContentStore;
use lighter::metrics::Usage;
use lighter::programs::Programs;
use lighter::record::Record;
use lighter::trace::{self, Who};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;

use crate::events::{Event, Events};
use crate::mounts::{self, Mount};
use crate::process::{Phase, Process, Request};
use crate::stdio::{self, Paths};
use crate::sys;
use crate::task::{Code, Error, Task};

/// How long an exit is held back for the answer to the signal that has ended the container.
const ANSWER: Duration = Duration::from_secs(1);

/// What a new task is made of.
pub(crate) struct NewTask {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) paths: Paths,
    pub(crate) config: Config,
    pub(crate) systemd_cgroup: bool,
}

/// The tasks of one server.
pub(crate) struct Tasks {
    all: Mutex<HashMap<String, Arc<Task>>>,
    events: Events,
    /// Who has the layers of their images.
    content: Option<ContentStore>,
    /// containerd's.
    namespace: Arc<str>,
    /// Library calls under way: their child processes are not ours to reap.
    calls: AtomicUsize,
    /// Told when the server shall end.
    pub(crate) stop: Notify,
}

impl Tasks {
    pub(crate) fn new(events: Events, namespace: &str, content: Option<ContentStore>) -> Self {
        Self {
            all: Mutex::default(),
            events,
            namespace: namespace.into(),
            content,
            calls: AtomicUsize::new(0),
            stop: Notify::new(),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The task `id`.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Task>, Error> {
        self.all().get(id).cloned().ok_or_else(|| Error::unknown_task(id))
    }

    /// The ids of all.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    /// Whether the child process `pid` is, or may be, waited for by somebody.
    pub(crate) fn waits_for(&self, pid: u32) -> bool {
        let is_of = |task: &Arc<Task>| {
            task.pid() == pid || task.execs().iter().any(|exec| exec.pid() == pid)
        };
        self.calls.load(Ordering::Relaxed) > 0 || self.all().values().any(is_of)
    }

    /// Ends the server if no task is left; otherwise it goes on.
    pub(crate) fn shut_down(&self) {
        if self.all().is_empty() {
            self.stop.notify_one();
        }
    }

    /// Publishes nothing any more.
    pub(crate) fn close(&self) {
        self.events.close();
    }

    /// Runs a library call, which may block, where it keeps nobody else waiting.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        struct Call<'a>(&'a AtomicUsize);
        impl Drop for Call<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let _call = Call(&self.calls);
        let panicked = |error| Error::new(Code::Unknown, format!("internal error: {error}"));
        spawn_blocking(work).await.unwrap_or_else(|error| Err(panicked(error)))
    }

    /// Creates a task; returns its first process.
    pub(crate) async fn create(self: &Arc<Self>, new: NewTask) -> Result<u32, Error> {
        let (id, bundle, config) = (new.id.clone(), new.bundle.clone(), new.config.clone());
        let task = Arc::new(Task::new(id, bundle, config, new.paths.clone()));
        {
            let mut all = self.all();
            if all.contains_key(&new.id) {
                return Err(Error::new(
                    Code::AlreadyExists,
                    format!("task {:?} already exists", new.id),
                ));
            }
            all.insert(new.id.clone(), task.clone());
        }
        // Goes on to the end even if the caller gives up: then what came of it is removed.
        let (done, answer) = oneshot::channel();
        let tasks = self.clone();
        tokio::spawn(async move {
            let created = tasks.finish_create(&task, new).await;
            if done.send(created).is_err() {
                log::warn!("nobody waits for task {:?} any more: deleting it", task.id);
                let _ = tasks.delete_task(task).await;
                tasks.shut_down();
            }
        });
        answer.await.unwrap_or_else(|_| {
            Err(Error::new(Code::Unknown, "internal error: creating a task panicked"))
        })
    }

    async fn finish_create(self: &Arc<Self>, task: &Arc<Task>, new: NewTask) -> Result<u32, Error> {
        let create = Event::Create {
            id: new.id.clone(),
            bundle: new.bundle.display().to_string(),
            rootfs: new.rootfs.clone(),
            stdio: new.paths.clone(),
            pid: 0,
        };
        let (namespace, content) = (self.namespace.clone(), self.content.clone());
        let made = self.call(move || make(new, &namespace, content)).await;
        let (container, held, pidfd) = match made {
            Ok(made) => made,
            Err(error) => {
                self.all().remove(&task.id);
                return Err(error);
            }
        };
        let pid = container.pid();
        task.created(container);
        {
            let mut state = task.first.state();
            state.held = Some(held);
            state.phase = Phase::Created;
        }
        if let Event::Create { id, bundle, rootfs, stdio, .. } = create {
            self.events.publish(Event::Create { id, bundle, rootfs, stdio, pid });
        }
        tokio::spawn(self.clone().watch(task.clone(), pidfd));
        Ok(pid)
    }

    /// Waits for the container's end and makes it known.
    async fn watch(self: Arc<Self>, task: Arc<Task>, pidfd: OwnedFd) {
        // Failing to wait must not look like an end: without one the task stays as it is, and can be deleted.
        if let Err(error) = readable(pidfd).await {
            log::error!("watch the container of task {:?}: {error}", task.id);
            return;
        }
        let _step = task.first.step.lock().await;
        let Ok(container) = task.container() else {
            return;
        };
        let pid = container.pid();
        let exit = match self.call(move || Ok(container.reap()?)).await {
            Ok(exit) => exit,
            Err(error) => {
                log::error!("collect the exit of task {:?}: {error}", task.id);
                Exit { status: 255, at: std::time::SystemTime::now(), oom: false, limit: None }
            }
        };
        stopped(&task.first, exit).await;
        // Nothing goes on beside the first, and its exit is the last that is heard of the container.
        self.end_execs(&task).await;
        if let Some(limit) = exit.limit {
            log::info!("task {:?} was ended by its limit {limit}", task.id);
        }
        if exit.oom {
            // Before the exit: what containerd hears later is not the reason of it any more.
            self.events.publish(Event::OutOfMemory { id: task.id.clone() });
        }
        // containerd 2 closes its connection for the task once it has heard of the end and had the task deleted: an answer
        // to a kill must not come later. And on cgroup v1, a kill that is still thawing the group would make it anew.
        let _ = tokio::time::timeout(ANSWER, task.kills.write()).await;
        self.publish_exit(&task, &task.first, pid, exit);
    }

    fn publish_exit(&self, task: &Task, process: &Process, pid: u32, exit: Exit) {
        let (container, id) = (task.id.clone(), process.name.id().to_owned());
        self.events.publish(Event::Exit { container, id, pid, exit });
        process.exit.send_replace(Some(exit));
    }

    /// Starts a created task; returns its first process.
    pub(crate) async fn start(self: &Arc<Self>, id: &str) -> Result<u32, Error> {
        let task = self.get(id)?;
        let tasks = self.clone();
        run_to_end(async move {
            let _step = task.first.step.lock().await;
            let container = task.container_for(Request::Start)?;
            {
                let mut state = task.first.state();
                state.phase = Phase::Starting;
                if let Some(held) = &mut state.held {
                    held.leave_stdin_to_its_writer();
                }
            }
            let pid = container.pid();
            let started = tasks.call(move || Ok(container.start()?)).await;
            // While we hold the step, nobody but us changes the phase.
            match started {
                Ok(()) => {
                    tasks.events.publish(Event::Start { id: task.id.clone(), pid });
                    task.first.state().phase = Phase::Running;
                    Ok(pid)
                }
                Err(error) => {
                    task.first.state().phase = Phase::Created;
                    Err(error)
                }
            }
        })
        .await
    }

    /// Stops a running task where it is.
    pub(crate) async fn pause(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        self.change(id, Request::Pause).await
    }

    /// Lets a paused task go on.
    pub(crate) async fn resume(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        self.change(id, Request::Resume).await
    }

    async fn change(self: &Arc<Self>, id: &str, request: Request) -> Result<(), Error> {
        let task = self.get(id)?;
        let tasks = self.clone();
        run_to_end(async move {
            // Its end is noticed before or after, but not in between.
            let _step = task.first.step.lock().await;
            let container = task.container_for(request)?;
            let id = task.id.clone();
            let (phase, event) = match request {
                Request::Pause => (Phase::Paused, Event::Pause { id }),
                _ => (Phase::Running, Event::Resume { id }),
            };
            let change = move || match request {
                Request::Pause => Ok(container.pause()?),
                _ => Ok(container.resume()?),
            };
            tasks.call(change).await?;
            task.first.state().phase = phase;
            tasks.events.publish(event);
            Ok(())
        })
        .await
    }

    /// Changes a task's limits.
    pub(crate) async fn update(&self, id: &str, resources: Resources) -> Result<(), Error> {
        let container = self.get(id)?.container_for(Request::Update)?;
        self.call(move || Ok(container.update(&resources)?)).await
    }

    /// Sends a signal to the first process, or to all.
    pub(crate) async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        let task = self.get(id)?;
        let _answer = task.kills.read().await;
        let container = task.container_for(Request::Kill)?;
        self.call(move || container.kill(signal, all).map_err(not_killed)).await
    }

    /// Waits for a task's end.
    pub(crate) async fn wait(&self, id: &str) -> Result<Exit, Error> {
        let ended = self.get(id)?.first.ended();
        ended.await.ok_or_else(|| Error::unknown_task(id))
    }

    /// Deletes a task that has ended or never started.
    pub(crate) async fn delete(self: &Arc<Self>, id: &str) -> Result<(u32, Exit), Error> {
        let task = self.get(id)?;
        let tasks = self.clone();
        run_to_end(async move { tasks.delete_task(task).await }).await
    }

    async fn delete_task(self: &Arc<Self>, task: Arc<Task>) -> Result<(u32, Exit), Error> {
        let container = task.container_for(Request::Delete)?;
        let pid = container.pid();
        if task.first.state().phase == Phase::Created {
            let victim = container.clone();
            // It may just have ended by itself.
            let _ = self.call(move || Ok(victim.kill(libc::SIGKILL, false)?)).await;
        }
        let exit = task.first.ended().await.ok_or_else(|| Error::unknown_task(&task.id))?;
        let output = {
            // Two requests may have waited.
            task.first.permit(Request::Delete)?;
            let mut state = task.first.state();
            state.phase = Phase::Deleting(exit);
            state.output.take()
        };
        let rootfs = task.bundle.join("rootfs");
        let cleaned = self.call(move || {
            // Both are tried; what goes wrong leaves no task behind to delete again.
            if let Err(refusal) = container.delete() {
                log::warn!("{refusal}");
            }
            Ok(mounts::detach(&rootfs).unwrap_or_else(|refusal| {
                log::warn!("{refusal}");
                None
            }))
        });
        let overlay = cleaned.await?;
        if let Some(overlay) = overlay {
            // Nobody needs to wait for what is written out with it.
            spawn_blocking(move || drop(overlay));
        }
        let of_execs = task.execs();
        let of_execs = of_execs.iter().filter_map(|exec| exec.process.state().output.take());
        let outputs: Vec<_> = output.into_iter().chain(of_execs).collect();
        for output in outputs {
            output.finish().await;
        }
        self.all().remove(&task.id);
        self.events.publish(Event::Delete { id: task.id.clone(), pid, exit });
        Ok((pid, exit))
    }

    /// The processes of a task, and the ids of those that containerd has given one: never none, which containerd takes for
    /// a shim to be killed.
    pub(crate) async fn pids(&self, id: &str) -> Result<Vec<(u32, Option<String>)>, Error> {
        let task = self.get(id)?;
        let container = task.container_for(Request::Look)?;
        let pid = container.pid();
        if matches!(task.first.state().phase, Phase::Stopped(_)) {
            // So that a containerd that restarts learns how it ended.
            return Ok(vec![(pid, None)]);
        }
        let mut pids = self.call(move || Ok(container.pids()?)).await.unwrap_or_else(|error| {
            log::warn!("list the processes of task {id:?}: {error}");
            Vec::new()
        });
        if pids.is_empty() {
            pids.push(pid);
        }
        let execs = task.execs();
        let id_of = |pid| execs.iter().find(|exec| exec.pid() == pid);
        let named = |pid| (pid, id_of(pid).map(|exec| exec.process.name.id().to_owned()));
        Ok(pids.into_iter().map(named).collect())
    }

    /// What a task uses now.
    pub(crate) async fn usage(&self, id: &str) -> Result<Usage, Error> {
        let container = self.get(id)?.container_for(Request::Look)?;
        self.call(move || Ok(container.usage()?)).await
    }
}

/// Lets the readers of a process's output see the end of it, and then notes how the process ended: whoever sees that,
/// by whatever request, may take the output for complete, or delete the task.
async fn stopped(process: &Process, exit: Exit) {
    let held = process.state().held.take();
    let rest = match held {
        Some(held) => Some(held.hand_over().await),
        None => None,
    };
    let mut state = process.state();
    state.output = rest;
    state.phase = Phase::Stopped(exit);
}

/// What became of a signal to a process.
fn not_killed(refusal: Refusal) -> Error {
    match refusal.cause {
        Cause::NotFound => Error::new(Code::NotFound, refusal.message),
        _ => refusal.into(),
    }
}

/// Does `work` to its end even if the caller gives up in the middle.
async fn run_to_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let panicked = |error| Error::new(Code::Unknown, format!("internal error: {error}"));
    tokio::spawn(work).await.unwrap_or_else(|error| Err(panicked(error)))
}

async fn readable(pidfd: OwnedFd) -> std::io::Result<()> {
    let pidfd = sys::watch_for_reading(pidfd)?;
    pidfd.readable().await?.retain_ready();
    Ok(())
}

/// Opens, mounts and creates; undoes what it did when a later step fails.
fn make(
    new: NewTask,
    namespace: &str,
    content: Option<ContentStore>,
) -> Result<(Container, stdio::Held, OwnedFd), Error> {
    let rootfs = new.bundle.join("rootfs");
    let made = Programs::locate().map_err(Error::from).and_then(|programs| {
        let identity = stdio::Identity { id: &new.id, namespace };
        let (streams, mut held) = stdio::open(&new.paths, identity)?;
        trace::step(Who::Supervisor, "streams opened");
        let request = CreateRequest {
            id: new.id,
            record: Record::in_bundle(&new.bundle),
            bundle: new.bundle,
            cgroups: CgroupManager::of(new.systemd_cgroup || new.config.systemd_cgroup),
            config: new.config,
            programs,
            content,
        };
        let begun = Container::begin(request, streams)?;
        // While the container's process starts.
        if let Err(error) = mount_root(&new.rootfs, &rootfs) {
            begun.abandon();
            return Err(error);
        }
        trace::step(Who::Supervisor, "root file system mounted");
        let container = begun.finish()?;
        let pidfd = container.pidfd().try_clone_to_owned().map_err(|error| {
            Error::new(Code::Unknown, format!("duplicate the container's pidfd: {error}"))
        });
        let attached = pidfd.and_then(|pidfd| {
            held.attach(container.take_console())?;
            Ok(pidfd)
        });
        match attached {
            Ok(pidfd) => Ok((container, held, pidfd)),
            Err(error) => {
                let _ = container.kill(libc::SIGKILL, false);
                let _ = container.delete();
                Err(error)
            }
        }
    });
    if made.is_err()
        && !new.rootfs.is_empty()
        && let Err(also) = mounts::unmount(&rootfs)
    {
        log::warn!("{also}");
    }
    made
}

fn mount_root(mounts: &[Mount], rootfs: &Path) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(rootfs).map_err(|error| {
        Error::new(Code::Unknown, format!("create {}: {error}", rootfs.display()))
    })?;
    Ok(mounts::mount_all(mounts, rootfs)?)
}
