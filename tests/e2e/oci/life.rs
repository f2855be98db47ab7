//! A container that commands are given about, and what came of each.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Output, eventually};
use crate::support::leaks;
use crate::support::namespace::unique_id;
use crate::support::spec::directory;

use super::bundle::{self, Program};
use super::runtime::{Runtime, Subject};

/// How long anything may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A command, and its answer: whether it was done, and what it says; a message is never compared.
#[derive(Clone, Debug)]
pub struct Step {
    pub call: String,
    pub answer: String,
    pub message: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.call, self.answer, self.message.trim())
    }
}

/// One container's life, as one subject has it.
pub struct Life {
    pub runtime: Runtime,
    pub id: String,
    steps: Vec<Step>,
    _dir: TempDir,
}

impl Life {
    pub fn new(subject: Subject) -> Self {
        let dir = directory();
        let runtime = Runtime { subject, dir: dir.path().to_owned() };
        Self { runtime, id: unique_id(), steps: Vec::new(), _dir: dir }
    }

    /// Which runtime this is.
    pub fn subject(&self) -> Subject {
        self.runtime.subject
    }

    /// The configuration of its container, to run `program`.
    pub fn config(&self, program: Program) -> Value {
        bundle::config(&self.id, &program.args(self.subject()))
    }

    /// Makes its bundle, to run `program`.
    pub fn bundle(&self, program: Program) {
        self.write_config(&self.config(program));
    }

    /// Makes its bundle with this configuration.
    pub fn write_config(&self, config: &Value) {
        bundle::write(&self.runtime.dir.join("bundle"), config);
    }

    fn note(&mut self, call: impl Into<String>, answer: impl Into<String>, output: &Output) {
        self.steps.push(Step {
            call: call.into(),
            answer: answer.into(),
            message: output.errors(),
        });
    }

    /// Runs a command, which succeeds or fails; looks at the container's status after it.
    pub fn command(&mut self, call: &str, args: &[&str]) -> bool {
        let output = self.quietly(args);
        let done = output.status == 0;
        let word = if done { "ok" } else { "failed" };
        let answer = format!("{word}, {}", self.status());
        self.note(call, answer, &output);
        done
    }

    /// The same without looking at its status, which is about to change.
    fn command_in_passing(&mut self, call: &str, args: &[&str]) {
        let output = self.quietly(args);
        self.note(call, if output.status == 0 { "ok" } else { "failed" }, &output);
    }

    /// Runs a command; what ours logs is looked at.
    pub fn quietly(&self, args: &[&str]) -> Output {
        let output = self.runtime.run(args);
        if self.subject().is_ours() {
            expect_good_log(&output, &self.runtime.log(), args);
        }
        output
    }

