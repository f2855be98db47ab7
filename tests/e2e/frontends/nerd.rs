//! nerdctl under a containerd of its own: what it keeps, and its networks, are below the suite's directory.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::client::Client;
use crate::support::containerd::Containerd;
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
    client: Client,
}

impl Deref for Nerdctl {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
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
        let nerdctl = program().display().to_string();
        let client = Client::new(&[&nerdctl], &environment(&containerd, &dir), RUNTIME);
        Self { containerd, client }
    }

    /// The containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
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

/// What makes `nerdctl` and `ctr` talk to `containerd`, and keep all they keep below `dir`.
fn environment(containerd: &Containerd, dir: &Path) -> [(&'static str, String); 4] {
    let toml = dir.join("nerdctl.toml");
    let text = |path: &Path| path.display().to_string();
    let namespace = format!("{}nerdctl", leaks::mark());
    let settings = format!(
        "address = {:?}\nnamespace = {namespace:?}\ndata_root = {:?}\ncni_netconfpath = {:?}\n\
         cni_path = \"/usr/lib/cni\"\ncgroup_manager = \"cgroupfs\"\nhosts_dir = []\n",
        containerd.address(),
        dir.join("data"),
        dir.join("networks"),
    );
    std::fs::write(&toml, settings).unwrap();
    let path = Suite::get().path_variable().into_string().expect("PATH is text");
    [
        ("NERDCTL_TOML", text(&toml)),
        ("CONTAINERD_ADDRESS", text(&containerd.address())),
        ("CONTAINERD_NAMESPACE", namespace),
        ("PATH", format!("{}:{path}", text(program().parent().expect("it is in a directory")))),
    ]
}
