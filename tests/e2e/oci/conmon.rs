//! Under conmon, as Podman and CRI-O have it, without either: it is a container's parent, has its streams and hears its end.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::bundle::Program::{self, Exit, Missing, Sleep};
use super::life::{Life, PATIENCE};
use super::runtime::Subject;
use crate::support::command::{Process, eventually};
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        conmon_logs_and_hears_the_exit_status,
        conmon_hears_a_signal,
        conmon_says_why_there_is_no_container,
        conmon_has_a_terminal_for_it,
        conmon_runs_commands_beside_it,
    ]
}

/// crun is not among them: it needs to be begun by another program where there are two versions of control groups.
const ALL: [Subject; 3] = [Subject::Runc, Subject::Linux, Subject::Wasm];

/// A conmon and what it writes.
struct Conmon {
    life: Life,
    dir: PathBuf,
    /// What it tells whoever began it, a line for each.
    told: PathBuf,
}

impl Conmon {
    /// Below the life's directory, in one of this name.
    fn new(life: Life, name: &str) -> Self {
        let dir = life.runtime.dir.join(name);
        fs::create_dir_all(dir.join("exits")).unwrap();
        Self { life, told: dir.join("told"), dir }
    }

    /// Begins it as Podman does, with these flags besides.
    #[track_caller]
    fn begin(&self, flags: &[&str]) {
        let Life { runtime, id, .. } = &self.life;
        let program = runtime.subject.program();
        let path = which(program.get_program().to_str().unwrap());
        let mut shell = Command::new("sh");
        let script = format!("exec 3>{}; exec conmon \"$@\"", self.told.display());
        shell.args(["-c", &script, "conmon", "--api-version", "1"]);
        shell.args(["--cid", id, "--cuuid", id, "--name", id, "--runtime", &path]);
        shell.arg("--bundle").arg(runtime.dir.join("bundle"));
        shell.arg("--container-pidfile").arg(self.dir.join("pid"));
        shell.arg("--conmon-pidfile").arg(self.dir.join("conmon-pid"));
        shell.arg("--exit-dir").arg(self.dir.join("exits"));
        shell.arg("--log-path").arg(format!("k8s-file:{}", self.dir.join("log").display()));
        shell.arg("--full-attach");
        let root = runtime.root().display().to_string();
        let log = self.dir.join("oci-log").display().to_string();
        for arg in ["--root", &root, "--log-format=json", "--log", &log] {
            shell.arg(format!("--runtime-arg={arg}"));
        }
        for (name, value) in program.get_envs() {
            shell.env(name, value.expect("nothing is removed"));
        }
        let null = || Stdio::null();
        shell.env("_OCI_SYNCPIPE", "3").stdin(null()).stdout(null()).stderr(null());
        let status = shell.args(flags).current_dir(&runtime.dir).status().unwrap();
        assert!(status.success(), "{shell:?}");
    }

