//! The runtimes, and how their commands are begun.

use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::command::{Output, ended_within};
use crate::support::suite::Suite;

/// No command of a runtime takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A Linux container under runc.
    Runc,
    /// A Linux container under crun.
    Crun,
    /// A Linux container under ours.
    Linux,
    /// A WebAssembly container under ours.
    Wasm,
}

impl Subject {
    /// Whether it is our runtime.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Linux | Self::Wasm)
    }

    /// Its program, without arguments, with the configuration of this run.
    pub fn program(self) -> Command {
        let suite = Suite::get();
        let mut program = match self {
            Self::Runc => Command::new("runc"),
            Self::Crun => crun(),
            Self::Linux | Self::Wasm => Command::new(suite.program("lighter")),
        };
        program
            .env("PATH", suite.path_variable())
            .env("LIGHTER_CONFIG", suite.node_configuration());
        program
    }
}

/// Crun, which runs nothing where there are both versions of control groups: so it is not shown the second.
fn crun() -> Command {
    const SECOND: &str = "/sys/fs/cgroup/unified";
    if !Path::new(SECOND).exists() {
        return Command::new("crun");
    }
    let mut command = Command::new("unshare");
    let script = format!("umount {SECOND}; exec crun \"$@\"");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "crun"]);
    command
}

/// The same program on a state directory of its own.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub subject: Subject,
    /// Where everything of this test's and this subject's is: the state directory is `root` in it.
    pub dir: PathBuf,
}

impl Runtime {
    /// The state directory.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// What the last command has logged.
    pub fn log(&self) -> String {
        read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// What the last container's processes and their command have written.
    pub fn written(&self) -> String {
        read_to_string(self.dir.join("stdout")).unwrap_or_default()
    }

    /// The command `ARGS`, with an empty log.
    pub fn command(&self, args: &[&str]) -> Command {
        let _ = std::fs::remove_file(self.dir.join("log"));
        let mut command = self.subject.program();
        command.arg("--root").arg(self.root());
        command.arg("--log").arg(self.dir.join("log")).args(["--log-format", "json"]);
        command.args(args).current_dir(&self.dir);
        command
    }

    /// Runs the command `ARGS` to its end. Its output goes to files, as the container's processes may keep that open.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.end(self.command(args))
    }

    /// Runs `command` to its end, in the same way.
    #[track_caller]
    pub fn end(&self, mut command: Command) -> Output {
        let file = |name| File::create(self.dir.join(name)).expect("create a file");
        let begin = Instant::now();
        let child =
            command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let in_time = ended_within(&child, LIMIT);
        if !in_time {
            let _ = child.kill();
        }
        let status = crate::support::command::status_code(child.wait().expect("wait for a child"));
        let read = |name| std::fs::read(self.dir.join(name)).expect("read a file");
        let output = Output {
            status,
            stdout: read("stdout"),
            stderr: read("stderr"),
            elapsed: begin.elapsed(),
            command: format!("{command:?}"),
        };
        assert!(in_time, "still running after {LIMIT:?}, killed: {output}");
        output
    }
}
