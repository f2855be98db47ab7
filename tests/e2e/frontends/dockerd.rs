//! A private dockerd, with a containerd of its own: real, with data, sockets and configuration below the suite's directory.

use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::client::Client;
use crate::support::command::{self, ended_within, eventually};
use crate::support::containerd::LIMIT;
use crate::support::namespace::RUNTIME;
use crate::support::suite::Suite;

/// The name that a daemon has for `lighter` as a runtime by its path.
pub const PATH_RUNTIME: &str = "lighter";

/// A running dockerd; ended when dropped, with all its containers.
#[derive(Debug)]
pub struct Docker {
    dir: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Child>>,
    client: Client,
}

impl Deref for Docker {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Docker {
    /// A daemon with `settings` in its `daemon.json`, beside where its things are.
    pub fn start(settings: &Value) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let suite = Suite::get();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = suite.dir().join(format!("d{number}"));
        std::fs::create_dir(&dir).unwrap();
        let mut all = json!({
            "data-root": dir.join("data"),
            "exec-root": dir.join("exec"),
            "pidfile": dir.join("pid"),
            "hosts": [format!("unix://{}", dir.join("sock").display())],
            "runtimes": {PATH_RUNTIME: {"path": suite.program("lighter")}},
        });
        let settings = settings.as_object().expect("settings are an object").clone();
        all.as_object_mut().expect("this is one").extend(settings);
        std::fs::write(dir.join("daemon.json"), all.to_string()).unwrap();
        let log = suite.logs().join(format!("dockerd-{number}.log"));
        File::create(&log).unwrap();
        let host = format!("unix://{}", dir.join("sock").display());
        let environment =
            [("DOCKER_HOST", host), ("DOCKER_CONFIG", dir.join("client").display().to_string())];
        let client = Client::new(&["docker"], &environment, RUNTIME);
        let docker = Self { dir, log, process: Mutex::default(), client };
        docker.launch();
        docker
    }

    /// Ends the daemon with SIGKILL, as a crash would, and its containerd too, then starts it again.
    pub fn crash(&self) {
        let mut process = self.running().take().expect("it is running");
        process.kill().unwrap();
        process.wait().unwrap();
        let pid = std::fs::read_to_string(self.dir.join("exec/containerd/containerd.pid"));
        let pid = pid.expect("its containerd has a pid file").trim().parse().expect("a number");
        // It ends with the daemon anyway, by the kernel's hand.
        if let Some(containerd) = command::Process::open(pid) {
            containerd.kill9();
            assert!(containerd.ends_within(LIMIT));
        }
        self.launch();
    }

    /// Ends the daemon as a service manager would, then starts it again.
    pub fn restart(&self) {
        self.stop();
        self.launch();
    }

    /// Ends it with all its containers. Nothing happens if it does not run.
    pub fn end(&self) {
        if self.running().is_some() && !std::thread::panicking() {
            self.clear();
        }
        self.stop();
        // After a crash it mounts this once more than it unmounts.
        let _ = rustix::mount::unmount(self.dir.join("data"), UnmountFlags::empty());
    }

    fn stop(&self) {
        let Some(mut process) = self.running().take() else {
            return;
        };
        let _ = kill_process(Pid::from_child(&process), Signal::TERM);
        if !ended_within(&process, Duration::from_secs(30)) {
            let _ = process.kill();
        }
        let _ = process.wait();
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) {
        let suite = Suite::get();
        let log = File::options().append(true).open(&self.log).unwrap();
        let child = Command::new("dockerd")
            .arg("--config-file")
            .arg(self.dir.join("daemon.json"))
            // It passes its environment on to its containerd, and that to the shims.
            .env("PATH", suite.path_variable())
            .env("LIGHTER_CONFIG", suite.node_configuration())
            .env("TMPDIR", suite.scratch())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start dockerd");
        *self.running() = Some(child);
        let ended =
            || self.running().as_ref().is_none_or(|child| ended_within(child, Duration::ZERO));
        let answers = || {
            let mut version = self.command();
            version.arg("version").stdin(Stdio::null());
            self.dir.join("sock").exists()
                && version.output().is_ok_and(|output| output.status.success())
        };
        let began = eventually(Duration::from_secs(120), || ended() || answers());
        assert!(began && !ended(), "dockerd does not answer; it says:\n{}", self.last_words());
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().rev().take(5).map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.end();
    }
}
