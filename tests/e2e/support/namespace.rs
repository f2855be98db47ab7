//! A containerd namespace for one test: its images and containers are seen by no other test, and go with it.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;

use super::command::{self, Output};
use super::containerd::{Containerd, LIMIT};
use super::image::Image;
use super::suite::Suite;

/// The name that containerd knows our runtime by.
pub const RUNTIME: &str = "io.containerd.wasmtime.v1";

/// One test's own namespace. The shared containerd starts when the first of them needs it.
#[derive(Debug)]
pub struct Namespace<'a> {
    name: String,
    dedicated: Option<&'a Containerd>,
    imported: Mutex<BTreeSet<String>>,
}

impl Namespace<'static> {
    /// A namespace of the shared containerd for the test `test`, a path such as `smoke::hello`.
    pub fn for_test(test: &str) -> Self {
        Self { name: valid_name(test), dedicated: None, imported: Mutex::default() }
    }
}

impl<'a> Namespace<'a> {
    /// A namespace of a containerd of your own.
    pub fn of(containerd: &'a Containerd, name: &str) -> Self {
        Self { name: valid_name(name), dedicated: Some(containerd), imported: Mutex::default() }
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The containerd that has this namespace.
    pub fn containerd(&self) -> &Containerd {
        match self.dedicated {
            Some(dedicated) => dedicated,
            None => Containerd::shared(),
        }
    }

    /// Runs `ctr ARGS` in this namespace to its end.
    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> Output {
        self.ctr_with_stdin(args, b"")
    }

    /// The same with `stdin` on its standard input.
    #[track_caller]
    pub fn ctr_with_stdin(&self, args: &[&str], stdin: &[u8]) -> Output {
        command::run(self.command().args(args), stdin, LIMIT)
    }

    /// A `ctr` in this namespace, for all that [`Self::ctr`] does not do.
    pub fn command(&self) -> Command {
        let mut ctr = self.containerd().command();
        ctr.args(["--namespace", &self.name]);
        ctr
    }

    /// Imports and unpacks `image` unless it is there already, and returns its name.
    #[track_caller]
    pub fn import(&self, image: &Image) -> String {
        let name = image.name().to_owned();
        if self.imported.lock().unwrap().insert(name.clone()) {
            let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
            image.write(file.path()).unwrap();
            let file = file.path().to_string_lossy().into_owned();
            let platform = image.other_platform().map(|platform| format!("--platform={platform}"));
            let mut ctr = self.command();
            ctr.args(["images", "import"]).args(platform).arg(file);
            command::run(&mut ctr, b"", LIMIT).expect_success();
        }
        name
    }

    /// `ctr run --rm --runtime … IMAGE ID ARGS`: with `id` made up, under our runtime.
    #[track_caller]
    pub fn run(&self, image: &Image, args: &[&str]) -> Output {
        self.run_with(image, &[], args, b"")
    }

    /// The same with `flags` for `ctr run` and `stdin`.
    #[track_caller]
    pub fn run_with(&self, image: &Image, flags: &[&str], args: &[&str], stdin: &[u8]) -> Output {
        let id = unique_id();
        let mut ctr = self.run_command(image, &id, flags, args);
        // ctr forgets to pass on the end of its input when that comes before the task is created.
        let started = || {
            let status = self.task_status(&id);
            status.is_some_and(|status| ["RUNNING", "STOPPED"].contains(&status.as_str()))
        };
        command::run_holding_stdin(&mut ctr, stdin, LIMIT, started)
    }

    /// `ctr run --rm …` under the id `id`, not yet started.
    #[track_caller]
    pub fn run_command(&self, image: &Image, id: &str, flags: &[&str], args: &[&str]) -> Command {
        let name = self.import(image);
        let mut ctr = self.command();
        ctr.args(["run", "--rm", "--runtime", &runtime()]).args(flags).args([&name, id]).args(args);
        ctr
    }

    /// `ctr run -d …` under the id `id`: returns once the guest was started.
    #[track_caller]
    pub fn run_detached(&self, image: &Image, id: &str, flags: &[&str], args: &[&str]) -> Output {
        command::run(&mut self.run_detached_command(image, id, flags, args), b"", LIMIT)
    }

    /// `ctr run -d …` under the id `id`, not yet started.
    #[track_caller]
    pub fn run_detached_command(
        &self,
        image: &Image,
        id: &str,
        flags: &[&str],
        args: &[&str],
    ) -> Command {
        let name = self.import(image);
        let mut ctr = self.command();
        ctr.args(["run", "--detach", "--runtime", &runtime()])
            .args(flags)
            .args([&name, id])
            .args(args);
        ctr
    }

    /// Waits until `id` is `STOPPED` in `ctr task ls`.
    ///
    /// # Panics
    /// When it is not after a generous time.
    #[track_caller]
    pub fn wait_for_end(&self, id: &str) {
        let stopped = || self.task_status(id).as_deref() == Some("STOPPED");
        assert!(command::eventually(LIMIT, stopped), "{id} is {:?}", self.task_status(id));
    }

    /// Deletes the ended task `id` and returns its exit status.
    ///
    /// # Panics
    /// When it is not deleted.
    #[track_caller]
    pub fn delete_task(&self, id: &str) -> i32 {
        let output = self.ctr(&["task", "delete", id]);
        // Up to 1.6, ctr only warns of a status; later it exits with it.
        let errors = output.errors();
        let warned = errors.rsplit_once("non-zero exit code ").map(|(_, rest)| {
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
        });
        match warned {
            Some(status) if output.status == 0 => status,
            _ => {
                assert!(!errors.contains("not found"), "{output}");
                output.status
            }
        }
    }

    /// `ctr run --config …`: a container `id` of a whole `config.json`; see [`super::spec::spec`]. `flags` may be
    /// `--rm`, `--detach` and their like.
    #[track_caller]
    pub fn run_spec(&self, spec: &serde_json::Value, id: &str, flags: &[&str]) -> Output {
        self.uses_containers();
        let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
        std::fs::write(file.path(), spec.to_string()).unwrap();
        let mut ctr = self.command();
        ctr.args(["run", "--runtime", &runtime(), "--config"]).arg(file.path());
        command::run(ctr.args(flags).arg(id), b"", LIMIT)
    }

    /// The status of `id` in `ctr task ls` (`RUNNING`, `STOPPED`, …), if it is there.
    #[track_caller]
    pub fn task_status(&self, id: &str) -> Option<String> {
        self.task(id).map(|(_, status)| status)
    }

    /// The pid of `id` in `ctr task ls`, if it is there.
    #[track_caller]
    pub fn task_pid(&self, id: &str) -> Option<u32> {
        self.task(id).and_then(|(pid, _)| pid.parse().ok())
    }

    #[track_caller]
    fn task(&self, id: &str) -> Option<(String, String)> {
        let list = self.ctr(&["task", "ls"]).expect_success().text();
        list.lines().skip(1).find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(id)).then_some(())?;
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
    }

