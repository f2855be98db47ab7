//! nerdctl under a containerd of its own: what it keeps, and its networks, are below the suite's directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::command::{self, Output, eventually};
use crate::support::containerd::{Containerd, LIMIT};
use crate::support::image::Image;
use crate::support::leaks;
use crate::support::namespace::RUNTIME;
use crate::support::suite::{Suite, repository};

/// What `hack/nerdctl` builds.
pub fn program() -> PathBuf {
    repository().join("target/tools/nerdctl")
}

/// A containerd, and what nerdctl needs to use it.
#[derive(Debug)]
pub struct Nerdctl {
    containerd: Containerd,
    dir: PathBuf,
    namespace: String,
}

impl Nerdctl {
    /// With a network `plain`, which needs no translation of addresses.
    pub fn start() -> Self {
        let containerd = Containerd::start("");
        let dir = containerd.address().with_file_name("nerdctl");
        let networks = dir.join("networks");
        std::fs::create_dir_all(&networks).unwrap();
        let plain = json!({
            "cniVersion": "1.0.0",
            "name": "plain",
            "plugins": [{
                "type": "bridge",
                "bridge": "plain0",
                "isGateway": true,
                "ipam": {"type": "host-local", "subnet": "10.87.0.0/16", "dataDir": dir.join("ipam")},
            }],
        });
        std::fs::write(networks.join("plain.conflist"), plain.to_string()).unwrap();
        let namespace = format!("{}nerdctl", leaks::mark());
        Self { containerd, dir, namespace }
    }

    /// The containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// Runs `nerdctl ARGS` to its end.
    #[track_caller]
    pub fn nerdctl(&self, args: &[&str]) -> Output {
        command::run(self.command().args(args), b"", LIMIT)
    }

    /// `nerdctl run --runtime … ARGS`
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.nerdctl(&[&["run", "--runtime", RUNTIME], args].concat())
    }

    /// A `nerdctl` that talks to this containerd.
    pub fn command(&self) -> Command {
        let mut nerdctl = Command::new(program());
        nerdctl.envs(self.environment());
        nerdctl
    }

    /// What makes `nerdctl` and `ctr` talk to this containerd, and keep all they keep here.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let toml = self.dir.join("nerdctl.toml");
        let text = |path: &Path| path.display().to_string();
        let settings = format!(
            "address = {:?}\nnamespace = {:?}\ndata_root = {:?}\ncni_netconfpath = {:?}\n\
             cni_path = \"/usr/lib/cni\"\ncgroup_manager = \"cgroupfs\"\nhosts_dir = []\n",
            self.containerd.address(),
            self.namespace,
            self.dir.join("data"),
            self.dir.join("networks"),
        );
        std::fs::write(&toml, settings).unwrap();
        let path = Suite::get().path_variable().into_string().expect("PATH is text");
        vec![
            ("NERDCTL_TOML", text(&toml)),
            ("CONTAINERD_ADDRESS", text(&self.containerd.address())),
            ("CONTAINERD_NAMESPACE", self.namespace.clone()),
            ("PATH", format!("{}:{path}", text(program().parent().expect("it is in a directory")))),
        ]
    }

    /// What is to be known of a container, as `nerdctl inspect` tells.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        let output = self.nerdctl(&["inspect", container]).expect_success();
        let mut found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        found[0].take()
    }

    /// Waits until the container's state has `field` as `value`.
    ///
    /// # Panics
    /// When it has not, after a generous time.
    #[track_caller]
    pub fn wait_for(&self, container: &str, field: &str, value: &Value) {
        let is = || self.inspect(container)["State"][field] == *value;
        assert!(eventually(LIMIT, is), "{:#}", self.inspect(container)["State"]);
    }

    /// Loads `image`, and returns its name.
    #[track_caller]
    pub fn load(&self, image: &Image) -> String {
        let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
        image.write(file.path()).unwrap();
        let mut load = self.command();
        load.args(["load", "--quiet", "--input"]).arg(file.path());
        command::run(&mut load, b"", LIMIT).expect_success();
        image.name().to_owned()
    }

    /// Removes all containers, whatever state they are in.
    pub fn clear(&self) {
        let list = self.nerdctl(&["ps", "--all", "--quiet"]).text();
        let ids: Vec<&str> = list.lines().collect();
        if !ids.is_empty() {
            self.nerdctl(&[&["rm", "--force", "--volumes"], &ids[..]].concat()).expect_success();
        }
    }

    /// Ends the containerd with all containers.
    pub fn end(&self) {
        if !std::thread::panicking() {
            self.clear();
        }
        self.containerd.stop();
    }
}

impl Drop for Nerdctl {
    fn drop(&mut self) {
        self.end();
    }
}
