//! A private containerd: real, with root, state, sockets and configuration of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::command::{self, Output, ended_within, eventually};
use super::suite::Suite;

/// No command of a test takes longer unless it says so itself; generous, since many share few cores.
pub const LIMIT: Duration = Duration::from_secs(120);

static SHARED: OnceLock<Containerd> = OnceLock::new();

/// A running containerd; ended when dropped.
#[derive(Debug)]
pub struct Containerd {
    suite: &'static Suite,
    dir: PathBuf,
    log: PathBuf,
    node_configuration: PathBuf,
    path: std::ffi::OsString,
    network: Option<PathBuf>,
    process: Mutex<Option<Child>>,
}

impl Containerd {
    /// The containerd that all tests of this run share, each in a namespace of its own.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(""))
    }

    /// Ends the shared one, if any test needed it.
    pub fn stop_shared() {
        if let Some(shared) = SHARED.get() {
            shared.stop();
        }
    }

    /// One of your own, to be killed and restarted; `extra` is appended to its configuration.
    pub fn start(extra: &str) -> Self {
        Self::start_on_node(extra, &Suite::get().node_configuration())
    }

    /// The same on a node that has another configuration of Lighter's own.
    pub fn start_on_node(extra: &str, node_configuration: &Path) -> Self {
        let path = Suite::get().path_variable();
        Self::start_with_path(extra, node_configuration, path)
    }

    /// The same where another `PATH` leads to the programs under test.
    pub fn start_with_path(
        extra: &str,
        node_configuration: &Path,
        path: std::ffi::OsString,
    ) -> Self {
        let mut containerd = Self::prepare(|dir| configuration(dir, extra), path);
        containerd.node_configuration = node_configuration.into();
        containerd.launch();
        containerd
    }

    /// One with a whole configuration, which is made for its directory, in the network namespace at `network`.
    pub fn start_in_network(network: PathBuf, configuration: impl FnOnce(&Path) -> String) -> Self {
        let mut containerd = Self::prepare(configuration, Suite::get().path_variable());
        containerd.network = Some(network);
        containerd.launch();
        containerd
    }

    fn prepare(configuration: impl FnOnce(&Path) -> String, path: std::ffi::OsString) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let suite = Suite::get();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = suite.dir().join(format!("c{number}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("config.toml"), configuration(&dir)).unwrap();
        let log = suite.logs().join(format!("containerd-{number}.log"));
        File::create(&log).unwrap();
        suite.remember_containerd(&dir);
        let node_configuration = suite.node_configuration();
        Self { suite, dir, log, node_configuration, path, network: None, process: Mutex::default() }
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.running().as_ref().expect("it runs").id()
    }

    /// Where it listens.
    pub fn address(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// The `state` directory, which holds the bundles of running containers.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The bundle of container `id` in `namespace`.
    pub fn bundle(&self, namespace: &str, id: &str) -> PathBuf {
        self.state().join("io.containerd.runtime.v2.task").join(namespace).join(id)
    }

    /// What it has logged so far, its shims included.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it with SIGKILL, as a crash would. Containers go on.
    pub fn kill9(&self) {
        let mut process = self.running().take().expect("it is running");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Ends it as a service manager would, if it still runs, and starts it again. Containers go on.
    pub fn restart(&self) {
        self.stop();
        self.launch();
    }

    /// Runs `ctr ARGS` to its end.
    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> Output {
        command::run(self.command().args(args), b"", LIMIT)
    }

    /// A `ctr` that talks to this containerd, for all that [`Self::ctr`] does not do.
    pub fn command(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.address());
        ctr
    }

    /// Ends it as a service manager would. Nothing happens if it does not run.
    pub fn stop(&self) {
        let Some(mut process) = self.running().take() else {
            return;
        };
        let _ = kill_process(Pid::from_child(&process), Signal::TERM);
        if !ended_within(&process, Duration::from_secs(10)) {
            let _ = process.kill();
        }
        let _ = process.wait();
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) {
        let log = File::options().append(true).open(&self.log).unwrap();
        let mut command = match &self.network {
            None => Command::new("containerd"),
            Some(network) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net={}", network.display())).arg("containerd");
                enter
            }
        };
        let child = command
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            // containerd passes its environment on to the shims that it starts.
            .env("PATH", &self.path)
            .env("LIGHTER_CONFIG", &self.node_configuration)
            .env("TMPDIR", self.suite.scratch())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start containerd");
        *self.running() = Some(child);

        let answers = || {
            let mut version = self.command();
            version.args(["version"]).stdin(Stdio::null());
            self.address().exists() && version.output().is_ok_and(|output| output.status.success())
        };
        assert!(
            eventually(Duration::from_secs(30), answers),
            "containerd does not answer; it says:\n{}",
            self.log()
        );
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Version 2 of the format is read by containerd 1.3 to 2.x.
pub fn configuration(dir: &Path, extra: &str) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
# Not needed here. Some would write outside of these directories, or look for devices.
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{dir}/sock"
[ttrpc]
  address = "{dir}/sock.ttrpc"
[debug]
  level = "debug"
{extra}"#
    )
}
