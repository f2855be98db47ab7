//! A node whose store of compiled code is empty, by a configuration of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::command::{Output, run};
use super::containerd::LIMIT;
use super::image::digest;
use super::suite::Suite;

/// A configuration with a store of its own, where other tests' compiled code is not.
pub struct Node {
    dir: TempDir,
    file: PathBuf,
}

impl Node {
    /// `settings` is TOML beyond where the store is.
    pub fn new(settings: &str) -> Self {
        let dir = TempDir::new_in(Suite::get().scratch()).unwrap();
        let file = dir.path().join("lighter.toml");
        let cache = dir.path().join("cache");
        std::fs::write(&file, format!("[cache]\ndir = {cache:?}\n{settings}")).unwrap();
        Self { dir, file }
    }

    /// What makes `ctr run` use it.
    pub fn flags(&self) -> [&str; 2] {
        ["--runtime-config-path", self.file.to_str().unwrap()]
    }

    /// The code in `lighter cache ls --json`
    pub fn entries(&self) -> Vec<Value> {
        self.list().into_iter().filter(|entry| entry.get("layer").is_none()).collect()
    }

    /// The layers of images in `lighter cache ls --json`
    pub fn layers(&self) -> Vec<Value> {
        self.list().into_iter().filter(|entry| entry.get("layer").is_some()).collect()
    }

    /// The directory of the store.
    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// `lighter cache --config … ARGS`
    #[track_caller]
    pub fn cache_command(&self, args: &[&str]) -> Output {
        let mut cache = Command::new(Suite::get().program("lighter"));
        run(cache.args(["cache", "--config"]).arg(&self.file).args(args), b"", LIMIT)
    }

    fn list(&self) -> Vec<Value> {
        let output = self.cache_command(&["ls", "--json"]).expect_success();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Those compiled from `guest`.
    pub fn entries_of(&self, guest: &[u8]) -> Vec<Value> {
        let digest = digest(guest);
        let hex = digest.trim_start_matches("sha256:");
        let mut entries = self.entries();
        entries.retain(|entry| entry["meta"]["digest"].as_str() == Some(hex));
        entries
    }

    /// The file with the code of `guest`, and which file that is.
    pub fn code_of(&self, guest: &[u8]) -> (PathBuf, u64, std::time::SystemTime) {
        use std::os::unix::fs::MetadataExt;
        let entries = self.entries_of(guest);
        let key = entries[0]["key"].as_str().unwrap();
        let path =
            self.dir.path().join("cache/objects").join(Path::new(key).with_extension("cwasm"));
        let facts = std::fs::metadata(&path).unwrap();
        (path, facts.ino(), facts.modified().unwrap())
    }
}
