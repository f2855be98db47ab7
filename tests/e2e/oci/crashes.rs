//! A command that is killed, at any moment: whoever comes after it can look, and clean up, and nothing is left.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;

use super::bundle::Program::Sleep;
use super::life::{Life, PATIENCE};
use super::runtime::Subject;
use crate::support::command::{ended_within, eventually};
use crate::support::leaks;
use crate::support::suite::{PROGRAMS, Suite};
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        a_create_that_is_killed_at_any_moment,
        a_create_that_is_killed_in_each_hook,
        a_create_that_is_killed_while_it_compiles,
        a_start_that_is_killed_at_any_moment,
        a_delete_that_is_killed_at_any_moment,
        an_exec_that_is_killed_at_any_moment,
    ]
}

const OURS: [Subject; 2] = [Subject::Linux, Subject::Wasm];

/// How many moments there are.
const MOMENTS: u32 = 16;

/// A life whose programs are copies of its own, so that their processes are known by what they execute.
struct Crash {
    life: Life,
    programs: PathBuf,
}

impl Crash {
    fn new(subject: Subject) -> Self {
        let life = Life::new(subject);
        life.bundle(Sleep);
        let programs = life.runtime.dir.join("bin");
        fs::create_dir(&programs).unwrap();
        for name in PROGRAMS {
            fs::hard_link(Suite::get().program(name), programs.join(name)).unwrap();
        }
        Self { life, programs }
    }

    fn command(&self, args: &[&str]) -> Command {
        let ours = self.life.runtime.command(args);
        let mut command = Command::new(self.programs.join("lighter"));
        command.args(ours.get_args()).current_dir(&self.life.runtime.dir);
        command.env("LIGHTER_CONFIG", Suite::get().node_configuration());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    #[track_caller]
    fn succeed(&self, args: &[&str]) -> Duration {
        let begin = Instant::now();
        let status = self.command(args).status().unwrap();
        assert!(status.success(), "{args:?}: {}", self.life.runtime.log());
        begin.elapsed()
    }

    /// Kills the command `ARGS` once `is_time`, and finds what it leaves in order.
    #[track_caller]
    fn kill_when(&self, args: &[&str], is_time: impl FnMut() -> bool) {
        let mut child = self.command(args).spawn().unwrap();
        let came = eventually(PATIENCE, is_time);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(came, "{args:?} does not come so far");
        self.expect_order();
    }

    /// The same a moment after its beginning.
    #[track_caller]
    fn kill_after(&self, args: &[&str], moment: Duration) {
        let mut child = self.command(args).spawn().unwrap();
        // It may well have ended before.
        ended_within(&child, moment);
        child.kill().unwrap();
        child.wait().unwrap();
        self.expect_order();
    }

    /// That it can be looked at, and deleted, and then made anew.
    #[track_caller]
    fn expect_order(&self) {
        // Who kills all of a group's processes stops them first.
        let known = ["absent", "creating", "created", "running", "paused", "stopped"];
        let status = self.life.status();
        assert!(known.contains(&status.as_str()), "{status}");
        self.life.expect_no_trace_of(&self.life.id);
        let gone = eventually(PATIENCE, || self.processes().is_empty());
        assert!(gone, "they go on, after {status}: {:#?}", self.processes());
    }

    /// The processes of our programs that belong to this life.
    fn processes(&self) -> Vec<String> {
        let ours = |process: PathBuf| {
            let program = fs::read_link(process.join("exe")).ok()?;
            let words = fs::read(process.join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            program.starts_with(&self.programs).then(|| format!("{}: {words}", process.display()))
        };
        leaks::entries("/proc".as_ref()).filter_map(ours).collect()
    }

    /// Moments from the beginning of a command to somewhat after its usual end.
    fn moments(usual: Duration) -> impl Iterator<Item = Duration> {
        (0..MOMENTS).map(move |moment| usual * 5 * moment / (4 * MOMENTS))
    }
}

fn a_create_that_is_killed_at_any_moment() {
    for subject in OURS {
        let crash = Crash::new(subject);
        let args = ["create", "--bundle", "bundle", "--pid-file", "pid", &crash.life.id];
        crash.succeed(&args);
        crash.expect_order();
        // What was compiled is there the second time.
        let usual = crash.succeed(&args);
        crash.expect_order();
        for moment in Crash::moments(usual) {
            crash.kill_after(&args, moment);
        }
        crash.succeed(&args);
        crash.succeed(&["start", &crash.life.id]);
        crash.life.end();
    }
}

fn a_create_that_is_killed_in_each_hook() {
    for subject in OURS {
        let crash = Crash::new(subject);
        let mark = crash.life.runtime.dir.join("mark");
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let mut config = crash.life.config(Sleep);
            // It ends by itself: hooks are the operator's, and not killed.
            let script = format!("echo >{}; sleep 1", mark.display());
            config["hooks"] = json!({kind: [{
                "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"],
            }]});
            crash.life.write_config(&config);
            let _ = fs::remove_file(&mark);
            let args = ["create", "--bundle", "bundle", &crash.life.id];
            crash.kill_when(&args, || mark.exists());
        }
        crash.life.end();
    }
}

fn a_create_that_is_killed_while_it_compiles() {
    let crash = Crash::new(Subject::Wasm);
    // So large that it is compiled for seconds, and like none that was before.
    let mut module = crate::support::guests::program("python-3.12.0.wasm");
    module.extend([0, 9, 8]);
    module.extend(crash.life.id.bytes().chain(std::iter::repeat(b'o')).take(8));
    let root = crash.life.runtime.dir.join("rootfs");
    fs::create_dir(&root).unwrap();
    for dir in ["dev", "proc", "sys"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    fs::write(root.join("python.wasm"), module).unwrap();
    let mut config = crash.life.config(Sleep);
    config["root"]["path"] = json!(root);
    config["process"]["args"] = json!(["/python.wasm"]);
    crash.life.write_config(&config);
    let compiles = || crash.processes().iter().any(|process| process.contains(" compile"));
    crash.kill_when(&["create", "--bundle", "bundle", &crash.life.id], compiles);
    crash.life.end();
}

fn a_start_that_is_killed_at_any_moment() {
    for subject in OURS {
        let crash = Crash::new(subject);
        let create = ["create", "--bundle", "bundle", &crash.life.id];
        let start = ["start", &crash.life.id];
        crash.succeed(&create);
        let usual = crash.succeed(&start);
        crash.expect_order();
        for moment in Crash::moments(usual) {
            crash.succeed(&create);
            crash.kill_after(&start, moment);
        }
        crash.life.end();
    }
}

fn a_delete_that_is_killed_at_any_moment() {
    for subject in OURS {
        let crash = Crash::new(subject);
        let create = ["create", "--bundle", "bundle", &crash.life.id];
        let delete = ["delete", "--force", &crash.life.id];
        crash.succeed(&create);
        let usual = crash.succeed(&delete);
        for moment in Crash::moments(usual) {
            crash.succeed(&create);
            crash.kill_after(&delete, moment);
        }
        crash.life.end();
    }
}

fn an_exec_that_is_killed_at_any_moment() {
    for subject in OURS {
        let crash = Crash::new(subject);
        let create = ["create", "--bundle", "bundle", &crash.life.id];
        crash.life.process(Sleep);
        let exec =
            ["exec", "--detach", "--pid-file", "beside", "--process", "process", &crash.life.id];
        crash.succeed(&create);
        let usual = crash.succeed(&exec);
        crash.expect_order();
        for moment in Crash::moments(usual) {
            crash.succeed(&create);
            crash.kill_after(&exec, moment);
        }
        crash.life.end();
    }
}