    /// The pid that it tells, or the reason that there is none.
    #[track_caller]
    fn outcome(&self) -> Result<u32, String> {
        let text = || fs::read_to_string(&self.told).unwrap();
        assert!(eventually(PATIENCE, || text().ends_with('\n')), "conmon tells nothing");
        let text = text();
        let told: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let number = ["pid", "data"].iter().find_map(|field| told[*field].as_i64());
        match u32::try_from(number.unwrap_or_else(|| panic!("no number in {text}"))) {
            Ok(pid) => Ok(pid),
            Err(_) => Err(told["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// Waits for the exit status.
    #[track_caller]
    fn exit(&self) -> String {
        let file = self.dir.join("exits").join(&self.life.id);
        let exit = || fs::read_to_string(&file).unwrap_or_default();
        assert!(eventually(PATIENCE, || !exit().is_empty()), "{:?}: no end", self.life.subject());
        exit()
    }

    /// What was logged, without the times.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines = log.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Waits for its end, and deletes the container.
    #[track_caller]
    fn end(self) {
        self.ended();
        self.life.end();
    }

    #[track_caller]
    fn ended(&self) {
        let pid = fs::read_to_string(self.dir.join("conmon-pid")).unwrap();
        if let Some(process) = Process::open(pid.trim().parse().expect("a pid")) {
            assert!(process.ends_within(PATIENCE), "conmon goes on");
        }
    }
}

/// Where in `PATH` it is.
fn which(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(PathBuf::new()).chain(std::env::split_paths(&path));
    let found = dirs.map(|dir| dir.join(program)).find(|path| path.is_absolute() && path.is_file());
    found.expect("it is a prerequisite").display().to_string()
}

/// A container that says hello and ends.
fn greeting(subject: Subject) -> Life {
    let life = Life::new(subject);
    let args: &[&str] = match subject {
        Subject::Wasm => &["/hello.wasm"],
        _ => &["/bin/sh", "-c", "echo hello"],
    };
    let mut config = life.config(Sleep);
    config["process"]["args"] = json!(args);
    life.write_config(&config);
    life
}

fn conmon_logs_and_hears_the_exit_status() {
    for subject in ALL {
        let conmon = Conmon::new(greeting(subject), "conmon");
        conmon.begin(&[]);
        let pid = conmon.outcome().expect("a container");
        assert_eq!(pid, conmon.life.pid(), "{subject:?}");
        assert_eq!(fs::read_to_string(conmon.dir.join("pid")).unwrap(), pid.to_string());
        assert_eq!(conmon.life.status(), "created");
        conmon.life.quietly(&["start", &conmon.life.id]).expect_success();
        assert_eq!(conmon.exit(), "0", "{subject:?}");
        assert_eq!(conmon.log(), "stdout F hello\n", "{subject:?}");
        conmon.end();

        let life = Life::new(subject);
        life.bundle(Exit(42));
        let conmon = Conmon::new(life, "conmon");
        conmon.begin(&[]);
        conmon.outcome().expect("a container");
        conmon.life.quietly(&["start", &conmon.life.id]).expect_success();
        assert_eq!(conmon.exit(), "42", "{subject:?}");
        conmon.end();
    }
}

fn conmon_hears_a_signal() {
    for subject in ALL {
        for is_started in [false, true] {
            let life = Life::new(subject);
            life.bundle(Sleep);
            let conmon = Conmon::new(life, "conmon");
            conmon.begin(&[]);
            conmon.outcome().expect("a container");
            if is_started {
                conmon.life.quietly(&["start", &conmon.life.id]).expect_success();
            }
            conmon.life.quietly(&["kill", &conmon.life.id, "9"]).expect_success();
            assert_eq!(conmon.exit(), "137", "{subject:?}");
            conmon.end();
        }
    }
}

fn conmon_says_why_there_is_no_container() {
    for subject in ALL {
        let life = Life::new(subject);
        life.bundle(Missing);
        let conmon = Conmon::new(life, "conmon");
        conmon.begin(&[]);
        let why = conmon.outcome().expect_err("it is missing");
        let missing = &Missing.args(subject)[0];
        assert!(why.contains(missing), "{subject:?}: {why}");
        // From there Podman takes it.
        let log = fs::read_to_string(conmon.dir.join("oci-log")).unwrap();
        let entry: Value = serde_json::from_str(&log).unwrap_or_else(|e| panic!("{e} in {log:?}"));
        let message = entry["msg"].as_str().expect("a message");
        assert!(message.contains(missing), "{subject:?}: {message}");
        assert!(message.to_lowercase().contains("no such file or directory"), "{message}");
        conmon.end();
    }
}

fn conmon_has_a_terminal_for_it() {
    for subject in ALL {
        let life = greeting(subject);
        let file = life.runtime.dir.join("bundle/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["process"]["terminal"] = json!(true);
        life.write_config(&config);
        let conmon = Conmon::new(life, "conmon");
        conmon.begin(&["--terminal"]);
        conmon.outcome().expect("a container");
        conmon.life.quietly(&["start", &conmon.life.id]).expect_success();
        assert_eq!(conmon.exit(), "0", "{subject:?}");
        assert_eq!(conmon.log(), "stdout F hello\n", "{subject:?}");
        conmon.end();
    }
}

fn conmon_runs_commands_beside_it() {
    for subject in ALL {
        let life = Life::new(subject);
        life.bundle(Sleep);
        life.quietly(&["run", "--detach", "--bundle", "bundle", &life.id]).expect_success();
        let process = life.runtime.dir.join("process").display().to_string();
        let mut conmon = Conmon::new(life, "good");
        let exec = |conmon: &Conmon, program: Program| {
            conmon.life.process(program);
            conmon.begin(&["--exec", "--exec-process-spec", &process]);
        };
        exec(&conmon, Exit(7));
        conmon.outcome().expect("a process");
        assert_eq!(conmon.exit(), "7", "{subject:?}");
        conmon.ended();

        conmon = Conmon::new(conmon.life, "bad");
        exec(&conmon, Missing);
        let why = conmon.outcome().expect_err("it is missing");
        assert!(why.contains(&Missing.args(subject)[0]), "{subject:?}: {why}");
        assert_eq!(conmon.life.status(), "running");
        conmon.end();
    }
}
