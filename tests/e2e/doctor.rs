//! `lighter doctor` on this machine: what it says of a node that works, and of what we break.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::{Output, run};
use crate::support::containerd::{Containerd, LIMIT};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::suite::{PROGRAMS, Suite};
use crate::support::trials::{plain_trials, trials};

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let mut tests = trials![a_node_that_runs_containers_has_no_problem];
    tests.extend(plain_trials![
        damage_in_the_cache_is_told_and_left_alone,
        a_cache_that_others_may_enter_is_not_used,
        a_cache_that_is_not_there_is_not_made,
        code_on_a_noexec_mount_is_a_problem,
        mistakes_in_the_configuration_are_a_problem,
        the_runtime_is_found_in_containerds_configuration,
        programs_of_another_release_are_a_problem,
        nobody_is_waited_for,
        any_user_may_ask,
        the_text_has_all_findings_and_no_colours,
    ]);
    tests
}

fn a_node_that_runs_containers_has_no_problem(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::module("hello"));
    namespace.run(&image, &[]).expect_success();
    let config = Suite::get().node_configuration();
    let report = Report::of(&mut doctor(&config, Some(namespace.containerd())));
    assert_eq!(report.status, 0, "{report:#?}");
    for id in [
        "kernel.calls",
        "cgroups.controllers",
        "isolation.no-new-privs",
        "programs.shim",
        "programs.runner",
        "programs.lighter",
        "containerd.running",
        "containerd.version",
        "containerd.configuration",
        "configuration.file",
        "cache.directory",
        "cache.mount",
        "cache.entries",
        "cache.compiler",
    ] {
        assert_eq!(report.status_of(id), "ok", "{id}: {report:#?}");
    }
    let shim = Suite::get().program("containerd-shim-wasmtime-v1");
    assert!(report.message_of("programs.shim").starts_with(shim.to_str().unwrap()), "{report:#?}");
    assert!(report.message_of("cache.entries").contains("all verified"), "{report:#?}");
}

fn damage_in_the_cache_is_told_and_left_alone() {
    let node = Node::new("");
    let mut warm = Command::new(Suite::get().program("lighter"));
    warm.args(["cache", "--config"]).arg(&node.config).arg("warm").arg(node.module());
    run(&mut warm, b"", LIMIT).expect_success();
    let report = Report::of(&mut doctor(&node.config, None));
    assert_eq!(report.status_of("cache.entries"), "ok", "{report:#?}");

    let objects = fs::read_dir(node.cache().join("objects")).unwrap().flatten();
    let code =
        objects.map(|entry| entry.path()).find(|p| p.extension().is_some_and(|e| e == "cwasm"));
    let code = code.unwrap();
    let mut bytes = fs::read(&code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&code, &bytes).unwrap();
    let before = everything_in(&node.cache());
    let report = Report::of(&mut doctor(&node.config, None));
    assert_eq!(report.status_of("cache.broken"), "warning", "{report:#?}");
    assert!(report.message_of("cache.broken").contains("its checksum is"), "{report:#?}");
    assert_eq!(everything_in(&node.cache()), before, "something has changed");
}

fn a_cache_that_others_may_enter_is_not_used() {
    let node = Node::new("");
    fs::create_dir(node.cache()).unwrap();
    fs::set_permissions(node.cache(), fs::Permissions::from_mode(0o755)).unwrap();
    let report = Report::of(&mut doctor(&node.config, None));
    assert_eq!(report.status_of("cache.directory"), "warning", "{report:#?}");
    assert!(report.message_of("cache.directory").contains("mode 755"), "{report:#?}");
    assert_eq!(everything_in(&node.cache()), BTreeSet::new());
}

fn a_cache_that_is_not_there_is_not_made() {
    let node = Node::new("");
    let report = Report::of(&mut doctor(&node.config, None));
    assert_eq!(report.status_of("cache.directory"), "ok", "{report:#?}");
    assert_eq!(report.status_of("cache.compiler"), "ok", "{report:#?}");
    assert!(!node.cache().exists());
}

