//! containerd: whether it runs and answers, and whether its configuration leads pods to Lighter.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Findings, Group};
use super::programs::{SearchPath, Whose};
use config::Loaded;
use process::Process;

mod config;
mod process;
mod runtime;
mod socket;

/// Where containerd's configuration and socket are, if nobody says otherwise.
const CONFIGURATION: &str = "/etc/containerd/config.toml";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// The PATH of systemd's services, systemd.exec(5).
const SERVICE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The oldest containerd that is tested.
const OLDEST: (u32, u32) = (1, 6);

/// What the caller knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options<'a> {
    pub(super) config: Option<&'a Path>,
    pub(super) address: Option<&'a Path>,
    /// There is a kubelet, whose pods come through containerd's configuration.
    pub(super) kubernetes: bool,
}

/// What there is of containerd.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The one that is looked at.
    running: Option<Process>,
    /// How many others run beside it, or in its place.
    others: usize,
    /// The program, if none runs.
    installed: Option<PathBuf>,
    socket: PathBuf,
    /// Its version as it answers, or why it does not; `None` if we may not ask.
    answer: Option<Result<String, String>>,
    /// Its version as its program says, if it did not answer.
    program_says: Option<String>,
    config: PathBuf,
    /// The configuration: `Ok(None)` if there is no file.
    loaded: Option<Result<Option<Loaded>, String>>,
    runtimes: Vec<runtime::Facts>,
    systemd: bool,
    kubernetes: bool,
}

impl Facts {
    pub(super) fn gather(options: &Options<'_>) -> Self {
        let (running, others) = process::choose(process::all(), options);
        let config = options
            .config
            .map(Path::to_path_buf)
            .or_else(|| running.as_ref()?.config.clone())
            .unwrap_or_else(|| CONFIGURATION.into());
        let named = options.config.is_some();
        let loaded = config::load(&config, named);
        let grpc = |loaded: &Loaded| loaded.socket();
        let socket = options
            .address
            .map(Path::to_path_buf)
            .or_else(|| running.as_ref()?.address.clone())
            .or_else(|| loaded.as_ref()?.as_ref().ok()?.as_ref().and_then(grpc))
            .unwrap_or_else(|| SOCKET.into());
        let answer = socket::ask(&socket);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = super::programs::in_path(&path, "containerd");
        let programs = running.as_ref().map(Process::program).into_iter().chain(installed.clone());
        let program_says = match &answer {
            Some(Ok(_)) => None,
            _ => programs.into_iter().find_map(|program| process::version_of(&program)),
        };
        let mut facts = Self {
            running,
            others,
            installed,
            socket,
            answer,
            program_says,
            config,
            loaded,
            runtimes: Vec::new(),
            systemd: Path::new("/run/systemd/system").is_dir(),
            kubernetes: options.kubernetes,
        };
        let release = facts.release();
        if let Some(Ok(Some(loaded))) = &mut facts.loaded {
            loaded.merge(release);
            facts.runtimes = runtime::all(loaded, release);
        }
        facts
    }

    /// Bytes of address space that the running one may have; the largest number if that is not limited.
    pub(super) fn address_space(&self) -> Option<u64> {
        self.running.as_ref()?.address_space
    }

    /// Where it looks for shims.
    pub(super) fn path_variable(&self) -> SearchPath {
        let (value, whose) = match &self.running {
            Some(Process { path: Some(path), .. }) => (path.clone(), Whose::Running),
            Some(_) => (SERVICE_PATH.into(), Whose::Hidden),
            None if self.answer.is_none() => (SERVICE_PATH.into(), Whose::Hidden),
            None => (SERVICE_PATH.into(), Whose::Service),
        };
        SearchPath { value, whose }
    }

    fn version(&self) -> Option<&str> {
        match &self.answer {
            Some(Ok(version)) => Some(version),
            _ => self.program_says.as_deref(),
        }
    }

    /// The first two numbers of the version.
    fn release(&self) -> Option<(u32, u32)> {
        release_of(self.version()?)
    }
}

