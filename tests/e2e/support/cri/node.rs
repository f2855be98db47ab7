//! A node: containerd with the CRI plugin, in a network of its own, so that nothing of the machine's is changed.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::configuration::{configuration, release};
use crate::support::command::{self, eventually};
use crate::support::containerd::{Containerd, LIMIT};
use crate::support::image::Image;
use crate::support::netns::NetworkNamespace;
use crate::support::suite::Suite;

/// The namespace of containerd that the CRI plugin keeps everything in.
pub const NAMESPACE: &str = "k8s.io";

static SHARED: OnceLock<Node> = OnceLock::new();

/// A running node; ended when dropped.
#[derive(Debug)]
pub struct Node {
    containerd: Containerd,
    network: Mutex<Option<NetworkNamespace>>,
    imported: Mutex<BTreeSet<String>>,
}

impl Node {
    /// The node that tests share.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start("shared-node", ""))
    }

    /// Ends the shared one, if any test needed it.
    pub fn stop_shared() {
        if let Some(node) = SHARED.get() {
            node.containerd.stop();
            drop(node.network.lock().unwrap().take());
        }
    }

    /// One of your own; `extra` is appended to containerd's configuration.
    pub fn start(name: &str, extra: &str) -> Self {
        let network = NetworkNamespace::make(name);
        let configure = |dir: &std::path::Path| configuration(dir, extra);
        let containerd = Containerd::start_in_network(network.path(), configure);
        let node =
            Self { containerd, network: Mutex::new(Some(network)), imported: Mutex::default() };
        node.import(&Image::linux("pause").cmd(&["sleep", "1000000"]));
        node
    }

    /// Its containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// What `work` returns on a thread in the node's network.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = self.network.lock().unwrap();
        network.as_ref().expect("the node runs").within(work)
    }

    /// containerd's release, such as 1.6 and 2.1.
    pub fn release() -> (u32, u32) {
        release()
    }

    /// Imports `image` for all pods of the node unless one of that name is there, and returns its name.
    #[track_caller]
    pub fn import(&self, image: &Image) -> String {
        let name = image.name().to_owned();
        // Held until it is there, for those who need the same.
        let mut imported = self.imported.lock().unwrap_or_else(|e| e.into_inner());
        if imported.insert(name.clone()) {
            let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
            image.write(file.path()).unwrap();
            let mut ctr = self.containerd.command();
            let platform = image.other_platform().map(|platform| format!("--platform={platform}"));
            ctr.args(["--namespace", NAMESPACE, "images", "import"])
                .args(platform)
                .arg(file.path());
            command::run(&mut ctr, b"", LIMIT).expect_success();
            // The plugin learns of it by an event.
            let managed = || {
                let mut list = self.containerd.command();
                list.args(["--namespace", NAMESPACE, "images", "ls", &format!("name=={name}")]);
                command::run(&mut list, b"", LIMIT)
                    .text()
                    .contains("io.cri-containerd.image=managed")
            };
            assert!(eventually(Duration::from_secs(20), managed), "the plugin ignores {name}");
        }
        name
    }
}
