//! Entering a pod's namespaces, and leaving them. For the first thread; see [`super::anchor`].

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use lighter::error::{Refusal, Result};
use lighter::sandbox::{Held, Hold};
use lighter::sysctl;
use nix::sched::{CloneFlags, unshare};
use rustix::system::sethostname;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::config::{Config, Scope};

/// The namespaces that others join by the sandbox's process id.
const SHARED: [(&str, LinkNameSpaceType); 3] = [
    ("net", LinkNameSpaceType::Network),
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
];

/// The way back.
#[derive(Debug)]
pub(super) struct Home(Vec<(LinkNameSpaceType, File)>);

impl Home {
    /// Where the calling thread is now.
    fn here() -> Result<Self> {
        let dir = Path::new("/proc/thread-self/ns");
        let open = |(name, kind)| {
            let path = dir.join(name);
            let file = File::open(&path)
                .map_err(|e| Refusal::system(format!("open {}", path.display()), e))?;
            Ok((kind, file))
        };
        SHARED.into_iter().map(open).collect::<Result<_>>().map(Self)
    }

    /// Takes the calling thread there.
    pub(super) fn go(&self) -> Result<()> {
        self.0.iter().try_for_each(|(kind, file)| {
            move_into_link_name_space(file.as_fd(), Some(*kind))
                .map_err(|e| Refusal::system("leave a pod's namespaces", e))
        })
    }
}

/// Takes the calling thread into the namespaces of a pod, made and joined for it, and sets them up. Where they include such as
/// a thread of this process cannot be in, a process is made that holds them all.
pub(super) fn enter(config: &Config, network: Option<PathBuf>) -> Result<(Home, Option<Held>)> {
    if let Some(name) = config.parameter_of_the_host() {
        return Err(Refusal::invalid(format!("sysctl {name:?} would change the host's")));
    }
    let network = network.filter(|_| config.network != Scope::Node);
    let home = Home::here()?;
    let entered = join_or_make(config, network.as_deref()).and_then(|held| {
        match name(config).and_then(|()| sysctl::set(&config.parameters())) {
            Ok(()) => Ok(held),
            Err(refusal) => {
                held.inspect(Held::end);
                Err(refusal)
            }
        }
    });
    if entered.is_err()
        && let Err(also) = home.go()
    {
        log::error!("{also}");
    }
    Ok((home, entered?))
}

fn join_or_make(config: &Config, network: Option<&Path>) -> Result<Option<Held>> {
    let (ipc, uts) = (config.ipc != Scope::Node, config.has_own_name());
    if config.pid == Scope::Pod || config.user.is_some() {
        let pid = config.pid == Scope::Pod;
        let held = Hold { network, user: config.user.is_some(), pid, ipc, uts }.start()?;
        let dir = PathBuf::from(format!("/proc/{}/ns", held.pid));
        return match SHARED.iter().try_for_each(|(name, kind)| join(&dir.join(name), *kind)) {
            Ok(()) => Ok(Some(held)),
            Err(refusal) => {
                held.end();
                Err(refusal)
            }
        };
    }
    let mut new = CloneFlags::empty();
    new.set(CloneFlags::CLONE_NEWIPC, ipc);
    new.set(CloneFlags::CLONE_NEWUTS, uts);
    unshare(new).map_err(|e| Refusal::system(format!("make a pod's namespaces {new:?}"), e))?;
    network.map_or(Ok(()), |path| join(path, LinkNameSpaceType::Network))?;
    Ok(None)
}

fn join(path: &Path, kind: LinkNameSpaceType) -> Result<()> {
    File::open(path)
        .and_then(|file| Ok(move_into_link_name_space(file.as_fd(), Some(kind))?))
        .map_err(|e| Refusal::system(format!("join namespace {}", path.display()), e))
}

fn name(config: &Config) -> Result<()> {
    if !config.has_own_name() || config.hostname.is_empty() {
        return Ok(());
    }
    let name = &config.hostname;
    sethostname(name.as_bytes()).map_err(|e| Refusal::system(format!("set host name {name:?}"), e))
}