fn code_on_a_noexec_mount_is_a_problem() {
    let node = Node::new("");
    fs::create_dir(node.cache()).unwrap();
    let mut unshare = Command::new("unshare");
    unshare
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o noexec,mode=700 none \"$0\" && exec \"$@\"",
        ])
        .arg(node.cache());
    let report = Report::of(&mut after(unshare, &doctor(&node.config, None)));
    assert_eq!(report.status, 1);
    assert_eq!(report.status_of("cache.mount"), "problem", "{report:#?}");
    assert!(report.message_of("cache.mount").contains("noexec (tmpfs)"), "{report:#?}");
}

fn mistakes_in_the_configuration_are_a_problem() {
    for (text, words) in
        [("[cache]\nsize = 3\n", "line 2: unknown field `size`"), ("[cache", "line 1")]
    {
        let node = Node::new("");
        fs::write(&node.config, text).unwrap();
        let report = Report::of(&mut doctor(&node.config, None));
        assert_eq!((report.status, report.status_of("configuration.file")), (1, "problem"));
        assert!(report.message_of("configuration.file").contains(words), "{report:#?}");
    }
    let node = Node::new("[compile]\nmax_memory_bytes = 1000000\n");
    let report = Report::of(&mut doctor(&node.config, None));
    assert_eq!(report.status_of("cache.compiler"), "problem", "{report:#?}");
    let message = report.message_of("cache.compiler");
    assert!(message.contains("compile"), "{message}");
}

/// As far as the containerd of this machine reads it; the other releases' ways are tested in the program.
fn the_runtime_is_found_in_containerds_configuration() {
    let node = Node::new("");
    let containerd = Containerd::shared();
    let judged = |text: &str| {
        let file = node.dir.path().join("containerd.toml");
        fs::write(&file, text).unwrap();
        let mut command = doctor(&node.config, None);
        command.arg("--containerd-config").arg(file);
        command.arg("--containerd-address").arg(containerd.address());
        Report::of(&mut command)
    };
    let packaged = |name: &str| {
        let path = crate::support::suite::repository().join("packaging/containerd").join(name);
        fs::read_to_string(path).unwrap()
    };
    let one = format!("version = 2\n{}", packaged("wasmtime-1.x.toml"));
    let two = packaged("wasmtime-2.x.toml");

    let report = judged(&one);
    assert_eq!(report.status_of("containerd.running"), "ok", "{report:#?}");
    let version = report.message_of("containerd.version").to_owned();
    assert_eq!(report.status_of("containerd.runtime"), "ok", "{report:#?}");
    let report = judged(&two);
    if version.contains("version 1.") || version.contains("version v1.") {
        assert_eq!(report.status_of("containerd.section"), "warning", "{report:#?}");
    } else {
        assert_eq!(report.status_of("containerd.runtime"), "ok", "{report:#?}");
    }
    for text in ["version = 2\n", "version = 3\n"] {
        let report = judged(text);
        assert!(["note", "problem"].contains(&report.status_of("containerd.runtime")));
    }
    let options = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasmtime.options]\n\
                   ConfigPath = \"/nonexistent/lighter.toml\"\n";
    let report = judged(&format!("{one}{options}"));
    assert_eq!((report.status, report.status_of("containerd.options")), (1, "problem"));
    let report = judged("version = [");
    assert_eq!((report.status, report.status_of("containerd.configuration")), (1, "problem"));
    assert!(report.message_of("containerd.configuration").contains("containerd.toml, line 1"));
}

