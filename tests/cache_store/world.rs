//! A cache of a test's own, and modules to put into it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use lighter::cache::{Artifact, Cache, Wasm};
use lighter::config::Config;
use lighter::engine::Settings;
use lighter::error::Refusal;
use lighter::programs::Programs;

pub const LIGHTER: &str = env!("CARGO_BIN_EXE_lighter");

pub struct World {
    pub dir: tempfile::TempDir,
    pub config: Config,
    pub lighter: PathBuf,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.cache.dir = dir.path().join("cache");
        Self { dir, config, lighter: LIGHTER.into() }
    }

    pub fn cache(&self) -> Cache {
        let programs = Programs { runner: LIGHTER.into(), lighter: self.lighter.clone() };
        Cache::open(&self.config, &programs)
    }

    /// A file of the test's own.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Starts this shell script in place of the compiler; `$LIGHTER` in it is the real one.
    pub fn instead_of_compiler(&mut self, script: &str) {
        let script = format!("#!/bin/sh\nLIGHTER={LIGHTER}\n{script}\n");
        self.lighter = self.dir.path().join("compiler");
        // By another process: a program that ours has open for writing, if only in a child between fork and
        // exec, cannot be started.
        let mut write = Command::new("sh");
        write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]);
        assert!(write.arg(&self.lighter).arg(script).status().unwrap().success());
    }

    /// Counts compilations from now on.
    pub fn count_compilations(&mut self, before: &str) -> PathBuf {
        let log = self.dir.path().join("compilations");
        File::create(&log).unwrap();
        let line = format!("echo x >> {}\n{before}\nexec $LIGHTER \"$@\"", log.display());
        self.instead_of_compiler(&line);
        log
    }

    /// Files below the cache's directory `name`.
    pub fn names(&self, name: &str) -> Vec<String> {
        let dir = std::fs::read_dir(self.config.cache.dir.join(name)).unwrap();
        dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The only compiled code in the store.
    pub fn only_object(&self) -> PathBuf {
        let objects: Vec<_> =
            self.names("objects").into_iter().filter(|n| n.ends_with(".cwasm")).collect();
        assert_eq!(objects.len(), 1, "{objects:?}");
        self.config.cache.dir.join("objects").join(&objects[0])
    }

    /// Asserts that nothing half done is left.
    pub fn assert_tidy(&self) {
        assert_eq!(self.names("tmp"), [""; 0], "temporary files are left");
        assert_eq!(self.names("locks"), [""; 0], "locks are left");
    }
}

pub fn get(cache: &Cache, path: &Path) -> Result<Artifact, Refusal> {
    let file = File::open(path).unwrap();
    let wasm = Wasm { file: &file, name: "/app.wasm", root: path.parent() };
    cache.get(&wasm, &Settings::default())
}

/// Compiled code as bytes, which must be code.
pub fn code(artifact: &Artifact) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(artifact.file.metadata().unwrap().len()).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(&artifact.file, &mut bytes, 0).unwrap();
    assert!(bytes.starts_with(b"\x7fELF"));
    assert!((&artifact.file).write_all(b"x").is_err(), "the code can be written to");
    bytes
}

pub fn module(number: i32) -> Vec<u8> {
    let text = format!("(module (func (export \"f\") (result i32) (i32.const {number})))");
    wat::parse_str(text).unwrap()
}

/// A module that takes seconds of processor time and hundreds of megabytes to compile.
pub fn large_module() -> Vec<u8> {
    let mut text = String::from("(module (memory 1)\n");
    for function in 0..3000 {
        text += "(func (param i32) (result i32) (local i32)\n";
        for step in 0..60 {
            text += &format!(
                "(local.set 1 (i32.add (i32.load (i32.mul (local.get 0) (i32.const {}))) (local.get 1)))\n\
                 (if (i32.lt_u (local.get 1) (i32.const {step})) (then (local.set 0 (local.get 1))))\n",
                function + step
            );
        }
        text += "(local.get 1))\n";
    }
    wat::parse_str(text + ")").unwrap()
}

/// Waits until a file written now may be remembered by its times.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

/// Waits for something to become true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = SystemTime::now();
    while !is_true() {
        assert!(start.elapsed().unwrap() < Duration::from_secs(20), "not in 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `test` in a mount namespace of its own.
pub fn with_own_mounts(test: impl FnOnce() + Send) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("this test must run as root");
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
