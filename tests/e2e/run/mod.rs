//! `lighter run FILE` and `lighter run IMAGE`: containers without a daemon.

mod files;
mod images;
mod life;
mod limits;
mod network;
mod options;
mod rootless;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::frontends::page;
use crate::support::command::{Output, run};
use crate::support::containerd::LIMIT;
use crate::support::leaks::{entries, mark};
use crate::support::spec::directory;
use crate::support::suite::Suite;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let page = plain_trials![the_page_is_true];
    [
        files::tests(),
        images::tests(),
        life::tests(),
        limits::tests(),
        network::tests(),
        options::tests(),
        rootless::tests(),
        page,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those that need cgroup v2.
pub fn of_cgroup_v2() -> Vec<Trial> {
    limits::of_cgroup_v2()
}

/// A place to run things from: the working directory, with a state directory and a store of images of its own.
struct Here {
    dir: TempDir,
}

impl Here {
    fn new() -> Self {
        Self { dir: directory() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the working directory.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// `lighter ARGS`, as it is called here.
    fn command(&self, args: &[&str]) -> Command {
        let suite = Suite::get();
        let mut command = Command::new(suite.program("lighter"));
        command
            .env("LIGHTER_CONFIG", suite.node_configuration())
            .env("LIGHTER_IMAGES", self.path("images"))
            .current_dir(self.dir.path())
            .arg("--root")
            .arg(self.state())
            .args(args);
        command
    }

    /// `lighter VERB ARGS` to its end.
    #[track_caller]
    fn lighter(&self, args: &[&str]) -> Output {
        run(&mut self.command(args), b"", LIMIT)
    }

    /// `lighter run ARGS`, in a control group of this run of the suite's.
    fn run_command(&self, args: &[&str]) -> Command {
        let parent = format!("{}run", mark());
        self.command(&[&["run", "--cgroup-parent", &parent], args].concat())
    }

    /// `lighter run ARGS` to its end.
    #[track_caller]
    fn run(&self, args: &[&str]) -> Output {
        run(&mut self.run_command(args), b"", LIMIT)
    }

    /// Fails if anything is left of any container.
    #[track_caller]
    fn is_clean(&self) {
        let all =
            [self.state(), self.state().join(".run")].map(|dir| entries(&dir).collect::<Vec<_>>());
        let bundles = self.state().join(".run");
        let left: Vec<_> = all.into_iter().flatten().filter(|path| *path != bundles).collect();
        assert!(left.is_empty(), "left: {left:?}");
    }
}

/// With a state directory of its own, as others use this machine's, too.
fn the_page_is_true() {
    let suite = Suite::get();
    let dir = directory();
    let script = format!(
        "#!/bin/sh\nexec {} --root {} \"$@\"\n",
        suite.program("lighter").display(),
        dir.path().join("state").display()
    );
    std::fs::write(dir.path().join("lighter"), script).unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path().join("lighter"), executable).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let variable = |path: &Path| path.display().to_string();
    let environment = [
        ("PATH", path),
        ("LIGHTER_CONFIG", variable(&suite.node_configuration())),
        ("LIGHTER_IMAGES", variable(&dir.path().join("images"))),
    ];
    page::run("run.md", &environment);
}