fn programs_of_another_release_are_a_problem() {
    let node = Node::new("");
    let programs = Programs::copy();
    let script = "#!/bin/sh\necho 'lighter-runner 0.0.1 (Wasmtime 1.0.0)'\n";
    programs.replace("lighter-runner", script);
    let dir = programs.0.path().display().to_string();
    let path = format!("{dir}:/usr/sbin:/usr/bin:/sbin:/bin");
    let containerd = Containerd::start_with_path("", &node.config, path.clone().into());
    let examine = || Report::of(&mut doctor(&node.config, Some(&containerd)));
    let report = examine();
    assert_eq!((report.status, report.status_of("programs.runner")), (1, "problem"));
    assert!(report.message_of("programs.runner").contains("0.0.1 (Wasmtime 1.0.0), and"));
    assert!(report.message_of("programs.shim").starts_with(&dir), "{report:#?}");

    fs::remove_file(programs.0.path().join("containerd-shim-wasmtime-v1")).unwrap();
    let report = examine();
    assert_eq!((report.status, report.status_of("programs.shim")), (1, "problem"));
    assert!(report.message_of("programs.shim").contains(&format!("({path})")), "{report:#?}");

    fs::remove_file(programs.0.path().join("lighter-runner")).unwrap();
    let mut command = programs.doctor(&node.config);
    command.env("PATH", "/usr/bin:/bin");
    let report = Report::of(&mut command);
    assert!(report.message_of("programs.missing").contains("\"lighter-runner\""), "{report:#?}");
}

/// Neither a program that never ends, nor a socket that never answers, nor a pipe in place of a file.
fn nobody_is_waited_for() {
    let node = Node::new("");
    let programs = Programs::copy();
    programs.replace("lighter-runner", "#!/bin/sh\nexec sleep 1000\n");
    let socket = node.dir.path().join("mute");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let pipe = node.dir.path().join("pipe");
    run(Command::new("mkfifo").arg(&pipe), b"", LIMIT).expect_success();
    let mut command = programs.doctor(&pipe);
    command.arg("--containerd-config").arg(&pipe).arg("--containerd-address").arg(socket);
    let output = run(&mut command, b"", Duration::from_secs(60));
    let report = Report::read(&output);
    assert!(report.message_of("programs.runner").contains("no answer within"), "{report:#?}");
    assert_eq!(report.status_of("containerd.running"), "problem", "{report:#?}");
    assert_eq!(report.status_of("containerd.configuration"), "problem", "{report:#?}");
    assert_eq!(report.status_of("configuration.file"), "problem", "{report:#?}");
}

fn any_user_may_ask() {
    let node = Node::new("");
    fs::create_dir(node.cache()).unwrap();
    fs::set_permissions(node.cache(), fs::Permissions::from_mode(0o700)).unwrap();
    let containerd = Containerd::shared();
    let programs = Programs::copy();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    let mut command = programs.doctor(&node.config);
    command.arg("--containerd-address").arg(containerd.address());
    let report = Report::of(&mut after(nobody, &command));
    for id in ["cache.directory", "containerd.running", "programs.shim", "cgroups.delegation"] {
        assert_ne!(report.status_of(id), "problem", "{id}: {report:#?}");
    }
    assert!(report.message_of("cache.directory").contains("only root may"), "{report:#?}");
    assert_eq!(report.status_of("cache.compiler"), "ok", "{report:#?}");
    assert_eq!(report.status_of("programs.runner"), "ok", "{report:#?}");
    assert_eq!(report.status, 0, "{report:#?}");
}

fn the_text_has_all_findings_and_no_colours() {
    let node = Node::new("");
    let mut command = Command::new(Suite::get().program("lighter"));
    command.args(["doctor", "--config"]).arg(&node.config);
    let text = run(&mut command, b"", LIMIT).text();
    assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
    let report = Report::of(&mut doctor(&node.config, None));
    for finding in report.findings.iter().filter(|f| f["id"] != "cache.compiler") {
        let line = format!("   {:<7}  ", finding["status"].as_str().unwrap());
        let line = line + finding["message"].as_str().unwrap();
        // Free space changes.
        let found = text.contains(&line) || finding["id"] == "cache.space";
        assert!(found, "no {line:?} in:\n{text}");
    }
    let mut help = Command::new(Suite::get().program("lighter"));
    let help = run(help.args(["doctor", "--help"]), b"", LIMIT).expect_success().text();
    assert!(help.contains("The exit status is 1 if there is a problem"), "{help}");
}

