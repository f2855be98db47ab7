//! Podman with all it keeps below the suite's directory, and the drop-in of `packaging/podman`.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::frontends::client::Client;
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::leaks::{cgroups_named, entries};
use crate::support::suite::{Suite, repository};

/// The runtime's name in the drop-in.
pub const RUNTIME: &str = "lighter";

/// What the packaged drop-in says where the program is.
const INSTALLED: &str = "/usr/local/bin/lighter";

static SHARED: OnceLock<Podman> = OnceLock::new();

/// A Podman that is root; tests share it, and run in parallel in it.
#[derive(Debug)]
pub struct Podman {
    client: Client,
    dir: PathBuf,
    groups_before: BTreeSet<PathBuf>,
}

impl Deref for Podman {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Podman {
    /// The one that tests share.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(&Suite::get().dir().join("podman")))
    }

    /// Ends it with all containers, if any test needed it, and says what is left of them.
    pub fn stop_shared() -> Vec<String> {
        SHARED.get().map_or_else(Vec::new, Self::end)
    }

    /// Where it keeps what it has.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn start(dir: &Path) -> Self {
        fs::create_dir(dir).unwrap();
        let groups_before = groups();
        let client = Client::new(&["podman"], &environment(dir), RUNTIME);
        client.call(&["info"]).expect_success();
        Self { client, dir: dir.into(), groups_before }
    }

    fn end(&self) -> Vec<String> {
        self.call(&["pod", "rm", "--all", "--force", "--time", "0"]);
        self.call(&["rm", "--all", "--force", "--volumes", "--time", "0"]);
        let new = || groups().difference(&self.groups_before).cloned().collect::<Vec<_>>();
        eventually(LIMIT, || new().is_empty());
        let mut left: Vec<String> =
            new().iter().map(|group| format!("cgroup {}", group.display())).collect();
        left.extend(records(Path::new("/run/lighter"), &self.dir));
        // It keeps its storage mounted.
        for mount in [self.dir.join("storage/overlay"), self.dir.join("storage")] {
            let _ = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH);
        }
        left
    }
}

/// Records below `root` of containers whose bundles are below `dir`.
pub fn records(root: &Path, dir: &Path) -> Vec<String> {
    let dir = dir.to_string_lossy();
    let is_ours = |record: &PathBuf| {
        entries(record).any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&*dir)))
    };
    entries(root).filter(is_ours).map(|record| format!("record {}", record.display())).collect()
}

/// The control groups of Podman's containers, anybody's.
fn groups() -> BTreeSet<PathBuf> {
    cgroups_named(|name| name.starts_with("libpod-")).into_iter().collect()
}

/// What makes `podman` keep all it keeps below `dir`.
pub fn environment(dir: &Path) -> [(&'static str, String); 5] {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let suite = Suite::get();
    let scratch = dir.join("scratch");
    fs::create_dir(&scratch).unwrap();
    let packaged = repository().join("packaging/podman/lighter.conf");
    let packaged = fs::read_to_string(&packaged).expect("the drop-in is in the repository");
    let program = suite.program("lighter").display().to_string();
    assert!(packaged.contains(INSTALLED), "{packaged}");
    let packaged = packaged.replace(INSTALLED, &program);
    // Before the packaged keys, in the same table. Locks would be in shared memory, and anybody's;
    // whoever gives `--root`, as Podman itself does when a container has ended, means these directories below it.
    let engine = format!(
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\n\
         tmp_dir = {:?}\nstatic_dir = {:?}\nvolume_path = {:?}\nimage_copy_tmp_dir = {:?}\n\
         conmon_env_vars = [\"LIGHTER_CONFIG={}\", \"TMPDIR={}\"]\n",
        dir.join("tmp"),
        dir.join("storage/libpod"),
        dir.join("storage/volumes"),
        scratch,
        dir.join("lighter.toml").display(),
        scratch.display(),
    );
    let cache = dir.join("cache");
    write("lighter.toml", format!("[cache]\ndir = {cache:?}\n"));
    // Limits that root may set even where it has not all of root's rights.
    let others = format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\nlog_driver = \"k8s-file\"\n\
         [network]\nnetwork_config_dir = {:?}\ndefault_subnet = \"10.86.0.0/24\"\n",
        dir.join("networks"),
    );
    let configuration = format!("{}\n{others}", packaged.replacen("[engine]\n", &engine, 1));
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
        dir.join("storage"),
        dir.join("run"),
    );
    let path = suite.path_variable().into_string().expect("PATH is text");
    [
        ("CONTAINERS_CONF", write("containers.conf", configuration)),
        ("CONTAINERS_STORAGE_CONF", write("storage.conf", storage)),
        (
            "CONTAINERS_REGISTRIES_CONF",
            write("registries.conf", "unqualified-search-registries = []\n".into()),
        ),
        ("PATH", path),
        ("TMPDIR", scratch.display().to_string()),
    ]
}