    /// Its status, or `absent` when there is no such container.
    pub fn status(&self) -> String {
        let output = self.quietly(&["state", &self.id]);
        if output.status != 0 {
            return "absent".to_owned();
        }
        let state: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error} in the state: {output}"));
        state["status"].as_str().expect("a status").to_owned()
    }

    /// Its status a moment later: whoever refuses to start ends soon.
    pub fn settled_status(&self) -> String {
        eventually(Duration::from_millis(300), || self.status() == "stopped");
        self.status()
    }

    /// The first process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let output = self.quietly(&["state", &self.id]).expect_success();
        let state: Value = serde_json::from_slice(&output.stdout).expect("a state");
        u32::try_from(state["pid"].as_u64().expect("a pid")).expect("a pid")
    }

    pub fn create(&mut self) {
        let id = self.id.clone();
        self.command("create", &["create", "--bundle", "bundle", &id]);
    }

    pub fn start(&mut self) {
        let id = self.id.clone();
        self.command("start", &["start", &id]);
    }

    pub fn state(&mut self) {
        let output = self.quietly(&["state", &self.id]);
        let answer = self.status();
        self.note("state", answer, &output);
    }

    /// Sends a signal that ends nothing.
    pub fn kill(&mut self, args: &[&str]) {
        let call = format!("kill {}", args.join(" "));
        let id = self.id.clone();
        let (options, signal): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|word| word.starts_with("--"));
        self.command_in_passing(&call, &[&["kill"], &options[..], &[&id], &signal].concat());
    }

    /// Sends a signal that ends it, and waits for that.
    #[track_caller]
    pub fn kill_to_end(&mut self, args: &[&str]) {
        self.kill(args);
        self.until_stopped();
    }

    pub fn delete(&mut self) {
        let id = self.id.clone();
        self.command("delete", &["delete", &id]);
    }

    pub fn delete_by_force(&mut self) {
        let id = self.id.clone();
        self.command("delete --force", &["delete", "--force", &id]);
    }

    pub fn pause(&mut self) {
        let id = self.id.clone();
        self.command("pause", &["pause", &id]);
    }

    pub fn resume(&mut self) {
        let id = self.id.clone();
        self.command("resume", &["resume", &id]);
    }

    /// Changes its limits, as Podman and Docker do.
    pub fn update(&mut self, resources: &Value) {
        std::fs::write(self.runtime.dir.join("resources"), resources.to_string()).unwrap();
        let id = self.id.clone();
        let call = format!("update {resources}");
        self.command(&call, &["update", "--resources", "resources", &id]);
    }

    /// How many processes there are.
    pub fn ps(&mut self) {
        let output = self.quietly(&["ps", "--format", "json", &self.id]);
        // runc writes `null` for none.
        let pids = serde_json::from_slice::<Option<Vec<u32>>>(&output.stdout);
        let answer = match (output.status, pids) {
            (0, Ok(pids)) => match pids.is_none_or(|pids| pids.is_empty()) {
                true => "none".to_owned(),
                false => "some".to_owned(),
            },
            (0, Err(error)) => panic!("{error} in the list of processes: {output}"),
            _ => "failed".to_owned(),
        };
        self.note("ps", answer, &output);
    }

    /// What a list of all containers says of it.
    pub fn list(&mut self) {
        let output = self.quietly(&["list", "--format", "json"]);
        let listed: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error} in the list of containers: {output}"));
        let all = listed.as_array().cloned().unwrap_or_default();
        let own = all.iter().find(|it| it["id"] == self.id.as_str());
        let answer = own.map_or("not listed".to_owned(), |it| {
            format!("listed as {}", it["status"].as_str().expect("a status"))
        });
        self.note("list", answer, &output);
    }

    /// One set of statistics.
    pub fn statistics(&mut self) {
        let output = self.quietly(&["events", "--stats", &self.id]);
        self.note("events --stats", if output.status == 0 { "ok" } else { "failed" }, &output);
    }

    /// Creates it, starts it, waits for its end, and deletes it: with the exit status.
    pub fn run(&mut self) {
        let id = self.id.clone();
        let output = self.quietly(&["run", "--bundle", "bundle", &id]);
        let status = self.status();
        self.note("run", format!("exits with {}, {status}", output.status), &output);
    }

    pub fn run_detached(&mut self) {
        let id = self.id.clone();
        self.command("run --detach", &["run", "--detach", "--bundle", "bundle", &id]);
    }

    /// Writes a description of the process that runs `program`.
    pub fn process(&self, program: Program) {
        let process = json!({
            "args": program.args(self.subject()),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
        });
        std::fs::write(self.runtime.dir.join("process"), process.to_string()).unwrap();
    }

    /// Runs `program` beside its first process, as Podman and Docker do.
    pub fn exec(&mut self, program: Program) {
        self.process(program);
        let output = self.quietly(&["exec", "--process", "process", &self.id]);
        let status = self.status();
        let call = format!("exec {program:?}");
        self.note(call, format!("exits with {}, {status}", output.status), &output);
    }

    /// The same by arguments of the command line.
    pub fn exec_by_arguments(&mut self, program: Program) {
        let args = program.args(self.subject());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = self.quietly(&[&["exec", &self.id], &args[..]].concat());
        self.note(format!("exec -- {program:?}"), format!("exits with {}", output.status), &output);
    }

    /// Runs `program` beside its first process, and waits only for its beginning.
    pub fn exec_detached(&mut self, program: Program) -> bool {
        self.process(program);
        let id = self.id.clone();
        let call = format!("exec --detach {program:?}");
        let args = ["exec", "--detach", "--pid-file", "beside", "--process", "process", &id];
        self.command(&call, &args)
    }

    /// From now on the commands name a container that there is not.
    pub fn of_another(&mut self) {
        self.id = format!("{}-unknown", self.id);
    }

    /// A container that was created.
    pub fn created(&mut self, program: Program) {
        self.bundle(program);
        self.create();
    }

    /// A container that was started.
    pub fn started(&mut self, program: Program) {
        self.created(program);
        self.start_unseen();
    }

    /// Starts it, without looking at its status: it may end at once.
    pub fn start_unseen(&mut self) {
        let id = self.id.clone();
        self.command_in_passing("start", &["start", &id]);
    }

    /// A container that has ended.
    #[track_caller]
    pub fn stopped(&mut self) {
        self.started(Program::Exit(0));
        self.until_stopped();
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn until_stopped(&self) {
        let ended = || self.status() == "stopped";
        assert!(eventually(PATIENCE, ended), "{:?}: it is {}", self.subject(), self.status());
    }

    /// Removes what there still is; then nothing must be left.
    #[track_caller]
    pub fn end(mut self) -> Vec<Step> {
        self.expect_no_trace_of(self.own_id());
        std::mem::take(&mut self.steps)
    }

    fn own_id(&self) -> &str {
        self.id.strip_suffix("-unknown").unwrap_or(&self.id)
    }

    /// Deletes the container `id` by force, and expects that nothing of it is left.
    #[track_caller]
    pub fn expect_no_trace_of(&self, id: &str) {
        // One that is paused dies only when it goes on, under runc.
        let _ = self.runtime.run(&["resume", id]);
        self.runtime.run(&["delete", "--force", id]).expect_success();
        let left = self.left(id);
        assert!(left.is_empty(), "{:?} leaves behind:\n{}", self.subject(), left.join("\n"));
    }

    /// What there is of the container `id`.
    pub fn left(&self, id: &str) -> Vec<String> {
        let files = leaks::entries(&self.runtime.root()).filter(|path| path.ends_with(id));
        let files = files.map(|path| format!("directory {}", path.display()));
        let groups = leaks::cgroups_named(|name| name == bundle::group());
        let groups = groups.iter().map(|group| group.join(id)).filter(|group| group.exists());
        let groups = groups.map(|path| format!("cgroup {}", path.display()));
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("read our mounts");
        let dir = self.runtime.dir.display().to_string();
        let mounts = table.lines().filter(|line| line.contains(&dir));
        files.chain(groups).chain(mounts.map(|line| format!("mount {line}"))).collect()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // A test that has failed shall not fail the search for what the others leave.
        if std::thread::panicking() {
            for verb in [&["resume"][..], &["delete", "--force"]] {
                let mut command = self.runtime.command(&[verb, &[self.own_id()]].concat());
                let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            }
        }
    }
}

/// That a command that failed has logged one object with the reason, and one that succeeded no error.
#[track_caller]
pub fn expect_good_log(output: &Output, log: &str, args: &[&str]) {
    let entries: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in the log {log:?}")))
        .collect();
    for entry in &entries {
        let words = ["msg", "level", "time"].map(|field| entry[field].as_str());
        assert!(words.iter().all(Option::is_some), "{entry} has not {words:?}: {output}");
    }
    let errors = entries.iter().filter(|entry| entry["level"] == "error").count();
    match output.status {
        0 => assert_eq!(errors, 0, "an error of what succeeded: {log}{output}"),
        // The status may be the program's own.
        _ if ["run", "exec"].contains(&args[0]) => assert!(entries.len() < 2, "{log}{output}"),
        _ => assert_eq!((entries.len(), errors), (1, 1), "{log}{output}"),
    }
}
