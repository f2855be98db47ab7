//! The sandbox of a pod that has no pause container (`sandboxer = "shim"`): namespaces, a host name, kernel parameters and
//! some files, and the life of these. The server's own first thread is what holds the namespaces, if it can; see [`anchor`].

mod anchor;
mod config;
mod files;
mod members;
mod namespaces;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lighter::cgroup::{Cgroup, CgroupManager};
use lighter::host::Host;
use lighter::metrics::Usage;
use lighter::sandbox::Held;
use tokio::sync::{Notify, watch};

use crate::sys;
use crate::task::{Code, Error};
use crate::tasks::Tasks;

pub(crate) use anchor::Anchor;
pub(crate) use config::{Config, Dns, Scope};
use files::Files;
use namespaces::Home;

/// 128 + SIGKILL: who held the namespaces was killed.
const KILLED: u32 = 137;

/// What a new sandbox is made of.
pub(crate) struct NewSandbox {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// A pod's configuration, if it is one.
    pub(crate) config: Option<Config>,
    /// Its network namespace, if it has one of its own.
    pub(crate) network: Option<PathBuf>,
}

/// How and when a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// 0 if it was stopped.
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

/// What is known of a sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// The process whose namespaces are the pod's; 0 unless it is ready.
    pub(crate) pid: u32,
    pub(crate) created: SystemTime,
    /// It has ended.
    pub(crate) end: Option<End>,
    pub(crate) config: Config,
}

/// The one sandbox of a server, or the place for it.
pub(crate) struct Sandbox {
    anchor: Option<Anchor>,
    current: Mutex<Option<Current>>,
    end: watch::Sender<Option<End>>,
    /// Told when the server shall end.
    pub(crate) shut_down: Notify,
}

struct Current {
    id: String,
    config: Config,
    network: Option<PathBuf>,
    files: Files,
    created: SystemTime,
    phase: Phase,
}

enum Phase {
    Created,
    Starting,
    Ready { pid: u32, home: Option<Home>, held: Option<Arc<Held>> },
    Stopped,
}