    /// Has the end of the test clear the namespace, even if it imported nothing.
    pub fn uses_containers(&self) {
        self.imported.lock().unwrap().insert(String::new());
    }

    /// Kills and deletes what a test left, so that a failed one does not make the search for leaks fail
    /// too. Only asks containerd for it: what containerd does not know of is a leak and will be found.
    fn clear(&self) {
        let quiet = |args: &[&str]| -> Vec<String> {
            let output = self.command().args(args).output();
            let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
            text.unwrap_or_default().lines().map(str::to_owned).collect()
        };
        for task in quiet(&["task", "ls", "-q"]) {
            quiet(&["task", "delete", "--force", &task]);
        }
        for container in quiet(&["containers", "ls", "-q"]) {
            quiet(&["containers", "delete", &container]);
        }
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // A test that never imported anything never had a container.
        if !self.imported.lock().unwrap_or_else(|e| e.into_inner()).is_empty() {
            self.clear();
        }
    }
}

/// An id that no other container of this run has.
pub fn unique_id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Our runtime, or the one in `LIGHTER_RUNTIME`: the harness itself can be tried with `io.containerd.runc.v2`.
pub fn runtime() -> String {
    std::env::var("LIGHTER_RUNTIME").unwrap_or_else(|_| RUNTIME.into())
}

/// Names have letters, digits, and single separators between them; at most 76 bytes. This run's pid
/// keeps the cgroups of two runs on one machine apart.
fn valid_name(test: &str) -> String {
    let words = test.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("-");
    let name: String = name.chars().take(60).collect();
    format!("{}{}", super::leaks::mark(), name.trim_end_matches('-'))
}
