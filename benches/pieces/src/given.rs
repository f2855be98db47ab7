//! What the pieces work on: bundles of real engines, and a small and a large guest, compiled.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lighter::cache::{Cache, Wasm};
use lighter::config::Config;
use lighter::engine::Settings;
use lighter::programs::Programs;
use tempfile::TempDir;

/// A guest.
pub(crate) struct Compiled {
    /// In the names of benchmarks.
    pub(crate) name: &'static str,
    /// Its WebAssembly.
    pub(crate) wasm: PathBuf,
    /// A copy of its compiled code.
    pub(crate) code: PathBuf,
}

/// What there is to work on.
pub(crate) struct Given {
    directory: TempDir,
    repository: PathBuf,
    cache: Cache,
    compiled: Vec<Compiled>,
}

impl Given {
    /// Compiles the guests.
    pub(crate) fn new() -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let directory = tempfile::tempdir()?;
        let stage = repository.join("target/stage");
        let programs =
            Programs { runner: stage.join("lighter-runner"), lighter: stage.join("lighter") };
        let mut config = Config::default();
        config.cache.dir = directory.path().join("cache");
        let cache = Cache::open(&config, &programs);
        let guests = repository.join("target/guests");
        let compile = |name: &'static str, file: &str| {
            let wasm = guests.join(file);
            let opened = File::open(&wasm)
                .with_context(|| format!("open {}: `hack/guests` builds it", wasm.display()))?;
            let known = Wasm { file: &opened, name, root: None };
            let mut artifact = cache.get(&known, &Settings::default())?;
            let code = directory.path().join(name);
            std::io::copy(&mut artifact.file, &mut File::create(&code)?)?;
            anyhow::Ok(Compiled { name, wasm, code })
        };
        let compiled =
            vec![compile("small", "hello-rust.wasm")?, compile("large", "python-3.12.0.wasm")?];
        Ok(Self { directory, repository, cache, compiled })
    }

    /// A directory that is removed with this.
    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Bundles that real engines have written.
    pub(crate) fn bundles(&self) -> PathBuf {
        self.repository.join("tests/bundles")
    }

    /// Has the code of the guests.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The guests.
    pub(crate) fn compiled(&self) -> &[Compiled] {
        &self.compiled
    }
}
