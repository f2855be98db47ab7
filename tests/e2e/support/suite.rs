//! What one run of the suite has to itself: a directory with the programs under test, their configuration,
//! the compiled code they keep, and the containerds that run them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

/// The programs under test.
pub const PROGRAMS: [&str; 3] = ["containerd-shim-wasmtime-v1", "lighter-runner", "lighter"];

static SUITE: OnceLock<Suite> = OnceLock::new();

/// One run of the suite.
#[derive(Debug)]
pub struct Suite {
    dir: TempDir,
    containerds: Mutex<Vec<PathBuf>>,
}

impl Suite {
    /// This run's; made when first asked for.
    pub fn get() -> &'static Self {
        SUITE.get_or_init(Self::prepare)
    }

    /// This run's, if anything needed one.
    pub fn started() -> Option<&'static Self> {
        SUITE.get()
    }

    /// Every file and socket of this run is below it. Its name is in no other process's command line.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The copies of [`PROGRAMS`] that this run tests. Nothing else runs from there, so that what is left
    /// of this run's processes can be told from all others.
    pub fn programs(&self) -> PathBuf {
        self.dir().join("bin")
    }

    /// One of [`PROGRAMS`].
    pub fn program(&self, name: &str) -> PathBuf {
        assert!(PROGRAMS.contains(&name), "{name} is none of our programs");
        self.programs().join(name)
    }

    /// The file that `LIGHTER_CONFIG` names: this run has its own store of compiled code.
    pub fn node_configuration(&self) -> PathBuf {
        self.dir().join("lighter.toml")
    }

    /// The store of compiled code.
    pub fn cache(&self) -> PathBuf {
        self.dir().join("cache")
    }

    /// For temporary files of tests; gone after the run.
    pub fn scratch(&self) -> PathBuf {
        self.dir().join("tmp")
    }

    /// Logs, which stay for whoever looks into a failure.
    pub fn logs(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
    }

    /// `PATH` with the programs under test first.
    pub fn path_variable(&self) -> std::ffi::OsString {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(self.programs()).chain(std::env::split_paths(&inherited));
        std::env::join_paths(dirs).expect("parts of PATH have no colon")
    }

    /// Notes the directory of a containerd, for the search for leaks.
    pub fn remember_containerd(&self, dir: &Path) {
        self.containerds.lock().unwrap().push(dir.into());
    }

    /// The directories of all containerds that this run started.
    pub fn containerds(&self) -> Vec<PathBuf> {
        self.containerds.lock().unwrap().clone()
    }

    fn prepare() -> Self {
        // Sockets have paths of at most 107 bytes, hence not below `target`.
        let dir =
            tempfile::Builder::new().prefix("lighter-test-").tempdir().expect("make a directory");
        assert!(dir.path().as_os_str().len() < 60, "TMPDIR is too long for paths of sockets");
        // For who is root of a user namespace, and finds a pod's network there.
        let searchable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(dir.path(), searchable).unwrap();
        let suite = Self { dir, containerds: Mutex::default() };
        for dir in [suite.programs(), suite.scratch()] {
            std::fs::create_dir(dir).unwrap();
        }
        for name in PROGRAMS {
            let built = staged().join(name);
            std::fs::copy(&built, suite.program(name)).unwrap_or_else(|error| {
                panic!("copy {}: {error}; run `make build`", built.display())
            });
        }
        let cache = format!("[cache]\ndir = {:?}\n", suite.cache());
        std::fs::write(suite.node_configuration(), cache).unwrap();
        suite
    }
}

/// Where the build put the three programs: `LIGHTER_BIN`, or what `make build` fills.
pub fn staged() -> PathBuf {
    std::env::var_os("LIGHTER_BIN").map_or_else(|| repository().join("target/stage"), PathBuf::from)
}

/// The directory of the repository.
pub fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("this package is two levels below")
}