/// `v1.7.20`, `1.6.20~ds1`, `2.1.0-rc.1`.
fn release_of(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Group::Containerd);
    if facts.running.is_none() && facts.installed.is_none() && !matches!(facts.answer, Some(Ok(_)))
    {
        found.problem(
            "containerd.running",
            "containerd is not installed",
            "install containerd 1.6, 1.7 or 2.x (the package containerd or containerd.io)",
        );
        return found.done();
    }
    running(facts, &mut found);
    release(facts, &mut found);
    configuration(facts, &mut found);
    found.done()
}

fn running(facts: &Facts, found: &mut Findings) {
    const ID: &str = "containerd.running";
    let socket = facts.socket.display();
    let process = facts.running.as_ref().map(|process| format!("process {}", process.pid));
    match (&facts.answer, &process) {
        (Some(Ok(_)), Some(process)) => {
            found.ok(ID, format!("containerd runs ({process}) and answers at {socket}"));
        }
        (Some(Ok(_)), None) => found.ok(ID, format!("containerd answers at {socket}")),
        (Some(Err(why)), Some(process)) => found.problem(
            ID,
            format!("containerd runs ({process}) but does not answer at {socket}: {why}"),
            "look into its log (journalctl -u containerd); if it listens elsewhere, say so with --containerd-address",
        ),
        (Some(Err(why)), None) => found.problem(
            ID,
            format!("containerd does not run: {why} ({socket})"),
            "start it: systemctl enable --now containerd; if it listens elsewhere, say so with --containerd-address",
        ),
        (None, Some(process)) => {
            found.ok(ID, format!("containerd runs ({process})"));
            found.note("containerd.socket", format!("could not ask it: {socket} is for root only"));
        }
        (None, None) => {
            found.note(ID, format!("could not ask whether containerd runs: {socket} is for root only"));
        }
    }
    if facts.others > 0 {
        let others = facts.others;
        match facts.running.is_some() {
            true => found.note(
                "containerd.others",
                format!("{others} other containerd processes run; name another with --containerd-config or --containerd-address"),
            ),
            false => found.hint(
                "containerd.others",
                format!("{others} containerd processes run with a configuration of their own, and were not looked at"),
                "name one with --containerd-config or --containerd-address",
            ),
        }
    }
}

fn release(facts: &Facts, found: &mut Findings) {
    const ID: &str = "containerd.version";
    let Some(version) = facts.version() else {
        return found.note(ID, "could not find out containerd's version");
    };
    let (major, minor) = OLDEST;
    match facts.release() {
        Some(release) if release < OLDEST => found.problem(
            ID,
            format!("containerd {version} is older than {major}.{minor}"),
            format!("install containerd {major}.{minor} or newer"),
        ),
        _ if facts.program_says.is_some() => {
            found.ok(ID, format!("the program containerd is version {version}"));
        }
        _ => found.ok(ID, format!("containerd is version {version}")),
    }
    if facts.running.as_ref().is_some_and(|process| process.replaced) {
        found.hint(
            "containerd.replaced",
            "its program was replaced since it was started",
            "systemctl restart containerd, when it suits; containers go on",
        );
    }
}

/// Only pods need it.
fn configuration(facts: &Facts, found: &mut Findings) {
    const ID: &str = "containerd.configuration";
    let path = facts.config.display();
    let loaded = match &facts.loaded {
        None => {
            return found.note(ID, format!("could not look into {path}: it is for root only"));
        }
        Some(Err(why)) => {
            return found.problem(
                ID,
                format!("containerd's configuration is wrong: {why}"),
                format!("correct it; `containerd --config {path} config dump` says what containerd makes of it"),
            );
        }
        Some(Ok(None)) => {
            let message = format!("there is no {path}: containerd runs with its defaults");
            found.ok(ID, message);
            None
        }
        Some(Ok(Some(loaded))) => {
            let imports = match loaded.files.len() {
                0 | 1 => String::new(),
                n => format!(" with {} more that it imports", n - 1),
            };
            found.ok(ID, format!("{path}{imports} is understood (version {})", loaded.version()));
            Some(loaded)
        }
    };
    if let Some(loaded) = loaded {
        runtime::judge_layout(loaded, facts.release(), facts.kubernetes, found);
    }
    let node = runtime::Node {
        release: facts.release(),
        systemd: facts.systemd,
        kubernetes: facts.kubernetes,
        file: &facts.config,
        loaded,
    };
    runtime::judge(&facts.runtimes, &node, found);
}

#[cfg(test)]
mod tests;