impl Sandbox {
    /// The place for one: `anchor` is the first thread, where there is another one that works.
    pub(crate) fn new(anchor: Option<Anchor>) -> Self {
        Self {
            anchor,
            current: Mutex::default(),
            end: watch::Sender::new(None),
            shut_down: Notify::new(),
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is one.
    pub(crate) fn exists(&self) -> bool {
        self.current().is_some()
    }

    fn with<T>(
        &self,
        id: &str,
        look: impl FnOnce(&mut Current) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &mut *self.current() {
            Some(current) if current.id == id => look(current),
            _ => Err(Error::new(Code::NotFound, format!("sandbox {id:?} not found"))),
        }
    }

    /// Whether `id` is that of the sandbox.
    pub(crate) fn check(&self, id: &str) -> Result<(), Error> {
        self.with(id, |_| Ok(()))
    }

    /// Makes the files that its containers will share.
    pub(crate) fn create(&self, new: NewSandbox) -> Result<(), Error> {
        let mut current = self.current();
        if let Some(current) = &*current {
            return Err(Error::new(
                Code::AlreadyExists,
                format!("sandbox {:?} already exists", current.id),
            ));
        }
        if self.anchor.is_none() {
            return Err(Error::new(
                Code::FailedPrecondition,
                "this shim was started for a container, not for a sandbox",
            ));
        }
        let files = Files::of(&new.bundle);
        if let Err(refusal) = files.make(&new.bundle, new.config.as_ref()) {
            if let Err(also) = files.remove() {
                log::warn!("{also}");
            }
            return Err(refusal.into());
        }
        *current = Some(Current {
            id: new.id,
            config: new.config.unwrap_or_else(Config::of_no_pod),
            network: new.network,
            files,
            created: SystemTime::now(),
            phase: Phase::Created,
        });
        Ok(())
    }

    /// Makes and enters its namespaces; returns the process that is in them, and when the sandbox was created.
    pub(crate) async fn start(self: &Arc<Self>, id: &str) -> Result<(u32, SystemTime), Error> {
        let (config, network, created) = self.with(id, |current| match current.phase {
            Phase::Created => {
                current.phase = Phase::Starting;
                Ok((current.config.clone(), current.network.clone(), current.created))
            }
            _ => Err(Error::new(
                Code::FailedPrecondition,
                format!("sandbox {id:?} has already been started"),
            )),
        })?;
        let Some(anchor) = &self.anchor else { return Err(Error::unsupported("a sandbox here")) };
        let entered = anchor.run(move || namespaces::enter(&config, network)).await;
        let (home, held) = match entered {
            Ok((home, held)) => (home, held.map(Arc::new)),
            Err(refusal) => {
                self.with(id, |current| {
                    current.phase = Phase::Created;
                    Ok(())
                })?;
                return Err(refusal.into());
            }
        };
        let pid = held.as_ref().map_or_else(std::process::id, |held| held.pid);
        if let Some(held) = &held {
            match held.pidfd().try_clone_to_owned().and_then(sys::watch_for_reading) {
                Ok(ended) => {
                    let sandbox = self.clone();
                    tokio::spawn(async move {
                        let Ok(mut ended) = ended.readable().await else { return };
                        ended.retain_ready();
                        sandbox.end(KILLED).await;
                    });
                }
                Err(e) => log::warn!("watch process {pid}, which holds the pod's namespaces: {e}"),
            }
        }
        self.with(id, |current| {
            current.phase = Phase::Ready { pid, home: Some(home), held };
            Ok((pid, created))
        })
    }

    /// Ends all that runs in it, and gives its namespaces up.
    pub(crate) async fn stop(&self, id: &str, tasks: &Arc<Tasks>) -> Result<(), Error> {
        self.check(id)?;
        for task in tasks.ids() {
            // Most have ended by now: kubelet stops a pod's containers first.
            let _ = tasks.kill(&task, libc::SIGKILL, false).await;
        }
        self.end(0).await;
        Ok(())
    }

    /// Leaves its namespaces and says so. Only the first call does anything.
    async fn end(&self, status: u32) {
        let phase = match &mut *self.current() {
            Some(current) => std::mem::replace(&mut current.phase, Phase::Stopped),
            None => return,
        };
        if matches!(phase, Phase::Stopped) {
            return;
        }
        if let Phase::Ready { home, held, .. } = phase {
            let leave = move || {
                held.inspect(|held| held.end());
                home.map_or(Ok(()), |home| home.go())
            };
            if let Some(anchor) = &self.anchor
                && let Err(refusal) = anchor.run(leave).await
            {
                log::warn!("{refusal}");
            }
        }
        self.end.send_replace(Some(End { status, at: SystemTime::now() }));
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self, id: &str) -> Result<End, Error> {
        self.check(id)?;
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        ended.ok_or_else(|| Error::new(Code::NotFound, format!("sandbox {id:?} not found")))
    }

    /// What is known of it.
    pub(crate) fn status(&self, id: &str) -> Result<Status, Error> {
        let end = *self.end.borrow();
        self.with(id, |current| {
            let pid = match current.phase {
                Phase::Ready { pid, .. } => pid,
                _ => 0,
            };
            let config = current.config.clone();
            Ok(Status { pid, created: current.created, end, config })
        })
    }

    /// What all of its containers use together.
    pub(crate) async fn usage(&self, id: &str) -> Result<Usage, Error> {
        let group = self.with(id, |current| {
            current.config.cgroup.clone().ok_or_else(|| {
                let why = format!("sandbox {id:?} has no control group");
                Error::new(Code::FailedPrecondition, why)
            })
        })?;
        let id = id.to_owned();
        let read = move || {
            Cgroup::of(Some(&group), CgroupManager::Cgroupfs, &id, Host::detect().cgroups).usage()
        };
        let panicked = |error| Error::new(Code::Unknown, format!("internal error: {error}"));
        Ok(tokio::task::spawn_blocking(read).await.map_err(panicked)??)
    }

    /// Ends it if it has not ended, removes its files, and has the server end.
    pub(crate) async fn shut_down(&self, id: &str, tasks: &Arc<Tasks>) -> Result<(), Error> {
        // Asked for one that could not be created, too: then there is nothing but the server.
        if self.exists() {
            self.stop(id, tasks).await?;
            if let Some(current) = &*self.current()
                && let Err(refusal) = current.files.remove()
            {
                log::warn!("{refusal}");
            }
        }
        self.shut_down.notify_one();
        Ok(())
    }

    /// Gives the container `id`, of which `bundle` is, what it shares with its pod, if there is one.
    pub(crate) fn admit(&self, id: &str, bundle: &Path) -> Result<(), Error> {
        let current = self.current();
        let Some(current) = &*current else { return Ok(()) };
        if !matches!(current.phase, Phase::Ready { .. }) {
            return Err(Error::new(
                Code::FailedPrecondition,
                format!("sandbox {:?} is not ready: container {id:?} cannot be in it", current.id),
            ));
        }
        Ok(members::admit(&current.files, &current.config, bundle)?)
    }
}

/// Cleans up, in place of a server that is gone, after the sandbox whose bundle this is. Nothing there is fine.
///
/// # Errors
/// What could not be unmounted or removed.
pub(crate) fn clean_up(bundle: &Path) -> lighter::error::Result<()> {
    Files::of(bundle).remove()
}