/// `lighter doctor` in JSON, which looks at that containerd, or else at the machine's.
fn doctor(config: &Path, containerd: Option<&Containerd>) -> Command {
    let mut command = Command::new(Suite::get().program("lighter"));
    command.args(["doctor", "--json", "--config"]).arg(config);
    if let Some(containerd) = containerd {
        let dir = containerd.address().parent().unwrap().to_owned();
        command.arg("--containerd-config").arg(dir.join("config.toml"));
    }
    command
}

/// `outer` with all words of `inner` as its last arguments, and its environment.
fn after(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

/// All paths below a directory, and when they were changed.
fn everything_in(dir: &Path) -> BTreeSet<(PathBuf, std::time::SystemTime)> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let facts = entry.path().symlink_metadata().unwrap();
        if facts.is_dir() {
            all.extend(everything_in(&entry.path()));
        }
        all.insert((entry.path(), facts.modified().unwrap()));
    }
    all
}

/// What it said.
#[derive(Debug)]
struct Report {
    status: i32,
    findings: Vec<Value>,
}

impl Report {
    #[track_caller]
    fn of(command: &mut Command) -> Self {
        Self::read(&run(command, b"", LIMIT))
    }

    #[track_caller]
    fn read(output: &Output) -> Self {
        let findings: Vec<Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"));
        let mut sick = 0;
        for finding in &findings {
            let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["group", "id", "message", "remedy", "status"]);
            let status = finding["status"].as_str().unwrap();
            assert!(["ok", "note", "warning", "problem"].contains(&status), "{finding}");
            if ["warning", "problem"].contains(&status) {
                assert!(finding["remedy"].is_string(), "{finding}");
            }
            sick = sick.max(i32::from(status == "problem"));
        }
        assert_eq!(output.status, sick, "{output}");
        Self { status: output.status, findings }
    }

    #[track_caller]
    fn finding(&self, id: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["id"] == id);
        found.unwrap_or_else(|| panic!("no {id} in {:#?}", self.findings))
    }

    #[track_caller]
    fn status_of(&self, id: &str) -> &str {
        self.finding(id)["status"].as_str().unwrap()
    }

    #[track_caller]
    fn message_of(&self, id: &str) -> &str {
        self.finding(id)["message"].as_str().unwrap()
    }
}

/// A configuration with a store of its own, where every user may look for it.
struct Node {
    dir: TempDir,
    config: PathBuf,
}

impl Node {
    fn new(more: &str) -> Self {
        let dir = open_directory();
        let config = dir.path().join("lighter.toml");
        let text = format!("{more}[cache]\ndir = {:?}\n", dir.path().join("cache"));
        fs::write(&config, text).unwrap();
        Self { dir, config }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn module(&self) -> PathBuf {
        let path = self.dir.path().join("hello.wasm");
        fs::write(&path, guests::module("hello")).unwrap();
        path
    }
}

/// Copies of the programs that every user may run.
struct Programs(TempDir);

impl Programs {
    fn copy() -> Self {
        let dir = open_directory();
        for name in PROGRAMS {
            fs::copy(Suite::get().program(name), dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn replace(&self, name: &str, script: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
        fs::write(self.0.path().join(name), script).unwrap();
        fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn doctor(&self, config: &Path) -> Command {
        let mut command = Command::new(self.0.path().join("lighter"));
        command.args(["doctor", "--json", "--config"]).arg(config);
        command
    }
}

/// Not below the suite's directory, which is closed to other users.
fn open_directory() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}
